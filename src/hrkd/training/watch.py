"""Whether the other processes of a launch are still there, so that none waits for one that is not.

Who waits in an exchange of numbers for a process that was stopped, or that waits elsewhere, waits for ever. So each
process of a launch has a thread that tells the others every second, through the store by which they found each other,
that it is there and what it is at; who fails says so there. A process of which nothing is heard, or that failed, ends
the others at once, whatever they are waiting in. One process alone has no such thread.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any

from torch import distributed

from hrkd.errors import HrkdError
from hrkd.support.launch import launch
from hrkd.support.messages import first_line, visible

__all__ = ["LOST", "leave", "phase", "start_watching"]

LOST = 3
"""Exit status of a process that ends because another of its launch is gone."""
USER_ERROR = 2

EVERY = 1.0
"""Seconds between two signs of life."""
PATIENCE = 6
"""Signs of life that may be missed."""
DOUBTFUL = 3
"""Signs missed after which an interrupt may be the launcher's, which ends all once one is gone."""
LATE = 3.0
"""Seconds between two looks after which this process itself was held up, and what it counted says nothing."""
GRACE = 1.5
"""Seconds in which a process that has the same error as another tells it itself."""
SILENT = f"has not been heard of for {PATIENCE * EVERY:.0f} s"
LEFT, LEAVING = "left", ", interrupted"


@dataclass(frozen=True)
class _Fault:
    """Why the others end: ``ranks`` that are gone or failed, in a ``phase``, and with what exit ``status``."""

    ranks: tuple[int, ...]
    phase: str
    status: int
    told: str


