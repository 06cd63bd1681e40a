"""What texts and domains a prediction takes; looked at before a model is opened, so nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

from hrkd.data.rows import fault_of, held, is_nested, known_as, name_of, text_of
from hrkd.errors import DataError
from hrkd.models.kind import UNKNOWN
from hrkd.support.arguments import shown
from hrkd.support.messages import count_of, first_of, misspelt

if TYPE_CHECKING:
    from hrkd.models.open_model import ModelFacts

__all__ = [
    "AUTO",
    "BATCH_SIZE",
    "Asked",
    "ask",
    "cell_number",
    "check_pairs",
    "domain_number",
    "numbers_of",
    "unknown_domains",
]

BATCH_SIZE = 32
"""Texts in a forward pass where many are timed or served; a prediction of a table takes more."""
AUTO = "auto"
"""In the place of a domain's name: the model finds the domains that a text is like by itself."""
PIPELINE_KEYS = {"text", "text_pair"}
TAKEN = "expected a text, several texts, or mappings {'text': ..., 'text_pair': ...} as transformers' pipelines take"


@dataclass(frozen=True)
class Asked:
    """Texts as a model takes them: as many ``pairs`` (None: single texts) and numbers of ``domains`` as ``texts``."""

    texts: list[str]
    pairs: list[str] | None
    domains: list[int]

    def take(self, places: Sequence[int]) -> Asked:
        """The texts at some places."""
        pairs = None if self.pairs is None else [self.pairs[i] for i in places]
        return Asked([self.texts[i] for i in places], pairs, [self.domains[i] for i in places])


def ask(texts: Any, domain: Any, text_pairs: Any, facts: ModelFacts) -> Asked:
    """What a caller of a prediction means by its arguments.

    Args:
        texts: one text or several: strings (numbers become text, as when a table is loaded), or mappings with ``text``
            and, for a pair task, ``text_pair``.
        domain: of all texts, or one for each; None is for a model with one head for all domains, :data:`AUTO` for
            one that finds domains by itself.
        text_pairs: second texts, as many as texts.
        facts: what the model takes.

    Raises:
        DataError: another kind of value, empty or broken texts, an unknown domain, lists of different lengths, second
            texts for a model of single texts, or none for a model of pairs; argument and place are named.
    """
    found = _listed("texts", texts, TAKEN)
    pairs = None if text_pairs is None else _listed("text_pairs", text_pairs, "expected a text or several")
    if any(isinstance(each, Mapping) for each in found):
        found, pairs = _unpacked(found, pairs)
    domains = _domains(domain, len(found), facts)
    for what, given in (("domains", domains), ("text_pairs", pairs)):
        if given is not None and len(given) != len(found):
            raise DataError(f"{count_of(len(found), 'text', 'texts')} but {len(given)} {what}; give one for each text")
    if found:
        check_pairs(pairs is not None, facts)
    texts = _usable("text", found)
    return Asked(texts, None if pairs is None else _usable("text pair", pairs), _numbers(domains, facts))


def check_pairs(given: bool, facts: ModelFacts, *, how: str = "text_pairs") -> None:
    """Whether second texts are given exactly where the model takes them, if that is known.

    Raises:
        DataError: they are not; ``how`` says what to give or to leave out.
    """
    if facts.pairs and not given:
        raise DataError(f"{how}: missing; the model was made from pairs of texts, so give the second texts too")
    if facts.pairs is False and given:
        raise DataError(f"{how}: the model was made from single texts; leave the second texts out")


def domain_number(value: Any, known: Sequence[str]) -> int | None:
    """The number of a domain among the ``known`` ones, by the rule of loading (1, 1.0 and " 1.0 " are "1"), or None."""
    name = value if value in known else known_as(name_of(value), known)
    return None if name is None else known.index(name)


def numbers_of(values: Sequence[Any], facts: ModelFacts) -> list[int]:
    """The numbers of domains that a caller names; ``auto`` (unless a domain is called so) is for the model to find.

    Raises:
        DataError: a domain is unknown, each with the nearest known one; or the model cannot find domains by itself.
    """
    named = [value for value in values if not _is_auto(value, facts)]
    if len(named) < len(values) and not (facts.one_head or facts.routes):
        raise DataError(
            "domain: 'auto' is not for this model, which keeps no prototypes of its domains (a teacher, a model of an "
            "earlier hrkd, or an export of a student without layers, which leaves them out); name the domain "
            f"({', '.join(facts.domains)})"
        )
    if problem := unknown_domains(named, facts.domains):
        also = "; 'auto' lets it find the nearest ones" if facts.routes else ""
        raise DataError(f"{problem}. The model knows {', '.join(facts.domains)}{also}")
    known = {name: number for number, name in enumerate(facts.domains)}
    by_itself = 0 if facts.one_head else UNKNOWN
    found = []
    for value in values:
        number = known[value] if type(value) is str and value in known else domain_number(value, facts.domains)
        found.append(by_itself if number is None else number)
    return found


