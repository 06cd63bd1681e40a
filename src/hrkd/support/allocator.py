"""Memory that was freed: kept by the process for what comes next, and given back before it lies in too many pieces.

A training step frees and takes hundreds of megabytes. Given back to the system they return as empty pages one by one,
which is slow; never given back they lie in pieces that the next step's tensors, of other lengths, do not fit into, and
the process grows. So the command line keeps freed memory (:func:`keep_freed_memory`), and trainings give back what lies
free every few steps (:func:`give_back`). Both speak to glibc's allocator; elsewhere they do nothing.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

__all__ = ["STEPS_BETWEEN", "give_back", "keep_freed_memory", "peak_megabytes"]

STEPS_BETWEEN = 16
"""Training steps from one giving back to the next."""

M_TRIM_THRESHOLD, M_MMAP_MAX = (-1, -1), (-4, 0)
"""Options of mallopt(3) and their values: give nothing back by yourself, take everything from the heap."""


def keep_freed_memory() -> bool:
    """Have this process keep the memory of freed tensors for the next ones; whether that could be done (with glibc).

    It also bounds the products that oneDNN keeps compiled, one for every length of a batch, at 64; unless the variable
    ``ONEDNN_PRIMITIVE_CACHE_CAPACITY`` is set or a product was made before.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    mallopt = getattr(_glibc(), "mallopt", None)
    return mallopt is not None and all(mallopt(*option) == 1 for option in (M_TRIM_THRESHOLD, M_MMAP_MAX))


def give_back() -> None:
    """Give the system all memory that lies free, wherever in the heap."""
    trim = getattr(_glibc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_megabytes() -> float | None:
    """The most memory that this process has held so far (VmHWM), in megabytes of 1e6 bytes; None off Linux.

    Not ``ru_maxrss``, which a process takes over from the one that started it.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    kibibytes = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    return None if kibibytes is None else round(kibibytes * 1024 / 1e6, 1)


@cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
