"""Prototypes of the domains in a finished student, so that texts of an unknown domain can be routed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hrkd.data.batching import TokenizedDataset
from hrkd.models.multi_domain import MultiDomainClassifier, level_of
from hrkd.models.routing import DomainRouter, mean_over_tokens
from hrkd.training.evaluate import token_batches

__all__ = ["fit_router"]

TEXTS_OF_EACH = 256
"""Texts of a domain that its prototype is the mean of; of dev, a half of it chooses."""
SHARPNESS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@torch.no_grad()
def fit_router(model: MultiDomainClassifier, train: TokenizedDataset, dev: TokenizedDataset) -> dict[str, Any] | None:
    """Give a student a router: the level at which dev texts are told apart best, and the sharpness that fits them.

    Returns:
        For the record: level, sharpness, and the share of dev texts (``dev_accuracy``, mean over domains) whose own
        domain is the likeliest. None where there is nothing to route: one head, or one domain.
    """
    if len(model.heads) == 1 or not len(dev):
        return None
    was_training = model.training
    model.eval()
    learnt, learnt_of = _states(model, train, TEXTS_OF_EACH)
    judged, judged_of = _states(model, dev, TEXTS_OF_EACH // 2)
    model.train(was_training)
    domains, width = len(model.domains), learnt.shape[-1]
    best: tuple[float, int, Tensor] | None = None
    for level in range(learnt.shape[1]):
        router = DomainRouter(domains, width, level, 1.0)
        router.fit(learnt[:, level], learnt_of)
        cosines = router.cosines(judged[:, level])
        right = (cosines.argmax(dim=1) == judged_of).double()
        accuracy = float(np.mean([right[judged_of == d].mean() for d in sorted(set(judged_of.tolist()))]))
        if best is None or accuracy > best[0]:
            best = accuracy, level, cosines
    assert best is not None
    accuracy, level, cosines = best
    losses = [float(torch.nn.functional.cross_entropy(sharp * cosines, judged_of)) for sharp in SHARPNESS]
    sharpness = SHARPNESS[int(np.argmin(losses))]
    model.add_router(level, sharpness)
    assert model.router is not None
    model.router.fit(learnt[:, level].to(model.device), learnt_of.to(model.device))
    return {"level": level, "sharpness": sharpness, "dev_accuracy": accuracy}


def _states(model: MultiDomainClassifier, data: TokenizedDataset, most: int) -> tuple[Tensor, Tensor]:
    """Means over tokens of all levels, (n, K + 1, H), of some texts of each domain, and their domains, (n,)."""
    generator = np.random.default_rng(0)
    of_each = [np.flatnonzero(data.domain_ids == domain) for domain in range(len(model.domains))]
    rows = np.sort(np.concatenate([generator.permutation(own)[:most] for own in of_each]))
    found: Tensor | None = None
    places = {row: place for place, row in enumerate(rows.tolist())}
    for chosen in token_batches(data.lengths, rows, model.device):
        batch = data.batch(chosen).to(model.device)
        outputs = model.encoder(**batch.inputs, output_hidden_states=True, return_dict=True)
        levels = [level_of(outputs, level) for level in range(len(getattr(outputs, "hidden_states", None) or "1"))]
        means = torch.stack([mean_over_tokens(states, batch.mask) for states in levels], dim=1).float().cpu()
        if found is None:
            found = torch.empty(len(rows), *means.shape[1:])
        found[[places[row] for row in chosen]] = means
    assert found is not None
    return found, torch.from_numpy(data.domain_ids[rows])
