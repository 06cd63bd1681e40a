"""Names of folders: for names of domains, safe on every file system and different; and those that no file can have."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

__all__ = ["fault_of_path", "folder_names"]

LONGEST = 80
"""Bytes of a domain's folder."""
MOST_BYTES = 255
"""Of one name, in most file systems."""
MOST_OF_A_PATH = 4096
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)  # by Windows
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
    if (size := len(os.fsencode(path))) >= MOST_OF_A_PATH:
        return f"a path of {size} bytes, where one has {MOST_OF_A_PATH - 1} at most"
    longest = max(Path(path).parts, key=lambda part: len(os.fsencode(part)), default="")
    if (size := len(os.fsencode(longest))) > MOST_BYTES:
        return f"a name of {size} bytes, {longest[:20]}..., where a file's has {MOST_BYTES} at most"
    return None
