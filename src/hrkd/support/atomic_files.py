"""Writing so that a reader never sees half a file or folder, and what the system says against it in one clear error.

What is under way lies in a folder of its own beside the target, ``.hrkd-tmp-<hex>``, whose file ``.hrkd`` names it.
Only such a folder is cleared away after a process was killed: whatever else is there is not hrkd's.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from hrkd.errors import ArtifactError
from hrkd.support.folder_names import fault_of_path
from hrkd.support.json_text import json_text, parse_json
from hrkd.support.manifest import MANIFEST, listing, write_manifest
from hrkd.support.messages import brief, first_line
from hrkd.support.own_files import keep_the_rest, remove_own

__all__ = [
    "CannotWriteError",
    "check_can_be_written",
    "check_room",
    "clear_leftovers",
    "is_leftover",
    "put_manifest",
    "read_json",
    "read_record",
    "replace_file",
    "replace_folder",
    "write_json",
    "write_text",
    "writing",
]

PREFIX, MARK = ".hrkd-tmp-", ".hrkd"
UNMARKED = re.compile(re.escape(PREFIX) + "[0-9a-f]{16}")
OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust (safetensors, tokenizers) tell an error of the system."""

STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2, "/dev/fd/1": 1, "/dev/fd/2": 2}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PROBE = 1 << 20
"""Bytes that a disk with room takes."""
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


class CannotWriteError(ArtifactError):
    """The system does not let a file or folder be written: no room, no rights, something in the way."""


@contextmanager
def writing(path: Path, advice: str = "") -> Iterator[None]:
    """Turn what the system says against writing ``path``, whichever library meets it, into one error of hrkd.

    Args:
        advice: what to do, in the place of what is said of every path.

    Raises:
        CannotWriteError: ``path`` cannot be written.
    """
    try:
        yield
    except Exception as met:
        error = met.__cause__ if isinstance(met, CannotWriteError) and isinstance(met.__cause__, Exception) else met
        number = _number(error)
        if (number is None and not isinstance(error, OSError)) or _is_about_another(error, path):
            raise
        reason = os.strerror(number) if number else first_line(error)
        raise CannotWriteError(f"{path}: cannot be written: {reason}; {advice or _advice(number)}") from error


def _number(error: Exception) -> int | None:
    """That of an error of the system, if it is one."""
    if isinstance(error, OSError):
        return error.errno
    found = OS_ERROR.search(str(error))
    return int(found[1]) if found else None


