"""Learning the ratios by what they do: a student's step on the weighted losses should lower the loss on other texts.

With the loss Q on a query batch and a step of size eta along the weighted table of a support batch, the first-order
derivative is ``dQ/dr[k, d] = -eta <P grad Q, grad L[k, d]>``, where P is the optimiser's preconditioner. The inner
products of all levels and domains are ONE forward-mode derivative of the table along ``P grad Q``. (HRKD speaks of
meta-learning without saying how; this is first-order bilevel optimisation as in DARTS, Liu et al., ICLR 2019.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from accelerate.utils import reduce
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from hrkd.data.batching import Batch
from hrkd.method.objective import entropy
from hrkd.method.sums import Sums, added
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.trace import EncoderTrace
from hrkd.training.together import added_up, shared_draws, summed

if TYPE_CHECKING:
    from hrkd.training.distill import Distillation

__all__ = ["directional_derivatives", "preconditioned", "ratio_gradients"]

STATES = "states as they are"


def ratio_gradients(
    module: Distillation, support: Sequence[Batch], query: Sequence[Batch], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Gradients of the ratios' parameters, by name, by which ratios on ``support`` lower the loss on ``query``.

    The loss on the query is the mean over domains of the prediction loss. The table of inner products is divided by its
    root mean square, so that the gradient does not shrink with the student's. Support and query are all batches of an
    update, and of all processes: gradients are the same in each.
    The student is looked at without dropout, and left as it is.
    """
    with _evaluation(module.student):
        direction = preconditioned(_query_gradient(module, query), module.student, optimizer)
        effects_KD, prototypes_KDH = _effects(module, support, direction)
        prototypes_KDH = module.steady(prototypes_KDH)
    device = effects_KD.device
    # Effects shrink by orders of magnitude as the student settles; in units of their own size the entropy's weight
    # means the same at the beginning and at the end.
    effects_KD = effects_KD / effects_KD.square().mean().sqrt().clamp_min(torch.finfo(effects_KD.dtype).tiny)
    names, parameters = zip(*module.ratios.named_parameters(), strict=True)
    with torch.enable_grad(), shared_draws(device, apart=False):
        # Leaves of their own: with "meta" the module's parameters need no gradient, so that the objective trains none.
        leaves = [parameter.detach().requires_grad_() for parameter in parameters]
        ratios_KD = functional_call(module.ratios, dict(zip(names, leaves, strict=True)), (prototypes_KDH,)).domains
        loss = -(ratios_KD * effects_KD).sum() - module.method.entropy_weight * entropy(ratios_KD)
        gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
    return {name: reduce(gradient, "mean") for name, gradient in zip(names, gradients, strict=True)}


def preconditioned(
    gradients: Mapping[str, Tensor], module: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """The directions into which Adam would go with these ``gradients`` of ``module``: g / (sqrt(v) + eps).

    ``v`` is Adam's running mean of squared gradients, bias-corrected; a parameter that was never updated keeps its
    gradient.
    """
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    parameters, directions = dict(module.named_parameters()), {}
    for name, gradient in gradients.items():
        state = optimizer.state.get(parameters[name], {})
        if "exp_avg_sq" in state:
            group = group_of[id(parameters[name])]
            # A product with the bare gradient would be about a step of plain descent, which Adam never takes.
            seen = 1 - group["betas"][1] ** float(state["step"])
            gradient = gradient / ((state["exp_avg_sq"] / seen).sqrt() + group["eps"])
        directions[name] = gradient
    return directions


def directional_derivatives(
    function: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    at: Mapping[str, Tensor],
    direction: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every number that ``function`` gives, and its derivative along ``direction``: one forward-mode pass.

    The derivative of a table is <direction, gradient of each entry>. No gradient is recorded.
    """
    with torch.no_grad(), forward_ad.dual_level():
        duals = {name: _dual(at[name].detach(), tangent) for name, tangent in direction.items()}
        both = {name: _parts(each) for name, each in function(duals).items()}
        return tuple({name: each[part].clone() for name, each in both.items()} for part in (0, 1))  # type: ignore[return-value]


class _Losses(nn.Module):
    """The sums of a module as a module's own output, for ``functional_call``."""

    def __init__(self, module: Distillation) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch, teacher: EncoderTrace) -> dict[str, Sums]:
        return self.module.sums(batch, teacher)


def _query_gradient(module: Distillation, query: Sequence[Batch]) -> dict[str, Tensor]:
    trained = {name: p for name, p in module.student.named_parameters() if p.requires_grad}
    device = query[0].labels.device
    total: list[Tensor] = []
    with torch.enable_grad(), cpu_kernels(device):
        for part in module.prediction_losses(query):
            gradients = torch.autograd.grad(part.mean(), list(trained.values()), materialize_grads=True)
            total = [one + other for one, other in zip(total, gradients, strict=True)] if total else list(gradients)
    return {name: summed([each], device)[0] for name, each in zip(trained, total, strict=True)}


def _effects(module: Distillation, support: Sequence[Batch], direction: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Inner products with ``direction`` of all losses' gradients, (K, D), and the prototypes, (K, D, H)."""
    device = support[0].labels.device
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward-mode derivative
        found = [_derivatives(module, batch, direction) for batch in support]
    totals = added_up(added(found), device)
    with torch.no_grad():
        prototypes_KDH = module.prototypes({"states": totals.pop(STATES)})
        # Tables are linear in sums: the tables of the derivatives are the derivatives of the tables.
        return module.tables(totals, totals).levels, prototypes_KDH


def _derivatives(module: Distillation, batch: Batch, direction: Mapping[str, Tensor]) -> dict[str, Sums]:
    """The derivatives along ``direction`` of what a batch adds to its update, and what it adds to the states."""
    teacher, weights = module.teacher(batch), {}

    def totals(student: Mapping[str, Tensor]) -> dict[str, Tensor]:
        named = {f"module.student.{name}": each for name, each in student.items()}
        sums: dict[str, Sums] = functional_call(_Losses(module), named, (batch, teacher))
        weights.update({name: each.weight for name, each in sums.items()})
        return {name: each.total for name, each in sums.items()}

    values, derivatives = directional_derivatives(totals, dict(module.student.named_parameters()), direction)
    found = {name: Sums(each, weights[name]) for name, each in derivatives.items()}
    return found | {STATES: Sums(values["states"], weights["states"])}


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _dual(primal: Tensor, tangent: Tensor) -> Tensor:
    dual: Tensor = forward_ad.make_dual(primal, tangent)  # type: ignore[no-untyped-call]
    return dual


def _parts(dual: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivative."""
    primal, tangent = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
    return primal, torch.zeros_like(primal) if tangent is None else tangent
