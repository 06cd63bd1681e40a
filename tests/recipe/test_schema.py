import pytest
from pydantic import BaseModel, ValidationError

from hrkd.errors import RecipeError
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import (
    DataConfig,
    MethodConfig,
    Recipe,
    RunConfig,
    StudentConfig,
    TeacherConfig,
    TrainingConfig,
)

SYNTHETIC = {"format": "synthetic"}
SIZES = {"layers": 2, "width": 8, "heads": 2, "feed_forward": 16}
SCRATCH = {"layers": 2, "width": 8, "heads": 2, "feed_forward": 16, "vocabulary": 50}


def sections(model: type[BaseModel] = Recipe) -> list[tuple[type[BaseModel], str]]:
    found = []
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found += [(model, name), *sections(info.annotation)]
    return found


@pytest.mark.parametrize(("model", "name"), sections(), ids=lambda value: getattr(value, "__name__", value))
def test_setting_one_field_of_a_section_keeps_the_defaults_of_the_others(model, name):
    info = model.model_fields[name]
    if not info.is_required():
        assert info.default == info.annotation()


@pytest.mark.parametrize("model", [Recipe, *dict.fromkeys(m.model_fields[name].annotation for m, name in sections())])
def test_every_field_says_what_it_means(model):
    for name, info in model.model_fields.items():
        assert info.description, f"{model.__name__}.{name}"
        assert info.description.endswith("."), f"{model.__name__}.{name}"


def test_the_student_trains_longer_than_the_teacher_by_default():
    student = StudentConfig(layers=2, training={"learning_rate": 1e-3})
    assert student.training.epochs == 10
    assert TeacherConfig(model="x").training.epochs == 3


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        (DataConfig, {}, "source: missing"),
        (DataConfig, {"format": "synthetic", "source": "x.csv"}, "a synthetic corpus is generated"),
        (DataConfig, {"source": "x", "shots": 4, "fraction": 0.5}, "shots and fraction exclude each other"),
        (DataConfig, {"source": "x", "dev": 0.5, "test": 0.6}, "dev + test is 1.1"),
        (DataConfig, {"source": "x", "domains": ["a", "b", "a"]}, "a name stands there twice"),
        (DataConfig, {"source": "x", "splits_file": "s.json", "sizes": "paper"}, "leave sizes out"),
        (TeacherConfig, {}, "found none of them"),
        (TeacherConfig, {"model": "x", "labels": ["a", "b"]}, "labels: names the outputs of a fine_tuned classifier"),
        (TeacherConfig, {"model": "x", "fine_tuned": "y"}, "found model and fine_tuned"),
        (TeacherConfig, {"fine_tuned": "x", "encoders": "per_domain"}, "encoders: per_domain is about training"),
        (
            TeacherConfig,
            {"model": "x", "encoders": "per_domain", "heads": "shared"},
            "heads: shared contradicts encoders: per_domain",
        ),
        (TeacherConfig, {"model": "x", "combine": "average"}, "combine: average: there is one classifier"),
        (TeacherConfig, {"fine_tuned": {"a": "x"}, "combine": "average"}, "combine: average: there is one classifier"),
        (TeacherConfig, {"scratch": {"layers": 2}}, "expected exactly feed_forward, heads, layers, vocabulary, width"),
        (TeacherConfig, {"scratch": SCRATCH | {"heads": 3}}, "scratch: width 8 cannot be divided among 3 heads"),
        (StudentConfig, {}, "no size"),
        (StudentConfig, {"times_smaller": 4, "width": 8}, "leave out width"),
        (
            StudentConfig,
            {"times_faster": 4, "milliseconds": 8},
            "chooses the size; leave out milliseconds",
        ),
        (StudentConfig, {"milliseconds": 4, "layers": 8}, "milliseconds chooses the size; leave out layers"),
        (StudentConfig, {"times_smaller": 4, **SIZES}, "leave out layers, width, heads, feed_forward"),
        (StudentConfig, {"layers": 2, "pair_buckets": 5}, "pair_buckets: belongs to a static student"),
        (StudentConfig, {"checkpoint": "a", "times_faster": 8}, "checkpoint fixes the size; leave out times_faster"),
        (StudentConfig, {"kind": "static", "times_faster": 8}, "times_faster: a static student has no layers"),
        (StudentConfig, {"checkpoint": "x", "layers": 2}, "checkpoint fixes the size"),
        (StudentConfig, {"layers": 2, "start": "checkpoint"}, "needs the field checkpoint"),
        (StudentConfig, {"checkpoint": "x", "start": "random"}, "start: random contradicts checkpoint"),
        (StudentConfig, {"layers": 2, "width": 10, "heads": 3}, "width 10 cannot be divided among 3 heads"),
        (
            StudentConfig,
            {"layers": 2, "layer_map": [1, 2, 3]},
            "layer_map: names 3 teacher layers for 2 student layers",
        ),
        (StudentConfig, {"layers": 2, "teacher_layers": [1]}, "teacher_layers: names 1 teacher layers for 2"),
        (StudentConfig, {"checkpoint": "x", "teacher_layers": [1]}, "the student starts from its checkpoint"),
        (StudentConfig, {"layers": 1, "start": "random", "teacher_layers": [1]}, "takes nothing from the teacher"),
        (MethodConfig, {"hidden_weight": 0, "prediction_weight": 0}, "nothing would be distilled"),
        (MethodConfig, {"stages": "two", "hidden_weight": 0}, "stages: two: a stage with hidden_weight alone"),
        (MethodConfig, {"stages": "two", "prediction_weight": 0}, "stages: two: a stage with prediction_weight alone"),
        (MethodConfig, {"level_epochs": 2}, "level_epochs: counts the epochs of the first of two stages"),
    ],
)
def test_contradictions_are_named(section, values, said):
    with pytest.raises(ValidationError) as caught:
        section(**values)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (DataConfig, {"source": "x", "sizes": {"books": (8, 1, 1)}, "dev": 0.9, "test": 0.9}),
        (DataConfig, {"source": "x", "splits_file": "s.json", "dev": 0.9, "test": 0.9}),
        (TeacherConfig, {"scratch": SCRATCH, "encoders": "per_domain", "combine": "average"}),
        (TeacherConfig, {"fine_tuned": {"a": "x", "b": "y"}, "combine": "average"}),
        (TeacherConfig, {"fine_tuned": "x", "combine": "average"}),
        (TeacherConfig, {"fine_tuned": "x", "labels": ["a", "b"], "heads": "shared", "training": {"epochs": 1}}),
        (StudentConfig, {"times_smaller": 7.5}),
        (StudentConfig, {"times_faster": 4, **SIZES}),  # in the recipe of a run: what was asked, and found
        (StudentConfig, {"layers": 2, "pair_buckets": 65_536}),  # in the recipe of a run: the default of once
        (StudentConfig, {"layers": 2, "vocabulary": 2}),
        (StudentConfig, {"layers": 2, "vocabulary": "all"}),
        (StudentConfig, {"checkpoint": "x", "start": "checkpoint"}),
        (StudentConfig, {"layers": 2, "layer_map": [1, 4], "teacher_layers": [2, 3]}),
        (MethodConfig, {"hidden_weight": 0}),
        (MethodConfig, {"stages": "two", "level_epochs": 2, "graph": "relational", "learning": "meta"}),
    ],
)
def test_what_fits_together_passes(section, values):
    section(**values)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (TrainingConfig, {"epochs": True}),
        (TrainingConfig, {"learning_rate": False}),
        (TrainingConfig, {"learning_rate": float("inf")}),
        (TrainingConfig, {"weight_decay": float("nan")}),
        (StudentConfig, {"layers": 2, "layer_map": [1, True]}),
        (TeacherConfig, {"scratch": SCRATCH | {"layers": True}}),
        (RunConfig, {"precision": False}),
        (RunConfig, {"unknown": 1}),
    ],
)
def test_what_python_would_take_for_a_number_is_refused(section, values):
    with pytest.raises(ValidationError):
        section(**values)


