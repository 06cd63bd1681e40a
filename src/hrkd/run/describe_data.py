"""``hrkd data``: what the data of a recipe are like. Imports torch and transformers only to count tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrkd.data.describe import describe
from hrkd.data.types import MultiDomainDataset
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.report.tables import classes_table, data_table, reading_table
from hrkd.run.prepare import prepare_data
from hrkd.support.caches import cache_folder
from hrkd.support.messages import visible
from hrkd.support.progress import Show, quiet

__all__ = ["describe_data"]


def describe_data(
    recipe: Recipe | str | Path | Mapping[str, Any],
    tokenizer: str | Path | None = None,
    *,
    data: MultiDomainDataset | None = None,
    unlabelled: MultiDomainDataset | None = None,
    show: Show = quiet,
) -> dict[str, Any]:
    """Counts, label balance, lengths, duplicates and truncation per domain and split, as a plain dict.

    Args:
        recipe: its data section is read.
        tokenizer: folder or hub name, for lengths in tokens; default: the recipe's teacher, if it names one.
        data, unlabelled: as :func:`hrkd.run.commands.compress`.
        show: receives the table.

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
    for note in prepared.splits.notes:
        show(visible(note))
    return content
