"""``hrkd init``: a recipe for a table, from what its columns hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hrkd.data.guessing.columns import Column, look_at
from hrkd.data.guessing.roles import Guess, guess_roles
from hrkd.data.readers.parts import Part
from hrkd.data.readers.places import plain_stem
from hrkd.data.readers.sources import open_parts
from hrkd.errors import ArtifactError, DataError, RecipeError
from hrkd.recipe.loading import load_recipe, recipe_json_schema
from hrkd.report.recipe_text import NOT_ENGLISH, FirstRecipe, looks_english, roles_table
from hrkd.support.atomic_files import check_can_be_written, write_text
from hrkd.support.json_text import parse_json
from hrkd.support.messages import count_of, first_of
from hrkd.support.progress import Show, quiet

__all__ = ["SCHEMA_FILE", "TEACHER", "write_first_recipe"]

SCHEMA_FILE = "recipe.schema.json"
TEACHER = "bert-base-uncased"


def write_first_recipe(
    source: str,
    output: Path,
    *,
    teacher: str | None = None,
    overwrite: bool = False,
    with_schema: bool = True,
    show: Show = quiet,
) -> list[str]:
    """Look at a file, folder or hub data set, and write a recipe for it; returns what to tell beside the table.

    Args:
        source: what ``data.source`` is to be.
        output: the recipe's file.
        teacher: folder or hub name of the teacher; default: :data:`TEACHER`.
        overwrite: replace a recipe that is there.
        with_schema: write the schema beside it, for editors.
        show: receives the table of the columns.

    Raises:
        ArtifactError: there is a file already, or it cannot be written.
        DataError: the source cannot be read, or has no column that looks like text, or like a label, or several of
            its name.
        RecipeError: ``output`` is not called as a recipe is.
    """
    if output.suffix.lower() not in (".yaml", ".yml"):
        raise RecipeError(f"{output}: expected the name of a YAML file, one that ends in .yaml")
    if output.exists() and not overwrite:
        raise ArtifactError(f"{output}: is there already; name another file (--output), or replace it (--overwrite)")
    check_can_be_written(output)
    parts = open_parts(source)
    about = f"{source}: a research set, whose columns are known"
    guess, files = None, ""
    told, unused = [about] if parts is None else [], list[Column]()
    if parts is not None:
        columns = look_at(parts)
        guess = _guessed(source, columns)
        for part in parts:
            if fault := part.repeated(column.name for column in guess.columns.values()):
                raise DataError(f"{part.name}: {fault}")
        about = f"{source}: {_counted(parts, guess)}, {count_of(len(columns), 'column', 'columns')}"
        unused = [column for column in columns if column not in guess.columns.values()]
        files = _files_as_domains(parts, guess)
        show(roles_table(about, guess, files))
        told += [f"not used: {column.name!r}, {column}" for column in unused] + _on_files(parts, guess)
        if teacher is None and not looks_english(guess):
            told.append(f"teacher {TEACHER}: {NOT_ENGLISH}; --teacher names another")
    schema = _write_schema(output.parent / SCHEMA_FILE, told) if with_schema else None
    name = plain_stem(Path(source)) or "mine"
    recipe = FirstRecipe(source, about, guess, unused, teacher or TEACHER, f"runs/{name}", schema, files)
    write_text(output, recipe.text())
    load_recipe(output)
    return [*told, f"written: {output}" + (f" and {output.parent / schema}, for editors" if schema else "")]


def _guessed(source: str, columns: list[Column]) -> Guess:
    guess = guess_roles(columns)
    missing = [role for role in ("text", "label") if role not in guess.columns]
    if missing:
        listed = "\n".join(f"  {column.name}: {column}" for column in columns)
        raise DataError(
            f"{source}: no column looks like a {' or a '.join(missing)}; write the recipe by hand (hrkd recipe demo "
            f"prints one to start from), with data.text, data.label and data.domain. The columns:\n{listed}"
        )
    return guess


def _counted(parts: list[Part], guess: Guess) -> str:
    """How many rows there are; those without a text, which no training can use, apart."""
    rows, text = sum(part.rows for part in parts), guess.columns["text"]
    if text.rows < rows:
        bare = f", {text.empty:,} of these without a text" if text.empty else ""
        return f"{count_of(rows)}, {text.rows:,} of them looked at{bare}"
    return f"{count_of(rows - text.empty)} with a text and {text.empty:,} without" if text.empty else count_of(rows)


def _on_files(parts: list[Part], guess: Guess) -> list[str]:
    """What names of files say."""
    if len(parts) < 2:
        return []
    split = [f"{part.name} is {part.split}" for part in parts if part.split]
    if split and "split" not in guess.columns:
        return [f"splits are told by names of files: {first_of(split)}"]
    return []


def _files_as_domains(parts: list[Part], guess: Guess) -> str:
    """Why the files of a folder are taken for domains; empty where they are not."""
    if len(parts) < 2 or "domain" in guess.columns or any(part.split for part in parts):
        return ""
    if len({part.columns for part in parts}) > 1:
        return ""
    names = first_of([part.name for part in parts])
    return f"no column looks like a domain, and {names} have the same columns: each file is taken for one"


def _write_schema(file: Path, told: list[str]) -> str | None:
    """Write the schema, unless a file of somebody else is there; returns what the recipe calls it."""
    if file.exists() and not _is_ours(file):
        told.append(f"{file}: is there already and none of hrkd's, so that the recipe names no schema")
        return None
    write_text(file, json.dumps(recipe_json_schema(), indent=2) + "\n")
    return file.name


def _is_ours(file: Path) -> bool:
    try:
        found: Any = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("$id") == recipe_json_schema()["$id"]
