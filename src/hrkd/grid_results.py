"""What finished runs of a grid left in their folders, as the report wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hrkd.errors import ArtifactError
from hrkd.files import read_json
from hrkd.grid import TEACHER
from hrkd.grid_plan import Cell, GridPlan
from hrkd.grid_runs import changes_of, is_finished
from hrkd.report.comparison import Measured
from hrkd.run import COSTS, Run, training_cost

__all__ = ["collect"]

MODELS = {"student": "student", "baseline": "student_without_distillation", "teacher": "teacher"}
"""Stages, and what results.json calls their models."""


def collect(plan: GridPlan) -> tuple[list[Measured], dict[str, str]]:
    """All models of finished cells, teachers once, and the errors of cells that cannot be compared, by their name."""
    models: list[Measured] = []
    teachers: dict[tuple[str, ...], Measured] = {}
    errors: dict[str, str] = {}
    items: dict[tuple[str, str], tuple[str, pd.DataFrame]] = {}
    rows = _teacher_rows(plan.cells, plan.grid.baselines[0])
    for cell in plan.cells:
        if changes := changes_of(cell):
            errors[cell.name] = f"made with other settings ({'; '.join(changes)})"
        elif is_finished(cell):
            try:
                results = read_json(Run(cell.folder).results, what="the results of a run")
                _check_teacher(plan, cell, results)
                own, said = (_read_predictions(cell, stage) for stage in (cell.stage, TEACHER))
                name, first = items.setdefault((cell.data, cell.level), (cell.name, own))
                if not own[["id", "domain", "label"]].equals(first[["id", "domain", "label"]]):
                    raise ArtifactError(f"its test rows are not those of {name}, so that they cannot be compared")
            except ArtifactError as error:
                errors[cell.name] = str(error)
                continue
            row, seed = rows[cell.name]
            models.append(_measured(cell, cell.stage, own, results, method=cell.method, seed=cell.seed, teacher=row))
            key = (cell.data, cell.level, row, str(seed))
            if key not in teachers:
                teachers[key] = _measured(cell, TEACHER, said, results, method=row, seed=seed, teacher=row)
    return [*teachers.values(), *models], errors


def _teacher_rows(cells: Sequence[Cell], baseline: str) -> dict[str, tuple[str, int | None]]:
    """The row of each cell's teacher, and the teacher's seed (None: the user's own classifier), by the cell's name.

    That of the first baseline is called ``teacher``, others by the first method that has them.
    """
    kinds = {cell.name: _kind_of_teacher(cell) for cell in cells}
    rows = {}
    for cell in cells:
        beside = [other for other in cells if (other.data, other.level) == (cell.data, cell.level)]
        name = TEACHER
        pupils = list(dict.fromkeys(other.method for other in beside if kinds[other.name] == kinds[cell.name]))
        if baseline not in pupils:
            name = f"{TEACHER} of {pupils[0]}" + (f" and {len(pupils) - 1} more" if len(pupils) > 1 else "")
        seed = None if cell.teacher is None else cell.teacher.recipe.run.seed
        rows[cell.name] = name, seed
    return rows


def _kind_of_teacher(cell: Cell) -> str:
    """The same for teachers that differ in their seed alone."""
    own = cell.recipe.teacher
    name = str(own.fine_tuned) if cell.teacher is None else cell.teacher.name.rpartition("/")[0]
    return f"{own.combine} {name}"


def _check_teacher(plan: GridPlan, cell: Cell, results: dict[str, Any]) -> None:
    """A teacher that should have seen the cell's training rows must have seen just these.

    Raises:
        ArtifactError: it was trained on others, as when a table was changed between two calls.
    """
    if cell.teacher is None or plan.grid.teacher_sees == "all":
        return
    stage = Run(cell.teacher.folder).stage(TEACHER)
    if read_json(stage / "stage.json", what="the record of the teacher")["data"] != results["data"]:
        raise ArtifactError(f"its teacher in {stage} was trained on other data; remove that folder and run again")


def _read_predictions(cell: Cell, stage: str) -> pd.DataFrame:
    """The table of predictions, sorted by id."""
    path = Run(cell.folder).predictions(stage)
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; remove {cell.folder} and run again")
    return pd.read_parquet(path).sort_values("id", ignore_index=True)


def _measured(
    cell: Cell,
    stage: str,
    said: pd.DataFrame,
    results: dict[str, Any],
    *,
    method: str,
    seed: int | None,
    teacher: str,
) -> Measured:
    domains = tuple(results["domains"])
    kind = {"student": "distilled", "baseline": "labels"}.get(stage, stage)
    return Measured(
        data=cell.data,
        level=cell.level,
        fraction=cell.recipe.data.fraction if cell.recipe.data.shots is None else None,
        method=method,
        kind=kind,
        teacher=teacher,
        seed=seed,
        domains=domains,
        domain_ids=np.asarray([domains.index(name) for name in said["domain"]]),
        correct=(said["label"] == said["predicted"]).to_numpy(),
        cost=_cost(cell, stage, results),
        synthetic=results["synthetic"],
        ratios=results.get("ratios") if stage == "student" else None,
    )


def _cost(cell: Cell, stage: str, results: dict[str, Any]) -> dict[str, float | None]:
    """What a model cost; of a teacher the run that trained it says so."""
    model = MODELS[stage]
    known: dict[str, float | None] = {}
    if stage != TEACHER:
        known = {name: results[name].get(model) for name in COSTS}
    elif cell.teacher is not None:
        path = Run(cell.teacher.folder).stage(TEACHER) / "training.json"
        known = training_cost(read_json(path, what="the record of the teacher's training"))
    return {"parameters": results["models"][model]["parameters"], **known}
