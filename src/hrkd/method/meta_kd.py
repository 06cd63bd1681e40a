"""Meta-KD (Pan et al., ACL 2021): which examples carry over to other domains, and features that do.

The paper's teacher weighs every example by how typical it is of its class in all domains (:func:`prototype_scores`),
and its features are to say as little as possible of the domain (:class:`DomainHead`, :func:`corrupted_domains`). Its
student trusts the teacher on typical examples that it gets right (:func:`expertise_weights`), and imitates those
features (:func:`transfer_losses`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrkd.method.sums import Sums, example_sums

__all__ = ["DomainHead", "corrupted_domains", "expertise_weights", "prototype_scores", "token_means", "transfer_losses"]


def token_means(states_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean state of each row's valid tokens, (B, T, H), (B, T) -> (B, H)."""
    mask_BT = mask_BT.to(states_BTH.dtype)
    return torch.einsum("bth,bt->bh", states_BTH, mask_BT) / mask_BT.sum(dim=1, keepdim=True).clamp_min(1)


def prototype_scores(
    features_NH: Tensor, label_ids_N: Tensor, domain_ids_N: Tensor, num_labels: int, num_domains: int
) -> Tensor:
    """How near each example is to the centroid of its class, in its own domain and in the others (Meta-KD, eq. 1).

    ``t = (cos(h, c[d, y]) + mean over other domains d' of cos(h, c[d', y])) / 2``, where the centroid ``c[d, y]`` is
    the mean feature of the examples of domain d with label y. Domains without such examples have no centroid and are
    left out; if all others are, the own one counts alone.

    Shapes: features (N, H), label ids (N,), domain ids (N,) -> (N,), from -1 to 1.
    """
    groups_N, groups = domain_ids_N * num_labels + label_ids_N, num_domains * num_labels
    centroids_GH = example_sums(features_NH.T, groups_N, groups).mean.T
    filled_DC = torch.bincount(groups_N, minlength=groups).reshape(num_domains, num_labels) > 0
    cosines_NG = functional.normalize(features_NH, dim=1) @ functional.normalize(centroids_GH, dim=1).T
    rows = torch.arange(len(features_NH), device=features_NH.device)
    of_class_ND = cosines_NG.reshape(-1, num_domains, num_labels)[rows, :, label_ids_N]
    own_N = of_class_ND[rows, domain_ids_N]
    others_ND = filled_DC.T[label_ids_N] & (functional.one_hot(domain_ids_N, num_domains) == 0)
    count_N = others_ND.sum(dim=1)
    mean_N = (of_class_ND * others_ND).sum(dim=1) / count_N.clamp_min(1)
    return torch.where(count_N > 0, (own_N + mean_N) / 2, own_N)


def expertise_weights(scores_N: Tensor, teacher_logits_NC: Tensor, label_ids_N: Tensor) -> Tensor:
    """How much the teacher is to be trusted on each example (Meta-KD, domain-expertise weight), (N,).

    ``(1 + t) / (exp((1 - p)^2) + 1)``, where t is its entry of :func:`prototype_scores`, and p the probability that
    the teacher gives to the label: the paper's squared difference of prediction and label.

    Shapes: scores (N,), logits (N, C), label ids (N,).
    """
    right_N = teacher_logits_NC.float().softmax(dim=1).gather(1, label_ids_N[:, None]).squeeze(1)
    return (1 + scores_N) / ((1 - right_N).square().exp() + 1)


class DomainHead(nn.Module):
    """Features that are to carry over between domains, and a classifier of domains (Meta-KD, domain corruption).

    ``features = tanh(W (h + e[d]) + b)`` with the mean state h of an example and an embedding e of its domain.

    Args:
        width: H.
        domains: D.
    """

    def __init__(self, width: int, domains: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(domains, width)
        self.dense = nn.Linear(width, width)
        self.classifier = nn.Linear(width, domains)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def features(self, means_BH: Tensor, domain_ids_B: Tensor) -> Tensor:
        """Shapes: mean states (B, H), domain ids (B,) -> (B, H)."""
        features: Tensor = torch.tanh(self.dense(means_BH + self.embedding(domain_ids_B)))
        return features

    def forward(self, means_BH: Tensor, domain_ids_B: Tensor) -> Tensor:
        """Logits of the domains, (B, D)."""
        logits: Tensor = self.classifier(self.features(means_BH, domain_ids_B))
        return logits

    @torch.no_grad()
    def keep_domains(self, domain_ids: Sequence[int]) -> None:
        """Know these domains alone, in this order."""
        chosen, width = list(domain_ids), self.dense.in_features
        embedding, classifier = self.embedding, self.classifier
        self.embedding, self.classifier = nn.Embedding(len(chosen), width), nn.Linear(width, len(chosen))
        self.embedding.weight.copy_(embedding.weight[chosen])
        self.classifier.weight.copy_(classifier.weight[chosen])
        self.classifier.bias.copy_(classifier.bias[chosen])


def corrupted_domains(domain_ids_B: Tensor, num_domains: int) -> Tensor:
    """A domain for each row, drawn anew from all in every call, (B,); the best that a classifier of it can say is 1/D.

    If it were never the row's own, a classifier would do best to know that one and to leave it out.
    """
    return torch.randint(0, num_domains, domain_ids_B.shape, device=domain_ids_B.device)


def transfer_losses(
    student_features_BH: Tensor,
    teacher_features_BH: Tensor,
    domain_ids_B: Tensor,
    num_domains: int,
    *,
    row_weights: Tensor | None = None,
) -> Sums:
    """Mean squared error between the features of student and teacher (Meta-KD, transferable knowledge), (D,).

    Shapes: features (B, H), domain ids (B,), row weights (B,).
    """
    error_B = (student_features_BH - teacher_features_BH).square().mean(dim=1)
    return example_sums(error_B, domain_ids_B, num_domains, row_weights)
