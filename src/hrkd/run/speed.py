"""How many texts a second the models of a run take, side by side on its own device: a glance, not a benchmark."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import torch

from hrkd.errors import ArtifactError
from hrkd.run.context import Context
from hrkd.support.atomic_files import read_json
from hrkd.training.evaluate import predict_logits
from hrkd.training.session import computing

if TYPE_CHECKING:
    from hrkd.data.batching import TokenizedDataset
    from hrkd.models.domain_teachers import AnyTeacher

__all__ = ["seconds_to_read", "texts_per_second"]

TEXTS, ROUNDS = 48, 3
SEED = 0


def texts_per_second(
    context: Context, models: Mapping[str, tuple[AnyTeacher, TokenizedDataset]]
) -> dict[str, float | None]:
    """Test texts that each model takes in a second, the median of rounds in which models take turns.

    In PyTorch, with the threads, kernels and precision that the run measures with; tokenising does not count. Where
    results of the same models are there, theirs are taken.

    Args:
        models: each with the test rows in its own tokens; the same few of them are taken for all.
    """
    if not context.accelerator.is_main_process:
        return dict.fromkeys(models)
    if known := _known(context, models):
        return known
    found: dict[str, list[float]] = {}
    for number in range(ROUNDS + 1):
        for name, (model, rows) in models.items():
            places = np.sort(np.random.default_rng(SEED).permutation(len(rows.texts))[:TEXTS])
            some = rows.select(places)
            seconds = seconds_to_read(context, model, some)
            if number:  # the first round warms up
                found.setdefault(name, []).append(len(places) / seconds)
    return {name: statistics.median(rounds) for name, rounds in found.items()}


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


def _known(context: Context, models: Mapping[str, object]) -> dict[str, float | None] | None:
    """What results that are still there say of the same models, so that measuring again changes no card.

    Results are removed with any stage that is made anew.
    """
    if not context.folder.results.is_file():
        return None
    with suppress(ArtifactError):
        known = read_json(context.folder.results, what="the results")
        speeds = known.get("texts_per_second") if isinstance(known, dict) else None
        return speeds if isinstance(speeds, dict) and set(speeds) == set(models) else None
    return None


def _wait(context: Context) -> None:
    """Until the device has done what it was given."""
    if context.accelerator.device.type == "cuda":
        torch.cuda.synchronize(context.accelerator.device)
