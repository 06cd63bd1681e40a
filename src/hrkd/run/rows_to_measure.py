"""Which rows an evaluation takes: all that it is given, unless the data, or the caller, says which are test.

Measuring is not training: a source may lack labels, domains or parts that a training would need.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hrkd.data.columns import renumbered
from hrkd.data.readers.sources import has_columns_of_its_own
from hrkd.data.rows import known_as
from hrkd.data.splits.split import given_parts
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import DataError, RecipeError
from hrkd.models.open_model import ModelFacts
from hrkd.recipe.schema import DataConfig
from hrkd.run.prepare import prepare_data
from hrkd.support.messages import count_of, misspelt

__all__ = ["MeasuredRows", "as_model_says", "own_part", "rows_to_measure", "with_columns_of"]

logger = logging.getLogger("hrkd")


@dataclass(frozen=True)
class MeasuredRows:
    """Rows, in words which they are, and whether they are all for want of a test part."""

    rows: MultiDomainDataset
    which: str
    are_all: bool = False


def with_columns_of(data: DataConfig, facts: ModelFacts) -> DataConfig:
    """The data section with the model's own columns for those that it does not name.

    Raises:
        RecipeError: second texts for a model of single texts.
    """
    if facts.pairs is False and data.text_pair is not None:
        raise RecipeError(
            f"data.text_pair: {data.text_pair!r} is named, and the model takes single texts; leave it out"
        )
    columns: Mapping[str, str | None] = facts.columns or {}
    if data.source is None or has_columns_of_its_own(data.source, data.format):
        return data
    named = {role for role in data.model_fields_set if getattr(data, role, None) is not None}
    return data.model_copy(update={role: name for role, name in columns.items() if role not in named})


def own_part(data: DataConfig, dataset: MultiDomainDataset, *, digest: str, split: str) -> MultiDomainDataset | None:
    """The part ``split`` of the data that a model was made from (``digest``); None if these are other rows."""
    try:
        prepared = prepare_data(data, dataset)
    except (DataError, RecipeError):  # rows that cannot be trained on are not those that were
        return None
    part: MultiDomainDataset = getattr(prepared.splits, split)
    return part if prepared.digest == digest else None


def rows_to_measure(data: DataConfig, dataset: MultiDomainDataset, *, split: str | None) -> MeasuredRows:
    """Rows of a source, with its own numbers of labels and domains.

    Args:
        data: the data section.
        dataset: its rows.
        split: train, dev or test: that part, as the source says it, or else as a training draws it; all: every row;
            None: those that the source calls test, if it says which, else every row.

    Raises:
        DataError: see :mod:`hrkd.data`; the source has no such rows.
    """
    given = None if split == "all" else given_parts(dataset, data.splits_file)
    if given is None:
        if split in (None, "all"):
            return MeasuredRows(_without_parts(dataset), f"all {count_of(len(dataset))}", are_all=split is None)
        part: MultiDomainDataset = getattr(prepare_data(data, dataset).splits, str(split))
        drawn = f"{len(part):,} of {count_of(len(dataset))}, drawn as for a training"
        logger.warning("%s: %s, as the data does not say which they are; leave --split out to take all", split, drawn)
        return MeasuredRows(part, f"{split}: {drawn}")
    wanted = split or ("test" if len(given["test"]) else "dev" if len(given["dev"]) else "train")
    if not len(given[wanted]):
        counts = ", ".join(f"{name} {len(rows):,}" for name, rows in given.items())
        raise DataError(f"--split: no rows are called {wanted} ({counts}); name another part, or all")
    return MeasuredRows(_without_parts(dataset.select(given[wanted])), wanted)


def as_model_says(rows: MultiDomainDataset, facts: ModelFacts, labels: Sequence[str]) -> MultiDomainDataset:
    """The rows with the model's ``labels`` in their order, and those of its domains that have rows.

    Raises:
        DataError: labels or domains that the model does not know; single texts for a model of pairs, or the reverse.
    """
    if facts.pairs is not None and facts.pairs != rows.has_pairs:
        takes, found = ("pairs of texts", "single texts") if facts.pairs else ("single texts", "pairs of texts")
        raise DataError(f"the model takes {takes}, the data holds {found}; name the columns that it is to read")
    if unknown := [name for name in rows.labels if known_as(name, labels) is None]:
        raise DataError(
            f"labels that the model does not know: {misspelt(unknown, labels)}; it says {', '.join(labels)}. Correct "
            "them in the data; if they mean the same, give the data's names in the order of the model's (--labels)"
        )
    known = facts.domains or list(rows.domains)
    counts = rows.rows_by_domain()
    if unknown := [name for name in rows.domains if known_as(name, known) is None and counts[name]]:
        raise DataError(
            f"domains that the model does not know: {misspelt(unknown, known)}; it knows {', '.join(known)} "
            "(data.domains selects some)"
        )
    called = {name: known_as(name, known) for name in rows.domains if counts[name]}
    present = [name for name in known if name in called.values()]
    label_order = np.array([labels.index(known_as(name, labels) or name) for name in rows.labels], dtype=np.int64)
    domain_order = np.array(
        [present.index(called[name] or name) if name in called else 0 for name in rows.domains], dtype=np.int64
    )
    table = renumbered(rows.rows, label=label_order, domain=domain_order)
    return replace(rows, rows=table, labels=tuple(labels), domains=tuple(present))


def _without_parts(rows: MultiDomainDataset) -> MultiDomainDataset:
    has_parts = "split" in rows.rows.column_names
    return replace(rows, rows=rows.rows.remove_columns("split")) if has_parts else rows
