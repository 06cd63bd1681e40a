"""Token ids word by word, for the tokenizers of BERT: what a word is split into is asked once and remembered.

A tokenizer of the kind splits a text at white space (and each word around punctuation), and spells what it finds by
pieces on its own. Texts repeat their words, so that looking them up is many times as fast as splitting them anew.
Whatever could be split otherwise is left to the tokenizer: texts with control characters, some of which Python takes
for white space, and with names of special tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import chain

from tokenizers import Tokenizer

__all__ = ["words_of"]

MOST = 500_000
"""Words that are remembered; then it begins anew."""
LONGEST = 40
"""Letters of a word that is remembered: others hardly come again, and would fill the memory."""
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

Split = Callable[[str], list[int] | None]


class _Words(dict[str, list[int]]):
    """The pieces of what stands between white space, asked when it is first met."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(word, add_special_tokens=False).ids
        if len(word) <= LONGEST:
            if len(self) >= MOST:
                self.clear()
            self[word] = found
        return found


def words_of(tokenizer: Tokenizer) -> Split | None:
    """A function from a text to its token ids, special ones and cuts left out, or None for a text that is not for it.

    None in its place: the tokenizer is of another kind.
    """
    said = json.loads(tokenizer.to_str())
    normalizer, splits, model = (said.get(part) or {} for part in ("normalizer", "pre_tokenizer", "model"))
    kinds = normalizer.get("type"), splits.get("type"), model.get("type")
    if kinds != ("BertNormalizer", "BertPreTokenizer", "WordPiece") or not normalizer.get("clean_text"):
        return None
    lower = bool(normalizer.get("lowercase"))
    named = [token["content"] for token in said.get("added_tokens", [])]
    special = re.compile("|".join(map(re.escape, named)) or "(?!)", re.IGNORECASE)
    begins = {letter for name in named for letter in (name[0].lower(), name[0].upper())}
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.no_truncation()
    words = _Words(own)

    def split(text: str) -> list[int] | None:
        if not text.isprintable() and CONTROL.search(text):
            return None
        if any(begin in text for begin in begins) and special.search(text):
            return None
        # Beyond ASCII the tokenizer lowers by rules of its own.
        found = text.lower().split() if lower and text.isascii() else text.split()
        return list(chain.from_iterable(map(words.__getitem__, found)))

    return split
