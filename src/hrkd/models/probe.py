"""A loaded model before it is used: are its weights numbers, and what it says of a few texts?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from hrkd.errors import HrkdError, ModelError
from hrkd.support.messages import first_line, first_of

if TYPE_CHECKING:
    from hrkd.models.multi_domain import MultiDomainClassifier

__all__ = ["PROBES", "check_finite", "check_outputs", "opening"]

PANIC = "PanicException"
"""What libraries in Rust (tokenizers, safetensors) raise where they have a fault of their own; it is no Exception."""
MOST = 300
"""Characters of what a library says that go into a message."""
PROBES = ("A small test, isn't it?", "PRICE in 2021: 12.50 (10% off)!", "cafe\u0301 na\u00efve \u2013 \u201cso\u201d")


@contextmanager
def opening(where: str | Path, what: str, advice: str) -> Iterator[None]:
    """Whatever a library raises about files that it did not write becomes one error of hrkd.

    Raises:
        ModelError: in the place of any other error than one of hrkd.
    """
    try:
        yield
    except HrkdError:
        raise
    except BaseException as error:  # fields of wrong types fail in any line of a family's code
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        raise ModelError(f"{where}: {what} ({type(error).__name__}: {_told(error)}); {advice}") from error


def _told(error: BaseException) -> str:
    """What a library's error says: its first line, with the next where that only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:MOST] if len(lines) > 1 and lines[0].endswith(":") else first_line(error)[:MOST]


def check_finite(model: nn.Module, where: str | Path) -> None:
    """Whether all weights are numbers.

    Raises:
        ModelError: some are NaN or infinite; the message names the first tensors.
    """
    found = []
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            found.append(f"{name} holds {'NaN' if bool(tensor.isnan().any()) else 'infinite numbers'}")
    if found:
        raise ModelError(
            f"{where}: weights that are no numbers: {first_of(found)}; restore the folder or train the model anew"
        )


@torch.no_grad()
def check_outputs(
    model: MultiDomainClassifier,
    tokenizer: PreTrainedTokenizerBase,
    *,
    where: str | Path,
    longest: int | None = None,
    pairs: bool = False,
) -> None:
    """Ask a model in evaluation mode about a few texts of every domain.

    Args:
        model: on the processor.
        tokenizer: its own.
        where: what messages begin with.
        longest: also ask about a text of so many tokens.
        pairs: ask about pairs of texts.

    Raises:
        ModelError: it fails, or its outputs are NaN or infinite.
    """
    domains = range(len(model.domains))
    count = max(len(PROBES), len(domains))
    asked = [(list(islice(cycle(PROBES), count)), list(islice(cycle(domains), count)))]
    if longest is not None:
        asked.append(([" ".join(PROBES * (longest // 8 + 1)), PROBES[0]], [0, 0]))
    most = longest or model.config.max_tokens
    for texts, ids in asked:
        with opening(where, "a pass over a few texts failed", "take the tokenizer and sizes that belong to the model"):
            second = texts if pairs else None
            inputs = tokenizer(texts, second, truncation=True, max_length=most, padding=True, return_tensors="pt")
            logits = model(**inputs, domain_ids=torch.tensor(ids)).logits
        if not bool(logits.isfinite().all()):
            raise ModelError(
                f"{where}: its outputs are NaN or infinite, though all its weights are numbers; restore the folder or "
                "train the model anew"
            )
