"""hrkd in one process of a launch, with a fault in one of them; run by torchrun.

    python -m torch.distributed.run --standalone --nproc-per-node 2 tests/faulty.py FOLDER RANK PHASE HOW ARGUMENTS...

HOW is the name of a signal that the process sends itself, "raise" or "none". Each process leaves its number in FOLDER,
and the one with the fault the time of it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from hrkd.cli import main
from hrkd.run.context import Context
from hrkd.training import watch


class InjectedError(Exception):
    """What no part of hrkd raises."""


def strike(folder: Path, how: str) -> None:
    (folder / "struck").write_text(f"{time.time()} {os.getpid()}")
    if how == "raise":
        raise InjectedError("of the test")
    os.kill(os.getpid(), signal.Signals[how])
    time.sleep(0.1)


def arm(folder: Path, wanted: str, how: str) -> None:
    """Have the fault come once the process enters a phase."""
    if wanted == "load":
        plan = Context.plan
        Context.plan = lambda *args, **options: strike(folder, how) or plan(*args, **options)
        return
    entered, enter = [], watch._Watch.enter

    def entering(self, phase):
        enter(self, phase)
        if phase == wanted and not entered:
            entered.append(phase)
            strike(folder, how)

    watch._Watch.enter = entering


if __name__ == "__main__":
    folder, rank, wanted, how, *arguments = sys.argv[1:]
    (Path(folder) / f"process-{os.environ['RANK']}").write_text(str(os.getpid()))
    if how != "none" and os.environ["RANK"] == rank:
        arm(Path(folder), wanted, how)
    sys.exit(main(arguments))
