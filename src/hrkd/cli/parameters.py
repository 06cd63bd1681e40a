"""Parameters that several verbs have, and what they share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hrkd.cli.flags import Flags, overrides_of
from hrkd.cli.output import print_json
from hrkd.recipe.loading import load_recipe, packaged_recipes
from hrkd.recipe.schema import Recipe
from hrkd.run.first_look import check_named

__all__ = ["Json", "RecipeArgument", "RecipeName", "data_recipe", "offered", "tell"]


def offered(words: Iterable[str]) -> Any:
    """The type of a text for which a shell offers ``words``; any other is taken too, for the library to judge.

    Such a parameter needs ``show_choices=False``: its help says what the words are.
    """
    return Literal[tuple(words)] | str


if TYPE_CHECKING:
    RecipeName = str
else:
    RecipeName = offered(packaged_recipes())

RecipeArgument = Annotated[
    RecipeName | None,
    Parameter(help="A YAML file or the name of a packaged recipe. Flags go before what it says.", show_choices=False),
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
