"""Predictions of a model over a data set."""

from __future__ import annotations

import numpy as np
import torch

from hrkd.data.batching import TokenizedDataset, length_sorted_batches
from hrkd.models.kernels import cpu_kernels
from hrkd.models.teachers import AnyTeacher
from hrkd.training.progress import Progress

__all__ = ["predict_logits"]


@torch.no_grad()
def predict_logits(
    model: AnyTeacher,
    data: TokenizedDataset,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
    title: str = "evaluating",
) -> np.ndarray:
    """Logits of ``model`` for every row of ``data``, shape (rows, C), float32, in the rows' order.

    Works on the model's device, in evaluation mode; the mode is put back afterwards.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    logits = np.empty((len(data), len(model.labels)), dtype=np.float32)
    with (progress or Progress(False)).bar(title, total=len(data), unit="texts") as bar:
        for batch in length_sorted_batches(data, batch_size):
            here = batch.to(device)
            with cpu_kernels(device):
                trace = model(**here.inputs, domain_ids=here.domain_ids)
            logits[batch.indices.numpy()] = trace.logits.float().cpu().numpy()
            bar.advance(len(batch.labels))
    model.train(was_training)
    return logits
