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
from hrkd.deploy.export_folder import check_place, is_export
from hrkd.deploy.hub import check_hub, push_to_hub
from hrkd.errors import RecipeError
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.report.export_card import write_export_card, write_plain_card
from hrkd.report.tables import export_table
from hrkd.run.evaluation import rows_of_model, workplace_of
from hrkd.run.first_look import read_student, recipe_around, student_in
from hrkd.run.rows_to_measure import as_model_says
from hrkd.support.arguments import path_of
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
            Its dev rows are taken, and its train rows to see what the activations are like.
        domain: a graph of this domain alone.
        vocabulary: how often a piece must stand in the training texts to be kept; None: all pieces are.
        allowance: points of accuracy that a form that rounds may lose on the mean over domains; a domain that loses
            more fails it too, unless that may be chance.
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

        def describe(folder: Path, folders: Mapping[str, str]) -> None:
            write_plain_card(folder, facts, folders, source)

        for name, folder in export_plain(source, place, overwrite=overwrite, describe=describe).items():
            show(f"{name}: {folder}")
        return _pushed(place, push_to, show)
    check_place(place, overwrite, is_export)
    own = recipe_around(source)
    if recipe is None and data is None and own is not None:
        recipe = own
    rows = calibration = None
    if recipe is not None or data is not None:
        checked = (
            recipe if isinstance(recipe, Recipe) else load_recipe(recipe or {}, needed=("data",) if recipe else ())
        )
        workplace = workplace_of(checked, progress)

        def part(split: str) -> MultiDomainDataset:
            found = rows_of_model(workplace, source, facts, data, split, is_run=own is not None and recipe == own)
            return as_model_says(found.rows, facts, facts.labels)

        rows = part("dev")
        calibration = part("train") if target.calibrated or vocabulary is not None else None
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


def _pushed(place: Path, name: str | None, show: Show) -> Path:
    """``place``, once it is on the Hub if that is asked for."""
    if name is not None:
        show(f"{name}: {push_to_hub(place, name)}")
    return place
