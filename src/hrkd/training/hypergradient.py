"""Learning the ratios by what they do: a student's step on the weighted losses should lower the loss on other texts.

With the loss Q on a query batch and a step of size eta along the weighted table of a support batch, the first-order
derivative is ``dQ/dr[k, d] = -eta <P grad Q, grad L[k, d]>``, where P is the optimiser's preconditioner. The inner
products of all levels and domains are ONE forward-mode derivative of the table along ``P grad Q``. (HRKD speaks of
meta-learning without saying how; this is first-order bilevel optimisation as in DARTS, Liu et al., ICLR 2019.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.trace import EncoderTrace

if TYPE_CHECKING:
    from hrkd.training.distill import Distillation, LossTables

__all__ = ["directional_derivatives", "preconditioned", "ratio_gradients"]


def ratio_gradients(
    module: Distillation, support: Batch, query: Batch, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Gradients of the ratios' parameters, by name, by which ratios on ``support`` lower the loss on ``query``.

    The loss on the query is the mean over domains of the prediction loss. The table of inner products is divided by its
    root mean square, so that the gradient does not shrink with the student's; in several processes gradients are means.
    The student is looked at without dropout, and left as it is.
    """
    with _evaluation(module.student):
        direction = preconditioned(_query_gradient(module, query), module.student, optimizer)
        effects_KD, prototypes_KDH = _effects(module, support, direction)
        prototypes_KDH = module.steady(prototypes_KDH)
    # Effects shrink by orders of magnitude as the student settles; in units of their own size the entropy's weight
    # means the same at the beginning and at the end.
    effects_KD = effects_KD / effects_KD.square().mean().sqrt().clamp_min(torch.finfo(effects_KD.dtype).tiny)
    names, parameters = zip(*module.ratios.named_parameters(), strict=True)
    with torch.enable_grad():
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
    function: Callable[[Mapping[str, Tensor]], Tensor], at: Mapping[str, Tensor], direction: Mapping[str, Tensor]
) -> Tensor:
    """The derivative of every number that ``function`` gives, along ``direction``: one forward-mode pass.

    Its value for a table is <direction, gradient of each entry>. No gradient is recorded.
    """
    with torch.no_grad(), forward_ad.dual_level():
        duals = {name: _dual(at[name].detach(), tangent) for name, tangent in direction.items()}
        return _parts(function(duals))[1].clone()


class _Losses(nn.Module):
    """The tables of a module as a module's own output, for ``functional_call``."""

    def __init__(self, module: Distillation) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch, teacher: EncoderTrace) -> LossTables:
        return self.module.losses(batch, teacher)


def _query_gradient(module: Distillation, query: Batch) -> dict[str, Tensor]:
    trained = {name: p for name, p in module.student.named_parameters() if p.requires_grad}
    with torch.enable_grad(), cpu_kernels(query.labels.device):
        loss = module.prediction_losses(query).mean()
    gradients = torch.autograd.grad(loss, list(trained.values()), materialize_grads=True)
    return dict(zip(trained, gradients, strict=True))


def _effects(module: Distillation, support: Batch, direction: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Inner products with ``direction`` of all losses' gradients, (K, D), and the prototypes, (K, D, H)."""
    teacher, prototypes, prefix = module.teacher(support), [], "module.student."

    def levels(student: Mapping[str, Tensor]) -> Tensor:
        named = {prefix + name: each for name, each in student.items()}
        tables: LossTables = functional_call(_Losses(module), named, (support, teacher))
        prototypes.append(_parts(tables.prototypes)[0].clone())
        return tables.levels

    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward-mode derivative
        effects_KD = directional_derivatives(levels, dict(module.student.named_parameters()), direction)
    return effects_KD, prototypes[0]


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
