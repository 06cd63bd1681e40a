"""Distillation of relations in the place of states, and of the last level alone."""

import copy

import pytest
import torch

from hrkd.errors import ModelError, RecipeError
from hrkd.method.fit_layers import FitLayers
from hrkd.models.trace import set_attention
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import CacheConfig
from hrkd.training.checks import attention_kind
from hrkd.training.distill import Distillation
from hrkd.training.live_teacher import LiveTeacher
from tiny import distil, method_of, ratios_of, tiny_model


def module_of(tiny, teacher, student, **options):
    method = method_of(options)
    kind = attention_kind(method, teacher.encoder, student.encoder)
    for model in (teacher, student):
        set_attention(model.encoder, kind)
    widths = student.encoder.config.hidden_size, teacher.encoder.config.hidden_size
    reader = LiveTeacher(teacher, (0, 1, 2), attention=kind)
    ratios = ratios_of(3, 3, widths[1], graph_heads=2)
    return Distillation(student, FitLayers(3, *widths), ratios, reader, method, attention=kind).eval()


def test_a_student_like_its_teacher_has_no_loss(tiny):
    teacher = tiny.model()
    module = module_of(tiny, teacher, copy.deepcopy(teacher), level_loss="relations")
    batch = tiny.train.batch(range(12))
    assert module.losses(batch, module.teacher(batch)).levels.abs().max() < 1e-6


@pytest.mark.parametrize("level_loss", ["states", "relations"])
def test_the_last_level_alone(tiny, level_loss):
    teacher, student = tiny.model(seed=1), tiny.model(width=8)
    batch, found = tiny.train.batch(range(12)), []
    for levels in ("all", "last"):
        module = module_of(tiny, teacher, student, level_loss=level_loss, levels=levels)
        module.fit = FitLayers(3, 8, 16, basis=torch.eye(16)[:, :8])
        found.append(module.losses(batch, module.teacher(batch)).levels)
    every, last = found
    assert (every[1:, 0] > 0).all(), "of the one domain that the batch has"
    assert torch.equal(last[-1], every[-1])
    assert last[:-1].abs().max() == 0
    assert bool(every[0].any()) is (level_loss == "states")


@pytest.mark.parametrize("cache", [False, True])
def test_relations_teach(tiny, tmp_path, cache):
    rules = CacheConfig(folder=tmp_path) if cache else None
    models = tiny.model(seed=1, heads=4), tiny.model(width=8, heads=2)
    history = distil(*models, tiny.train, tiny.dev, level_loss="relations", learning_rate=1e-3, cache=rules)
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]


@pytest.mark.parametrize(
    ("family", "words"),
    [("deberta-v2", "does not give queries and keys"), ("modernbert", "looks at local windows of tokens")],
)
def test_families_without_relations_are_told(family, words):
    with pytest.raises(ModelError, match=f"level_loss: relations: the {family} family {words}; use states"):
        attention_kind(method_of({"level_loss": "relations"}), tiny_model(family).encoder)


@pytest.mark.parametrize("other", [{"attention": "scores"}, {"reductions": "public_code"}, {"relative": True}])
def test_what_relations_take_the_place_of(other):
    name = next(iter(other))
    with pytest.raises(RecipeError, match=f"{name}: is about states and scores"):
        load_recipe("demo", {"method": {"level_loss": "relations", **other}})
