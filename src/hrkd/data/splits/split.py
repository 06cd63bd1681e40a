"""Train, dev and test parts of a multi-domain data set; no text ever stands in two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from hrkd.data.columns import chunks_of
from hrkd.data.splits.draws import Sides, text_keys
from hrkd.data.splits.quotas import DEV, TEST, TRAIN, UNUSED, Sizes, draw_shares, draw_sizes
from hrkd.data.splits.split_files import read_split_ids, save_split_ids
from hrkd.data.types import PARTS, MultiDomainDataset, Splits
from hrkd.errors import DataError, RecipeError
from hrkd.recipe.schema import DataConfig
from hrkd.support.messages import Found, count_of, first_of

__all__ = ["PAPER_SIZES", "Sizes", "given_parts", "save_split_ids", "split_domains"]

DEFAULTS = DataConfig.model_construct()

Ints = npt.NDArray[np.int64]

PAPER_SIZES: Sizes = {
    "books": (1631, 170, 199),
    "dvd": (1621, 194, 185),
    "electronics": (1615, 172, 213),
    "kitchen": (1613, 184, 203),
}
"""Train, dev and test sizes of Amazon Reviews in the HRKD and Meta-KD papers."""


def split_domains(
    dataset: MultiDomainDataset,
    *,
    seed: int = 0,
    dev: float = DEFAULTS.dev,
    test: float = DEFAULTS.test,
    dev_rows: Literal["random", "last"] = DEFAULTS.dev_rows,
    sizes: Literal["paper"] | Sizes | None = None,
    splits_file: Path | None = None,
) -> Splits:
    """Split every domain into train, dev and test.

    What decides, in this order:

    1. ``splits_file`` (as :func:`save_split_ids` writes it) instead of all other arguments; rows that it does not
       list are left out.
    2. The ``split`` column. Rows without a value count as train. Dev and test, where the column has none of them, are
       drawn from train, as they are for a domain without any value.
    3. A seeded draw, stratified per domain and label: ``round(share * rows)`` rows of each domain, at least one,
       given to the labels in proportion (largest remainders); every label keeps a train row where it can.

    Texts that are equal but for case and white space stay on one side, whatever their labels and domains. For pair
    tasks the pair is the unit: a premise may recur on another side with another hypothesis. In splits that are given,
    test stays as it is; dev rows whose text is in test, and train rows whose text is in dev or test, are removed.
    A draw depends on the seed, the domain's name and its texts, not on row order or on other domains (unless they
    share a text).

    Args:
        dataset: Rows of all domains.
        seed: Seed of the draw.
        dev: Share of each domain for dev, where none is given (of its train rows where test is given).
        test: Share of each domain for test, where none is given.
        dev_rows: ``random``, or ``last``: dev is the last ``dev`` share of each domain, out of the rows left after
            test, in source order and without regard to labels (the paper's MNLI protocol); rows whose text also
            stands earlier stay in train.
        sizes: Exact (train, dev, test) rows per domain, or ``paper`` for those of :data:`PAPER_SIZES`; surplus rows are
            unused.
        splits_file: JSON file of ids and of hashes of their texts; rows that have moved are found by their texts.

    Raises:
        RecipeError: an argument has a wrong value, or contradicts another one or the data.
        DataError: the splits file is unusable, a domain is empty on one side, a label of dev or test is not in train,
            or train has one class only.
    """
    (keys,) = text_keys(dataset)
    new: tuple[str, ...] = ()
    if splits_file is not None:
        sides, notes = _sides_from_file(dataset, Path(splits_file))
        notes += _remove_leaks(sides, keys, dataset)
    else:
        wanted = _check_arguments(dataset, dev, test, dev_rows, sizes)
        sides, drawn = _sides_from_column(dataset)
        new = tuple(PARTS[side] for side, row in zip((DEV, TEST), drawn, strict=True) if row.any())
        notes = _notes_on_missing(sides, drawn, dataset) + _remove_leaks(sides, keys, dataset)
        if wanted is None:
            notes += draw_shares(sides, drawn, keys, dataset, (dev, test), dev_rows, seed)
        else:
            notes += draw_sizes(sides, keys, dataset, wanted, seed)
    splits = Splits(_part(dataset, sides, TRAIN), _part(dataset, sides, DEV), _part(dataset, sides, TEST))
    _check_parts(splits, [*dataset.notes, *notes])
    return replace(splits, notes=(*dataset.notes, *notes, *_check_labels(splits)), drawn=new)


def given_parts(dataset: MultiDomainDataset, splits_file: Path | None = None) -> dict[str, Ints] | None:
    """Rows of train, dev and test, as a splits file or the ``split`` column says it; None: neither says anything.

    Rows whose value of the column is empty count as train. Nothing is drawn or left out.

    Raises:
        DataError: the splits file is unusable.
    """
    if splits_file is not None:
        sides, _ = _sides_from_file(dataset, Path(splits_file))
    elif "split" in dataset.rows.column_names:
        sides, _ = _sides_from_column(dataset)
    else:
        return None
    return {name: np.flatnonzero(sides == side) for side, name in zip((TRAIN, DEV, TEST), PARTS, strict=True)}


def _check_arguments(
    dataset: MultiDomainDataset, dev: float, test: float, dev_rows: str, sizes: str | Sizes | None
) -> Sizes | None:
    """The sizes to meet, if any."""
    if dev_rows not in ("random", "last"):
        raise RecipeError(f"dev_rows: expected random or last, found {dev_rows!r}")
    if sizes is None:
        if not (dev > 0 and test > 0 and dev + test < 1):
            raise RecipeError(f"dev and test: expected shares over 0 with a sum below 1, found {dev:g} and {test:g}")
        return None
    if isinstance(sizes, str) and sizes != "paper":
        raise RecipeError(f"sizes: expected paper, or train, dev and test sizes by domain, found {sizes!r}")
    if dev_rows == "last":
        raise RecipeError("sizes and dev_rows: last exclude each other; leave one of them out")
    if any(not {"dev", "test"}.isdisjoint(values) for values in _split_values(dataset)):
        raise RecipeError("sizes: the data already says which rows are dev or test; leave sizes out")
    if isinstance(sizes, str):
        known = all(name in PAPER_SIZES for name in dataset.domains)
        sizes = {name: PAPER_SIZES[name] for name in dataset.domains} if known else PAPER_SIZES
    return _check_sizes(dataset, sizes)


def _check_sizes(dataset: MultiDomainDataset, sizes: Sizes) -> Sizes:
    if set(sizes) != set(dataset.domains):
        raise RecipeError(
            f"sizes: given for the domains {', '.join(sorted(sizes))}, but the data has {', '.join(dataset.domains)}; "
            "give sizes for exactly these, or choose the domains to use"
        )
    rows = dataset.rows_by_domain()
    problems = []
    for name, size in sizes.items():
        if len(size) != 3 or min(size) < 1:
            problems.append(f"{name}: expected train, dev and test sizes over 0 (found {tuple(size)})")
        elif sum(size) > rows[name]:
            problems.append(f"{name}: {' + '.join(map(str, size))} = {sum(size):,} of {rows[name]:,} rows")
    if problems:
        raise RecipeError(f"sizes: {first_of(problems)}; give three sizes that the domain has rows for")
    return sizes


def _sides_from_file(dataset: MultiDomainDataset, path: Path) -> tuple[Sides, list[str]]:
    """Side of every row as the file says, and notes."""
    sides = np.full(len(dataset), UNUSED, dtype=np.int8)
    parts, notes = read_split_ids(path, dataset)
    for side, rows in zip((TRAIN, DEV, TEST), parts.values(), strict=True):
        sides[rows] = side
    left_out = int((sides == UNUSED).sum())
    return sides, notes + [f"{count_of(left_out)} left out: not listed in {path.name}"] * bool(left_out)


def _sides_from_column(dataset: MultiDomainDataset) -> tuple[Sides, npt.NDArray[np.bool_]]:
    """Side of every row as the ``split`` column says; and whether dev and test are to be drawn, shape (2, domains)."""
    domain_ids = dataset.domain_ids
    sides = np.full(len(dataset), TRAIN, dtype=np.int8)
    silent = np.ones(len(dataset), dtype=np.bool_)
    wrong, done = Found(), 0
    for values in _split_values(dataset):
        for row, name in enumerate(values, done):
            if name in PARTS:
                sides[row], silent[row] = PARTS.index(name), False
            elif name is not None:
                wrong.add(f"{name!r} ({dataset.rows[row]['id']})")
        done += len(values)
    if wrong:
        raise DataError(f"unknown split in {count_of(wrong.total)}: {wrong}; expected train, dev or test")
    undecided = np.array([silent[domain_ids == d].all() for d in range(len(dataset.domains))])
    missing = np.array([not (sides == side).any() for side in (DEV, TEST)])
    return sides, missing[:, None] | undecided[None, :]


def _split_values(dataset: MultiDomainDataset) -> Iterator[list[str | None]]:
    """What the ``split`` column says, a chunk of rows at a time; nothing if there is none."""
    if "split" in dataset.rows.column_names:
        yield from (chunk["split"] for chunk in chunks_of(dataset.rows, "split"))


def _notes_on_missing(sides: Sides, drawn: npt.NDArray[np.bool_], dataset: MultiDomainDataset) -> list[str]:
    """What is drawn although other parts are given."""
    if (sides == TRAIN).all():
        return []
    names = np.array(dataset.domains)
    return [
        f"{PARTS[side]}: none given for {'all domains' if row.all() else ', '.join(names[row])}, drawn from train"
        for side, row in zip((DEV, TEST), drawn, strict=True)
        if row.any()
    ]


def _remove_leaks(sides: Sides, keys: Ints, dataset: MultiDomainDataset) -> list[str]:
    """Take rows off dev and train whose text stands in test, then off train those in dev (writes to ``sides``)."""
    notes = []
    for source, target in ((DEV, TEST), (TRAIN, TEST), (TRAIN, DEV)):
        there = np.zeros(keys.max(initial=0) + 1, dtype=np.bool_)
        there[keys[sides == target]] = True
        leaks = np.flatnonzero((sides == source) & there[keys])
        if len(leaks):
            sides[leaks] = UNUSED
            per_domain = Counter(dataset.domains[d] for d in dataset.domain_ids[leaks]).most_common()
            counts = ", ".join(f"{name} {count}" for name, count in per_domain)
            notes.append(
                f"{count_of(len(leaks))} removed from {PARTS[source]}: text also in {PARTS[target]} ({counts})"
            )
    return notes


def _part(dataset: MultiDomainDataset, sides: Sides, side: int) -> MultiDomainDataset:
    part = replace(dataset.select(np.flatnonzero(sides == side)), notes=())
    has_column = "split" in part.rows.column_names
    return replace(part, rows=part.rows.remove_columns("split")) if has_column else part


def _check_parts(splits: Splits, notes: list[str]) -> None:
    rows = {name: part.rows_by_domain() for name, part in splits}
    empty = [f"{domain} has none in {name}" for domain in splits.domains for name in PARTS if not rows[name][domain]]
    if empty:
        raise DataError(
            f"every domain needs examples in train, dev and test, but {first_of(empty)}; add examples, "
            "leave the domain out, or change the split (copies of one text always stay together)"
            + "".join(f"\n{note}" for note in notes)
        )
    known = np.unique(splits.train.label_ids)
    if len(known) < 2:
        raise DataError(
            f"all of train has the label {splits.labels[known[0]]!r}; a classifier needs examples of two labels or more"
        )


def _check_labels(splits: Splits) -> list[str]:
    """Raise for labels that train lacks; notes on labels that a domain has on one side only."""
    counts = {name: part.count() for name, part in splits}
    known = {label for _, label in counts["train"]}
    notes = []
    for name in ("dev", "test"):
        surplus = sorted(counts[name].keys() - counts["train"].keys())
        unknown = [f"{y!r} ({d}, {count_of(counts[name][d, y])})" for d, y in surplus if y not in known]
        if unknown:
            raise DataError(
                f"unknown label in the {name} split: {first_of(unknown)}; train has no example of it: "
                "add some, drop these rows, or correct the label"
            )
        missing = [f"{y!r} ({d})" for d, y in sorted(counts["train"].keys() - counts[name].keys())]
        untrained = [f"{y!r} ({d}, {count_of(counts[name][d, y])})" for d, y in surplus]
        if untrained:
            notes.append(f"labels in {name} that this domain's train lacks: {first_of(untrained)}")
        if missing:
            notes.append(f"labels in train that this domain's {name} lacks: {first_of(missing)}")
    return notes