def _is_about_another(error: Exception, path: Path) -> bool:
    """Whether it is another file that could not be read or written meanwhile: one neither above nor beside ``path``."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str):
        return False
    named, places = Path(error.filename).absolute(), {path.absolute(), path.resolve()}
    return not any(named == place or named in place.parents or place.parent in named.parents for place in places)


def _advice(number: int | None) -> str:
    if number in FULL:
        return "make room there, or choose another place, and start the same command again"
    if number in FORBIDDEN:
        return "choose a place that you may write to"
    if number in IN_THE_WAY:
        return "something of that name is in the way; move it, or choose another place"
    return "choose another place"


def check_can_be_written(path: Path, *, is_folder: bool = False) -> None:
    """Look, without writing anything, whether ``path`` can be written: the folders above, and rights there.

    Raises:
        CannotWriteError: it cannot; says why.
    """
    if fault := fault_of_path(path):
        raise CannotWriteError(f"{brief(str(path), 100)}: cannot be written: {fault}")
    if path.is_dir() and not is_folder:
        raise CannotWriteError(f"{path}: is a folder; name a file")
    if is_folder and path.exists() and not path.is_dir():
        raise CannotWriteError(f"{path}: is a file; name a folder")
    if is_folder and path.is_symlink() and not path.exists():
        raise CannotWriteError(f"{path}: is a link to {path.readlink()}, which is not there; name another folder")
    if _is_stream(path):
        return
    place = path if is_folder else path.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise CannotWriteError(f"{path}: cannot be written: {place} is a file; choose another place")
    if not os.access(place, os.W_OK | os.X_OK):
        raise CannotWriteError(f"{path}: cannot be written: {place} may not be written to; choose another place")


def check_room(folder: Path) -> None:
    """Ask the system whether it takes more bytes in ``folder``, after a library failed that does not say why.

    Raises:
        CannotWriteError: it does not; says why.
    """
    with writing(folder):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(PROBE))
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), str(folder)) from error


@contextmanager
def _temporary(target: Path, holds: str) -> Iterator[Path]:
    """A folder beside ``target`` that nobody else has, and that says in itself what it is; it is removed at the end."""
    folder = target.parent / f"{PREFIX}{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    try:
        mark = {"temporary": folder.name, "of": target.name, "holds": holds}
        (folder / MARK).write_text(json.dumps(mark), encoding="utf-8")
        yield folder
    finally:
        if not (holds == "old" and (folder / target.name).exists()):  # what was moved aside is never lost
            with suppress(OSError):
                _remove_temporary(folder)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill; it takes the place of ``folder`` when the ``with`` block ends without an error.

    A manifest of its files (:mod:`hrkd.support.manifest`) is written into it last. Of an older folder only what hrkd
    wrote is removed (:mod:`hrkd.support.own_files`); what others put there is in the new one.

    Raises:
        CannotWriteError: it cannot be written; the older folder is as it was.
    """
    if folder.is_symlink() or folder.is_file():
        what = f"is a link to {folder.readlink()}" if folder.is_symlink() else "is a file"
        raise CannotWriteError(f"{folder}: {what}, where a folder is to be written; move it, or choose another place")
    with writing(folder), _temporary(folder, "new") as around:
        new = around / folder.name
        new.mkdir()
        yield new
        clear_leftovers(new)
        write_manifest(new)
        _as_the_umask_says(new, like=around / MARK)
        _to_the_disk(new)
        if not folder.exists():
            new.rename(folder)
            _sync(folder.parent)
            return
        with _temporary(folder, "old") as aside:
            old = aside / folder.name
            _put_in_place(new, folder, old)
            _sync(folder.parent)
            _dispose(old, folder)


def _put_in_place(new: Path, folder: Path, old: Path) -> None:
    """Have ``new`` in the place of ``folder``, which becomes ``old``; at no moment nothing, where the system can."""
    new.rename(old)
    try:
        if _exchange(old, folder):
            return
    except BaseException:
        old.rename(new)
        raise
    old.rename(new)
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        old.rename(folder)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; returns whether the system knows how (Linux: renameat2)."""
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    if function(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):  # of a file system that cannot
        return False
    raise OSError(number, os.strerror(number), str(other))


def _to_the_disk(folder: Path) -> None:
    """Have the system write all of a folder to its disk: else a crash may leave its name without its files."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to its disk."""
    if path.is_dir() and os.name == "nt":
        return  # where folders cannot be opened
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of a file system that knows no such thing
            raise
    finally:
        os.close(descriptor)


def _as_the_umask_says(folder: Path, *, like: Path) -> None:
    """Give files the rights of ``like``: some libraries make theirs readable for their owner alone."""
    rights = stat.S_IMODE(like.stat().st_mode)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) != rights:
            path.chmod(rights)


def _dispose(old: Path, folder: Path) -> None:
    """Remove a folder that was moved aside, but for what others put there, which goes to its successor."""
    remove_own(old)
    if old.is_dir():
        keep_the_rest(old, folder)


def clear_leftovers(folder: Path, is_ours: Callable[[str], object] = bool) -> None:
    """Remove what :func:`replace_folder` and :func:`replace_file` left in ``folder`` when their process was killed.

    A folder that was moved aside, and whose successor had not yet taken its place, is put back.

    Args:
        is_ours: whether a name is one of those that the caller writes: others are left to whom they belong.
    """
    for leftover in list(folder.glob(f"{PREFIX}*")):
        if _is_unmarked(leftover):
            _remove_temporary(leftover)
        mark = _mark(leftover)
        if mark is None or not is_ours(mark["of"]):
            continue
        held = leftover / mark["of"]
        if mark.get("holds") == "old" and held.is_dir():
            target = folder / mark["of"]
            if target.exists():
                _dispose(held, target)
            else:
                held.rename(target)
        _remove_temporary(leftover)


