"""A step that does not fit into memory: how that is told apart from other errors, and smaller parts of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hrkd.data.batching import Batch

__all__ = ["BeforeStep", "cut_into", "is_lack_of_memory"]

SAID = ("can't allocate memory", "not enough memory", "out of memory")
"""By torch on a processor, which has no class of its own for it."""


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is at an end."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in SAID)


def cut_into(parts: int, batches: Sequence[Batch]) -> list[Batch]:
    """Every batch in so many parts, or in as many as it has rows, with every so manieth row in each."""
    pieces = []
    for batch in batches:
        rows = torch.arange(len(batch.labels), device=batch.labels.device)
        pieces += [batch.rows(rows[first::parts]) for first in range(min(parts, len(rows)))]
    return pieces


@dataclass(frozen=True)
class BeforeStep:
    """What a step changes before it ends: random states, and what a module remembers of steps."""

    random: Tensor
    of_device: Tensor | None
    buffers: dict[str, Tensor]

    @classmethod
    def of(cls, module: nn.Module, device: torch.device) -> BeforeStep:
        """As it is now; ``module`` without its parts."""
        of_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers(recurse=False)}
        return cls(torch.get_rng_state(), of_device, buffers)

    def put_back(self, module: nn.Module, device: torch.device) -> None:
        """As it was."""
        torch.set_rng_state(self.random)
        if self.of_device is not None:
            torch.cuda.set_rng_state(self.of_device, device)
        for name, buffer in module.named_buffers(recurse=False):
            buffer.copy_(self.buffers[name])
