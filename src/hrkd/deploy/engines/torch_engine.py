"""A model of hrkd in PyTorch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from hrkd.data.cutting import Ints
from hrkd.data.reading import encode
from hrkd.deploy.engines.engine import Columns, Floats
from hrkd.errors import ModelError
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.digests import bytes_of
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.open_model import ModelFacts, open_model
from hrkd.support.messages import first_line

__all__ = ["TorchEngine"]

TOKENS_FOR_KERNELS = 512
"""Tokens of a batch from which the processor's kernels save more than it costs to call them."""


class TorchEngine:
    """A multi-domain classifier and its tokenizer, on the model's device."""

    def __init__(self, model: MultiDomainClassifier, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def open(cls, folder: str | Path, *, device: str | torch.device | None = None) -> TorchEngine:
        """The model in ``folder``; ``device`` None: the accelerator if there is one, else the processor.

        Raises:
            ArtifactError: ``folder`` is no hrkd model, or is damaged.
            ModelError: there is no such device.
        """
        with _telling_of(device):
            if device is not None and torch.device(device).type == "meta":
                raise ModelError("device: 'meta' computes nothing; try 'cpu'")
        model, tokenizer = open_model(folder)
        if device is None:
            accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
            device = accelerator or "cpu"
        with _telling_of(device):
            return cls(model.to(device), tokenizer)

    @cached_property
    def facts(self) -> ModelFacts:
        """What the model says of itself: domains, labels, whether it takes pairs."""
        config = self.model.config
        names = list(self.model.domains), list(self.model.labels)
        one_head, routes = config.heads == "shared", self.model.router is not None
        return ModelFacts(*names, config.max_tokens, one_head, config.columns, config.keep, routes)

    @property
    def batch_tokens(self) -> None:
        """As :class:`hrkd.deploy.engines.engine.Engine` says: as many as are asked at a time."""

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Columns, Ints]:
        """As :class:`hrkd.deploy.engines.engine.Engine` says."""
        return encode(self.tokenizer, texts, pairs, self.facts.max_tokens, self.facts.keep)

    @torch.inference_mode()
    def logits(self, rows: Columns, domain_ids: Ints) -> tuple[Floats, Floats | None]:
        """As :class:`hrkd.deploy.engines.engine.Engine` says."""
        inputs = self._padded(rows)
        many = inputs["input_ids"].numel() >= TOKENS_FOR_KERNELS
        with cpu_kernels(self.model.device) if many else nullcontext():
            found = self.model(**inputs, domain_ids=torch.from_numpy(domain_ids).to(self.model.device))
        shares = None if found.shares is None else found.shares.float().cpu().numpy()
        return found.logits.float().cpu().numpy(), shares

    def _padded(self, rows: Columns) -> dict[str, torch.Tensor]:
        """A batch, longest row first, as tensors; one that needs no padding costs less than the tokenizer takes."""
        ids = rows["input_ids"]
        if len(ids[0]) > len(ids[-1]):
            return dict(self.tokenizer.pad(dict(rows), return_tensors="pt").to(self.model.device))
        return {name: torch.tensor(values, device=self.model.device) for name, values in rows.items()}

    def digest(self) -> str:
        """As :class:`hrkd.deploy.engines.engine.Engine` says."""
        model, tokenizer = self.model, self.tokenizer
        total = hashlib.sha256(f"{model.config.to_json_string()} {model.device.type}".encode())
        for name, tensor in model.state_dict().items():
            total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(bytes_of(tensor))
        if tokenizer.is_fast:
            # What truncates and pads is set by the last call.
            rules = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        else:
            rules = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
        total.update(json.dumps(rules, sort_keys=True).encode())
        return total.hexdigest()


@contextmanager
def _telling_of(device: Any) -> Iterator[None]:
    """Name the device in what torch says against it."""
    try:
        yield
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ModelError(f"device: {device!r} cannot be used ({first_line(error)}); try 'cpu'") from error
