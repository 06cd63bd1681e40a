"""Labels for new text, from Python; from file to file: :mod:`hrkd.deploy.label_table`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrkd.data.cutting import mean_by_owner
from hrkd.deploy.checks import Asked, ask
from hrkd.deploy.export_folder import is_export
from hrkd.errors import ArtifactError, DataError, ModelError
from hrkd.models.kind import UNKNOWN
from hrkd.models.open_model import ModelFacts
from hrkd.support.arguments import check_count, check_switch
from hrkd.support.messages import first_of

if TYPE_CHECKING:
    import torch

    from hrkd.deploy.engines.engine import Engine

__all__ = ["Predictor", "softmax"]

PASS_TOKENS = 16
"""A forward pass of its own costs about as much as so many tokens: what an export had better not pad more than."""
PLAIN_LETTER = re.compile("[A-Za-z0-9]")
"""No tokenizer of an encoder leaves these out."""
HEAD = 64
"""Characters of a text among which there is a token in nearly every one."""
Texts = str | Mapping[str, Any] | Iterable[Any]
"""One text or several: strings, or mappings with ``text`` and ``text_pair``; lists, arrays, Series, generators."""


class Predictor:
    """A student, or an export of one, ready for text.

    Longer texts than the model's ``max_tokens`` are read as in training (``keep``).

    Args:
        engine: what computes: :class:`hrkd.deploy.engines.torch_engine.TorchEngine` or
            :class:`hrkd.deploy.engines.exported.ExportEngine`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: str | torch.device | None = None, threads: int | None = None
    ) -> Predictor:
        """The model in ``folder``: one of hrkd, or an export of it to ONNX or OpenVINO, which needs no torch.

        Args:
            folder: where it lies.
            device: of a model of hrkd; None: the accelerator if there is one, else the processor.
            threads: of an export, which runs on the processor; None: as many as its runtime takes. Of a model of hrkd
                torch decides (``torch.set_num_threads``).

        Raises:
            ArtifactError: ``folder`` is neither, or is damaged.
            ModelError: there is no such device, or what runs the export is not installed.
        """
        if is_export(folder):
            from hrkd.deploy.engines.exported import ExportEngine

            if device is not None and str(device) != "cpu":
                raise ModelError(f"device: {str(device)!r} cannot be used: {folder} is an export, for the processor")
            return cls(ExportEngine(folder, threads=threads))
        from hrkd.deploy.engines.torch_engine import TorchEngine

        if threads is not None:
            raise ModelError(f"threads: {folder} is a model of hrkd, for which torch decides; leave it out")
        return cls(TorchEngine.open(folder, device=device))

    @property
    def facts(self) -> ModelFacts:
        """What the model says of itself: domains, labels, whether it takes pairs."""
        return self.engine.facts

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
                ``auto``: all heads answer, in the measure in which the text is like their domains' prototypes.
                Numbers name domains as in a table: 1 and 1.0 are "1".
            text_pairs: Second texts of a pair task, as many as ``texts``.
            batch_size: Texts in a forward pass at most; fewer where an export is quicker so.
            all_labels: All labels of every text, the most probable first.

        Returns:
            For every text ``{"label": "positive", "score": 0.98}``; with ``all_labels`` a list of these.

        Raises:
            DataError: another kind of value, texts that are empty or of which the tokenizer leaves nothing, an unknown
                domain, lists of different lengths, second texts where the model takes none, or none where it takes
                pairs.
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

    def answers(self, asked: Asked, *, batch_size: int = 64) -> np.ndarray:
        """As :meth:`probabilities`, of what has been checked.

        Raises:
            DataError: ``batch_size`` is no number of texts; the tokenizer leaves nothing of a text.
            ArtifactError: the model's answers are not finite.
        """
        self._check_tokens(asked)
        return self.measured(asked, batch_size=batch_size)

    def measured(self, asked: Asked, *, batch_size: int = 64) -> np.ndarray:
        """As :meth:`answers`, whatever the tokenizer leaves of a text: a model is measured on all rows that are given.

        Raises:
            DataError: ``batch_size`` is no number of texts.
            ArtifactError: the model's answers are not finite.
        """
        batch_size = check_count("batch_size", batch_size)
        if not asked.texts:
            return np.empty((0, len(self.facts.labels)))
        logits, owners = self.logits(asked, batch_size=batch_size)
        found = mean_by_owner(softmax(logits), owners)
        _check_finite(found)
        return found

    def answers_and_shares(self, asked: Asked, *, batch_size: int = 64) -> np.ndarray:
        """As :meth:`answers`, and behind the probabilities the shares of the domains, (texts, C + D).

        Shares are NaN of texts whose domain is named, if all in a forward pass are.

        Raises:
            DataError, ArtifactError: as there; an export of an earlier hrkd tells no shares.
        """
        self._check_tokens(asked)
        batch_size = check_count("batch_size", batch_size)
        classes, domains = len(self.facts.labels), len(self.facts.domains)
        if not asked.texts:
            return np.empty((0, classes + domains))
        logits, shares, owners = self._passes(asked, batch_size)
        if np.isnan(shares[np.asarray(asked.domains)[owners] == UNKNOWN]).any():
            raise ArtifactError("this export does not tell which domain it finds; make it anew (hrkd export)")
        found = mean_by_owner(np.concatenate([softmax(logits), shares], axis=1), owners)
        _check_finite(found[:, :classes])
        return found

    def without_tokens(self, texts: Sequence[str]) -> list[int]:
        """Places of the texts of which the tokenizer leaves nothing: invisible characters, accents alone."""
        places = [i for i, text in enumerate(texts) if not PLAIN_LETTER.search(text)]
        for length in (HEAD, None):
            if places:
                columns, owners = self.engine.encode([texts[i][:length] for i in places], None)
                filled = {int(owner) for owner, row in zip(owners, columns["input_ids"], strict=True)
                          if len(row) > self._special_tokens}  # fmt: skip
                places = [place for number, place in enumerate(places) if number not in filled]
        return places

    @cached_property
    def _special_tokens(self) -> int:
        """How many tokens stand around a text."""
        return len(self.engine.encode([""], None)[0]["input_ids"][0])

    def _check_tokens(self, asked: Asked) -> None:
        for what, texts in (("text", asked.texts), ("text pair", asked.pairs or ())):
            if places := self.without_tokens(texts):
                which = first_of([str(place + 1) for place in places])
                raise DataError(
                    f"no tokens: {what} {which}; the model's tokenizer leaves out all of its characters (invisible "
                    "ones, control characters, accents alone); leave such texts out"
                )

    def logits(self, asked: Asked, *, batch_size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Logits of the rows of what is asked, (rows, C), and the number of the text that each row is of, (rows,)."""
        logits, _, owners = self._passes(asked, batch_size)
        return logits, owners

    def _passes(self, asked: Asked, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits (rows, C), shares of the domains (rows, D) where they are told, and the texts of the rows (rows,)."""
        columns, owners = self.engine.encode(asked.texts, asked.pairs)
        domain_ids = np.asarray(asked.domains, dtype=np.int64)[owners]
        lengths = list(map(len, columns["input_ids"]))
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        found = np.empty((len(lengths), len(self.facts.labels)), dtype=np.float32)
        shares = np.full((len(lengths), len(self.facts.domains)), np.nan)
        start = 0
        while start < len(order):
            chosen = order[start : start + self._rows([lengths[i] for i in order[start : start + batch_size]])]
            start += len(chosen)
            batch = {name: [values[i] for i in chosen] for name, values in columns.items()}
            found[chosen], told = self.engine.logits(batch, domain_ids[chosen])
            if told is not None:
                shares[chosen] = told
        return found, shares, owners

    def _rows(self, lengths: Sequence[int]) -> int:
        """How many of the next rows, the longest first, are worth a forward pass together."""
        most, longest = self.engine.batch_tokens, lengths[0]
        if most is None:
            return len(lengths)
        near = next((n for n, length in enumerate(lengths) if longest - length > PASS_TOKENS), len(lengths))
        return max(1, min(near, most // longest))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits (rows, C), in 64 bits."""
    with np.errstate(invalid="ignore"):  # what is not finite is told of by who asked
        powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        found: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return found


def _check_finite(probabilities: np.ndarray) -> None:
    """Raise where the model gives no numbers: its labels would be chance."""
    if len(wrong := np.flatnonzero(~np.isfinite(probabilities).all(axis=1))):
        raise ArtifactError(
            f"the model's answers are not finite (for {len(wrong):,} of {len(probabilities):,} texts: "
            f"{first_of(list(map(str, (wrong + 1).tolist())))}): its weights are damaged or were never finite; "
            "restore the model's folder from a copy or train it anew"
        )
