"""What a run's folder may hold beside the run: files of others, links, damage, another process, another place."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from hrkd.errors import ArtifactError, RecipeError
from hrkd.recipe.loading import load_recipe, recipe_to_yaml
from hrkd.recipe.schema import RunConfig
from hrkd.run.commands import compress, distill, train_teacher
from hrkd.run.evaluation import evaluate
from hrkd.run.first_look import teacher_in
from hrkd.run.folder import RunFolder
from hrkd.support.atomic_files import is_leftover
from hrkd.support.stage_files import TABLES
from hrkd.training.selection import DevAccuracy
from slow import slowly
from tiny import tiny_recipe

QUICK = {"teacher.training.epochs": 1, "student.training.epochs": 1, "student.baseline": False}


def recipe(folder, **changes):
    return tiny_recipe(folder, **{**QUICK, "data.synthetic.examples": 60, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "run"
    compress(recipe(folder))
    return folder


@pytest.fixture
def run(made, tmp_path):
    """A finished run of one's own."""
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_step_table_is_known_to_be_hrkds(made):
    assert {path.name for path in (made / "metrics" / "student").iterdir()} == set(TABLES)


MINE = (
    ".notes-20251128",
    ".backup-november/weights.bin",
    "student/notes.txt",
    "student/backup/config.json",
    "student/README.md.before",
    "metrics/mine.csv",
    "metrics/student/steps/mine.csv",
    "metrics/student/mine/epoch-001.parquet",
    "predictions/mine.parquet",
    "teacher/.hidden",
    "checkpoints/student/notes.txt",
    "checkpoints/levels/state.json.txt",
)


def test_files_of_others_stay_whatever_is_made_anew(run):
    for name in MINE:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("mine")
    compress(recipe(run))
    assert all((run / name).read_text() == "mine" for name in MINE)
    before = content(run)
    compress(recipe(run, **{"student.width": 12, "teacher.training.learning_rate": 1e-3, "run.overwrite": True}))
    after = content(run)
    assert {name: after[name] for name in MINE} == dict.fromkeys(MINE, b"mine")
    assert after.keys() == before.keys()
    assert after["student/model.safetensors"] != before["student/model.safetensors"]
    assert after["teacher/model.safetensors"] != before["teacher/model.safetensors"]
    compress(recipe(run, **{"student.width": 12, "teacher.training.learning_rate": 1e-3}))  # all is finished and whole


def test_an_older_folder_without_manifests_is_taken_up_and_made_anew(run, made):
    for path in run.rglob("manifest.json"):
        path.unlink()
    (run / "student" / "notes.txt").write_text("mine")
    compress(recipe(run))
    assert content(run)["student/model.safetensors"] == content(made)["student/model.safetensors"]
    compress(recipe(run, **{"student.width": 12, "run.overwrite": True}))
    assert (run / "student" / "notes.txt").read_text() == "mine"
    assert not list((run / "student").glob("*.before"))


def test_a_recipe_of_the_users_is_no_run(tmp_path):
    mine = tmp_path / "project" / "recipe.yaml"
    mine.parent.mkdir()
    mine.write_text("# mine\n" + recipe_to_yaml(recipe(mine.parent)))
    with pytest.raises(ArtifactError, match=r"not a run of hrkd \(found recipe.yaml\); choose another run.output"):
        compress(str(mine))
    assert [path.name for path in mine.parent.iterdir()] == ["recipe.yaml"]
    assert mine.read_text().startswith("# mine")


@pytest.mark.parametrize("name", ["checkpoints", "metrics", "predictions", "student"])
def test_no_link_is_followed(run, tmp_path, name):
    outside = tmp_path / "outside"
    shutil.move(run / name, outside) if (run / name).exists() else outside.mkdir()
    (run / name).symlink_to(outside)
    before = content(outside)
    with pytest.raises(ArtifactError, match=f"{name}: is a link to .*outside"):
        compress(recipe(run, **{"student.width": 12, "run.overwrite": True}))
    assert content(outside) == before


