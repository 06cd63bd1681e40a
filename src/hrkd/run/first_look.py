"""What can be found wrong at a glance, before torch and the like are imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from hrkd.data.readers.places import check_source_is_there
from hrkd.deploy.export_folder import is_export, read_export
from hrkd.errors import ArtifactError, DataError, HrkdError, ModelError, RecipeError
from hrkd.models.folder import glance
from hrkd.models.open_model import ModelFacts, read_facts
from hrkd.recipe.schema import Recipe
from hrkd.run.folder import RunFolder
from hrkd.support.atomic_files import check_can_be_written
from hrkd.support.domain_index import read_domain_index
from hrkd.support.folder_names import fault_of_path
from hrkd.support.stage_files import going_on, is_finished_stage

__all__ = [
    "SPLITS",
    "WHICH",
    "check_measurable",
    "check_named",
    "check_output",
    "check_teacher_is_finished",
    "check_teacher_is_there",
    "faults_of_named",
    "moved_run",
    "read_student",
    "recipe_around",
    "student_in",
    "teacher_in",
]

SPLITS = ("train", "dev", "test", "all")
"""What a model can be measured on."""
WHICH: Mapping[str, tuple[str, ...]] = {
    "all": ("lost", "gained", "both_wrong"),
    "wrong": ("lost", "both_wrong"),
    "lost": ("lost",),
    "gained": ("gained",),
    "neither": ("both_wrong",),
}
"""What ``hrkd errors`` can be asked for, and the kinds of rows (:data:`hrkd.report.page.aggregate.KINDS`)."""


def check_named(recipe: Recipe, *fields: str) -> None:
    """Whether the files and folders are there that ``fields`` (or all fields of sections) name as sources.

    Of models, the files are looked at too; what is in data is looked at when it is opened. A name that the hub may know
    passes.

    Raises:
        ArtifactError, DataError, ModelError: one is missing, or is no model that can be opened.
    """
    for error in faults_of_named(recipe, *fields):
        raise error


def faults_of_named(recipe: Recipe, *fields: str) -> Iterator[HrkdError]:
    """What :func:`check_named` raises, for each of the sources."""
    for field, source in _named(recipe):
        if not field.startswith(fields):
            continue
        try:
            if field.startswith("data."):
                check_source_is_there(source, recipe.data.format if field == "data.source" else "auto")
            else:
                glance(source)
        except (ArtifactError, DataError, ModelError) as error:
            yield type(error)(f"{field}: {error}")


def check_teacher_is_there(recipe: Recipe, teacher_folder: Path | None) -> None:
    """Whether a stage after the teacher has one: ``teacher_folder``, ``teacher.fine_tuned`` or the recipe's own.

    Raises:
        ArtifactError: it has none.
    """
    if teacher_folder is not None or recipe.teacher.fine_tuned is None:
        own = RunFolder(recipe.run.output).stage("teacher").model
        check_teacher_is_finished(own if teacher_folder is None else teacher_in(teacher_folder))


def teacher_in(folder: Path) -> Path:
    """The folder of a teacher that was named by it, or by the folder of the run that trained it."""
    if fault := fault_of_path(folder):
        raise ArtifactError(f"{folder}: no teacher can be there: {fault}")
    if (folder / "recipe.yaml").is_file() and not is_finished_stage(folder):
        return RunFolder(folder).stage("teacher").model
    return folder


def student_in(folder: Path) -> Path:
    """The folder of a student that was named by it, or by the folder of the run that made it."""
    if not fault_of_path(folder) and (folder / "recipe.yaml").is_file() and not is_finished_stage(folder):
        return RunFolder(folder).stage("student").model
    return folder


def recipe_around(folder: Path) -> Path | None:
    """The recipe of the run that a folder is, or that a model's folder lies in; None where there is no run."""
    if fault_of_path(folder):
        return None
    if (folder / "recipe.yaml").is_file():
        return folder / "recipe.yaml"
    places = list(folder.absolute().parents)[:2]  # a part of a teacher lies deeper
    return next((place / "recipe.yaml" for place in places if RunFolder(place).is_run), None)


def read_student(folder: Path) -> ModelFacts:
    """What a student, or that of a run, says of itself; for what is made of students alone.

    Raises:
        ArtifactError: there is none, or an export of one.
    """
    if is_export(folder):
        raise ArtifactError(
            f"{folder}: is an export ({read_export(folder).target}); give the student that it was made from"
        )
    index = None if fault_of_path(folder) else read_domain_index(folder)
    if index is not None and index.holds == "plain":
        raise ArtifactError(f"{folder}: is a plain export; give the student that it was made from")
    return read_facts(student_in(folder))


def check_output(recipe: Recipe) -> None:
    """Whether the folder of the run can be written to.

    Raises:
        ArtifactError: it cannot.
    """
    check_can_be_written(recipe.run.output, is_folder=True)


def moved_run(source: str | Path | None, recipe: Recipe) -> str:
    """What to tell of a recipe that lies in the folder of a run and names another one; empty if it does not."""
    path = Path(source) if isinstance(source, str | Path) else None
    if path is None or path.name != "recipe.yaml" or not path.is_file() or not RunFolder(path.parent).is_run:
        return ""
    if path.parent.resolve() == recipe.run.output.resolve():
        return ""
    return (
        f"{path}: is the recipe of the run in {path.parent}, and says run.output: {recipe.run.output}, where this run "
        f"goes; --run.output {path.parent} goes on with the one in {path.parent}"
    )


def check_teacher_is_finished(folder: Path) -> None:
    """Whether there is a teacher in ``folder`` that hrkd has finished.

    Raises:
        ArtifactError: there is none.
    """
    if not is_finished_stage(folder):
        if RunFolder(folder.parent).is_run:
            raise ArtifactError(f"{folder}: the teacher of this run is not finished yet; {going_on(folder.parent)}")
        raise ArtifactError(
            f"{folder}: no finished teacher; run hrkd train-teacher first, or name a folder (--teacher-folder)"
        )


def check_measurable(folder: Path, split: str | None, *, data_named: bool) -> None:
    """Whether there is a finished student, or a model, in ``folder``, and a ``split`` of some data to measure it on.

    Raises:
        ArtifactError: there is no such folder, or no finished student in it.
        RecipeError: there is no such split, or a model and no data.
    """
    if fault_of_path(folder) or not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder; name the output folder of a run, or the folder of a model")
    if split is not None and split not in SPLITS:
        raise RecipeError(f"--split: {split!r} is none of {', '.join(SPLITS)}")
    if (folder / "recipe.yaml").is_file():
        if not (folder / "student").is_dir():
            raise ArtifactError(f"{folder / 'student'}: this run has no finished student yet; {going_on(folder)}")
    elif not data_named and recipe_around(folder) is None:
        raise RecipeError(f"{folder}: lies in no run, so that its rows are not known; name a recipe with its data")


def _named(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Field and value of each source of text and model that a recipe names."""
    data, tuned = recipe.data, recipe.teacher.fine_tuned
    named = {
        "data.source": None if data.format == "synthetic" else data.source,
        "data.unlabelled": data.unlabelled,
        "teacher.model": recipe.teacher.model,
        "student.checkpoint": recipe.student.checkpoint,
    }
    if isinstance(tuned, Mapping):
        named |= {f"teacher.fine_tuned.{domain}": source for domain, source in tuned.items()}
    else:
        named["teacher.fine_tuned"] = tuned
    yield from ((field, source) for field, source in named.items() if source is not None)
