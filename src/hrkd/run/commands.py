"""The commands as Python functions: from a recipe to a measured student.

``compress`` is ``train_teacher`` and ``distill``. All read in one direction: the context (recipe, data, folder), the
stages, the results. Every stage leaves a finished folder or nothing, and is taken up where it stopped.
:func:`hrkd.training.trainers.distill_from_models` is the same distillation on live objects.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrkd.data.batching import TokenizedDataset, check_step_sizes, tokenize
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import ArtifactError, RecipeError
from hrkd.models.domain_teachers import AnyTeacher
from hrkd.models.loading import load_fine_tuned
from hrkd.models.tokenizers import load_tokenizer
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.report.tables import scores_table
from hrkd.run.context import Context
from hrkd.run.first_look import check_measurable, moved_run
from hrkd.run.folder import RunFolder
from hrkd.run.measure import predictions, scores
from hrkd.run.precheck import precheck, precheck_teacher
from hrkd.run.results import build_results, write_results
from hrkd.run.stages import FinishedStage
from hrkd.run.student import Baseline, Student
from hrkd.run.teacher import Teacher, fine_tune_teacher, open_teacher
from hrkd.support.atomic_files import read_json
from hrkd.support.domain_index import domain_folders
from hrkd.support.progress import Progress, Show, quiet
from hrkd.support.stage_files import STAGE_RECORD

__all__ = ["compress", "distill", "evaluate", "train_baseline", "train_teacher"]

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
            recipe may then leave out its data section.
        unlabelled: more text in memory for distillation alone (``load_domains(..., label=None)``), in the place of
            ``data.unlabelled``.
        show: receives the tables for a person.
        progress: where progress goes; default: bars on a terminal, log lines elsewhere.

    Raises:
        HrkdError: anything that the user can mend; nothing half-written stays behind, and a finished stage is
            taken up by the next run.
    """
    recipe = _recipe(recipe, data)
    own = recipe.teacher.fine_tuned is None
    with RunFolder.at_work(recipe.run) as folder:
        context = Context.load(
            recipe, data=data, unlabelled=unlabelled, folder=folder, show=show, progress=progress
        ).plan(*(["teacher"] if own else []), "student")
        precheck(context, trained=not own)
        context.open_folder()
        if own:
            fine_tune_teacher(context)
        return _distil(context)


def train_teacher(
    recipe: RecipeLike,
    *,
    data: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
) -> Path:
    """The first stage alone: fine-tune the teacher. Returns its folder.

    Args: as :func:`compress`; the recipe may leave out the student.

    Raises:
        RecipeError: the recipe names a teacher that is fine-tuned already.
        TrainingError: the teacher is no better than chance; it is kept, and ``teacher.allow_weak`` goes on with it.
        HrkdError: as :func:`compress`.
    """
    recipe = _recipe(recipe, data, "teacher")
    if recipe.teacher.fine_tuned is not None:
        raise RecipeError("teacher.fine_tuned names a finished teacher; there is nothing to train (use distill)")
    with RunFolder.at_work(recipe.run) as folder:
        context = Context.load(recipe, data=data, folder=folder, show=show, progress=progress)
        batch_size, processes = recipe.teacher.training.batch_size, context.accelerator.num_processes
        check_step_sizes(context.data.splits.train, batch_size, processes)
        context = context.plan("teacher")
        precheck_teacher(context)
        context.open_folder()
        trained = fine_tune_teacher(context)
        context.show(scores_table(open_teacher(context).dev_scores.to_dict(), title="Teacher on dev"))
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
    recipe = _recipe(recipe, data)
    with RunFolder.at_work(recipe.run) as folder:
        context = Context.load(
            recipe,
            data=data,
            unlabelled=unlabelled,
            external_teacher=teacher_folder,
            folder=folder,
            show=show,
            progress=progress,
        )
        return _distil(_after_teacher(context, "student"))


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
    recipe = _recipe(recipe, data)
    with RunFolder.at_work(recipe.run) as folder:
        if folder.stage("student").is_finished:
            raise ArtifactError(
                f"{folder.path}: holds a finished student; hrkd distill with student.baseline trains it beside that, "
                "or choose another run.output"
            )
        context = Context.load(
            recipe, data=data, external_teacher=teacher_folder, folder=folder, show=show, progress=progress
        )
        context = _after_teacher(context, "baseline")
        teacher = open_teacher(context)
        return _finished(context, teacher, None, Baseline(context, teacher).load())


