"""How many texts a second the models of a run take, side by side on its own device: a glance, not a benchmark."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.stats import quantile_test

from hrkd.errors import ArtifactError
from hrkd.run.context import Context
from hrkd.support.atomic_files import read_json
from hrkd.training.evaluate import predict_logits
from hrkd.training.session import computing

if TYPE_CHECKING:
    from hrkd.data.batching import TokenizedDataset
    from hrkd.models.domain_teachers import AnyTeacher

__all__ = ["Speeds", "measured_speeds", "seconds_to_read"]

TEXTS = 48
FEWEST, MOST, SECONDS = 3, 60, 3.0
"""Rounds that are made in any case, and at all, and after so many seconds no further one: small models are timed often.
"""
CONFIDENCE = 0.95
SEED = 0


class Speeds(NamedTuple):
    """Of a run's models.

    Args:
        texts_per_second: that each takes, the median of all rounds; None where another process measures.
        times_as_fast: each other than the teacher beside it: the median of the rounds, and the interval of that, as
            three numbers; of few rounds the least and the most.
    """

    texts_per_second: dict[str, float | None]
    times_as_fast: dict[str, list[float]]


def measured_speeds(context: Context, models: Mapping[str, tuple[AnyTeacher, TokenizedDataset]]) -> Speeds:
    """How many test texts each model takes in a second, by rounds in which models take turns.

    In PyTorch, with the threads, kernels and precision that the run measures with; tokenising does not count. Where
    results of the same models are there, theirs are taken.

    Args:
        models: each with the test rows in its own tokens; the same few of them are taken for all.
    """
    if not context.accelerator.is_main_process:
        return Speeds(dict.fromkeys(models), {})
    if known := _known(context, models):
        return known
    some = {}
    for name, (_, rows) in models.items():
        places = np.sort(np.random.default_rng(SEED).permutation(len(rows.texts))[:TEXTS])
        some[name] = rows.select(places)
    found: dict[str, list[float]] = {name: [] for name in models}
    for name, (model, _) in models.items():  # warms up
        seconds_to_read(context, model, some[name])
    start = time.perf_counter()
    for number in range(MOST):
        if number >= FEWEST and time.perf_counter() - start > SECONDS:
            break
        for name, (model, _) in models.items():
            found[name].append(len(some[name].texts) / seconds_to_read(context, model, some[name]))
    return Speeds(
        {name: statistics.median(rounds) for name, rounds in found.items()},
        {
            name: _median([ours / its for ours, its in zip(rounds, found["teacher"], strict=True)])
            for name, rounds in found.items()
            if name != "teacher"
        },
    )


def _median(values: Sequence[float]) -> list[float]:
    """The median, and its interval."""
    test = quantile_test(values, q=1, p=0.5).confidence_interval(CONFIDENCE)
    low, high = (float(bound) for bound in (test.low, test.high))
    if math.isnan(low) or math.isnan(high):
        low, high = min(values), max(values)
    return [statistics.median(values), low, high]


def seconds_to_read(context: Context, model: AnyTeacher, rows: TokenizedDataset) -> float:
    """Of one pass of a model over rows, as the run measures models."""
    size = context.recipe.evaluation.batch_size
    model.to(context.accelerator.device)
    with computing(context.recipe.run, model, data=rows, rows=size):
        _wait(context)
        start = time.perf_counter()
        predict_logits(model, rows, batch_size=size, alone=True)
        _wait(context)
        return time.perf_counter() - start


def _known(context: Context, models: Mapping[str, object]) -> Speeds | None:
    """What results that are still there say of the same models, so that measuring again changes no card.

    Results are removed with any stage that is made anew.
    """
    if not context.folder.results.is_file():
        return None
    with suppress(ArtifactError):
        known = read_json(context.folder.results, what="the results")
        speeds, times = (known.get(name) for name in Speeds._fields) if isinstance(known, dict) else (None, None)
        if isinstance(speeds, dict) and set(speeds) == set(models) and isinstance(times, dict):
            return Speeds(speeds, times)
    return None


def _wait(context: Context) -> None:
    """Until the device has done what it was given."""
    if context.accelerator.device.type == "cuda":
        torch.cuda.synchronize(context.accelerator.device)