def cell_number(value: Any, facts: ModelFacts) -> int | None:
    """The number of a domain that a cell of a table names; ``auto`` where the model finds it by itself; else None."""
    number = domain_number(value, facts.domains)
    if number is None and isinstance(value, str) and value.strip() == AUTO:
        return 0 if facts.one_head else UNKNOWN if facts.routes else None
    return number


def _is_auto(value: Any, facts: ModelFacts) -> bool:
    return isinstance(value, str) and value == AUTO and domain_number(value, facts.domains) is None


def unknown_domains(values: Sequence[Any], known: Sequence[str]) -> str | None:
    """What is wrong with ``values``, each unknown one with the nearest known one; None if all are known."""
    unknown = [value for value in dict.fromkeys(values) if domain_number(value, known) is None]
    return f"unknown domain {misspelt(unknown, known)}" if unknown else None


def _listed(argument: str, given: Any, expected: str) -> list[Any]:
    """The items of an argument that may be one value or several."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping):
        if argument == "texts" and not any(is_nested(value) for value in given.values()):
            return [given]
        raise DataError(f"{argument}: got a mapping of columns ({_names(given)}); give one of them: {_how(argument)}")
    table = next((name for name in ("column_names", "columns") if hasattr(type(given), name)), None)
    if table is not None:
        kind = type(given).__name__
        raise DataError(
            f"{argument}: got a {kind} ({_names(getattr(given, table))}); give one column: {_how(argument)}"
        )
    if not isinstance(given, bytes | bytearray | set | frozenset) and getattr(given, "ndim", 1) == 1:
        try:
            return [held(value) for value in given]
        except TypeError:
            pass
    raise DataError(f"{argument}: {expected}; got {shown(given)}")


def _names(columns: Any) -> str:
    return first_of([repr(name) for name in (() if columns is None else columns)])


def _how(argument: str) -> str:
    return f"{argument}=table['text']" if argument == "texts" else f"{argument}=table['{argument.removesuffix('s')}']"


def _unpacked(items: list[Any], pairs: list[Any] | None) -> tuple[list[Any], list[Any] | None]:
    """Texts and second texts of mappings such as pipelines take."""
    wrong = [
        f"{i} ({_names(item)})"
        for i, item in enumerate(items, start=1)
        if isinstance(item, Mapping) and ("text" not in item or not set(item) <= PIPELINE_KEYS)
    ]
    if wrong:
        raise DataError(
            f"texts: expected mappings with 'text' and, for a pair task, 'text_pair'; not so: text {first_of(wrong)}"
        )
    second = [item.get("text_pair") if isinstance(item, Mapping) else None for item in items]
    if any(each is not None for each in second):
        if pairs is not None:
            raise DataError("text_pairs: the texts bring second texts of their own; give them once")
        pairs = second
    return [item["text"] if isinstance(item, Mapping) else item for item in items], pairs


def _usable(what: str, values: list[Any]) -> list[str]:
    other = [
        f"{i} ({shown(value)})"
        for i, value in enumerate(values, start=1)
        if is_nested(value) or not (fault_of(value) or isinstance(value, str | Real | Decimal))
    ]
    if other:
        raise DataError(f"expected a string for each {what}, got something else: {what} {first_of(other)}")
    if unusable := [str(i) for i, value in enumerate(values, start=1) if fault_of(value)]:
        raise DataError(f"empty or broken: {what} {first_of(unusable)}; every {what} must be a string with content")
    return [text_of(value) for value in values]


def _domains(domain: Any, count: int, facts: ModelFacts) -> list[Any]:
    if domain is None:
        if facts.one_head:
            return facts.domains[:1] * count
        raise DataError(f"domain: missing; name the domain of the texts ({', '.join(facts.domains)})")
    if isinstance(domain, str | Real):
        return [domain] * count
    return _listed("domain", domain, "expected the name of a domain, or one for each text")


def _numbers(domains: list[Any], facts: ModelFacts) -> list[int]:
    if faulty := [f"{i} ({shown(name)})" for i, name in enumerate(domains, start=1) if fault_of(name)]:
        raise DataError(f"domain: expected names, got something else for text {first_of(faulty)}")
    return numbers_of(domains, facts)