@pytest.mark.parametrize(
    ("method", "total", "expected"),
    [
        ({}, 5, (0, 5)),
        ({"stages": "two"}, 5, (3, 2)),
        ({"stages": "two"}, 1, (1, 1)),
        ({"stages": "two", "level_epochs": 4}, 5, (4, 1)),
    ],
)
def test_epochs_are_shared_out_between_two_stages(method, total, expected):
    student = {"layers": 2, "training": {"epochs": total}}
    assert Recipe(data=SYNTHETIC, teacher={"model": "x"}, student=student, method=method).student_epochs == expected


def test_a_recipe_does_not_change():
    training = TrainingConfig()
    with pytest.raises(ValidationError):
        training.epochs = 5


@pytest.mark.parametrize(("field", "value"), [("precision", "fp16"), ("device", "cpu")])
def test_fast_excludes_what_contradicts_it(field, value):
    with pytest.raises(ValidationError, match=f"it excludes {field}: {value}"):
        RunConfig(fast=True, **{field: value})
    assert RunConfig(fast=True).mixed_precision == "bf16"
    assert RunConfig(precision="fp16").mixed_precision == "fp16"


def test_a_switch_with_a_default_of_its_own_can_be_set():
    assert MethodConfig(centre_prototypes=True).centre_prototypes is True
    assert MethodConfig(centre_prototypes=False).centre_prototypes is False
    with pytest.raises(ValidationError, match="true and false belong to switches"):
        MethodConfig(graph_width=True)


@pytest.mark.parametrize("field", ["run.seed", "data.split_seed"])
def test_seeds_are_those_that_generators_take(field):
    assert load_recipe("demo", {field: 2**32 - 1})
    for seed in (2**32, -1):
        with pytest.raises(RecipeError, match=f"{field}: {seed} is not allowed.* at most 4294967295"):
            load_recipe("demo", {field: seed})
