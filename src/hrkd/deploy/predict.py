"""Labels for new text, from Python; from file to file: :mod:`hrkd.deploy.label_table`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hrkd.data.reading import encode, mean_by_owner
from hrkd.deploy.checks import Asked, ask, check_batch_size
from hrkd.errors import ArtifactError, ModelError
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.open_model import ModelFacts, open_model
from hrkd.support.arguments import check_switch
from hrkd.support.messages import first_line, first_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hrkd.models.multi_domain import MultiDomainClassifier

__all__ = ["Predictor"]

TOKENS_FOR_KERNELS = 512
"""Tokens of a batch from which the processor's kernels save more than it costs to call them."""

Texts = str | Mapping[str, Any] | Iterable[Any]
"""One text or several: strings, or mappings with ``text`` and ``text_pair``; lists, arrays, Series, generators."""


class Predictor:
    """A multi-domain classifier with its tokenizer, ready for text.

    Works on the model's device. Longer texts than the model's ``max_tokens`` are read as in training (``keep``).
    """

    def __init__(self, model: MultiDomainClassifier, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device | None = None) -> Predictor:
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
        return ModelFacts(*names, config.max_tokens, config.heads == "shared", config.columns, config.keep)

    def __call__(
        self,
        texts: Texts,
        *,
        domain: Any = None,
        text_pairs: str | Iterable[str] | None = None,
        batch_size: int = 64,
        all_labels: bool = False,
    ) -> list[Any]:
        """The label of every text, in the shape that transformers' pipelines give.

        Args:
            texts: One text or several, as transformers' pipelines take them: a string, a mapping with ``text`` and, for
                a pair task, ``text_pair``, or any sequence, array, column of a frame or generator of these.
            domain: Domain of all texts, or one domain for each; a model with one head for all domains needs none.
                Numbers name domains as in a table: 1 and 1.0 are "1".
            text_pairs: Second texts of a pair task, as many as ``texts``.
            batch_size: Texts in a forward pass.
            all_labels: All labels of every text, the most probable first.

        Returns:
            For every text ``{"label": "positive", "score": 0.98}``; with ``all_labels`` a list of these.

        Raises:
            DataError: another kind of value, empty texts, an unknown domain, lists of different lengths, second texts
                where the model takes none, or none where it takes pairs.
            ArtifactError: the model's answers are not finite.
        """
        check_switch("all_labels", all_labels)
        probabilities = self.probabilities(texts, domain=domain, text_pairs=text_pairs, batch_size=batch_size)
        labels = self.facts.labels
        ranked = [
            [{"label": labels[c], "score": float(row[c])} for c in np.argsort(-row, kind="stable")]
            for row in probabilities
        ]
        return ranked if all_labels else [row[0] for row in ranked]

    def probabilities(
        self,
        texts: Texts,
        *,
        domain: Any = None,
        text_pairs: str | Iterable[str] | None = None,
        batch_size: int = 64,
    ) -> np.ndarray:
        """Probability of every label, shape (texts, C), in the order of ``texts`` and of the model's labels.

        Raises:
            DataError, ArtifactError: as for calling the predictor.
        """
        return self.answers(ask(texts, domain, text_pairs, self.facts), batch_size=batch_size)

    @torch.inference_mode()
    def answers(self, asked: Asked, *, batch_size: int = 64) -> np.ndarray:
        """As :meth:`probabilities`, of what has been checked.

        Raises:
            DataError: ``batch_size`` is no number of texts.
            ArtifactError: the model's answers are not finite.
        """
        batch_size = check_batch_size(batch_size)
        if not asked.texts:
            return np.empty((0, len(self.facts.labels)))
        columns, owners = encode(self.tokenizer, asked.texts, asked.pairs, self.facts.max_tokens, self.facts.keep)
        domain_ids = torch.tensor(asked.domains, device=self.model.device)[torch.from_numpy(owners)]
        lengths = list(map(len, columns["input_ids"]))
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        of_rows = np.empty((len(lengths), len(self.facts.labels)))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = {name: [values[i] for i in chosen] for name, values in columns.items()}
            of_rows[chosen] = self._probabilities(batch, domain_ids[chosen])
        found = mean_by_owner(of_rows, owners)
        _check_finite(found)
        return found

    def _probabilities(self, batch: dict[str, list[list[int]]], domain_ids: torch.Tensor) -> np.ndarray:
        inputs = self._padded(batch)
        many = inputs["input_ids"].numel() >= TOKENS_FOR_KERNELS
        with cpu_kernels(self.model.device) if many else nullcontext():
            logits = self.model(**inputs, domain_ids=domain_ids).logits
        probabilities: np.ndarray = logits.float().softmax(dim=-1).cpu().numpy()
        return probabilities

    def _padded(self, batch: dict[str, list[list[int]]]) -> dict[str, torch.Tensor]:
        """A batch, longest row first, as tensors; one that needs no padding costs less than the tokenizer takes."""
        ids = batch["input_ids"]
        if len(ids[0]) > len(ids[-1]):
            return dict(self.tokenizer.pad(batch, return_tensors="pt").to(self.model.device))
        return {name: torch.tensor(rows, device=self.model.device) for name, rows in batch.items()}


@contextmanager
def _telling_of(device: Any) -> Iterator[None]:
    """Name the device in what torch says against it."""
    try:
        yield
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ModelError(f"device: {device!r} cannot be used ({first_line(error)}); try 'cpu'") from error


def _check_finite(probabilities: np.ndarray) -> None:
    """Raise where the model gives no numbers: its labels would be chance."""
    if len(wrong := np.flatnonzero(~np.isfinite(probabilities).all(axis=1))):
        raise ArtifactError(
            f"the model's answers are not finite (for {len(wrong):,} of {len(probabilities):,} texts, index "
            f"{first_of(list(map(str, wrong.tolist())))}): its weights are damaged or were never finite; restore the "
            "model's folder from a copy or train it anew"
        )
