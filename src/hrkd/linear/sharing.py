"""What domains give each other, as far as linear models show it, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hrkd.data.splits.draws import some_of_each
from hrkd.data.types import MultiDomainDataset, Splits
from hrkd.linear.model import Form, fit_each_form

__all__ = ["MOST_ROWS", "Sharing", "mean_over_domains", "measure_sharing"]

MOST_ROWS = {"train": 2_000, "dev": 4_000}
"""Rows of all domains together that are looked at, so that it takes some seconds."""


@dataclass(frozen=True)
class Sharing:
    """The best linear model of each form, on the same rows.

    ``right`` says which of the ``dev`` rows each has right, shape (rows,). ``train`` are the rows that all have learnt
    from, and ``strengths`` their C, chosen on ``dev``. ``is_part``: there are more rows than these.
    """

    train: MultiDomainDataset
    dev: MultiDomainDataset
    right: dict[Form, npt.NDArray[np.bool_]]
    strengths: dict[Form, float]
    is_part: bool


def measure_sharing(splits: Splits) -> Sharing:
    """Fit models of each domain alone, of all domains together, and of both, and look at dev.

    Of every domain as many rows are drawn, with a fixed seed, as fit into :data:`MOST_ROWS`.
    """
    train, dev = (_some(part, MOST_ROWS[name]) for name, part in splits if name in MOST_ROWS)
    models = fit_each_form(train, dev)
    right = {form: model.predict(dev).argmax(axis=1) == dev.label_ids for form, model in models.items()}
    is_part = len(train) < len(splits.train) or len(dev) < len(splits.dev)
    return Sharing(train, dev, right, {form: model.strength for form, model in models.items()}, is_part)


def mean_over_domains(right: npt.NDArray[np.bool_], domain_ids: npt.NDArray[np.int64]) -> float:
    """Accuracy, as a mean over the domains that have rows."""
    return float(np.mean([right[domain_ids == d].mean() for d in np.unique(domain_ids)]))


def _some(part: MultiDomainDataset, most: int) -> MultiDomainDataset:
    return part.select(some_of_each(part.domain_ids, most, name="linear"))
