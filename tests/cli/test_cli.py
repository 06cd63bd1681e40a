import functools
import importlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest

from hrkd.cli import HOMES, VERBS, commands, leaving, looking, main, measuring, parameters, terminal
from hrkd.data.batching import tokenize
from hrkd.errors import DataError, TrainingError
from hrkd.recipe.fields import recipe_fields
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.presets import recommended
from hrkd.recipe.schema import Recipe
from hrkd.training.teacher_cache.store import CacheFiles, CacheIndex
from slow import slow

HEAVY = {"torch", "transformers", "datasets", "pandas", "numpy", "sklearn", "accelerate", "pyarrow"}
PLACE = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
FLAGS = ("--data.source", "reviews.csv", "--teacher.model", "bert", "--student.layers", "3")
CHECK = "`hrkd check`, with the same recipe and fields, lists all that a run would refuse.\n"


def shell(*arguments, code="from hrkd.cli import main; status = main(sys.argv[1:])"):
    """Status, output, errors and the top-level modules that were imported, from a process of its own."""
    report = "sys.stderr.write('\\n--modules ' + ' '.join(sys.modules)); sys.exit(status)"
    command = [sys.executable, "-c", f"import sys; {code}; {report}", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    errors, _, modules = result.stderr.partition("\n--modules ")
    return result.returncode, result.stdout, errors, {name.partition(".")[0] for name in modules.split()}


def shell_each(*commands, folder):
    """The same of several commands, which one process in ``folder`` runs one after the other."""
    code = """
import contextlib, io, json, sys
from hrkd.cli import main
for arguments in json.loads(sys.argv[1]):
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(arguments)
    print(json.dumps([status, output.getvalue(), errors.getvalue(), list(sys.modules)]))
"""
    command = [sys.executable, "-c", code, json.dumps(commands)]
    lines = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, stdin=subprocess.DEVNULL
    ).stdout.splitlines()
    return [(*told, {name.partition(".")[0] for name in modules}) for *told, modules in map(json.loads, lines)]


def write_student_names(folder):
    """What the folder of a student says of itself, without a model."""
    folder.mkdir(parents=True)
    labels = {"0": "negative", "1": "positive"}
    config = {"model_type": "hrkd_multi_domain", "domains": ["books", "films"], "id2label": labels}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line in this process; returns status, output, errors."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        status = main(arguments)
        output, errors = capsys.readouterr()
        return status, output, errors

    return run


@pytest.fixture
def library(monkeypatch):
    """The functions behind the verbs, each replaced by one of the same signature that only takes note of its call."""
    from hrkd.run import commands as library
    from hrkd.run import describe_data, evaluation

    for name in ("compress", "distill", "train_baseline", "train_teacher"):
        monkeypatch.setattr(library, name, create_autospec(getattr(library, name)))
    for module, name in ((evaluation, "evaluate"), (describe_data, "describe_data")):
        fake = create_autospec(getattr(module, name))
        monkeypatch.setattr(module, name, fake)
        monkeypatch.setattr(library, name, fake, raising=False)
    for module in (commands, looking, measuring, parameters):
        for name in ("check_measurable", "check_named", "check_teacher_is_there", "look_at_rows"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_, **__: None)
    monkeypatch.setattr(terminal, "_log_to_stderr", lambda: None)
    for name in terminal.ENVIRONMENT:
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return library


def recipe_of(function) -> Recipe:
    function.assert_called_once()
    return function.call_args.args[0]


