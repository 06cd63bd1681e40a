"""Progress of long work: a bar with rate and time left on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from hrkd.support.messages import duration_of

__all__ = ["Bar", "Progress", "Show", "quiet"]

logger = logging.getLogger("hrkd.progress")
SECONDS_BETWEEN_LINES = 30.0

Show = Callable[[object], None]
"""Receives tables and lines meant for a person, as they come up."""


def quiet(_: object) -> None:
    """Shows nothing."""


class Bar:
    """One piece of work of known size, counted in ``unit``; ``later``: as much as follows at most, in later epochs."""

    def __init__(
        self,
        title: str,
        total: int,
        unit: str,
        *,
        later: int = 0,
        display: RichProgress | None = None,
        lines: bool = False,
    ) -> None:
        self.title, self.total, self.unit, self.later = title, total, unit, later
        self._display, self._lines = display, lines
        self._done = self._skipped = 0
        self._start = self._last_line = time.monotonic()
        self._task: TaskID | None = None
        if display is not None:
            self._task = display.add_task(title, total=total, rate="")

    def skip(self, amount: int) -> None:
        """Count what was done at an earlier time, which says nothing of the rate; before anything else."""
        self._done += amount
        self._skipped += amount
        if self._display is not None and self._task is not None:
            self._display.reset(self._task, completed=amount, rate="")

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count ``amount`` more; ``note`` (such as the loss) is shown beside the rate."""
        self._done += amount
        now = time.monotonic()
        rate = (self._done - self._skipped) / max(now - self._start, 1e-9)
        shown = f"{rate:.1f} {self.unit}/s"
        if self._display is not None and self._task is not None:
            in_all = f"≤ {duration_of(self._seconds_left(rate))} in all" if self.later else ""
            told = ", ".join(part for part in (shown, in_all, note) if part)
            self._display.update(self._task, advance=amount, rate=told)
        elif self._lines and now - self._last_line >= SECONDS_BETWEEN_LINES and self._done < self.total:
            self._last_line = now
            left = f"{duration_of((self.total - self._done) / rate)} left"
            if self.later:
                left += f" of this epoch, at most {duration_of(self._seconds_left(rate))} of all epochs"
            parts = [f"{self._done}/{self.total} {self.unit}", shown, left, note]
            logger.info("%s: %s", self.title, ", ".join(part for part in parts if part))

    def _seconds_left(self, rate: float) -> float:
        """Of this epoch and those that may follow."""
        return (self.total - self._done + self.later) / rate


class Progress:
    """Where progress goes. ``enabled`` False shows nothing; by default bars appear on terminals only."""

    def __init__(self, enabled: bool = True, console: Console | None = None) -> None:
        self._enabled = enabled
        self._console = console or Console(stderr=True)

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str, later: int = 0) -> Iterator[Bar]:
        """A bar that lives as long as the ``with`` block."""
        if not self._enabled:
            yield Bar(title, total, unit)
        elif self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),  # has what the others leave of the line
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[rate]}"),
            )
            with RichProgress(*columns, console=self._console, transient=True, expand=True) as display:
                yield Bar(title, total, unit, later=later, display=display)
        else:
            yield Bar(title, total, unit, later=later, lines=True)
