"""Which part of a split the name of a file, or of a part of a data set, speaks of."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from hrkd.data.rows import SPLIT_NAMES, canonical_split
from hrkd.errors import DataError
from hrkd.support.messages import first_of

__all__ = ["note_on_names", "says_a_split", "splits_of", "words_of"]

SHARD = re.compile(r"[-_]\d+[-_]of[-_]\d+$")
RUN = re.compile(r"[^\W\d_]+")
"""Letters between digits, underscores, spaces and the like."""
CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
ENDING = re.compile(r"(.+?)(?:set|sets|data|dataset|split|file|part)")
HELD_OUT = re.compile(
    r"(?<![^\W\d_])(eval|evaluation|held[\W_]*out|hold[\W_]*out)(set|data|split)?(?![^\W\d_])", re.IGNORECASE
)
"""Dev to some, test to others."""
SHORT = {"trn": "train", "tst": "test"}
INSIDE = re.compile("|".join(sorted((*SPLIT_NAMES, *SHORT), key=len, reverse=True)), re.IGNORECASE)
DOUBTFUL = ({"tr"}, {"te", "ts", "va"})
"""Train and the other parts to some, languages to others."""


def splits_of(names: Sequence[str]) -> list[str | None]:
    """``train``, ``dev`` or ``test`` for each name (without its ending) that has such a word in it, else None.

    Words end where letters do, and at capital letters: ``reviews_test``, ``train1``, ``TestData``, ``dev (1)``; a
    ``latest`` or ``protest`` is none. In names that are alike but for these words they may stand anywhere: ``XTRAIN``
    and ``XTEST``. ``eval`` and ``held-out`` are what the other names leave of dev and test.

    Raises:
        DataError: a name speaks of two parts, or of dev or test.
    """
    alike = _told_by_likeness(names)
    found = [_spoken_of(name) or alike.get(name, set()) for name in names]
    told = {part for parts in found for part in parts}
    left = {"dev", "test"} - told
    unclear = [
        repr(n) for n, p in zip(names, found, strict=True) if len(p) > 1 or (p == {"held out"} and len(left) != 1)
    ]
    if unclear:
        raise DataError(
            f"the name {first_of(unclear)} does not say which of train, dev and test it is; put exactly one of these "
            "words into each name (or none into any: then all rows are split anew), or name a column that says it "
            "(data.split)"
        )
    return [next(iter(left if parts == {"held out"} else parts), None) for parts in found]


def says_a_split(name: str) -> bool:
    """Whether a name speaks of a part of a split, or of several."""
    return bool(_spoken_of(name))


def note_on_names(names: Sequence[str], splits: Sequence[str | None]) -> tuple[str, ...]:
    """What is told of names that say more than the split alone; nothing where none does."""
    pairs = [f"{name} is {split}" for name, split in zip(names, splits, strict=True) if split is not None]
    plain = all(split is None or canonical_split(_stem(name)) for name, split in zip(names, splits, strict=True))
    if not plain:
        return (f"splits are told by names: {first_of(pairs)}",)
    spoken = [set(words_of(_stem(name))) for name in names]
    if pairs or not all(any(words & each for words in spoken) for each in DOUBTFUL):
        return ()
    if not all(words & (DOUBTFUL[0] | DOUBTFUL[1]) for words in spoken):
        return ()
    return (
        f"{first_of(names)} may be parts of a split, and are not read so: all rows are split anew; if they are, put "
        "the words train, dev and test into their names",
    )


def _told_by_likeness(names: Sequence[str]) -> dict[str, set[str]]:
    """What names say that are alike but for a word for train in one and for dev or test in another."""
    alike: dict[tuple[str, str], dict[str, str]] = {}
    for name in names:
        plain = SHARD.sub("", _plain(name)).lower()
        for start in range(len(plain)):
            if word := INSIDE.match(plain, start):
                said = SHORT.get(word[0]) or SPLIT_NAMES[word[0]]
                alike.setdefault((plain[:start], plain[word.end() :]), {})[name] = said
    groups = [group for group in alike.values() if "train" in group.values() and len(set(group.values())) > 1]
    return {name: {said} for group in groups for name, said in group.items()}


def _plain(name: str) -> str:
    """A name whose letters are the usual ones: full-width letters and ligatures become these."""
    return unicodedata.normalize("NFKC", name)


def _stem(name: str) -> str:
    return SHARD.sub("", _plain(name).partition(".")[0])


def _spoken_of(name: str) -> set[str]:
    name = SHARD.sub("", _plain(name))
    found = {part for word in words_of(name) if (part := _part(word))}
    spaced = " ".join(CAMEL.findall(name))
    if not found & {"dev", "test"} and (HELD_OUT.search(name) or HELD_OUT.search(spaced)):
        found.add("held out")
    return found


def words_of(name: str) -> list[str]:
    """The words of a name in small letters: runs of letters, and what capital letters make of these."""
    return [word.lower() for run in RUN.findall(name) for word in (run, *CAMEL.findall(run))]


def _part(word: str) -> str | None:
    shorter = ENDING.fullmatch(word)
    return SHORT.get(word) or canonical_split(word) or (canonical_split(shorter.group(1)) if shorter else None)
