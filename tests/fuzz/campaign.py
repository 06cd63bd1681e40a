"""Many inputs to all targets, or to some, in several processes; a report of what came of them.

::

    cd tests; python -m fuzz.campaign --minutes 10 --processes 2 --report ../runs/fuzz.md
    cd tests; python -m fuzz.campaign csv jsonl --inputs 100000

``make fuzz`` does so. Inputs that show a fault are written to ``--faults``; a process that crashes is started again,
and its last input is a fault. ``--seeds`` names a folder with further inputs to begin with, one folder for each target,
as :mod:`fuzz.guided` leaves them.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import platform
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from itertools import count, cycle
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fuzz.harness import MOST_BYTES, PLACE, FaultError, Seen, Target, examine, limit, no_hangs, scratch

STINT = 1000
"""Inputs that a target of share 1 gets at a time."""
SOURCE = re.compile(r"/src/hrkd/([\w/]+\.py)$")


@dataclass
class Result:
    """What a stint gave."""

    name: str
    seen: Seen
    seconds: float
    faults: dict[str, tuple[str, bytes]]


@dataclass
class Total:
    """What a target has had so far; ``faults`` by what they are, with the number of inputs that showed them."""

    seen: Seen = field(default_factory=Seen)
    seconds: float = 0.0
    faults: dict[str, tuple[int, str]] = field(default_factory=dict)


def work(connection: Connection, current: Path, seed: int, seeds: Path | None) -> None:
    """A process: runs the stints that it is told of, until it is told of none."""
    from fuzz.mutation import Mutator
    from fuzz.targets import TARGETS

    mutators: dict[str, tuple[Mutator, Iterator[bytes], Seen]] = {}
    with current.open("wb", buffering=0) as last, no_hangs():
        while (asked := connection.recv()) is not None:
            name, inputs = asked
            target = TARGETS[name]
            if name not in mutators:
                mutator = Mutator(target, seed)
                for file in sorted((seeds / name).glob("*")) if seeds is not None else ():
                    mutator.keep(file.read_bytes()[:MOST_BYTES])
                mutators[name] = mutator, iter(mutator), Seen()
            connection.send(stint(target, *mutators[name], inputs, last))


def stint(target: Target, mutator: Any, inputs: Iterator[bytes], known: Seen, number: int, last: Any) -> Result:
    """Some inputs to one target; ``last`` is where each is written before it is tried."""
    seen, faults, start = Seen(answers=known.answers), dict[str, tuple[str, bytes]](), time.perf_counter()
    for data, _ in zip(inputs, range(number), strict=False):
        last.seek(0)
        last.write(len(data).to_bytes(4, "little") + data)
        limit()
        try:
            if examine(target, data, seen):
                mutator.keep(data)
        except FaultError as error:
            seen.inputs += 1
            faults.setdefault(shape_of(error), (str(error), data))
    seen.answers = set()
    return Result(target.name, seen, time.perf_counter() - start, faults)


def shape_of(error: FaultError) -> str:
    """What a fault is, whatever the input: the exception and where in the library it was raised."""
    cause = error.__cause__
    frames = traceback.extract_tb(cause.__traceback__) if cause is not None else []
    where = [f"{found[1]}:{f.lineno}" for f in frames if (found := SOURCE.search(f.filename))]
    return f"{type(cause).__name__} in {where[-1]}" if where else re.sub(r"[\d,.]+|'.*'", "_", str(error))[:80]


class Worker:
    """A process that is started again where it crashes."""

    def __init__(self, number: int, seed: int, seeds: Path | None) -> None:
        self.current = scratch("current") / str(number)
        self.seeds, self.numbers = seeds, count(seed * 1000 + number, 100)
        self.start()

    def start(self) -> None:
        self.task: tuple[str, int] | None = None
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, self.current, next(self.numbers), self.seeds)
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def give(self, name: str, inputs: int) -> None:
        self.task = name, inputs
        self.connection.send(self.task)

    def result(self) -> Result:
        """What the stint gave, or the input at which the process crashed."""
        assert self.task is not None
        try:
            return self.connection.recv()
        except EOFError:
            self.process.join()
            raw = self.current.read_bytes()
            data = raw[4 : 4 + int.from_bytes(raw[:4], "little")]
            what = f"{self.task[0]}: the process ended with {self.process.exitcode}"
            name = self.task[0]
            self.start()
            return Result(name, Seen(inputs=1), 0.0, {f"a crash ({self.process.exitcode})": (what, data)})
        finally:
            self.task = None

    def end(self) -> None:
        self.connection.send(None)
        self.process.join(10)


def run(options: argparse.Namespace) -> dict[str, Total]:
    """The campaign; the report is written again and again."""
    from fuzz.targets import TARGETS

    targets = [TARGETS[name] for name in options.targets or TARGETS]
    totals = {target.name: Total() for target in targets}
    started = time.perf_counter()
    workers = [Worker(number, options.seed, options.seeds) for number in range(options.processes)]
    free, order, written = list(workers), cycle(targets), started
    size = STINT if options.inputs is None else min(STINT, options.inputs / sum(target.share for target in targets))

    def wanted() -> bool:
        if options.minutes is not None and time.perf_counter() - started > 60 * options.minutes:
            return False
        return options.inputs is None or sum(total.seen.inputs for total in totals.values()) < options.inputs

    while wanted() or len(free) < len(workers):
        while free and wanted():
            target = next(order)
            free.pop().give(target.name, max(10, round(size * target.share)))
        for connection in wait([worker.connection for worker in workers if worker.task], timeout=600):
            worker = next(each for each in workers if each.connection is connection)
            add(totals, worker.result(), options.faults)
            free.append(worker)
        if time.perf_counter() - written > 60:
            written = time.perf_counter()
            options.report.write_text(report(totals, options, written - started), encoding="utf-8")
    for worker in workers:
        worker.end()
    options.report.write_text(report(totals, options, time.perf_counter() - started), encoding="utf-8")
    return totals


def add(totals: dict[str, Total], result: Result, folder: Path) -> None:
    """Count a stint, and keep the inputs that show a fault."""
    total, seen = totals[result.name], result.seen
    total.seconds += result.seconds
    total.seen.inputs += seen.inputs
    total.seen.errors += seen.errors
    total.seen.most_memory = max(total.seen.most_memory, seen.most_memory)
    if seen.slowest > total.seen.slowest:
        total.seen.slowest, total.seen.slowest_input = seen.slowest, seen.slowest_input
    for shape, (message, data) in result.faults.items():
        times, known = total.faults.get(shape, (0, message))
        total.faults[shape] = times + 1, known
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{result.name}-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
        if not times:
            sys.stderr.write(f"{result.name}: {shape}: {message}\n")


def report(totals: dict[str, Total], options: argparse.Namespace, seconds: float) -> str:
    """What came of a campaign, as Markdown."""
    inputs = sum(total.seen.inputs for total in totals.values())
    faults = sum(len(total.faults) for total in totals.values())
    names = ("pyarrow", "torch", "transformers", "pydantic")
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    took = f"{seconds / 60:,.0f} minutes, {options.processes} process(es), seed {options.seed}"
    lines = [
        f"* {inputs:,} inputs to {len(totals)} targets in {took}; {faults} kinds of faults",
        f"* Python {platform.python_version()}, {packages}; {platform.system()}, {platform.machine()}",
        "",
        "| target | inputs | refused | kinds of faults | slowest, ms | memory, MiB | inputs a second |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, total in totals.items():
        seen = total.seen
        rate = f"{seen.inputs / total.seconds:,.0f}" if total.seconds else "-"
        share = f"{100 * seen.errors / seen.inputs:.0f} %" if seen.inputs else "-"
        lines.append(
            f"| {name} | {seen.inputs:,} | {share} | {len(total.faults)} | {1000 * seen.slowest:,.0f} | "
            f"{seen.most_memory / (1 << 20):,.1f} | {rate} |"
        )
    lines += ["", *(f"* {n}: {shape}: {t} stints; {m[:300]}" for n, each in totals.items()
                    for shape, (t, m) in each.faults.items())]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--inputs", type=int, help="how many, over all targets")
    parser.add_argument("--minutes", type=float, help="how long; default, without --inputs: 10")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, default=Path("fuzz.md"))
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"))
    parser.add_argument("--seeds", type=Path)
    options = parser.parse_args()
    if options.inputs is None and options.minutes is None:
        options.minutes = 10
    os.environ[PLACE] = str(scratch("workers"))  # a process that crashes or is killed leaves what it had
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    totals = run(options)
    sys.stdout.write(options.report.read_text(encoding="utf-8"))
    return int(any(total.faults for total in totals.values()))


if __name__ == "__main__":
    sys.exit(main())
