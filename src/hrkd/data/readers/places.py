"""What a source's name says of it, before anything heavy is imported: kind of file, name of the hub, missing path."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from pathlib import Path

from hrkd.errors import DataError
from hrkd.recipe.schema import TABLE_SUFFIXES
from hrkd.support.folder_names import fault_of_path
from hrkd.support.messages import brief, first_of, suggestion

__all__ = [
    "TABLE_SUFFIXES",
    "check_is_plain",
    "check_names",
    "check_source_is_there",
    "is_hub_name",
    "is_packed",
    "known_kind",
    "no_such_path",
    "plain_stem",
    "table_kind",
]

OTHER_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def table_kind(path: Path) -> str | None:
    """The suffix that says how to read a file (``.csv`` for ``a.CSV.gz``), or None if it is no table."""
    suffix = (Path(path.stem) if is_packed(path) else path).suffix.lower()
    if suffix not in TABLE_SUFFIXES or (suffix == ".parquet" and is_packed(path)):
        return None
    return suffix


def is_packed(path: Path) -> bool:
    """Whether a file is compressed with gzip, by its name."""
    return path.suffix.lower() == ".gz"


def plain_stem(path: Path) -> str:
    """The name of a file without the endings that say its kind."""
    return Path(path.stem).stem if is_packed(path) else path.stem


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
    if path.is_symlink():
        return f"{path}: is a link to {path.readlink()}, which is not there; fetch what it leads to, or remove it"
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    asked = suggestion(path.name, siblings, shown=path.with_name)
    return f"{path}: no such file or folder" + (f" ({asked})" if asked else "")


def check_source_is_there(source: str | Path, layout: str = "auto") -> None:
    """Whether there is such a file or folder, unless ``source`` may be the name of a hub data set.

    Raises:
        DataError: there is none, there can be none of this name, or it is neither file nor folder.
    """
    path = Path(source).expanduser()
    check_is_plain(path)
    on_hub = layout in ("auto", "dataset") and is_hub_name(source) and (layout == "dataset" or not path.suffix)
    if not path.exists() and not on_hub:
        raise DataError(no_such_path(path))


def check_names(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder in which something is called by what is not UTF-8: ids and records hold the names of files.

    Raises:
        DataError: it is so.
    """
    if faults := [f"{name!r} ({fault})" for name in names if (fault := fault_of_path(name))]:
        raise DataError(f"{folder}: {first_of(faults)}")


def check_is_plain(path: Path) -> None:
    """Refuse a name that no file can have, and what is there but neither file nor folder: it cannot be read twice.

    Raises:
        DataError: it is so.
    """
    if fault := fault_of_path(path):
        raise DataError(f"{brief(str(path), 100)}: no file can be there: {fault}")
    try:
        kind = OTHER_KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except OSError:
        return
    if kind is not None:
        raise DataError(
            f"{path}: is {kind}, which cannot be read several times: write it to a file first, or pipe it to hrkd "
            "predict (--input -)"
        )
