"""Standard output of every verb: what cannot be shown is escaped, what cannot be written is told once, data is JSON."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrkd.errors import DataError
from hrkd.support.launch import launch

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["ReaderGoneError", "print_json", "standard_output"]

ESCAPED = "backslashreplace"


class ReaderGoneError(Exception):
    """The reader of a pipe, such as `head`, wants no more."""


class _Sink(io.FileIO):
    """A file of which an error of the system is told once; what is left in buffers then goes nowhere."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb", closefd=False)
        self.is_lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        """As any file's, with errors of hrkd."""
        if self.is_lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError as error:
            self.is_lost = True
            raise ReaderGoneError from error
        except OSError as error:
            self.is_lost = True
            raise DataError(f"standard output: cannot be written ({error.strerror or error})") from error


@contextmanager
def standard_output() -> Iterator[None]:
    """A context that may print. What somebody has put in the place of the process's own output is left there.

    Raises:
        DataError: standard output is closed, or what was printed cannot be written, such as to a full disk.
        ReaderGoneError: its reader has gone.
    """
    if sys.stderr is None:  # closed: nobody wants to know
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        raise DataError("standard output: closed; let it lead somewhere, such as > FILE or > /dev/null")
    given = sys.stdout
    if given is not sys.__stdout__ or not isinstance(given, io.TextIOWrapper):
        if isinstance(given, io.TextIOWrapper):
            given.reconfigure(errors=ESCAPED)
        yield
        given.flush()
        return
    given.flush()
    buffer = io.BufferedWriter(_Sink(given.fileno()))
    shown = io.TextIOWrapper(buffer, given.encoding, ESCAPED, line_buffering=given.line_buffering)
    sys.stdout = shown
    try:
        yield
        shown.flush()
    finally:
        sys.stdout = given
        with suppress(DataError, ReaderGoneError):  # which has been told
            shown.flush()


def print_json(content: Any, *, in_a_line: bool = False) -> None:
    """Write ``content`` to standard output as a JSON document; of several processes of a launch the first does."""
    if not launch().is_first:
        return
    readable = "utf" in (sys.stdout.encoding or "utf").lower()
    text = json.dumps(content, indent=None if in_a_line else 2, ensure_ascii=not readable)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
