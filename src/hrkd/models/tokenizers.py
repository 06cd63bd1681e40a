"""Tokenizers: opening them, and whether two of them, or one and an encoder, fit each other."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from hrkd.errors import ModelError
from hrkd.models.kind import is_own, locate
from hrkd.models.multi_domain import MultiDomainConfig
from hrkd.models.plain import config_fields
from hrkd.support.domain_index import domain_folders
from hrkd.support.messages import count_of, first_line, first_of

__all__ = ["check_fits", "check_same_tokenizer", "load_tokenizer"]

VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model")
PROBES = ("A small test, isn't it?", "PRICE in 2021: 12.50 (10% off)!", "cafe\u0301 na\u00efve \u2013 \u201cso\u201d")


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder (hrkd's or any other) or hub name; that of the first where there is one per domain.

    Raises:
        ArtifactError: a folder of one model per domain is damaged.
        ModelError: there is none, or it has no vocabulary.
    """
    if folders := domain_folders(source):
        source = next(iter(folders.values()))
    place = locate(source)
    folder = Path(place)
    if folder.is_dir() and not any((folder / name).is_file() for name in VOCABULARY_FILES):
        raise ModelError(f"{source}: no tokenizer (none of {', '.join(VOCABULARY_FILES)}); save it beside the model")
    try:
        config = config_fields(place)
        # An own configuration is unknown to transformers; the encoder's says which tokenizer it is.
        extra = {"config": MultiDomainConfig(**config).plain_config()} if is_own(config) else {}
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, **extra)
    except Exception as error:  # tokenizer files fail in many ways, down to bare exceptions of the Rust library
        raise ModelError(f"{source}: no tokenizer that can be loaded: {first_line(error)}") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"{source}: the tokenizer has no vocabulary; save the whole tokenizer beside the model")
    return tokenizer


def check_same_tokenizer(teacher: str | PreTrainedTokenizerBase, student: str | PreTrainedTokenizerBase) -> None:
    """Make sure that two tokenizers give the same ids, so that hidden states can be compared token by token.

    Args:
        teacher: a tokenizer, or where it is.
        student: another one.

    Raises:
        ModelError: another vocabulary, or other ids for some test sentences.
    """
    ours, theirs = (load_tokenizer(side) if isinstance(side, str) else side for side in (teacher, student))
    names = [side if isinstance(side, str) else side.name_or_path or "the teacher" for side in (teacher, student)]
    different = sorted(set(ours.get_vocab().items()) ^ set(theirs.get_vocab().items()))
    text = next((probe for probe in PROBES if ours(probe)["input_ids"] != theirs(probe)["input_ids"]), None)
    if not different and text is None:
        return
    if different:
        tokens = sorted({token for token, _ in different})
        what = f"{len(tokens):,} tokens have another id or stand in one vocabulary only ({', '.join(tokens[:3])} ...)"
    else:
        what = f"they split {text!r} differently"
    raise ModelError(
        f"{names[0]} and {names[1]} do not use the same tokenizer: {what}. Teacher and student are compared token by "
        "token, so different tokenizers are not supported; choose models with the same one"
    )


def check_fits(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, *, pairs: bool, where: str) -> None:
    """Make sure that texts of a tokenizer can be padded, and that an encoder's tables hold what it makes of them.

    Tokens that only stand in a text when somebody writes them there (such as a mask) need no row of their own.

    Args:
        tokenizer: of the encoder.
        config: of the encoder.
        pairs: whether rows hold two texts.
        where: what messages begin with.

    Raises:
        ModelError: no padding token, ids beyond the vocabulary that the encoder has, or more kinds of tokens.
    """
    if tokenizer.pad_token_id is None:
        raise ModelError(f"{where}: the tokenizer has no padding token; set its pad_token, and save it again")
    encoded = tokenizer("a", "a" if pairs else None)
    rare = set(tokenizer.all_special_ids) - {tokenizer.pad_token_id, tokenizer.unk_token_id, *encoded["input_ids"]}
    words, kinds = getattr(config, "vocab_size", None), getattr(config, "type_vocab_size", None)
    beyond = [token for token, i in tokenizer.get_vocab().items() if words and i >= words and i not in rare]
    if beyond:
        surplus = f"{count_of(len(beyond), 'token', 'tokens')} ({first_of(sorted(beyond))})"
        raise ModelError(
            f"{where}: the tokenizer has {surplus} beyond the {words:,} of the encoder; take the tokenizer that "
            "belongs to it, or resize its embeddings"
        )
    if kinds and max(encoded.get("token_type_ids", [0])) >= kinds:
        raise ModelError(
            f"{where}: the tokenizer gives second texts a type of their own, and the encoder has {kinds}; take the "
            "tokenizer that belongs to it"
        )
