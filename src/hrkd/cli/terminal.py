"""What the command line does to its process: log lines, a console, and quiet libraries."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hrkd.support.allocator import keep_freed_memory
from hrkd.support.launch import launch
from hrkd.support.messages import visible

if TYPE_CHECKING:
    from rich.console import Console

    from hrkd.support.progress import Progress

__all__ = ["heavy_imports", "prepare", "prepare_process", "progress", "result_console"]

WIDTH_OF_FILES = 240
ENVIRONMENT = {
    "DATASETS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def prepare(*, data_only: bool = False) -> Console:
    """Make the process ready for work; returns the console for results, as :func:`result_console`."""
    prepare_process()
    return result_console(data_only=data_only)


def prepare_process() -> None:
    """Make ready for work that loads models: log lines on stderr, no advice and bars of other libraries.

    Variables that the user has set stay as they are. Nothing heavy is imported.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    keep_freed_memory()
    _log_to_stderr()


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Import torch and the like in half the time: without looking for garbage meanwhile, nor in all this ever again.

    Of the hundreds of thousands of objects that these modules consist of nearly all stay, and to look through them,
    under way and at the end of the process, takes as long as to make them. Does nothing where torch is there already.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def result_console(*, data_only: bool = False) -> Console:
    """Standard output, or standard error where the former is for data; in files and pipes wide enough for any table."""
    from rich.console import Console

    width = None if (sys.stderr if data_only else sys.stdout).isatty() else WIDTH_OF_FILES
    return Console(stderr=data_only, width=width, markup=False, highlight=False, quiet=not launch().is_first)


def progress() -> Progress:
    """Progress on the console of the log lines, so that neither overwrites the other."""
    from hrkd.support.progress import Progress

    handlers = logging.getLogger("hrkd").handlers
    console = next((handler.console for handler in handlers if hasattr(handler, "console")), None)
    return Progress(launch().is_first, console)


def _log_to_stderr() -> None:
    logger = logging.getLogger("hrkd")
    logger.handlers = [_handler()]
    logger.setLevel(logging.INFO if launch().is_first else logging.ERROR)


def _handler() -> logging.Handler:
    if not sys.stderr.isatty():
        plain = logging.StreamHandler(sys.stderr)
        plain.setFormatter(_Visible("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
        return plain
    from rich.console import Console
    from rich.logging import RichHandler

    rich = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S")
    rich.setFormatter(_Visible("%(message)s"))
    return rich


class _Visible(logging.Formatter):
    """Control characters in names of somebody's data are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))
