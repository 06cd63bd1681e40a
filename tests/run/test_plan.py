"""`--dry-run` and `--hours`: what is told before a run, against what the run then does."""

import json
import os
import shutil
from pathlib import Path

import pytest

from hrkd.cli import main, terminal
from hrkd.errors import ArtifactError, RecipeError
from hrkd.recipe.loading import load_recipe, recipe_to_yaml
from hrkd.run import budget, stage_costs, timing
from hrkd.run.commands import compress, train_teacher
from hrkd.run.plan import plan
from hrkd.support.text_table import PlainTable
from killed import Killed
from tiny import tiny_recipe

SHORT = {
    "teacher.training.epochs": 3,
    "student.training.epochs": 2,
    "teacher.allow_weak": True,
    "data.synthetic.examples": 80,
    "evaluation.linear": True,
}


def recipe(folder, **changes):
    return tiny_recipe(folder / "run", **SHORT | {"cache.folder": str(folder / "cache")} | changes)


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stages(found):
    return {each["name"]: each for each in found.content["stages"]}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A folder with what was planned in it, then the run, then the plan of the same again."""
    folder = tmp_path_factory.mktemp("planned")
    shown = []
    before = plan(recipe(folder), show=shown.append)
    assert list(folder.iterdir()) == [], "nothing is written"
    results = compress(recipe(folder))
    kept = files_below(folder)
    after = plan(recipe(folder))
    assert files_below(folder) == kept
    return folder, before, results, after, shown


def test_steps_and_rows_are_those_of_the_run(planned):
    _, before, results, _, _ = planned
    models = {"teacher": "teacher", "student": "student", "baseline": "student_without_distillation"}
    told = stages(before)
    assert {name: each["steps_left"] for name, each in told.items()} == {
        name: results["steps"][model] for name, model in models.items()
    }
    assert before.content["rows"]["train"] == results["train_rows"]
    assert {each["state"] for each in told.values()} == {"to make"}
    assert [row["parameters"] for row in before.content["models"]] == [
        results["models"][name]["parameters"] for name in ("teacher", "student")
    ]
    assert before.content["models"][1]["imitates"]
    assert all(each["seconds"] > 0 for each in told.values())
    assert before.content["seconds"] > sum(each["seconds"] for each in told.values())
    assert before.recipe == recipe(planned[0])
    assert load_recipe(before.content["recipe"]) == before.recipe


def test_caches_are_as_large_as_told_and_found_afterwards(planned):
    folder, before, _, after, _ = planned
    (expected,) = [each for each in before.content["caches"] if each["kind"] == "teacher"]
    other = recipe(folder, **{"student.width": 12, "run.output": str(folder / "other")})
    again = plan(other, verb="distill", teacher_folder=folder / "run")
    (found,) = [each for each in again.content["caches"] if each["kind"] == "teacher"]
    assert (expected["there"], found["there"]) == (False, True)
    cache = folder / "cache" / found["name"]
    assert expected["bytes"] == found["bytes"]
    assert sum(path.stat().st_size for path in cache.glob("*.bin")) == expected["bytes"]
    made = {each["kind"]: each for each in before.content["caches"]}
    assert set(made) == {"teacher", "tokens"}
    again = {(each["kind"], each["there"]) for each in after.content["caches"]}
    assert again == {("tokens", True), ("linear", True)}, "nothing is asked of the teacher any more"
    assert any("linear model" in note for note in before.content["notes"])
    assert not any("linear model" in note for note in after.content["notes"])


def test_finished_stages_take_no_time(planned):
    _, _, _, after, _ = planned
    assert {each["state"] for each in stages(after).values()} == {"finished"}
    assert {each["seconds"] for each in stages(after).values()} == {0.0}
    assert all(each["steps_left"] == 0 for each in stages(after).values())


def test_tables_are_shown(planned):
    *_, shown = planned
    tables = {each.title: each for each in shown if isinstance(each, PlainTable)}
    (title,) = [title for title in tables if title.startswith("Plan of hrkd compress into ")]
    assert [row[0] for row in tables[title].rows] == ["teacher", "student", "baseline", "measuring", "all"]
    assert any(note.startswith("Memory: ") for note in tables[title].notes)
    assert tables["Rows"].rows[-1][0] == "all"
    caches = [row[:2] for row in tables["Caches"].rows]
    assert ("what the teacher says", "to make") in caches
    assert sorted(each for each, _ in caches if each.startswith("token ids")) == [
        "token ids: dev",
        "token ids: test",
        "token ids: train",
    ]


def test_a_stage_under_way_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_teacher(recipe(tmp_path), progress=Killed("teacher 3/"))
    told = stages(plan(recipe(tmp_path), verb="train-teacher"))["teacher"]
    assert (told["state"], told["epochs"], told["epochs_done"]) == ("under way", 3, 2)
    assert told["steps_left"] == told["steps_of_epoch"]


def test_a_folder_of_other_settings_is_refused_or_made_anew(planned, tmp_path):
    run = shutil.copytree(planned[0] / "run", tmp_path / "run")
    before = files_below(run)
    with pytest.raises(ArtifactError, match="its student was made with other settings"):
        plan(recipe(tmp_path, **{"student.width": 12}))
    told = stages(plan(recipe(tmp_path, **{"student.width": 12, "run.overwrite": True})))
    assert {name: each["state"] for name, each in told.items()} == {
        "teacher": "finished",
        "student": "to make anew",
        "baseline": "to make anew",
    }
    assert files_below(run) == before


def test_other_verbs_and_forms(planned, tmp_path):
    teacher = planned[0] / "run"
    assert list(stages(plan(recipe(tmp_path), verb="train-baseline", teacher_folder=teacher))) == ["baseline"]
    two = {"method.stages": "two", "student.training.epochs": 3, "student.baseline": False}
    told = stages(plan(recipe(tmp_path, **two), verb="distill", teacher_folder=teacher))
    assert {name: each["epochs"] for name, each in told.items()} == {"levels": 2, "student": 1}
    each_own = {"teacher.encoders": "per_domain", "student.augment": 1, "student.baseline": False}
    found = plan(recipe(tmp_path, **each_own))
    domains = list(found.content["rows"]["train"])
    assert list(stages(found)) == [*(f"teacher {domain}" for domain in domains), "student"]
    assert stages(found)["student"]["rows"] == 2 * sum(found.content["rows"]["train"].values())
    assert any("altered copies" in note for note in found.content["notes"])
    assert not any(path.name == "run" for path in tmp_path.iterdir())
    with pytest.raises(RecipeError, match="verb: 'compare' is none of"):
        plan(recipe(tmp_path), verb="compare")


def test_it_is_the_work_of_one_process(tmp_path, monkeypatch):
    launched = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="without a launcher"):
        plan(recipe(tmp_path))


@pytest.fixture
def command(monkeypatch):
    """The command line without its effects on this process, and with steps of a minute each."""
    for name in ("_log_to_stderr", "keep_freed_memory"):
        monkeypatch.setattr(terminal, name, lambda: None)
    for name in terminal.ENVIRONMENT:
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(timing, "_timed", lambda *_: timing.Timing(60.0))
    monkeypatch.setattr(stage_costs, "seconds_a_text", lambda *_: 0.0)
    monkeypatch.setattr(budget, "FLOOR_STEPS", 1)
    return lambda *arguments: main([*map(str, arguments)])


def test_dry_run_as_json(command, tmp_path, capsys):
    file = tmp_path / "my.yaml"
    file.write_text(recipe_to_yaml(recipe(tmp_path)))
    assert command("compress", file, "--dry-run", "--json") == 0
    output, told = capsys.readouterr()
    content = json.loads(output)
    steps = sum(each["steps_left"] for each in content["stages"])
    assert content["seconds"] == pytest.approx(60.0 * steps, rel=0.02), "and the start of the student"
    assert "Plan of hrkd compress" in told
    assert list(tmp_path.iterdir()) == [file]


def test_a_budget_changes_the_recipe_of_the_run_once(command, tmp_path, capsys, monkeypatch):
    file = tmp_path / "my.yaml"
    file.write_text(recipe_to_yaml(recipe(tmp_path, **{"teacher.training.epochs": 10})))
    assert command("train-teacher", file, "--dry-run", "--json") == 0
    whole = json.loads(capsys.readouterr().out)["seconds"] / 3600
    assert command("train-teacher", file, "--hours", whole / 1000) == 2
    output, told = capsys.readouterr()
    assert f"--hours {whole / 1000:g}: too little" in told
    assert "Plan of hrkd train-teacher" in output, "with the fewest epochs"
    assert "teacher.training.epochs: 1 in the place of 10, the fewest" in output
    assert "does not fit into" in output
    assert command("train-teacher", file, "--hours", whole / 1000, "--dry-run", "--json") == 2
    shortest = json.loads(capsys.readouterr().out)
    assert (shortest["fits"], shortest["stages"][0]["epochs"]) == (False, 1)
    assert shortest["seconds"] / 3600 == pytest.approx(whole / 10, rel=0.02)
    assert list(tmp_path.iterdir()) == [file]
    half = f"{1.001 * whole / 2 / 0.9:.6f}"
    assert command("train-teacher", file, "--hours", half, "--dry-run") == 0
    assert "teacher.training.epochs: 5 in the place of 10, to fit into" in capsys.readouterr().out
    assert command("train-teacher", file, "--hours", half) == 0
    own = tmp_path / "run" / "recipe.yaml"
    made = load_recipe(own, needed=("data", "teacher"))
    assert made.teacher.training.epochs == 5
    monkeypatch.setattr(timing, "_timed", lambda *_: timing.Timing(120.0))
    assert command("train-teacher", file, "--hours", half) == 0, "with the epochs that it found at first"
    assert load_recipe(own, needed=("data", "teacher")) == made
    assert command("train-teacher", file) == 2, "all epochs are another teacher"
    assert "teacher.training.epochs: 5 then, 10 now" in capsys.readouterr().err
    assert Path(made.run.output) == tmp_path / "run"
