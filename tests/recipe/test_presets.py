"""What holds for fields that a recipe leaves out."""

import pytest

from hrkd.errors import RecipeError
from hrkd.recipe.loading import load_recipe, recipe_json_schema, recipe_to_yaml
from hrkd.recipe.presets import PRESETS, preset_values, recommended
from hrkd.recipe.schema import DataConfig, MethodConfig, Recipe, StudentConfig
from hrkd.run.identity import differences, recipe_settings

PLAIN = {"data": {"source": "a.csv"}, "teacher": {"model": "encoder"}, "student": {"layers": 2, "width": 24}}


def value_at(recipe, path):
    for part in path:
        recipe = getattr(recipe, part)
    return recipe


def paths(values, above=()):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from paths(value, (*above, name))
        else:
            yield (*above, name), value


def test_a_plain_recipe_is_the_recommended_one():
    recipe = load_recipe(PLAIN)
    assert recipe.method.preset == "recommended"
    wanted = dict(paths(PRESETS["recommended"]))
    assert wanted, "there is something to recommend"
    assert {path: value_at(recipe, path) for path in wanted} == wanted
    assert recipe == load_recipe({**PLAIN, "method": {"preset": "recommended"}})
    assert MethodConfig() == recipe.method


def test_published_is_what_the_fields_say_themselves():
    recipe = load_recipe({**PLAIN, "method": {"preset": "published"}})
    method = MethodConfig.model_construct(preset="published")
    assert recipe.method == method
    assert (method.graph, method.hierarchy, method.hidden_weight) == ("published", "compare_aggregate", 1.0)
    for path in dict(paths(PRESETS["recommended"])):
        section = {"data": DataConfig, "student": StudentConfig, "method": MethodConfig}.get(path[0])
        if section is not None:
            assert value_at(recipe, path) == value_at(section.model_construct(), path[1:])


def test_what_is_given_goes_first():
    given = {
        "data": {"source": "a.csv", "keep": "tail"},
        "teacher": {"model": "encoder"},
        "student": {"layers": 2, "width": 24, "training": {"epochs": 3, "learning_rate": 1e-3}},
        "method": {"hidden_weight": 0.7, "graph": "random"},
    }
    recipe = load_recipe(given)
    assert (recipe.data.keep, recipe.student.training.learning_rate) == ("tail", 1e-3)
    assert (recipe.method.hidden_weight, recipe.method.graph, recipe.method.hierarchy) == (0.7, "random", "none")
    taken_back = load_recipe(given, {"method.graph": None})
    assert taken_back.method.graph == recommended(("method", "graph"))


def test_sections_as_objects_are_filled_alike():
    parts = load_recipe(PLAIN)
    made = Recipe(
        data=DataConfig(source="a.csv"),
        teacher=parts.teacher,
        student=StudentConfig(layers=2, width=24),
        method=MethodConfig(preset="recommended"),
    )
    assert made == parts


@pytest.mark.parametrize("preset", ["recommended", "published"])
def test_a_resolved_recipe_reads_back_the_same(preset, tmp_path):
    recipe = load_recipe({**PLAIN, "method": {"preset": preset}})
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_to_yaml(recipe))
    assert load_recipe(file) == recipe


@pytest.mark.parametrize("preset", ["recommended", "published"])
def test_a_student_without_layers_keeps_its_own_training(preset):
    recipe = load_recipe({**PLAIN, "student": {"kind": "static"}, "method": {"preset": preset}})
    assert recipe.student == StudentConfig(kind="static")


def test_nothing_is_recommended_for_data_that_trains_nothing():
    data = load_recipe(None, {"data.source": "a.csv"}, needed=("data",)).data
    assert data == DataConfig(source="a.csv")
    assert data.model_fields_set == {"source"}
    assert load_recipe(PLAIN, needed=("data", "teacher")).data.keep == recommended(("data", "keep"))


def test_a_form_shows_what_is_recommended():
    schema = recipe_json_schema()
    for path, value in preset_values():
        here, seen = schema, []
        for name in path:
            here = here["properties"][name]
            seen.append(here)
            if "$ref" in here:
                here = schema["$defs"][here["$ref"].rpartition("/")[2]]
        assert here["default"] == value, path
        section = seen[-2].get("default") if len(seen) > 1 else None
        assert section is None or section[path[-1]] == value, path


def test_the_name_of_a_preset_decides_no_weights():
    one = load_recipe(PLAIN)
    other = load_recipe({**one.model_dump(), "method": {**one.method.model_dump(), "preset": "published"}})
    assert one != other
    settings = [recipe_settings(recipe, "student") for recipe in (one, other)]
    assert differences(*settings) == []
    assert differences(
        settings[0], recipe_settings(load_recipe({**PLAIN, "method": {"preset": "published"}}), "student")
    )


def test_another_name_is_told():
    with pytest.raises(RecipeError, match="'best' is not allowed: must be one of recommended, published"):
        load_recipe({**PLAIN, "method": {"preset": "best"}})
