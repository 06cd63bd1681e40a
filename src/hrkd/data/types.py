"""What flows through the data room: rows of several domains with one label map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hrkd.data.columns import integers, renumbered, stacked, take
from hrkd.errors import DataError, TrainingError
from hrkd.support.arguments import shown
from hrkd.support.messages import count_of

if TYPE_CHECKING:
    import datasets

__all__ = ["NO_LABEL", "PARTS", "MultiDomainDataset", "Splits", "check_dataset"]

NO_LABEL = -1
"""Label id of a row without a label."""
PARTS = ("train", "dev", "test")
"""Names of the parts of a split."""


@dataclass(frozen=True)
class MultiDomainDataset:
    """Text of several domains, Arrow-backed, one row per example; read from a file, it stays on disk.

    ``rows`` has the columns ``id`` (string, unique), ``text`` (string), ``text_pair`` (string; only for pair tasks),
    ``label`` (int, index into ``labels``, or :data:`NO_LABEL`), ``domain`` (int, index into ``domains``) and, where the
    source says so, ``split`` (string: ``train``, ``dev``, ``test``; null where it does not). ``notes`` are plain
    sentences about how the source was read.
    """

    rows: datasets.Dataset
    labels: tuple[str, ...]
    domains: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def has_pairs(self) -> bool:
        """Whether every example has a second text."""
        return "text_pair" in self.rows.column_names

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the columns with text: one, or two of a pair task."""
        return ("text", "text_pair") if self.has_pairs else ("text",)

    @property
    def label_ids(self) -> np.ndarray:
        """Labels as integers, shape (rows,).

        Raises:
            TrainingError: a row has no label.
        """
        found = self.label_ids_or_none
        if missing := int(np.count_nonzero(found == NO_LABEL)):
            raise TrainingError(
                f"{count_of(missing)} without a label where labels are read; text without labels (data.unlabelled) is "
                "for distillation alone: leave it out here"
            )
        return found

    @property
    def label_ids_or_none(self) -> np.ndarray:
        """Labels as integers, :data:`NO_LABEL` for rows without one, shape (rows,)."""
        return integers(self.rows, "label")

    @property
    def domain_ids(self) -> np.ndarray:
        """Domains as integers, shape (rows,)."""
        return integers(self.rows, "domain")

    def select(self, indices: Sequence[int] | np.ndarray) -> MultiDomainDataset:
        """The rows at ``indices``, in that order; labels and domains unchanged."""
        return replace(self, rows=take(self.rows, np.asarray(indices, dtype=np.int64)))

    def followed_by(self, other: MultiDomainDataset) -> MultiDomainDataset:
        """These rows and then those of ``other``, whose numbers mean the same labels and domains; nothing is copied."""
        return replace(self, rows=stacked(self.rows, other.rows))

    def of_domain(self, domain: str) -> MultiDomainDataset:
        """The rows of one domain.

        Raises:
            DataError: ``domain`` is not one of ``domains``.
        """
        if domain not in self.domains:
            raise DataError(f"unknown domain {domain!r}; this data set has {', '.join(self.domains)}")
        return self.select(np.flatnonzero(self.domain_ids == self.domains.index(domain)))

    def alone(self, domain: str) -> MultiDomainDataset:
        """The rows of one domain as a data set that has no other; its domain id is 0.

        Raises:
            DataError: ``domain`` is not one of ``domains``.
        """
        numbers = np.zeros(len(self.domains), dtype=np.int64)
        return replace(self, rows=renumbered(self.of_domain(domain).rows, domain=numbers), domains=(domain,))

    def without(self, domains: Sequence[str]) -> MultiDomainDataset:
        """The rows of all other domains, as a data set that does not know these."""
        kept = [name for name in self.domains if name not in domains]
        numbers = np.array([kept.index(name) if name in kept else -1 for name in self.domains], dtype=np.int64)
        rows = self.select(np.flatnonzero(numbers[self.domain_ids] >= 0)).rows
        return replace(self, rows=renumbered(rows, domain=numbers), domains=tuple(kept))

    def without_labels(self) -> MultiDomainDataset:
        """The same rows, for distillation alone; labels keep their names."""
        unknown = np.full(max(1, len(self.labels)), NO_LABEL, dtype=np.int64)
        return replace(self, rows=renumbered(self.rows, label=unknown))

    def rows_by_domain(self) -> dict[str, int]:
        """Number of rows of every domain, also of those that have none."""
        counts = np.bincount(self.domain_ids, minlength=len(self.domains)).tolist()
        return dict(zip(self.domains, counts, strict=True))

    def count(self) -> Counter[tuple[str, str]]:
        """Number of rows by (domain, label)."""
        counts = np.bincount(self.domain_ids * len(self.labels) + self.label_ids)
        cells = [(int(cell), int(counts[cell])) for cell in np.flatnonzero(counts)]
        width = len(self.labels)
        return Counter({(self.domains[cell // width], self.labels[cell % width]): rows for cell, rows in cells})


@dataclass(frozen=True)
class Splits:
    """Train, dev and test parts of one data set; no text stands in two of them.

    ``notes`` are plain sentences about what was done (duplicates kept together, rows left out); ``drawn``: which of
    dev and test have rows that nobody had set apart before.
    """

    train: MultiDomainDataset
    dev: MultiDomainDataset
    test: MultiDomainDataset
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[tuple[str, MultiDomainDataset]]:
        return iter(zip(PARTS, (self.train, self.dev, self.test), strict=True))

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, sorted; the same in all parts."""
        return self.train.labels

    @property
    def domains(self) -> tuple[str, ...]:
        """Domain names; the same in all parts."""
        return self.train.domains


def check_dataset(argument: str, given: Any) -> None:
    """Whether rows in memory, or None, are what a caller gives.

    Raises:
        DataError: it is something else.
    """
    if given is not None and not isinstance(given, MultiDomainDataset):
        raise DataError(f"{argument}: expected rows as load_domains makes them of it, got {shown(given)}")