def test_a_finished_stage_may_be_a_link(run, tmp_path):
    shutil.move(run / "teacher", tmp_path / "outside")
    (run / "teacher").symlink_to(tmp_path / "outside")
    before = content(tmp_path / "outside")
    compress(recipe(run, **{"student.width": 12, "run.overwrite": True}))
    assert content(tmp_path / "outside") == before


def damage(path, how):
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_text(how)


FILES = ("model.safetensors", "config.json", "tokenizer.json", "training.json", "stage.json", "manifest.json")


@pytest.mark.parametrize("how", ["cut", *slowly("missing")])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_finished_stage_is_named_before_anything_is_written(run, name, how):
    if (name, how) == ("manifest.json", "missing"):
        pytest.skip("as of earlier versions")
    damage(run / "student" / name, how)
    before = content(run)
    with pytest.raises(ArtifactError, match=f"student.*{name}") as error:
        compress(recipe(run))
    assert f"delete the folder {run / 'student'} and the same command makes it anew" in str(error.value)
    before.pop(".lock"), (after := content(run)).pop(".lock")
    assert after == before
    shutil.rmtree(run / "student")  # as the message says
    compress(recipe(run))
    assert (run / "student" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("stage.json", "missing", "the record of a stage is missing"),
        ("stage.json", "[]", "is no mapping"),
        ("training.json", '{"epochs": [], "steps": 1}', "lacks best_epoch, best_per_domain, layer_map"),
        ("training.json", "{", "cannot be read"),
        ("training.json", "missing", "is missing"),
    ],
)
def test_so_is_a_record_of_an_older_one_without_a_manifest(run, name, how, said):
    (run / "student" / "manifest.json").unlink()
    damage(run / "student" / name, how)
    with pytest.raises(ArtifactError, match=f"{name}: .*{said}.*delete the folder .*student and the same"):
        compress(recipe(run))


def test_without_weights_a_stage_is_not_finished(run, made):
    (run / "student" / "manifest.json").unlink()
    (run / "student" / "model.safetensors").unlink()
    assert not RunFolder(run).stage("student").is_finished
    compress(recipe(run))
    assert content(run)["student/model.safetensors"] == content(made)["student/model.safetensors"]


def test_tables_that_are_cut_are_named(run):
    table = run / "metrics" / "student" / "levels" / "epoch-001.parquet"
    table.write_bytes(table.read_bytes()[:500])
    with pytest.raises(ArtifactError, match=f"{table.name}: .*cannot be read.*delete the folder .*student"):
        compress(recipe(run))


