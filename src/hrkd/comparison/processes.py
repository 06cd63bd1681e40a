"""Making the runs of a grid, each in a process of its own, and only those that are missing.

::

    OUTPUT/
      teachers/<data>/<amount>/<hash>/seed-<n>/    runs of hrkd train-teacher, shared by all cells that need them
      cells/<data>/<amount>/<method>/seed-<n>/     runs of hrkd distill or hrkd train-baseline
      started/<the same>.yaml  .log               the recipe that a process was given, and what it said
      compare.md  compare.csv  compare.json  compare.svg
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrkd.comparison.planning import Cell, PlannedRun, settings_of_stage
from hrkd.errors import ArtifactError, RecipeError
from hrkd.recipe.loading import load_recipe, recipe_to_yaml
from hrkd.recipe.schema import SIZE_BY_HAND, SIZE_BY_TIME, Recipe
from hrkd.recipe.sizes import with_found_size
from hrkd.run.folder import RunFolder, telling_how_to_go_on
from hrkd.run.identity import VERSION, differences
from hrkd.support.atomic_files import write_text, writing
from hrkd.support.messages import first_line
from hrkd.support.processor import usable_cores
from hrkd.support.progress import Bar, Progress
from hrkd.support.signals import signals_held

__all__ = ["changes_of", "is_finished", "make_runs"]

logger = logging.getLogger("hrkd.compare")
SECONDS_BETWEEN_LOOKS = 0.1


def is_finished(run: PlannedRun) -> bool:
    """Whether nothing is left to do for a run."""
    folder = RunFolder(run.folder)
    if not isinstance(run, Cell):
        return folder.stage("teacher").is_finished
    files = folder.stage(run.stage)
    done = files.is_finished and (folder.predictions / f"{run.stage}.parquet").is_file()
    return done and folder.is_measured(run.recipe.evaluation)


def changes_of(run: PlannedRun) -> list[str]:
    """Fields in which what a folder holds differs from the run that is planned; empty if it holds nothing yet.

    What a recipe does not say, such as the content of a table, is left to the run's own check. A teacher's folder is
    named by its settings, so that it holds no others.
    """
    folder = RunFolder(run.folder)
    if not isinstance(run, Cell) or not any(folder.stage(stage).is_begun for stage in (run.stage, "levels")):
        return []
    try:
        recorded = _recorded(run)
        then = {**_movable_settings(recorded, run), "version": _version(folder, run.stage)}
        planned = with_found_size(run.recipe, recorded)
        now = {**_movable_settings(planned, run), "version": VERSION}
        if planned.student.is_sized_by_time:  # another request, which tells more than the size that it found
            for name in set(SIZE_BY_HAND) - {"heads"}:  # which may be a part of the request
                then["student"].pop(name, None)
        return differences(then, now)
    except (ArtifactError, RecipeError) as error:
        return [f"what they were cannot be read: {first_line(error)}"]


def _version(folder: RunFolder, stage: str) -> Any:
    """That of the record of a stage, or of the first of its two: what the defaults of its recipe meant."""
    files = next(files for name in (stage, "levels") if (files := folder.stage(name)).is_begun)
    record = files.settings if files.is_finished else files.begun
    assert record is not None, "no part of a stage"
    return files.record(record, what="the record of a stage").get("version", 1)


def _recorded(run: PlannedRun) -> Recipe:
    return load_recipe(run.folder / "recipe.yaml")


def _movable_settings(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    """What decides a cell's model, wherever the folder of the grid lies and however its path is spelled."""
    settings = settings_of_stage(recipe, cell.stage)
    settings["student"] |= {name: getattr(recipe.student, name) for name in SIZE_BY_TIME}
    folder = recipe.teacher.fine_tuned
    if cell.teacher is not None and isinstance(folder, str):
        below_output = Path(cell.teacher.name, "teacher").parts
        settings["teacher"]["fine_tuned"] = "/".join(Path(folder).parts[-len(below_output) :])
    return settings


