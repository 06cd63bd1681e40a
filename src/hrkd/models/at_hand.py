"""What of a model is on this machine already, told without asking the hub and without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hrkd.errors import ModelError
from hrkd.models.kind import locate
from hrkd.support.domain_index import domain_folders

__all__ = ["TokenCounter", "is_at_hand", "token_counter"]

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
TokenCounter = Callable[[Sequence[str]], list[int]]


def is_at_hand(source: str) -> bool:
    """Whether a model is a folder, or a name whose files were fetched before."""
    if Path(locate(source)).is_dir():
        return True
    return _kept(source, "config.json") is not None and any(_kept(source, name) for name in WEIGHTS)


def token_counter(source: str) -> tuple[TokenCounter, Callable[[bool], int]] | None:
    """What counts the tokens of texts, without special ones, and says how many of these a text or a pair has.

    None where there is no tokenizer.json at hand that can be read.
    """
    try:
        place: str | Path = locate(source)
    except ModelError:  # told where models are looked at
        return None
    if Path(place).is_dir():
        if folders := domain_folders(place):
            place = next(iter(folders.values()))
        file: Path | None = Path(place) / "tokenizer.json"
    else:
        file = _kept(source, "tokenizer.json")
    if file is None or not file.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # of any kind; the check of the model says what is wrong with it
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        return [len(each.ids) for each in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return count, tokenizer.num_special_tokens_to_add


def _kept(source: str, name: str) -> Path | None:
    """A file of a model of the hub, if it was fetched before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source, name)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None
