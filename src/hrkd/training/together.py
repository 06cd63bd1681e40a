"""What the processes of one launch do together; of one process alone everything is as it is."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

from hrkd.errors import HrkdError
from hrkd.method.sums import Sums

__all__ = [
    "Crew",
    "added_up",
    "crew_of_machine",
    "drawing_again",
    "everyone",
    "filled",
    "most",
    "processes",
    "shared_draws",
    "summed",
]

Item = TypeVar("Item")
NUMBERS = 1 << 22
"""Most that are exchanged at a time."""


@dataclass(frozen=True)
class Crew:
    """Processes that share out a piece of work; this one's number among all of them."""

    rank: int = 0
    size: int = 1

    def share(self, items: Iterable[Item]) -> Iterator[Item]:
        """Every so manieth item: this process's."""
        return islice(items, self.rank, None, self.size)

    def first_does(self, work: Callable[[], object]) -> None:
        """Have the first do some work that the others wait for.

        Raises:
            HrkdError: the work raised it; in every process.
        """
        self.all_do(work if self.rank == 0 else None)

    def all_do(self, work: Callable[[], object] | None) -> None:
        """Do some work, or none, and wait for the others.

        Raises:
            HrkdError: the work of any process raised it; in every process, so that none goes on or waits.
        """
        error: HrkdError | None = None
        try:
            if work is not None:
                work()
        except HrkdError as raised:
            if self.size == 1:
                raise
            error = raised
        if self.size == 1:
            return
        found: list[HrkdError | None] = [None] * self.size
        distributed.all_gather_object(found, error)
        if error is not None:
            raise error
        for other in found:
            if other is not None:
                raise other


def processes() -> int:
    """How many train or measure together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def everyone() -> Crew:
    """All processes of the launch."""
    return Crew() if processes() == 1 else Crew(distributed.get_rank(), processes())


def crew_of_machine() -> Crew:
    """Those that see one disk, if that is all of them; else each is alone."""
    crew = everyone()
    if crew.size > 1:
        names = [""] * crew.size
        distributed.all_gather_object(names, platform.node())
        if len(set(names)) > 1:
            return Crew()
    return crew


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


def filled(rows: np.ndarray, device: torch.device) -> np.ndarray:
    """An array, in place, of which each process has filled its rows, and the others hold zeros there."""
    if processes() > 1:
        flat = torch.from_numpy(rows).view(-1)
        for part in flat.split(NUMBERS):  # type: ignore[no-untyped-call]
            (whole,) = summed([part], device)
            part.copy_(whole)
    return rows


def most(number: int, device: torch.device) -> int:
    """The largest of a number that each process has."""
    if processes() == 1:
        return number
    told = torch.tensor(number, device=device)
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
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
    seed = torch.randint(2**31 - 1, ()).to(device)
    if processes() > 1:
        distributed.broadcast(seed, 0)
    with drawing_again(device):
        torch.manual_seed(int(seed))
        yield


def drawing_again(device: torch.device) -> AbstractContextManager[None]:
    """A context after which the same random numbers are drawn again."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