def stop_after(monkeypatch, epochs):
    from hrkd.training.selection import DevAccuracy

    original, calls = DevAccuracy.__call__, []

    def killed(self, epoch):
        calls.append(epoch)
        if len(calls) > epochs:
            raise KeyboardInterrupt
        return original(self, epoch)

    monkeypatch.setattr(DevAccuracy, "__call__", killed)


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("student.json", "3", "is no mapping"),
        ("student-best-per-domain.json", '{"books": {}}', "damaged"),
        ("student/*/state.safetensors", "missing", "state.safetensors"),
        *slowly(
            ("student.json", "missing", "is missing"),
            ("student-best-per-domain.json", "missing", "is missing"),
            ("student/*/state.json", "cut", "state.json"),
        ),
    ],
)
def test_damage_to_what_is_under_way_is_named(made, tmp_path, monkeypatch, name, how, said):
    more = {"student.training.epochs": 3}
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            distill(recipe(tmp_path / "run", **more), teacher_folder=made)
    paths = list((tmp_path / "run" / "checkpoints").glob(name))
    assert paths
    for path in paths:
        damage(path, how)
    with pytest.raises(ArtifactError, match=said) as error:
        distill(recipe(tmp_path / "run", **more), teacher_folder=made)
    assert "delete th" in str(error.value)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "student")
    distill(recipe(tmp_path / "run", **more), teacher_folder=made)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_second_command_is_refused_while_the_first_lives(run):
    hold = (
        "import sys, time; from hrkd.run.folder import RunFolder; from hrkd.recipe.schema import RunConfig\n"
        "with RunFolder.at_work(RunConfig(output=sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", hold, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        before = content(run)
        start = time.monotonic()
        for command in (compress, distill, train_teacher):
            with pytest.raises(
                ArtifactError, match=rf"run: hrkd is at work here \(process {process.pid} on .*since 20"
            ):
                command(recipe(run, **{"student.width": 12, "run.overwrite": True}))
        assert time.monotonic() - start < 2, "at once"
        assert content(run) == before
        assert evaluate(run)["mean"]["examples"] > 0, "who only reads is not kept out"
    finally:
        process.kill()
        process.wait()
    compress(recipe(run))


def test_of_two_that_begin_in_an_empty_place_one_is_refused(tmp_path):
    runs = RunConfig(output=tmp_path / "run")
    with RunFolder.at_work(runs) as first, RunFolder.at_work(runs) as second:
        first.open("data: {}\n", {})
        with pytest.raises(ArtifactError, match="is at work here"):
            second.open("data: {a: 1}\n", {})
    assert (tmp_path / "run" / "recipe.yaml").read_text() == "data: {}\n"


def test_one_process_of_a_launch_holds_the_folder_for_all(run, monkeypatch):
    with RunFolder.at_work(RunConfig(output=run)):
        launched(monkeypatch, rank=1, size=2)
        with RunFolder.at_work(RunConfig(output=run)):
            pass


def launched(monkeypatch, *, rank, size):
    """As if this process were one of several that were started together."""
    of_launch = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": 29500}
    for name, value in of_launch.items():
        monkeypatch.setenv(name, str(value))


def test_a_variable_of_a_launch_that_is_left_over_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(RecipeError, match="RANK=1 in the environment speaks of a launch, and WORLD_SIZE"):
        compress(recipe(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("taken_anew", [False, True])
def test_a_run_whose_lock_is_removed_stops_before_it_writes(tmp_path, monkeypatch, taken_anew):
    output = tmp_path / "run"

    def removed(folder, *arguments, **others):
        (output / ".lock").unlink()
        if taken_anew:
            (output / ".lock").touch()
        return measure(folder, *arguments, **others)

    measure = DevAccuracy.__call__
    monkeypatch.setattr(DevAccuracy, "__call__", removed)
    with pytest.raises(ArtifactError, match=r"run/\.lock: .*removed or replaced.*; this one stops\. Once no other"):
        compress(recipe(output))
    assert not (output / "teacher").exists()
    assert not list(output.glob("checkpoints/teacher/*"))
    monkeypatch.undo()
    compress(recipe(output))
    assert (output / "results.json").is_file()


def test_an_output_that_is_a_file_is_told_at_once(tmp_path):
    (tmp_path / "run").write_text("mine")
    for output in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(ArtifactError, match="is a file"):
            compress(recipe(output))
    assert (tmp_path / "run").read_text() == "mine"


def test_the_folder_of_a_run_names_its_teacher(made, tmp_path):
    assert teacher_in(made) == made / "teacher"
    assert teacher_in(made / "teacher") == made / "teacher"
    distill(recipe(tmp_path / "b"), teacher_folder=made)
    assert content(tmp_path / "b")["student/model.safetensors"] == content(made)["student/model.safetensors"]
    with pytest.raises(ArtifactError, match="b/teacher: the teacher of this run is not finished yet"):
        distill(recipe(tmp_path / "c"), teacher_folder=tmp_path / "b")


def test_a_teacher_is_not_deleted_by_a_command_that_makes_none(run):
    before = content(run)
    changes = {"teacher.training.learning_rate": 1e-3, "run.overwrite": True}
    with pytest.raises(
        ArtifactError, match=r"teacher was made with other settings .*this command makes none; hrkd com"
    ):
        distill(recipe(run, **changes))
    after = content(run)
    assert {**after, ".lock": b""} == {**before, ".lock": b""}


def test_a_moved_run_says_where_it_goes(run, tmp_path, caplog):
    (run / "recipe.yaml").write_text(recipe_to_yaml(recipe(tmp_path / "elsewhere")))
    with caplog.at_level(logging.WARNING, "hrkd"):
        compress(str(run / "recipe.yaml"))
    assert f"says run.output: {tmp_path / 'elsewhere'}, where this run goes; --run.output {run} goes on" in caplog.text
    caplog.clear()
    here = load_recipe(str(run / "recipe.yaml"), {"run.output": str(run)})
    (run / "recipe.yaml").write_text(recipe_to_yaml(here))
    with caplog.at_level(logging.WARNING, "hrkd"):
        compress(str(run / "recipe.yaml"))
    assert "goes on" not in caplog.text


def test_other_versions_are_told_and_kept_in_the_record(run, caplog):
    mark = run / "student" / "stage.json"
    record = json.loads(mark.read_text())
    assert record["versions"]["torch"]
    (run / "student" / "manifest.json").unlink()
    mark.write_text(json.dumps({**record, "versions": {**record["versions"], "torch": "1.0"}}))
    with caplog.at_level(logging.WARNING, "hrkd"):
        compress(recipe(run))
    (told,) = [line.getMessage() for line in caplog.records if "made with" in line.getMessage()]
    assert told.startswith(f"student: was made with torch 1.0 (now {record['versions']['torch']});")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rows = [
        {"text": f"{'good fine' if i % 2 else 'bad poor'} w{i} {d}{i}", "label": "pn"[i % 2], "domain": d}
        for d in ("books", "films")
        for i in range(60)
    ]
    file = tmp_path_factory.mktemp("table") / "old.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def from_table(folder, file, **changes):
    data = {"source": str(file), "max_length": 16, "dev": 0.2, "test": 0.2}
    base = recipe(folder).model_dump(mode="json", exclude_unset=True)
    return load_recipe({**base, "data": data}, changes)


@pytest.fixture(scope="module")
def of_table(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("of_table") / "run"
    compress(from_table(folder, table))
    return folder


def test_a_file_of_another_name_is_told_from_other_rows(of_table, table, tmp_path):
    frame = pd.read_csv(table)

    def told(frame, name="old.csv"):
        frame.to_csv(tmp_path / name, index=False)
        with pytest.raises(ArtifactError) as error:
            compress(from_table(of_table, tmp_path / name))
        message = str(error.value)
        assert "its teacher was made with other settings (data: " in message
        return message

    message = told(frame, "new.csv")
    if "old.csv" in (of_table / "splits.json").read_text():
        assert "the same rows under other names" in message
        assert "old.csv" in message
        assert "new.csv" in message
    assert "data: other rows: 120 rows then, 118 now; " in told(frame.iloc[1:-1])
    swapped = frame.assign(label=frame["label"].where(frame.index > 1, frame["label"][1]))
    assert "n: " in told(swapped) or "then" in told(swapped)
    other = frame.assign(text=frame["text"].str.replace("w3 ", "w4 "))
    assert "data: " in told(other)
    for text in (message, told(other)):
        assert not any(len(word) == 64 for word in text.split()), "no hashes"


def test_fp16_needs_a_gpu(tmp_path):
    with pytest.raises(RecipeError, match=r"precision: fp16 is for a GPU; it excludes device: cpu"):
        recipe(tmp_path / "run", **{"run.precision": "fp16"})
    if not torch.cuda.is_available():
        with pytest.raises(RecipeError, match=r"run.precision: fp16 is for a GPU, and torch finds none; choose bf16"):
            compress(recipe(tmp_path / "run", **{"run.precision": "fp16", "run.device": "auto"}))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="rights do not bind root")
def test_a_folder_without_rights_is_told_at_once(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(ArtifactError, match="may not be written to"):
        compress(recipe(tmp_path / "closed" / "run"))


def test_a_model_card_that_was_edited_stays(run, caplog):
    card = run / "student" / "README.md"
    as_written = card.read_text()
    compress(recipe(run))
    assert card.read_text() == as_written
    card.write_text("mine")
    with caplog.at_level(logging.INFO, "hrkd"):
        compress(recipe(run))
        compress(recipe(run))
    assert card.read_text() == "mine"
    assert "README.md: is not known to be as hrkd wrote it, and stays" in caplog.text
    compress(recipe(run, **{"student.width": 12, "run.overwrite": True}))
    assert card.read_text() != "mine"
    assert card.with_name("README.md.before").read_text() == "mine"
    card.unlink()
    compress(recipe(run, **{"student.width": 12}))
    assert card.is_file()


def test_a_run_that_was_killed_at_its_first_file_begins_anew(tmp_path):
    cut_off = tmp_path / "run" / ".hrkd-tmp-0123456789abcdef"
    cut_off.mkdir(parents=True)
    (cut_off / "mine").touch()
    with pytest.raises(ArtifactError, match="not a run of hrkd"):
        compress(recipe(tmp_path / "run"))
    (cut_off / "mine").unlink()
    assert is_leftover(cut_off), "the process was killed before the folder said what it is"
    (cut_off / ".hrkd").write_text(json.dumps({"temporary": cut_off.name, "of": "recipe.yaml", "holds": "new"}))
    (tmp_path / "run" / "environment.json").write_text("{}")
    with RunFolder.at_work(RunConfig(output=tmp_path / "run")) as folder:
        folder.check({})
        folder.open("data: {}\n", {})
    assert not cut_off.exists()


@pytest.mark.parametrize("place", ["metrics", "predictions", "metrics/student", "checkpoints/student", "student"])
def test_what_is_in_the_way_is_told_before_a_stage_is_removed(run, place):
    path = run / place
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    (run / ".lock").unlink()  # which says since when
    before = content(run)
    with pytest.raises(ArtifactError, match=rf"{place}: is a file, where hrkd writes a folder; move it"):
        compress(recipe(run, **{"student.width": 12, "run.overwrite": True}))
    (run / ".lock").unlink()
    assert content(run) == before


def test_a_folder_in_the_place_of_a_file_is_told(run):
    (run / "results.md").unlink()
    (run / "results.md").mkdir()
    with pytest.raises(ArtifactError, match=r"results\.md: is a folder, where hrkd writes a file"):
        compress(recipe(run))


def test_a_run_that_lost_what_makes_it_one_is_told_so(run):
    (run / "environment.json").unlink()
    with pytest.raises(ArtifactError, match=r"looks like a run of hrkd whose environment\.json is missing; restore it"):
        compress(recipe(run))


def test_a_record_of_another_form_is_told_by_an_evaluation_too(run):
    (run / "student" / "manifest.json").unlink()
    (run / "student" / "stage.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"stage\.json: the record of a stage is damaged: it is no mapping"):
        evaluate(run)


def test_a_stage_begun_with_other_versions_is_refused_made_anew_or_gone_on_with(made, tmp_path, monkeypatch):
    output, more = tmp_path / "run", {"student.training.epochs": 3}

    def distilled(**others):
        return distill(recipe(output, **more, **others), teacher_folder=made)

    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            distilled()
    begun = output / "checkpoints" / "student.json"
    record = json.loads(begun.read_text())
    now = record["versions"]["torch"]
    begun.write_text(json.dumps({**record, "versions": {**record["versions"], "torch": "1.0"}}))
    (output / ".lock").unlink()  # which says since when
    before = content(output)
    with pytest.raises(
        ArtifactError, match=rf"its student was begun with torch 1\.0 \(now {re.escape(now)}\), .*run\.other_versions"
    ):
        distilled()
    (output / ".lock").unlink()
    assert content(output) == before
    shutil.copytree(output, tmp_path / "copy")
    distilled(**{"run.other_versions": True})
    straight = content(output)["student/model.safetensors"]
    shutil.rmtree(output)
    (tmp_path / "copy").rename(output)
    distilled(**{"run.overwrite": True})
    assert content(output)["student/model.safetensors"] == straight
