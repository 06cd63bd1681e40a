"""What the system says of its processor."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cpu_facts"]

CPU_FACTS = Path("/proc/cpuinfo")


def cpu_facts() -> str:
    """As Linux lists it, with name and instructions; empty where it cannot be told."""
    try:
        return CPU_FACTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
