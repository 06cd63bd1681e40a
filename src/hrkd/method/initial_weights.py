"""How the weights of hierarchy and graph are drawn."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["xavier_uniform"]

GAIN = 1.414


def xavier_uniform(weight: Tensor, fans: int) -> None:
    """Xavier uniform with gain 1.414, in place, for a matrix whose inputs and outputs are ``fans`` together.

    ``weight`` may hold many such matrices, or a part of one, so its shape does not tell.
    """
    bound = GAIN * (6.0 / fans) ** 0.5
    nn.init.uniform_(weight, -bound, bound)
