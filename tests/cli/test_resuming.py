"""`hrkd resume`: a folder alone is named, and the command that made it goes on."""

import json
import shutil
from pathlib import Path

import pytest

from grids import run_here, tiny_grid
from hrkd.cli import commands, main, terminal
from hrkd.comparison.command import compare
from hrkd.comparison.planning import load_grid
from hrkd.data.synthetic.corpus import synthetic_reviews
from hrkd.recipe.loading import load_recipe, recipe_to_yaml
from hrkd.run.commands import compress, distill, train_baseline, train_teacher
from killed import Killed
from tiny import tiny_recipe as recipe

SHORT = {"teacher.training.epochs": 3, "student.training.epochs": 1, "teacher.allow_weak": True}


@pytest.fixture(autouse=True)
def quiet_process(monkeypatch):
    """The command line without its effects on this process."""
    for name in ("_log_to_stderr", "keep_freed_memory"):
        monkeypatch.setattr(terminal, name, lambda: None)
    for name in terminal.ENVIRONMENT:
        monkeypatch.setenv(name, "")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, in the directory `there`."""
    there = tmp_path_factory.mktemp("there")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(there)
        compress(recipe(Path("runs/mine"), **SHORT))
    return there / "runs" / "mine"


@pytest.mark.parametrize("moves", [False, True])
def test_a_killed_run_goes_on_from_anywhere(tmp_path, monkeypatch, moves, capsys):
    """Relative paths count from where the command was given, and a moved folder goes on where it is now."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
    monkeypatch.chdir(here)
    rows = synthetic_reviews(domains=2, examples=60, seed=1).dataset.rows.to_pandas()[["text", "label", "domain"]]
    rows.assign(label=rows["label"].map({0: "bad", 1: "good"}), domain=rows["domain"].map(str)).to_csv("rows.csv")
    own = {"data": {"source": "rows.csv", "max_length": 32, "dev": 0.2, "test": 0.2}}
    changes = recipe(Path("runs/mine"), **SHORT).model_dump(mode="json") | own
    with pytest.raises(KeyboardInterrupt):
        compress(load_recipe(changes), progress=Killed("teacher 3/"))
    run = Path(shutil.move("runs/mine", elsewhere / "moved")) if moves else here / "runs" / "mine"
    begun = max((run / "checkpoints" / "teacher").glob("*/state.json")).stat().st_mtime_ns
    monkeypatch.chdir(elsewhere)
    assert main(["resume", str(run)]) == 0
    history = json.loads((run / "teacher" / "training.json").read_text())
    assert len(history["epochs"]) == 3
    assert (run / "metrics" / "teacher" / "steps" / "epoch-001.parquet").stat().st_mtime_ns < begun, "as it was"
    assert (run / "results.json").is_file()
    assert "Written: " in capsys.readouterr().out
    assert (here / "runs" / "mine").exists() != moves
    assert Path.cwd() == elsewhere


def test_a_table_that_the_command_line_has_read_is_no_rows_in_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = synthetic_reviews(domains=2, examples=60, seed=1).dataset.rows.to_pandas()[["text", "label", "domain"]]
    rows.assign(label=rows["label"].map({0: "bad", 1: "good"}), domain=rows["domain"].map(str)).to_csv("rows.csv")
    own = {"data": {"source": "rows.csv", "max_length": 32, "dev": 0.2, "test": 0.2}}
    changes = recipe(Path("runs/mine"), **SHORT).model_dump(mode="json") | own
    Path("my.yaml").write_text(json.dumps(changes))
    assert main(["compress", "my.yaml"]) == 0
    capsys.readouterr()
    assert main(["resume", "runs/mine"]) == 0
    assert capsys.readouterr().out.startswith("runs/mine: finished; its results: ")


