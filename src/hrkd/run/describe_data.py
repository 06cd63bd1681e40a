"""``hrkd data``: what the data of a recipe are like, and what linear models make of them.

Imports torch and transformers only to count tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrkd.data.describe import describe
from hrkd.data.types import MultiDomainDataset, Splits
from hrkd.linear.sharing import measure_sharing
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import EvaluationConfig, Recipe
from hrkd.report.tables import classes_table, data_table, reading_table, sharing_table
from hrkd.run.prepare import prepare_data
from hrkd.support.caches import cache_folder
from hrkd.support.messages import visible
from hrkd.support.progress import Show, quiet
from hrkd.training.intervals import paired_difference

__all__ = ["describe_data"]


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
        tokenizer: folder or hub name, for lengths in tokens; default: the recipe's teacher, if it names one.
        data, unlabelled: as :func:`hrkd.run.commands.compress`.
        linear_models: fit linear models on some of the rows too, to see what domains give each other (``linear`` in
            what is returned: rows, accuracies and C of each form, and the paired difference of crossed to own).
        show: receives the tables.

    Raises:
        DataError: see :mod:`hrkd.data`.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, needed=() if data is not None else ("data",))
    source = tokenizer or recipe.teacher.model
    prepared = prepare_data(recipe.data, data, cache_folder(recipe.cache.folder), unlabelled=unlabelled)
    loaded = None
    if source is not None:
        from hrkd.models.tokenizers import load_tokenizer

        loaded = load_tokenizer(source)
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
    if linear_models:
        content["linear"] = _sharing(prepared.splits)
        show(sharing_table(content["linear"]))
    for note in prepared.splits.notes:
        show(visible(note))
    return content


def _sharing(splits: Splits) -> dict[str, Any]:
    """What linear models of each form reach on dev, as plain data."""
    found = measure_sharing(splits)
    domains, domain_ids = splits.domains, found.dev.domain_ids

    def accuracies(right: np.ndarray) -> dict[str, float]:
        return {name: float(right[domain_ids == d].mean()) for d, name in enumerate(domains)}

    confidence = EvaluationConfig().confidence
    return {
        "train_rows": found.train.rows_by_domain(),
        "dev_rows": found.dev.rows_by_domain(),
        "is_part": found.is_part,
        "accuracy": {form: accuracies(right) for form, right in found.right.items()},
        "strength": found.strengths,
        "paired": paired_difference(found.right["crossed"], found.right["own"], domain_ids, confidence).to_dict(),
    }
