"""What a run will do and cost, before it does it: ``--dry-run`` and ``--hours``. Nothing is written.

Models and data are those of the run. A few steps of each training are made and timed (:mod:`hrkd.run.timing`); what a
cache holds is read, and what it does not hold goes into a temporary folder.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrkd.data.types import MultiDomainDataset
from hrkd.errors import BudgetError, RecipeError
from hrkd.recipe.loading import recipe_to_yaml
from hrkd.recipe.schema import Recipe
from hrkd.recipe.yaml_lines import read_yaml
from hrkd.report.plan_tables import plan_tables
from hrkd.run.budget import RESERVE, changes_between, check_hours, fitted, settled_before
from hrkd.run.command_record import STAGES_OF
from hrkd.run.commands import RecipeLike, recipe_of
from hrkd.run.context import Context
from hrkd.run.costs import total_seconds, with_recipe
from hrkd.run.folder import RunFolder
from hrkd.run.linear import linear_name
from hrkd.run.ready import ready, trains_teacher
from hrkd.run.stage_costs import Measured, measured_costs
from hrkd.support.allocator import peak_megabytes
from hrkd.support.caches import cache_folder, cached_folders, read_index
from hrkd.support.launch import launch
from hrkd.support.progress import Progress, Show, quiet

__all__ = ["Plan", "plan"]

logger = logging.getLogger("hrkd")


@dataclass(frozen=True)
class Plan:
    """The recipe that the run has, fitted to its budget if it has one, and all that was found, for JSON."""

    recipe: Recipe
    content: dict[str, Any]


def plan(
    recipe: RecipeLike,
    *,
    verb: str = "compress",
    teacher_folder: str | Path | None = None,
    hours: float | None = None,
    data: MultiDomainDataset | None = None,
    unlabelled: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
) -> Plan:
    """What a run would do, how long it takes here, and what it leaves in caches; a minute's work at most, usually.

    Args:
        verb: compress, distill, train-teacher or train-baseline.
        hours: a budget: where the run does not fit, the epochs of teacher and student are lowered in proportion.
        Others: as of :func:`hrkd.run.commands.distill`.

    Raises:
        BudgetError: the budget is too small for the fewest epochs; the plan with them is shown, and in the error.
        RecipeError: several processes were started together.
        HrkdError: what the run itself would raise before it begins.
    """
    if verb not in STAGES_OF:
        raise RecipeError(f"verb: {verb!r} is none of {', '.join(STAGES_OF)}")
    if launch().size > 1:
        raise RecipeError("--dry-run and --hours time steps of one process; call them without a launcher")
    if hours is not None:
        check_hours(hours)
    given = recipe_of(recipe, data, *(["teacher"] if verb == "train-teacher" else []))
    before = None if hours is None else settled_before(given)
    recipe, caches = before or given, cache_folder(given.cache.folder)
    with _read_only(caches) as folder:
        begun = time.time()
        aside = recipe.cache.model_copy(update={"folder": folder})
        context = Context.load(
            recipe.model_copy(update={"cache": aside}),
            data=data,
            unlabelled=unlabelled,
            external_teacher=teacher_folder,
            folder=RunFolder(recipe.run.output, recipe.run.overwrite, recipe.run.other_versions),
            show=show,
            progress=progress,
        )
        context, sizes = ready(context, verb)
        logger.info("plan: timing some steps")
        measured = measured_costs(context, verb, trains=trains_teacher(context, verb), caches=caches)
        found = [*measured.caches, *_looked_up(context, folder, caches, begun, measured.tokens)]
    recipe = context.recipe.model_copy(update={"cache": recipe.cache})
    problem: BudgetError | None = None
    if hours is not None and before is None:
        recipe, problem = fitted(recipe, measured.costs, hours, besides=measured.besides)
    content = _content(verb, context, measured, sizes, found, recipe)
    content |= {"hours": hours, "fits": problem is None, "changes": changes_between(given, recipe)}
    for table in plan_tables(content):
        show(table)
    if problem is not None:
        problem.plan = content
        raise problem
    return Plan(recipe, content)


def _content(
    verb: str, context: Context, measured: Measured, sizes: list[dict[str, Any]], caches: list[Any], recipe: Recipe
) -> dict[str, Any]:
    splits, more, linear = context.data.splits, context.data.unlabelled, context.recipe.evaluation.linear
    costs = with_recipe(measured.costs, recipe)
    rows: dict[str, Mapping[str, int]] = {name: part.rows_by_domain() for name, part in splits}
    if more is not None and verb != "train-teacher":
        rows["unlabelled"] = more.rows.rows_by_domain()
    notes = [
        "Times are of this machine as busy as it is now, by a few steps of each training; the start of the program, "
        "checkpoints and the draws of intervals are not in them.",
        *measured.notes,
    ]
    if linear and not any(each["kind"] == "linear" and each["there"] for each in caches):
        notes.append("The linear model, which is fitted once for these rows, is not in them either.")
    raised = {
        f"{name}.training.min_steps": training.min_steps
        for name, training in (("teacher", recipe.teacher.training), ("student", recipe.student.training))
        if any(cost.name.startswith(name) and cost.epochs > training.epochs for cost in costs)
    }
    if raised:
        asked = " and ".join(f"{field} ({steps:,})" for field, steps in raised.items())
        flags = " ".join(f"--{field} 0" for field in raised)
        asks = "ask" if len(raised) > 1 else "asks"
        notes.append(
            f"There are more epochs than training.epochs says: {asked} {asks} for them; for a first look: {flags}"
        )
    lowered = [
        f"{name}.training.max_steps ({training.max_steps:,})"
        for name, training in (("teacher", recipe.teacher.training), ("student", recipe.student.training))
        if training.max_steps is not None
        and any(cost.name.startswith(name) and cost.epochs < training.epochs for cost in costs)
    ]
    if lowered and recipe.method.stages == "one":
        allow = "allow" if len(lowered) > 1 else "allows"
        notes.append(f"There are fewer epochs than training.epochs says: {' and '.join(lowered)} {allow} no more.")
    if recipe.student.training.patience or recipe.teacher.training.patience:
        notes.append("With training.patience a training may end earlier.")
    return {
        "format": "hrkd-plan",
        "version": 1,
        "command": verb,
        "output": str(recipe.run.output),
        "models": sizes,
        "rows": rows,
        "stages": [cost.to_dict() for cost in costs],
        "measuring_seconds": measured.besides,
        "seconds": total_seconds(costs) + measured.besides,
        "reserve": RESERVE,
        "caches": caches,
        "peak_megabytes": peak_megabytes(),
        "notes": notes,
        "recipe": read_yaml(recipe_to_yaml(recipe), "recipe").data,
    }


def _looked_up(
    context: Context, folder: Path, caches: Path, since: float, parts: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows, token ids and sizes that were read or made for the plan, and the linear model's answers.

    ``parts``: of the data, by the name of the cache that holds it.
    """
    made = [(path, facts, False) for path, facts in cached_folders(folder)]
    links = [path for path in folder.iterdir() if path.is_symlink()]
    read = [path for path in links if (path / "index.json").stat().st_mtime >= since]
    known = dict(cached_folders(caches))
    found = [*made, *((path, known[caches / path.name], True) for path in read if caches / path.name in known)]
    told = [
        {
            "kind": facts["kind"],
            "name": path.name,
            "bytes": facts["bytes"],
            "there": there,
            "part": parts.get(path.name),
        }
        for path, facts, there in found
        if facts["kind"] != "teacher"
    ]
    name = linear_name(context)
    if context.recipe.evaluation.linear and (folder / name).is_dir():
        told.append({"kind": "linear", "name": name, "bytes": known[caches / name]["bytes"], "there": True})
    return told


@contextmanager
def _read_only(caches: Path) -> Iterator[Path]:
    """A folder in which all caches are found, and what is added does not last."""
    with tempfile.TemporaryDirectory(prefix="hrkd-") as name:
        for path in sorted(caches.iterdir()) if caches.is_dir() else []:
            with suppress(OSError):
                if path.is_dir() and read_index(path):
                    (Path(name) / path.name).symlink_to(path.resolve(), target_is_directory=True)
        yield Path(name)
