"""What a table's prediction has found so far, beside its output, so that an interrupted one goes on where it stopped.

::

    .OUTPUT.hrkd-journal    {"format": "hrkd-prediction-journal", "version": 1, "key": ...}
                            {"rows": 1000, "found": "<float64 numbers in base64>", "sum": <crc32 of it>}
                            ...

One line for each chunk of rows, in the order of the table. The key is a hash of all that decides the numbers: model,
tokenizer, content of the input, columns. Nothing but a file with the first line above is ever replaced or removed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from hrkd.errors import DataError
from hrkd.support.atomic_files import CannotWriteError, clear_leftovers, writing
from hrkd.support.json_text import parse_json

if TYPE_CHECKING:
    from hrkd.deploy.predict import Predictor

__all__ = ["Journal", "hash_of", "journal_of"]

logger = logging.getLogger("hrkd.predict")

HEAD = {"format": "hrkd-prediction-journal", "version": 1}


def hash_of(predictor: Predictor, source: Path, **options: Any) -> str:
    """A hash of all that decides what ``predictor`` finds for the table ``source`` with ``options``."""
    total = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    total.update(predictor.engine.digest().encode())
    with source.open("rb") as content:
        total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


@contextmanager
def journal_of(output: Path, key: str) -> Iterator[Journal]:
    """The journal of the table ``output``; it is removed when the ``with`` block ends without an error, or with
    one of the data.

    What a killed process left half written beside ``output`` is removed.

    Raises:
        ArtifactError: it cannot be written.
        DataError: a file of its name is something else, or another process has it.
    """
    path = output.parent / f".{output.name}.hrkd-journal"
    with ExitStack() as stack:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = _locked(path, output)
            stack.callback(_close, file)
            clear_leftovers(output.parent, lambda name: name == output.name)
            journal = Journal(file, path, key)
        try:
            yield journal
        except BaseException as error:
            # What is wrong with the data stays so; all else may be an interruption.
            if journal.is_empty() or isinstance(error, DataError):
                path.unlink(missing_ok=True)
            elif isinstance(error, CannotWriteError):
                kept = f"{path} keeps what was found so far, and the same command goes on with it"
                raise CannotWriteError(f"{error}. {kept}") from error
            raise
        path.unlink(missing_ok=True)


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # a disk that is full has been told
        file.close()


def _locked(path: Path, output: Path) -> IO[bytes]:
    """The journal's file, which nobody else has."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            _lock(file, output)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # who had it has ended meanwhile, and removed it


def _lock(file: IO[bytes], output: Path) -> None:
    """Make sure that nobody else has the journal, for as long as this process lives."""
    try:
        import fcntl
    except ImportError:  # Windows, where a second process would spoil no more than the going on of both
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DataError(f"{output}: another hrkd predict is writing it; wait for it, or end it") from error


class Journal:
    """Numbers of chunks in their order: first those that are there, then those that are added."""

    def __init__(self, file: IO[bytes], path: Path, key: str) -> None:
        self.file, self.path = file, path
        self.rows = 0
        self.reading = True
        head = json.dumps({**HEAD, "key": key}).encode() + b"\n"
        first = file.readline(1 << 12)
        if first != head:
            if first:
                _check_own(path, first)
                logger.info("%s: of another model, input or options; begins anew", path.name)
            file.seek(0)
            file.truncate()
            file.write(head)
        self.start = len(head)

    def is_empty(self) -> bool:
        """Whether nothing is kept yet."""
        return os.fstat(self.file.fileno()).st_size <= self.start

    def next(self, rows: int, columns: int) -> np.ndarray | None:
        """What was found for the next ``rows``, shape (rows, columns); None: not known, and of no later ones either."""
        if not self.reading:
            return None
        start = self.file.tell()
        found = _read(self.file.readline(), rows, columns)
        if found is not None:
            self.rows += rows
            return found
        self.reading = False
        self.file.seek(start)
        self.file.truncate()  # what comes is damaged, cut off by the interruption
        if self.rows:
            logger.info("%s: goes on after %s rows", self.path.name, f"{self.rows:,}")
        return None

    def add(self, found: np.ndarray) -> None:
        """Keep what was found for the next rows."""
        text = base64.b64encode(np.ascontiguousarray(found, dtype="<f8").tobytes()).decode()
        line = {"rows": len(found), "found": text, "sum": zlib.crc32(text.encode())}
        with writing(self.path):
            self.file.write(json.dumps(line).encode() + b"\n")
            self.file.flush()
        self.rows += len(found)


def _check_own(path: Path, first: bytes) -> None:
    try:
        head = parse_json(first.decode())
    except ValueError:
        head = None
    if not isinstance(head, dict) or head.get("format") != HEAD["format"]:
        raise DataError(f"{path}: no journal of hrkd predict, which would write one there; move or rename it")


def _read(line: bytes, rows: int, columns: int) -> np.ndarray | None:
    """The numbers of a line, if it is whole and of as many rows."""
    try:
        content = parse_json(line.decode()) if line.endswith(b"\n") else {}
        if content["rows"] == rows and zlib.crc32(content["found"].encode()) == content["sum"]:
            return np.frombuffer(base64.b64decode(content["found"]), dtype="<f8").reshape(rows, columns)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return None
