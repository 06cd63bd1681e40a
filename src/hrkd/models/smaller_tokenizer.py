"""A tokenizer that knows a part of another's pieces, and splits whatever they do not spell into smaller ones.

It works on what the ``tokenizers`` library writes as tokenizer.json, for its three kinds of subwords. A text whose
pieces are all kept is split as before:

* WordPiece takes the longest piece that fits, and that piece is still there.
* Unigram takes the pieces of the highest sum of scores, which is still there; the score of what is unknown is that of
  the rarest piece less a constant, so that this piece stays.
* BPE applies the earliest merge that fits, and every merge on the way to a kept piece stays with both its sides.
"""

from __future__ import annotations

import json
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from hrkd.errors import ModelError
from hrkd.models.tokenizers import load_tokenizer

__all__ = ["check_kind", "pieces_to_keep", "smaller_tokenizer"]

FILE = "tokenizer.json"
SPACE = "\u2581"
"""What stands for a space at the beginning of a word in pieces of sentencepiece."""

Rules = dict[str, Any]


def pieces_to_keep(
    tokenizer: PreTrainedTokenizerBase, counts: np.ndarray, at_least: int, *, also: Iterable[int] = ()
) -> np.ndarray:
    """Ids of the pieces that a smaller tokenizer keeps, ascending, shape (kept,).

    These are the pieces that are needed ``at_least`` so often; special and added tokens; the characters of ASCII and of
    all pieces that are needed (all bytes, where the tokenizer knows bytes), so that a word that nobody has seen is
    spelt; and what these rest on (see above).

    Args:
        tokenizer: a fast one.
        counts: how often texts need each piece, shape (ids of the tokenizer,).
        at_least: times.
        also: ids that stay whatever the counts say; those that are no piece are left out.

    Raises:
        ModelError: a tokenizer of another kind.
    """
    rules = _rules(tokenizer)
    model, ids = rules["model"], tokenizer.get_vocab()
    kept = set(np.flatnonzero(counts >= at_least).tolist())
    kept |= {*also, *tokenizer.all_special_ids, *(token["id"] for token in rules["added_tokens"])}
    kept |= {ids[piece] for piece in _characters(model, ids, counts)}
    kept |= KINDS[model["type"]](model, kept)
    return np.array(sorted(kept & set(ids.values())), dtype=np.int64)


def smaller_tokenizer(
    tokenizer: PreTrainedTokenizerBase, kept: np.ndarray, config: PreTrainedConfig
) -> PreTrainedTokenizerBase:
    """The same tokenizer with the pieces ``kept`` alone, whose new ids are their places there.

    It is read from files, as it will be later on, since that is where classes of tokenizers differ.

    Args:
        tokenizer: a fast one.
        kept: ids, ascending, as :func:`pieces_to_keep` gives them.
        config: of the model that it belongs to, which says what class a tokenizer is.

    Raises:
        ModelError: a tokenizer of another kind, or one that its class does not read back as it was written.
    """
    new = {old: number for number, old in enumerate(kept.tolist())}
    with TemporaryDirectory(prefix="hrkd-") as folder:
        tokenizer.save_pretrained(folder)
        config.save_pretrained(folder)
        file = Path(folder) / FILE
        file.write_text(json.dumps(_reduced(_rules(tokenizer), new), ensure_ascii=False), encoding="utf-8")
        smaller = load_tokenizer(folder)
    smaller.name_or_path = tokenizer.name_or_path
    wanted = {piece: new[i] for piece, i in tokenizer.get_vocab().items() if i in new}
    if smaller.get_vocab() != wanted:
        raise ModelError(f"a smaller tokenizer has other ids once it is read back by {type(tokenizer).__name__}")
    return smaller


def check_kind(tokenizer: PreTrainedTokenizerBase) -> None:
    """Whether a tokenizer is of a kind that can be made smaller.

    Raises:
        ModelError: it is not.
    """
    name = type(tokenizer).__name__
    if not tokenizer.is_fast:
        raise ModelError(f"the tokenizer ({name}) has no fast form (tokenizer.json)")
    kind = type(tokenizer.backend_tokenizer.model).__name__
    if kind not in KINDS:
        raise ModelError(f"the tokenizer ({name}) is of the kind {kind}, none of {', '.join(KINDS)}")


