"""Running one input against one target, and what counts as a fault.

A target is a function of bytes. Whatever the bytes are, it has to end in less than a second of processor time, without
another exception than one of hrkd whose message names the file, within bounded memory, and with every row accounted
for. What it returns, or the error's message without its particulars, is the *answer*; inputs with a new answer are
worth changing further.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from hrkd.errors import HrkdError

SECONDS = 1.0
"""Of processor time that an input may take (inputs have at most ``MOST_BYTES``)."""
MOST_BYTES = 1 << 15
TIMES, CONSTANT = 10, 64 << 20
"""Memory that an input may take: ten times its bytes, and 64 MiB."""
LONGEST_MESSAGE = 10_000
"""Characters of an error."""
PLACE = "HRKD_FUZZ_SCRATCH"
"""Variable of the folder in which processes that were started together have their scratch."""
HANGS = 30
"""Seconds of processor time after which an input is given up."""
PARTICULARS = re.compile(r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"|\d[\d,.]*|/\S+|[^\x20-\x7e]+")


class FaultError(AssertionError):
    """An input showed a fault of the library; the message says which."""


class Hang(BaseException):
    """An input took so long that it was given up; no handler of the library may take it for an error."""


@dataclass(frozen=True)
class Target:
    """A reader of bytes.

    Args:
        name: by which it is chosen.
        run: reads bytes, and returns a word for what came of it.
        seeds: bytes to begin with, sound ones first.
        words: pieces that mean something to it.
        names: one of these stands in every error's message; none: any message will do.
        share: of the inputs of a campaign, compared with other targets; slow ones have less.
        form: of its inputs: ``text``; ``json``, whose values can be exchanged; or ``bytes``.
    """

    name: str
    run: Callable[[bytes], str]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes] = ()
    names: Sequence[str] = ()
    share: float = 1.0
    form: str = "text"

    @cache  # noqa: B019  # targets live as long as the process
    def seed_list(self) -> tuple[bytes, ...]:
        """The seeds, made once."""
        return tuple(self.seeds())


@dataclass
class Seen:
    """What came of many inputs."""

    inputs: int = 0
    errors: int = 0
    answers: set[str] = field(default_factory=set)
    slowest: float = 0.0
    slowest_input: bytes = b""
    most_memory: int = 0

    def note(self, answer: str, is_error: bool, seconds: float, memory: int, data: bytes) -> bool:
        """Count one input; returns whether its answer is new."""
        self.inputs += 1
        self.errors += is_error
        self.most_memory = max(self.most_memory, memory)
        if seconds > self.slowest:
            self.slowest, self.slowest_input = seconds, data
        new = answer not in self.answers
        if new:
            self.answers.add(answer)
        return new


def examine(target: Target, data: bytes, seen: Seen) -> bool:
    """Run one input; returns whether its answer is a new one.

    Raises:
        FaultError: the input shows one.
    """
    before = _forget_peak()
    start = time.process_time()
    try:
        answer, is_error = target.run(data), False
    except HrkdError as error:
        answer, is_error = _answer_of(target, error), True
    except Hang as error:
        raise FaultError(f"{target.name}: still at work after {HANGS} s") from error
    except Exception as error:
        raise FaultError(f"{target.name}: {type(error).__name__}: {str(error)[:300]}") from error
    seconds = time.process_time() - start
    grown = _peak() - before
    if seconds > SECONDS and (seconds := _again(target, data)) > SECONDS:
        raise FaultError(f"{target.name}: {seconds:.1f} s for {len(data):,} bytes")
    if grown > TIMES * len(data) + CONSTANT:
        raise FaultError(f"{target.name}: {grown >> 20:,} MiB for {len(data):,} bytes")
    return seen.note(answer, is_error, seconds, grown, data)


def _answer_of(target: Target, error: HrkdError) -> str:
    said = str(error)
    if target.names and not any(name in said for name in target.names):
        raise FaultError(f"{target.name}: the error names no file: {said[:300]}") from error
    if len(said) > LONGEST_MESSAGE:
        raise FaultError(f"{target.name}: an error of {len(said):,} characters: {said[:300]}") from error
    return f"{type(error).__name__}: {PARTICULARS.sub('_', said)[:120]}"


def measured(call: Callable[[], Any]) -> tuple[Any, float, int]:
    """What a call gives, or the error of hrkd that it raises; its processor time, and the memory that it took."""
    before, start = _forget_peak(), time.process_time()
    try:
        found = call()
    except HrkdError as error:
        found = error
    return found, time.process_time() - start, _peak() - before


def _again(target: Target, data: bytes) -> float:
    """The time of a second try: what is made once is not the input's."""
    start = time.process_time()
    with suppress(HrkdError):
        target.run(data)
    return time.process_time() - start


def _peak() -> int:
    """The most memory that this process has had since :func:`_forget_peak`, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@cache
def _reset(process: int) -> IO[bytes] | None:
    del process
    try:
        return open("/proc/self/clear_refs", "wb", buffering=0)  # noqa: PTH123
    except OSError:
        return None


def _forget_peak() -> int:
    """Begin to look for the peak anew, as far as the system allows it; the memory that is in use."""
    if (file := _reset(os.getpid())) is not None:
        with suppress(OSError):
            file.write(b"5")
    return _peak()


@contextmanager
def no_hangs() -> Iterator[None]:
    """A context in which an input that does not end is given up, and a crash says where it was."""

    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    faulthandler.enable()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit() -> None:
    """Begin to count the time of an input anew."""
    signal.setitimer(signal.ITIMER_PROF, HANGS)


@cache
def _scratch(process: int) -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")  # where writing is quick; elsewhere the usual place will do
    place = os.environ.get(PLACE) or (memory if memory.is_dir() else None)
    return tempfile.TemporaryDirectory(prefix=f"hrkd-fuzz-{process}-", dir=place)


def scratch(name: str) -> Path:
    """A folder of this process, gone with it."""
    folder = Path(_scratch(os.getpid()).name) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Told(logging.Handler):
    """Messages that the library logs."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def told(logger: str) -> Iterator[list[str]]:
    """The messages of a logger in the context, which go nowhere else."""
    handler, log = Told(), logging.getLogger(logger)
    passed_on, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield handler.messages
    finally:
        log.removeHandler(handler)
        log.propagate = passed_on


@contextmanager
def quiet() -> Iterator[None]:
    """A context without the bars and warnings of libraries."""
    import datasets

    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def must(condition: object, what: str) -> None:
    """Raise a fault where the condition does not hold."""
    if not condition:
        raise FaultError(what)
