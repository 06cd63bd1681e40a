"""Choosing the best epoch by the dev set: one student for all domains, and best checkpoint per domain.

The second rule is that of the paper's public code. What it needs are not the weights of each domain's best
epoch but their predictions on that domain's test rows, made when the dev score of the domain rises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from hrkd.data.batching import TokenizedDataset
from hrkd.errors import ArtifactError, TrainingError
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.support.atomic_files import read_record, write_json
from hrkd.support.progress import Progress
from hrkd.training.ending import AVERAGE
from hrkd.training.evaluate import DEFAULTS, predict_logits
from hrkd.training.loop import EpochScore

__all__ = ["BestPerDomain", "DevAccuracy", "last_epoch", "merge_best_per_domain"]


@dataclass
class DevAccuracy:
    """Scores an epoch by the mean over domains of the accuracy on the dev set (one model for all domains).

    Equal accuracies, which few rows often have, are told apart by the mean over domains of the cross-entropy.
    """

    model: MultiDomainClassifier
    dev: TokenizedDataset
    _: KW_ONLY
    batch_size: int = DEFAULTS.batch_size
    progress: Progress | None = None
    best_per_domain: BestPerDomain | None = None

    def __call__(self, epoch: int) -> EpochScore:
        """The dev score of the model as it is after ``epoch``; averaged weights are no epoch of a domain."""
        logits = predict_logits(
            self.model, self.dev, batch_size=self.batch_size, progress=self.progress, title="dev set"
        )
        check_answers(logits, f"epoch {epoch}, dev set")
        labels, domain_ids = self.dev.texts.label_ids, self.dev.texts.domain_ids
        hits, losses = logits.argmax(axis=1) == labels, -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
        names = self.dev.texts.domains
        accuracies = {name: float(hits[domain_ids == d].mean()) for d, name in enumerate(names)}
        if self.best_per_domain is not None and epoch != AVERAGE:
            self.best_per_domain.update(epoch, accuracies)
        details = {f"dev/{name}": value for name, value in accuracies.items()}
        mean = float(np.mean(list(accuracies.values())))
        variances = [
            accuracies[name] * (1 - accuracies[name]) / (domain_ids == d).sum() for d, name in enumerate(names)
        ]
        error = float(np.sqrt(np.sum(variances)) / len(names))
        loss = float(np.mean([losses[domain_ids == d].mean() for d in range(len(names))]))
        return EpochScore(mean, details, note=f", dev {100 * mean:.2f} %", standard_error=error, loss=loss)


UNFIT = (
    "best_per_domain in the record of the student's training does not fit the test set; restore the student's folder "
    "from a copy, or delete it and the same command makes it anew"
)


def check_answers(logits: np.ndarray, where: str) -> None:
    """Whether a model's answers (rows, C) can be compared.

    Raises:
        TrainingError: one is not finite.
    """
    rows = int((~np.isfinite(logits)).any(axis=1).sum())
    if rows:
        raise TrainingError(
            f"{where}: the model's answers to {rows:,} of {len(logits):,} texts are not finite; try a lower learning "
            "rate"
        )


def last_epoch(epoch: int) -> EpochScore:
    """Scores an epoch by its number, so that the last one is kept and the dev set is not looked at."""
    return EpochScore(float(epoch))


class BestPerDomain:
    """Test predictions of each domain's own best epoch, kept in a file so that a resumed training has them.

    Of several processes one ``writes``; all know the state.
    """

    def __init__(
        self,
        model: MultiDomainClassifier,
        test: TokenizedDataset,
        path: Path,
        *,
        batch_size: int = DEFAULTS.batch_size,
        resume: bool = False,
        writes: bool = True,
    ) -> None:
        self.model, self.test, self.path, self.batch_size = model, test, path, batch_size
        self.advice = (
            f"delete the folder {path.with_name(path.name.removesuffix('-best-per-domain.json'))} to start anew"
        )
        self.writes = writes
        self.state: dict[str, dict[str, Any]] = {}
        if resume:
            self.state = self._read(path)

    def _read(self, path: Path) -> dict[str, dict[str, Any]]:
        domains = self.test.texts.domains
        what = "the record of the best epochs per domain"
        state = read_record(path, what=what, advice=self.advice, needs=dict.fromkeys(domains, dict))
        check_best_per_domain(state, self.test, f"{path}: {what} is damaged; {self.advice}")
        return state

    def update(self, epoch: int, dev_accuracies: dict[str, float]) -> None:
        """Predict the test rows of every domain whose dev accuracy is now higher than before."""
        better = {
            d: name
            for d, name in enumerate(self.test.texts.domains)
            if name not in self.state or dev_accuracies[name] > self.state[name]["dev_accuracy"]
        }
        if not better:
            return
        part = self.test.select(np.flatnonzero(np.isin(self.test.texts.domain_ids, list(better))))
        logits = predict_logits(self.model, part, batch_size=self.batch_size)
        check_answers(logits, f"epoch {epoch}, test set")
        predicted = logits.argmax(axis=1)
        for d, name in better.items():
            own = predicted[part.texts.domain_ids == d].tolist()
            self.state[name] = {"epoch": epoch, "dev_accuracy": dev_accuracies[name], "predictions": own}
        if self.writes:
            write_json(self.path, self.state)


def check_best_per_domain(state: Mapping[str, Any], test: TokenizedDataset, message: str) -> None:
    """Whether ``state`` holds a dev accuracy and a label id of each test row of every domain.

    Raises:
        ArtifactError: it does not, with ``message``.
    """
    classes = range(len(test.texts.labels))
    for d, name in enumerate(test.texts.domains):
        known = state.get(name)
        accuracy, predictions = (
            (known.get("dev_accuracy"), known.get("predictions")) if isinstance(known, dict) else (None, None)
        )
        if (
            not isinstance(accuracy, int | float)
            or not isinstance(predictions, list)
            or len(predictions) != int((test.texts.domain_ids == d).sum())
            or not all(each in classes for each in predictions)
        ):
            raise ArtifactError(message)


def merge_best_per_domain(state: Mapping[str, Mapping[str, Any]], test: TokenizedDataset) -> np.ndarray:
    """Label ids of the whole test set from :attr:`BestPerDomain.state`, shape (rows,)."""
    check_best_per_domain(state, test, UNFIT)
    merged = np.empty(len(test.texts), dtype=np.int64)
    for d, name in enumerate(test.texts.domains):
        merged[test.texts.domain_ids == d] = state[name]["predictions"]
    return merged
