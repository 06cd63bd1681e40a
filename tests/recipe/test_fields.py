import pytest

from hrkd.recipe.fields import annotation_at, expected, recipe_fields
from hrkd.recipe.schema import Recipe, TrainingConfig


def test_fields_are_all_of_the_recipe_and_no_sections():
    names = [field.name for field in recipe_fields()]
    assert len(names) == len(set(names))
    assert names[0] == "data.source"
    assert {"data.synthetic.domains", "student.training.epochs", "run.precision"} <= set(names)
    assert not {"data", "data.synthetic", "student.training"} & set(names)
    assert {name.split(".")[0] for name in names} == set(Recipe.model_fields)


def test_defaults_are_those_of_the_section_at_its_place():
    defaults = {field.name: field.default for field in recipe_fields()}
    assert defaults["student.training.epochs"] == 10
    assert defaults["teacher.training.epochs"] == 3


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("teacher", "training", "epochs"), "a whole number, at least 1"),
        (("data", "dev"), "a number, above 0 and below 1"),
        (("data", "fraction"), "a number, above 0 and at most 1"),
        (("data", "synthetic", "domains"), "a whole number, at least 2 and at most 8"),
        (("student", "times_smaller"), "a number, above 1"),
        (("student", "baseline"), "true or false"),
        (("run", "output"), "a path"),
        (("data", "text"), "text"),
        (("data", "domains"), "a list (each text), not empty"),
        (("run", "precision"), "one of no, bf16, fp16"),
        (("student", "layer_map"), "uniform or a list (each a whole number, at least 1)"),
        (("student", "layer_map", 0), "a whole number, at least 1"),
        (("teacher", "fine_tuned"), "text or a mapping (name: text)"),
        (("data", "sizes", "books"), "a list of 3 (each a whole number, at least 1)"),
        (("data", "sizes", "books", 2), "a whole number, at least 1"),
    ],
)
def test_expected_values_in_plain_words(path, words):
    assert expected(annotation_at(path)) == words


def test_every_field_has_plain_words():
    assert all(expected(field.annotation) for field in recipe_fields())


def test_paths_that_lead_nowhere_have_no_type():
    assert annotation_at(("student", "layrs")) is None
    assert annotation_at(("student", "layers", "x")) is None
    assert annotation_at(("data", "sizes", "books", 3)) is None
    assert annotation_at(("teacher", "training")) is TrainingConfig
