"""A student that is asked for by what it may cost, by the real commands."""

import json
import logging
import shutil

import pytest
import yaml

import hrkd.run.sizing as sizing
from grids import run_here, tiny_grid
from hrkd.comparison.command import compare
from hrkd.errors import ArtifactError, ModelError
from hrkd.models.quick_shape import quick_shape
from hrkd.models.shape import shape_of
from hrkd.recipe.loading import load_recipe, recipe_to_yaml
from hrkd.recipe.sizes import with_found_size
from hrkd.run.budget import settled_before
from hrkd.run.commands import compress, distill, train_baseline, train_teacher
from slow import slow, slowly
from tiny import tiny_recipe

ALONE = {"student.layers": None, "student.width": None, "student.heads": None}


def work(config, texts, tokens):
    shape = shape_of(config)
    return texts * shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.feed_forward)


@pytest.fixture
def timings(monkeypatch):
    """What was timed, by a stand-in that says the same in every run."""
    asked = []

    def stand_in(*args, **goals):
        asked.append(goals)
        return quick_shape(*args, timed=work, **goals)

    monkeypatch.setattr(sizing, "quick_shape", stand_in)
    return asked


def recipe(folder, **changes):
    return tiny_recipe(folder, **ALONE | {"student.times_faster": 6} | changes)


def student_of(folder):
    config = json.loads((folder / "student" / "config.json").read_text())["encoder"]
    return config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return train_teacher(tiny_recipe(tmp_path_factory.mktemp("teacher") / "run"))


def test_a_run_has_the_size_and_says_it(timings, teacher, tmp_path, caplog):
    folder = tmp_path / "run"
    with caplog.at_level(logging.INFO, "hrkd"):
        distill(recipe(folder, **{"cache.folder": tmp_path / "cache"}), teacher_folder=teacher)
    layers, width, heads = student_of(folder)
    assert (layers, heads) == (1, 2)
    assert width < 32
    assert f"student: 1 layer of width {width} with {heads} heads: a forward pass over " in caplog.text
    assert "as large as the teacher's" not in caplog.text
    assert "(asked: times_faster 6)" in caplog.text
    written = yaml.safe_load((folder / "recipe.yaml").read_text())["student"]
    assert (written["layers"], written["width"], written["heads"]) == (layers, width, heads)
    assert written["times_faster"] == 6, "what it was asked for stands beside it"


@slow
def test_what_was_timed_is_kept_and_a_run_goes_on_with_its_size(timings, teacher, tmp_path, monkeypatch):
    asked = recipe(tmp_path / "run", **{"cache.folder": tmp_path / "cache"})
    distill(asked, teacher_folder=teacher)
    before = student_of(tmp_path / "run")
    distill(asked, teacher_folder=teacher)
    distill(recipe(tmp_path / "other", **{"cache.folder": tmp_path / "cache", "run.seed": 1}), teacher_folder=teacher)
    assert len(timings) == 1
    assert student_of(tmp_path / "other") == before
    # Another machine: the run's own recipe names the size.
    shutil.rmtree(tmp_path / "cache")
    distill(load_recipe(tmp_path / "run" / "recipe.yaml"), teacher_folder=teacher)
    assert len(timings) == 1
    assert student_of(tmp_path / "run") == before
    distill(asked, teacher_folder=teacher)
    assert len(timings) == 1, "and the command that began it takes that size"


def test_what_is_made_anew_has_its_size_timed_anew(timings, teacher, tmp_path):
    """As the teacher, or the length of texts, may be another."""
    asked = recipe(tmp_path / "run", **{"cache.folder": tmp_path / "cache"})
    distill(asked, teacher_folder=teacher)
    shorter = {"cache.folder": tmp_path / "cache", "data.max_length": asked.data.max_length - 1}
    with pytest.raises(ArtifactError, match=r"data\.max_length"):
        distill(recipe(tmp_path / "run", **shorter), teacher_folder=teacher)
    assert len(timings) == 1
    file = tmp_path / "run" / "recipe.yaml"
    file.write_text("student: [")
    distill(recipe(tmp_path / "run", **shorter, **{"run.overwrite": True}), teacher_folder=teacher)
    assert len(timings) == 2


