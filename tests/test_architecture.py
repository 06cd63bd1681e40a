"""Arrows between the layers go one way, and settings are handed down whole (docs/architecture.md)."""

import ast
import itertools
import re
import sys
from pathlib import Path

import pytest

import hrkd
from hrkd.recipe.schema import (
    CacheConfig,
    DataConfig,
    EvaluationConfig,
    MethodConfig,
    RunConfig,
    StudentTrainingConfig,
    SyntheticConfig,
)
from hrkd.run.commands import compress
from tiny import tiny_recipe

ROOT = Path(hrkd.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
ORDER = (
    "support",
    "recipe",
    "data",
    "linear",
    "method",
    "models",
    "training",
    "deploy",
    "report",
    "run",
    "comparison",
    "cli",
)
AT_THE_ROOT = {"__init__.py", "__main__.py", "errors.py", "py.typed"}
MOST_PARAMETERS = 12
WIRING = ("cli/commands.py", "recipe/loading.py", "training/trainers.py", "run/")


def imported(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def layers_of(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir() and any(path.glob("*.py"))}


def against_the_order(root: Path) -> list[str]:
    """Imports of a later layer, and of the root, which imports them all."""
    found = []
    for path in sorted(root.glob("*/**/*.py")):
        layer = path.relative_to(root).parts[0]
        for name in sorted(imported(path)):
            parts = name.split(".")
            later = len(parts) > 1 and parts[1] in ORDER and ORDER.index(parts[1]) > ORDER.index(layer)
            if parts[0] == "hrkd" and (later or parts == ["hrkd"]):
                found.append(f"{path.relative_to(root).as_posix()} imports {name}")
    return found


def test_every_directory_is_a_layer_and_nothing_else_is_at_the_root():
    assert layers_of(ROOT) == set(ORDER)
    assert {path.name for path in ROOT.iterdir() if path.is_file()} == AT_THE_ROOT


def test_no_layer_imports_a_later_one():
    assert [line for line in against_the_order(ROOT) if not line.startswith("cli/")] == []


@pytest.mark.parametrize("statement", ["import hrkd.{}", "from hrkd.{} import x", "from hrkd import {}"])
@pytest.mark.parametrize(("layer", "later"), list(itertools.combinations(ORDER, 2)))
def test_an_import_against_the_order_is_found(tmp_path, layer, later, statement):
    module = tmp_path / layer / "module.py"
    module.parent.mkdir()
    module.write_text((ROOT / layer / "__init__.py").read_text(encoding="utf-8"))
    assert against_the_order(tmp_path) == []
    module.write_text(f"{module.read_text()}\n\ndef _later():\n    {statement.format(later)}\n")
    assert f"{layer}/module.py imports hrkd.{later}" in against_the_order(tmp_path)


def test_method_knows_torch_alone():
    """And the recipe's section for the types of its arguments, which is not imported when the method runs."""
    paths = sorted((ROOT / "method").glob("*.py"))
    packages = {name.split(".")[0] for path in paths for name in imported(path)}
    assert packages <= {"__future__", "collections", "dataclasses", "typing", "math", "torch", "hrkd"}
    others = {name for path in paths for name in imported(path) if name.startswith("hrkd.")}
    assert {name.split(".")[1] for name in others} <= {"method", "recipe"}
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            assert not (isinstance(node, ast.ImportFrom) and str(node.module).startswith("hrkd.recipe")), path


def test_only_the_command_line_imports_its_library_and_nobody_imports_it():
    users = [p for p in MODULES if "cyclopts" in {n.split(".")[0] for n in imported(p)}]
    assert users
    assert all(p.parent.name == "cli" for p in users)
    others = [p for p in MODULES if p.parent.name != "cli" and p.name != "__main__.py"]
    assert [p for p in others if any(n.startswith("hrkd.cli") for n in imported(p))] == []


def test_report_needs_no_torch():
    heavy = {"torch", "transformers", "datasets", "accelerate"}
    assert [p for p in (ROOT / "report").glob("*.py") if heavy & {n.split(".")[0] for n in imported(p)}] == []


def test_nothing_unpickles_or_runs_remote_code():
    calls = {"pickle", "dill", "joblib", "cloudpickle"}
    assert [p for p in MODULES if calls & {n.split(".")[0] for n in imported(p)}] == []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, path
        assert "torch.load(" not in text, path


def calls_that_could_run_code_of_a_folder(source: str) -> tuple[list[ast.Call], list[str]]:
    """Calls of transformers that take code from a folder, and other classes that are loaded."""
    found, others = [], []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        owner, _, last = name.rpartition(".")
        if last == "pipeline" or (last in ("from_pretrained", "from_config") and owner.startswith("Auto")):
            found.append(node)
        elif last in ("from_pretrained", "from_config"):
            others.append(owner)
    return found, others


def test_every_call_that_could_run_code_of_a_folder_says_no():
    """Whatever is not passed is asked of the user, and a pipe may answer yes."""
    number, classes = 0, set()
    for path in MODULES:
        found, others = calls_that_could_run_code_of_a_folder(path.read_text(encoding="utf-8"))
        number, classes = number + len(found), classes | set(others)
        for call in found:
            answers = [ast.unparse(each.value) for each in call.keywords if each.arg == "trust_remote_code"]
            parts = [ast.unparse(each) for each in call.args]
            assert answers == ["False"], f"{path}:{call.lineno}: {parts}"
    assert number > 5
    assert classes <= {"MultiDomainClassifier", "Predictor", "super()"}, "classes that take no code"
    text = (ROOT / "models/plain.py").read_text(encoding="utf-8")
    assert "AutoModelForSequenceClassification.from_config, config, trust_remote_code=False" in text, "as a partial"


def test_data_sets_are_read_by_a_library_that_runs_no_scripts():
    project = (ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert int(re.search(r'"datasets>=(\d+)', project).group(1)) >= 4


def test_every_module_says_what_it_is():
    assert [p for p in MODULES if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))] == []


def functions():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(ROOT).as_posix(), node


def test_no_function_takes_more_than_twelve_parameters():
    many = []
    for path, node in functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([each for each in arguments if each.arg not in ("self", "cls")])
        if count > MOST_PARAMETERS:
            many.append(f"{path}: {node.name} takes {count}")
    assert many == []


def test_every_default_of_a_setting_stands_once():
    """In the schema: elsewhere a parameter of a setting's name has no value of its own written out.

    ``overwrite`` belongs to several commands; ``attention`` of a model says whether to give it; ``split`` of a command
    is what it measures; ``synthetic`` of a card is a fact; the arguments of a prediction are its own.
    """
    sections = (
        MethodConfig,
        StudentTrainingConfig,
        CacheConfig,
        EvaluationConfig,
        RunConfig,
        DataConfig,
        SyntheticConfig,
    )
    names = {name for section in sections for name in section.model_fields}
    names -= {"folder", "seed", "device", "overwrite", "attention", "split", "synthetic"}
    again = []
    for path, node in functions():
        arguments = [*node.args.posonlyargs, *node.args.args]
        pairs = [*zip(reversed(arguments), reversed(node.args.defaults), strict=False)]
        pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        for argument, default in pairs:
            written = isinstance(default, ast.Constant) and default.value is not None
            if argument.arg in names and written and not path.startswith("deploy/"):
                again.append(f"{path}: {node.name}({argument.arg}={ast.unparse(default)})")
    assert again == []


def test_compress_reads_in_one_direction(tmp_path):
    """From the command to the saved student: how often the next function called stands in another file."""
    files = {str(path): path.relative_to(ROOT).as_posix() for path in MODULES}
    wiring = {name: rel for name, rel in files.items() if rel.startswith(WIRING)}
    entered = []

    def note(frame, event, _):
        file = wiring.get(frame.f_code.co_filename)
        if event == "call" and file is not None and not frame.f_code.co_name.startswith("<"):
            entered.append(file)

    recipe = tiny_recipe(tmp_path / "run", **{"student.baseline": False})
    sys.setprofile(note)
    try:
        compress(recipe)
    finally:
        sys.setprofile(None)
    order = [file for file, _ in itertools.groupby(entered)]
    order = order[: order.index("run/results.py")]
    assert order[0] == "run/commands.py"
    assert len(order) - 1 <= 41, order
