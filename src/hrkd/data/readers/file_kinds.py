"""What a file is by its first bytes, whatever its name says; and which encoding a text has, where that is sure."""

from __future__ import annotations

import codecs
import re
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

from hrkd.support.messages import Found, count_of

__all__ = ["HEAD", "UNPACK", "encoding_of", "kind_of", "told_of_bytes"]

HEAD = 1 << 16
"""Bytes that are looked at."""

TURN = "open it with what wrote it and save the table as .csv, .jsonl or .parquet"
UNPACK = "unpack it"
MAGIC: dict[bytes, tuple[str, str]] = {
    b"PAR1": ("a Parquet file", "give it a name that ends in .parquet"),
    b"PARE": ("an encrypted Parquet file", "decrypt it"),
    b"\x1f\x8b": ("compressed with gzip", "let its name end in .gz as well (.csv.gz), or unpack it"),
    b"ARROW1": ("an Arrow (Feather) file", "write it as .parquet (pandas.read_feather, then to_parquet)"),
    b"FEA1": ("a Feather file", "write it as .parquet (pandas.read_feather, then to_parquet)"),
    b"\xff\xff\xff\xff": ("an Arrow stream", "name the folder that save_to_disk wrote, or write it as .parquet"),
    b"PK\x03\x04": ("a zip archive", UNPACK),
    b"PK\x05\x06": ("an empty zip archive", "look where its files are"),
    b"\xfd7zXZ\x00": ("compressed with xz", UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed with Zstandard", UNPACK),
    b"\x04\x22\x4d\x18": ("compressed with LZ4", UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", UNPACK),
    b"Rar!\x1a\x07": ("a RAR archive", UNPACK),
    b"SQLite format 3\x00": ("an SQLite database", "write the table of it as .csv or .parquet (pandas.read_sql)"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("a file of old Excel or Word", TURN),
    b"%PDF-": ("a PDF document", "look for the table that it was made of"),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", "write its table as .parquet (pandas.read_hdf, then to_parquet)"),
    b"\x93NUMPY": ("a NumPy array", "write a table with named columns"),
    b"Obj\x01": ("an Avro file", "write it as .parquet or .jsonl"),
    b"\x89PNG\r\n\x1a\n": ("an image", "name a table"),
    b"\xff\xd8\xff": ("an image", "name a table"),
    b"{\\rtf": ("a document in rich text", TURN),
    b"version https://git-lfs.github.com/": ("a pointer of Git LFS, not the file itself", "fetch it (git lfs pull)"),
}
BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
PICKLE = re.compile(rb"\x80[\x02-\x05](\x95|c|\}|\]|\x8c|X|\()", re.DOTALL)
HTML = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
BOMS = {  # those of four bytes begin as those of two
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
MANY_NULS = 0.15
"""Share of NUL bytes that no UTF-8 has."""

WESTERN = set("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿŒœŸ")
"""Letters of Western Europe. Those of Iceland stand for Turkish ones too often, Š and Ž for those of other pages."""
SIGNS = set("‘’“”–—…«»°§©®™€£¡¿½¼¾·•\xa0")
UNLIKELY = re.compile(
    r"[a-z][À-ÖØ-Þ]"  # a capital letter behind a small one
    r"|[^\x00-\x7f]{4}"  # four letters with accents in a row
    r"|[A-Za-zÀ-ÿ][«»°§©®™€£¡¿½¼¾•][A-Za-zÀ-ÿ]"  # signs inside of words
    r"|[A-Za-z][¡¿]"
)


def kind_of(file: Path | None, head: bytes) -> tuple[str, str] | None:
    """What the first bytes say that no text begins with, and what to do; None where it may be text.

    ``file``: to look into an archive; None: only the bytes are there.
    """
    for magic, told in MAGIC.items():
        if head.startswith(magic):
            return _archive(file) if magic == b"PK\x03\x04" and file is not None else told
    if head[257:262] == b"ustar":
        return "a tar archive", UNPACK
    if BZIP2.match(head):
        return "compressed with bzip2", UNPACK
    if PICKLE.match(head):
        return "a pickle of Python", "write the table in it as .parquet or .csv; pickles are never opened"
    if HTML.match(head):
        return "a web page", "fetch the file itself: this is what a site answers instead (an error, or a login)"
    return None


def _archive(file: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):  # ValueError: negative places
        return "a zip archive, and damaged", "fetch it again and unpack it"
    kinds = {"xl/": "an Excel file (.xlsx)", "word/": "a Word document", "content.xml": "an OpenDocument file (.ods)"}
    for begin, kind in kinds.items():
        if any(name.startswith(begin) for name in names):
            return kind, TURN
    return MAGIC[b"PK\x03\x04"]


def told_of_bytes(head: bytes) -> str:
    """The encoding in units of two or four bytes that the first bytes speak of; empty where none."""
    for mark, encoding in BOMS.items():
        if head.startswith(mark):
            return encoding
    if not head or head.count(0) < MANY_NULS * len(head):
        return ""
    nuls = [head[i::4].count(0) / max(1, len(head[i::4])) for i in range(4)]
    if min(nuls[1:]) > 0.8 or min(nuls[:3]) > 0.8:
        return "UTF-32LE" if nuls[3] > nuls[0] else "UTF-32BE"
    even, odd = (nuls[0] + nuls[2]) / 2, (nuls[1] + nuls[3]) / 2
    if max(even, odd) > 3 * min(even, odd):
        return "UTF-16LE" if odd > even else "UTF-16BE"
    return "unknown"


def encoding_of(lines: Iterable[tuple[int, bytes]]) -> str:
    """What is wrong with lines (number, bytes) of a text that is not UTF-8, and what to do.

    An encoding is named where every line that is not ASCII is likely in it, and none is UTF-8.
    """
    faults, sound, western, nuls, sample = Found(), 0, True, False, ""
    for number, line in lines:
        nuls = nuls or 0 in line
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            sound += 1
        except UnicodeDecodeError as error:
            faults.add(f"line {number} (byte 0x{line[error.start]:02x})")
            told = _as_western(line)
            western = western and told is not None
            sample = sample or (told or "")
    what = f"not UTF-8 in {faults}"
    if nuls:
        return f"{what}; with NUL bytes in it, it may be UTF-16, or no text: save it as UTF-8 text"
    if sound:
        rest = count_of(sound, "other line with such letters is", "other lines with such letters are")
        return f"{what}; {rest} UTF-8, so do not convert the file: correct or remove what is wrong in these lines"
    if western:
        return (
            f"{what}; the file is probably in WINDOWS-1252: convert it (iconv -f WINDOWS-1252 -t UTF-8), if {sample!r} "
            "is right"
        )
    return (
        f"{what}; the file is in another encoding, which cannot be told for sure (a Cyrillic, Greek, Chinese, Japanese "
        "or Central European one, for instance), or damaged there: find out from whom it comes, and save it as UTF-8"
    )


def _as_western(line: bytes) -> str | None:
    """The first word of a line that is not ASCII, read as Windows-1252; None if the line is not likely to be in it."""
    try:
        text = line.decode("cp1252")
    except UnicodeDecodeError:
        return None
    odd = {c for c in text if not c.isascii()}
    if not odd <= WESTERN | SIGNS or UNLIKELY.search(text):
        return None
    return next(word for word in text.split(" ") if not word.isascii()).strip()[:40]
