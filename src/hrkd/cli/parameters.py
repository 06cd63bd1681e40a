"""Parameters that several verbs have, and what they share."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from hrkd.cli.flags import Flags, overrides_of
from hrkd.cli.output import print_json
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.run.first_look import check_named

__all__ = ["Json", "RecipeArgument", "data_recipe", "tell"]

RecipeArgument = Annotated[
    str | None, Parameter(help="A YAML file or the name of a packaged recipe. Flags go before what it says.")
]
Json = Annotated[
    bool,
    Parameter(
        name="--json", negative=(), help="Write data alone to standard output, as JSON; the rest to standard error."
    ),
]


def tell(content: Any, as_json: bool) -> None:
    """Write what a verb found as data, where that is asked for."""
    if as_json:
        print_json(content)


def data_recipe(recipe: str | None, flags: Flags) -> Recipe | None:
    """Where rows are, if that is said."""
    if recipe is None and not flags:
        return None
    checked = load_recipe(recipe, overrides_of(flags), needed=("data",))
    check_named(checked, "data")
    return checked
