"""What a source's name says of it, before anything heavy is imported: kind of file, name of the hub, missing path."""

from __future__ import annotations

import re
from pathlib import Path

from hrkd.errors import DataError
from hrkd.support.messages import suggestion

__all__ = ["TABLE_SUFFIXES", "check_source_is_there", "is_hub_name", "known_kind", "no_such_path", "table_kind"]

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def table_kind(path: Path) -> str | None:
    """The suffix that says how to read a file (``.csv`` for ``a.csv.gz``), or None if it is no table."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in TABLE_SUFFIXES or (suffix == ".parquet" and path.suffix == ".gz"):
        return None
    return suffix


def known_kind(file: Path) -> str:
    """:func:`table_kind` of a file that must be a table.

    Raises:
        DataError: its name does not end in a known suffix.
    """
    kind = table_kind(file)
    if kind is None:
        raise DataError(f"{file}: no table; expected {', '.join(TABLE_SUFFIXES)} (the first three also with .gz)")
    return kind


def is_hub_name(source: str | Path) -> bool:
    """Whether a source that is no file or folder may be the name of a hub data set."""
    return isinstance(source, str) and bool(HUB_NAME.fullmatch(source)) and table_kind(Path(source)) is None


def no_such_path(path: Path) -> str:
    """What to say of a missing file or folder; one of nearly the same name is named."""
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    asked = suggestion(path.name, siblings, shown=path.with_name)
    return f"{path}: no such file or folder" + (f" ({asked})" if asked else "")


def check_source_is_there(source: str | Path, layout: str = "auto") -> None:
    """Whether there is such a file or folder, unless ``source`` may be the name of a hub data set.

    Raises:
        DataError: there is none.
    """
    path = Path(source).expanduser()
    on_hub = layout in ("auto", "dataset") and is_hub_name(source) and (layout == "dataset" or not path.suffix)
    if not path.exists() and not on_hub:
        raise DataError(no_such_path(path))
