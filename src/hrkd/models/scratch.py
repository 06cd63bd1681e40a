"""A new BERT with random weights and a tokenizer of given words: for demonstrations and tests."""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import AutoModelForSequenceClassification, BertConfig, BertTokenizer, PreTrainedTokenizerBase

from hrkd.data.columns import chunks_of
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import ModelError
from hrkd.models.multi_domain import HeadMode, MultiDomainClassifier

__all__ = ["new_teacher", "scratch_config", "scratch_tokenizer", "word_tokenizer"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def new_teacher(
    scratch: Mapping[str, int],
    *,
    vocabulary_size: int,
    domains: Sequence[str],
    labels: Sequence[str],
    heads: HeadMode = "per_domain",
    max_tokens: int = 128,
) -> MultiDomainClassifier:
    """A BERT classifier with random weights, from torch's global random state.

    Args:
        scratch: layers, width, heads, feed_forward; other keys are not looked at.
        vocabulary_size: length of the tokenizer.
        domains: their names.
        labels: their names.
        heads: one head per domain, or one for all.
        max_tokens: longest input.

    Raises:
        ModelError: the heads do not divide the width.
    """
    config = scratch_config(scratch, vocabulary_size=vocabulary_size, max_tokens=max_tokens)
    config.num_labels = len(labels)
    plain = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    return MultiDomainClassifier.from_plain(
        plain, domains=domains, labels=labels, heads=heads, max_tokens=max_tokens, new_heads=True
    )


def scratch_config(scratch: Mapping[str, int], *, vocabulary_size: int, max_tokens: int = 128) -> BertConfig:
    """The configuration of :func:`new_teacher`'s encoder.

    Raises:
        ModelError: the heads do not divide the width.
    """
    if scratch["width"] % scratch["heads"]:
        raise ModelError(
            f"teacher.scratch: heads: {scratch['heads']} does not divide width: {scratch['width']}; change one of them"
        )
    return BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=scratch["width"],
        num_hidden_layers=scratch["layers"],
        num_attention_heads=scratch["heads"],
        intermediate_size=scratch["feed_forward"],
        max_position_embeddings=max_tokens,
        pad_token_id=SPECIAL_TOKENS.index("[PAD]"),
        # BERT's 0.02 suits width 768; a narrow encoder with weights that small hardly learns at first.
        initializer_range=0.4 / math.sqrt(scratch["width"]),
    )


def word_tokenizer(words: Iterable[str], *, max_tokens: int = 128) -> PreTrainedTokenizerBase:
    """A lower-casing BERT tokenizer that knows the given words whole and all others character by character.

    Words are normalised and split at punctuation as BERT does it, and take ids in the order in which they come.
    Characters are those of the words and of ASCII, so that plain English text has no unknown token.
    """
    normaliser, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()
    pieces = [
        piece for word in words for piece, _ in splitter.pre_tokenize_str(normaliser.normalize_str(word)) if piece
    ]
    characters = sorted({*string.ascii_lowercase, *string.digits, *string.punctuation, *"".join(pieces)})
    tokens = dict.fromkeys([*SPECIAL_TOKENS, *pieces, *characters, *(f"##{character}" for character in characters)])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer: PreTrainedTokenizerBase = BertTokenizer(vocab=vocabulary, model_max_length=max_tokens)
    return tokenizer


def scratch_tokenizer(
    scratch: Mapping[str, int], vocabulary: Sequence[str], rows: MultiDomainDataset, max_tokens: int
) -> PreTrainedTokenizerBase:
    """The tokenizer of a teacher from nothing: the words of the ``vocabulary``, or else the most frequent of ``rows``.

    Of these there are as many as ``scratch["vocabulary"]`` says.
    """
    if vocabulary:
        return word_tokenizer(vocabulary, max_tokens=max_tokens)
    texts = (text for chunk in chunks_of(rows.rows, "text") for text in chunk["text"])
    counts = Counter(word for text in texts for word in text.lower().split())
    words = sorted(counts, key=lambda word: (-counts[word], word))[: scratch["vocabulary"]]
    return word_tokenizer(words, max_tokens=max_tokens)
