"""Texts that say nothing, that were decoded wrongly, that stand there several times, and that are cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hrkd.data.columns import chunks_of, repeated, text_lengths
from hrkd.data.cutting import unread
from hrkd.data.describe import differing
from hrkd.data.health.finding import Finding, example_at
from hrkd.data.splits.draws import some_of_each, text_keys
from hrkd.data.types import MultiDomainDataset
from hrkd.recipe.schema import Keep
from hrkd.support.messages import count_of, first_of

__all__ = ["WORDS", "Counter", "find_copies", "find_cut", "find_garbled", "find_nearly_empty"]

LETTER = re.compile(r"[^\W_]")
SAYS_ENOUGH = re.compile("[^\\W_].*[^\\W_].*[^\\W_]|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]", re.DOTALL)
"""Three letters or digits, or a character that stands for a word or syllable."""
SYMBOL = re.compile("[\u2190-\u2bff\U0001f000-\U0001faff]")
"""Stars, arrows, emojis."""
NOTHING = {"nan", "null", "none", "n.a.", "#n/a", "<na>", "undefined"}
"""What programs write for nothing, and has three letters."""
SECOND_BYTE = "\u0080-\u00aa\u00ac-\u00ba\u00bc-\u00bf€‚ƒ„†‡ˆ‰Š‹ŒŽ‘“•˜™š›œžŸ"
"""As a letter of its own, where that does not stand behind letters anyway, as closing quotes and dashes do."""
QUOTES_AND_DASHES = "«»…’“”–—"
SMALL = "[^\\W\\d_A-ZÀ-ÖØ-Þ]"
GARBLED = re.compile(
    # what stands for a byte that could not be decoded; controls; and two or three bytes of UTF-8, each as a letter
    "\ufffd|[\\x00-\\x08\\x0b\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f]"
    f"|[ÂÃ][{SECOND_BYTE}]|(?<={SMALL})[ÃÄÅ][{SECOND_BYTE}{QUOTES_AND_DASHES}]"
    f"|[ÃÄÅ][{SECOND_BYTE}{QUOTES_AND_DASHES}](?={SMALL})|â€|â‚¬|â„¢"
)
MUCH = 0.05
TOKENS_OF_A_WORD = 1.3
MOST_TEXTS = 2_000
"""Of all domains together, whose tokens are counted."""

Counter = Callable[[Sequence[str]], Sequence[int]]
"""Gives the number of tokens of each text, special ones left out."""


def find_nearly_empty(dataset: MultiDomainDataset) -> list[Finding]:
    """Texts with hardly a letter, by domain; those of a pair are looked at one by one."""
    return list(_by_domain(dataset, _says_nothing, "D203", "with hardly a letter in the text"))


def find_garbled(dataset: MultiDomainDataset) -> list[Finding]:
    """Texts with controls, or with what is left of letters that were decoded wrongly, by domain."""
    return list(_by_domain(dataset, _is_garbled, "D207", "with characters that look decoded wrongly"))


def _by_domain(dataset: MultiDomainDataset, is_odd: Callable[[str], bool], code: str, what: str) -> Iterator[Finding]:
    """Rows of which a text is odd."""
    rows, done = [], 0
    for chunk in chunks_of(dataset.rows, *dataset.text_columns):
        for i, texts in enumerate(zip(*(chunk[column] for column in dataset.text_columns), strict=True)):
            if any(map(is_odd, texts)):
                rows.append(done + i)
        done += len(chunk["text"])
    places = np.array(rows, dtype=np.int64)
    owners = dataset.select(places).domain_ids
    for d in np.unique(owners):
        own = places[owners == d]
        yield Finding(code, f"{count_of(len(own))} {what}", dataset.domains[d], len(own), example_at(dataset, own[0]))


def _is_garbled(text: str) -> bool:
    return GARBLED.search(text) is not None


def _says_nothing(text: str) -> bool:
    if SYMBOL.search(text):
        return False
    return not SAYS_ENOUGH.search(text) or text.strip().lower() in NOTHING


def find_copies(dataset: MultiDomainDataset) -> list[Finding]:
    """Texts that stand there several times: with different labels, in several domains, or just so."""
    (keys,) = text_keys(dataset)
    several = np.flatnonzero(repeated(keys))
    if not len(several):
        return []
    domain_ids, labels, texts = dataset.domain_ids[several], dataset.label_ids[several], keys[several]
    cells = np.unique(texts * len(dataset.domains) + domain_ids, return_inverse=True)[1]
    conflicting = differing(labels, cells)
    abroad = differing(domain_ids, texts)
    found: list[Finding] = []
    for d, domain in enumerate(dataset.domains):
        own = domain_ids == d
        torn = np.flatnonzero(own & conflicting)
        if len(torn):
            texts_torn = count_of(len(np.unique(cells[torn])), "text", "texts")
            same = torn[cells[torn] == cells[torn[0]]]
            said = {dataset.labels[labels[i]]: dataset.rows[int(several[i])]["id"] for i in reversed(same)}
            first = " and ".join(f"{place} has {label!r}" for label, place in reversed(said.items()))
            told = f"{count_of(len(torn))} of {texts_torn} have different labels: {first}"
            found.append(Finding("D103", told, domain, len(torn), example_at(dataset, several[torn[0]])))
        agreed = own & ~conflicting
        extra = int(agreed.sum()) - len(np.unique(cells[agreed]))
        if extra:
            often = np.flatnonzero(agreed & (cells == np.bincount(cells[agreed]).argmax()))
            told = f"{count_of(extra, 'row is a copy', 'rows are copies')} of another one of the domain"
            found.append(Finding("D204", told, domain, extra, example_at(dataset, several[often[0]])))
    return found + _abroad(dataset, several[abroad], texts[abroad])


def _abroad(dataset: MultiDomainDataset, rows: np.ndarray, texts: np.ndarray) -> list[Finding]:
    """Texts of several domains, told once for all of these."""
    if not len(rows):
        return []
    owners = dataset.domain_ids[rows]
    first = texts == texts[0]
    torn = len(np.unique(texts[differing(dataset.label_ids[rows], np.unique(texts, return_inverse=True)[1])]))
    names = [dataset.domains[d] for d in np.unique(owners)]
    number = len(np.unique(texts))
    torn_of = f", {'' if number == 1 else f'{torn:,} of them '}with different labels" if torn else ""
    told = (
        f"{count_of(number, 'text stands', 'texts stand')} in more than one domain ({first_of(names)}){torn_of}: "
        f"{' and '.join(dataset.rows[int(row)]['id'] for row in rows[first][:2])} are equal"
    )
    return [Finding("D205", told, rows=len(rows), example=example_at(dataset, rows[0]))]


def find_cut(dataset: MultiDomainDataset, room: int, keep: Keep, count: Counter, counted: str) -> list[Finding]:
    """How much of the texts is not read, by domain, on at most :data:`MOST_TEXTS` drawn rows.

    Args:
        dataset: rows to look at.
        room: tokens that a model reads of a row, special ones left out.
        keep: what is read of longer texts.
        count: of tokens.
        counted: says what ``count`` does.
    """
    drawn = dataset.select(some_of_each(dataset.domain_ids, MOST_TEXTS, name="tokens"))
    lengths = text_lengths(drawn.rows, drawn.text_columns, count)
    tokens, behind = lengths.sum(axis=1), unread(lengths, room, keep)
    found, owners = [], drawn.domain_ids
    of = "" if len(drawn) == len(dataset) else f", on {count_of(len(drawn), 'drawn row', 'drawn rows')} of all domains"
    for d, domain in enumerate(dataset.domains):
        own = np.flatnonzero(owners == d)
        lost = behind[own].sum() / max(1, tokens[own].sum())
        cut = own[behind[own] > 0]
        if lost > MUCH:
            told = (
                f"{100 * len(cut) / len(own):.0f} % of the texts are longer than data.max_length, and "
                f"{100 * lost:.0f} % of all tokens are not read (data.keep: {keep}; {counted}{of})"
            )
            longest = drawn.rows[int(own[tokens[own].argmax()])]
            advice = _longer(int(np.quantile(tokens[own], 0.9)) + 3, keep)
            found.append(Finding("D206", f"{told}; the longest is {longest['id']}", domain, len(cut), advice=advice))
    return found


def _longer(tokens: int, keep: Keep) -> str:
    raised = f"Raise data.max_length ({-(-tokens // 8) * 8} holds nine of ten texts, if the model takes so many)"
    others = {"head_tail": "windows", "windows": ""}.get(keep, "head_tail or windows")
    return f"{raised}, or set data.keep: {others}." if others else f"{raised}."


def WORDS(texts: Sequence[str]) -> list[int]:  # noqa: N802 - a default
    """Tokens by a rule of thumb."""
    return [round(TOKENS_OF_A_WORD * len(text.split())) for text in texts]
