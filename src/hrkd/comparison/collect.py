"""What finished runs of a grid left in their folders, as the report wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hrkd.comparison.content import COSTS, Measured, summary
from hrkd.comparison.grid import TEACHER
from hrkd.comparison.planning import Cell, GridPlan
from hrkd.comparison.processes import changes_of, is_finished
from hrkd.errors import ArtifactError
from hrkd.report.advice import advice_for
from hrkd.report.remarks import LINEAR, times_as_fast
from hrkd.run.folder import RunFolder
from hrkd.support.atomic_files import read_json
from hrkd.support.messages import first_line
from hrkd.training.advice import train_longer
from hrkd.training.record import COSTS as RECORDED
from hrkd.training.record import training_cost

__all__ = ["collect"]

MODELS = {
    "student": ("student", "distilled"),
    "baseline": ("student_without_distillation", "labels"),
    TEACHER: ("teacher", "teacher"),
    "linear": ("linear", "linear"),
}
"""Stages, what results.json calls their models, and what kind of model the report calls them."""

READ = ("id", "domain", "label", "predicted")
"""Columns of a table of predictions that every version of it has."""

Point = tuple[str, str, str, int]
"""Data set, amount of training rows, method, seed."""


@dataclass(frozen=True)
class _Read:
    """What a finished cell left: its answers, its teacher's and, if it is about all domains, the linear model's."""

    cell: Cell
    own: pd.DataFrame
    teacher: pd.DataFrame
    linear: pd.DataFrame | None
    results: dict[str, Any]


def collect(plan: GridPlan) -> tuple[list[Measured], dict[str, str]]:
    """All models of finished cells, teachers once, and the errors of cells that cannot be compared, by their name.

    The linear model of a data set and amount, which is the same in all its cells, comes from the first that has one.

    The models of separate domains are one, if all of them are there.
    """
    models: list[Measured] = []
    teachers: dict[tuple[Any, ...], Measured] = {}
    linear: dict[tuple[str, str], Measured] = {}
    errors: dict[str, str] = {}
    items: dict[tuple[str, str], tuple[str, pd.DataFrame]] = {}
    points: dict[Point, list[Cell]] = {}
    for cell in plan.cells:
        points.setdefault((cell.data, cell.amount, cell.method, cell.seed), []).append(cell)
    rows = _teacher_rows(points, plan.grid.baselines[0])
    for (data, amount, method, seed), cells in points.items():
        read = [found for cell in cells if (found := _read(plan, cell, errors)) is not None]
        if len(read) < len(cells):
            continue
        tables = [each.own for each in read], [each.teacher for each in read]
        own, answers = (pd.concat(each).sort_values("id", ignore_index=True) for each in tables)
        name, first = items.setdefault((data, amount), (cells[0].name, own))
        linear_answers = None if read[0].linear is None else read[0].linear.sort_values("id", ignore_index=True)
        said = [own] if linear_answers is None else [own, linear_answers]
        if any(not each.drop(columns="predicted").equals(first.drop(columns="predicted")) for each in said):
            error = f"its test rows are not those of {name}, so that they cannot be compared"
            errors |= {cell.name: error for cell in cells}
            continue
        row, trained = rows[data, amount, method], cells[0].teacher
        teacher_seed = None if trained is None else trained.recipe.run.seed  # None: the user's own classifier
        models.append(_measured(read, cells[0].stage, own, method=method, seed=seed, teacher=row))
        key = (data, amount, row, teacher_seed)
        if key not in teachers:
            teachers[key] = _measured(read, TEACHER, answers, method=row, seed=teacher_seed, teacher=row)
        if linear_answers is not None and (data, amount) not in linear:
            linear[data, amount] = _measured(read, "linear", linear_answers, method=LINEAR, seed=None, teacher=None)
    return [*teachers.values(), *models, *linear.values()], errors


def _read(plan: GridPlan, cell: Cell, errors: dict[str, str]) -> _Read | None:
    """A cell, if it is finished and can be compared; else why it cannot is put down."""
    if changes := changes_of(cell):
        errors[cell.name] = f"made with other settings ({'; '.join(changes)})"
    elif is_finished(cell):
        try:
            results = read_json(RunFolder(cell.folder).results, what="the results of a run")
            _check_teacher(plan, cell, results)
            has_linear = cell.domain is None and "linear" in results["models"]
            linear = _read_predictions(cell, "linear") if has_linear else None
            return _Read(cell, _read_predictions(cell, cell.stage), _read_predictions(cell, TEACHER), linear, results)
        except ArtifactError as error:
            errors[cell.name] = str(error)
    return None


def _teacher_rows(points: Mapping[Point, Sequence[Cell]], baseline: str) -> dict[tuple[str, str, str], str]:
    """The row of the teacher by data set, amount and method.

    That of the first baseline is called ``teacher``, others by the first method that has them.
    """
    kinds = {point[:3]: tuple(map(_kind_of_teacher, cells)) for point, cells in points.items()}
    rows = {}
    for point, kind in kinds.items():
        pupils = [other[2] for other in kinds if other[:2] == point[:2] and kinds[other] == kind]
        more = f" and {len(pupils) - 1} more" if len(pupils) > 1 else ""
        rows[point] = TEACHER if baseline in pupils else f"{TEACHER} of {pupils[0]}{more}"
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
    files = RunFolder(cell.teacher.folder).stage(TEACHER)
    if not files.is_finished:  # its answers are the cell's own, so that it can be removed for the room that it takes
        return
    if read_json(files.settings, what="the record of the teacher")["data"] != results["data"]:
        raise ArtifactError(
            f"its teacher in {files.model} was trained on other data; remove that folder and {cell.folder}, and run "
            "again"
        )


def _read_predictions(cell: Cell, stage: str) -> pd.DataFrame:
    path = RunFolder(cell.folder).predictions / f"{stage}.parquet"
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; remove {cell.folder} and run again")
    try:
        return pd.read_parquet(path, columns=list(READ))
    except (OSError, ValueError, LookupError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({first_line(error)}); remove {cell.folder} and run again"
        ) from error


def _measured(
    read: Sequence[_Read], stage: str, answers: pd.DataFrame, *, method: str, seed: int | None, teacher: str | None
) -> Measured:
    trainings = [_training(each.cell, stage, each.results) for each in read]
    costs = [_cost(stage, each.results, training) for each, training in zip(read, trainings, strict=True)]
    cell, domains = read[0].cell, tuple(name for each in read for name in each.results["domains"])
    return Measured(
        data=cell.data,
        amount=cell.amount,
        fraction=cell.recipe.data.fraction if cell.recipe.data.shots is None else None,
        shots=cell.recipe.data.shots,
        method=method,
        kind=MODELS[stage][1],
        teacher=teacher,
        seed=seed,
        domains=domains,
        domain_ids=np.asarray([domains.index(name) for name in answers["domain"]]),
        correct=(answers["label"] == answers["predicted"]).to_numpy(),
        cost=_cost_of_domains(costs),
        synthetic=read[0].results["synthetic"],
        ratios=read[0].results.get("ratios") if stage == "student" and len(read) == 1 else None,
        train_rows=None if stage == TEACHER else _train_rows([each.results for each in read]),
        still_learning=any(each.get("still_learning") for each in trainings),
        advice=_advice(read[0], stage, trainings[0]),
        longer=train_longer("training", trainings[0]),
    )


def _training(cell: Cell, stage: str, results: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a training ended, of a teacher its whole record.

    Nothing of older results, and of a teacher that is the user's own or no longer there.
    """
    if stage != TEACHER:
        return results["models"][MODELS[stage][0]].get("training") or {}
    if cell.teacher is None or not (files := RunFolder(cell.teacher.folder).stage(TEACHER)).is_finished:
        return {}
    record: dict[str, Any] = read_json(files.training, what="the record of the teacher's training")
    return record


