"""The linear model of a run: fitted once for the same rows, whatever run they belong to."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hrkd.data.arrow_files import kept_table, write_arrow
from hrkd.linear.model import fit_linear
from hrkd.run.context import Context

__all__ = ["LinearAnswers", "linear_answers", "linear_name"]

logger = logging.getLogger("hrkd")

VERSION = 1
"""Of the model: another one makes what is kept of no use."""


@dataclass(frozen=True)
class LinearAnswers:
    """What the linear model says of dev and test: probabilities, shape (rows, C), by part.

    ``facts``: form, strength, rows (learnt from), seconds (of fitting), texts_per_second (on one core), parameters,
    megabytes.
    """

    said: dict[str, np.ndarray]
    facts: dict[str, Any]


def linear_name(context: Context) -> str:
    """What the cache calls the linear model of the run's rows."""
    return f"{context.data.digest[:20]}-v{VERSION}-linear"


def linear_answers(context: Context) -> LinearAnswers:
    """Fitted on the run's labelled rows, or as it is kept in the cache."""
    splits = context.data.splits

    def write(file: Path) -> dict[str, Any]:
        logger.info("linear: fitting TF-IDF with logistic regression on %d rows", len(splits.train))
        model = fit_linear(splits.train, splits.dev)
        of_dev, start = model.predict(splits.dev), time.perf_counter()
        of_test = model.predict(splits.test)
        per_second = len(splits.test) / (time.perf_counter() - start)
        columns = np.concatenate([of_dev, of_test]).T
        write_arrow(file, [pa.record_batch({str(label): pa.array(values) for label, values in enumerate(columns)})])
        facts = {name: getattr(model, name) for name in ("form", "strength", "rows", "seconds", "parameters")}
        return {
            "of": context.recipe.data.source or "",
            "model": {**facts, "megabytes": model.megabytes, "texts_per_second": per_second},
        }

    table, notes = kept_table(context.cache, linear_name(context), write)
    probabilities = np.stack([column.to_numpy() for column in table.columns], axis=1)
    dev, test = np.split(probabilities, [len(splits.dev)])
    return LinearAnswers({"dev": dev, "test": test}, notes["model"])
