"""Writing so that a reader never sees half a file or folder."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError
from hrkd.support.manifest import write_manifest

__all__ = ["clear_leftovers", "read_json", "replace_file", "replace_folder", "write_json", "write_text"]


LEFTOVER = re.compile(r"\..+-[a-z0-9_]{8}")
"""Names of :func:`_beside`: a dot, what is to be replaced, eight random characters (once of a larger alphabet)."""


def _beside(path: Path, kind: str = "") -> Path:
    """A name beside ``path`` that nobody else has; made by name, a file or folder has the rights that users set."""
    return path.parent / f".{path.name}-{kind}{secrets.token_hex(4)}"


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill; it takes the place of ``folder`` when the ``with`` block ends without an error.

    A manifest of its files (:mod:`hrkd.support.manifest`) is written into it last.
    """
    new, old = _beside(folder), _beside(folder, "old-")
    new.mkdir(parents=True)
    try:
        yield new
        write_manifest(new)
        if folder.exists():
            old.mkdir()
            folder.rename(old / folder.name)
            new.rename(folder)
            shutil.rmtree(old)
        else:
            new.rename(folder)
    finally:
        if new.exists():
            shutil.rmtree(new, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Remove what :func:`replace_folder` and :func:`replace_file` left in ``folder`` when their process was killed.

    A folder that was moved aside, and whose successor had not yet taken its place, is put back.
    """
    for aside in folder.glob(".*-old-*"):
        for old in aside.iterdir():
            if not (folder / old.name).exists():
                old.rename(folder / old.name)
    for name in {path.name for path in folder.glob(".*-*") if LEFTOVER.fullmatch(path.name)}:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """An empty file to write to; it takes the place of ``path`` when the ``with`` block ends without an error.

    The folder of ``path`` is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _beside(path)
    new.touch(exist_ok=False)
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step, making its folder."""
    with replace_file(path) as new:
        new.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON in one step."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, *, what: str) -> Any:
    """The content of a JSON file that hrkd wrote; ``what`` says what it is, for the message.

    Raises:
        ArtifactError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: {what} is missing") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: {what} cannot be read ({error})") from error
