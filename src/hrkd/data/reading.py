"""What of a text a model reads: its head, its tail, both, or all of it in windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from transformers import BatchEncoding, PreTrainedTokenizerBase

from hrkd.data.cutting import Ints, cut_rows, mean_by_owner
from hrkd.errors import DataError
from hrkd.recipe.schema import DataConfig, Keep

__all__ = ["KEEP", "encode", "mean_of_windows"]

KEEP = DataConfig.model_construct().keep
Columns = dict[str, list[list[int]]]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_tokens: int,
    keep: Keep = KEEP,
) -> tuple[Columns, Ints]:
    """Token ids of texts or pairs of them, and the number of the text that each row is of, (rows,), ascending.

    Longer ones than ``max_tokens``, special tokens included, are cut. Of a pair the longer text is cut first, and of
    two long ones each has half of the room; ``keep`` says what is left of a text that is cut. With ``windows`` a long
    text (of a pair, the longer one; the other is cut to its head where it has more than half of the room) is as many
    rows as it takes, evenly spread and as long as they may be, so that neighbours overlap.

    Returns:
        What the tokenizer gives by name, a list for each row; one row a text but for ``windows``.

    Raises:
        DataError: pairs, and a tokenizer without a fast version, which does not say which token is of which text;
            ``max_tokens`` leaves no room beside the special tokens.
    """
    if keep == "head":
        encoded = tokenizer(list(texts), _listed(pairs), truncation=True, max_length=max_tokens)
        return dict(encoded), np.arange(len(texts))
    encoded = tokenizer(list(texts), _listed(pairs), truncation=False, return_special_tokens_mask=True, verbose=False)
    special: list[list[int]] = encoded.pop("special_tokens_mask")
    rows: dict[str, list[list[int]]] = {name: [] for name in encoded}
    owners: list[int] = []
    for i, mask in enumerate(special):
        for places in _rows(encoded, i, mask, max_tokens, keep, has_pairs=pairs is not None):
            owners.append(i)
            for name, values in encoded.items():
                rows[name].append(values[i] if places is None else [values[i][p] for p in places])
    return rows, np.array(owners, dtype=np.int64)


def _listed(pairs: Sequence[str] | None) -> list[str] | None:
    return None if pairs is None else list(pairs)


def _rows(
    encoded: BatchEncoding, i: int, special: Sequence[int], max_tokens: int, keep: Keep, *, has_pairs: bool
) -> Iterator[list[int] | None]:
    """Places of the tokens of each row of text ``i``; None: of all."""
    if len(special) <= max_tokens:
        yield None
        return
    yield from cut_rows(special, _parts(encoded, i, special, has_pairs=has_pairs), max_tokens, keep)


def _parts(encoded: BatchEncoding, i: int, special: Sequence[int], *, has_pairs: bool) -> list[list[int]]:
    """Places of the tokens of each text, special ones left out."""
    if not has_pairs:
        return [[place for place, is_special in enumerate(special) if not is_special]]
    if not encoded.is_fast:
        raise DataError(
            "data.keep: of pairs the head alone can be kept with this tokenizer, which has no fast version; set "
            "data.keep: head"
        )
    whose = encoded.sequence_ids(i)
    return [[p for p, text in enumerate(whose) if text == part and not special[p]] for part in (0, 1)]


def mean_of_windows(logits: npt.NDArray[np.float32], owners: Ints) -> npt.NDArray[np.float32]:
    """Logits of texts, (texts, C), from those of their rows, (rows, C): of the mean of their probabilities.

    Args:
        owners: as :func:`mean_by_owner`.
    """
    counts = np.bincount(owners)
    if (counts == 1).all():
        return logits
    from scipy.special import softmax  # only where there are windows

    probabilities = mean_by_owner(softmax(logits.astype(np.float64), axis=1), owners)
    means = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)).astype(np.float32)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means[counts == 1] = logits[first[counts == 1]]
    return means