LIGHT = [
    (["--help"], 0, ""),
    (["--version"], 0, ""),
    (["recipe"], 0, ""),
    (["recipe", "demo"], 0, ""),
    (["compress", "--help"], 0, ""),
    (["compress", "nowhere.yaml"], 2, "no such recipe file"),
    (["compare", "nowhere.yaml"], 2, "nowhere.yaml"),
    (["compress", "demo", "--student.layers", "0"], 2, "--student.layers: '0' is not allowed"),
    (["predict", "student", "--domain", "books"], 2, "standard input: empty; give either texts"),
    (["comprss"], 2, "Did you mean"),
    (["compress", "missing.yaml"], 2, "data.source: nowhere.csv: no such file or folder"),
    (
        ["compress", "missing.yaml", "--data.source", "a/folder", "--data.unlabelled", "b.csv"],
        2,
        "data.unlabelled: b.csv",
    ),
    (
        ["compress", "amazon_reviews", "--data.source", ".", "--teacher.model", "./x"],
        2,
        "teacher.model: ./x: no such f",
    ),
    (["train-teacher", "missing.yaml"], 2, "data.source: nowhere.csv: no such file"),
    (["distill", "demo"], 2, "runs/demo/teacher: no finished teacher"),
    (["train-baseline", "demo"], 2, "runs/demo/teacher: no finished teacher"),
    (["evaluate", "nowhere"], 2, "nowhere: no such folder"),
    (["evaluate", "student"], 2, "student: lies in no run, so that its rows are not known; name a recipe"),
    (["evaluate", "student", "missing.yaml"], 2, "data.source: nowhere.csv: no such file"),
    (["evaluate", "student", "missing.yaml", "--split", "tst"], 2, "'tst' is none of train"),
    (["data", "missing.yaml"], 2, "data.source: nowhere.csv: no such file"),
    (["export", "nowhere", "out"], 2, "nowhere: no such folder"),
    (["predict", "nowhere", "a text"], 2, "nowhere: no such folder"),
    (["predict", "student", "a text"], 2, "--domain: missing; name the domain of the texts (books, films)"),
    (["predict", "student", "a text", "--domain", "boks"], 2, "unknown domain 'boks' (did you mean 'books'?)"),
    (["predict", "student", " ", "--domain", "books"], 2, "empty or broken: text 1"),
    (["predict", "student", "--input", "nowhere.csv", "--output", "out.csv"], 2, "nowhere.csv: no such file"),
    (["cache", "--folder", "kept", "--clear", "some"], 2, "no cache 'some'"),
]
"""Command, exit status and part of the message of what needs none of the heavy libraries."""