def _after_teacher(context: Context, stage: str) -> Context:
    """The folder opened for a stage that needs a finished teacher."""
    own = context.external_teacher is None and context.recipe.teacher.fine_tuned is None
    context = context.plan("teacher", stage, kept=("teacher",)) if own else context.plan(stage)
    precheck(context, trained=True)
    context.open_folder()
    return context


def _distil(context: Context) -> dict[str, Any]:
    """What comes after a finished teacher."""
    teacher = open_teacher(context)
    student = Student(context, teacher).load()
    baseline = Baseline(context, teacher).load() if context.recipe.student.baseline else None
    return _finished(context, teacher, student, baseline)


def _finished(
    context: Context, teacher: Teacher, student: FinishedStage | None, baseline: FinishedStage | None
) -> dict[str, Any]:
    results = build_results(context, teacher, student, baseline)
    write_results(context, results)
    context.accelerator.end_training()
    return results


def _recipe(recipe: RecipeLike, data: MultiDomainDataset | None = None, *needed: str) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    sections = needed or ("teacher", "student")
    loaded = load_recipe(recipe, needed=sections if data is not None else ("data", *sections))
    if not isinstance(recipe, Mapping) and (told := moved_run(recipe, loaded)):
        logger.warning(told)
    return loaded


def evaluate(
    folder: str | Path,
    recipe: RecipeLike | None = None,
    *,
    split: str = "test",
    teacher: str | Path | None = None,
    data: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a model that hrkd wrote on a part of a data set. Returns its scores as a plain dict.

    Args:
        folder: a run (its student is measured, on the run's own data) or a model folder.
        recipe: where the data comes from; needed for a model folder alone.
        split: "train", "dev" or "test".
        teacher: another model, such as the run's ``teacher`` folder; the scores then hold the agreement with it.
        data, show, progress: as :func:`compress`.

    Raises:
        ArtifactError: no model there.
        DataError, ModelError: the data's domains or labels are not the model's.
    """
    folder = Path(folder)
    check_measurable(folder, split, data_named=recipe is not None or data is not None)
    is_run = (folder / "recipe.yaml").is_file()
    if is_run:
        recipe, folder = recipe or folder / "recipe.yaml", folder / "student"
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe or {}, needed=() if data is not None else ("data",))
    labelled = recipe.data.model_copy(update={"unlabelled": None})  # nothing is measured on the rest
    context = Context.load(recipe.model_copy(update={"data": labelled}), data=data, show=show, progress=progress)
    if is_run and read_json(folder / STAGE_RECORD, what="the record of a stage").get("data") != context.data.digest:
        logger.warning("%s was trained on other data or another split: %s may hold what it has seen", folder, split)
    rows: MultiDomainDataset = getattr(context.data.splits, split)
    model, part = _read(context, str(folder), rows)
    agreed_with = None if teacher is None else predictions(context, *_read(context, str(teacher), rows))
    found = scores(context, predictions(context, model, part), part, teacher=agreed_with).to_dict()
    context.show(scores_table(found, title=f"{folder} on {split}"))
    return found


def _read(context: Context, folder: str, rows: MultiDomainDataset) -> tuple[AnyTeacher, TokenizedDataset]:
    """The model of a folder, single-domain teachers combined as the recipe says, and rows as its token ids."""
    max_length = context.recipe.data.max_length
    combine = context.recipe.teacher.combine if domain_folders(folder) else "route"
    model = load_fine_tuned(folder, domains=rows.domains, labels=rows.labels, max_tokens=max_length, combine=combine)
    return model, tokenize(rows, load_tokenizer(folder), max_length, cache=context.cache)
