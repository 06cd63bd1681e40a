"""``hrkd compare`` on a tiny grid: what runs, what is shared, restarts, failures, and the report."""

import csv
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pandas as pd
import pytest
import yaml

from grids import run_here, tiny_grid
from hrkd.cli import main, terminal
from hrkd.comparison import processes
from hrkd.comparison.collect import collect
from hrkd.comparison.command import compare, is_finished_comparison
from hrkd.comparison.planning import load_grid
from hrkd.data.synthetic.corpus import synthetic_reviews
from hrkd.errors import ArtifactError, RecipeError
from hrkd.report.remarks import LINEAR
from hrkd.support.progress import Progress
from slow import slow


@pytest.fixture
def started(monkeypatch):
    """Names of the runs that were started, in their order; they run in this process."""
    return run_here(monkeypatch)


@pytest.fixture
def command(monkeypatch):
    """The command line, without its effects on this process."""
    for name in ("_log_to_stderr", "keep_freed_memory"):
        monkeypatch.setattr(terminal, name, lambda: None)
    for name in terminal.ENVIRONMENT:
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return lambda *arguments: main(arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        names = run_here(patch)
        content = compare(tiny_grid(folder), show=shown.append)
    return folder, content, names, shown


CELLS = [f"cells/data/fraction-1.0/{method}/seed-{seed}" for seed in (0, 1) for method in ("hrkd", "uniform", "labels")]


def test_every_cell_runs_once_and_the_teacher_once_for_all(finished):
    folder, content, names, _ = finished
    assert names[0].startswith("teachers/data/fraction-1.0/")
    assert names[1:] == CELLS
    assert content["failed"] == content["missing"] == []
    assert len(list((folder / "out").rglob("teacher/model.safetensors"))) == 1
    assert not list((folder / "out" / "cells").glob("*/*/hrkd/*/baseline")), "the baseline is a method of its own"


def test_the_report_says_what_the_runs_say(finished):
    folder, content, _, shown = finished
    assert json.loads((folder / "out" / "compare.json").read_text()) == content
    (table,) = content["tables"]
    assert [row["name"] for row in table["methods"]] == ["teacher", "hrkd", "uniform", "labels", LINEAR]
    assert [each["method"] for each in table["differences"]] == ["hrkd", "labels", LINEAR]
    means = {}
    for row in table["methods"][1:-1]:
        model = "student_without_distillation" if row["name"] == "labels" else "student"
        for seed, value in zip(row["seeds"], row["accuracy"]["mean"]["values"], strict=True):
            run = folder / "out" / f"cells/data/fraction-1.0/{row['name']}/seed-{seed}"
            results = json.loads((run / "results.json").read_text())
            assert value == pytest.approx(results["models"][model]["test"]["mean"]["accuracy"])
            means[row["name"], seed] = value
            expected = results["models"]["linear"]["test"]["mean"]["accuracy"]
            assert table["methods"][-1]["accuracy"]["mean"]["values"] == [pytest.approx(expected)], (
                "once, without a seed"
            )
            means[LINEAR, seed] = expected
    for each in table["differences"]:
        expected = sum(means[each["method"], seed] - means["uniform", seed] for seed in (0, 1)) / 2
        assert each["difference"] == pytest.approx(expected)
    costs = {row["name"]: row["cost"] for row in table["methods"]}
    assert costs["hrkd"]["steps"] == 2 * costs["uniform"]["steps"] == 2 * costs["labels"]["steps"]
    assert costs["teacher"]["parameters"] > costs["hrkd"]["parameters"]
    assert all(cost["seconds"] >= 0 for cost in costs.values())
    text = (folder / "out" / "compare.md").read_text()
    assert "Fewer than 3 seeds" in text
    assert "| uniform |" in text
    assert "<svg" in (folder / "out" / "compare.svg").read_text()
    assert len(shown) == 5, "four tables and where they are"


def test_the_csv_is_tidy(finished):
    folder, _, _, _ = finished
    with (folder / "out" / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (1 + 6 + 1), "two domains of a teacher, six students and a linear model"
    said = pd.read_parquet(folder / "out" / CELLS[0] / "predictions" / "student.parquet")
    expected = (said["label"] == said["predicted"]).groupby(said["domain"]).mean()
    mine = {row["domain"]: float(row["accuracy"]) for row in rows if (row["method"], row["seed"]) == ("hrkd", "0")}
    assert mine == pytest.approx(expected.to_dict())


def test_a_second_call_runs_nothing_and_reports_the_same(finished, started):
    folder, content, _, _ = finished
    assert compare(tiny_grid(folder)) == content
    assert compare(tiny_grid(folder), report_only=True) == content
    assert started == []


def test_a_teacher_keeps_the_folder_that_an_earlier_version_gave_it(finished, started, tmp_path):
    """Whose name was another hash of the same settings."""
    folder = shutil.copytree(finished[0], tmp_path / "moved")
    (named,) = (folder / "out" / "teachers" / "data" / "fraction-1.0").iterdir()
    older = named.rename(named.with_name("0123abcd"))
    for file in folder.rglob("recipe.yaml"):
        file.write_text(file.read_text().replace(named.name, older.name))
    assert compare(tiny_grid(folder), report_only=True)["missing"] == []
    assert started == []


@contextmanager
def put_back(file):
    """Whatever happens to a file inside is undone."""
    kept = file.read_bytes()
    try:
        yield
    finally:
        file.write_bytes(kept)


def test_answers_are_paired_by_row_whatever_their_order(finished):
    folder, content, _, _ = finished
    file = folder / "out" / CELLS[0] / "predictions" / "student.parquet"
    with put_back(file):
        pd.read_parquet(file).sample(frac=1, random_state=0).to_parquet(file)
        assert compare(tiny_grid(folder), report_only=True) == content


def test_answers_without_probabilities_are_those_of_an_older_version(finished):
    folder, content, _, _ = finished
    file = folder / "out" / CELLS[0] / "predictions" / "student.parquet"
    with put_back(file):
        pd.read_parquet(file)[["id", "domain", "label", "predicted"]].to_parquet(file)
        assert compare(tiny_grid(folder), report_only=True) == content


def test_answers_to_other_rows_are_not_compared(finished):
    folder, _, _, _ = finished
    file = folder / "out" / CELLS[1] / "predictions" / "student.parquet"
    with put_back(file):
        said = pd.read_parquet(file)
        said.loc[0, "id"] += "x"
        said.to_parquet(file)
        content = compare(tiny_grid(folder), report_only=True)
    error = f"its test rows are not those of {CELLS[0]}, so that they cannot be compared"
    assert content["failed"] == [{"run": CELLS[1], "error": error}]
    assert [each["seeds"] for each in content["tables"][0]["differences"]] == [[1], [1], [1]]


def test_a_teacher_of_other_rows_is_not_compared(finished):
    folder, _, _, _ = finished
    (file,) = (folder / "out" / "teachers").rglob("teacher/stage.json")
    with put_back(file):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"data": "other"}))
        content = compare(tiny_grid(folder), report_only=True)
    assert [each["run"] for each in content["failed"]] == CELLS
    assert all("was trained on other data; remove that folder" in each["error"] for each in content["failed"])


