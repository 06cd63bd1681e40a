"""``--hours``: fewer epochs, in proportion, so that a run fits into a budget of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, floor
from typing import Any, NamedTuple, TypeVar

from hrkd.errors import BudgetError, RecipeError
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe, TrainingConfig
from hrkd.recipe.sizes import with_found_size
from hrkd.run.costs import StageCost, total_seconds, with_recipe
from hrkd.run.folder import RECIPE, RunFolder
from hrkd.training.ending import planned_epochs

__all__ = ["FLOOR", "Fit", "changes_between", "check_hours", "fitted", "settled_before"]

RESERVE = 0.1
"""Share of the budget that is left free, as times are estimates."""
FLOOR_STEPS = 100
FLOOR = f"one, in two stages two, and as many as {FLOOR_STEPS} steps take"
"""What a training keeps, unless it has less, in words."""
SHARES = 200
"""Of all epochs, that are tried."""
FIELDS = ("teacher.training.epochs", "teacher.training.min_steps", "student.training.epochs",
          "student.training.min_steps", "method.level_epochs")  # fmt: skip
Training = TypeVar("Training", bound=TrainingConfig)


def check_hours(hours: float) -> None:
    """Whether a budget is one.

    Raises:
        RecipeError: it is not.
    """
    if not 0 < hours < float("inf"):
        raise RecipeError(f"--hours: expected a number above 0, got {hours:g}")


class Fit(NamedTuple):
    """A recipe with fewer epochs, or as it was given; ``problem``: where not even the fewest fit, what would."""

    recipe: Recipe
    problem: BudgetError | None = None


def fitted(recipe: Recipe, costs: Sequence[StageCost], hours: float, *, besides: float) -> Fit:
    """The recipe with as many epochs as fit, or with the fewest; those of a stage that is begun stay.

    Args:
        recipe: as it was given.
        costs: of its stages.
        hours: the budget.
        besides: seconds of what no epochs change.
    """
    room = 3600 * hours * (1 - RESERVE)
    candidate, shortest = recipe, 0.0
    for candidate in _shorter(recipe, costs):
        shortest = total_seconds(with_recipe(costs, candidate)) + besides
        if shortest <= room:
            return Fit(candidate)
    needed = ceil(shortest / (1 - RESERVE) / 36) / 100
    has_baseline = {"student", "baseline"} <= {cost.stage for cost in costs}
    baseline = ", or leave the baseline out (--student.baseline false)" if has_baseline else ""
    takes = f"{shortest / 60:.1f} minutes" if shortest < 3600 else f"{shortest / 3600:.1f} hours"
    problem = BudgetError(
        f"--hours {hours:g}: too little: with the fewest epochs ({FLOOR}; stages that are begun keep theirs) the run "
        f"takes about {takes}; give --hours {needed:g}, fewer rows (data.fraction), shorter texts (data.max_length) or "
        f"a smaller model{baseline}"
    )
    return Fit(candidate, problem)


def changes_between(before: Recipe, after: Recipe) -> list[dict[str, Any]]:
    """The fields that a budget changed: ``field``, ``from``, ``to``."""
    pairs = ((name, _value(before, name), _value(after, name)) for name in FIELDS)
    return [{"field": name, "from": old, "to": new} for name, old, new in pairs if old != new]


def settled_before(recipe: Recipe) -> Recipe | None:
    """The recipe in the run's folder, if it differs from this one in what a budget changes alone; else None.

    So the same command goes on with the epochs that it found at first, whatever it would find now.
    """
    file = recipe.run.output / RECIPE
    if not RunFolder(recipe.run.output).is_run:
        return None
    known = load_recipe(file, needed=[name for name in ("data", "teacher", "student") if _is_set(recipe, name)])
    recipe = with_found_size(recipe, known)
    same = _with(known, {name: _value(recipe, name) for name in FIELDS})
    return known if same.model_dump(mode="json") == recipe.model_dump(mode="json") else None


def _is_set(recipe: Recipe, section: str) -> bool:
    return bool(getattr(recipe, section).model_fields_set)


def _shorter(recipe: Recipe, costs: Sequence[StageCost]) -> Iterator[Recipe]:
    """The recipe itself, then with ever fewer epochs, down to the floor."""
    begun = {cost.stage for cost in costs if cost.is_begun}
    steps = {cost.stage: cost.steps_of_epoch for cost in costs}
    last = None
    for share in (n / SHARES for n in range(SHARES, -1, -1)):
        teacher, student, level_epochs = recipe.teacher.training, recipe.student.training, recipe.method.level_epochs
        if "teacher" in steps and "teacher" not in begun:
            teacher = _part(teacher, share, steps["teacher"], fewest=1)
        pupils = {"levels", "student", "baseline"} & set(steps)
        if pupils and not pupils & begun:
            two = recipe.method.stages == "two" and recipe.student.kind == "encoder"
            student = _part(student, share, min(steps[each] for each in pupils), fewest=2 if two else 1)
            if level_epochs is not None:
                level_epochs = max(1, min(floor(share * level_epochs), student.epochs - 1))
        found = teacher, student, level_epochs
        if found != last:
            last = found
            yield _with(
                recipe,
                {
                    "teacher.training.epochs": teacher.epochs,
                    "teacher.training.min_steps": teacher.min_steps,
                    "student.training.epochs": student.epochs,
                    "student.training.min_steps": student.min_steps,
                    "method.level_epochs": level_epochs,
                },
            )


def _part(training: Training, share: float, steps: int, *, fewest: int) -> Training:
    """A training with a share of its epochs; ``steps``: those of an epoch."""
    planned = planned_epochs(training, steps)
    epochs = max(min(planned, max(fewest, ceil(FLOOR_STEPS / steps))), floor(share * planned))
    changed = {"epochs": min(training.epochs, epochs), "min_steps": min(training.min_steps, epochs * steps)}
    return training.model_copy(update=changed)


def _value(recipe: Recipe, name: str) -> Any:
    found: Any = recipe
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _with(recipe: Recipe, values: dict[str, Any]) -> Recipe:
    """The recipe with other values of fields, by their dotted names; sections that are not set stay so."""
    for name, value in values.items():
        if _value(recipe, name) != value:
            recipe = _replaced(recipe, name.split("."), value)
    return recipe


def _replaced(section: Any, path: Sequence[str], value: Any) -> Any:
    first, *rest = path
    return section.model_copy(update={first: _replaced(getattr(section, first), rest, value) if rest else value})