def test_a_finished_run_says_where_its_results_are_and_does_nothing(finished, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main(["resume", str(finished)]) == 0
    assert capsys.readouterr() == (f"{finished}: finished; its results: {finished}/results.md\n", "")
    assert main(["resume", str(finished), "--json"]) == 0
    output, told = capsys.readouterr()
    assert json.loads(output) == json.loads((finished / "results.json").read_text())
    assert told.startswith(f"{finished}: finished")
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.parametrize(("call", "stage"), [(distill, "student"), (train_baseline, "baseline")])
def test_a_stage_after_another_runs_teacher_goes_on_with_it(finished, tmp_path, monkeypatch, call, stage):
    monkeypatch.chdir(finished.parents[1])
    run = tmp_path / "run"
    changes = SHORT | {"student.width": 12, "student.baseline": False}
    with pytest.raises(KeyboardInterrupt):
        call(recipe(run, **changes), teacher_folder="runs/mine", progress=Killed(stage))
    monkeypatch.chdir(tmp_path)
    assert main(["resume", "run"]) == 0
    assert (run / stage / "model.safetensors").is_file()
    assert not (run / "teacher").exists()


def test_a_teacher_alone(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        train_teacher(recipe(tmp_path / "run", **SHORT), progress=Killed("teacher 2/"))
    assert main(["resume", str(tmp_path / "run"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(tmp_path / "run" / "teacher")
    assert 0 < told["dev"]["mean"]["accuracy"] <= 1
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/run: finished; its results: {tmp_path}/run/teacher\n"
    assert not (tmp_path / "run" / "student").exists()


def without(folder, name):
    (folder / name).unlink()
    return folder


def test_what_cannot_go_on_says_what_to_do(finished, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    older = without(shutil.copytree(finished, tmp_path / "older"), "command.json")
    gone = shutil.copytree(finished, tmp_path / "gone")
    record = json.loads((gone / "command.json").read_text())
    (gone / "command.json").write_text(json.dumps(record | {"directory": str(tmp_path / "nowhere")}))
    younger = shutil.copytree(finished, tmp_path / "younger")
    (younger / "command.json").write_text(json.dumps(record | {"version": 2}))
    expected = {
        tmp_path / "missing": "no such folder; name the output folder of a run",
        tmp_path / "empty": "no run of hrkd, and no comparison",
        older: f"give that command again, from the directory that its relative paths count from: hrkd compress "
        f"{older}/recipe.yaml --run.output {older}",
        gone: f"which is no longer there; go to where they count from now, and give the command: hrkd compress {gone}",
        younger: "of a younger hrkd",
    }
    for folder, said in expected.items():
        assert main(["resume", str(folder)]) == 2
        assert said in capsys.readouterr().err


def test_rows_in_memory_are_not_in_the_folder(tmp_path, capsys):
    rows = synthetic_reviews(domains=2, examples=60, seed=1).dataset
    with pytest.raises(KeyboardInterrupt):
        compress(recipe(tmp_path / "run", **SHORT), data=rows, progress=Killed("teacher 2/"))
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "was made from Python with data in memory" in capsys.readouterr().err


def test_a_comparison_goes_on_and_says_that_it_is_finished(tmp_path, monkeypatch, capsys):
    names = run_here(monkeypatch)
    one = {"seeds": [0], "methods": {"uniform": {"method.graph": "uniform"}, "labels": {"learns_from": "labels"}}}
    monkeypatch.chdir(tmp_path)
    compare(tiny_grid(Path(), **one))
    shutil.rmtree(next((tmp_path / "out" / "cells").rglob("uniform")))
    folder = Path(shutil.move(tmp_path / "out", tmp_path / "moved"))
    names.clear()
    assert main(["resume", str(folder)]) == 0
    assert names == ["cells/data/fraction-1.0/uniform/seed-0"]
    assert f"Written: {folder}/compare.html" in capsys.readouterr().out
    assert main(["resume", str(folder), "--json"]) == 0
    output, told = capsys.readouterr()
    assert json.loads(output)["missing"] == []
    assert told == f"{folder}: finished; its results: {folder}/compare.md\n"
    without(folder, "command.json")
    assert main(["resume", str(folder)]) == 2
    assert "hrkd compare GRID goes on with it" in capsys.readouterr().err
    assert not load_grid(tiny_grid(Path(), **one)).grid.output.exists()


def test_an_interrupted_run_ends_with_the_command_that_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(recipe_to_yaml(recipe(Path("my runs/mine"), **SHORT)))
    monkeypatch.setattr(commands, "progress", lambda: Killed("teacher 1/"))
    going_on = "hrkd resume 'my runs/mine'\n"
    assert main(["compress", "my.yaml"]) == 130
    assert capsys.readouterr().err.endswith(f"error: interrupted; checkpoints are kept; to go on: {going_on}")
    assert main(["resume", "my runs/mine"]) == 130
    assert capsys.readouterr().err.endswith(going_on)
    for unfinished in (["evaluate"], ["predict", "--domain", "0", "--", "a text"], ["report"], ["errors"]):
        verb, *more = unfinished
        assert main([verb, "my runs/mine", *more]) == 2
        assert capsys.readouterr().err.endswith(going_on), verb
    assert main(["distill", "my.yaml", "--teacher-folder", "my runs/mine", "--run.output", "other"]) == 2
    assert capsys.readouterr().err.endswith(going_on)


def test_an_interrupt_before_anything_is_written_names_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(recipe_to_yaml(recipe(Path("runs/mine"), **SHORT)))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hrkd.run.commands.opened", interrupted)
    assert main(["compress", "my.yaml"]) == 130
    assert "hrkd resume" not in capsys.readouterr().err
    assert not Path("runs").exists()
