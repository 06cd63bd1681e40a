"""Tables on disk in Arrow's file format, written in pieces and read through a memory map; a cache of them.

::

    CACHE/MARK-rows/       a source's rows, checked         CACHE/MARK-tokens/       token ids of a part
      data.arrow           the table, in batches of 1,000 rows
      index.json           what it is, its size and check sum

An entry is written under another name and moved into place when it is whole. Without a cache folder the same table is
a file of the temporary folder that has no name any more once it is open, so it is gone with the process.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from filelock import AcquireReturnProxy, FileLock

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import clear_leftovers, replace_folder, write_json, writing
from hrkd.support.caches import check_size, clearing_advice, note_use, read_index
from hrkd.support.manifest import check_manifest

if TYPE_CHECKING:
    import datasets

__all__ = ["as_dataset", "kept_table", "open_arrow", "temporary_file", "write_arrow"]

FORMAT = "hrkd-arrow"
VERSION = 1
ADVICE = "make room there, or choose another cache.folder (or HRKD_CACHE)"


def write_arrow(file: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Write batches of one schema as they come. Without any, no file is written."""
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def open_arrow(file: Path) -> pa.Table:
    """A table whose values stay on disk until they are looked at, in pages that the system takes back when it must."""
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def as_dataset(table: pa.Table) -> datasets.Dataset:
    """The table as a data set."""
    # Without a fingerprint given, the library would make one of the whole content, in memory.
    import datasets

    return datasets.Dataset(table, fingerprint=uuid.uuid4().hex[:16])


def kept_table(
    cache: Path | None, name: str, write: Callable[[Path], dict[str, Any]]
) -> tuple[pa.Table, dict[str, Any]]:
    """The table of the entry ``name`` of a cache, and what was noted about it; written first if it is not there.

    Args:
        cache: folder of all entries; None: a temporary file that goes with the process.
        name: of the entry; all that decides its content must be in it.
        write: writes the table to a file and returns notes that JSON can hold; ``of``, what the table was made of, is
            shown by ``hrkd cache``.

    Raises:
        ArtifactError: the entry is damaged or is something else, or there is no room to write it.
    """
    if cache is None:
        with temporary_file("data.arrow") as file:
            notes = write(file)
            return open_arrow(file), notes
    with _lock(cache, name):
        if not (cache / name).is_dir():
            clear_leftovers(cache, name.__eq__)
            with writing(cache / name, advice=ADVICE), replace_folder(cache / name) as new:
                notes = write(new / "data.arrow")
                file = new / "data.arrow"
                content = {"rows": open_arrow(file).num_rows, "size": file.stat().st_size}
                write_json(new / "index.json", {**_head(name), **content, **notes})
    note_use(cache / name)
    return _opened(cache / name)


@contextmanager
def temporary_file(name: str) -> Iterator[Path]:
    """A file to write in a folder of its own, which goes when the ``with`` block ends.

    Raises:
        ArtifactError: it cannot be written.
    """
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError as error:  # none of the usual ones can be written
        raise ArtifactError(f"{error.strerror}; make room in one of them, or set TMPDIR") from error
    advice = f"make room in {place}, or set TMPDIR"
    with ExitStack() as stack:
        with writing(place / name, advice):
            file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hrkd-"))) / name
        with writing(file, advice):
            yield file


def _lock(cache: Path, name: str) -> AcquireReturnProxy[Any]:
    """The lock of an entry, held until the ``with`` block ends; the cache's folder is made."""
    with writing(cache, advice=ADVICE):
        cache.mkdir(parents=True, exist_ok=True)
        return FileLock(cache / f"{name.rpartition('-')[0]}.lock").acquire()


def _opened(folder: Path) -> tuple[pa.Table, dict[str, Any]]:
    advice = clearing_advice(folder)
    check_manifest(folder, advice=advice, needed=True)
    index = read_index(folder)
    file = folder / "data.arrow"
    expected = _head(folder.name)
    if not isinstance(index, dict) or index | expected != index or not isinstance(index.get("size"), int):
        raise ArtifactError(f"{folder}: not the table that is looked for; {advice}")
    check_size(file, index["size"])
    return open_arrow(file), index


def _head(name: str) -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION, "kind": name.rpartition("-")[2], "name": name}
