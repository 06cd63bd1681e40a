"""The files of a folder with their sizes and check sums, in the folder itself: written last, checked before it is read.

::

    FOLDER/manifest.json    {"format": "hrkd-manifest", "version": 1, "files": {"config.json": {"bytes", "sha256"}}}

Hidden files, README.md (a model card, which people edit) and folders with a manifest of their own are not listed. What
is in the folder besides plays no part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError
from hrkd.support.folder_names import fault_of_name
from hrkd.support.json_text import json_text, parse_json
from hrkd.support.messages import first_of

__all__ = ["MANIFEST", "check_manifest", "file_sum", "has_manifest", "listed_names", "listing", "write_manifest"]

MANIFEST = "manifest.json"
HEAD = {"format": "hrkd-manifest", "version": 1}
RESTORE = "restore the folder from a copy or make it anew"
LEFT_OUT = (MANIFEST, "README.md")


def write_manifest(folder: Path) -> None:
    """List the files of a new ``folder``; the last thing that is written to it.

    One that is in place already gets its list by :func:`hrkd.support.atomic_files.put_manifest`.
    """
    (folder / MANIFEST).write_text(json_text(listing(folder)), encoding="utf-8")


def listing(folder: Path, names: Sequence[str] | None = None) -> dict[str, Any]:
    """What the manifest of ``folder`` holds: its files, or those of some ``names``."""
    paths = _files(folder) if names is None else [folder / name for name in names]
    return {**HEAD, "files": {path.relative_to(folder).as_posix(): _seen(path) for path in paths}}


def has_manifest(folder: Path) -> bool:
    """Whether ``folder`` lists its files: an older one does not. A list that cannot be read is one."""
    return (folder / MANIFEST).is_symlink() or (folder / MANIFEST).exists()


def check_manifest(folder: Path, *, advice: str = RESTORE, needed: bool = False) -> None:
    """Whether the files of ``folder`` are those that were written. Without a manifest, nothing is known.

    Args:
        advice: what to do where they are not, for the message.
        needed: a folder without a manifest is damaged.

    Raises:
        ArtifactError: one is missing or another one; names the files and what to do.
    """
    if not has_manifest(folder) and not needed:
        return
    wrong = []
    for name, written in _listed(folder, advice).items():
        found = _found(folder / name)
        if found != written:
            wrong.append(f"{name} ({_difference(found, written)})")
    if wrong:
        on_purpose = "" if needed else f" (if you changed it on purpose, delete its {MANIFEST})"
        raise ArtifactError(
            f"{folder}: damaged or changed since it was written: {first_of(wrong)}; {advice}{on_purpose}"
        )


def listed_names(folder: Path) -> list[str] | None:
    """Names of the files that a manifest in ``folder`` lists; None without a manifest that can be read."""
    try:
        return list(_listed(folder)) if has_manifest(folder) else None
    except ArtifactError:
        return None


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in LEFT_OUT:
            continue
        if not path.is_dir():
            yield path
        elif not has_manifest(path):
            yield from _files(path)


def file_sum(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _found(file: Path) -> dict[str, Any] | None:
    try:
        return _seen(file) if file.is_file() else None
    except OSError:  # such as for a name that no file can have
        return None


def _seen(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": file_sum(file)}


def _listed(folder: Path, advice: str = RESTORE) -> dict[str, dict[str, Any]]:
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_json(text)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: the list of the folder's files cannot be read ({error}); {advice}") from error
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or content.get("format") != HEAD["format"]:
        raise ArtifactError(f"{path}: not the list of the folder's files; {advice}")
    if content.get("version") != HEAD["version"]:
        raise ArtifactError(
            f"{path}: version {content.get('version')}, where version {HEAD['version']} is read; use the hrkd that "
            "wrote the folder"
        )
    if outside := [f"{name!r} ({fault})" for name in files if (fault := fault_of_name(name))]:
        raise ArtifactError(f"{path}: lists {first_of(outside)}, which hrkd writes nowhere; {advice}")
    if json_text(content) != text:  # nothing else knows what the list itself should be
        raise ArtifactError(f"{path}: the list of the folder's files is not as hrkd writes it; {advice}")
    return files


def _difference(found: dict[str, Any] | None, written: Any) -> str:
    if found is None:
        return "missing"
    if not isinstance(written, dict) or found["bytes"] != written.get("bytes"):
        return f"{found['bytes']:,} bytes, not as listed"
    return "its check sum differs"
