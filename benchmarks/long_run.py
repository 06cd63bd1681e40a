"""Does a long training keep its memory, its open files and the time of its steps?

    python benchmarks/long_run.py --minutes 60 > benchmarks/results/2026-01-31-long-run.md

Distils the generated example with so many epochs that it would take days, and looks at the process from outside:
memory, open files, threads, and seconds of processor for a thousand steps. A processor is slower beside other work, so
the same small piece of work is timed at every look in this process, and the steps are given in its measure too. The
training is then asked to end, as a scheduler does, and has to leave a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

EVERY = 20.0
PARTS = 6
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Look:
    """The process at a moment: seconds since its student began, megabytes, files, threads, processor seconds, steps;
    and the processor seconds of the piece of work that is always the same.
    """

    seconds: float
    megabytes: float
    files: int
    threads: int
    processor: float
    steps: int
    control: float


def same_work() -> float:
    """Seconds of processor for many small operations, as training a small model is made of."""
    torch.manual_seed(0)
    weights = torch.randn(64, 64) / 8
    start = time.process_time()
    states = torch.randn(32, 64)
    for _ in range(20_000):
        states = torch.tanh(states @ weights)
    return time.process_time() - start


def look(process: int, began: float, metrics: Path) -> Look:
    status = (Path("/proc") / str(process) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    files = len(list((Path("/proc") / str(process) / "fd").iterdir()))
    used = (int(status[11]) + int(status[12])) / TICKS
    tables = sorted((metrics / "steps").glob("epoch-*.parquet"))
    steps = int(pd.read_parquet(tables[-1])["step"].max()) if tables else 0
    return Look(
        time.monotonic() - began, int(status[21]) * PAGE / 1e6, files, int(status[17]), used, steps, same_work()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [
            *(sys.executable, "-m", "hrkd", "compress", "demo", "--run.output", str(run), "--run.log-every", "10"),
            *("--student.training.epochs", "1000000", "--run.checkpoint-minutes", "1", "--student.baseline", "false"),
        ]
        with (Path(folder) / "log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        metrics = run / "metrics" / "student"
        while not list(metrics.glob("steps/*.parquet")):
            if process.poll() is not None:
                raise SystemExit((Path(folder) / "log").read_text(encoding="utf-8"))
            time.sleep(1)
        began, looks = time.monotonic(), list[Look]()
        while time.monotonic() - began < 60 * minutes and process.poll() is None:
            looks.append(look(process.pid, began, metrics))
            time.sleep(EVERY)
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=120)
        kept = sorted(path.name for path in (run / "checkpoints" / "student").iterdir())
    print(f"`python benchmarks/long_run.py --minutes {minutes:g}`\n")
    columns = ("minutes", "megabytes", "open files", "threads")
    columns += ("seconds of processor for 1,000 steps", "the same work", "ratio")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for part in np.array_split(np.arange(len(looks)), PARTS):
        rows = [looks[number] for number in part]
        first, last = rows[0], rows[-1]
        cost = 1000 * (last.processor - first.processor) / max(1, last.steps - first.steps)
        control = float(np.mean([row.control for row in rows]))
        print(
            f"| {first.seconds / 60:.0f} to {last.seconds / 60:.0f} | {np.mean([row.megabytes for row in rows]):.0f} "
            f"| {max(row.files for row in rows)} | {max(row.threads for row in rows)} | {cost:.2f} | {control:.3f} "
            f"| {cost / control:.1f} |"
        )
    print(f"\n{looks[-1].steps:,} steps. Asked to end: exit status {status}, checkpoints {', '.join(kept)}.")


if __name__ == "__main__":
    main()
