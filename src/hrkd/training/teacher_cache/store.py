"""The files of one teacher cache: numbers of every token of every row, written once, read through a memory map.

::

    FOLDER/NAME/
      index.json     what is in it, and its name, which is a hash of what it was made from
      values.bin     bits of the numbers of every row, one row after the other
      small.bin      (rows, S) float32: few numbers of every row, such as logits, in full precision
      state.bin      (rows,) uint64: 0 not written yet, else the check sum (XXH3) of all numbers of the row

A row counts as written once its sum stands in ``state.bin``, so that an interrupted build goes on where it stopped.
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import CannotWriteError, clear_leftovers, put_manifest, write_json, writing
from hrkd.support.caches import check_size, clearing_advice, note_use, read_index
from hrkd.support.manifest import MANIFEST, check_manifest
from hrkd.support.own_files import remove_own

__all__ = ["CacheFiles", "CacheIndex", "Precision", "others_with"]

Precision = Literal["fp16", "bf16", "fp32"]
# Numbers are kept as the bits that they are: numpy knows no bfloat16.
BITS: dict[str, np.dtype[Any]] = {"fp16": np.dtype(np.int16), "bf16": np.dtype(np.int16), "fp32": np.dtype(np.int32)}
FORMAT = "hrkd-teacher-cache"
VERSION = 2
ADVICE = "make room there, or choose another place (cache.folder), and start the same command again"


@dataclass(frozen=True)
class CacheIndex:
    """What a cache holds.

    ``tokens`` of all rows that have values, ``width`` numbers a token in ``precision``, and ``small`` numbers a row in
    full precision; with ``all_rows`` also for rows that have no values. ``of``, the teacher's folder or name, is for
    people: the same cache may be found by another name. ``answers`` is the same for all caches of a teacher and rows,
    whatever levels they hold; older ones do not say it.
    """

    fingerprint: str
    rows: int
    tokens: int
    width: int
    small: int
    precision: Precision
    all_rows: bool = False
    of: str = ""
    answers: str = ""
    format: str = FORMAT
    version: int = VERSION

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return self.tokens * self.width * BITS[self.precision].itemsize + self.rows * (4 * self.small + 8)


def others_with(caches: Path, wanted: CacheIndex) -> list[CacheIndex]:
    """Finished caches that hold the same answers of the same rows as ``wanted``, and levels besides."""
    found = []
    for file in sorted(caches.glob("*/index.json")):
        with suppress(ArtifactError, TypeError, ValueError):
            index = CacheIndex(**read_index(file.parent))
            same = index.answers == wanted.answers and index.rows == wanted.rows and index.format == FORMAT
            if same and index.width and index.fingerprint == file.parent.name and (file.parent / "complete").is_file():
                found.append(index)
    return found


class CacheFiles:
    """Reading and writing one cache.

    Args:
        folder: of this cache alone.
        index: what it is to hold.
        offsets: first token of each row, and the end of the last, shape (rows + 1,); a row without tokens is not
            cached.

    Raises:
        ArtifactError: the folder holds another cache, or a damaged one.
    """

    def __init__(self, folder: Path, index: CacheIndex, offsets: np.ndarray) -> None:
        self.folder, self.index, self.offsets = folder, index, offsets
        self.cached = np.diff(offsets) > 0
        dtype = BITS[index.precision]
        shapes = {
            "values.bin": (dtype, (max(1, index.tokens * index.width),)),  # an empty file cannot be mapped
            "small.bin": (np.dtype(np.float32), (index.rows, index.small)),
            "state.bin": (np.dtype(np.uint64), (index.rows,)),
        }
        sizes = {folder / name: int(np.prod(shape)) * kind.itemsize for name, (kind, shape) in shapes.items()}
        if (folder / "index.json").is_file():
            self._check(sizes)
        else:
            self._create(sizes)
        with writing(folder, ADVICE):
            self.values, self.small, self.state = (
                np.memmap(folder / name, dtype=kind, mode="r+", shape=shape) for name, (kind, shape) in shapes.items()
            )
        self._looked_at = np.zeros(index.rows, dtype=bool)

    def _create(self, sizes: dict[Path, int]) -> None:
        with writing(self.folder, ADVICE):
            self.folder.mkdir(parents=True, exist_ok=True)
            clear_leftovers(self.folder)
            (self.folder / "complete").unlink(missing_ok=True)
            try:
                for file, size in sizes.items():
                    with file.open("wb") as handle:
                        _reserve(handle.fileno(), size, self.folder)
                write_json(self.folder / "index.json", asdict(self.index))
                put_manifest(self.folder, ["index.json"])
            except (ArtifactError, OSError):
                (self.folder / MANIFEST).unlink(missing_ok=True)
                (self.folder / "index.json").unlink(
                    missing_ok=True
                )  # before the rest: with it, the files would count as there
                remove_own(self.folder, names=[file.name for file in sizes])
                raise

    def _check(self, sizes: dict[Path, int]) -> None:
        check_manifest(self.folder, advice=clearing_advice(self.folder))
        found = read_index(self.folder)
        expected = asdict(self.index)
        said = {"of": "", "answers": ""}  # of whom, and in older ones nothing of answers
        if not isinstance(found, dict) or {**found, **said} != {**expected, **said}:
            raise ArtifactError(
                f"{self.folder}: not the teacher cache that is looked for; {clearing_advice(self.folder)}"
            )
        for file, size in sizes.items():
            check_size(file, size)
        note_use(self.folder)

    def missing(self) -> np.ndarray:
        """Rows that are to be written and are not yet."""
        wanted = self.wanted()
        missing: np.ndarray = wanted[self.state[wanted] == 0]
        return missing

    def wanted(self) -> np.ndarray:
        """Rows that are to be written, or are."""
        return np.flatnonzero(self.cached | self.index.all_rows)

    def write(self, row: int, values: np.ndarray, small: np.ndarray) -> None:
        """Store a row: the bits of its values (tokens x width,) and its few numbers (S,)."""
        self.values[self._span(row)] = values
        self.small[row] = small
        self.state[row] = self._sum(row)

    def flush(self) -> None:
        """Bring what was written to the disk, values before their sums."""
        for part in (self.values, self.small, self.state):
            part.flush()

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """The bits of a row's values, (tokens x width,), and its few numbers (S,); looked at for damage at first.

        Raises:
            ArtifactError: the row is not what was written.
        """
        if not self._looked_at[row]:
            if self.state[row] != self._sum(row):
                raise ArtifactError(
                    f"{self.folder}: row {row} of this teacher cache is damaged; {clearing_advice(self.folder)}"
                )
            self._looked_at[row] = True
        return self.values[self._span(row)], self.small[row]

    def ahead(self, row: int) -> None:
        """Ask the system to bring a row's values from the disk into its memory, and go on at once."""
        self._advise(row, mmap.MADV_WILLNEED)

    def let_go(self, row: int | None = None) -> None:
        """Give the memory of a row that was read or written back; the next reading takes it from the file again.

        The system maps more than was asked for: of all rows (None), the neighbours of what was read.
        """
        if row is None:
            self.values._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
        else:
            self._advise(row, mmap.MADV_DONTNEED)

    def _advise(self, row: int, advice: int) -> None:
        span, size = self._span(row), self.values.itemsize
        start = span.start * size // mmap.PAGESIZE * mmap.PAGESIZE
        if span.stop > span.start:
            self.values._mmap.madvise(advice, start, span.stop * size - start)  # type: ignore[attr-defined]

    def _sum(self, row: int) -> int:
        total = xxhash.xxh3_64(self.values[self._span(row)].view(np.uint8).data)
        total.update(self.small[row].tobytes())
        return total.intdigest() or 1

    def _span(self, row: int) -> slice:
        first, end = self.offsets[row : row + 2] * self.index.width
        return slice(int(first), int(end))


def _reserve(handle: int, size: int, folder: Path) -> None:
    """Give a new file its size on the disk now: writing through a memory map to a full disk kills the process.

    Raises:
        CannotWriteError: the disk is full.
    """
    os.truncate(handle, size)
    try:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system cannot reserve
            return
        raise CannotWriteError(
            f"{folder}: {size / 1e9:.2f} GB for a teacher cache cannot be written: {error.strerror}; make room, or set "
            "a lower cache.gigabytes"
        ) from None
