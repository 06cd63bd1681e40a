"""Rows on their way to a data set: what is wrong with single rows is counted and kept back, the others pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hrkd.data.health.finding import Example, Finding
from hrkd.data.rows import RawRows, canonical_split, fault_of, is_empty, is_nested, known_as, name_of
from hrkd.support.messages import Found, count_of, first_of

__all__ = ["Survey"]

ROLES = ("text", "text_pair", "label", "domain", "split", "id")
NAMED = ("label", "domain")
TRIMMED = {"label": "D107", "domain": "D308"}
NO_DOMAIN = "rows without a domain"


class Survey:
    """What is learnt of raw rows while they pass.

    ``names`` counts the names of labels and domains, ``first`` has the place of the first row of each.
    """

    def __init__(self, chosen: Sequence[str] | None = None) -> None:
        self.chosen = None if chosen is None else list(map(str, chosen))
        self.names: dict[str, Counter[str]] = {role: Counter() for role in NAMED}
        self.first: dict[str, dict[str, str]] = {role: {} for role in NAMED}
        self.notes: dict[str, None] = {}
        self.kept_back = 0
        self.without_split = 0
        self._columns: dict[str, str] = {}
        self._faults: dict[tuple[str, str, str], Found] = {}
        self._trimmed: dict[str, Counter[str]] = {role: Counter() for role in NAMED}
        self._trimmed_at: dict[str, str] = {}

    def sound(self, chunks: Iterable[RawRows]) -> Iterator[RawRows]:
        """The rows that can be used, and those of domains that are not chosen, chunk by chunk."""
        for chunk in chunks:
            self.notes |= dict.fromkeys(chunk.notes)
            self._columns |= chunk.names.asked_for()
            own = self._of_chosen(chunk)
            faulty = self._faulty(chunk, own)
            self.kept_back += len(faulty)
            self._count(chunk, [i for i in own if i not in faulty])
            yield chunk.take([i for i in range(len(chunk.places)) if i not in faulty]) if faulty else chunk

    def findings(self) -> list[Finding]:
        """What is wrong with single rows, and white space that is left out."""
        found = []
        for (role, fault, domain), rows in sorted(self._faults.items()):
            code = "D201" if role in ("text", "text_pair") and fault.startswith("empty") else "D202"
            column = self._columns.get(role, role)
            what = fault.partition(" (")[0].format(role=role)
            found.append(
                Finding(
                    code,
                    f"{count_of(rows.total)} with {_with_article(what)} in the column {column!r}: {rows}",
                    domain,
                    rows.total,
                    Example(rows.first[0]),
                )
            )
        for role, counts in self._trimmed.items():
            if counts:
                cases = [f"{value!r} ({count_of(n)})" for value, n in counts.most_common()]
                told = f"white space around {role}s is left out: {first_of(cases)}"
                found.append(Finding(TRIMMED[role], told, rows=counts.total(), example=Example(self._trimmed_at[role])))
        if self.without_split:
            told = (
                f"{count_of(self.without_split)} without a value in the column {self._columns.get('split', 'split')!r}"
            )
            told += ": these count as train, or are drawn from where their domain has none"
            found.append(Finding("D901", told, rows=self.without_split))
        return found + [Finding("D901", note) for note in self.notes]

    def _of_chosen(self, rows: RawRows) -> Sequence[int]:
        """Places in the chunk of rows of the chosen domains, and of those without any."""
        places = range(len(rows.places))
        if self.chosen is None:
            return places
        names = [None if is_empty(v) or is_nested(v) else name_of(v) for v in rows.domain]
        return [i for i, name in enumerate(names) if name is None or known_as(name, self.chosen)]

    def _faulty(self, rows: RawRows, own: Sequence[int]) -> set[int]:
        """Places in the chunk of rows that cannot be used."""
        faulty: set[int] = set()
        for role in ROLES:
            values: Sequence[Any] | None = getattr(rows, role)
            for i in own if values else ():
                assert values is not None
                fault = fault_of(values[i])
                if role == "split" and (fault is None or is_empty(values[i])):
                    self.without_split += fault is not None
                    unknown = fault is None and canonical_split(values[i]) is None
                    fault = f"an unknown part, {str(values[i]).strip()!r} (train, dev or test)" if unknown else None
                if fault is not None:
                    faulty.add(i)
                    nameless = fault_of(rows.domain[i]) is not None
                    where = (role, fault, NO_DOMAIN if nameless else name_of(rows.domain[i]))
                    self._faults.setdefault(where, Found()).add(rows.places[i])
        return faulty

    def _count(self, rows: RawRows, places: Sequence[int]) -> None:
        for role in NAMED:
            values: Sequence[Any] | None = getattr(rows, role)
            first = self.first[role]
            for i in places if values else ():
                assert values is not None
                value = values[i]
                name = name_of(value)
                self.names[role][name] += 1
                if name not in first:
                    first[name] = rows.places[i]
                if isinstance(value, str) and value != value.strip():
                    self._trimmed[role][value] += 1
                    self._trimmed_at.setdefault(role, rows.places[i])


def _with_article(what: str) -> str:
    return f"an {what}" if what.startswith("empty") else what