class TestStartUp:
    @pytest.fixture(scope="class")
    def answers(self, tmp_path_factory):
        """What each of :data:`LIGHT` gives, all in one process, in this order."""
        folder = tmp_path_factory.mktemp("light")
        write_student_names(folder / "student")
        recipe = {"data": {"source": "nowhere.csv"}, "teacher": {"model": "bert"}, "student": {"layers": 1}}
        (folder / "missing.yaml").write_text(json.dumps(recipe))
        return shell_each(*(arguments for arguments, _, _ in LIGHT), folder=folder)

    @pytest.mark.parametrize("number", range(len(LIGHT)), ids=[" ".join(arguments) for arguments, _, _ in LIGHT])
    def test_nothing_heavy_is_imported_for_help_and_what_is_wrong_at_a_glance(self, answers, number):
        _, expected, said = LIGHT[number]
        status, _, errors, modules = answers[number]
        assert status == expected
        assert said in errors
        assert bool(errors) == (status != 0)
        assert "hrkd" in modules
        assert not modules & HEAVY

    def test_help_and_version_do_without_the_recipe_too(self, answers):
        for number in (0, 1):
            assert not answers[number][3] & {"pydantic", "yaml"}

    def test_describing_a_table_imports_no_models(self, tmp_path):
        rows = [f"text {n},{'ab'[n % 2]},{'yn'[n // 2 % 2]}" for n in range(80)]
        (tmp_path / "rows.csv").write_text("\n".join(["text,domain,label", *rows]))
        command = ["data", "--data.source", "rows.csv"]
        wrong, described, fitted = shell_each(
            [*command, "--data.text", "body"], [*command, "--no-linear-models"], command, folder=tmp_path
        )
        assert (wrong[0], "no column 'body'" in wrong[2]) == (2, True)
        assert not wrong[3] & {"torch", "transformers", "datasets", "pandas"}
        assert (described[0], "Domain" in described[1]) == (0, True)
        assert not described[3] & {"torch", "transformers", "accelerate", "scipy", "sklearn"}
        assert (fitted[0], "Shared and own" in fitted[1]) == (0, True)
        assert not fitted[3] & {"torch", "transformers", "accelerate"}

    def test_predicting_imports_no_data_sets(self, tiny, tmp_path):
        student, domain = tmp_path / "student", tiny.splits.domains[0]
        tiny.model().save_pretrained(student)
        tiny.tokenizer.save_pretrained(student)
        (tmp_path / "in.csv").write_text(f"text,domain\ngood,{domain}\n")
        text, table = shell_each(
            ["predict", "student", "good", "--domain", domain],
            ["predict", "student", "--input", "in.csv", "--output", "out.csv"],
            folder=tmp_path,
        )
        assert (text[0], text[1][-6:], text[2]) == (0, "\tgood\n", "")
        assert not text[3] & {"datasets", "pandas", "pyarrow", "sklearn", "matplotlib", "tensorboard", "rich"}
        assert (table[0], (tmp_path / "out.csv").read_text().count("\n")) == (0, 2)
        assert not table[3] & {"datasets", "pandas", "sklearn", "matplotlib", "tensorboard"}

    def test_opening_a_student_imports_nothing_that_trains(self, tiny, tmp_path):
        tiny.model().save_pretrained(tmp_path)
        tiny.tokenizer.save_pretrained(tmp_path)
        code = (
            "from hrkd.deploy.predict import Predictor; Predictor.from_pretrained(sys.argv[1]); status = 0;"
            "print(*sorted(name for name in sys.modules if name.startswith('hrkd.')))"
        )
        names = shell(str(tmp_path), code=code)[1].split()
        assert "hrkd.models.multi_domain" in names
        # of the data, the rules for values and for what is read of a text alone
        assert {name for name in names if name.startswith("hrkd.data")} == {
            "hrkd.data",
            "hrkd.data.cutting",
            "hrkd.data.reading",
            "hrkd.data.rows",
        }
        assert [name for name in names if name.startswith(("hrkd.models.start", "hrkd.training"))] == []
        assert not {"hrkd.models.trial", "hrkd.models.loading"} & {*names}

    def test_python_m_is_the_same_command(self):
        command = [sys.executable, "-m", "hrkd", "--version"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", result.stdout)
        assert subprocess.run([*command[:3], "nothing"], capture_output=True, check=False).returncode == 2


class TestHelp:
    def test_all_verbs_are_listed_with_the_first_line_of_their_help(self, run):
        status, output, _ = run("--help")
        assert status == 0
        for verb, summary in VERBS.items():
            assert verb in output
            assert summary in " ".join(output.replace("│", " ").split())

    @pytest.mark.parametrize("verb", VERBS)
    def test_the_summary_of_a_verb_is_the_first_line_of_its_docstring(self, verb):
        module = importlib.import_module(HOMES[verb])
        function = getattr(module, verb.replace("-", "_"))
        assert function.__doc__.partition("\n")[0] == VERBS[verb]

    def test_every_verb_has_a_home(self):
        assert sorted(HOMES) == sorted(VERBS)

    @pytest.mark.parametrize("verb", ["compress", "distill"])
    def test_every_field_is_a_flag_with_its_meaning(self, run, verb):
        status, output, _ = run(verb, "--help")
        assert status == 0
        words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", output).split())
        compact = re.sub(r"\s", "", words)
        for field in recipe_fields():
            assert f"--{field.name}" in compact, field.name
            meaning = field.meaning.replace("`", "").split(" (")[0]
            assert re.sub(r"\s", "", meaning) in compact, field.name

    def test_the_options_of_an_export_are_not_lost_among_fields(self, run):
        shown = run("export", "--help")[1]
        assert "--allowance" in shown
        assert "--data.dev_rows" not in shown
        assert "hrkd evaluate --help" in " ".join(shown.split())
        assert run("export", "nowhere", "out", "--data.source", "x.csv")[2].startswith("error: data.source: x.csv")
        assert "Start with" not in shown
        assert "Start with: hrkd compress demo" in run("--help")[1]

    def test_bounds_choices_and_defaults_are_shown(self, run):
        _, output, _ = run("compress", "--help")
        words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", output).split())
        assert "Passes over the largest domain. (at least 1; default 10)" in words
        assert "(one of no, bf16, fp16; default no)" in words
        assert "(repeat the flag for each; default uniform)" in words
        assert "(by name: --teacher.fine_tuned.NAME)" in words
        assert "(default true; --student.baseline false turns it off)" in words

    def test_verbs_offer_the_sections_they_read(self, run):
        _, output, _ = run("data", "--help")
        assert "--data.source" in output
        assert "--student.layers" not in output
        _, output, _ = run("train-teacher", "--help")
        assert "--teacher.training.epochs" in output
        assert "--student.layers" not in output


def test_what_is_wrong_with_rows_is_told_before_torch_is_imported(tmp_path):
    (tmp_path / "reviews.csv").write_text("text,label,domain\nfine,good,books\n")
    data = ["--data.source", str(tmp_path / "reviews.csv"), "--data.text", "review"]
    model = ["--teacher.model", "owner/name", "--student.layers", "1", "--run.output", str(tmp_path / "run")]
    status, _, errors, modules = shell("compress", *data, *model)
    assert status == 2
    assert "no column 'review' for text" in errors
    assert not modules & {"torch", "transformers"}
    assert not (tmp_path / "run").exists()


class TestFlags:
    def test_flags_alone_make_a_recipe(self, run, library):
        assert run("compress", *FLAGS) == (0, "", "")
        recipe = recipe_of(library.compress)
        assert (recipe.data.source, recipe.teacher.model, recipe.student.layers) == ("reviews.csv", "bert", 3)

    def test_flags_go_before_the_file(self, run, library):
        assert run("compress", "demo", "--student.training.epochs", "1", "--run.output=out")[0] == 0
        recipe = recipe_of(library.compress)
        assert recipe.student.training.epochs == 1
        assert recipe.run.output == Path("out")
        assert recipe.student.width == load_recipe("demo").student.width, "untouched by the flags"

    def test_dashes_and_underscores_are_the_same(self, run, library):
        run("compress", *FLAGS, "--student.training.learning-rate", "5e-4", "--method.graph_heads", "2")
        recipe = recipe_of(library.compress)
        assert recipe.student.training.learning_rate == 5e-4
        assert recipe.method.graph_heads == 2

    @pytest.mark.parametrize(
        ("given", "value"),
        [([], True), (["--student.baseline"], True), (["--student.baseline", "False"], False)],
    )
    def test_a_switch_stands_alone_or_before_its_value(self, run, library, given, value):
        run("compress", *FLAGS, *given)
        assert recipe_of(library.compress).student.baseline is value

    def test_a_switch_does_not_swallow_the_recipe(self, run, library):
        assert run("compress", "--run.overwrite", "demo", "--method.reference-attention", "false")[0] == 0
        recipe = recipe_of(library.compress)
        assert recipe.run.overwrite
        assert not recipe.method.reference_attention
        assert recipe.data.format == "synthetic"

    def test_lists_are_repeated_flags(self, run, library):
        run("compress", *FLAGS, "--data.domains", "b", "--data.domains", "a", "--run.trackers", "wandb")
        recipe = recipe_of(library.compress)
        assert recipe.data.domains == ["b", "a"]
        assert recipe.run.trackers == ["wandb"]

    @pytest.mark.parametrize(("given", "value"), [(["uniform"], "uniform"), (["1", "4", "7"], [1, 4, 7])])
    def test_a_word_or_a_list(self, run, library, given, value):
        run("compress", *FLAGS, *(token for item in given for token in ("--student.layer_map", item)))
        assert recipe_of(library.compress).student.layer_map == value

    def test_a_list_of_one(self, run, library):
        run("compress", *FLAGS[:-1], "1", "--student.layer_map", "4")
        assert recipe_of(library.compress).student.layer_map == [4]

    @pytest.mark.parametrize(
        ("given", "value"),
        [
            (["--teacher.fine_tuned", "folder"], "folder"),
            (
                ["--teacher.fine_tuned.books", "b", "--teacher.fine_tuned.kitchen_&-x", "k"],
                {"books": "b", "kitchen_&-x": "k"},
            ),
        ],
    )
    def test_mappings_are_flags_by_name(self, run, library, given, value):
        assert run("compress", *FLAGS[:2], *FLAGS[4:], *given) == (0, "", "")
        assert recipe_of(library.compress).teacher.fine_tuned == value

    def test_sizes_by_name(self, run, library):
        run("compress", *FLAGS, "--data.sizes.books", "8", "1", "2", "--data.sizes.dvd", "9", "1", "1")
        assert recipe_of(library.compress).data.sizes == {"books": (8, 1, 2), "dvd": (9, 1, 1)}

    def test_scratch_by_name(self, run, library):
        names = {"layers": 2, "width": 8, "heads": 2, "feed_forward": 16, "vocabulary": 50}
        flags = [token for name, size in names.items() for token in (f"--teacher.scratch.{name}", str(size))]
        run("compress", *FLAGS[:2], *FLAGS[4:], *flags)
        assert recipe_of(library.compress).teacher.scratch == names

    def test_null_takes_a_value_of_the_recipe_back(self, run, library):
        run("compress", "amazon_reviews", "--teacher.model", "null", "--teacher.fine_tuned", "folder")
        teacher = recipe_of(library.compress).teacher
        assert (teacher.model, teacher.fine_tuned) == (None, "folder")

    def test_null_gives_every_field_its_default(self, run, library):
        needed = ("data.source", "teacher.model", "student.layers")
        for field in recipe_fields():
            if field.name not in needed:
                library.compress.reset_mock()
                assert run("compress", *FLAGS, f"--{field.name}", "null")[::2] == (0, ""), field.name
                found = functools.reduce(getattr, field.path, recipe_of(library.compress))
                preset = recommended(field.path)
                assert found == (field.default if preset is None else preset), field.name


class TestErrors:
    def test_wrong_values_read_like_a_recipe_error_and_come_all_at_once(self, run, library):
        given = ["--student.training.epochs", "0", "--run.seed", "-1", "--student.layer_map", "last"]
        status, output, errors = run("compress", *FLAGS, *given)
        assert (status, output) == (2, "")
        assert errors.splitlines() == [
            "error: --student.layer_map: 'last' is not allowed: "
            "must be uniform or a list (each a whole number, at least 1)",
            "--student.training.epochs: '0' is not allowed: must be a whole number, at least 1",
            "--run.seed: '-1' is not allowed: must be a whole number, at least 0 and at most 4294967295",
        ]
        library.compress.assert_not_called()

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["compress", "--student.layrs", "3"], "Unknown option: --student.layrs. Did you mean --student.layers?"),
            (["compress", "--student.layers"], "--student.layers requires an argument"),
            (["compress", "--student.layers", "1", "--student.layers", "2"], "specified multiple times"),
            (["compress", "a.yaml", "b.yaml"], "b.yaml"),
            (["evaluate"], "FOLDER"),
            (["export", "student"], "OUTPUT"),
            (["comprss"], 'Did you mean "compress"?'),
        ],
    )
    def test_what_cannot_be_parsed(self, run, arguments, said):
        status, output, errors = run(*arguments)
        assert (status, output) == (2, "")
        assert said in errors
        assert "--help` lists what there is." in errors
        assert "Traceback" not in errors

    @pytest.mark.parametrize(
        ("error", "besides"),
        [
            (DataError("rows.csv: no text"), CHECK),  # reading ends at the first
            (TrainingError("loss is not finite"), ""),
        ],
    )
    def test_errors_of_the_library_are_one_message(self, run, library, error, besides):
        library.compress.side_effect = error
        assert run("compress", *FLAGS) == (2, "", f"error: {error}\n{besides}")

    def test_interrupted(self, run, library):
        library.compress.side_effect = KeyboardInterrupt
        status, _, errors = run("compress", *FLAGS)
        assert status == 130
        assert "goes on from the last checkpoint" in errors

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("export", "student", "out"), "error: interrupted\n"),
            (("predict", "s", "--input", "i.csv", "--output", "o.csv"), "the same command goes on where it stopped"),
        ],
    )
    def test_only_what_goes_on_is_said_to(self, run, monkeypatch, arguments, said):
        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(leaving, "read_student", interrupted)
        monkeypatch.setattr(leaving, "facts_of_any", interrupted)
        status, _, errors = run(*arguments)
        assert status == 130
        assert said in errors
        assert "checkpoint" not in errors

    def test_terminated(self, run, library):
        library.compress.side_effect = lambda *_, **__: signal.raise_signal(signal.SIGTERM)
        status, _, errors = run("compress", *FLAGS)
        assert status == 143
        assert "error: terminated; the same command goes on from the last checkpoint" in errors
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def test_a_bug_is_not_hidden(self, run, library):
        library.compress.side_effect = ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            run("compress", *FLAGS)


