"""The wiring: from a recipe to a measured student. Configuration objects end at the stages.

``compress`` is ``train_teacher`` and ``distill``; every stage leaves a finished folder or nothing, and is taken
up where it stopped. :func:`hrkd.training.trainers.distill_from_models` is the same distillation on live objects.
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
from hrkd.models.loading import domain_folders, load_fine_tuned, load_tokenizer
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.report.tables import scores_table
from hrkd.run.context import Job, Show, Staged, quiet
from hrkd.run.first_look import check_measurable, check_teacher_is_there
from hrkd.run.precheck import plan
from hrkd.run.results import build_results, write_results
from hrkd.run.student import distil_student, fine_tune_baseline
from hrkd.run.teacher import Teacher, fine_tune_teacher, open_teacher
from hrkd.support.atomic_files import read_json
from hrkd.support.progress import Progress

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
    job = Job.on(_recipe(recipe, data), show, progress, data, unlabelled)
    own = job.recipe.teacher.fine_tuned is None
    planned = _planned(job, "teacher", "student") if own else _planned(job, "student")
    job.check(planned)
    if own:
        plan(job)
    job.open(planned)
    if own:
        fine_tune_teacher(job)
    return _distill(job, None, planned=own)


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
    job = Job.on(recipe, show, progress, data)
    check_step_sizes(job.data.splits.train, recipe.teacher.training.batch_size, job.accelerator.num_processes)
    planned = _planned(job, "teacher")
    job.check(planned)
    job.open(planned)
    folder = fine_tune_teacher(job)
    job.show(scores_table(open_teacher(job, None).dev_scores.to_dict(), title="Teacher on dev"))
    job.accelerator.end_training()
    return folder


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
        teacher_folder: a teacher that hrkd trained, such as another run's; default: the one in the recipe's
            output folder, or ``teacher.fine_tuned``.

    Raises:
        ArtifactError: there is no teacher yet, or it was trained on other data.
        HrkdError: as :func:`compress`.
    """
    job, foreign = _after_teacher("student", recipe, teacher_folder, data, unlabelled, show, progress)
    return _distill(job, foreign)


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
    job, foreign = _after_teacher("baseline", recipe, teacher_folder, data, None, show, progress)
    teacher = open_teacher(job, foreign)
    plan(job, teacher.model)
    return _measured(job, teacher, None, fine_tune_baseline(job, teacher))


def _after_teacher(
    stage: str,
    recipe: RecipeLike,
    teacher_folder: str | Path | None,
    data: MultiDomainDataset | None,
    unlabelled: MultiDomainDataset | None,
    show: Show,
    progress: Progress | None,
) -> tuple[Job, Path | None]:
    """The job of a stage that needs a finished teacher, with its folder open, and the folder of a foreign teacher."""
    job = Job.on(_recipe(recipe, data), show, progress, data, unlabelled)
    foreign = None if teacher_folder is None else Path(teacher_folder)
    own = foreign is None and job.recipe.teacher.fine_tuned is None
    check_teacher_is_there(job.recipe, foreign)
    if stage == "baseline" and job.run.is_finished("student"):
        raise ArtifactError(
            f"{job.run.folder}: holds a finished student; hrkd distill with student.baseline trains it beside that, "
            "or choose another run.output"
        )
    planned = _planned(job, *(("teacher", stage) if own else (stage,)), teacher_folder=foreign)
    job.check(planned)
    job.open(planned)
    return job, foreign


def _planned(job: Job, *stages: str, teacher_folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """What each stage of a command is to be made with; a student brings its baseline, if there is one, and its levels.

    Levels that are in the folder count for a recipe of one stage too, so that they are not left over from another.
    """
    if "student" in stages:
        two = job.recipe.method.stages == "two" or job.run.is_begun("levels")
        stages = (*stages, *(["levels"] if two else []), *(["baseline"] if job.recipe.student.baseline else []))
    return {stage: job.made_with(stage, teacher_folder) for stage in stages}


def _recipe(recipe: RecipeLike, data: MultiDomainDataset | None = None, *needed: str) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    sections = needed or ("teacher", "student")
    return load_recipe(recipe, needed=sections if data is not None else ("data", *sections))


def _distill(job: Job, teacher_folder: Path | None, *, planned: bool = False) -> dict[str, Any]:
    teacher = open_teacher(job, teacher_folder)
    if not planned:
        plan(job, teacher.model)
    student = distil_student(job, teacher)
    baseline = fine_tune_baseline(job, teacher) if job.recipe.student.baseline else None
    return _measured(job, teacher, student, baseline)


def _measured(job: Job, teacher: Teacher, student: Staged | None, baseline: Staged | None) -> dict[str, Any]:
    results = build_results(job, teacher, student, baseline)
    write_results(job, results)
    job.accelerator.end_training()
    return results


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
    job = Job.on(recipe.model_copy(update={"data": labelled}), show, progress, data)
    splits = job.data.splits
    if is_run and read_json(folder / "stage.json", what="the record of a stage").get("data") != job.data.digest():
        logger.warning("%s was trained on other data or another split: %s may hold what it has seen", folder, split)
    model, part = _opened(job, str(folder), getattr(splits, split))
    said = None if teacher is None else job.predict(*_opened(job, str(teacher), getattr(splits, split)))
    scores = job.scores(model, part, teacher_labels=said).to_dict()
    job.show(scores_table(scores, title=f"{folder} on {split}"))
    return scores


def _opened(job: Job, folder: str, rows: MultiDomainDataset) -> tuple[AnyTeacher, TokenizedDataset]:
    """The model of a folder, single-domain teachers combined as the recipe says, and rows as its token ids."""
    max_length = job.recipe.data.max_length
    combine = job.recipe.teacher.combine if domain_folders(folder) else "route"
    model = load_fine_tuned(folder, domains=rows.domains, labels=rows.labels, max_tokens=max_length, combine=combine)
    return model, tokenize(rows, load_tokenizer(folder), max_length, cache=job.cache_folder)