def test_a_size_that_an_earlier_run_found_is_taken_for_the_same_request_alone(tmp_path):
    asked = recipe(tmp_path)
    found = {"layers": 1, "width": 16, "heads": 2, "feed_forward": 24}
    known = recipe(tmp_path, **{f"student.{name}": value for name, value in found.items()})
    assert (asked.student.is_sized_by_time, known.student.is_sized_by_time) == (True, False)
    assert with_found_size(asked, known) == known
    for other in (
        {"student.times_faster": 7},
        {"student.heads": 4},
        {"student.times_faster": None, "student.layers": 1},
    ):
        assert with_found_size(recipe(tmp_path, **other), known) == recipe(tmp_path, **other)
    by_hand = recipe(tmp_path, **{f"student.{n}": v for n, v in found.items()}, **{"student.times_faster": None})
    assert with_found_size(asked, by_hand) == asked


def test_a_budget_that_was_settled_before_holds_for_a_size_that_was_found(timings, teacher, tmp_path):
    asked = recipe(tmp_path / "run", **{"cache.folder": tmp_path / "cache", "student.training.epochs": 2})
    fewer = recipe(tmp_path / "run", **{"cache.folder": tmp_path / "cache", "student.training.epochs": 1})
    distill(fewer, teacher_folder=teacher)
    settled = settled_before(asked)
    assert settled is not None
    assert (settled.student.training.epochs, settled.student.width) == (1, student_of(tmp_path / "run")[1])


def test_students_that_are_sized_by_time_are_compared(timings, tmp_path, monkeypatch):
    started = run_here(monkeypatch)
    methods = {name: {"student.times_faster": times} for name, times in {"quick": 6, "quicker": 12}.items()}
    recipe_of_all = tiny_grid(tmp_path)["recipe"]
    recipe_of_all["student"] |= dict.fromkeys(("layers", "width", "heads", "feed_forward"))
    grid = {"recipe": recipe_of_all, "methods": methods, "baseline": "quick", "seeds": [0]}
    content = compare(tiny_grid(tmp_path, **grid))
    assert content["failed"] == content["missing"] == []
    quick, quicker = (row["cost"]["parameters"] for row in content["tables"][0]["methods"][1:3])
    assert quick > quicker
    del started[:]
    assert compare(tiny_grid(tmp_path, **grid)) == content
    assert started == []
    with pytest.raises(ArtifactError, match=r"quick/seed-0: .*student\.times_faster: 6\.0 then, 5\.0 now"):
        compare(tiny_grid(tmp_path, **grid | {"methods": methods | {"quick": {"student.times_faster": 5}}}))


@pytest.mark.parametrize("changes", slowly({}, {"student.times_faster": None, "student.milliseconds": 50}))
def test_every_command_with_a_student_takes_it(teacher, tmp_path, changes):
    """Timed in truth."""
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_to_yaml(recipe(tmp_path / "run", **{"student.times_faster": 1.5} | changes)))
    train_baseline(file, teacher_folder=teacher)
    compress(load_recipe(file, {"run.output": str(tmp_path / "whole"), "student.training.epochs": 1}))


def test_out_of_reach_leaves_nothing_behind(teacher, tmp_path):
    with pytest.raises(ModelError, match=r"student\.times_faster: 1e\+06 cannot be reached on this machine"):
        distill(recipe(tmp_path / "run", **{"student.times_faster": 1e6}), teacher_folder=teacher)
    assert not (tmp_path / "run").exists()


def test_a_student_that_is_as_large_as_its_teacher_is_told(timings, teacher, tmp_path, caplog):
    slow = {"student.times_faster": None, "student.milliseconds": 1e9, "cache.folder": tmp_path / "cache"}
    with caplog.at_level(logging.INFO, "hrkd"):
        distill(recipe(tmp_path / "run", **slow), teacher_folder=teacher)
    assert "its encoder is as large as the teacher's" in caplog.text
