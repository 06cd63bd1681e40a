"""How quick models are, side by side: one text at a time, and many; how long a first answer takes, and what they weigh.

Everything that an answer takes is in it: tokenising, batching, the model. Models take turns, so that what else the
machine does meets all of them.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrkd.errors import HrkdError
from hrkd.support.manifest import MANIFEST
from hrkd.support.progress import Progress

__all__ = ["Answer", "Speed", "folder_megabytes", "measure", "start_up"]

Answer = Callable[[Sequence[int]], object]
"""A model: from the places of some texts to its probabilities."""

WARM_UP = 3
ABOUT = ("README.md", MANIFEST)
"""What is written about a folder once all else is there: its size is told in the one, and before the other."""


@dataclass(frozen=True)
class Speed:
    """Of one model.

    Args:
        latencies: milliseconds of single texts: their 50th, 95th and 99th percentile.
        one_at_a_time: texts a second that are asked one after the other: by their mean, not by their median.
        per_second: texts a second in batches, as the median over rounds.
        rounds: the same of every round.
    """

    latencies: tuple[float, float, float]
    one_at_a_time: float
    per_second: float
    rounds: tuple[float, ...]


def measure(
    models: Mapping[str, Answer],
    texts: int,
    *,
    rounds: int,
    singles: int,
    progress: Progress | None = None,
) -> dict[str, Speed]:
    """Time each of some models on the same texts.

    Args:
        models: by name.
        texts: how many there are; a call of a round is of all of them, in batches of the model's own.
        rounds: how often each model is asked all of them, in turn.
        singles: how many of the texts are asked one at a time in each round, evenly spread.
    """
    alone = np.unique(np.linspace(0, texts - 1, min(singles, texts)).astype(int)).tolist()
    speeds: dict[str, list[float]] = {name: [] for name in models}
    times: dict[str, list[float]] = {name: [] for name in models}
    shown = progress or Progress(enabled=False)
    with shown.bar("timing", total=rounds * len(models), unit="rounds") as bar:
        for model in models.values():
            for place in alone[:WARM_UP]:
                model([place])
        for _ in range(rounds):
            for name, model in models.items():
                for place in alone:
                    start = time.perf_counter()
                    model([place])
                    times[name].append(1000 * (time.perf_counter() - start))
                start = time.perf_counter()
                model(range(texts))
                speeds[name].append(texts / (time.perf_counter() - start))
                bar.advance(1)
    found = {}
    for name in models:
        middle, late, latest = (float(np.percentile(times[name], share)) for share in (50, 95, 99))
        alone, many = 1000 / float(np.mean(times[name])), float(np.median(speeds[name]))
        found[name] = Speed((middle, late, latest), alone, many, tuple(speeds[name]))
    return found


def start_up(folder: Path, text: str, pair: str | None, domain: str | None) -> tuple[float, float]:
    """Seconds that a process of its own takes for a first answer: on the clock, and of the processor.

    Raises:
        HrkdError: the process failed; says what it said.
    """
    command = [sys.executable, "-m", "hrkd", "predict", str(folder)]
    command += [] if domain is None else ["--domain", domain]
    command += [] if pair is None else [f"--text-pair={pair}"]
    before, start = _used(), time.perf_counter()
    done = subprocess.run([*command, "--", text], capture_output=True, text=True, check=False)
    seconds, used = time.perf_counter() - start, _used() - before
    if done.returncode:
        raise HrkdError(f"{folder}: hrkd predict failed: {done.stderr.strip()}")
    return seconds, used


def _used() -> float:
    """Processor time of all child processes so far."""
    import resource  # not on Windows

    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def folder_megabytes(folder: Path, names: Sequence[str] = ()) -> float:
    """Of all files in a folder, at any depth, but cards and manifests; or of some names. In millions of bytes."""
    files = [folder / name for name in names] or [path for path in folder.rglob("*") if path.name not in ABOUT]
    return math.fsum(path.stat().st_size for path in files if path.is_file()) / 1e6
