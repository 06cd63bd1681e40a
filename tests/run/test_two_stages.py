"""``method.stages: two`` by the real commands: folders, restarts, refusals, costs."""

import json
import shutil

import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

import hrkd.run.student as student_stage
import hrkd.training.selection as selection
from hrkd.comparison.planning import load_grid
from hrkd.comparison.processes import changes_of
from hrkd.errors import ArtifactError
from hrkd.run.commands import compress, distill, train_teacher
from hrkd.run.stages import steps_before
from hrkd.training.record import training_cost
from tiny import tiny_recipe

TWO = {"method.stages": "two", "student.training.epochs": 4, "student.baseline": False}


def recipe(folder, **changes):
    return tiny_recipe(folder, **TWO | changes)


def weights(folder, stage):
    return load_file(folder / stage / "model.safetensors")


def same(one, other, part=""):
    assert any(part in name for name in one)
    return all(torch.equal(one[name], other[name]) for name in one if part in name)


def record(folder, stage):
    return json.loads((folder / stage / "training.json").read_text())


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    return train_teacher(tiny_recipe(folder / "run"))


@pytest.fixture(scope="module")
def finished(teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, distill(recipe(folder), teacher_folder=teacher)


def test_levels_come_first_and_predictions_alone_follow(finished):
    folder, results = finished
    levels, student = record(folder, "levels"), record(folder, "student")
    assert len(levels["epochs"]) == len(student["epochs"]) == 2
    assert levels["best_epoch"] == 2
    assert not any(name.startswith("dev/") for name in levels["epochs"][0])
    assert any(name.startswith("dev/") for name in student["epochs"][0])
    assert levels["layer_map"] == student["layer_map"]
    assert not same(weights(folder, "student"), weights(folder, "levels"), "heads.")
    assert set(results["models"]) == {"teacher", "student", "student_best_per_domain"}
    tables = {stage: pd.read_parquet(folder / "metrics" / stage / "levels") for stage in ("levels", "student")}
    assert tables["levels"]["hidden"].notna().all()
    assert tables["student"]["hidden"].isna().all(), "no level is looked at"
    sums = tables["levels"].groupby(["step", "level"], observed=True)["ratio"].sum()
    assert sums.between(0.999, 1.001).all()
    assert not (folder / "predictions" / "levels.parquet").exists(), "its heads say nothing yet"


def test_one_stage_gives_another_student(finished, teacher, tmp_path):
    results = distill(recipe(tmp_path / "run", **{"method.stages": "one"}), teacher_folder=teacher)
    assert not (tmp_path / "run" / "levels").exists()
    assert not same(weights(tmp_path / "run", "student"), weights(finished[0], "student"))
    assert results["steps"] == finished[1]["steps"], "as many epochs together"


def test_labels_count_in_the_second_stage_alone(finished, teacher, tmp_path):
    distill(recipe(tmp_path / "run", **{"method.label_weight": 2.0}), teacher_folder=teacher)
    assert same(weights(tmp_path / "run", "levels"), weights(finished[0], "levels"))
    card = (tmp_path / "run" / "student" / "README.md").read_text()
    assert "Made with hierarchical relational knowledge distillation, beside the labels." in card
    losses = [
        pd.read_parquet(each / "metrics" / "student" / "predictions")["loss"]
        for each in (tmp_path / "run", finished[0])
    ]
    assert losses[0].mean() > 2 * losses[1].mean()
    assert not same(weights(tmp_path / "run", "student"), weights(finished[0], "student"))


def test_costs_are_those_of_both_stages(finished):
    folder, results = finished
    costs = [training_cost(record(folder, "levels"))]
    costs.append(training_cost({**record(folder, "student"), "levels": None}))
    assert results["steps"]["student"] == sum(cost["steps"] for cost in costs)
    assert results["seconds"]["student"] == pytest.approx(sum(cost["seconds"] for cost in costs))
    assert results["peak_megabytes"]["student"] == max(cost["peak_megabytes"] for cost in costs)
    steps = [len(pd.read_parquet(folder / "metrics" / stage / "steps")) for stage in ("levels", "student")]
    assert results["steps"]["student"] == sum(steps)
    assert steps_before(folder, "student") == steps[0], "trackers count on"


def test_costs_take_the_larger_memory_and_what_is_known_of_it():
    own = {"epochs": [{"seconds": 2.0}, {"seconds": 3.0}], "steps": 8}
    first = {"seconds": 1.5, "steps": 4, "peak_megabytes": 70.0}
    assert training_cost(own) == {"seconds": 5.0, "steps": 8, "peak_megabytes": None}
    assert training_cost(own | {"levels": first}) == {"seconds": 6.5, "steps": 12, "peak_megabytes": 70.0}
    assert training_cost(own | {"levels": first, "peak_megabytes": 60.0})["peak_megabytes"] == 70.0


def test_trackers_are_told_of_the_student_after_its_levels(teacher, tmp_path, monkeypatch):
    told = {}
    log = Accelerator.log

    def noted(self, values, step=None, **options):
        told.update({name: step for name in values if name.endswith("/epoch/loss")})
        return log(self, values, step=step, **options)

    monkeypatch.setattr(Accelerator, "log", noted)
    distill(recipe(tmp_path / "run"), teacher_folder=teacher)
    steps = {stage: record(tmp_path / "run", stage)["steps"] for stage in ("levels", "student")}
    assert told["student/epoch/loss"] - told["levels/epoch/loss"] == steps["student"]


def test_a_run_killed_in_each_stage_gives_the_same(finished, teacher, tmp_path, monkeypatch):
    folder, results = finished
    run = tmp_path / "run"

    def killed_in_epoch_2(original):
        def score(*arguments):
            if arguments[-1] == 2:
                raise KeyboardInterrupt
            return original(*arguments)

        return score

    monkeypatch.setattr(student_stage, "last_epoch", killed_in_epoch_2(student_stage.last_epoch))
    with pytest.raises(KeyboardInterrupt):
        distill(recipe(run), teacher_folder=teacher)
    assert not (run / "levels").exists()
    monkeypatch.undo()
    monkeypatch.setattr(selection.DevAccuracy, "__call__", killed_in_epoch_2(selection.DevAccuracy.__call__))
    with pytest.raises(KeyboardInterrupt):
        distill(recipe(run), teacher_folder=teacher)
    made = (run / "levels" / "model.safetensors").stat().st_mtime_ns
    assert not (run / "student").exists()
    monkeypatch.undo()
    again = distill(recipe(run), teacher_folder=teacher)
    assert (run / "levels" / "model.safetensors").stat().st_mtime_ns == made, "finished levels are taken up"
    assert again["models"] == results["models"]
    assert again["steps"] == results["steps"]
    for stage in ("levels", "student"):
        assert same(weights(run, stage), weights(folder, stage)), stage
        steps = [pd.read_parquet(each / "metrics" / stage / "steps") for each in (run, folder)]
        pd.testing.assert_frame_equal(*steps)
    assert not (run / "checkpoints").exists()


def test_a_changed_recipe_is_refused_with_the_field(finished, teacher):
    for changes, said in (
        ({"method.stages": "one"}, r"student was made with other settings \(method.stages: two then"),
        ({"method.level_epochs": 3}, r"method.level_epochs: not set then, 3 now"),
        ({"method.temperature": 2.0}, r"method.temperature: 1.0 then, 2.0 now"),
    ):
        with pytest.raises(ArtifactError, match=said):
            distill(recipe(finished[0], **changes), teacher_folder=teacher)


def test_levels_without_a_student_yet_are_not_left_over(finished, teacher, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    shutil.rmtree(run / "student")
    one = {"method.stages": "one"}
    with pytest.raises(ArtifactError, match=r"levels was made with other settings \(method.stages: two then"):
        distill(recipe(run, **one), teacher_folder=teacher)
    distill(recipe(run, **one, **{"run.overwrite": True}), teacher_folder=teacher)
    assert not (run / "levels").exists()
    assert not (run / "metrics" / "levels").exists()


def test_a_finished_student_needs_its_levels_no_more(finished, teacher, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    shutil.rmtree(run / "levels")
    results = distill(recipe(run), teacher_folder=teacher)
    anew = ("recipe_name", "texts_per_second", "times_as_fast", "model_card")  # which the speeds stand in
    assert results == finished[1] | {name: results[name] for name in anew}
    assert not (run / "levels").exists()


def test_a_student_from_before_there_were_stages_is_taken_up(teacher, tmp_path):
    run, one = tmp_path / "run", {"method.stages": "one", "student.training.epochs": 1}
    distill(recipe(run, **one), teacher_folder=teacher)
    mark = run / "student" / "stage.json"
    assert {"stages", "expertise", "transfer_weight"}.isdisjoint(json.loads(mark.read_text())["method"])
    made = (run / "student" / "model.safetensors").stat().st_mtime_ns
    distill(recipe(run, **one), teacher_folder=teacher)
    assert (run / "student" / "model.safetensors").stat().st_mtime_ns == made


def test_a_learnt_graph_is_learnt_on_levels(teacher, tmp_path):
    changes = {"method.graph": "relational", "method.learning": "meta", "method.meta_interval": 1}
    short = {"student.training.epochs": 2}
    distill(recipe(tmp_path / "run", **changes, **short), teacher_folder=teacher)
    ratios = pd.read_parquet(tmp_path / "run" / "metrics" / "levels" / "levels")["ratio"]
    assert ratios.std() > 0
    assert ratios.notna().all()


def test_whole_runs_have_levels_too(tmp_path):
    short = {"teacher.training.epochs": 2, "student.training.epochs": 1, "student.baseline": True}
    results = compress(recipe(tmp_path / "run", **short))
    assert {path.parent.name for path in (tmp_path / "run").glob("*/stage.json")} == {
        "teacher",
        "levels",
        "student",
        "baseline",
    }
    assert results["steps"]["student"] == 2 * results["steps"]["student_without_distillation"], "an epoch each"


def test_a_comparison_sees_levels_of_another_recipe(finished, tmp_path):
    """A cell that was killed in its first stage counts as begun."""
    sections = recipe(tmp_path).model_dump(mode="json")
    del sections["run"]["output"], sections["run"]["overwrite"], sections["run"]["seed"]
    del sections["student"]["baseline"]

    def cells(output, stages):
        methods = {"tiny": {"method.stages": stages}}
        return load_grid(
            {"recipe": sections, "seeds": [0], "methods": methods, "baseline": "tiny", "output": str(output)}
        ).cells

    (cell,) = cells(tmp_path, "two")
    shutil.copytree(finished[0], cell.folder)
    shutil.rmtree(cell.folder / "student")
    (changed,) = cells(tmp_path, "one")
    assert [change for change in changes_of(changed) if "stages" in change] == ["method.stages: two then, one now"]