def _advice(read: _Read, stage: str, training: Mapping[str, Any]) -> str:
    """What to do about a model where the linear one surpasses it."""
    if stage == "linear":
        return ""
    is_trained = stage != TEACHER or read.cell.teacher is not None
    return advice_for(MODELS[stage][0], training, read.results.get("tokens_cut"), is_trained=is_trained)


def _train_rows(results: Sequence[Mapping[str, Any]]) -> dict[str, int] | None:
    """Training rows of every domain of one or several runs; None where one, of an older version, does not tell."""
    known = [each.get("train_rows") for each in results]
    return None if None in known else {name: count for each in known if each for name, count in each.items()}


def _cost(stage: str, results: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, float | None]:
    """What a model cost; of a teacher the record of its ``training`` says so, if it is still there."""
    model, _ = MODELS[stage]
    known: dict[str, float | None] = {}
    if stage != TEACHER:
        known = {name: results[name].get(model) for name in RECORDED}
    elif training:
        known = training_cost(training)
    sizes = {name: results["models"][model].get(name) for name in ("parameters", "megabytes")}
    return {**sizes, "times_as_fast": times_as_fast(results, model), **known}


def _cost_of_domains(costs: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Of models that were made one after the other; None where one of them is not known."""
    values = {name: [cost.get(name) for cost in costs] for name in COSTS}
    return {
        name: None if None in of_all else summary(of_all, COSTS[name].of_domains) for name, of_all in values.items()
    }