def test_a_teacher_may_be_removed_for_the_room_that_it_takes(finished, tmp_path, started):
    folder = shutil.copytree(finished[0], tmp_path / "moved")
    shutil.rmtree(folder / "out" / "teachers")
    content = compare(tiny_grid(folder))
    assert started == content["failed"] == content["missing"] == []
    teacher, *others = content["tables"][0]["methods"]
    assert teacher["cost"]["seconds"] is None
    assert teacher["accuracy"] == finished[1]["tables"][0]["methods"][0]["accuracy"]
    assert others == finished[1]["tables"][0]["methods"][1:]


def test_how_the_training_of_a_shared_teacher_ended_is_told(finished):
    plan, record = load_grid(tiny_grid(finished[0])), next(finished[0].rglob("teacher/training.json"))
    before = record.read_text(encoding="utf-8")
    ended = {"still_learning": "dev rose", "ended_by": "min_steps"}
    try:
        record.write_text(json.dumps(json.loads(before) | ended), encoding="utf-8")
        teacher = next(each for each in collect(plan)[0] if each.kind == "teacher")
    finally:
        record.write_text(before, encoding="utf-8")
    assert teacher.still_learning
    assert teacher.longer == "raise training.min_steps"
    assert "train it longer (raise teacher.training.min_steps), or take a larger encoder" in teacher.advice


