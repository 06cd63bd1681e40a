"""Predictions of a model over a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from hrkd.data.batching import Batch, TokenizedDataset, length_sorted_batches
from hrkd.method.meta_kd import prototype_scores, token_means
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.domain_teachers import AnyTeacher
from hrkd.models.trace import EncoderTrace
from hrkd.recipe.schema import EvaluationConfig
from hrkd.support.progress import Progress

__all__ = ["predict_logits", "probabilities_of", "token_batches", "traces", "typicality"]

DEFAULTS = EvaluationConfig()
TOKENS_IN_A_BATCH = {"cpu": 1024}
OTHER_TOKENS_IN_A_BATCH = 8192
"""Of the teacher, by device: on a processor they share its memory with everything else."""


@torch.no_grad()
def predict_logits(
    model: AnyTeacher,
    data: TokenizedDataset,
    *,
    batch_size: int = DEFAULTS.batch_size,
    progress: Progress | None = None,
    title: str = "evaluating",
) -> np.ndarray:
    """Logits of ``model`` for every text of ``data``, shape (texts, C), float32, in the texts' order.

    Works on the model's device, in evaluation mode; the mode is put back afterwards.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()

    def outputs(batch: Batch) -> EncoderTrace:
        with cpu_kernels(device):
            trace: EncoderTrace = model(**batch.inputs, domain_ids=batch.domain_ids)
        return trace

    logits = np.empty((len(data), len(model.labels)), dtype=np.float32)
    for batch, trace in traces(outputs, data, device, batch_size=batch_size, progress=progress, title=title):
        logits[batch.indices.numpy()] = trace.logits.float().cpu().numpy()
    model.train(was_training)
    return data.of_texts(logits)


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Softmax over the labels, (rows, C), float32."""
    found: np.ndarray = softmax(logits.astype(np.float32), axis=1)
    return found


def traces(
    source: Callable[[Batch], EncoderTrace],
    data: TokenizedDataset,
    device: torch.device,
    *,
    batch_size: int = DEFAULTS.batch_size,
    progress: Progress | None = None,
    title: str = "evaluating",
) -> Iterator[tuple[Batch, EncoderTrace]]:
    """All rows once, in length-sorted batches: each batch, on the processor, with what ``source`` says of it."""
    with (progress or Progress(False)).bar(title, total=len(data), unit="texts") as bar:
        for batch in length_sorted_batches(data, batch_size):
            yield batch, source(batch.to(device))
            bar.advance(len(batch.labels))


def token_batches(lengths: np.ndarray, rows: np.ndarray, device: torch.device) -> Iterator[np.ndarray]:
    """Rows longest first, as many at a time as a device takes with their padding."""
    tokens = TOKENS_IN_A_BATCH.get(device.type, OTHER_TOKENS_IN_A_BATCH)
    order = rows[np.argsort(-lengths[rows], kind="stable")]
    start = 0
    while start < len(order):
        count = max(1, tokens // int(lengths[order[start]]))
        yield order[start : start + count]
        start += count


@torch.no_grad()
def typicality(
    source: Callable[[Batch], EncoderTrace],
    data: TokenizedDataset,
    device: torch.device,
    *,
    batch_size: int = DEFAULTS.batch_size,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of all rows (:func:`hrkd.method.meta_kd.prototype_scores`), (N,), logits, (N, C), and labels, (N,).

    Features are the mean last states that ``source`` gives of a batch. A row without a label has the one that
    ``source`` finds most probable. All three lie on the processor.
    """
    given, domains = torch.from_numpy(data.label_ids_or_none), torch.from_numpy(data.domain_ids)
    found = []
    for batch, trace in traces(source, data, device, batch_size=batch_size, progress=progress, title="weighing"):
        features_BH = token_means(trace.hidden_states[-1].float().cpu(), batch.mask)
        found.append((batch.indices, features_BH, trace.logits.float().cpu()))
    rows, features_NH, logits_NC = (torch.cat(parts) for parts in zip(*found, strict=True))
    back = rows.argsort()
    features_NH, logits_NC = features_NH[back], logits_NC[back]
    labels = torch.where(given < 0, logits_NC.argmax(dim=1), given)
    sizes = len(data.source.labels), len(data.source.domains)
    return prototype_scores(features_NH, labels, domains, *sizes), logits_NC, labels