class TestVerbs:
    def test_tables_go_to_standard_output_as_they_come(self, run, library):
        library.compress.side_effect = lambda recipe, data, show, progress: show("a table [of] numbers")
        assert run("compress", *FLAGS) == (0, "a table [of] numbers\n", "")

    def test_wide_tables_are_not_cut_in_pipes(self, run, library, monkeypatch):
        monkeypatch.delenv("COLUMNS")
        library.compress.side_effect = lambda recipe, data, show, progress: show("x" * 150)
        assert run("compress", *FLAGS)[1] == "x" * 150 + "\n"

    def test_train_teacher_needs_no_student(self, run, library):
        library.train_teacher.return_value = Path("runs/x/teacher")
        assert run("train-teacher", *FLAGS[:4]) == (0, "Teacher: runs/x/teacher\n", "")
        assert recipe_of(library.train_teacher).teacher.model == "bert"

    def test_distill(self, run, library):
        run("distill", *FLAGS, "--teacher-folder", "runs/other/teacher")
        assert recipe_of(library.distill).student.layers == 3
        assert library.distill.call_args.kwargs["teacher_folder"] == Path("runs/other/teacher")

    def test_train_baseline(self, run, library):
        run("train-baseline", *FLAGS, "--teacher-folder", "runs/other/teacher")
        assert recipe_of(library.train_baseline).student.layers == 3
        assert library.train_baseline.call_args.kwargs["teacher_folder"] == Path("runs/other/teacher")

    def test_evaluate_takes_the_recipe_of_the_run(self, run, library, tmp_path):
        (tmp_path / "recipe.yaml").write_text(json.dumps({"data": {"source": "mine.csv"}}))
        library.evaluate.return_value = {"mean": {"accuracy": 0.5}}
        options = ["--split", "dev", "--evaluation.bootstrap", "0", "--teacher", "t", "--json"]
        status, output, _ = run("evaluate", str(tmp_path), *options)
        assert (status, json.loads(output)) == (0, {"mean": {"accuracy": 0.5}})
        assert str(library.evaluate.call_args.kwargs["teacher"]) == "t"
        folder, recipe = library.evaluate.call_args.args
        assert (folder, recipe.data.source, recipe.evaluation.bootstrap) == (tmp_path, "mine.csv", 0)
        assert library.evaluate.call_args.kwargs["split"] == "dev"

    def test_evaluate_on_other_data(self, run, library, tmp_path):
        (tmp_path / "recipe.yaml").write_text(json.dumps({"data": {"source": "mine.csv"}}))
        run("evaluate", str(tmp_path), "demo")
        assert library.evaluate.call_args.args[1].data.format == "synthetic"

    def test_evaluate_a_model_folder_leaves_the_recipe_to_the_pipeline(self, run, library, tmp_path):
        run("evaluate", str(tmp_path))
        assert library.evaluate.call_args.args[1] is None

    def test_data_needs_the_data_section_only(self, run, library):
        library.describe_data.return_value = {"domains": ["books"]}
        status, output, errors = run("data", "--data.source", "x.csv", "--tokenizer", "bert", "--json")
        assert (status, errors) == (0, "")
        assert library.describe_data.call_args.args[1] == "bert"
        assert recipe_of(library.describe_data).data.source == "x.csv"
        assert json.loads(output) == {"domains": ["books"]}

    @pytest.mark.parametrize("verb", ["compress", "distill", "train-baseline"])
    def test_as_json_tables_go_to_standard_error(self, run, library, verb):
        def trained(recipe, *, show, **_):
            show("a table")
            return {"models": {}}

        getattr(library, verb.replace("-", "_")).side_effect = trained
        status, output, errors = run(verb, *FLAGS, "--json")
        assert (status, json.loads(output), errors) == (0, {"models": {}}, "a table\n")

    def test_a_teacher_as_json(self, run, library):
        def trained(recipe, *, scored, **_):
            scored(SimpleNamespace(to_dict=lambda: {"mean": {"accuracy": 0.5}}))
            return Path("runs/x/teacher")

        library.train_teacher.side_effect = trained
        status, output, errors = run("train-teacher", *FLAGS[:4], "--json")
        assert json.loads(output) == {"folder": "runs/x/teacher", "dev": {"mean": {"accuracy": 0.5}}}
        assert (status, errors) == (0, "Teacher: runs/x/teacher\n")

    def test_errors_as_json_stay_text(self, run, library):
        library.compress.side_effect = DataError("rows.csv: no text")
        assert run("compress", *FLAGS, "--json") == (2, "", f"error: rows.csv: no text\n{CHECK}")

    def test_export_names_the_folders(self, run, library, monkeypatch):
        from hrkd.run import export

        fake = create_autospec(export.export, side_effect=lambda *_, show, **__: show("books: out/books"))
        monkeypatch.setattr(export, "export", fake)
        monkeypatch.setattr(leaving, "read_student", lambda folder: None)
        assert run("export", "student", "out") == (0, "books: out/books\n", "")
        assert fake.call_args.args == (Path("student"), Path("out"), "plain", None)
        assert run("export", "student", "out", "--to", "onnx", "--allowance", "1")[0] == 0
        assert fake.call_args.args[2:] == ("onnx", None)
        monkeypatch.setattr(leaving, "exported_facts", lambda folder: {"folder": str(folder)})
        status, output, errors = run("export", "student", "out", "--to", "onnx", "--allowance", "1", "--json")
        assert (status, json.loads(output), errors) == (0, {"folder": "out"}, "books: out/books\n")
        assert (fake.call_args.kwargs["allowance"], fake.call_args.kwargs["overwrite"]) == (1.0, False)
        assert run("export", "student", "out", "--to", "onx")[::2] == (
            2,
            "error: --to: there is no 'onx'; possible are plain, onnx, onnx-int8, openvino, openvino-int8; did you "
            "mean 'onnx'?\n",
        )

    def test_cache_lists_and_clears(self, run, tmp_path):
        assert run("cache", "--folder", str(tmp_path))[1] == f"no caches in {tmp_path}\n"
        offsets = np.array([0, 3, 5])
        CacheFiles(tmp_path / "abc-100", CacheIndex("abc-100", 2, 5, 4, 2, "fp16"), offsets)
        listed = run("cache", "--folder", str(tmp_path))[1]
        assert "abc-100" in listed
        (told,) = json.loads(run("cache", "--folder", str(tmp_path), "--json")[1])["caches"]
        assert (told["name"], told["rows"], told["complete"]) == ("abc-100", 2, False)
        assert "teacher, not complete" in listed.split("abc-100")[1], "nothing is written yet"
        status, _, errors = run("cache", "--folder", str(tmp_path), "--clear", "other")
        assert (status, "no cache 'other'; there are abc-100" in errors) == (2, True)
        cleared = run("cache", "--folder", str(tmp_path), "--clear", "abc-100", "--json")[1]
        assert json.loads(cleared) == {"folder": str(tmp_path), "removed": ["abc-100"]}
        assert [path.name for path in tmp_path.iterdir()] == ["abc.lock"]

    def test_cache_lists_and_clears_rows_and_token_ids_too(self, run, tiny, tmp_path):
        tokenize(tiny.splits.dev, tiny.tokenizer, 24, cache=tmp_path)
        (entry,) = tmp_path.glob("*-tokens")
        listed = run("cache", "--folder", str(tmp_path))[1]
        assert entry.name in listed
        assert "tokens" in listed.split(entry.name)[1]
        assert "just now" in listed
        assert run("cache", "--folder", str(tmp_path), "--older-than", "1")[1] == f"no caches in {tmp_path}\n"
        kept = run("cache", "--folder", str(tmp_path), "--clear", "all", "--older-than", "1")
        assert kept == (0, f"nothing to remove in {tmp_path}\n", "")
        for days in ("-1", "nan", "inf"):
            status, _, errors = run("cache", "--folder", str(tmp_path), "--older-than", days)
            assert (status, "--older-than: expected a number of days from 0" in errors) == (2, True)
        (tmp_path / "mine").mkdir()
        assert "left alone: mine (it has no index.json)" in run("cache", "--folder", str(tmp_path))[1]
        (tmp_path / "mine").rmdir()
        run("cache", "--folder", str(tmp_path), "--clear", "all")
        assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]

    def test_recipe_lists_prints_and_describes(self, run):
        status, output, _ = run("recipe")
        assert status == 0
        assert [line.split()[0] for line in output.splitlines()] == ["amazon_reviews", "demo", "fdu_mtl", "mnli"]
        assert "#" not in output
        _, text, _ = run("recipe", "mnli")
        assert text == (Path(commands.__file__).parents[1] / "recipe/packaged/mnli.yaml").read_text()
        _, schema, _ = run("recipe", "--schema")
        assert "student" in json.loads(schema)["properties"]
        assert run("recipe", "dmo")[0] == 2