def _rules(tokenizer: PreTrainedTokenizerBase) -> Rules:
    """What tokenizer.json holds."""
    check_kind(tokenizer)
    rules: Rules = json.loads(tokenizer.backend_tokenizer.to_str())
    return rules


def _characters(model: Rules, ids: Mapping[str, int], counts: np.ndarray) -> Iterator[str]:
    """Pieces of one character, at the beginning of a word and within it, as far as any text is likely to need them."""
    before = [mark for mark in (model.get("continuing_subword_prefix"), SPACE) if mark]
    after = model.get("end_of_word_suffix") or ""

    def bare(piece: str) -> str:
        for mark in before:
            piece = piece.removeprefix(mark)
        return piece.removesuffix(after)

    alphabet = set(string.digits + string.ascii_letters + string.punctuation)
    alphabet.update(*(bare(piece) for piece, i in ids.items() if counts[i]))
    if model["type"] == "BPE":
        alphabet.update(ByteLevel.alphabet())
    bytes_too = model.get("byte_fallback")
    for piece in ids:
        letters = bare(piece)
        is_byte = bytes_too and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
        if is_byte or (len(letters) <= 1 and alphabet.issuperset(letters)):
            yield piece


def _of_unigram(model: Rules, kept: set[int]) -> set[int]:
    """What stays with the pieces ``kept``: the rarest piece, and all up to the unknown one, whose id classes know."""
    del kept
    scores = [score for _, score in model["vocab"]]
    return {scores.index(min(scores)), *range((model["unk_id"] or 0) + 1)}


def _of_bpe(model: Rules, kept: set[int]) -> set[int]:
    """The pieces that those ``kept`` are merged from, and these in turn."""
    ids: dict[str, int] = model["vocab"]
    sides: defaultdict[int, list[int]] = defaultdict(list)
    for left, right, whole in _merges(model):
        sides[ids[whole]] += [ids[left], ids[right]]
    found, open_ = set(kept), list(kept)
    while open_:
        new = set(sides[open_.pop()]) - found
        found |= new
        open_ += new
    return found


def _of_wordpiece(model: Rules, kept: set[int]) -> set[int]:
    """Nothing: any set of pieces will do."""
    del model, kept
    return set()


KINDS: dict[str, Callable[[Rules, set[int]], set[int]]] = {
    "WordPiece": _of_wordpiece,
    "Unigram": _of_unigram,
    "BPE": _of_bpe,
}
"""What else has to stay, by kind."""


def _merges(model: Rules) -> Iterator[tuple[str, str, str]]:
    """Both sides of each merge, and the piece that it makes."""
    prefix = model.get("continuing_subword_prefix") or ""
    for left, right in model["merges"]:
        yield left, right, left + right.removeprefix(prefix)


def _reduced(rules: Rules, new: Mapping[int, int]) -> Rules:
    """The same rules for the pieces in ``new`` (old id: new id)."""
    model = dict(rules["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [piece for old, piece in enumerate(model["vocab"]) if old in new]
        if model["unk_id"] is not None:
            model["unk_id"] = new[model["unk_id"]]
    else:
        model["vocab"] = {piece: new[old] for piece, old in model["vocab"].items() if old in new}
    if model["type"] == "BPE":
        merged = [merge for merge in _merges(model) if all(piece in model["vocab"] for piece in merge)]
        model["merges"] = [[left, right] for left, right, _ in merged]
    padding = rules["padding"] and rules["padding"] | {"pad_id": new[rules["padding"]["pad_id"]]}
    added = [token | {"id": new[token["id"]]} for token in rules["added_tokens"]]
    processor = _renumbered(rules["post_processor"], new)
    return rules | {"model": model, "added_tokens": added, "padding": padding, "post_processor": processor}


def _renumbered(part: Any, new: Mapping[int, int]) -> Any:
    """A post-processor, whose ids stand in lists named "ids" or, with their tokens, in pairs."""
    if isinstance(part, dict):
        return {
            name: [new[old] for old in value] if name == "ids" else _renumbered(value, new)
            for name, value in part.items()
        }
    if isinstance(part, list):
        return [part[0], new[part[1]]] if _names_token(part) else [_renumbered(each, new) for each in part]
    return part


def _names_token(part: Sequence[Any]) -> bool:
    return len(part) == 2 and isinstance(part[0], str) and type(part[1]) is int
