"""From text to padded batches: tokenising once, then one batch of every domain per step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from hrkd.data.arrow_files import as_dataset
from hrkd.data.columns import CHUNK, stacked, take
from hrkd.data.reading import KEEP, mean_of_windows
from hrkd.data.splits.draws import stable_rng
from hrkd.data.tokens import TEXT, token_table
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import DataError
from hrkd.recipe.schema import Keep, TrainingConfig

__all__ = ["Batch", "MultiDomainLoader", "TokenizedDataset", "check_step_sizes", "length_sorted", "tokenize"]

STEPS_IN_A_WINDOW = 64
"""Steps over which rows are sorted by length: more would save little padding, and leave less of the shuffling."""


@dataclass(frozen=True)
class Batch:
    """B rows padded to the longest of them.

    ``inputs`` holds input_ids and attention_mask (B, T) and what else the tokenizer gives; ``domain_ids``,
    ``labels`` (-1 for rows without one) and ``indices`` (row numbers in the data set) have shape (B,).
    """

    inputs: dict[str, Tensor]
    domain_ids: Tensor
    labels: Tensor
    indices: Tensor

    @property
    def mask(self) -> Tensor:
        """Which tokens are valid, (B, T) of 0 and 1."""
        return self.inputs["attention_mask"]

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.domain_ids.to(device), self.labels.to(device), self.indices.to(device))

    def rows(self, indices: Tensor) -> Batch:
        """The rows at ``indices`` (positions in this batch), still as long as the batch."""
        inputs = {name: tensor[indices] for name, tensor in self.inputs.items()}
        return Batch(inputs, self.domain_ids[indices], self.labels[indices], self.indices[indices])


@dataclass(frozen=True)
class TokenizedDataset:
    """Token ids of texts: a row for each in the texts' order, or several rows, its windows, one after the other.

    ``lengths`` in tokens and ``owners``, the number of the text that a row is of, have shape (rows,). ``rows`` is a
    table on disk, of which only the rows of a batch come into memory; see :func:`tokenize`. Training goes by rows,
    measuring by texts (:attr:`texts`, :meth:`of_texts`).
    ``ids``, shape (ids of the tokenizer,): what stands in batches in the place of each id; None: the id itself.
    """

    texts: MultiDomainDataset
    rows: datasets.Dataset
    lengths: np.ndarray
    owners: np.ndarray
    collator: DataCollatorWithPadding
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def has_windows(self) -> bool:
        """Whether a text has several rows."""
        return len(self.rows) > len(self.texts)

    @cached_property
    def source(self) -> MultiDomainDataset:
        """The texts, each as often as it has rows."""
        return self.texts.select(self.owners) if self.has_windows else self.texts

    @cached_property
    def domain_ids(self) -> np.ndarray:
        """Domains as integers, shape (rows,)."""
        return self.source.domain_ids

    @cached_property
    def label_ids_or_none(self) -> np.ndarray:
        """Labels as integers, -1 for rows without one, shape (rows,)."""
        return self.source.label_ids_or_none

    def piece_counts(self, ids: int) -> np.ndarray:
        """How often each of the ``ids`` of the tokenizer stands in the rows, shape (ids,)."""
        counts = np.zeros(ids, dtype=np.int64)
        for table in self.rows.select_columns(["input_ids"]).with_format("arrow").iter(CHUNK):
            counts += np.bincount(pc.list_flatten(table["input_ids"]).to_numpy(), minlength=ids)
        return counts

    def content(self) -> Iterator[bytes]:
        """What the tokenizer gave for all rows, in pieces, for a hash; where rows end is not in it."""
        for table in self.rows.with_format("arrow").iter(CHUNK):
            for column in table.column_names:
                for piece in table[column].chunks:
                    yield piece.flatten().to_numpy(zero_copy_only=False).tobytes()

    def of_texts(self, logits: np.ndarray) -> np.ndarray:
        """Logits of the texts, (texts, C), from those of the rows: windows have the mean of their probabilities."""
        return mean_of_windows(logits, self.owners)

    def select(self, texts: Sequence[int] | np.ndarray) -> TokenizedDataset:
        """The texts at these positions, in that order, with all their rows."""
        texts = np.asarray(texts, dtype=np.int64)
        first, after = np.searchsorted(self.owners, texts), np.searchsorted(self.owners, texts, side="right")
        counts = after - first
        # The place of each row among those of its text is its place among all less that of the text's first.
        owners = np.repeat(np.arange(len(texts)), counts)
        rows = np.arange(len(owners)) + np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        return replace(
            self, texts=self.texts.select(texts), rows=take(self.rows, rows), lengths=self.lengths[rows], owners=owners
        )

    def alone(self, domain: str) -> TokenizedDataset:
        """The texts of one domain as a data set that has no other; its domain id is 0.

        Raises:
            DataError: the data set has no such ``domain``.
        """
        texts = self.texts.alone(domain)
        members = np.flatnonzero(self.texts.domain_ids == self.texts.domains.index(domain))
        return replace(self.select(members), texts=texts)

    def followed_by(self, other: TokenizedDataset) -> TokenizedDataset:
        """These texts and then those of ``other``, which has the ids of the same tokenizer; nothing is copied."""
        return replace(
            self,
            texts=self.texts.followed_by(other.texts),
            rows=stacked(self.rows, other.rows),
            lengths=np.concatenate([self.lengths, other.lengths]),
            owners=np.concatenate([self.owners, other.owners + len(self.texts)]),
        )

    def batch(self, indices: Sequence[int] | np.ndarray, *, pad_to: int | None = None) -> Batch:
        """The rows at ``indices``, padded to the longest of them or to ``pad_to`` tokens."""
        collator = self.collator
        if pad_to is not None:
            collator = replace(collator, padding="max_length", max_length=pad_to)
        indices = np.asarray(indices, dtype=np.int64)
        columns: Mapping[str, Any] = self.rows[indices]
        features = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        inputs = dict(collator(features))
        if self.ids is not None:
            inputs["input_ids"] = torch.from_numpy(self.ids)[inputs["input_ids"]]
        return Batch(
            inputs=inputs,
            domain_ids=torch.from_numpy(self.domain_ids[indices]),
            labels=torch.from_numpy(self.label_ids_or_none[indices]),
            indices=torch.from_numpy(indices),
        )


def tokenize(
    dataset: MultiDomainDataset,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    advance: Callable[[int], None] | None = None,
    cache: Path | None = None,
    *,
    keep: Keep = KEEP,
) -> TokenizedDataset:
    """Token ids of every text, cut to ``max_tokens`` (of a pair, the longer text is cut first).

    The ids lie on disk and are read through a memory map; memory holds 16 bytes a row. ``advance`` is called under way
    with the number of texts done since its last call.

    Args:
        dataset: the rows.
        tokenizer: of the model that is to read them.
        max_tokens: length of the longest row.
        advance: hears of progress.
        cache: folder that keeps the ids, so that the same texts, tokenizer and length are tokenised once; None: a
            temporary file, gone with the process.
        keep: what is left of a text that is cut, see :func:`hrkd.data.reading.encode`.

    Raises:
        ArtifactError: what the cache keeps is damaged, or there is no room for the file.
        DataError: there are no rows.
    """
    table = token_table(dataset, tokenizer, max_tokens, advance, cache, keep)
    lengths = pc.list_value_length(table["input_ids"]).to_numpy().astype(np.int64)
    owners = table[TEXT].to_numpy().astype(np.int64)
    rows = as_dataset(table.drop_columns([TEXT]))
    return TokenizedDataset(dataset, rows, lengths, owners, DataCollatorWithPadding(tokenizer))


class MultiDomainLoader:
    """Batches for training: a step holds ``batch_size`` examples of every domain in each of its batches.

    A step is an update of the weights. Its rows depend on their number alone: they are cut into ``accumulation``
    batches, one after the other, and each of these among the processes, whose shares may differ by a row. In a batch
    rows are grouped by domain.

    An epoch is one pass over the largest domain, however much larger it is. Each domain is shuffled anew every epoch; a
    smaller one that is through before the largest starts over in a new order, so that no example is left out and none
    stands in fewer than one step of an epoch. The order depends on seed, epoch, domain names and lengths only.

    With ``group_by_length`` the shuffled rows of 64 steps at a time (or of a quarter of the epoch, if that is less, so
    that epochs differ) are sorted by length in every domain, cut into steps again, and these steps shuffled: rows of a
    step then have similar lengths in all domains, and little is padding. Where that would bring a row of a smaller
    domain, which comes up again and again, into a step twice, the domain keeps its order.

    Args:
        data: the training rows.
        batch_size: examples of each domain in a batch, in all processes together.
        seed: of the order.
        accumulation: batches of a step.
        process_index: this process among ``num_processes``; each takes its own part of every batch.
        num_processes: processes that train together.
        group_by_length: put rows of similar length into the same step.
        pad_to: length of all batches, in tokens; default: that of the longest row of each.

    Raises:
        DataError: a domain has fewer examples than a step needs, a batch fewer rows than there are processes, or a row
            is longer than ``pad_to``.
    """

    def __init__(
        self,
        data: TokenizedDataset,
        *,
        batch_size: int,
        seed: int,
        accumulation: int = 1,
        process_index: int = 0,
        num_processes: int = 1,
        group_by_length: bool = TrainingConfig().group_by_length,
        pad_to: int | None = None,
    ) -> None:
        if pad_to is not None and pad_to < data.lengths.max():
            raise DataError(f"a row has {data.lengths.max()} tokens, more than the {pad_to} that the model takes")
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.pad_to = pad_to
        self.group_by_length = group_by_length
        self.process_index, self.num_processes = process_index, num_processes
        self.accumulation = accumulation
        self.step_size = batch_size * accumulation
        domain_ids = data.source.domain_ids
        self._members = [np.flatnonzero(domain_ids == d) for d in range(len(data.source.domains))]
        check_step_sizes(data.source, batch_size, accumulation, num_processes)
        self._steps = ceil(max(map(len, self._members)) / self.step_size)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._steps

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[tuple[Batch, ...]]:
        """This process's batches of every step of one epoch (counted from 0), from step ``start`` on."""
        plan = np.stack([self._order(d, epoch) for d in range(len(self._members))])
        if self.group_by_length:
            self._group(plan, epoch)
        # Every so manieth row: sorted by length, a batch's first half would be its short rows.
        mine = slice(self.process_index, None, self.num_processes)
        steps = plan.reshape(len(plan), self._steps, self.accumulation, self.batch_size).transpose(1, 2, 0, 3)
        for step in steps[start:]:
            yield tuple(self.data.batch(batch.reshape(-1)[mine], pad_to=self.pad_to) for batch in step)

    def _group(self, plan: np.ndarray, epoch: int) -> None:
        """Bring rows of similar length into the same step; ``plan`` (D, steps x step size) is changed."""
        generator = stable_rng(self.seed, epoch)
        window = max(1, min(STEPS_IN_A_WINDOW, self._steps // 4)) * self.step_size
        for start in range(0, plan.shape[1], window):
            part = plan[:, start : start + window]
            # The same order of steps for all domains: long rows of one then meet long rows of the others.
            steps = generator.permutation(part.shape[1] // self.step_size)
            for d, rows in enumerate(part):
                by_length = rows[np.argsort(self.data.lengths[rows], kind="stable")].reshape(-1, self.step_size)
                # A row that the window holds twice is as long both times, and so might come into one step.
                ordered = np.sort(by_length, axis=1)
                if (ordered[:, 1:] > ordered[:, :-1]).all():
                    plan[d, start : start + window] = by_length[steps].reshape(-1)

    def _order(self, domain: int, epoch: int) -> np.ndarray:
        """Rows of a domain for all steps of an epoch, shape (steps x step size,)."""
        # No state goes from epoch to epoch: a resumed training makes any of them without those before it.
        generator = stable_rng(self.seed, epoch, self.data.source.domains[domain])
        members, needed = self._members[domain], self._steps * self.step_size
        rounds = [generator.permutation(members) for _ in range(ceil(needed / len(members)))]
        return np.concatenate(rounds)[:needed]


def length_sorted(lengths: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """The numbers of all rows once, longest first (so that a lack of memory shows at once), with little padding."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def check_step_sizes(train: MultiDomainDataset, batch_size: int, accumulation: int = 1, num_processes: int = 1) -> None:
    """Whether every domain can fill its part of a step, and every process has a part of it.

    Raises:
        DataError: a domain has fewer examples than ``batch_size`` times ``accumulation``, or a batch of all domains
            fewer rows than there are processes.
    """
    needed, rows = batch_size * accumulation, batch_size * len(train.domains)
    if rows < num_processes:
        raise DataError(
            f"a batch has {rows} rows ({batch_size} of every domain), and {num_processes} processes are to share it; "
            f"raise batch_size to at least {ceil(num_processes / len(train.domains))}, or start fewer processes"
        )
    small = {name: count for name, count in train.rows_by_domain().items() if count < needed}
    if small:
        listed, fewest = ", ".join(f"{name} has {count}" for name, count in small.items()), min(small.values())
        lower = f"batch_size to at most {fewest // accumulation}"
        if fewest < accumulation:
            lower = f"gradient_accumulation to at most {fewest}, with a batch_size of 1,"
        raise DataError(
            f"a step needs {needed} training examples of every domain, but {listed}; lower {lower} or leave these "
            "domains out (data.domains)"
        )