def is_leftover(path: Path) -> bool:
    """Whether ``path`` is what :func:`clear_leftovers` removes."""
    return path.name.startswith(PREFIX) and (_mark(path) is not None or _is_unmarked(path))


def _remove_temporary(folder: Path) -> None:
    """Remove a temporary folder; what says that it is one goes last, or nobody would know what was left of it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()
    (folder / MARK).unlink(missing_ok=True)
    folder.rmdir()


def _is_unmarked(folder: Path) -> bool:
    """Whether the process that made a temporary folder was killed before the folder said what it is."""
    if UNMARKED.fullmatch(folder.name) is None or folder.is_symlink() or not folder.is_dir():
        return False
    if any(path.name != MARK for path in folder.iterdir()):
        return False
    try:
        json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return False


def _mark(folder: Path) -> dict[str, str] | None:
    """What a temporary folder says of itself; None if it is none."""
    try:
        mark = parse_json((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    sound = isinstance(mark, dict) and mark.get("temporary") == folder.name and not folder.is_symlink()
    return mark if sound and Path(str(mark.get("of"))).name == mark.get("of") else None


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """An empty file to write to; it takes the place of ``path`` when the ``with`` block ends without an error.

    The folder of ``path`` is made. What is no file, such as /dev/stdout, is written to; a link stays one.

    Raises:
        CannotWriteError: it cannot be written; an older file is as it was.
    """
    if _is_stream(path):
        with tempfile.TemporaryDirectory(prefix="hrkd-") as folder, writing(path):
            new = Path(folder) / path.name
            new.touch()
            yield new
            with _opened(path) as stream, new.open("rb") as content:
                shutil.copyfileobj(content, stream)
        return
    target = path.resolve() if path.is_symlink() else path
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(target, "new") as around:
            new = around / target.name
            new.touch()
            yield new
            _sync(new)
            new.replace(target)
            _sync(target.parent)


def _is_stream(path: Path) -> bool:
    """Whether a stream of this process is called so, or something that is neither file nor folder."""
    if str(path) in STREAMS:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _opened(path: Path) -> BinaryIO:
    number = STREAMS.get(str(path))
    # Opened by its name, a stream that leads to a file would begin at its start once more.
    return path.open("ab") if number is None else os.fdopen(os.dup(number), "wb")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step, making its folder."""
    with replace_file(path) as new:
        new.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON in one step."""
    write_text(path, json_text(content))


def put_manifest(folder: Path, names: Sequence[str]) -> None:
    """List some files of a folder that is in place, in one step: half a list would speak against all of them.

    Raises:
        CannotWriteError: it cannot be written; an older list is as it was.
    """
    write_json(folder / MANIFEST, listing(folder, names))


def read_json(path: Path, *, what: str, advice: str = "") -> Any:
    """The content of a JSON file that hrkd wrote; ``what`` says what it is, ``advice`` what to do without it.

    Raises:
        ArtifactError: the file is missing or is no JSON.
    """
    ending = f"; {advice}" if advice else ""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: {what} is missing{ending}") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: {what} cannot be read ({error}){ending}") from error


def read_record(
    path: Path, *, what: str, advice: str, needs: Mapping[str, type | tuple[type, ...]] | Collection[str] = ()
) -> dict[str, Any]:
    """:func:`read_json` of a file whose content is a mapping with the keys that are needed.

    Args:
        needs: the keys, with their types where these matter.

    Raises:
        ArtifactError: the file is missing, is no such mapping, or lacks a key.
    """
    content = read_json(path, what=what, advice=advice)
    types = needs if isinstance(needs, Mapping) else dict.fromkeys(needs, object)
    lacking = [key for key, kind in types.items() if not isinstance(content, dict) or key not in content]
    wrong = [key for key, kind in types.items() if key not in lacking and not isinstance(content[key], kind)]
    if not isinstance(content, dict) or lacking or wrong:
        said = f"lacks {', '.join(lacking)}" if lacking else f"has another {', '.join(wrong)} than hrkd wrote"
        said = said if isinstance(content, dict) else "is no mapping"
        raise ArtifactError(f"{path}: {what} is damaged: it {said}; {advice}")
    return content
