"""Seeded draws that keep repeated texts together and meet exact counts per domain and label."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hrkd.data.columns import chunks_of, ranks_of, repeated
from hrkd.data.types import MultiDomainDataset

__all__ = [
    "Pool",
    "Sides",
    "allocate",
    "by_turns",
    "draw_sides",
    "ending_keys",
    "normalised",
    "some_of_each",
    "stable_rng",
    "text_keys",
]

Ints = npt.NDArray[np.int64]
Sides = npt.NDArray[np.int8]
"""The side of each row: train, dev, test or none, as a small number."""
ATTEMPTS = 100
NEITHER_LETTER_NOR_DIGIT = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Pool:
    """Rows to be drawn from: text keys, domains and labels in parallel, and the names of the domains."""

    keys: Ints
    domain_ids: Ints
    label_ids: Ints
    domains: tuple[str, ...]


def stable_rng(seed: int, *names: str | int) -> np.random.Generator:
    """A generator that depends on ``seed`` and ``names`` alone: equal in every process, whatever the hash seed."""
    return np.random.default_rng([seed, *(n if isinstance(n, int) else zlib.crc32(n.encode()) for n in names)])


def by_turns(groups: Ints) -> Ints:
    """0 or 1 for each row, by turns within its group, (rows,): two halves of every group."""
    order = np.argsort(groups, kind="stable")
    _, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
    halves = np.empty(len(groups), dtype=np.int64)
    halves[order] = (np.arange(len(groups)) - np.repeat(first, counts)) % 2
    return halves


def some_of_each(groups: Ints, most: int, *, name: str) -> Ints:
    """Places of at most ``most`` rows in all, in their order: equally many of each group, as far as it has them.

    Rows of a negative group are left out. The draw has a fixed seed, of its own for each ``name``.
    """
    drawn = stable_rng(0, name).permutation(len(groups))
    kinds = np.unique(groups[groups >= 0])
    limit = max(1, most // max(1, len(kinds)))
    kept = [drawn[groups[drawn] == kind][:limit] for kind in kinds]
    return np.sort(np.concatenate([*kept, np.empty(0, dtype=np.int64)]))


def text_keys(*parts: MultiDomainDataset) -> list[Ints]:
    """One number per row of each part, shape (rows,); equal numbers, in whichever part: the same text.

    Texts (with their second texts) that differ in case and white space alone are the same. Numbers have the order of
    the texts, so what is drawn by them depends on the texts alone.
    """
    keys = ranks_of(texts for part in parts for texts in normalised(part))
    return np.split(keys, np.cumsum([len(part) for part in parts])[:-1])


def ending_keys(length: int, *parts: MultiDomainDataset) -> list[Ints]:
    """As :func:`text_keys`, of the last ``length`` letters and digits of each text; 0 for texts that have fewer."""

    def endings() -> Iterator[list[str]]:
        yield [""]
        for part in parts:
            for texts in normalised(part):
                yield [_ending(text, length) for text in texts]

    keys = ranks_of(endings())[1:]
    return np.split(keys, np.cumsum([len(part) for part in parts])[:-1])


def _ending(text: str, length: int) -> str:
    for part in (text[-4 * length :], text):  # long texts are seldom looked at as a whole
        letters = NEITHER_LETTER_NOR_DIGIT.sub("", part)
        if len(letters) >= length:
            return letters[-length:]
    return ""


def normalised(dataset: MultiDomainDataset) -> Iterator[list[str]]:
    """Texts (with their second texts) without what makes no difference between copies, a chunk of rows at a time."""
    for chunk in chunks_of(dataset.rows, *dataset.text_columns):
        # A line feed is white space, so it cannot be part of a collapsed text.
        texts = zip(*(chunk[column] for column in dataset.text_columns), strict=True)
        yield ["\n".join(" ".join(text.split()).casefold() for text in row) for row in texts]


def allocate(total: int, weights: Ints, limits: Ints) -> Ints:
    """``total`` in whole numbers proportional to ``weights``, none over its limit (method of largest remainders).

    Ties go to the first. ``total`` must not exceed ``limits.sum()``.
    """
    exact = total * weights / max(int(weights.sum()), 1)
    counts = np.minimum(np.floor(exact).astype(np.int64), limits)
    # One at a time to whoever is furthest below its exact share: a full one drops out, and the others take its rest.
    while counts.sum() < total:
        counts[np.argmax(np.where(counts < limits, exact - counts, -np.inf))] += 1
    return counts


def draw_sides(pool: Pool, targets: Ints, *, seed: int) -> Sides:
    """A side (index into the first axis of ``targets``) for every row; equal texts get equal sides.

    ``targets`` (sides, domains, labels) holds the wanted rows; summed over the sides they are the rows of the pool.
    Texts that occur more than once are placed first, the largest groups before all others, at random among the sides
    with room; texts that occur once then fill every side. So the size of every side and domain is met, unless in 100
    attempts the repeated texts did not fit: then it is met as nearly as they allow. Labels likewise.

    Each domain has its own generator, so domains do not influence one another, except those that share a text:
    texts of several domains are placed before all others.
    """
    room = targets.astype(np.int64).copy()
    sides = np.full(len(pool.keys), -1, dtype=np.int8)
    # A text of several domains needs room in all of them at once, so it goes before those that take it away.
    for names, groups in sorted(_repeated(pool).items(), key=lambda item: (-len(item[0]), item[0])):
        chosen, room = _place_groups(groups, pool, room, stable_rng(seed, *names))
        for group, side in zip(groups, chosen, strict=True):
            sides[group] = side
    _place_singles(pool, room, sides, seed)
    return sides


def _repeated(pool: Pool) -> dict[tuple[str, ...], list[Ints]]:
    """The rows of each text that occurs more than once, by the sorted names of the domains they stand in."""
    groups: defaultdict[tuple[str, ...], list[Ints]] = defaultdict(list)
    several = np.flatnonzero(repeated(pool.keys))
    order = several[np.argsort(pool.keys[several], kind="stable")]
    starts = np.flatnonzero(np.diff(pool.keys[order], prepend=-1))
    for rows in np.split(order, starts[1:]) if len(order) else []:
        groups[tuple(sorted({pool.domains[d] for d in pool.domain_ids[rows].tolist()}))].append(rows)
    return dict(groups)


def _place_groups(groups: list[Ints], pool: Pool, room: Ints, rng: np.random.Generator) -> tuple[list[int], Ints]:
    """A side for each group, and the room left."""
    needs = []
    for group in groups:
        need = np.zeros(room.shape[1:], dtype=np.int64)
        np.add.at(need, (pool.domain_ids[group], pool.label_ids[group]), 1)
        needs.append(need)
    for attempt in range(ATTEMPTS + 1):
        placed = _try_to_place(needs, room, rng, force=attempt == ATTEMPTS)
        if placed is not None:
            return placed
    raise AssertionError("the last attempt forces every group onto a side")


def _try_to_place(
    needs: list[Ints], room: Ints, rng: np.random.Generator, *, force: bool
) -> tuple[list[int], Ints] | None:
    """Sides for groups in random order, large ones first, and the room left; None if one does not fit."""
    left, chosen = room.copy(), [-1] * len(needs)
    # Large groups find no gap once small ones have filled the sides; the sort is stable, so equal ones stay shuffled.
    for number in sorted(rng.permutation(len(needs)).tolist(), key=lambda n: -int(needs[n].sum())):
        side = _choose_side(left, needs[number], rng, force)
        if side is None:
            return None
        left[side] -= needs[number]
        chosen[number] = side
    return chosen, left


def _choose_side(room: Ints, need: Ints, rng: np.random.Generator, force: bool) -> int | None:
    """A random side with room for ``need`` (domains, labels): in every label if possible, else in every domain.

    The chance of a side is proportional to its room, so that small sides are no richer in repeated texts. Without
    room anywhere: None, or with ``force`` the side with most room.
    """
    domains = need.any(axis=1)
    space = room[:, domains].sum(axis=(1, 2))
    fits = (room.sum(axis=2) >= need.sum(axis=1))[:, domains].all(axis=1)
    if not fits.any():
        return int(np.argmax(space)) if force else None
    fits_labels = fits & (room >= need)[:, need > 0].all(axis=1)
    chances = np.where(fits_labels if fits_labels.any() else fits, space, 0)
    return int(rng.choice(len(room), p=chances / chances.sum()))


def _place_singles(pool: Pool, room: Ints, sides: Sides, seed: int) -> None:
    """Give the rows that have no side yet, domain by domain, to the sides with room (writes to ``sides``)."""
    # Rows in the order of their texts, so that the draw does not depend on how the file is sorted.
    order = np.argsort(pool.keys, kind="stable")
    order = order[sides[order] < 0]
    for d, name in enumerate(pool.domains):
        rng = stable_rng(seed, name, "single texts")
        counts = _without_debts(room[:, d])
        for y in range(room.shape[2]):
            rows = order[(pool.domain_ids[order] == d) & (pool.label_ids[order] == y)]
            sides[rng.permutation(rows)] = np.repeat(np.arange(len(room)), counts[:, y])


def _without_debts(room: Ints) -> Ints:
    """``room`` (sides, labels) with no entry below zero; label sums, and side sums where not negative, are kept.

    Groups placed on a side without room for their label, or on a side without room, leave debts behind.
    """
    room = room.copy()
    # First whole sides: a row is taken from the side with most room, of the label that it has most of.
    while (totals := room.sum(axis=1)).min() < 0:
        poor, rich = np.argmin(totals), np.argmax(totals)
        label = np.argmax(room[rich])
        room[poor, label] += 1
        room[rich, label] -= 1
    # Then labels: two sides exchange a row of one label for one of another, which keeps the sums of both.
    while room.min() < 0:
        poor, label = np.unravel_index(np.argmin(room), room.shape)
        rich, other = np.argmax(room[:, label]), np.argmax(room[poor])
        room[[poor, rich], [label, other]] += 1
        room[[rich, poor], [label, other]] -= 1
    return room
