"""``hrkd check``: everything that can be found wrong with a recipe and its data before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrkd.data.health.finding import Finding
from hrkd.errors import HrkdError, RecipeError
from hrkd.recipe.codes import CODES, SEVERITIES
from hrkd.recipe.loading import load_recipe, merge_overrides, read_recipe
from hrkd.recipe.schema import Recipe
from hrkd.run.check_models import check_as_a_run_does, check_lengths, check_words
from hrkd.run.check_rows import check_rows, each_line
from hrkd.run.first_look import check_output, faults_of_named, moved_run

__all__ = ["Checked", "check"]

ERRORS, WARNINGS = 2, 1


@dataclass(frozen=True)
class Checked:
    """What was found, the gravest first. ``left_out`` counts what ``data.ignore`` leaves out, by code."""

    findings: tuple[Finding, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """2: a run would refuse; 1: there are warnings; 0: neither."""
        grave = {each.severity for each in self.findings}
        return ERRORS if "error" in grave else WARNINGS if "warning" in grave else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {
            "status": self.status,
            "findings": [each.to_dict() for each in self.findings],
            "left_out": dict(self.left_out),
        }


def check(source: str | Path | Mapping[str, Any] | None, overrides: Mapping[str, Any] | None = None) -> Checked:
    """Look at a recipe, at what it names and at its data, and go on after whatever is wrong as far as that makes sense.

    Args:
        source, overrides: as :func:`hrkd.recipe.loading.load_recipe`.
    """
    recipe, found = _recipe(source, overrides)
    if recipe is None:
        return _ordered(found, ())
    whole = not found
    sections = ("data", "teacher", "student") if whole else ("data",)
    missing = [line for error in faults_of_named(recipe, *sections) for line in each_line("D002", error)]
    found += missing
    if whole:
        found += _output(source, recipe)
    if not any(each.found.startswith("data.source: ") for each in missing):
        found += _rows(recipe, is_whole=whole and not missing)
    return _ordered(found, recipe.data.ignore)


def _recipe(
    source: str | Path | Mapping[str, Any] | None, overrides: Mapping[str, Any] | None
) -> tuple[Recipe | None, list[Finding]]:
    """The recipe, or its data section alone where that can be used and others cannot, with what is wrong."""
    try:
        return load_recipe(source, overrides), []
    except RecipeError as error:
        found = list(each_line("D001", error))
    try:
        data = read_recipe(source)[1].data
        section = {"data": data["data"]} if isinstance(data, dict) and "data" in data else {}
        given = merge_overrides(overrides or {})
        return load_recipe(section, {"data": given.get("data", {})}, needed=("data",)), found
    except RecipeError:
        return None, found


def _output(source: str | Path | Mapping[str, Any] | None, recipe: Recipe) -> list[Finding]:
    found: list[Finding] = []
    try:
        check_output(recipe)
    except HrkdError as error:
        found += each_line("D002", error)
    told = "" if isinstance(source, Mapping) else moved_run(source, recipe)
    return found + ([Finding("D901", told)] if told else [])


def _rows(recipe: Recipe, *, is_whole: bool) -> list[Finding]:
    """What is found in the rows; and, where nothing is wrong so far and all of it is there, in the models."""
    step = recipe.student.training.step_size
    if recipe.teacher.fine_tuned is None:
        step = max(step, recipe.teacher.training.step_size)
    rows = check_rows(recipe.data, step)
    found = list(rows.findings)
    if rows.dataset is not None:
        found += check_lengths(recipe, rows.dataset)
    if rows.splits is not None:
        found += check_words(rows.splits, recipe.evaluation.confidence)
    if is_whole and not any(each.severity == "error" for each in found):
        found += check_as_a_run_does(recipe)
    return found


def _ordered(found: list[Finding], ignored: list[str] | tuple[str, ...]) -> Checked:
    """By severity, then as the codes are; what was told twice once."""
    severities, codes = list(SEVERITIES), list(CODES)
    kept = dict.fromkeys(each for each in found if each.code not in ignored)
    order = sorted(kept, key=lambda each: (severities.index(each.severity), codes.index(each.code)))
    return Checked(tuple(order), Counter(each.code for each in found if each.code in ignored))
