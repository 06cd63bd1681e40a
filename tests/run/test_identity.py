"""What decides whether two models are the same, and how the difference is told."""

import pytest

from hrkd.errors import ArtifactError
from hrkd.recipe.graph_forms import GRAPH_FORMS, Graph
from hrkd.recipe.schema import MethodConfig
from hrkd.run.identity import differences, model_settings, recipe_settings, unlike_defaults
from tiny import tiny_recipe

ROWS = {"data": "abc", "unlabelled": None, "processes": 1}


def settings(tmp_path, stage="student", **changes):
    return model_settings(tiny_recipe(tmp_path, **changes), stage, **ROWS)


def test_a_record_holds_what_is_not_at_its_default(tmp_path):
    record = settings(tmp_path)
    assert record["method"] == {"graph_heads": 2}
    assert record["student"]["training"] == {"epochs": 2, "batch_size": 4, "learning_rate": 5e-4}
    assert "scratch" in record["teacher"]


@pytest.mark.parametrize("stage", ["teacher", "levels", "student", "baseline"])
def test_a_record_of_all_fields_is_the_same_as_one_of_those_that_were_set(tmp_path, stage):
    """As version 1 wrote it; and as a record that is older than a field, which has its default."""
    whole = {"method.graph_width": "hidden"}
    recipe, record = tiny_recipe(tmp_path, **whole), settings(tmp_path, stage, **whole)
    sections = {"teacher": recipe.teacher, "student": recipe.student, "method": recipe.method, "cache": recipe.cache}
    full = {
        name: sections[name].model_dump(mode="json", exclude=set(sections[name].leaves_weights_alone))
        if name in sections
        else value
        for name, value in record.items()
        if name != "version"
    }
    assert full != record
    assert differences(full, record) == []
    older = {**full, "student": {**full["student"]}} if "student" in full else full
    older.get("student", {}).pop("teacher_layers", None)
    assert differences(older, record) == []


def test_differences_name_the_field_and_both_values_defaults_included(tmp_path):
    changes = {"method.temperature": 2.0, "student.training.epochs": 3, "run.seed": 7}
    assert differences(settings(tmp_path), settings(tmp_path, **changes)) == [
        "run.seed: 0 then, 7 now",
        "student.training.epochs: 2 then, 3 now",
        "method.temperature: 1.0 then, 2.0 now",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("teacher.allow_weak", False), ("student.baseline", False), ("cache.folder", "elsewhere"), ("run.log_every", 5)],
)
def test_what_leaves_weights_alone_is_no_difference(tmp_path, field, value):
    assert differences(settings(tmp_path), settings(tmp_path, **{field: value})) == []


def test_what_has_no_effect_is_no_difference(tmp_path):
    own = {"teacher.scratch": None, "teacher.fine_tuned": str(tmp_path)}
    assert differences(settings(tmp_path, **own), settings(tmp_path, **own, **{"teacher.training.epochs": 2})) == []
    assert differences(settings(tmp_path), settings(tmp_path, **{"teacher.training.epochs": 2})) != []
    then = settings(tmp_path)
    then["student"]["pair_buckets"] = 65_536  # as recipes of encoders said it once
    assert differences(then, settings(tmp_path)) == []


def test_kernels_and_the_teacher_of_another_run_count(tmp_path):
    assert differences(settings(tmp_path), settings(tmp_path, **{"run.kernels": "torch"})) == [
        "run.kernels: not set then, torch now"
    ]
    other = model_settings(tiny_recipe(tmp_path), "student", **ROWS, external_teacher=tmp_path / "teacher")
    assert any(str(tmp_path / "teacher") in line for line in differences(settings(tmp_path), other))


def test_the_baseline_knows_no_method_and_the_teacher_no_student(tmp_path):
    recipe = tiny_recipe(tmp_path)
    assert {"method", "cache", "combine"}.isdisjoint(recipe_settings(recipe, "baseline"))
    assert "student" not in recipe_settings(recipe, "teacher")


def test_fields_may_be_left_out():
    method = MethodConfig(preset="published", temperature=2.0, hidden_weight=0.5)
    assert unlike_defaults(method, but=frozenset({"temperature", "preset"})) == {"hidden_weight": 0.5}


def test_every_graph_of_the_recipe_has_its_properties():
    assert set(GRAPH_FORMS) == set(Graph.__args__)
    for name, form in GRAPH_FORMS.items():
        learnt = {"learning": "joint"} if form.learnable else {}
        assert MethodConfig(preset="published", graph=name, **learnt).momentum == form.momentum


def test_defaults_that_have_changed_are_those_of_then(tmp_path):
    published, older = settings(tmp_path), {**settings(tmp_path), "version": 2}
    assert differences(older, published) == ["method.graph_width: that of the states / heads then, not set now"]
    given = settings(tmp_path, **{"method.graph_width": 4})
    assert differences({**given, "version": 2}, given) == []
    sizes = {"student.layers": None, "student.width": None, "student.heads": None, "method.graph": "uniform"}
    static = settings(tmp_path, **sizes, **{"student.kind": "static"})
    assert differences({**static, "version": 2}, static) == [
        "student.pair_buckets: 65536 then, 262144 now",
        "student.width: 64 then, not set now",
    ]


def test_a_record_of_a_later_version_is_refused(tmp_path):
    record = settings(tmp_path)
    with pytest.raises(ArtifactError, match="is of version 4, this hrkd writes 3"):
        differences({**record, "version": 4}, record)
