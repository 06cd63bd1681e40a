"""Verbs that train. Each checks its recipe before anything heavy is imported, then calls a function of the library."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from hrkd.cli.flags import Flags, overrides_of, takes_fields
from hrkd.cli.parameters import Json, RecipeArgument, tell
from hrkd.cli.terminal import heavy_imports, prepare, progress
from hrkd.errors import BudgetError, TrainingError
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.run.first_look import (
    check_named,
    check_output,
    check_teacher_is_there,
    moved_run,
)

if TYPE_CHECKING:
    from rich.console import Console

    from hrkd.comparison.planning import GridPlan
    from hrkd.data.types import MultiDomainDataset

__all__ = ["compare", "compare_grid", "compress", "distill", "look_at_rows", "train_baseline", "train_teacher"]

logger = logging.getLogger("hrkd")

DryRun = Annotated[
    bool, Parameter(negative=(), help="Show what would be done, with times of a few real steps; write nothing.")
]
Hours = Annotated[
    float | None,
    Parameter(help="Budget: epochs of teacher and student are lowered in proportion until the run fits."),
]
TeacherFolder = Annotated[Path | None, Parameter(help="A teacher that hrkd trained, or the folder of its run.")]


def look_at_rows(recipe: Recipe) -> MultiDomainDataset | None:
    """The rows of a table, read before anything heavy is imported, so that what is wrong is told at once.

    None where the recipe names no table.
    """
    from hrkd.data.readers.sources import has_columns_of_its_own
    from hrkd.run.prepare import load_labelled
    from hrkd.support.caches import cache_folder

    if recipe.data.source is None or has_columns_of_its_own(recipe.data.source, recipe.data.format):
        return None
    return load_labelled(recipe.data, cache_folder(recipe.cache.folder))[0]


@takes_fields(*Recipe.model_fields)
def compress(
    recipe: RecipeArgument = None,
    /,
    *,
    dry_run: DryRun = False,
    hours: Hours = None,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Make a small student from labelled text and a large encoder, and measure it.

    Trains the teacher (unless the recipe names a fine-tuned one), distils the student, and measures both on
    every domain. Called again, it goes on where it stopped. A flag with the value `null` takes back what the
    recipe says. Relative paths count from the current directory.
    """
    checked = load_recipe(recipe, overrides_of(flags))
    check_named(checked, "data", "teacher", "student")
    work = _start("compress", recipe, checked, as_json, dry_run=dry_run, hours=hours)
    if work is None:
        return
    tell(_made("compress", work), as_json)


