"""Commands on folders of strangers, in a process that notes what Python does meanwhile: ``audited.py PLAN.json``.

The plan names ``commands`` (lists of arguments of hrkd), ``hostile`` (folders whose code must not run) and ``own``
(where files may be written). Prints JSON: exit status and what is against the rules, for each command.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system"}
TALKS = {
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
}
UNPICKLES = {"pickle.find_class"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}
DEVICES = ("/dev/", "/proc/self/")


class Rules:
    """What the hook looks for while a command is at work."""

    def __init__(self, hostile: list[str], own: list[str]) -> None:
        self.hostile = tuple(os.path.realpath(place) for place in hostile)
        self.own = (*(os.path.realpath(place) for place in own), *DEVICES)
        self.broken: list[str] | None = None

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.broken is None:
            return
        broken, self.broken = self.broken, None  # what is done here is not looked at
        try:
            broken += self.against(event, arguments)
        finally:
            self.broken = broken

    def against(self, event: str, arguments: tuple[Any, ...]) -> list[str]:
        if event in STARTS or event == "subprocess.Popen":
            asked = arguments[1] if event == "subprocess.Popen" else None
            # As Python's own platform.processor() does, which libraries ask for.
            return [] if asked == ["uname", "-p"] else [f"starts a process: {arguments!r:.200}"]
        if event in TALKS:
            return [f"opens a socket: {event} {arguments!r:.200}"]
        if event in UNPICKLES:
            return [f"unpickles {arguments!r:.100}"]
        if event == "exec":
            file = os.path.realpath(arguments[0].co_filename)
            return [f"runs code of {file}"] if self.is_hostile(file) else []
        if event == "import":
            file = str(arguments[1] or "")
            return [f"imports {file}"] if file and self.is_hostile(os.path.realpath(file)) else []
        if event == "open" and isinstance(arguments[0], str | bytes) and self.writes(*arguments[1:]):
            return self.outside(arguments[0])
        if event in CHANGES:
            # A name relative to an open folder is part of the removal of that folder, which was looked at by its name.
            within = any(isinstance(each, int) and each >= 0 for each in arguments) and event != "os.mkdir"
            paths = [each for each in arguments if isinstance(each, str | bytes | os.PathLike)]
            return [] if within else [each for path in paths for each in self.outside(path)]
        return []

    def writes(self, mode: str | None, flags: int) -> bool:
        return bool(flags & WRITES) if mode is None else any(letter in mode for letter in "wax+")

    def outside(self, path: Any) -> list[str]:
        real = os.path.realpath(os.fsdecode(path))
        return [] if real.startswith(self.own) else [f"writes {real}"]

    def is_hostile(self, file: str) -> bool:
        return file.startswith(self.hostile)


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rules = Rules(plan["hostile"], plan["own"])
    from hrkd.cli import main as hrkd

    sys.addaudithook(rules.hook)
    for command in plan["commands"]:
        said = io.StringIO()
        rules.broken = []
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = hrkd(command)
        broken, rules.broken = rules.broken, None
        found = {"command": command, "status": status, "broken": sorted(set(broken)), "said": said.getvalue()[-600:]}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
