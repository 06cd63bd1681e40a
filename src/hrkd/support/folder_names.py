"""Names of folders for names of domains: readable, safe on every file system, and different."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["folder_names"]

LONGEST = 80  # bytes; most file systems take 255
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)  # by Windows


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
    return f"domain-{name}".rstrip("-") if not name or RESERVED.fullmatch(name.split(".")[0]) else name
