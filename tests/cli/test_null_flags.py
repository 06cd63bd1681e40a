"""``null`` takes back what a recipe says, for every field there is."""

import pytest

import hrkd.cli.commands as commands
from hrkd.cli import main
from hrkd.errors import RecipeError
from hrkd.recipe.fields import recipe_fields
from hrkd.recipe.loading import check_recipe, read_recipe
from tiny import tiny_recipe

NEEDED = {"teacher.scratch", "student.layers", "data.format"}
"""Without them the recipe below names no teacher, no size and no rows."""


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    return tiny_recipe(tmp_path_factory.mktemp("x"))


def loaded(monkeypatch, *arguments):
    """The recipe that a command gets with these arguments; nothing is run."""

    class StoppedError(Exception):
        pass

    def stop(source, overrides, **options):
        raise StoppedError(overrides)

    monkeypatch.setattr(commands, "load_recipe", stop)
    with pytest.raises(StoppedError) as caught:
        main(["compress", "demo", *arguments])
    return caught.value.args[0]


@pytest.mark.parametrize("field", recipe_fields(), ids=lambda field: field.name)
def test_null_takes_back_what_the_recipe_says(field, default, monkeypatch):
    overrides = loaded(monkeypatch, f"--{field.name}", "null")
    here = overrides
    for part in field.path:
        here = here[part]
    assert here is None
    every = default.model_dump(mode="json")
    if field.name in NEEDED:
        with pytest.raises(RecipeError, match=r"give exactly one of|no size|source: missing"):
            check_recipe(*read_recipe(every), overrides)
        return
    section = check_recipe(*read_recipe(every), overrides)
    for part in field.path:
        section = getattr(section, part)
    assert section == field.default


@pytest.mark.parametrize("name", ["run.overwrite", "method.centre_prototypes", "student.baseline"])
@pytest.mark.parametrize(
    ("words", "value"),
    [((), True), (("true",), True), (("False",), False), (("null",), None)],
)
def test_a_switch_stands_alone_or_has_a_value(monkeypatch, name, words, value):
    section, field = name.split(".")
    for flag in (f"--{name}", f"--{name.replace('_', '-')}"):
        assert loaded(monkeypatch, flag, *words, "--run.seed", "3")[section][field] is value


def test_names_within_a_mapping_are_taken_back_too(default):
    every = default.model_dump(mode="json")
    every["method"]["domain_weights"] = {"books": 2, "films": 3}
    one = check_recipe(*read_recipe(every), {"method.domain_weights.books": None})
    assert one.method.domain_weights == {"films": 3}
    both = {"method": {"domain_weights": {"books": None, "films": None}}}
    assert check_recipe(*read_recipe(every), both).method.domain_weights is None
