"""Bytes and characters of text files: gzip by suffix, strict UTF-8 with clear errors, lenient lines for old corpora."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from hrkd.errors import DataError
from hrkd.support.messages import Found

__all__ = ["check_text", "decode_lenient", "lenient_lines", "open_text", "read_lines"]

BOM = b"\xef\xbb\xbf"
BLOCK = 1 << 20


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed if its name ends in ``.gz``.

    Raises:
        DataError: the file cannot be read, or is not a complete gzip file.
    """
    try:
        with path.open("rb") as file:
            if path.suffix != ".gz":
                yield file
                return
            with gzip.open(file, "rb") as content:
                yield cast("IO[bytes]", content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: not a complete gzip file ({error}); fetch or compress it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


@contextmanager
def open_text(path: Path, newline: str) -> Iterator[IO[str]]:
    r"""A user's text file to read lines from: UTF-8, with or without a byte order mark; see :func:`check_text`.

    ``newline``: the empty string: LF, CR and CR LF end a line; "\n": LF alone.
    """
    with _opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline=newline) as text:
        yield text


def check_text(path: Path) -> int:
    """Look through a text file of a user; its length in bytes, decompressed.

    Raises:
        DataError: the file cannot be read, is empty or is not UTF-8; names lines and the probable encoding.
    """
    decoder, length, blank, faulty = codecs.getincrementaldecoder("utf-8-sig")(), 0, True, False
    with _opened(path) as file:
        while block := file.read(BLOCK):
            length += len(block)
            if not faulty:
                try:
                    blank = not decoder.decode(block).strip() and blank
                except UnicodeDecodeError:
                    faulty = True
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        faulty = True
    if faulty:
        raise DataError(_undecodable(path))
    if blank:
        raise DataError(f"{path}: the file is empty; expected a table with a header")
    return length


def read_lines(path: Path) -> list[bytes]:
    r"""Lines of a file that end in LF or CR LF, without their ends and without a byte order mark.

    No other character ends a line: a lone CR, U+0085 and U+2028 occur inside of texts.

    Raises:
        DataError: the file cannot be read, or is not a complete gzip file.
    """
    with _opened(path) as file:
        lines = file.read().removeprefix(BOM).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def lenient_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text (:func:`decode_lenient`) of each of :func:`read_lines`.

    Raises:
        DataError: as there.
    """
    return enumerate(map(decode_lenient, read_lines(path)), 1)


def decode_lenient(line: bytes) -> str:
    """One line of an old corpus: UTF-8, or else Windows-1252, with U+FFFD for what neither knows."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def _undecodable(path: Path) -> str:
    """What is wrong with a file that is not UTF-8: the lines, and the encoding that it probably has."""
    faults, likely = Found(), "WINDOWS-1252"
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return f"{path.name}: the file is in UTF-16, expected UTF-8; convert it (iconv -f UTF-16 -t UTF-8)"
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                faults.add(f"line {number} (byte 0x{line[error.start]:02x})")
            likely = likely if _is_windows(line) else "ISO-8859-1"
    return (
        f"{path.name}: not UTF-8 in {faults}; the file is probably in {likely}: convert it (iconv -f {likely} -t UTF-8)"
    )


def _is_windows(line: bytes) -> bool:
    try:
        line.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return True
