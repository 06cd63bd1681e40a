"""Fewer epochs so that a run fits into a budget: what is changed, what stays, what does not fit."""

import re
from dataclasses import replace

import pytest

from hrkd.errors import RecipeError
from hrkd.recipe.loading import load_recipe
from hrkd.run.budget import changes_between, check_hours, fitted
from hrkd.run.costs import StageCost, total_seconds, with_recipe

MINUTE = 60.0


def recipe(**changes):
    base = {
        "data": {"format": "synthetic"},
        "teacher": {"model": "bert", "training": {"epochs": 4, "min_steps": 0}},
        "student": {"layers": 2, "training": {"epochs": 10, "min_steps": 0}},
    }
    return load_recipe(base, changes)


def costs_of(of, *, epoch=MINUTE, steps=200, **states):
    """Each stage with an epoch of a minute."""
    stages = [
        StageCost(name, name, states.get(name, "to make"), 1000, steps, 1, step=epoch / steps)
        for name in ("teacher", "student", "baseline")
    ]
    return with_recipe(stages, of)


def minutes(number):
    """A budget in hours of which so many minutes are not kept in reserve."""
    return number / 60 / 0.9 + 1e-9


def test_what_fits_is_left_as_it_is():
    given = recipe()
    costs = costs_of(given)
    assert total_seconds(costs) == pytest.approx(24 * MINUTE)
    assert fitted(given, costs, minutes(24), besides=0.0).recipe == given
    assert fitted(given, costs, minutes(24), besides=1.0).recipe != given, "measuring takes a second more"


def test_epochs_are_lowered_in_proportion_and_fit():
    given = recipe()
    found = fitted(given, costs_of(given), minutes(12), besides=0.0).recipe
    assert changes_between(given, found) == [
        {"field": "teacher.training.epochs", "from": 4, "to": 2},
        {"field": "student.training.epochs", "from": 10, "to": 5},
    ]
    assert total_seconds(with_recipe(costs_of(given), found)) <= 12 * MINUTE
    assert load_recipe(found.model_dump(mode="json")) == found, "as if it had been written so"


def test_steps_are_lowered_where_they_decide():
    given = recipe(**{"student.training.min_steps": 4000})
    assert [cost.epochs for cost in costs_of(given)] == [4, 20, 20]
    found = fitted(given, costs_of(given), minutes(22), besides=0.0).recipe
    assert (found.student.training.epochs, found.student.training.min_steps) == (10, 2000)
    assert found.teacher.training.epochs == 2
    kept = recipe(**{"student.training.min_steps": 1000})
    lowered = fitted(kept, costs_of(kept), minutes(18), besides=0.0).recipe
    assert lowered.student.training.min_steps == 1000, "fewer than the epochs that are left have"


def test_the_floor_holds_and_what_does_not_fit_says_what_would():
    given = recipe()
    found = fitted(given, costs_of(given), minutes(3), besides=0.0).recipe
    assert (found.teacher.training.epochs, found.student.training.epochs) == (1, 1)
    too_little = fitted(given, costs_of(given), 0.05, besides=0.0)
    assert re.search(r"--hours 0\.05.*the run takes about 3\.0 minutes; give --hours 0\.06", str(too_little.problem))
    assert too_little.recipe == found, "the shortest"
    assert fitted(given, costs_of(given), 0.06, besides=0.0) == (found, None)
    few = costs_of(given, steps=30)
    shortest = fitted(given, few, minutes(4 + 4 + 4), besides=0.0).recipe
    assert (shortest.teacher.training.epochs, shortest.student.training.epochs) == (4, 4), "a hundred steps"


def test_two_stages_keep_an_epoch_each():
    given = recipe(**{"method.stages": "two", "method.level_epochs": 8})
    costs = costs_of(given)
    levels = replace(costs[1], name="levels", stage="levels")
    found = fitted(given, with_recipe([costs[0], levels, *costs[1:]], given), minutes(5), besides=0.0).recipe
    assert (found.student.training.epochs, found.method.level_epochs) == (2, 1)
    assert found.student_epochs == (1, 1)


@pytest.mark.parametrize("state", ["finished", "under way"])
def test_a_stage_that_is_begun_keeps_its_epochs(state):
    given = recipe()
    costs = costs_of(given, teacher=state)
    kept = [replace(cost, epochs=4) if cost.name == "teacher" else cost for cost in costs]
    found = fitted(given, kept, minutes(20 if state == "finished" else 8), besides=0.0).recipe
    assert found.teacher.training.epochs == 4
    begun = costs_of(given, baseline=state)
    begun = [replace(cost, epochs=10) if cost.name == "baseline" else cost for cost in begun]
    assert fitted(given, begun, minutes(22), besides=0.0).recipe.student.training.epochs == 10, "one training of both"


@pytest.mark.parametrize("hours", [0, -1, float("nan"), float("inf")])
def test_a_budget_is_a_number_above_zero(hours):
    with pytest.raises(RecipeError, match="--hours: expected a number above 0"):
        check_hours(hours)