class _Watch:
    """This process's part in watching: its signs of life, and the signs of the others."""

    def __init__(self) -> None:
        found = launch()
        self.rank, self.size = found.rank, found.size
        self.first_here = found.rank - int(os.environ["LOCAL_RANK"])
        self.has_store_inside = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"  # the first process has it
        self.phase, self.count = "load", 0
        self.leaving, self.has_left = threading.Event(), threading.Event()
        self.missed = dict.fromkeys((r for r in range(self.size) if r != self.rank), 0)
        self.heard = dict.fromkeys(self.missed, "")
        self.all_there = False
        self.looked = time.monotonic()
        self.prefix = f"hrkd/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        self.store = distributed.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=PATIENCE * EVERY),
        )
        # The store may lie in the first process: one thread that may hang with it, and one that looks after that.
        works = self._exchange, self._look_after
        self.threads = [threading.Thread(target=work, name="hrkd-watch", daemon=True) for work in works]
        for thread in self.threads:
            thread.start()
        atexit.register(self._end)

    def _key(self, rank: int) -> str:
        return f"{self.prefix}/{rank}"

    def _exchange(self) -> None:
        while not self.has_left.wait(EVERY):
            with suppress(RuntimeError, OSError):
                self.tell()
                self._listen()
                self._look()

    def tell(self) -> None:
        """Give a sign of life, with what this process is at."""
        self.count += 1
        if not self.has_left.is_set():
            self.store.set(self._key(self.rank), f"{self.count} {self.phase}")

    def enter(self, phase: str) -> None:
        """Be at something else from now on."""
        self.phase = phase
        with suppress(RuntimeError, OSError):
            self.tell()

    def _listen(self) -> None:
        fault, ranks = f"{self.prefix}/fault", list(self.missed)
        if self.store.check([fault]):
            self._follow(_Fault(**json.loads(self.store.get(fault))))
        self.all_there = self.all_there or self.store.check([self._key(rank) for rank in ranks])
        if not self.all_there:  # to ask for what is not there would be to wait for it
            ranks = [rank for rank in ranks if self.store.check([self._key(rank)])]
        told = {rank: said.decode() for rank, said in zip(ranks, self._said_by(ranks), strict=True)}
        for rank, before in self.heard.items():
            known = told.get(rank, "")
            self.missed[rank] = 0 if known != before or known == LEFT else self.missed[rank] + 1
            self.heard[rank] = known

    def _said_by(self, ranks: list[int]) -> list[bytes]:
        found: list[bytes] = self.store.multi_get([self._key(rank) for rank in ranks]) if ranks else []
        return found

    def _look(self) -> None:
        """Whether anyone is gone, by the signs that were missed."""
        now = time.monotonic()
        if now - self.looked > LATE:
            self.missed = dict.fromkeys(self.missed, 0)
        self.looked = now
        gone = tuple(rank for rank, count in self.missed.items() if count >= PATIENCE)
        if gone:
            at = next((told for rank in gone if (told := self.heard[rank].partition(" ")[2])), "load")
            self._post(fault := _Fault(gone, at, LOST, SILENT))
            self._follow(fault)

    def _look_after(self) -> None:
        """Whether the store still answers."""
        last, seen, silent = time.monotonic(), -1.0, 0
        while not self.has_left.wait(EVERY):
            late, last = time.monotonic() - last > LATE, time.monotonic()
            silent = silent + 1 if self.looked == seen and not late else 0
            seen = self.looked
            if silent >= PATIENCE and not self.leaving.is_set():
                at = self.heard.get(0, "").partition(" ")[2] or self.phase
                self._follow(_Fault((0,) if self.has_store_inside else (), at, LOST, SILENT))

    def _post(self, fault: _Fault) -> None:
        """Tell all; the first who does is believed."""
        with suppress(RuntimeError, OSError):
            self.store.compare_set(f"{self.prefix}/fault", "", json.dumps(asdict(fault)))

    def _follow(self, fault: _Fault) -> None:
        """End this process for the sake of another."""
        ranks = list(fault.ranks)
        if self.rank in ranks:
            return
        if self.leaving.wait(GRACE if fault.status == USER_ERROR else 0):
            return  # with a word of its own
        if self.rank == min(set(range(self.first_here, self.rank + 1)) - set(ranks)):
            names = " and ".join(f"process {rank + 1} of {self.size} (rank {rank})" for rank in ranks) or "the launcher"
            known = fault.status == USER_ERROR and self.first_here not in ranks
            _say(f'{"error: " if known else ""}{names} {fault.told}, in phase "{fault.phase}"; this process ends too')
        os._exit(fault.status)

    def leave(self, status: int, error: BaseException) -> None:
        """Tell the others why this process ends; wait a moment if it may be for the sake of one that is gone."""
        if _may_be_another(error):
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's word, which would cut this one short
            began, interrupted = time.monotonic(), isinstance(error, KeyboardInterrupt)
            self.phase = f"{self.phase}{LEAVING if interrupted else ''}"
            while (passed := time.monotonic() - began) < (PATIENCE + 1.5) * EVERY:
                time.sleep(EVERY / 4)
                doubtful = any(missed >= DOUBTFUL for missed in self.missed.values())
                if interrupted and not doubtful and passed > (DOUBTFUL + 1) * EVERY:
                    break
                if interrupted and all(told == LEFT or told.endswith(LEAVING) for told in self.heard.values()):
                    break
        self.leaving.set()
        what = first_line(error) if isinstance(error, Exception) else type(error).__name__
        if isinstance(error, Exception) and not isinstance(error, HrkdError):
            what = f"{type(error).__name__}: {what}"
        self._post(_Fault((self.rank,), self.phase, status, f"ended ({what:.300})"))

    def _end(self) -> None:
        """A process that is through is not missed."""
        self.leaving.set()
        self.has_left.set()
        for thread in self.threads:  # one that is in the store when Python ends would abort the process
            thread.join(PATIENCE * EVERY)
        with suppress(RuntimeError, OSError):
            self.store.set(self._key(self.rank), LEFT)
            until = time.monotonic() + PATIENCE * EVERY
            # Where the store lies in this process the others still look into it.
            while self.rank == 0 and self.has_store_inside and time.monotonic() < until:
                if all(said == LEFT.encode() for said in self._said_by(list(self.heard))):
                    break
                time.sleep(EVERY / 4)


class _Here:
    """What there is once in a process: its part in the launch that it belongs to."""

    watch: _Watch | None = None


def start_watching() -> None:
    """Begin to watch the other processes of the launch that this one belongs to, once they have found each other."""
    if _Here.watch is None and launch().size > 1:
        _Here.watch = _Watch()
        before = sys.excepthook

        def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
            before(kind, error, trace)
            leave(LOST, error)

        sys.excepthook = hook


def leave(status: int, error: BaseException) -> None:
    """End the other processes of the launch too, as this one ends with an ``error`` and an exit ``status``."""
    if _Here.watch is not None:
        _Here.watch.leave(status, error)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """What the others are told that this process is at."""
    watch = _Here.watch
    if watch is None:
        yield
        return
    before = watch.phase
    watch.enter(name)
    yield
    watch.enter(before)  # where an error has come it stays, for who tells of it


def _may_be_another(error: BaseException) -> bool:
    """Whether an error can be the end of another process, or what a launcher does about it."""
    is_group = isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
    return is_group or isinstance(error, KeyboardInterrupt)


def _say(message: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{visible(message)}\n")
            sys.stderr.flush()
