"""What the processes of one launch do together; of one process alone everything is as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, distributed

from hrkd.method.sums import Sums

__all__ = ["added_up", "drawing_again", "first_says", "processes", "shared_draws", "summed"]


def processes() -> int:
    """How many train or measure together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Sums over all processes of tensors that each has in the same shapes, without gradients.

    Each is given back on its own device and in its own precision. All processes get the same bits.
    """
    tensors = [tensor.detach() for tensor in tensors]
    if processes() == 1 or not tensors:
        return tensors
    # One exchange for all: what it costs is its beginning.
    wide = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    flat = torch.cat([tensor.to(device, wide).flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape).to(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def added_up(sums: Mapping[str, Sums], device: torch.device) -> dict[str, Sums]:
    """Sums by name over all processes, without gradients; the names are the same in each."""
    both = [tensor for each in sums.values() for tensor in (each.total, each.weight)]
    totals = iter(summed(both, device))
    return {name: Sums(next(totals), next(totals)) for name in sums}


def first_says(number: int, device: torch.device) -> int:
    """The first process's number, in every process."""
    if processes() == 1:
        return number
    told = torch.tensor(number, dtype=torch.int64, device=device)
    distributed.broadcast(told, 0)
    return int(told)


@contextmanager
def shared_draws(device: torch.device, *, apart: bool) -> Iterator[None]:
    """Random numbers that are the same in every process, and leave each one's own as they are but for one draw.

    Args:
        apart: draw apart from the process's own numbers even where it is alone.
    """
    if processes() == 1 and not apart:
        yield
        return
    seed = first_says(int(torch.randint(2**31 - 1, ())), device)
    with drawing_again(device):
        torch.manual_seed(seed)
        yield


def drawing_again(device: torch.device) -> AbstractContextManager[None]:
    """A context after which the same random numbers are drawn again."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
