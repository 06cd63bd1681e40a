"""Which command made a run or a comparison, beside its recipe, so that the folder alone says how to go on.

Paths stay as they were given, as a stage's record holds them so; ``directory`` is where they count from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError
from hrkd.recipe.schema import Recipe
from hrkd.run.folder import COMMAND, RECIPE, RunFolder
from hrkd.support.atomic_files import read_record
from hrkd.support.folder_names import fault_of_path
from hrkd.support.messages import first_of

__all__ = ["STAGES_OF", "CommandRecord", "finished_in", "read_command"]

FORMAT, VERSION = "hrkd-command", 1
STAGES_OF = {
    "compress": "student",
    "distill": "student",
    "train-baseline": "baseline",
    "train-teacher": "teacher",
}
"""Verb to the stage that it is about."""


@dataclass(frozen=True)
class CommandRecord:
    """A command, as far as the recipe beside it does not say it; command.json holds its fields.

    Args:
        verb: that of the command line.
        directory: the current one of the first call.
        arguments: what it was given besides: ``teacher_folder``; of a comparison ``grid`` and ``overwrite``.
        in_memory: arguments of a call from Python that no file holds.
    """

    verb: str
    directory: str
    arguments: dict[str, Any] = field(default_factory=dict)
    in_memory: tuple[str, ...] = ()
    format: str = FORMAT
    version: int = VERSION


def read_command(folder: Path) -> CommandRecord:
    """The command that made what is in ``folder``, which can be given again.

    Raises:
        ArtifactError: there is no run in it; it does not say its command, or one of a younger hrkd; or rows were in
            memory, or the directory that paths count from is gone. Says what to do.
    """
    if fault_of_path(folder) or not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder; name the output folder of a run or of a comparison")
    if not (folder / COMMAND).is_file():
        raise ArtifactError(_unrecorded(folder))
    advice = f"delete it and give the command again: {_again(folder)}"
    said = read_record(
        folder / COMMAND,
        what="the record of the command",
        needs={"verb": str, "directory": str, "arguments": dict, "in_memory": list, "version": int},
        advice=advice,
    )
    if said["version"] > VERSION or said["verb"] not in (*STAGES_OF, "compare"):
        raise ArtifactError(f"{folder / COMMAND}: of a younger hrkd; go on with the one that made it")
    command = CommandRecord(said["verb"], said["directory"], said["arguments"], tuple(map(str, said["in_memory"])))
    if not _are_arguments(command.verb, command.arguments):
        raise ArtifactError(
            f"{folder / COMMAND}: the record of the command is damaged: its arguments are none; {advice}"
        )
    if command.in_memory:
        raise ArtifactError(
            f"{folder}: was made from Python with {first_of(command.in_memory)} in memory, which no file holds; the "
            f"same call ({command.verb.replace('-', '_')}) goes on with it"
        )
    if fault_of_path(command.directory) or not Path(command.directory).is_dir():
        raise ArtifactError(
            f"{folder}: was begun in {command.directory}, from where its relative paths count, and which is no longer "
            f"there; go to where they count from now, and give the command: {_again(folder, command)}"
        )
    return command


def finished_in(folder: Path, command: CommandRecord, recipe: Recipe) -> Path | None:
    """What the ``command`` of a run has left, if nothing is left to do for it: its results, or the teacher's folder."""
    run, stage = RunFolder(folder), STAGES_OF[command.verb]
    wanted = [stage, *(["baseline"] if stage == "student" and recipe.student.baseline else [])]
    if not all(run.stage(name).is_finished for name in wanted):
        return None
    if stage == "teacher":
        return run.stage(stage).model
    return run.results.with_suffix(".md") if run.is_measured(recipe.evaluation) else None


def _are_arguments(verb: str, said: Mapping[str, Any]) -> bool:
    """Whether a record has the arguments that a call of the verb takes."""
    if verb != "compare":
        return isinstance(said.get("teacher_folder"), str | None)
    grid = said.get("grid")
    return isinstance(grid, dict) and isinstance(grid.get("output"), str) and isinstance(said.get("overwrite"), bool)


def _unrecorded(folder: Path) -> str:
    if RunFolder(folder).is_run:
        return (
            f"{folder}: does not say which command made it, as older versions of hrkd did not note it; give that "
            f"command again, from the directory that its relative paths count from: {_again(folder)}"
        )
    if (folder / "compare.json").is_file() or (folder / "started").is_dir():
        return (
            f"{folder}: a comparison of an older hrkd, which did not note its grid; hrkd compare GRID goes on with it, "
            "from the directory that its relative paths count from"
        )
    return f"{folder}: no run of hrkd, and no comparison; name the output folder of one"


def _again(folder: Path, command: CommandRecord | None = None) -> str:
    """The command line that goes on with a folder; of an unknown command, the usual one."""
    if command is not None and command.verb == "compare":
        return f"hrkd compare GRID --output {folder.resolve()}"
    verb = "compress" if command is None else command.verb
    teacher = None if command is None else command.arguments.get("teacher_folder")
    named = f" --teacher-folder {teacher}" if teacher else ""
    return f"hrkd {verb} {folder.resolve() / RECIPE} --run.output {folder.resolve()}{named}"
