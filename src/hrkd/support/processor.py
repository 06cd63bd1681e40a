"""What the system says of its processor, and how much of it this process has."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cpu_facts", "usable_cores"]

CPU_FACTS = Path("/proc/cpuinfo")


def cpu_facts() -> str:
    """As Linux lists it, with name and instructions; empty where it cannot be told."""
    try:
        return CPU_FACTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def usable_cores() -> int:
    """How many cores this process may use: fewer than there are, where it is bound to some (``taskset``)."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
