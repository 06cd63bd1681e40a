"""The commands as Python functions: from a recipe to a measured student.

``compress`` is ``train_teacher`` and ``distill``. All read in one direction: the context (recipe, data, folder), the
stages, the results. Every stage leaves a finished folder or nothing, and is taken up where it stopped.
:func:`hrkd.training.trainers.distill_from_models` is the same distillation on live objects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hrkd.data.types import MultiDomainDataset
from hrkd.errors import ArtifactError, RecipeError
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.report.tables import scores_table
from hrkd.run.context import Context
from hrkd.run.first_look import moved_run
from hrkd.run.folder import RunFolder
from hrkd.run.ready import opened
from hrkd.run.results import build_results, write_results
from hrkd.run.stages import FinishedStage
from hrkd.run.student import Baseline, Student
from hrkd.run.teacher import Teacher, fine_tune_teacher, open_teacher
from hrkd.support.launch import launch
from hrkd.support.progress import Progress, Show, quiet
from hrkd.training.metrics import Scores
from hrkd.training.session import start_accelerator
from hrkd.training.watch import phase

__all__ = ["RecipeLike", "compress", "distill", "recipe_of", "train_baseline", "train_teacher"]

logger = logging.getLogger("hrkd")

RecipeLike = Recipe | str | Path | Mapping[str, Any]


def compress(
    recipe: RecipeLike,
    *,
    data: MultiDomainDataset | None = None,
    unlabelled: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Teacher, student, evaluation, report: everything a recipe asks for. Returns the content of results.json.

    Args:
        recipe: a :class:`hrkd.recipe.schema.Recipe`, or what :func:`hrkd.recipe.loading.load_recipe` takes.
        data: rows in memory (see :func:`hrkd.data.readers.sources.load_domains`) in the place of ``data.source``; the
            recipe then leaves out its data section, or says in it what is done with them (``max_length``, ``dev``).
        unlabelled: more text in memory for distillation alone (``load_domains(..., label=None)``), in the place of
            ``data.unlabelled``.
        show: receives the tables for a person.
        progress: where progress goes; default: bars on a terminal, log lines elsewhere.

    Raises:
        HrkdError: anything that the user can mend; nothing half-written stays behind, and a finished stage is
            taken up by the next run.
    """
    recipe = recipe_of(recipe, data)
    with _at_work(recipe) as folder:
        context = Context.load(
            recipe, data=data, unlabelled=unlabelled, folder=folder, show=show, progress=progress, verb="compress"
        )
        context = opened(context, "compress")
        if context.recipe.teacher.fine_tuned is None:
            fine_tune_teacher(context)
        return _distil(context)


def train_teacher(
    recipe: RecipeLike,
    *,
    data: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
    scored: Callable[[Scores], object] | None = None,
) -> Path:
    """The first stage alone: fine-tune the teacher. Returns its folder.

    Args:
        scored: given the teacher's scores on dev.
        Others: as :func:`compress`; the recipe may leave out the student.

    Raises:
        RecipeError: the recipe names a teacher that is fine-tuned already.
        TrainingError: the teacher is no better than chance; it is kept, and ``teacher.allow_weak`` goes on with it.
        HrkdError: as :func:`compress`.
    """
    recipe = recipe_of(recipe, data, "teacher")
    if recipe.teacher.fine_tuned is not None:
        raise RecipeError("teacher.fine_tuned names a finished teacher; there is nothing to train (use distill)")
    with _at_work(recipe) as folder:
        context = Context.load(recipe, data=data, folder=folder, show=show, progress=progress, verb="train-teacher")
        context = opened(context, "train-teacher")
        trained = fine_tune_teacher(context)
        teacher = open_teacher(context)
        scores = teacher.dev_scores
        context.show(scores_table(scores.to_dict(), title="Teacher on dev", notes=[teacher.beside_linear]))
        if scored is not None:
            scored(scores)
        context.accelerator.end_training()
        return trained


def distill(
    recipe: RecipeLike,
    *,
    teacher_folder: str | Path | None = None,
    data: MultiDomainDataset | None = None,
    unlabelled: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The stages after the teacher. Returns the content of results.json.

    Args:
        recipe, data, unlabelled, show, progress: as :func:`compress`.
        teacher_folder: a teacher that hrkd trained, or the folder of the run that holds it; default: the one in the
            recipe's output folder, or ``teacher.fine_tuned``.

    Raises:
        ArtifactError: there is no teacher yet, or it was trained on other data.
        HrkdError: as :func:`compress`.
    """
    recipe = recipe_of(recipe, data)
    with _at_work(recipe) as folder:
        context = Context.load(
            recipe,
            data=data,
            unlabelled=unlabelled,
            external_teacher=teacher_folder,
            folder=folder,
            show=show,
            progress=progress,
            verb="distill",
        )
        return _distil(opened(context, "distill"))


def train_baseline(
    recipe: RecipeLike,
    *,
    teacher_folder: str | Path | None = None,
    data: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The baseline alone: the student that a recipe describes, trained on labels, without distillation.

    It starts as the distilled student does, so that a teacher is needed here too. Returns the content of results.json.

    Args, Raises: as :func:`distill`.
    """
    recipe = recipe_of(recipe, data)
    with _at_work(recipe) as folder:
        if folder.stage("student").is_finished:
            raise ArtifactError(
                f"{folder.path}: holds a finished student; hrkd distill with student.baseline trains it beside that, "
                "or choose another run.output"
            )
        context = Context.load(
            recipe,
            data=data,
            external_teacher=teacher_folder,
            folder=folder,
            show=show,
            progress=progress,
            verb="train-baseline",
        )
        context = opened(context, "train-baseline")
        teacher = open_teacher(context)
        return _finished(context, teacher, None, Baseline(context, teacher).load())


def _distil(context: Context) -> dict[str, Any]:
    """What comes after a finished teacher."""
    teacher = open_teacher(context)
    student = Student(context, teacher).load()
    baseline = Baseline(context, teacher).load() if context.recipe.student.baseline else None
    return _finished(context, teacher, student, baseline)


def _finished(
    context: Context, teacher: Teacher, student: FinishedStage | None, baseline: FinishedStage | None
) -> dict[str, Any]:
    with phase("evaluation"):
        results = build_results(context, teacher, student, baseline)
    with phase("export"):
        write_results(context, results)
        context.accelerator.wait_for_everyone()  # who has nothing to write stays to see that it is written
    context.accelerator.end_training()
    return results


@contextmanager
def _at_work(recipe: Recipe) -> Iterator[RunFolder]:
    """The folder of a run, taken; several processes meet before that, so that where one is refused all end."""
    if launch().size > 1:
        start_accelerator(recipe.run, trains=True)
    with RunFolder.at_work(recipe.run) as folder:
        yield folder


def recipe_of(recipe: RecipeLike, data: MultiDomainDataset | None = None, *needed: str) -> Recipe:
    """The recipe that a call names, checked; ``needed``: the sections but data that must be complete."""
    if isinstance(recipe, Recipe):
        return recipe
    sections = needed or ("teacher", "student")
    loaded = load_recipe(recipe, needed=sections if data is not None else ("data", *sections))
    if not isinstance(recipe, Mapping) and (told := moved_run(recipe, loaded)):
        logger.warning(told)
    return loaded
