"""An extension of Sphinx that writes the reference of the command line, the recipe and the findings from the code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hrkd.cli import VERBS
from hrkd.recipe.codes import CODES
from hrkd.recipe.fields import RecipeField, annotation_at, expected, recipe_fields
from hrkd.recipe.presets import recommended

HERE = Path(__file__).parent / "reference"
NOTE = "<!-- written when the site is built; see docs/reference_pages.py -->\n"


def setup(_: Any) -> dict[str, bool]:
    """Write the pages before Sphinx looks for its sources."""
    pages = {"cli.md": cli_page, "recipe.md": recipe_page, "findings.md": findings_page}
    for name, make in pages.items():
        text = NOTE + make()
        file = HERE / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    return {"parallel_read_safe": True}


def cli_page() -> str:
    """The help of every verb, as the command prints it."""
    parts = [
        "# Verbs and flags\n",
        "Every verb with all its flags, as `hrkd VERB --help` prints them. What holds for all of them: [output, exit "
        "statuses, completion](command-line.md).\n",
        _help_of(),
    ]
    for verb, summary in VERBS.items():
        parts += [f"## hrkd {verb}\n", f"{summary}\n", _help_of(verb)]
    return "\n".join(parts)


def _help_of(*verb: str) -> str:
    command = [sys.executable, "-m", "hrkd", *verb, "--help"]
    plain = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=plain).stdout
    return f"```text\n{shown.strip()}\n```\n"


def recipe_page() -> str:
    """Every field: what it means, what it takes, its default; by section."""
    parts = [
        "# Recipe\n",
        "Every field of a recipe. Each is a flag too: `--student.layers 4`. Where *recommended* and *published* "
        "differ, `method.preset` chooses. Editors complete and check recipes by [the schema](../recipe.schema.json), "
        "which `hrkd init` puts beside one.\n",
    ]
    sections: dict[tuple[str, ...], list[RecipeField]] = {}
    for field in recipe_fields():
        sections.setdefault(field.path[:-1], []).append(field)
    for path, fields in sections.items():
        words = " ".join((annotation_at(path).__doc__ or "").split("\n\n")[0].split())
        parts += [f"## {'.'.join(path)}\n", f"{words}\n", "| field | meaning | takes | default |", "|---|---|---|---|"]
        for field in fields:
            cells = (f"`{field.path[-1]}`", field.meaning, expected(field.annotation), _default(field))
            parts.append("| " + " | ".join(_cell(each) for each in cells) + " |")
        parts.append("")
    return "\n".join(parts)


def _default(field: RecipeField) -> str:
    usual, preset = field.default, recommended(field.path)
    shown = "" if usual is None or repr(usual) == "PydanticUndefined" else f"`{_plain(usual)}`"
    return shown if preset is None else f"recommended `{_plain(preset)}`, published {shown or 'none'}"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


def findings_page() -> str:
    """Every code of `hrkd check`."""
    parts = ["# Findings\n", "What `hrkd check` finds, by code; `hrkd explain CODE` prints the same.\n"]
    for code in CODES.values():
        parts += [
            f"## {code.code}: {code.title}\n",
            f"*{code.severity.capitalize()}.* {code.means}\n",
            f"{code.matters}\n",
            f"**What to do:** {code.advice}\n",
        ]
    return "\n".join(parts)
