"""Which domain a text is of, where nobody says it: by its likeness to prototypes of the domains.

The paper's domain prototypes are means over the texts of a domain, as its graph sees them; here they are of training
texts as the student itself represents them, and are kept with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DomainRouter", "mean_over_tokens", "mixed_logits", "of_domains"]


def mean_over_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """Means over the valid tokens, (B, H), of states (B, T, H); those of a student without layers are (B, 1, H)."""
    valid = mask[:, : states.shape[1], None].to(states.dtype)
    return (states * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1)


class DomainRouter(nn.Module):
    """Shares of the domains in a text: softmax of ``sharpness`` times its cosines with their prototypes.

    Cosines are of texts less the mean, each dimension in units of its deviation: else what all texts share decides.

    Args:
        domains: how many, D.
        width: of the states, H.
        level: whose states are looked at; 0: the embeddings.
        sharpness: of the softmax.
    """

    mean: Tensor
    deviation: Tensor
    prototypes: Tensor

    def __init__(self, domains: int, width: int, level: int, sharpness: float) -> None:
        super().__init__()
        self.level, self.sharpness = level, sharpness
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("prototypes", torch.zeros(domains, width))

    def fit(self, texts: Tensor, domain_ids: Tensor) -> None:
        """Take mean, deviation and prototypes from texts (n, H) of domains (n,); each domain weighs the same."""
        own = [texts[domain_ids == domain] for domain in range(len(self.prototypes))]
        means = torch.stack([each.mean(dim=0) for each in own])
        self.mean.copy_(means.mean(dim=0))
        spread = torch.stack([(each - self.mean).square().mean(dim=0) for each in own]).mean(dim=0)
        self.deviation.copy_(spread.sqrt().clamp_min(1e-6))
        self.prototypes.copy_(nn.functional.normalize((means - self.mean) / self.deviation, dim=-1))

    def cosines(self, texts: Tensor) -> Tensor:
        """Of texts (B, H) with the prototypes, (B, D)."""
        return nn.functional.normalize((texts - self.mean) / self.deviation, dim=-1) @ self.prototypes.T

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Shares (B, D) from the states (B, T, H) of the router's level."""
        return (self.sharpness * self.cosines(mean_over_tokens(states, mask))).softmax(dim=-1)


def of_domains(head_logits: Tensor, domain_ids: Tensor) -> Tensor:
    """Logits (B, C) of each row's own domain, of those of all heads, (B, D, C)."""
    places = domain_ids[:, None, None].expand(-1, 1, head_logits.shape[2])
    return head_logits.gather(1, places).squeeze(1)


def mixed_logits(head_logits: Tensor, shares: Tensor) -> Tensor:
    """Logits (B, C) of the heads' probabilities, (B, D, C) before the softmax, mixed by shares (B, D)."""
    return torch.logsumexp(head_logits.log_softmax(dim=-1) + shares.log()[..., None], dim=1)
