"""Names of files and folders: safe ones for domains, those that no file can have, those that lead out of a folder."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

__all__ = ["fault_of_name", "fault_of_path", "folder_names"]

LONGEST = 80
"""Bytes of a domain's folder."""
MOST_BYTES = 255
"""Of one name, in most file systems."""
MOST_OF_A_PATH = 4096
MOST_OF_A_PLACE = 1024
"""Of a path below a folder of hrkd, which has a path too."""
RESERVED = re.compile(r"con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d\u00b9\u00b2\u00b3]", re.IGNORECASE)  # by Windows
UNSAFE = re.compile(r'[\x00-\x1f\\/:*?"<>|\x7f]')
"""Characters that some file system takes for something else: of a drive, a stream, a pattern."""
OWN_FILES = re.compile(r"(domains|checks|manifest|stage|training|config)\.json|readme\.md", re.IGNORECASE)
"""Files that lie beside the folders of domains."""


def folder_names(domains: Sequence[str]) -> dict[str, str]:
    """A folder name for every domain, in their order.

    Letters and digits of any script, ``-``, ``_`` and ``.`` stay, other characters become ``-``. Names that differ in
    case only are told apart too (some file systems do not) by a number at the end.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for domain in domains:
        base = name = _safe(domain)
        number = 2
        while name.casefold() in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name.casefold())
        names[domain] = name
    return names


def _safe(domain: str) -> str:
    name = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", domain))
    name = name.encode()[:LONGEST].decode(errors="ignore").strip(".-")
    return f"domain-{name}".rstrip("-") if not name or _is_taken(name) else name


def _is_taken(name: str) -> bool:
    """Whether something else has this name: a device of Windows, or a file that hrkd writes."""
    return bool(RESERVED.fullmatch(name.split(".")[0]) or OWN_FILES.fullmatch(name))


def fault_of_path(path: str | Path) -> str | None:
    """Why no file or folder can have this path, in words; None: one can."""
    if "\0" in str(path):
        return "a name with a NUL character"
    if not _is_unicode(str(path)):
        return "a name that is not UTF-8, which records of a run could not hold; rename it"
    if (size := len(os.fsencode(path))) >= MOST_OF_A_PATH:
        return f"a path of {size} bytes, where one has {MOST_OF_A_PATH - 1} at most"
    longest = max(Path(path).parts, key=lambda part: len(os.fsencode(part)), default="")
    if (size := len(os.fsencode(longest))) > MOST_BYTES:
        return f"a name of {size} bytes, {longest[:20]}..., where a file's has {MOST_BYTES} at most"
    return None


def fault_of_name(name: str) -> str | None:
    """Why a name that stands in a file (a list, an index) is not that of something inside of the file's own folder.

    By the rules of POSIX and of Windows alike, as such a file may have been written anywhere. Names that hrkd gives
    have no fault.

    Args:
        name: of a file or folder, or with ``/`` of one in a folder below.
    """
    parts = name.split("/")
    if PurePosixPath(name).is_absolute() or "\\" in name or ".." in parts or re.match("[A-Za-z]:", name):
        return "leads out of the folder"
    if any(not part or part == "." or UNSAFE.search(part) or part.endswith((".", " ")) for part in parts):
        return "a name that not every system has"
    if any(RESERVED.fullmatch(part.split(".")[0].rstrip()) for part in parts):
        return "the name of a device of Windows"
    if fault := fault_of_path(name):
        return fault
    if (size := len(name.encode())) > MOST_OF_A_PLACE:
        return f"a path of {size} bytes, where hrkd writes none of more than {MOST_OF_A_PLACE}"
    return None


def _is_unicode(text: str) -> bool:
    """Whether a text has no halves of surrogate pairs, as which Python reads names of files that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
