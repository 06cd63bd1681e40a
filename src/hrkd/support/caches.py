"""The folder of all caches (rows, token ids, what teachers say): where it is, what is in it, clearing it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import read_json

__all__ = ["cache_folder", "cached_folders", "check_size", "clear_cache", "clearing_advice"]


def cache_folder(folder: Path | None = None) -> Path:
    """``folder``; or what HRKD_CACHE names; or the user's own."""
    return folder or Path(os.environ.get("HRKD_CACHE") or Path.home() / ".cache" / "hrkd")


def clear_cache(folder: Path, name: str) -> list[Path]:
    """Remove the cache ``name`` below ``folder``, or "all" of them; returns the folders removed.

    Raises:
        ArtifactError: there is none of that name, or another process is at work on it.
    """
    known = {path.name: path for path in folder.glob("*/") if (path / "index.json").is_file()}
    if name != "all" and name not in known:
        raise ArtifactError(f"{folder}: no cache {name!r}; there are {', '.join(sorted(known)) or 'none'}")
    chosen = list(known.values()) if name == "all" else [known[name]]
    for path in chosen:
        lock = folder / f"{path.name.rpartition('-')[0]}.lock"  # it stays: others may be waiting for it
        try:
            with FileLock(lock, timeout=0):
                shutil.rmtree(path)
        except Timeout as error:
            raise ArtifactError(
                f"{path}: another process is at work on this cache; clear it when that is done"
            ) from error
    return chosen


def clearing_advice(folder: Path) -> str:
    """What to do about a cache that is of no use, for a message."""
    return f"clear it (hrkd cache --clear {folder.name}) and it is made anew"


def check_size(file: Path, size: int) -> None:
    """Whether a file of a cache is as long as it must be.

    Raises:
        ArtifactError: it is not, or is not there.
    """
    found = file.stat().st_size if file.is_file() else 0
    if found != size:
        raise ArtifactError(f"{file}: {found:,} bytes in the place of {size:,}; {clearing_advice(file.parent)}")


def cached_folders(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Each cache below ``folder`` with the content of its index.

    Added are ``kind`` (teacher, rows, tokens), ``bytes`` on disk and ``complete`` (only a teacher's may not be).
    """
    found = []
    for index in sorted(folder.glob("*/index.json")):
        content = read_json(index, what="the index of a cache")
        if isinstance(content, dict) and str(content.get("format")).startswith("hrkd-"):
            on_disk = sum(file.stat().st_blocks * 512 for file in index.parent.iterdir())
            kind = content.get("kind", "teacher")
            complete = kind != "teacher" or (index.parent / "complete").exists()
            found.append((index.parent, {**content, "kind": kind, "bytes": on_disk, "complete": complete}))
    return found
