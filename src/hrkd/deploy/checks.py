"""What texts and domains a prediction takes; looked at before a model is opened, so nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hrkd.errors import DataError
from hrkd.support.messages import first_of, misspelt

__all__ = ["check_texts", "is_unusable", "unknown_domains"]


def check_texts(
    texts: Sequence[Any], domains: Sequence[Any], pairs: Sequence[Any] | None, known: Sequence[str]
) -> None:
    """Whether a model that knows the domains ``known`` can say something of ``texts`` (and second texts ``pairs``).

    Raises:
        DataError: empty texts, an unknown domain, or lists of different lengths.
    """
    for what, given in (("domains", domains), ("text_pairs", pairs)):
        if given is not None and len(given) != len(texts):
            raise DataError(f"{len(texts)} texts but {len(given)} {what}; give one for each text")
    for what, given in (("text", texts), ("text pair", pairs or ())):
        if unusable := [str(i) for i, text in enumerate(given) if is_unusable(text)]:
            raise DataError(
                f"empty or broken {what} at index {first_of(unusable)}; every {what} must be a string with content"
            )
    if problem := unknown_domains(domains, known):
        raise DataError(f"{problem}. The model knows {', '.join(known)}")


def is_unusable(text: Any) -> bool:
    """Whether ``text`` is no string, blank, or holds half a surrogate pair (which no tokenizer takes)."""
    return not isinstance(text, str) or not text.strip() or any("\ud800" <= c <= "\udfff" for c in text)


def unknown_domains(names: Sequence[Any], known: Sequence[str]) -> str | None:
    """What is wrong with ``names``, each unknown one with the nearest known one; None if all are known."""
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    return f"unknown domain {misspelt(unknown, known)}" if unknown else None
