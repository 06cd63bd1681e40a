"""What is kept of a text that is too long, in places of its tokens. Imports numpy alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hrkd.errors import DataError

if TYPE_CHECKING:
    from hrkd.recipe.schema import Keep

__all__ = ["KEPT", "Ints", "cut_rows", "cut_text", "mean_by_owner", "unread", "window_counts", "windows_of"]

Ints = npt.NDArray[np.int64]
KEPT: dict[Keep, str] = {
    "head": "the beginning",
    "tail": "the end",
    "head_tail": "beginning and end",
    "windows": "all, in windows,",
}
"""What is read of a long text, to stand before "of"."""


def cut_rows(special: Sequence[int], parts: Sequence[list[int]], max_tokens: int, keep: Keep) -> Iterator[list[int]]:
    """Places of the tokens of each row of a text, or pair, that is longer than ``max_tokens``.

    Args:
        special: whether each of its tokens is a special one, which all stay.
        parts: places of the other tokens of each text, ascending.
        max_tokens: of a row, special ones included.
        keep: what is left; with ``windows`` there are several rows.

    Raises:
        DataError: ``max_tokens`` leaves no room beside the special tokens.
    """
    around = [place for place, is_special in enumerate(special) if is_special]
    room = max_tokens - len(around)
    if room < len(parts):
        raise DataError(
            f"data.max_length: {max_tokens} tokens leave no room for text beside {len(around)} special ones; raise it"
        )
    for kept in _cut(parts, room, keep):
        yield sorted(chain(around, *kept))


def cut_text(tokens: list[int], room: int, keep: Keep) -> Iterator[list[int]]:
    """What is kept of a single text of more than ``room`` tokens, special ones left out."""
    for (kept,) in _cut([tokens], room, keep):
        yield kept


def _cut(parts: Sequence[list[int]], room: int, keep: Keep) -> Iterator[list[list[int]]]:
    """What is kept of each part, so that all have ``room`` together; several times with windows."""
    longest = max(range(len(parts)), key=lambda p: (len(parts[p]), p))
    # As fast tokenizers cut pairs: the shorter text has half of the room at most, the longer one the rest.
    shares = [min(len(part), room // 2) for part in parts]
    shares[longest] = room - sum(shares) + shares[longest]
    if keep != "windows":
        yield [_ends(part, share, keep) for part, share in zip(parts, shares, strict=True)]
        return
    for window in windows_of(len(parts[longest]), shares[longest]):
        yield [part[window] if p == longest else part[: shares[p]] for p, part in enumerate(parts)]


def _ends(part: list[int], share: int, keep: Keep) -> list[int]:
    if len(part) <= share:
        return part
    first = {"head": share, "tail": 0, "head_tail": share - share // 2}[keep]
    return part[:first] + part[len(part) - (share - first) :]


def windows_of(length: int, room: int) -> list[slice]:
    """The fewest windows of ``room`` tokens that cover ``length`` of them, evenly spread from the first to the last."""
    if length <= room:
        return [slice(0, length)]
    count = -(-length // room)
    starts = [round(k * (length - room) / (count - 1)) for k in range(count)]
    return [slice(start, start + room) for start in starts]


def window_counts(lengths: Ints, room: int) -> Ints:
    """How many windows rows are read in, (rows,); ``lengths`` are tokens of each text of a row, (rows, texts)."""
    longest = lengths.max(axis=1)
    left = room - np.minimum(lengths.sum(axis=1) - longest, room // 2)
    counts: Ints = np.where(lengths.sum(axis=1) > room, -(-longest // left), 1)
    return counts


def unread(lengths: Ints, room: int, keep: Keep) -> Ints:
    """Tokens of each row that are not read, (rows,): of windows, those of the shorter text of a pair beyond its share.

    Args:
        lengths: tokens of each text of a row, (rows, texts), special ones left out.
        room: tokens that a model reads of a row, special ones left out.
        keep: what is read of longer rows.
    """
    whole = lengths.sum(axis=1)
    shorter = whole - lengths.max(axis=1)
    behind: Ints = np.where(whole > room, shorter - room // 2, 0) if keep == "windows" else whole - room
    return behind.clip(min=0)


def mean_by_owner(values: npt.NDArray[np.float64], owners: Ints) -> npt.NDArray[np.float64]:
    """Means over the rows of each text, (texts, C), of values of the rows, (rows, C).

    Args:
        owners: the number of the text that each row is of, (rows,), ascending and without a gap.
    """
    counts = np.bincount(owners)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    found: npt.NDArray[np.float64] = np.add.reduceat(values, starts, axis=0) / counts[:, None]
    return found
