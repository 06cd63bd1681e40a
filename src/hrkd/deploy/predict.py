"""Labels for new text, from Python; from file to file: :mod:`hrkd.deploy.label_table`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hrkd.deploy.checks import check_texts
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.open_model import open_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hrkd.models.multi_domain import MultiDomainClassifier
    from hrkd.support.progress import Progress

__all__ = ["Predictor"]

TOKENS_FOR_KERNELS = 512
"""Tokens of a batch from which the processor's kernels save more than it costs to call them."""


class Predictor:
    """A multi-domain classifier with its tokenizer, ready for text.

    Works on the model's device. Texts longer than the model's ``max_tokens`` are cut, as in training.
    """

    def __init__(self, model: MultiDomainClassifier, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device | None = None) -> Predictor:
        """The model in ``folder``; ``device`` None: the accelerator if there is one, else the processor.

        Raises:
            ArtifactError: ``folder`` is no hrkd model, or is damaged.
        """
        model, tokenizer = open_model(folder)
        if device is None:
            accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
            device = accelerator or "cpu"
        return cls(model.to(device), tokenizer)

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        domain: str | Sequence[str],
        text_pairs: str | Sequence[str] | None = None,
        batch_size: int = 64,
        all_labels: bool = False,
    ) -> list[Any]:
        """The label of every text, in the shape that transformers' pipelines give.

        Args:
            texts: One text or several.
            domain: Domain of all texts, or one domain for each.
            text_pairs: Second texts of a pair task, as many as ``texts``.
            batch_size: Texts in a forward pass.
            all_labels: All labels of every text, the most probable first.

        Returns:
            For every text ``{"label": "positive", "score": 0.98}``; with ``all_labels`` a list of these.

        Raises:
            DataError: empty texts, an unknown domain, or lists of different lengths.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        pairs = [text_pairs] if isinstance(text_pairs, str) else text_pairs
        probabilities = self.probabilities(texts, domain=domain, text_pairs=pairs, batch_size=batch_size)
        ranked = [
            [{"label": self.model.labels[c], "score": float(row[c])} for c in np.argsort(-row, kind="stable")]
            for row in probabilities
        ]
        return ranked if all_labels else [row[0] for row in ranked]

    @torch.inference_mode()
    def probabilities(
        self,
        texts: Sequence[str],
        *,
        domain: str | Sequence[str],
        text_pairs: Sequence[str] | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Probability of every label, shape (texts, C), in the order of ``texts`` and of the model's labels.

        Raises:
            DataError: as for calling the predictor.
        """
        domains = [domain] * len(texts) if isinstance(domain, str) else list(domain)
        check_texts(texts, domains, text_pairs, self.model.domains)
        found = np.empty((len(texts), len(self.model.labels)))
        if not len(texts):
            return found
        domain_ids = torch.tensor([self.model.domains.index(name) for name in domains], device=self.model.device)
        columns = self._tokenize(texts, text_pairs)
        lengths = list(map(len, columns["input_ids"]))
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        bars = nullcontext() if progress is None else progress.bar("predicting", total=len(order), unit="texts")
        with bars as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                batch = {name: [values[i] for i in chosen] for name, values in columns.items()}
                found[chosen] = self._probabilities(batch, domain_ids[chosen])
                if bar is not None:
                    bar.advance(len(chosen))
        return found

    def _tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None) -> dict[str, list[list[int]]]:
        """What the tokenizer gives for each text, by name."""
        second = None if pairs is None else list(pairs)
        return dict(self.tokenizer(list(texts), second, truncation=True, max_length=self.model.config.max_tokens))

    def _probabilities(self, batch: dict[str, list[list[int]]], domain_ids: torch.Tensor) -> np.ndarray:
        inputs = self.tokenizer.pad(batch, return_tensors="pt").to(self.model.device)
        many = inputs["input_ids"].numel() >= TOKENS_FOR_KERNELS
        with cpu_kernels(self.model.device) if many else nullcontext():
            logits = self.model(**inputs, domain_ids=domain_ids).logits
        probabilities: np.ndarray = logits.float().softmax(dim=-1).cpu().numpy()
        return probabilities