def make_runs(
    runs: Sequence[PlannedRun],
    output: Path,
    *,
    jobs: int,
    overwrite: bool,
    progress: Progress,
    begin: Callable[[Path], object],
) -> dict[str, str]:
    """Make runs, ``jobs`` at a time, a teacher before the cells that need it. Returns the errors of those that failed.

    Args:
        runs: those to make, teachers among them.
        output: the grid's folder.
        jobs: processes at a time.
        overwrite: replace what was made with other settings.
        progress: one bar counts the runs.
        begin: called with ``output`` once no other comparison can be at work there.

    Raises:
        ArtifactError: another comparison is at work in the folder.
    """
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    with (
        telling_how_to_go_on(output),
        _alone(output) as lock,
        progress.bar("runs", total=len(runs), unit="runs") as bar,
    ):
        begin(output)
        pool = _Pool(output, overwrite, _environment(jobs), lock, bar, waiting=list(runs))
        try:
            while pool.waiting or pool.running:
                pool.start(jobs)
                pool.collect()
                time.sleep(SECONDS_BETWEEN_LOOKS if pool.running else 0)
        finally:
            pool.stop()
    return pool.failed


@dataclass
class _Pool:
    """Runs that wait, run and have failed."""

    output: Path
    overwrite: bool
    environment: dict[str, str]
    lock: int | None
    bar: Bar
    waiting: list[PlannedRun]
    running: dict[str, tuple[PlannedRun, subprocess.Popen[bytes], float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def start(self, jobs: int) -> None:
        """Start runs whose teacher is there, until ``jobs`` are under way."""
        for run in list(self.waiting):
            teacher = run.teacher.name if isinstance(run, Cell) and run.teacher is not None else ""
            if teacher in self.failed:
                self.waiting.remove(run)
                self._fail(run, f"its teacher failed ({teacher})")
            elif len(self.running) < jobs and teacher not in {*self.running, *(each.name for each in self.waiting)}:
                self.waiting.remove(run)
                recipe, log = self._file(run, "yaml"), self._file(run, "log")
                write_text(recipe, recipe_to_yaml(run.recipe))
                flags = ["--run.overwrite"] if self.overwrite and changes_of(run) else []
                logger.info("%s: started, log in %s", run.name, log)
                with signals_held():  # between the two, a process would be left that nobody knows of
                    process = start_process([run.verb, str(recipe), *flags], log, self.environment, self.lock)
                    self.running[run.name] = run, process, time.monotonic()

    def collect(self) -> None:
        """Take note of the runs that have ended."""
        for run, process, start in list(self.running.values()):
            if process.poll() is None:
                continue
            del self.running[run.name]
            if process.returncode:
                self._fail(run, _error_in(self._file(run, "log"), process.returncode))
            else:
                logger.info("%s: finished in %.0f s", run.name, time.monotonic() - start)
                self.bar.advance(note=run.name)

    def stop(self) -> None:
        """End what still runs; it goes on from its checkpoint another time."""
        for _, process, _ in self.running.values():
            process.terminate()
        for _, process, _ in self.running.values():
            process.wait()

    def _fail(self, run: PlannedRun, error: str) -> None:
        self.failed[run.name] = error
        logger.error("%s: failed: %s", run.name, error)
        self.bar.advance(note=run.name)

    def _file(self, run: PlannedRun, suffix: str) -> Path:
        return self.output / "started" / f"{run.name}.{suffix}"


def start_process(
    arguments: Sequence[str], log: Path, environment: dict[str, str], lock: int | None
) -> subprocess.Popen[bytes]:
    """The command line in a process of its own, which writes to ``log`` and inherits ``lock`` (a file descriptor)."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "hrkd", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=() if lock is None else (lock,),
        )


def _environment(jobs: int) -> dict[str, str]:
    """The environment of the runs: the threads of this process, shared out."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdigit() else usable_cores()
    return os.environ | ({"OMP_NUM_THREADS": str(max(1, threads // jobs))} if jobs > 1 else {})


def _error_in(log: Path, status: int) -> str:
    """What a failed run said last: its message, or the last line of its traceback."""
    text = log.read_text(encoding="utf-8", errors="replace").rstrip()
    _, found, message = f"\n{text}".rpartition("\nerror: ")
    last = message if found else text.rpartition("\n")[2] or "it said nothing"
    ending = f"signal {-status}" if status < 0 else f"status {status}"
    return last if found else f"{last} ({ending}; see {log})"


@contextmanager
def _alone(output: Path) -> Iterator[int | None]:
    """The lock of a grid's folder. Runs inherit it, so that it is taken for as long as one of them lives.

    Raises:
        ArtifactError: it is taken.
    """
    if sys.platform == "win32":
        yield None
        return
    import fcntl

    with (output / ".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"{output}: hrkd compare, or a run that it started, is at work here; wait for it or end it first"
            ) from None
        yield file.fileno()
