"""Columns of a data set in memory that does not grow with their text: some rows at a time, or small numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hrkd.data.arrow_files import as_dataset, open_arrow, temporary_file, write_arrow

if TYPE_CHECKING:
    import datasets

__all__ = [
    "CHUNK",
    "chunks_of",
    "firsts",
    "integers",
    "json_items",
    "ranks_of",
    "renumbered",
    "repeated",
    "rows_at_a_time",
    "stacked",
    "take",
    "text_lengths",
    "text_ranks",
]

CHUNK = 1000
"""Rows whose text is in memory at a time, and rows of a batch on disk."""
FIELDS = CHUNK * 200
"""Fields that are in memory at a time: of rows with very many columns there are fewer in a chunk."""
Ints = npt.NDArray[np.int64]


def rows_at_a_time(columns: int) -> int:
    """Rows of a chunk of a table with so many columns, all of which are read."""
    return max(1, min(CHUNK, FIELDS // max(1, columns)))


def chunks_of(rows: datasets.Dataset, *names: str) -> Iterator[Mapping[str, list[Any]]]:
    """Values of some columns, a chunk of rows at a time."""
    return iter(rows.select_columns(list(names)).iter(CHUNK))


def text_lengths(rows: datasets.Dataset, names: Sequence[str], count: Callable[[list[str]], Iterable[int]]) -> Ints:
    """What ``count`` says of each text, (rows, texts), for columns of texts."""
    each = ((n for chunk in chunks_of(rows, name) for n in count(chunk[name])) for name in names)
    return np.stack([np.fromiter(lengths, np.int64) for lengths in each], axis=1)


def integers(rows: datasets.Dataset, name: str) -> Ints:
    """A column of integers, shape (rows,)."""
    found = np.empty(len(rows), dtype=np.int64)
    done = 0
    for table in rows.select_columns([name]).with_format("arrow").iter(CHUNK):
        found[done : done + len(table)] = table[name].to_numpy()
        done += len(table)
    return found


def json_items(rows: datasets.Dataset, name: str, separator: str = ", ") -> Iterator[str]:
    """What stands between the brackets of the column as a JSON list, in pieces."""
    before = ""
    for chunk in chunks_of(rows, name):
        yield before + json.dumps(chunk[name], ensure_ascii=False, separators=(separator, ": "))[1:-1]
        before = separator


def text_ranks(texts: pa.ChunkedArray) -> Ints:
    """Place of each text among all different ones in sorted order, from 0, shape (rows,); equal texts, equal numbers.

    The order is that of code points, as Python's; two arrays of eight bytes a row are all that is held in memory.
    """
    found = pc.rank(texts, sort_keys="ascending", tiebreaker="dense").to_numpy()
    ranks: Ints = np.subtract(found, 1, dtype=np.int64, casting="unsafe")
    del found
    pa.default_memory_pool().release_unused()
    return ranks


def ranks_of(texts: Iterable[Sequence[str]]) -> Ints:
    """:func:`text_ranks` of texts that come in chunks and are kept in a temporary file meanwhile."""
    with temporary_file("texts.arrow") as file:
        write_arrow(file, (pa.record_batch({"text": pa.array(chunk, pa.string())}) for chunk in texts))
        return text_ranks(open_arrow(file)["text"]) if file.exists() else np.zeros(0, dtype=np.int64)


def repeated(numbers: Ints) -> npt.NDArray[np.bool_]:
    """Whether the number of each row, from 0, also stands in another one, shape (rows,)."""
    found: npt.NDArray[np.bool_] = np.bincount(numbers, minlength=1)[numbers] > 1
    return found


def firsts(numbers: Ints, chosen: npt.NDArray[np.bool_]) -> Ints:
    """The first row of each number among the ``chosen`` (rows,), in the order of the rows."""
    rows = np.flatnonzero(chosen)
    return np.sort(rows[np.unique(numbers[rows], return_index=True)[1]])


def take(rows: datasets.Dataset, indices: Ints) -> datasets.Dataset:
    """The rows at ``indices``, as ``Dataset.select`` gives them, which holds a Python object for each on its way."""
    if not len(indices) or np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        return rows.select(range(indices[0], indices[0] + len(indices)) if len(indices) else [])
    if indices.min() < 0 or indices.max() >= len(rows):
        raise IndexError(f"rows 0 to {len(rows) - 1}, asked for {indices.min()} to {indices.max()}")
    import datasets

    chosen, held = pa.array(indices.astype(np.uint64)), rows._indices
    chosen = pa.chunked_array([chosen]) if held is None else held.column(0).take(chosen)
    mark = hashlib.sha256(rows._fingerprint.encode())
    mark.update(np.ascontiguousarray(indices).data)
    table = datasets.table.InMemoryTable(pa.table({"indices": chosen.combine_chunks()}))
    return datasets.Dataset(
        rows.data, rows.info.copy(), rows.split, indices_table=table, fingerprint=mark.hexdigest()[:16]
    )


def _places(rows: datasets.Dataset) -> Ints:
    """Where each row lies in the table of ``rows``, shape (rows,)."""
    held = rows._indices
    return np.arange(len(rows)) if held is None else held.column(0).to_numpy().astype(np.int64)


def stacked(first: datasets.Dataset, second: datasets.Dataset) -> datasets.Dataset:
    """The rows of both, with the columns of the first; the tables stay where they are."""
    second = second.select_columns(first.column_names)
    table = pa.concat_tables([first.data.table, second.data.table], promote_options="permissive")
    if first._indices is None and second._indices is None:
        return as_dataset(table)
    return take(as_dataset(table), np.concatenate([_places(first), len(first.data) + _places(second)]))


def renumbered(rows: datasets.Dataset, **numbers: Ints) -> datasets.Dataset:
    """The rows with ``numbers[name][old]`` in the place of ``old`` in columns of integers, which come into memory."""
    table = rows.data.table
    for name, new in numbers.items():
        column = pa.array(new[table[name].to_numpy()])
        table = table.set_column(table.schema.get_field_index(name), name, column)
    renewed = as_dataset(table)
    return renewed if rows._indices is None else take(renewed, _places(rows))
