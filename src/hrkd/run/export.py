"""``hrkd export``: the rows that an export is checked on, and the export."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrkd.data.types import MultiDomainDataset, check_dataset
from hrkd.deploy.export.command import export_to
from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.export.targets import ALLOWANCE, PLAIN, check_target
from hrkd.deploy.export_folder import check_place
from hrkd.deploy.hub import check_hub, push_to_hub
from hrkd.errors import DataError, RecipeError
from hrkd.models.open_model import ModelFacts
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.report.export_card import write_export_card, write_plain_card
from hrkd.report.tables import export_table
from hrkd.run.evaluation import rows_of_model, workplace_of
from hrkd.run.first_look import read_student, recipe_around, student_in
from hrkd.run.rows_to_measure import as_model_says
from hrkd.support.arguments import path_of
from hrkd.support.messages import first_line
from hrkd.support.progress import Progress, Show, quiet

__all__ = ["export"]

logger = logging.getLogger("hrkd")


def export(
    student: str | Path,
    output: str | Path,
    to: str = PLAIN,
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    domain: str | None = None,
    vocabulary: int | None = None,
    allowance: float = ALLOWANCE,
    overwrite: bool = False,
    push_to: str | None = None,
    data: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
) -> Path:
    """Write a student in a form that runs elsewhere, once it is found to say what the student says there.

    Args:
        student: folder of a student (or teacher) of hrkd, or of a run.
        output: folder to make.
        to: ``plain`` (a folder for each domain, for transformers alone), ``onnx``, ``onnx-int8``, ``openvino`` or
            ``openvino-int8`` (one graph for all domains).
        recipe: where the rows are that an export is checked on; None: those of the student's run, if it lies in one.
            Its dev rows are taken, and its train rows to see what the activations are like. Where the run's data is no
            longer there, forms that do not need rows are checked on random words, and a warning says so.
        domain: a graph of this domain alone.
        vocabulary: how often a piece must stand in the training texts to be kept; None: all pieces are.
        allowance: points of accuracy that a form that rounds, or reads less of long texts than the student (``plain``),
            may lose on the mean over domains; a domain that loses more fails it too, unless that may be chance.
        overwrite: replace an earlier export.
        push_to: a repository of the Hugging Face Hub, to which the finished folder is uploaded; made private.
        data: rows in memory, in the place of the recipe's.
        show, progress: as :func:`hrkd.run.commands.compress`.

    Returns:
        ``output``.

    Raises:
        ArtifactError: no student there; ``output`` cannot be written, or holds something else; no form passes its
            check. Nothing is written then, and an earlier export is kept.
        DataError: rows are needed, or are of labels or domains that the student does not know.
        ModelError: a package is missing, or the student's family cannot be exported.
        RecipeError: there is no such form.
    """
    source = student_in(path_of("student", student, "the folder of a student"))
    place = path_of("output", output)
    check_dataset("data", data)
    target = check_target(to)
    facts = read_student(source)
    if push_to is not None:
        check_hub(push_to)
    if to == PLAIN:
        if domain is not None:
            raise RecipeError("--domain: a plain export has a folder for each domain; use the one of that name")
        if vocabulary is not None:
            raise RecipeError(
                "--vocabulary: not for a plain export; student.vocabulary makes the student itself smaller"
            )
    check_place(place, overwrite)
    trained = target.calibrated or vocabulary is not None
    needed = trained or (not target.exact)
    rows, calibration = _rows(source, facts, recipe, data, progress, train=trained, needed=needed)
    if to == PLAIN:
        return _plain(source, facts, place, rows, allowance=allowance, overwrite=overwrite, push_to=push_to, show=show)
    record = export_to(
        source,
        place,
        to,
        rows=rows,
        calibration=calibration,
        domain=domain,
        vocabulary=vocabulary,
        allowance=allowance,
        overwrite=overwrite,
        describe=lambda folder, found: write_export_card(folder, found.to_dict(), source, what=target.what),
    )
    show(export_table(record.to_dict(), place, source))
    show(f"{to}: {place}")
    return _pushed(place, push_to, show)


def _rows(
    source: Path,
    facts: ModelFacts,
    recipe: Recipe | str | Path | Mapping[str, Any] | None,
    data: MultiDomainDataset | None,
    progress: Progress | None,
    *,
    train: bool,
    needed: bool,
) -> tuple[MultiDomainDataset | None, MultiDomainDataset | None]:
    """Dev rows and, if they are wanted, train rows: those that are named, or else those of the run, as far as known.

    Raises:
        DataError, RecipeError: what is named cannot be read, or the run's data cannot and is ``needed``.
    """
    own = recipe_around(source)
    is_run = recipe is None and data is None and own is not None
    if is_run:
        recipe = own
    if recipe is None and data is None:
        return None, None
    try:
        checked = (
            recipe if isinstance(recipe, Recipe) else load_recipe(recipe or {}, needed=("data",) if recipe else ())
        )
        workplace = workplace_of(checked, progress)

        def part(split: str) -> MultiDomainDataset:
            found = rows_of_model(workplace, source, facts, data, split, is_run=is_run)
            return as_model_says(found.rows, facts, facts.labels)

        return part("dev"), part("train") if train else None
    except (DataError, RecipeError) as error:
        if needed or not is_run:
            raise
        logger.warning(
            "the rows of %s are not to be had, so that the export is checked on random words alone: %s",
            own, first_line(error),
        )  # fmt: skip
        return None, None


def _plain(
    source: Path,
    facts: ModelFacts,
    place: Path,
    rows: MultiDomainDataset | None,
    *,
    allowance: float,
    overwrite: bool,
    push_to: str | None,
    show: Show,
) -> Path:
    """The form of a folder for each domain."""
    records = list[Mapping[str, Any]]()

    def describe(folder: Path, folders: Mapping[str, str], record: Mapping[str, Any]) -> None:
        write_plain_card(folder, facts, folders, source, record)
        records.append(record)

    made = export_plain(source, place, rows=rows, allowance=allowance, overwrite=overwrite, describe=describe)
    show(export_table(records[0], place, source))
    for name, folder in made.items():
        show(f"{name}: {folder}")
    return _pushed(place, push_to, show)


def _pushed(place: Path, name: str | None, show: Show) -> Path:
    """``place``, once it is on the Hub if that is asked for."""
    if name is not None:
        show(f"{name}: {push_to_hub(place, name)}")
    return place
