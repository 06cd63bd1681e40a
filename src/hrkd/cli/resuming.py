"""``hrkd resume``: the command that made a folder once more, from where it was given."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from hrkd.cli import commands
from hrkd.cli.output import print_json
from hrkd.cli.parameters import Json
from hrkd.cli.terminal import prepare
from hrkd.recipe.loading import load_recipe
from hrkd.run.command_record import CommandRecord, finished_in, read_command
from hrkd.run.folder import RECIPE, RunFolder
from hrkd.support.atomic_files import read_json

__all__ = ["resume"]


def resume(
    folder: Annotated[Path, Parameter(help="Output folder of a run or of a comparison, wherever it lies now.")],
    /,
    *,
    as_json: Json = False,
) -> None:
    """Go on with a run or a comparison, of which its folder alone is named.

    The folder says which command made it, with which recipe, and from which directory relative paths count; the same is
    done again, and takes up what is finished. Of a finished one it says where the results lie.
    """
    command = read_command(folder)
    place = folder.resolve()
    with chdir(command.directory):
        if command.verb == "compare":
            _compare(folder, place, command, as_json)
        else:
            _run(folder, place, command, as_json)


def _run(named: Path, place: Path, command: CommandRecord, as_json: bool) -> None:
    """Go on with the run in ``place``, which the user ``named`` otherwise."""
    file = str(place / RECIPE)
    needed = ("data", "teacher") if command.verb == "train-teacher" else ("data", "teacher", "student")
    recipe = load_recipe(file, needed=needed)
    found = finished_in(place, command, recipe)
    if found is not None and not (as_json and command.verb == "train-teacher"):  # whose scores no file holds
        _tell_finished(named, found.relative_to(place), as_json)
        if as_json:
            print_json(read_json(RunFolder(place).results, what="the results"))
        return
    moved = recipe.run.output.resolve() != place
    flags = {"run": {"output": str(place)}} if moved else None
    given: dict[str, Any] = {"flags": flags, "as_json": as_json}
    if (teacher := command.arguments.get("teacher_folder")) is not None:
        given["teacher_folder"] = Path(teacher)
    getattr(commands, command.verb.replace("-", "_"))(file, **given)


def _compare(named: Path, place: Path, command: CommandRecord, as_json: bool) -> None:
    from hrkd.comparison.planning import load_grid

    grid = command.arguments["grid"]
    plan = load_grid(grid, {} if Path(grid["output"]).resolve() == place else {"output": str(place)})
    from hrkd.comparison import command as comparison

    if comparison.is_finished_comparison(plan):
        _tell_finished(named, Path(comparison.REPORT), as_json)
        if as_json:
            print_json(read_json(place / "compare.json", what="the results of a comparison"))
        return
    commands.compare_grid(plan, overwrite=command.arguments["overwrite"], as_json=as_json)


def _tell_finished(named: Path, results: Path, as_json: bool) -> None:
    prepare(data_only=as_json).print(f"{named}: finished; its results: {named / results}", soft_wrap=True)
