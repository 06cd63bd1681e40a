"""Arrows between the rooms go one way (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

import hrkd

ROOT = Path(hrkd.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def offenders(room: str, forbidden: tuple[str, ...]) -> list[str]:
    found = []
    for path in MODULES:
        relative = path.relative_to(ROOT).as_posix()
        if relative.startswith(room):
            bad = [n for n in imported(path) for f in forbidden if n == f or n.startswith(f + ".")]
            found += [f"{relative} imports {name}" for name in bad]
    return found


ORDER = ["data", "method", "models", "training", "deploy", "report"]


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_no_later_room(room):
    later = ORDER[ORDER.index(room) + 1 :]
    wiring = ("stages", "pipeline", "results", "cli", "plan", "preparation", "config", "recipe", "comparison")
    wiring += ("grid", "grid_plan", "grid_runs", "grid_results")
    assert offenders(f"{room}/", tuple(f"hrkd.{name}" for name in (*later, *wiring))) == []


def test_data_knows_no_models_and_method_knows_torch_alone():
    assert offenders("data/", ("hrkd.models", "hrkd.training")) == []
    packages = {n.split(".")[0] for path in MODULES if path.parent.name == "method" for n in imported(path)}
    standard = {"__future__", "collections", "dataclasses", "typing", "math"}
    assert packages <= standard | {"torch", "hrkd"}


def test_only_the_command_line_imports_its_library_and_nobody_imports_it():
    users = [p for p in MODULES if "cyclopts" in {n.split(".")[0] for n in imported(p)}]
    assert users
    assert all(p.parent.name == "cli" for p in users)
    others = [p for p in MODULES if p.parent.name != "cli" and p.name != "__main__.py"]
    assert [p for p in others if any(n.startswith("hrkd.cli") for n in imported(p))] == []


def test_report_needs_no_torch():
    assert offenders("report/", ("torch", "transformers", "datasets", "accelerate")) == []


def test_nothing_unpickles_or_runs_remote_code():
    calls = {"pickle", "dill", "joblib", "cloudpickle"}
    assert [p for p in MODULES if calls & {n.split(".")[0] for n in imported(p)}] == []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, path
        assert "torch.load(" not in text, path


def test_every_module_says_what_it_is():
    assert [p for p in MODULES if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))] == []
