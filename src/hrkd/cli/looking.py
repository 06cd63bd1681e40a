"""Verbs that look at data, recipes and caches before anything is trained."""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hrkd.cli.flags import Flags, overrides_of, takes_fields
from hrkd.cli.output import print_json
from hrkd.cli.parameters import Json, RecipeArgument, RecipeName, offered, tell
from hrkd.cli.terminal import heavy_imports, prepare
from hrkd.errors import RecipeError
from hrkd.recipe.codes import CODES, code_of
from hrkd.recipe.loading import load_recipe, packaged_recipe_text, packaged_recipes, recipe_json_schema
from hrkd.recipe.schema import Recipe
from hrkd.recipe.yaml_lines import read_yaml
from hrkd.run.first_look import (
    check_named,
)
from hrkd.support.messages import visible

if TYPE_CHECKING:
    CodeName = str
else:
    CodeName = offered(CODES)

__all__ = ["cache", "check", "data", "explain", "init", "recipe"]


@takes_fields("data")
def data(
    recipe: RecipeArgument = None,
    /,
    *,
    tokenizer: Annotated[
        str | None, Parameter(help="Folder or hub name of a tokenizer, to count tokens; default: the recipe's teacher.")
    ] = None,
    linear_models: Annotated[
        bool, Parameter(help="Show what linear models reach on dev, and what domains give each other; some seconds.")
    ] = True,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Describe the data of a recipe: sizes, labels, lengths, repeated texts.

    And what linear models reach on dev, of each domain alone and of all together. Only the data section of the recipe
    is needed.
    """
    checked = load_recipe(recipe, overrides_of(flags), needed=("data",))
    check_named(checked, "data")
    console = prepare(data_only=as_json)
    from hrkd.run.describe_data import describe_data

    tell(describe_data(checked, tokenizer, linear_models=linear_models, show=console.print), as_json)


@takes_fields(*Recipe.model_fields)
def check(
    recipe: RecipeArgument = None,
    /,
    *,
    as_json: Json = False,
    flags: Flags = None,
) -> int:
    """Check a recipe and its data without training; findings have codes.

    All errors of the recipe, files, models and columns that a run would refuse, and what in the data is worth a look:
    each a line with its code, what was found, an example and what to do. `hrkd explain CODE` says more, and
    `--data.ignore CODE` leaves one out. Exit status: 0 nothing or notes alone, 1 warnings, 2 a run would refuse.
    """
    console = prepare(data_only=as_json)
    with heavy_imports():
        from hrkd.report.findings import findings_lines, hanging
        from hrkd.run import check as checking

    overrides = overrides_of(flags)
    found = checking.check(recipe, overrides)
    following = _after_check(recipe, found.status, with_flags=bool(overrides))
    if as_json:
        print_json({"recipe": recipe, **found.to_dict(), "next": following})
        return found.status
    for line in (*findings_lines(recipe or "recipe", found.findings, found.left_out), f"next: {following}"):
        console.print(hanging(line, console.width) if console.is_terminal else line, soft_wrap=True)
    return found.status


def _after_check(recipe: str | None, status: int, *, with_flags: bool) -> str:
    """The command that comes next."""
    name = f" {shlex.quote(recipe)}" if recipe is not None else ""
    flags = " (with the same flags)" if with_flags else ""
    if status == 2:
        return f"mend the errors, then hrkd check{name}{flags}"
    return f"hrkd compress{name}{flags}" + ("; hrkd explain CODE says more of a finding" if status else "")


def init(
    source: Annotated[str, Parameter(help="A table, a folder of tables or of a research set, or a hub data set.")],
    /,
    *,
    output: Annotated[Path, Parameter(help="The recipe to write.")] = Path("my.yaml"),
    teacher: Annotated[
        str | None, Parameter(help="Folder or hub name of the pre-trained encoder; default: bert-base-uncased.")
    ] = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace a recipe that is there.")] = False,
    schema: Annotated[bool, Parameter(help="Write recipe.schema.json beside it too, by which editors help.")] = True,
    as_json: Json = False,
) -> None:
    """Look at a table and write a recipe for it.

    Which column is the text, the label, the domain, a second text or the split is told by what they hold, and a little
    by their names; the recipe says why, and which others it may be.
    """
    console = prepare(data_only=as_json)
    from hrkd.run.first_recipe import write_first_recipe

    told = write_first_recipe(
        source, output, teacher=teacher, overwrite=overwrite, with_schema=schema, show=console.print
    )
    following = f"hrkd check {shlex.quote(str(output))}"
    for line in (*told, f"next: {following}"):
        console.print(visible(line), soft_wrap=True)
    tell(
        {"recipe": str(output), "content": read_yaml(output.read_text(), str(output)).data, "next": following}, as_json
    )


def explain(
    code: Annotated[CodeName | None, Parameter(help="Such as D104; default: list all.", show_choices=False)] = None,
    /,
    *,
    as_json: Json = False,
) -> None:
    """Say what the code of a finding means and what to do.

    Without a code, lists all of them.
    """
    if as_json:
        print_json([asdict(each) for each in ([code_of(code)] if code is not None else CODES.values())])
        return
    if code is not None:
        text = str(code_of(code))
    else:
        text = "\n".join(f"{each.code}  {each.severity:8} {each.title}" for each in CODES.values())
    prepare().print(text)


def cache(
    *,
    folder: Annotated[
        Path | None, Parameter(help="Folder of all caches; default: HRKD_CACHE, or ~/.cache/hrkd.")
    ] = None,
    clear: Annotated[
        str | None, Parameter(help="Remove the cache of this name (or whose name alone begins so), or all of them.")
    ] = None,
    older_than: Annotated[float | None, Parameter(help="Only those that were not used for so many days.")] = None,
    as_json: Json = False,
) -> None:
    """List, and clear, what is kept on disk for later runs.

    Rows of tables as they were checked, token ids, what linear models said of dev and test, and what teachers said of
    training texts. A cache is read by every later run with the same table, with the same texts and tokenizer, with the
    same labelled rows, or with the same teacher, texts and layer map.
    """
    if older_than is not None and not 0 <= older_than < float("inf"):
        raise RecipeError(f"--older-than: expected a number of days from 0, got {older_than:g}")
    console = prepare(data_only=as_json)
    from hrkd.support.caches import DAY, cache_folder, cached_folders, clear_cache, other_folders

    place = cache_folder(folder)
    if clear is not None:
        removed = clear_cache(place, clear, older_than=older_than)
        for each in removed:
            console.print(f"removed: {each}", soft_wrap=True)
        if not removed:
            console.print(f"nothing to remove in {place}", soft_wrap=True)
        tell({"folder": str(place), "removed": [each.name for each in removed]}, as_json)
        return
    from hrkd.report.tables import cache_table

    since = time.time() - (older_than or 0) * DAY
    found = [each for each in cached_folders(place) if older_than is None or each[1]["used"] < since]
    table = cache_table(found, other_folders(place), place)
    if as_json:
        print_json({"folder": str(place), "caches": [{"name": path.name, **index} for path, index in found]})
        return
    if found:
        console.print(table)
        return
    for line in (f"no caches in {place}", *table.notes[1:]):
        console.print(line, soft_wrap=True)


def recipe(
    name: Annotated[RecipeName | None, Parameter(help="A packaged recipe to print.", show_choices=False)] = None,
    /,
    *,
    schema: Annotated[bool, Parameter(negative=(), help="Print the JSON schema of all fields.")] = False,
    as_json: Json = False,
) -> None:
    """List the packaged recipes, print one, or print the schema of all fields.

    `hrkd recipe demo > my.yaml` is a good start for a recipe of your own.
    """
    if schema:
        text = json.dumps(recipe_json_schema(), indent=2)  # docs/recipe.schema.json is this
    elif as_json:
        print_json(_summaries() if name is None else read_yaml(packaged_recipe_text(name), name).data)
        return
    elif name is not None:
        text = packaged_recipe_text(name)
    else:
        text = "\n".join(f"{each['name']:16}{each['summary']}" for each in _summaries())
    sys.stdout.write(text.rstrip("\n") + "\n")


def _summaries() -> list[dict[str, str]]:
    """Name and first line of each packaged recipe."""
    texts = {name: packaged_recipe_text(name) for name in packaged_recipes()}
    return [{"name": name, "summary": text.partition("\n")[0].lstrip("# ")} for name, text in texts.items()]
