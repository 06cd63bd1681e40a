"""The folder of all caches (rows, token ids, what teachers say): where it is, what is in it, clearing it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import read_json
from hrkd.support.messages import count_of, first_of

__all__ = [
    "DAY",
    "cache_folder",
    "cached_folders",
    "check_size",
    "clear_cache",
    "clearing_advice",
    "note_use",
    "other_folders",
    "read_index",
]

DAY = 24 * 60 * 60
"""Seconds."""


def cache_folder(folder: Path | None = None) -> Path:
    """``folder``; or what HRKD_CACHE names; or the user's own."""
    return folder or Path(os.environ.get("HRKD_CACHE") or Path.home() / ".cache" / "hrkd")


def clear_cache(folder: Path, name: str, *, older_than: float | None = None) -> list[Path]:
    """Remove caches below ``folder``; returns the folders removed. What is no cache of hrkd stays, whatever its name.

    Args:
        folder: of all caches.
        name: of one, or how one name alone begins; "all": every one.
        older_than: only those that were not used for so many days; None: whatever their age.

    Raises:
        ArtifactError: there is none of that name, or several; another process is at work on one; or it cannot be
            removed.
    """
    caches = cached_folders(folder)
    known = {path.name: path for path, _ in caches}
    chosen = list(known.values()) if name == "all" else [_named(folder, name, known)]
    if older_than is not None:
        too_old = {path for path, index in caches if time.time() - index["used"] > older_than * DAY}
        chosen = [path for path in chosen if path in too_old]
    removed, busy = [], []
    for path in chosen:
        lock = folder / f"{path.name.rpartition('-')[0]}.lock"  # it stays: others may be waiting for it
        try:
            with FileLock(lock, timeout=0):
                shutil.rmtree(path)
            removed.append(path)
        except Timeout:
            busy.append(path)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be removed ({error.strerror or error})") from error
    if busy:
        names, others = first_of([str(path) for path in busy]), ""
        if removed:
            others = f"; {count_of(len(removed), 'other was', 'others were')} removed"
        raise ArtifactError(f"{names}: another process is at work on this cache; clear it when that is done{others}")
    return removed


def _named(folder: Path, name: str, known: dict[str, Path]) -> Path:
    """The cache of that name, or the only one whose name begins so."""
    found = [name] if name in known else [each for each in known if name and each.startswith(name)]
    if len(found) == 1:
        return known[found[0]]
    if found:
        raise ArtifactError(
            f"{folder}: {len(found)} caches begin with {name!r}: {first_of(found)}; give more of the name"
        )
    foreign = {path.name: why for path, why in other_folders(folder).items()}
    if name in foreign:
        raise ArtifactError(
            f"{folder / name}: {foreign[name]}, so that hrkd leaves it alone; remove it yourself if nobody needs it"
        )
    raise ArtifactError(f"{folder}: no cache {name!r}; there are {first_of(sorted(known)) or 'none'}")


def clearing_advice(folder: Path) -> str:
    """What to do about a cache that is of no use, for a message."""
    if isinstance(_index_of(folder), str):  # which clear_cache leaves alone
        return "remove this folder and it is made anew"
    return f"clear it (hrkd cache --clear {folder.name}) and it is made anew"


def read_index(folder: Path) -> Any:
    """The content of a cache's index.

    Raises:
        ArtifactError: it is missing or no JSON.
    """
    try:
        return read_json(folder / "index.json", what="the index of a cache")
    except ArtifactError as error:
        raise ArtifactError(f"{error}; {clearing_advice(folder)}") from error


def check_size(file: Path, size: int) -> None:
    """Whether a file of a cache is as long as it must be.

    Raises:
        ArtifactError: it is not, or is not there.
    """
    found = file.stat().st_size if file.is_file() else 0
    if found != size:
        raise ArtifactError(f"{file}: {found:,} bytes in the place of {size:,}; {clearing_advice(file.parent)}")


def note_use(cache: Path) -> None:
    """Note that a cache was used just now; where nothing can be written there, it keeps its older date."""
    with suppress(OSError):
        os.utime(cache / "index.json")


def cached_folders(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Each cache below ``folder`` with what is known of it, the one used last first.

    That is ``kind`` (teacher, rows, tokens, linear, size), ``of`` (what it was made of: a file, a tokenizer, the folder
    of a teacher), ``rows``, ``bytes`` on disk, ``used`` (when it was last used or written to, in seconds since 1970)
    and ``complete`` (only a teacher's may not be). ``of`` and ``rows`` are None where its index does not tell.
    """
    found = [(path, _facts(path, index)) for path, index in _folders(folder) if isinstance(index, dict)]
    return sorted(found, key=lambda each: -each[1]["used"])


def other_folders(folder: Path) -> dict[Path, str]:
    """What else lies below ``folder``: each folder with why it is no cache of hrkd."""
    return {path: why for path, why in _folders(folder) if isinstance(why, str)}


def _folders(folder: Path) -> Iterator[tuple[Path, dict[str, Any] | str]]:
    """Every folder below with the content of its index, or with why it is no cache of hrkd, by name."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be read ({error.strerror}); choose another folder of caches") from error
    for path in paths:
        yield path, _index_of(path)


def _index_of(path: Path) -> dict[str, Any] | str:
    if path.is_symlink():
        return "a link"
    if path.name.startswith("."):
        return "not finished: it is being written, or was left by a process that was killed"
    try:
        if not (path / "index.json").exists():
            return "it has no index.json"
        content = read_json(path / "index.json", what="the index of a cache")
    except (ArtifactError, OSError):
        return "its index.json cannot be read"
    if not isinstance(content, dict) or not str(content.get("format")).startswith("hrkd-"):
        return "its index.json is not one of hrkd"
    return content


def _facts(path: Path, index: dict[str, Any]) -> dict[str, Any]:
    sizes, used = 0, 0.0
    with suppress(OSError):  # as far as they are there: another process may be writing or removing them
        for file in path.iterdir():
            status = file.stat()
            sizes, used = sizes + status.st_blocks * 512, max(used, status.st_mtime)
    kind, rows, of = str(index.get("kind", "teacher")), index.get("rows"), index.get("of")
    return {
        "kind": kind,
        "of": of if isinstance(of, str) and of else None,
        "rows": rows if isinstance(rows, int) else None,
        "bytes": sizes,
        "used": used,
        "complete": kind != "teacher" or (path / "complete").exists(),
    }
