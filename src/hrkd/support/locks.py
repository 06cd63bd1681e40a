"""Locks on files, which die with their process: one process at a time is at work in a folder."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import writing
from hrkd.support.json_text import parse_json

__all__ = ["Lock"]


class Lock:
    """A lock on ``file``, which stays when it is released: others may be looking at it.

    It says who holds it. As a context it is not taken at the beginning, but released at the end.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = FileLock(file, timeout=0)
        self._taken: os.stat_result | None = None

    def take(self, refusal: Callable[[str], str]) -> bool:
        """Take it, unless this object holds it; the folder of the file is made. Returns whether it was taken now.

        Args:
            refusal: the message where another holds it, given what is known of that one.

        Raises:
            ArtifactError: another holds it, or the file cannot be written.
        """
        if self._lock.is_locked:
            return False
        with writing(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except Timeout:
                raise ArtifactError(refusal(self._holder())) from None
            self._taken = self.file.stat()
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        with suppress(OSError):  # some systems let nobody write to a file that is locked
            self.file.write_text(json.dumps({"process": os.getpid(), "host": platform.node(), "since": since}))
        return True

    def check(self) -> None:
        """Whether the file is still the one that this object locked, before something is written that it guards.

        Raises:
            ArtifactError: somebody removed it, so that another process may hold one in its place. Where this object
                holds nothing, nothing is looked at.
        """
        if self._taken is None:
            return
        try:
            same = os.path.samestat(self.file.stat(), self._taken)
        except FileNotFoundError:
            same = False
        except OSError:  # which says nothing of the file
            same = True
        if not same:
            raise ArtifactError(
                f"{self.file}: was removed or replaced while hrkd (process {os.getpid()}) is at work here, so that "
                "another command may be writing here too; this one stops. Once no other is at work, the same command "
                "goes on from its checkpoint"
            )

    def _holder(self) -> str:
        try:
            known = parse_json(self.file.read_text(encoding="utf-8"))
            return f" (process {known['process']} on {known['host']}, since {known['since']})"
        except (OSError, ValueError, LookupError, TypeError):
            return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._taken = None
        self._lock.release()
