"""``hrkd data``: what the data of a recipe are like, and what linear models make of them.

Imports torch and transformers only to count tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrkd.data.describe import describe
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import ArtifactError, ModelError
from hrkd.linear.relations import RelatedRows, permuted, right_by_relations, smoothed_cosines
from hrkd.linear.sharing import Sharing, mean_over_domains, measure_sharing
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import EvaluationConfig, Recipe
from hrkd.report.tables import classes_table, data_table, reading_table, relations_table, sharing_table
from hrkd.run.prepare import prepare_data
from hrkd.support.caches import cache_folder
from hrkd.support.messages import visible
from hrkd.support.progress import Show, quiet
from hrkd.training.intervals import paired_difference

__all__ = ["describe_data"]

CONFIDENCE = EvaluationConfig().confidence


def describe_data(
    recipe: Recipe | str | Path | Mapping[str, Any],
    tokenizer: str | Path | None = None,
    *,
    data: MultiDomainDataset | None = None,
    unlabelled: MultiDomainDataset | None = None,
    linear_models: bool = True,
    show: Show = quiet,
) -> dict[str, Any]:
    """Counts, label balance, lengths, duplicates, truncation per domain and split, and linear models, as a plain dict.

    Args:
        recipe: its data section is read.
        tokenizer: folder or hub name, for lengths in tokens; default: that of the recipe's teacher, if it has one that
            can be opened.
        data, unlabelled: as :func:`hrkd.run.commands.compress`.
        linear_models: fit linear models on some of the rows too, to see what domains give each other (``linear`` in
            what is returned: rows, accuracies and C of each form, the paired difference of crossed to own, and
            ``relations`` between domains with what a model of them reaches).
        show: receives the tables.

    Raises:
        DataError: see :mod:`hrkd.data`.
        ArtifactError, ModelError: ``tokenizer`` cannot be opened.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, needed=() if data is not None else ("data",))
    field, source = "tokenizer", tokenizer
    if source is None and (source := recipe.teacher.tokenizer) is not None:
        field = "teacher.fine_tuned" if recipe.teacher.model is None else "teacher.model"
    prepared = prepare_data(recipe.data, data, cache_folder(recipe.cache.folder), unlabelled=unlabelled)
    loaded, why = None, "the recipe names no teacher that has a tokenizer"
    if source is not None:
        from hrkd.models.tokenizers import load_tokenizer

        try:
            loaded = load_tokenizer(source)
        except (ArtifactError, ModelError) as error:
            if tokenizer is not None:
                raise type(error)(f"{field}: {error}") from error
            why = f"{field}: {error}"
    description = describe(
        prepared.splits, tokenizer=loaded, max_length=recipe.data.max_length, unlabelled=prepared.unlabelled
    )
    content, rows = description.to_dict(), description.rows()
    for table in (
        data_table(rows),
        classes_table(rows),
        reading_table(content["reading"], description.max_length),
    ):
        if table is not None:
            show(table)
    if loaded is None:
        show(visible(f"Lengths in tokens are not known ({why}): --tokenizer FOLDER."))
    if linear_models:
        found = measure_sharing(prepared.splits)
        content["linear"] = _sharing(found)
        show(sharing_table(content["linear"]))
        if len(prepared.splits.domains) > 1:
            content["linear"]["relations"] = _relations(found)
            show(relations_table(content["linear"]["relations"]))
    for note in prepared.splits.notes:
        show(visible(note))
    return content


def _sharing(found: Sharing) -> dict[str, Any]:
    """What linear models of each form reach on dev, as plain data."""
    domains, domain_ids = found.train.domains, found.dev.domain_ids

    def accuracies(right: np.ndarray) -> dict[str, float]:
        return {name: float(right[domain_ids == d].mean()) for d, name in enumerate(domains)}

    return {
        "train_rows": found.train.rows_by_domain(),
        "dev_rows": found.dev.rows_by_domain(),
        "is_part": found.is_part,
        "accuracy": {form: accuracies(right) for form, right in found.right.items()},
        "strength": found.strengths,
        "paired": paired_difference(found.right["crossed"], found.right["own"], domain_ids, CONFIDENCE).to_dict(),
    }


def _relations(found: Sharing) -> dict[str, Any]:
    """How domains are related by what sets their classes apart, and what linear models make of it, as plain data."""
    domains, domain_ids = found.train.domains, found.dev.domain_ids
    rows = RelatedRows.of(found.train, found.dev)
    relations = smoothed_cosines(rows.products[:, :, None])
    matrix = relations[0]
    told: dict[str, Any] = {
        "matrix": {
            one: dict(zip(domains, map(float, own), strict=True)) for one, own in zip(domains, matrix, strict=True)
        }
    }
    if len(domains) < 3:  # with two there is one relation, and no control
        return told
    compared = {"equal": np.ones_like(matrix), "related": matrix, "permuted": permuted(relations, 0)[0]}
    right = right_by_relations(rows, compared)
    told["accuracy"] = {name: mean_over_domains(each, domain_ids) for name, each in right.items()}
    for name, other in {"paired": "equal", "paired_control": "permuted"}.items():
        told[name] = paired_difference(right["related"], right[other], domain_ids, CONFIDENCE).to_dict()
    return told
