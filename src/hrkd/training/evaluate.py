"""Predictions of a model over a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from hrkd.data.batching import Batch, TokenizedDataset, length_sorted
from hrkd.method.meta_kd import prototype_scores, token_means
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.domain_teachers import AnyTeacher
from hrkd.models.trace import EncoderTrace
from hrkd.recipe.schema import EvaluationConfig
from hrkd.support.progress import Progress
from hrkd.training.together import Crew, everyone, filled, most

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
    alone: bool = False,
) -> np.ndarray:
    """Logits of ``model`` for every text of ``data``, shape (texts, C), float32, in the texts' order.

    Works on the model's device, in evaluation mode; the mode is put back afterwards. Of several processes, which all
    call this, each looks at its share of the rows, and all get all logits; with ``alone`` this one looks at all.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()

    def outputs(batch: Batch) -> EncoderTrace:
        with cpu_kernels(device):
            trace: EncoderTrace = model(**batch.inputs, domain_ids=batch.domain_ids)
        return trace

    logits, crew = np.zeros((len(data), len(model.labels)), dtype=np.float32), Crew() if alone else everyone()
    seen = traces(outputs, data, device, batch_size=batch_size, progress=progress, title=title, crew=crew)
    for batch, trace in seen:
        logits[batch.indices.numpy()] = trace.logits.float().cpu().numpy()
    model.train(was_training)
    return data.of_texts(logits if alone else filled(logits, device))


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
    crew: Crew | None = None,
) -> Iterator[tuple[Batch, EncoderTrace]]:
    """This process's share of all rows, in length-sorted batches: each, on the processor, with what ``source`` says.

    Args:
        crew: those that share the rows; default: all processes of the launch.
    """
    # A batch is the same however many share them, and so is each number that comes of it.
    mine = list((crew or everyone()).share(length_sorted(data.lengths, batch_size)))
    with (progress or Progress(False)).bar(title, total=sum(map(len, mine)), unit="texts") as bar:
        for rows in mine:
            batch = data.batch(rows)
            yield batch, source(batch.to(device))
            bar.advance(len(rows))


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
    found, classes = np.zeros((len(data), 0), dtype=np.float32), len(data.source.labels)
    for batch, trace in traces(source, data, device, batch_size=batch_size, progress=progress, title="weighing"):
        features_BH = token_means(trace.hidden_states[-1].float().cpu(), batch.mask)
        both = torch.cat([features_BH, trace.logits.float().cpu()], dim=1).numpy()
        found = found if found.size else np.zeros((len(data), both.shape[1]), dtype=np.float32)
        found[batch.indices.numpy()] = both
    if (width := most(found.shape[1], device)) != found.shape[1]:  # fewer batches than processes
        found = np.zeros((len(data), width), dtype=np.float32)
    whole = torch.from_numpy(filled(found, device))
    features_NH, logits_NC = whole[:, :-classes], whole[:, -classes:]
    labels = torch.where(given < 0, logits_NC.argmax(dim=1), given)
    sizes = classes, len(data.source.domains)
    return prototype_scores(features_NH, labels, domains, *sizes), logits_NC, labels
