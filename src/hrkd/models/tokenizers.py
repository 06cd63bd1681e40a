"""Tokenizers: opening them, and whether two of them, or one and an encoder, fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from hrkd.errors import ModelError
from hrkd.models.folder import CONFIG, check_no_pointer, check_unchanged, fetch, read_fields
from hrkd.models.kind import is_own
from hrkd.models.plain import OWN_CODE
from hrkd.models.probe import PROBES, opening
from hrkd.support.arguments import shown
from hrkd.support.domain_index import domain_folders
from hrkd.support.json_text import parse_json
from hrkd.support.messages import count_of, first_of

__all__ = ["check_fits", "check_same_tokenizer", "load_tokenizer"]

TOKENIZER_CONFIG = "tokenizer_config.json"
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model")
UNUSUAL = "\u2603 \u4e2d\u6587 \U0001f600"


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder (hrkd's or any other) or hub name; that of the first where there is one per domain.

    No code of the folder is run.

    Raises:
        ArtifactError: a folder of one model per domain is damaged, or one of hrkd was changed since it was written.
        ModelError: there is none, it has no vocabulary, or it needs code of its own.
    """
    if not isinstance(source, str | Path):
        raise ModelError(f"source: expected the folder or hub name of a tokenizer, got {shown(source)}")
    if folders := domain_folders(source):
        source = next(iter(folders.values()))
    folder = fetch(source, weights=False)
    if not any((folder / name).is_file() for name in VOCABULARY_FILES):
        raise ModelError(f"{source}: no tokenizer (none of {', '.join(VOCABULARY_FILES)}); save it beside the model")
    check_unchanged(folder)
    for name in VOCABULARY_FILES:
        if (folder / name).is_file():
            check_no_pointer(folder / name, source)
    advice = "save the whole tokenizer beside the model"
    with opening(source, "no tokenizer that can be loaded", advice):
        fields = read_fields(folder, source) if (folder / CONFIG).is_file() else {}
        if needs := _own_code(folder, fields):
            raise ModelError(
                f"{source}: the tokenizer {OWN_CODE.format(file=needs)}; take one that transformers knows, or save its "
                "fast form (tokenizer.json) without auto_map"
            )
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, config=_family(fields), trust_remote_code=False, local_files_only=True
        )
        tokenizer.init_kwargs.pop("auto_map", None)  # or it is written into whatever is made with it
        tokenizer._auto_map = None
        known = len(tokenizer) > len(tokenizer.all_special_tokens)
    if not known:
        raise ModelError(f"{source}: the tokenizer has no vocabulary; {advice}")
    longest = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, int | float) or not longest >= 1:
        raise ModelError(
            f"{source}: {TOKENIZER_CONFIG}: model_max_length: expected a number of tokens from 1, found {longest!r}; "
            "correct it, or remove it where there is no limit"
        )
    return tokenizer


def _own_code(folder: Path, fields: Mapping[str, Any]) -> str | None:
    """The file that says that the tokenizer is code of the folder; None where transformers has its class."""
    own = folder / TOKENIZER_CONFIG
    settings = parse_json(own.read_text(encoding="utf-8")) if own.is_file() else {}
    for name, content in ((TOKENIZER_CONFIG, settings), (CONFIG, fields)):
        auto_map = content.get("auto_map")
        if auto_map and (isinstance(auto_map, list) or "AutoTokenizer" in auto_map):
            kind = settings.get("tokenizer_class") or fields.get("tokenizer_class")
            known = kind and (tokenizer_class_from_name(kind) or tokenizer_class_from_name(f"{kind}Fast"))
            return None if known else name
    return None


def _family(fields: Mapping[str, Any]) -> PreTrainedConfig:
    """A configuration that says which tokenizer is meant: an own one is unknown to transformers, its encoder's not."""
    encoder = fields.get("encoder") if is_own(fields) else fields
    kind = encoder.get("model_type") if isinstance(encoder, dict) else None
    if not isinstance(encoder, dict) or not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        return PreTrainedConfig()
    named = encoder.get("tokenizer_class")
    return CONFIG_MAPPING[kind](tokenizer_class=named) if isinstance(named, str) else CONFIG_MAPPING[kind]()


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
    with opening(where, "the tokenizer fails on ordinary text", "take the tokenizer that belongs to the encoder"):
        encoded = tokenizer("a", "a" if pairs else None)
        tokenizer([*PROBES, UNUSUAL], verbose=False)
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
