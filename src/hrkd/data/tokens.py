"""Token ids as a table on disk, made once for the same texts, tokenizer and length."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import tokenizers
import transformers
from transformers import PreTrainedTokenizerBase

from hrkd.data.arrow_files import kept_table, write_arrow
from hrkd.data.columns import chunks_of, json_items
from hrkd.data.reading import KEEP, encode
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import DataError
from hrkd.recipe.schema import Keep

__all__ = ["TEXT", "token_cache", "token_table"]

TEXT = "text_number"
SMALL = ("attention_mask", "token_type_ids")
"""Outputs of tokenizers whose values fit into a byte."""


def token_table(
    dataset: MultiDomainDataset,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    advance: Callable[[int], None] | None,
    cache: Path | None,
    keep: Keep = KEEP,
) -> pa.Table:
    """What the tokenizer gives for every row, one list column for each of its outputs, about six bytes a token.

    The column :data:`TEXT` holds the number of the text that a row is of.

    A tokenizer without a fast version cannot be told from others by its content, so what it gives is not kept.
    Arguments and errors: see :func:`hrkd.data.batching.tokenize`.
    """
    if not len(dataset):
        raise DataError("no rows to tokenize; expected at least one example")
    told = 0

    def tell(rows: int) -> None:
        nonlocal told
        told += rows
        if advance is not None:
            advance(rows)

    def write(file: Path) -> dict[str, int | str]:
        write_arrow(file, _encoded(dataset, tokenizer, max_tokens, keep, tell))
        return {"max_tokens": max_tokens, "keep": keep, "of": str(tokenizer.name_or_path)}

    name = "" if cache is None else token_cache(dataset, tokenizer, max_tokens, keep)
    table, _ = kept_table(cache if name else None, name, write)
    if told < len(dataset):
        tell(len(dataset) - told)
    return table


def _encoded(
    dataset: MultiDomainDataset,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    keep: Keep,
    advance: Callable[[int], None],
) -> Iterator[pa.RecordBatch]:
    before = 0
    for chunk in chunks_of(dataset.rows, *dataset.text_columns):
        encoded, owners = encode(tokenizer, chunk["text"], chunk.get("text_pair"), max_tokens, keep)
        kinds = {name: pa.list_(pa.int8() if name in SMALL else pa.int32()) for name in encoded}
        columns = {name: pa.array(values, kinds[name]) for name, values in encoded.items()}
        yield pa.record_batch(columns | {TEXT: pa.array(owners + before, pa.int32())})
        before += len(chunk["text"])
        advance(len(chunk["text"]))


def token_cache(dataset: MultiDomainDataset, tokenizer: PreTrainedTokenizerBase, max_tokens: int, keep: Keep) -> str:
    """The name of the cache of token ids, by all that decides these; empty if the tokenizer does not tell."""
    if not tokenizer.is_fast:
        return ""
    # What truncates and pads is set by the last call; here, max_tokens decides.
    rules = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    told = (rules, tokenizer.model_input_names, tokenizer.truncation_side, max_tokens, keep, TEXT)
    versions = (tokenizers.__version__, transformers.__version__)
    total = hashlib.sha256(json.dumps([*told, *versions]).encode())
    for column in dataset.text_columns:
        total.update(column.encode())
        for piece in json_items(dataset.rows, column):
            total.update(piece.encode())
    return f"{total.hexdigest()[:20]}-tokens"