@takes_fields("data", "teacher", "evaluation", "run")
def train_teacher(
    recipe: RecipeArgument = None,
    /,
    *,
    dry_run: DryRun = False,
    hours: Hours = None,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Fine-tune the teacher only.

    The first stage of `compress`; the recipe may leave out the student.
    """
    checked = load_recipe(recipe, overrides_of(flags), needed=("data", "teacher"))
    check_named(checked, "data", "teacher")
    work = _start("train-teacher", recipe, checked, as_json, dry_run=dry_run, hours=hours)
    if work is None:
        return
    scores: dict[str, Any] = {}
    folder = _made("train_teacher", work, scored=lambda found: scores.update(found.to_dict()))
    work.console.print(f"Teacher: {folder}", soft_wrap=True)
    tell({"folder": str(folder), "dev": scores}, as_json)


@takes_fields(*Recipe.model_fields)
def distill(
    recipe: RecipeArgument = None,
    /,
    *,
    teacher_folder: TeacherFolder = None,
    dry_run: DryRun = False,
    hours: Hours = None,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Distil the student from a teacher that exists.

    The stages of `compress` after the teacher. The teacher is the one in the output folder, the one of
    `--teacher-folder`, or the classifier that `teacher.fine_tuned` names.
    """
    checked = load_recipe(recipe, overrides_of(flags))
    check_named(checked, "data", "student", *(["teacher"] if teacher_folder is None else []))
    check_teacher_is_there(checked, teacher_folder)
    work = _start("distill", recipe, checked, as_json, dry_run=dry_run, hours=hours, teacher_folder=teacher_folder)
    if work is None:
        return
    tell(_made("distill", work, teacher_folder=teacher_folder), as_json)


@takes_fields(*Recipe.model_fields)
def train_baseline(
    recipe: RecipeArgument = None,
    /,
    *,
    teacher_folder: TeacherFolder = None,
    dry_run: DryRun = False,
    hours: Hours = None,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Train the student on labels alone, without distillation.

    The baseline of `compress` as a run of its own. It starts as the distilled student does, from the teacher's
    weights for example, so that it needs a teacher too: found as `distill` finds it.
    """
    checked = load_recipe(recipe, overrides_of(flags))
    check_named(checked, "data", "student", *(["teacher"] if teacher_folder is None else []))
    check_teacher_is_there(checked, teacher_folder)
    work = _start(
        "train-baseline", recipe, checked, as_json, dry_run=dry_run, hours=hours, teacher_folder=teacher_folder
    )
    if work is None:
        return
    tell(_made("train_baseline", work, teacher_folder=teacher_folder), as_json)


class _Work(NamedTuple):
    """What a training needs: where results for people go, the rows as :func:`look_at_rows` gives them, the recipe."""

    console: Console
    rows: MultiDomainDataset | None
    recipe: Recipe


def _start(
    verb: str,
    source: str | None,
    recipe: Recipe,
    as_json: bool,
    *,
    dry_run: bool,
    hours: float | None,
    teacher_folder: Path | None = None,
) -> _Work | None:
    """Make ready for a run that writes a folder; ``source`` is what the recipe was called by.

    Returns None where its plan was all that was asked for, and is shown.
    """
    check_output(recipe)
    console = prepare(data_only=as_json)
    if told := moved_run(source, recipe):
        logger.warning(told)
    logger.info("%s: reading the data, then the models", source or "the recipe")
    rows = None if dry_run else look_at_rows(recipe)
    if not dry_run and hours is None:
        return _Work(console, rows, recipe)
    with heavy_imports():
        from hrkd.report.plan_tables import budget_lines, plan_tables
        from hrkd.run.plan import plan
        from hrkd.support.progress import quiet

    show = console.print if dry_run else quiet
    try:
        found = plan(
            recipe, verb=verb, teacher_folder=teacher_folder, hours=hours, data=rows, show=show, progress=progress()
        )
    except BudgetError as error:
        if error.plan is not None and dry_run:
            tell(error.plan, as_json)
        elif error.plan is not None:
            for table in plan_tables(error.plan):
                console.print(table)
        raise
    if dry_run:
        tell(found.content, as_json)
        return None
    for line in budget_lines(found.content):
        logger.info(line)
    return _Work(console, rows, found.recipe)


def _made(function: str, work: _Work, **more: Any) -> Any:
    """What a function of :mod:`hrkd.run.commands` returns for this work."""
    with heavy_imports():
        from hrkd.run import commands

    return getattr(commands, function)(
        work.recipe, data=work.rows, show=work.console.print, progress=progress(), **more
    )


def compare(
    grid: Annotated[Path, Parameter(help="A YAML file: the grid of methods, data sets, fractions and seeds.")],
    /,
    *,
    output: Annotated[Path | None, Parameter(help="Goes before the grid's own output folder.")] = None,
    jobs: Annotated[int | None, Parameter(help="Goes before the grid's own number of runs at a time.")] = None,
    report_only: Annotated[
        bool, Parameter(negative=(), help="Train nothing; report what is finished in the output folder.")
    ] = False,
    overwrite: Annotated[
        bool, Parameter(negative=(), help="Make runs anew that were made with other settings.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run methods against each other over data sets, fractions and seeds, and test the differences.

    Every cell of the grid is an ordinary run in a process of its own; teachers are trained once and shared. Called
    again, it runs only what is missing. Writes compare.html, to be looked at, and compare.md, compare.csv, compare.json
    and, with matplotlib, compare.svg. docs/how-to/compare-methods.md has a grid to begin with;
    docs/reference/comparison.md describes all of its fields and what is tested.
    """
    from hrkd.comparison.planning import load_grid

    given = {"output": output, "jobs": jobs}
    checked = load_grid(grid, {name: value for name, value in given.items() if value is not None})
    compare_grid(checked, report_only=report_only, overwrite=overwrite, as_json=as_json)


def compare_grid(grid: GridPlan, *, report_only: bool = False, overwrite: bool = False, as_json: bool = False) -> None:
    """What `compare` does with a grid that is checked."""
    console = prepare(data_only=as_json)
    from hrkd.comparison import command

    content = command.compare(
        grid, report_only=report_only, overwrite=overwrite, show=console.print, progress=progress()
    )
    tell(content, as_json)
    if failed := content["failed"]:
        lines = "\n".join(f"{each['run']}: {each['error']}" for each in failed)
        raise TrainingError(f"not all runs could be made and compared:\n{lines}")