def test_a_report_counts_as_finished_if_it_is_on_all_that_is_there(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "moved")
    plan = load_grid(tiny_grid(folder))
    assert not is_finished_comparison(load_grid(tiny_grid(folder, confidence=0.9)))
    compare(tiny_grid(folder))
    assert is_finished_comparison(plan)
    compare(tiny_grid(folder, seeds=[0]))
    assert not is_finished_comparison(plan), "one on fewer seeds"
    compare(plan)
    later = time.time() + 60
    os.utime(folder / "out" / CELLS[0] / "results.json", (later, later))
    assert not is_finished_comparison(plan), "a run was measured since"


def test_results_of_other_settings_of_the_evaluation_are_not_taken(finished, started):
    """As when a call that measures anew is killed between recipe and results."""
    folder, content, _, _ = finished
    file = folder / "out" / CELLS[0] / "results.json"
    with put_back(file):
        results = json.loads(file.read_text())
        file.write_text(json.dumps(results | {"evaluation": results["evaluation"] | {"confidence": 0.8}}))
        assert compare(tiny_grid(folder), report_only=True)["missing"] == [CELLS[0]]
        assert compare(tiny_grid(folder))["tables"] == content["tables"]
        assert started == [CELLS[0]]
        assert json.loads(file.read_text())["evaluation"] == results["evaluation"]


def test_of_older_results_the_recipe_of_the_run_says_how_they_were_measured(finished, started):
    folder, content, _, _ = finished
    file, recipe = (folder / "out" / CELLS[0] / name for name in ("results.json", "recipe.yaml"))
    with put_back(file), put_back(recipe):
        results = json.loads(file.read_text())
        del results["evaluation"]
        file.write_text(json.dumps(results))
        assert compare(tiny_grid(folder), report_only=True)["tables"] == content["tables"]
        settings = yaml.safe_load(recipe.read_text())
        recipe.write_text(yaml.safe_dump(settings | {"evaluation": settings["evaluation"] | {"confidence": 0.8}}))
        assert compare(tiny_grid(folder), report_only=True)["missing"] == [CELLS[0]]
    assert started == []


def test_as_many_runs_at_a_time_as_asked(tmp_path, monkeypatch):
    running, most = set(), []

    class Slow:
        returncode = 0

        def __init__(self, log):
            self.log, self.looks = log, 3
            running.add(log)
            most.append(len(running))

        def poll(self):
            self.looks -= 1
            if self.looks:
                return None
            running.discard(self.log)
            return 0

    monkeypatch.setattr(processes, "start_process", lambda _, log, *__: Slow(log))
    monkeypatch.setattr(processes, "SECONDS_BETWEEN_LOOKS", 0)
    plan, begun = load_grid(tiny_grid(tmp_path)), []
    made = processes.make_runs(
        plan.cells, tmp_path, jobs=2, overwrite=False, progress=Progress(False), begin=begun.append
    )
    assert (made, begun) == ({}, [tmp_path])
    assert (len(most), max(most), running) == (6, 2, set())


