"""Bytes and characters of text files: gzip by suffix, strict UTF-8 with clear errors, lenient lines for old corpora."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from hrkd.data.wording import first_of
from hrkd.errors import DataError

__all__ = ["decode_lenient", "decode_strict", "read_bytes", "read_text", "split_lines"]

BOM = b"\xef\xbb\xbf"


def read_bytes(path: Path) -> bytes:
    """Content of a file, decompressed if its name ends in ``.gz``.

    Raises:
        DataError: the file cannot be read, or is not a complete gzip file.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: not a complete gzip file ({error}); fetch or compress it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_text(path: Path) -> str:
    """Content of a text file of a user, decompressed if its name ends in ``.gz``.

    Raises:
        DataError: the file cannot be read, is not UTF-8 or is empty.
    """
    text = decode_strict(read_bytes(path), path.name)
    if not text.strip():
        raise DataError(f"{path}: the file is empty; expected a table with a header")
    return text


def split_lines(data: bytes) -> list[bytes]:
    r"""Lines that end in LF or CR LF, without their ends and without a byte order mark.

    No other character ends a line: a lone CR, U+0085 and U+2028 occur inside of texts.
    """
    lines = data.removeprefix(BOM).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def decode_lenient(line: bytes) -> str:
    """One line of an old corpus: UTF-8, or else Windows-1252, with U+FFFD for what neither knows."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def decode_strict(data: bytes, name: str) -> str:
    """A user's file as text: UTF-8, with or without a byte order mark.

    Raises:
        DataError: other bytes; names the lines and the encoding that the file probably has.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name}: the file is in UTF-16, expected UTF-8; convert it (iconv -f UTF-16 -t UTF-8)")
    faults = [fault for n, line in enumerate(data.split(b"\n"), 1) if (fault := _undecodable(n, line))]
    likely = _likely_encoding(data)
    raise DataError(
        f"{name}: not UTF-8 in {first_of(faults)}; the file is probably in {likely}: "
        f"convert it (iconv -f {likely} -t UTF-8)"
    )


def _undecodable(number: int, line: bytes) -> str | None:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"line {number} (byte 0x{line[error.start]:02x})"
    return None


def _likely_encoding(data: bytes) -> str:
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "ISO-8859-1"
    return "WINDOWS-1252"
