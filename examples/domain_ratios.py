"""The method's parts on plain tensors: prototypes, hierarchy, graph, ratios, objective."""

import torch

from hrkd.method.build import build_domain_ratios
from hrkd.method.losses import hidden_losses
from hrkd.method.objective import objective
from hrkd.method.prototypes import prototypes
from hrkd.recipe.schema import MethodConfig

LEVELS, DOMAINS, WIDTH, ROWS, TOKENS = 3, 4, 16, 8, 10


def main() -> None:
    """Random states stand for those of a student and a teacher."""
    torch.manual_seed(0)
    domain_ids = torch.arange(ROWS) % DOMAINS
    mask = torch.ones(ROWS, TOKENS, dtype=torch.long)
    fitted = torch.randn(LEVELS, ROWS, TOKENS, WIDTH)
    teacher = list(torch.randn(LEVELS, ROWS, TOKENS, WIDTH))

    ratios = build_domain_ratios(MethodConfig(preset="published"), levels=LEVELS, domains=DOMAINS, width=WIDTH).eval()
    with torch.no_grad():
        result = ratios(prototypes(fitted, mask, domain_ids, DOMAINS).mean)
    losses = hidden_losses(fitted, teacher, mask, domain_ids, DOMAINS, reductions="masked")
    print("ratios, one row a level:\n", result.domains)
    print("how level 2 mixes the levels 0, 1, 2 for each domain:\n", result.hierarchical[2])
    total = objective(result.domains, losses.mean, torch.zeros(DOMAINS), hidden_weight=1.0, prediction_weight=1.0)
    print("objective:", total.item())


if __name__ == "__main__":
    main()