def test_only_what_a_kill_left_undone_is_run(tmp_path, started, monkeypatch):
    grid = tiny_grid(tmp_path)
    original = processes.start_process

    def killed(*arguments):
        if len(started) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(processes, "start_process", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(grid)
    partly = compare(grid, report_only=True)
    assert partly["missing"] == CELLS[2:]
    assert partly["tables"][0]["missing"][0] == {"method": "hrkd", "seeds": [1]}
    monkeypatch.setattr(processes, "start_process", original)
    content = compare(grid)
    assert content["missing"] == []
    assert [name for name in started if name.startswith("cells")] == CELLS


def test_a_folder_that_was_moved_is_still_finished(finished, tmp_path, started):
    shutil.copytree(finished[0] / "out", tmp_path / "out")
    content = compare(tiny_grid(tmp_path))
    assert started == content["failed"] == content["missing"] == []
    assert content["tables"] == finished[1]["tables"]


def test_a_changed_grid_names_the_runs_that_would_be_made_anew(tmp_path, started):
    methods = {"uniform": {"method.graph": "uniform"}, "labels": {"learns_from": "labels"}}
    compare(tiny_grid(tmp_path, seeds=[0], methods=methods))
    changed = tiny_grid(tmp_path, seeds=[0], methods=methods | {"uniform": {"method.hierarchy": "none"}})
    del started[:]
    with pytest.raises(ArtifactError) as error:
        compare(changed)
    assert started == []
    assert "some runs were made with other settings" in str(error.value)
    line = "cells/data/fraction-1.0/uniform/seed-0: method.graph: uniform then, published now; method.hierarchy: "
    assert line in str(error.value)
    assert compare(changed, report_only=True)["failed"][0]["run"] == "cells/data/fraction-1.0/uniform/seed-0"
    assert compare(changed, overwrite=True)["failed"] == []
    assert started == ["cells/data/fraction-1.0/uniform/seed-0"]


def test_a_default_that_is_another_now_is_told(tmp_path, started):
    methods = {"static": {"student": {"kind": "static", **dict.fromkeys(("layers", "width", "heads", "feed_forward"))}}}
    grid = {"seeds": [0], "methods": methods, "baseline": "static"}
    compare(tiny_grid(tmp_path, **grid))
    methods["static"]["student"]["pair_buckets"] = 65_536
    with pytest.raises(ArtifactError, match=r"student\.pair_buckets: 262144 then, 65536 now"):
        compare(tiny_grid(tmp_path, **grid))
    del methods["static"]["student"]["pair_buckets"]
    record = tmp_path / "out" / "cells/data/fraction-1.0/static/seed-0/student/stage.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"version": 2}))
    with pytest.raises(ArtifactError, match=r"student\.pair_buckets: 65536 then, 262144 now"):
        compare(tiny_grid(tmp_path, **grid))


@pytest.mark.parametrize("what", ["recipe", "record of a younger version"])
def test_a_cell_whose_settings_cannot_be_read_fails_alone(finished, what):
    folder, _, _, _ = finished
    file = folder / "out" / CELLS[0] / ("recipe.yaml" if what == "recipe" else "student/stage.json")
    with put_back(file):
        file.write_text(
            "teacher: [" if what == "recipe" else json.dumps(json.loads(file.read_text()) | {"version": 99})
        )
        content = compare(tiny_grid(folder), report_only=True)
    assert [each["run"] for each in content["failed"]] == CELLS[:1]
    assert "what they were cannot be read" in content["failed"][0]["error"]


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, started, command, capsys):
    methods = {"wide": {"student.width": 64}, "uniform": {"method.graph": "uniform"}}
    changes = {"seeds": [0], "methods": methods, "fractions": [0.5, 1.0], "teacher_sees": "all"}
    (tmp_path / "grid.yaml").write_text(json.dumps(tiny_grid(tmp_path, **changes)))
    assert command("compare", str(tmp_path / "grid.yaml")) == 2
    output, errors = capsys.readouterr()
    assert sum(name.startswith("teachers/data/all") for name in started) == 1, "one teacher for both fractions"
    assert len(started) == 1 + 2 * 2
    assert "not all runs could be made and compared:" in errors
    assert "cells/data/fraction-0.5/wide/seed-0: " in errors
    assert "at most the teacher's width" in errors
    assert "missing" in output
    text = (tmp_path / "out" / "compare.md").read_text()
    assert text.count("| wide | missing") == 2
    assert "teacher trained on all training rows" in text


def test_cells_of_a_teacher_that_fails_are_not_started(tmp_path, started):
    weak = {"recipe": tiny_grid(tmp_path)["recipe"]}
    weak["recipe"]["teacher"] |= {"allow_weak": False}
    weak["recipe"]["teacher"]["training"] |= {"learning_rate": 1e-9, "epochs": 1}
    content = compare(tiny_grid(tmp_path, **weak, seeds=[0]))
    assert len(started) == 1
    assert "not shown to be better than chance" in content["failed"][0]["error"]
    assert {each["error"].partition(" (")[0] for each in content["failed"][1:]} == {"its teacher failed"}
    assert content["tables"] == []


