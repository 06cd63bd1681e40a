"""How many texts a second the models of a run take, side by side on its own device: a glance, not a benchmark."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from hrkd.run.context import Context
from hrkd.support.progress import Progress
from hrkd.training.evaluate import predict_logits
from hrkd.training.session import computing

if TYPE_CHECKING:
    from hrkd.data.batching import TokenizedDataset
    from hrkd.models.domain_teachers import AnyTeacher

__all__ = ["texts_per_second"]

TEXTS, ROUNDS = 48, 3
SEED = 0


def texts_per_second(
    context: Context, models: Mapping[str, tuple[AnyTeacher, TokenizedDataset]]
) -> dict[str, float | None]:
    """Test texts that each model takes in a second, the median of rounds in which models take turns.

    In PyTorch, with the threads, kernels and precision that the run measures with; tokenising does not count.

    Args:
        models: each with the test rows in its own tokens; the same few of them are taken for all.
    """
    if not context.accelerator.is_main_process:
        return dict.fromkeys(models)
    size, run, found = context.recipe.evaluation.batch_size, context.recipe.run, dict[str, list[float]]()
    for number in range(ROUNDS + 1):
        for name, (model, rows) in models.items():
            places = np.sort(np.random.default_rng(SEED).permutation(len(rows.texts))[:TEXTS])
            some = rows.select(places)
            model.to(context.accelerator.device)
            with computing(run, model, data=some, rows=size):
                _wait(context)
                start = time.perf_counter()
                predict_logits(model, some, batch_size=size, progress=Progress(enabled=False))
                _wait(context)
                seconds = time.perf_counter() - start
            if number:  # the first round warms up
                found.setdefault(name, []).append(len(places) / seconds)
    return {name: statistics.median(rounds) for name, rounds in found.items()}


def _wait(context: Context) -> None:
    """Until the device has done what it was given."""
    if context.accelerator.device.type == "cuda":
        torch.cuda.synchronize(context.accelerator.device)
