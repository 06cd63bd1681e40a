"""Text without labels, for distillation: which of it may be used beside train, dev and test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hrkd.data.columns import renumbered
from hrkd.data.rows import known_as
from hrkd.data.splits.draws import ending_keys, text_keys
from hrkd.data.types import NO_LABEL, PARTS, MultiDomainDataset, Splits
from hrkd.errors import DataError
from hrkd.support.messages import count_of, misspelt

__all__ = ["LeftOut", "Unlabelled", "choose_unlabelled"]

Ints = npt.NDArray[np.int64]

ENDING = 60
"""Letters and digits at the end of two texts that make them copies: a title before one of them hides nothing."""
MOST_WITH_AN_ENDING = 3
"""An ending of more different texts than this is a signature or a set phrase, and makes no copies."""
LOOKED_IN = PARTS[::-1]
"""In the order in which a text is looked for."""
REASONS = (*(f"{what} also in {part}" for what in ("text", "ending") for part in LOOKED_IN), "repeated")
REPEATED, USED = REASONS.index("repeated"), len(REASONS)


@dataclass(frozen=True)
class LeftOut:
    """``rows`` rows of ``domain`` are not used, because of ``why``: one of :data:`REASONS`."""

    domain: str
    why: str
    rows: int


@dataclass(frozen=True)
class Unlabelled:
    """Rows without labels that distillation uses, in the numbers of the labelled data; and how many it does not."""

    rows: MultiDomainDataset
    left_out: tuple[LeftOut, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Plain sentences about the rows: how many are used, how many not and why."""
        surplus = sum(each.rows for each in self.left_out)
        head = f"unlabelled: {count_of(len(self.rows))} of {len(self.rows) + surplus:,} used for distillation"
        return (*(f"unlabelled: {note}" for note in self.rows.notes), head, *_told(self.left_out))


def choose_unlabelled(found: MultiDomainDataset, splits: Splits) -> Unlabelled:
    """The rows of ``found`` whose texts stand in no part of ``splits``, each text once in a domain.

    Left out is, by the first of these reasons that holds:

    1. a text that is also in test, dev or train: equal but for case and white space (pairs: both texts), in whatever
       domain;
    2. a text whose last 60 letters and digits, whatever their case and what stands between them, are also the last ones
       of a text in test, dev or train: a copy with a title before it, or cut into tokens. Shorter texts and pairs are
       not compared so, and an ending of more than three different texts of the parts (a signature, a set phrase) does
       not count;
    3. a text that stands before it in the same domain.

    Labels of ``found``, if it has any, are not looked at. In memory are some numbers for every row, not the texts.

    Raises:
        DataError: ``found`` has text of domains that the splits do not know, has pairs and they not (or the other way
            round), or nothing of it is left.
    """
    rows = _in_terms_of(splits, found)
    why = _reasons(rows, [getattr(splits, part) for part in LOOKED_IN])
    counts = np.bincount(rows.domain_ids * (USED + 1) + why, minlength=len(rows.domains) * (USED + 1))
    table = counts.reshape(len(rows.domains), USED + 1)
    left_out = tuple(
        LeftOut(rows.domains[d], REASONS[reason], int(table[d, reason])) for d, reason in np.argwhere(table[:, :USED])
    )
    if not table[:, USED].any():
        raise DataError(
            f"nothing is left of {count_of(len(rows))} ({'; '.join(_told(left_out))}); name other text, or none"
        )
    return Unlabelled(rows.select(np.flatnonzero(why == USED)), left_out)


def _told(left_out: Sequence[LeftOut]) -> list[str]:
    """A sentence for each reason, with the counts of the domains."""
    told = []
    for reason in REASONS:
        per_domain = Counter({each.domain: each.rows for each in left_out if each.why == reason})
        if per_domain:
            counts = ", ".join(f"{name} {rows:,}" for name, rows in per_domain.most_common())
            told.append(f"unlabelled: {count_of(per_domain.total())} left out: {reason} ({counts})")
    return told


def _in_terms_of(splits: Splits, found: MultiDomainDataset) -> MultiDomainDataset:
    """``found`` with the numbers of domains that the splits have, and without labels."""
    if found.has_pairs != splits.train.has_pairs:
        one, two = ("pairs of texts", "single texts")[:: 1 if found.has_pairs else -1]
        raise DataError(f"{one}, while the labelled data has {two}; name text of the same kind (data.text_pair)")
    rows = found.rows_by_domain()
    called = {name: known_as(name, splits.domains) for name in found.domains}
    unknown = [name for name, count in rows.items() if count and called[name] is None]
    if unknown:
        raise DataError(
            f"text of domains that the labelled data does not have: {misspelt(unknown, splits.domains)}; it has "
            f"{', '.join(splits.domains)}. Correct the names, remove these rows, or choose the domains (data.domains)"
        )
    domains = np.array([-1 if n is None else splits.domains.index(n) for n in called.values()], dtype=np.int64)
    numbers: dict[str, Ints] = {}
    if found.domains != splits.domains:
        numbers["domain"] = domains
    if found.labels:
        numbers["label"] = np.full(len(found.labels) + 1, NO_LABEL)
    plain = renumbered(found.rows, **numbers) if numbers else found.rows
    return replace(found, rows=plain, labels=splits.labels, domains=splits.domains)


def _reasons(rows: MultiDomainDataset, parts: Sequence[MultiDomainDataset]) -> Ints:
    """Why each row is not used, as a place in :data:`REASONS`, or ``USED``, shape (rows,)."""
    *known, own = text_keys(*parts, rows)
    copies = [np.isin(own, keys) for keys in known]
    if not rows.has_pairs:
        *endings, last = ending_keys(ENDING, *parts, rows)
        meaningless = _set_phrases(np.concatenate(known), np.concatenate(endings))
        copies += [np.isin(last, np.setdiff1d(keys, meaningless)) for keys in endings]
    why: Ints = np.select(copies, list(range(len(copies))), USED)
    others = np.flatnonzero(why == USED)
    _, firsts = np.unique(own[others] * len(rows.domains) + rows.domain_ids[others], return_index=True)
    why[np.delete(others, firsts)] = REPEATED
    return why


def _set_phrases(texts: Ints, endings: Ints) -> Ints:
    """Endings that make no copies: 0, which is none, and those of many different texts."""
    width = int(texts.max(initial=0)) + 1
    different = np.unique(endings * width + texts) // width
    return np.union1d([0], np.flatnonzero(np.bincount(different) > MOST_WITH_AN_ENDING))
