"""What the command line does to its process: log lines, a console, and quiet libraries."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from hrkd.training.progress import Progress

__all__ = ["keep_freed_memory", "prepare", "progress", "result_console"]

WIDTH_OF_FILES = 160
M_TRIM_THRESHOLD, M_MMAP_MAX = (-1, 2**31 - 1), (-4, 0)
"""Options of glibc's mallopt(3) and their values: give nothing back, take everything from the heap."""

ENVIRONMENT = {
    "DATASETS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def prepare() -> Console:
    """Make ready for work that loads models: log lines on stderr, no advice and bars of other libraries.

    Returns the console for results. Variables that the user has set stay as they are.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    keep_freed_memory()
    _log_to_stderr()
    _silence_transformers()
    return result_console()


def keep_freed_memory() -> bool:
    """Have this process keep the memory of freed tensors for the next ones; whether that could be done (with glibc).

    A step frees and takes hundreds of megabytes. Given back to the system they return as empty pages one by one, which
    costs a tenth of a distillation step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(*option) == 1 for option in (M_TRIM_THRESHOLD, M_MMAP_MAX))


def result_console() -> Console:
    """Standard output; in files and pipes wide enough for every table."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH_OF_FILES
    return Console(width=width, markup=False, highlight=False)


def progress() -> Progress:
    """Progress on the console of the log lines, so that neither overwrites the other."""
    from hrkd.training.progress import Progress

    handlers = logging.getLogger("hrkd").handlers
    console = next((handler.console for handler in handlers if hasattr(handler, "console")), None)
    return Progress(_is_main_process(), console)


def _log_to_stderr() -> None:
    logger = logging.getLogger("hrkd")
    logger.handlers = [_handler()]
    logger.setLevel(logging.INFO if _is_main_process() else logging.ERROR)


def _handler() -> logging.Handler:
    if not sys.stderr.isatty():
        plain = logging.StreamHandler(sys.stderr)
        plain.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
        return plain
    from rich.console import Console
    from rich.logging import RichHandler

    return RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S")


def _is_main_process() -> bool:
    """False in all but the first process of a launch on several."""
    return os.environ.get("RANK", "0") == "0"


def _silence_transformers() -> None:
    """Hide the bars of loading weights, for which there is no variable of their own."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
