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

from hrkd.data.readers.file_kinds import HEAD, UNPACK, encoding_of, kind_of, told_of_bytes
from hrkd.data.readers.places import is_packed
from hrkd.errors import DataError

__all__ = ["check_text", "decode_lenient", "is_blank", "lenient_lines", "open_text", "read_lines"]

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
BLOCK = 1 << 20
SMALL, MOST_TIMES = 1 << 24, 200
"""Bytes, and times its own size, to which a compressed file may unpack. Of text gzip leaves a third to a twentieth, of
one byte alone a thousandth: a few kilobytes would fill memory."""


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed if its name ends in ``.gz``.

    Raises:
        DataError: the file cannot be read, or is not a complete gzip file.
    """
    try:
        with path.open("rb") as file:
            if not is_packed(path):
                yield file
                return
            with gzip.open(file, "rb") as content:
                yield cast("IO[bytes]", content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        if kind := _not_gzip(path):
            raise DataError(f"{path}: {kind}") from None
        raise DataError(f"{path}: not a complete gzip file ({error}); fetch or compress it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _blocks(path: Path) -> Iterator[bytes]:
    """All bytes of a file, decompressed, some at a time.

    Raises:
        DataError: as :func:`_opened`, or what is packed is out of all proportion.
    """
    length = 0
    with _opened(path) as file:
        most = max(SMALL, MOST_TIMES * path.stat().st_size) if is_packed(path) else None
        while block := file.read(BLOCK):
            length += len(block)
            if most is not None and length > most:
                raise DataError(
                    f"{path}: unpacks to more than {MOST_TIMES} times its size, as no text does; if it is right all "
                    "the same, unpack it (gunzip) and name the file without .gz"
                )
            yield block


def is_blank(path: Path) -> bool:
    """Whether a text file has nothing in it but white space; one that is no UTF-8 has.

    Raises:
        DataError: it cannot be read.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        return not any(decoder.decode(block).strip() for block in _blocks(path))
    except UnicodeDecodeError:
        return False


def _not_gzip(path: Path) -> str:
    """What a file that is not compressed with gzip is, and what to do; empty if it is."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(GZIP):
        return ""
    what, advice = kind_of(path, head) or ("not compressed", "leave .gz out of its name")
    return f"named as if compressed with gzip (.gz), but it is {what}: {advice}" if head else "the file is empty"


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
        DataError: the file cannot be read, is empty, of another kind or not UTF-8; names lines and what is likely.
    """
    _check_kind(path)
    decoder, length, blank, faulty = codecs.getincrementaldecoder("utf-8-sig")(), 0, True, False
    for block in _blocks(path):
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
    lines = b"".join(_blocks(path)).removeprefix(BOM).split(b"\n")
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


def _check_kind(path: Path) -> None:
    """Refuse what is no text by its first bytes, or in units of two or four bytes."""
    with _opened(path) as file:
        head = file.read(HEAD)
    packed = is_packed(path)
    if kind := kind_of(None if packed else path, head):
        what, advice = kind
        told = f"no text but {what}: {advice}"
        if packed:
            then = "" if advice == UNPACK else f", then {advice}"
            told = f"what is packed in it is no text but {what}; unpack it{then}"
        raise DataError(f"{path.name}: {told}")
    encoding = told_of_bytes(head)
    if encoding == "unknown":
        raise DataError(f"{path.name}: full of NUL bytes, so no text; expected a table in UTF-8")
    if encoding:
        raise DataError(
            f"{path.name}: the file is in {encoding}, expected UTF-8; convert it (iconv -f {encoding} -t UTF-8)"
        )


def _undecodable(path: Path) -> str:
    """What is wrong with a file that is not UTF-8."""
    with _opened(path) as file:
        return f"{path.name}: {encoding_of(enumerate(file, 1))}"