@slow
def test_models_of_separate_domains_are_one_row(tmp_path, started):
    dataset = synthetic_reviews(domains=2, examples=80, label_noise=0.0).dataset
    domains = list(dataset.domains)
    named = {"domain": [domains[i] for i in dataset.domain_ids], "label": dataset.label_ids}
    pd.DataFrame({"text": dataset.rows["text"], **named}).to_csv(tmp_path / "reviews.csv", index=False)
    methods = {
        "uniform": {"method.graph": "uniform"},
        "single": {"learns_from": "labels", "separate_domains": domains[::-1]},
        "half": {"learns_from": "labels", "separate_domains": domains[:1]},
    }
    grid = tiny_grid(tmp_path, seeds=[0], methods=methods)
    grid["recipe"]["data"] = {"source": str(tmp_path / "reviews.csv"), "dev": 0.2, "test": 0.2, "max_length": 32}
    content = compare(grid)
    (table,) = content["tables"]
    rows = {row["name"]: row for row in table["methods"]}
    assert list(rows) == ["teacher", "teacher of single", "uniform", "single", LINEAR]
    steps = []
    for domain in domains:
        run = tmp_path / "out" / "cells/data/fraction-1.0/single" / domain / "seed-0"
        results = json.loads((run / "results.json").read_text())
        for name, model in (("single", "student_without_distillation"), ("teacher of single", "teacher")):
            accuracy = results["models"][model]["test"]["domains"][domain]["accuracy"]
            assert rows[name]["accuracy"][domain]["mean"] == pytest.approx(accuracy)
        assert results["domains"] == [domain]
        steps.append(results["steps"]["student_without_distillation"])
    assert rows["single"]["cost"]["steps"] == sum(steps)
    assert rows["single"]["cost"]["parameters"] > rows["uniform"]["cost"]["parameters"]
    assert [each["method"] for each in table["differences"]] == ["single", LINEAR]
    assert content["missing"] == []
    (failed,) = content["failed"]
    error = "its test rows are not those of cells/data/fraction-1.0/uniform/seed-0, so that they cannot be compared"
    assert failed == {"run": f"cells/data/fraction-1.0/half/{domains[0]}/seed-0", "error": error}


def test_one_comparison_at_a_time_in_a_folder(tmp_path, started):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ArtifactError, match="is at work here"):
            compare(tiny_grid(tmp_path))
    assert started == []


def test_a_launcher_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="WORLD_SIZE=2 in the environment speaks of a launch, and RANK, LOCAL_RANK"):
        compare(tiny_grid(tmp_path))
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="without a launcher"):
        compare(tiny_grid(tmp_path))


def test_a_report_on_nothing(tmp_path):
    with pytest.raises(ArtifactError, match="no finished run of this grid"):
        compare(tiny_grid(tmp_path), report_only=True)


def test_threads_are_shared_out(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert processes._environment(3)["OMP_NUM_THREADS"] == "2"
    assert processes._environment(1)["OMP_NUM_THREADS"] == "8"


@pytest.mark.parametrize(
    ("said", "status", "error"),
    [
        ("12:00:00 INFO x\nerror: data.csv: no rows\n", 2, "data.csv: no rows"),
        ("Traceback\nMemoryError: too large\n", 1, "MemoryError: too large (status 1; see {log})"),
        ("", -9, "it said nothing (signal 9; see {log})"),
    ],
)
def test_the_error_of_a_run_is_what_it_said_last(tmp_path, said, status, error):
    log = tmp_path / "log"
    log.write_text(said)
    assert processes._error_in(log, status) == error.format(log=log)


def test_a_process_of_its_own_under_a_teacher_of_the_user(finished, tmp_path, command, capsys):
    grid = tiny_grid(tmp_path, seeds=[0], methods={"labels": {"learns_from": "labels"}}, baseline="labels", jobs=2)
    own = next((finished[0] / "out" / "teachers").rglob("teacher/model.safetensors")).parent
    grid["recipe"]["teacher"] = {"fine_tuned": str(own), "allow_weak": True}
    (tmp_path / "grid.yaml").write_text(json.dumps(grid))
    assert command("compare", str(tmp_path / "grid.yaml")) == 0
    assert "labels" in capsys.readouterr().out
    (table,) = json.loads((tmp_path / "out" / "compare.json").read_text())["tables"]
    teacher, labels, _ = table["methods"]
    assert (teacher["kind"], teacher["seeds"], teacher["cost"]["seconds"]) == ("teacher", [None], None)
    assert labels["cost"]["peak_megabytes"] > 100
    twin = next(row for row in finished[1]["tables"][0]["methods"] if row["name"] == "labels")
    assert labels["accuracy"]["mean"]["values"] == twin["accuracy"]["mean"]["values"][:1]
    assert not (tmp_path / "out" / "teachers").exists()


def test_a_comparison_that_is_terminated_ends_its_runs(tmp_path):
    (tmp_path / "grid.yaml").write_text(json.dumps(tiny_grid(tmp_path)))
    process = subprocess.Popen([sys.executable, "-m", "hrkd", "compare", str(tmp_path / "grid.yaml")])
    logs = (tmp_path / "out" / "started").rglob
    while process.poll() is None and not any(log.stat().st_size for log in logs("*.log")):
        time.sleep(0.1)
    process.terminate()
    assert process.wait(timeout=60) == 143
    with (tmp_path / "out" / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # taken as long as a run lives