class TestPredict:
    """Its verb alone; what it says of texts, streams and tables: tests/cli/test_prediction.py."""

    @pytest.fixture
    def given(self, library, monkeypatch, tmp_path):
        """A folder that looks like a student's, and what takes note of the calls of the three ways."""
        monkeypatch.chdir(tmp_path)
        write_student_names(tmp_path / "student")
        monkeypatch.setattr(sys, "stdin", None)
        names = ("predict_texts", "predict_lines", "predict_table")
        ways = {name: create_autospec(getattr(leaving, name)) for name in names}
        for name, way in ways.items():
            monkeypatch.setattr(leaving, name, way)
        return SimpleNamespace(**ways)

    def test_texts(self, run, given):
        assert run(
            "predict", "student", "--domain", "books", "one", "two", "--text-pair", "three", "--text-pair=four"
        ) == (
            0,
            "",
            "",
        )
        call = given.predict_texts.call_args
        assert call.args[2:] == (["one", "two"], ["three", "four"])
        assert call.kwargs == {"domain": "books", "all_labels": False, "as_json": False}

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--domain", "books", "-5 stars, awful"],
            ["-5 stars, awful", "--domain", "books"],
            ["--domain", "books", "--", "-5 stars, awful"],
        ],
    )
    def test_a_text_that_begins_with_a_dash(self, run, given, arguments):
        assert run("predict", "student", *arguments) == (0, "", "")
        assert given.predict_texts.call_args.args[2] == ["-5 stars, awful"]

    def test_dashes_of_other_arguments(self, run, given):
        arguments = ["--domain", "- odd", "a", "--text-pair", "--- b c", "--", "--help", "-x"]
        assert run("predict", "student", *arguments) == (0, "", "")
        assert given.predict_texts.call_args.args[2:] == (["a", "--help", "-x"], ["--- b c"])
        assert given.predict_texts.call_args.kwargs["domain"] == "- odd"

    def test_a_dash_that_is_taken_for_a_flag_is_explained(self, run, given):
        status, _, errors = run("predict", "student", "--domain", "books", "-awful")
        assert status == 2
        assert "A text that begins with a dash stands behind --" in errors

    @pytest.mark.parametrize(
        "names", ["--text-column --pair-column --domain-column", "--data.text --data.text_pair --data.domain"]
    )
    def test_a_table(self, run, given, names):
        columns = [word for pair in zip(names.split(), "abc", strict=True) for word in pair]
        arguments = ["--input", "in.csv", "--output", "-", *columns, "--prefix", "p_", "--on-bad-row", "skip"]
        assert run("predict", "student", *arguments) == (0, "", "")
        assert given.predict_table.call_args.args[2:] == ("in.csv", "-")
        flags = given.predict_table.call_args.kwargs["flags"]
        how = flags.labelling("books", True)
        assert vars(how) == {
            "domain": "books",
            "text": "a",
            "text_pair": "b",
            "domain_column": "c",
            "all_labels": True,
            "prefix": "p_",
            "on_bad_row": "skip",
        }

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "give either texts to classify, or --input and --output"),
            (["--input", "in.csv"], "--input and --output belong together"),
            (["a text", "--input", "in.csv", "--output", "out.csv"], "give either texts"),
            (["--input", "in.csv", "--output", "out.csv", "--text-pair", "b"], "name the column (--pair-column)"),
            (["a text", "--text-column", "body", "--on-bad-row", "skip"], "--text-column, --on-bad-row: for a table"),
            (["--input", "in.csv", "--output", "out.csv", "--on-bad-row", "drop"], "Choose from"),
        ],
    )
    def test_half_of_what_is_needed(self, run, given, arguments, said):
        status, _, errors = run("predict", "student", *arguments)
        assert status == 2
        assert said in errors


@slow
@pytest.mark.parametrize(
    "arguments", [["--version"], ["recipe"], ["data", "demo"], ["cache"], ["predict", "x", "-"], ["export", "x", "y"]]
)
def test_what_is_the_work_of_one_process_is_that_of_the_first_of_a_launch(run, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HRKD_CACHE", str(tmp_path / "cache"))
    alone = run(*arguments)
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", **PLACE}.items():
        monkeypatch.setenv(name, value)
    assert run(*arguments) == alone
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run(*arguments) == (0, "", "")


@pytest.mark.parametrize("verb", ["compress", "predict", "evaluate", "recipe"])
def test_a_launch_without_all_its_variables_is_told_by_every_verb(run, monkeypatch, verb):
    monkeypatch.setenv("RANK", "1")
    status, output, errors = run(verb, "demo")
    assert (status, output) == (2, "")
    assert errors.startswith("error: RANK=1 in the environment speaks of a launch, and WORLD_SIZE, LOCAL_RANK,")


class TestTerminal:
    @pytest.fixture
    def logger(self):
        logger = logging.getLogger("hrkd")
        before = logger.handlers, logger.level
        yield logger
        logger.handlers, logger.level = before

    def test_log_lines_go_to_stderr_once(self, logger, capsys):
        terminal._log_to_stderr()
        terminal._log_to_stderr()
        logging.getLogger("hrkd.data").info("12 rows left out")
        output, errors = capsys.readouterr()
        assert output == ""
        assert re.fullmatch(r"\d\d:\d\d:\d\d INFO 12 rows left out\n", errors)

    def test_other_processes_of_a_launch_are_quiet(self, logger, capsys, monkeypatch):
        for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", **PLACE}.items():
            monkeypatch.setenv(name, value)
        terminal._log_to_stderr()
        logging.getLogger("hrkd.data").warning("12 rows left out")
        assert capsys.readouterr() == ("", "")

    def test_on_a_terminal_log_and_progress_share_a_console(self, logger, monkeypatch):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        terminal._log_to_stderr()
        assert terminal.progress()._console is logger.handlers[0].console

    def test_other_libraries_are_quiet_unless_the_user_says_otherwise(self):
        code = (
            "import os; os.environ['TRANSFORMERS_VERBOSITY'] = 'info';"
            "from hrkd.cli.terminal import prepare; prepare();"
            "from transformers.utils import logging; import datasets;"
            "print(logging.get_verbosity(), datasets.logging.get_verbosity(), datasets.is_progress_bar_enabled());"
            "status = 0"
        )
        _, output, _, _ = shell(code=code)
        assert output.split() == [str(logging.INFO), str(logging.ERROR), "False"]

    def test_heavy_imports_are_not_searched_for_garbage_and_later_objects_are(self):
        code = (
            "import gc, weakref; from hrkd.cli.terminal import heavy_imports\n"
            "with heavy_imports(): during = gc.isenabled(); import torch\n"
            "kept = gc.get_freeze_count()\n"
            "with heavy_imports(): again = gc.isenabled()\n"
            "class Loop: pass\n"
            "loop = Loop(); loop.itself = loop; seen = weakref.ref(loop); del loop; gc.collect()\n"
            "print(during, again, gc.isenabled(), kept > 10_000, kept == gc.get_freeze_count(), seen()); status = 0"
        )
        assert shell(code=code)[1].split() == ["False", "True", "True", "True", "True", "None"]


@pytest.mark.parametrize(
    "command",
    [
        "compress LONG",
        "compare LONG",
        "evaluate LONG",
        "predict LONG -",
        "export LONG out",
        "cache --folder LONG",
        "distill demo --teacher-folder LONG",
    ],
)
def test_names_that_no_file_can_have(run, command):
    status, _, errors = run(*command.replace("LONG", "x" * 256).split())
    assert status == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") <= 2
