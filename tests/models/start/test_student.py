import pytest

from hrkd.models.start.student import settled_training
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.presets import PRESETS
from hrkd.recipe.schema import NEW_LEARNING_RATE, PRETRAINED_LEARNING_RATE, STATIC_LEARNING_RATE
from tiny import tiny_model

SIZES = {"width": 32, "heads": 4, "feed_forward": 48}
"""Of the tiny teacher."""


@pytest.mark.parametrize(
    ("student", "width", "rate"),
    [
        ({"layers": 2}, 32, PRETRAINED_LEARNING_RATE),
        ({"layers": 2, **SIZES}, 32, PRETRAINED_LEARNING_RATE),
        ({"layers": 2, **SIZES, "start": "teacher_layers"}, 32, PRETRAINED_LEARNING_RATE),
        ({"times_smaller": 1.2}, 32, PRETRAINED_LEARNING_RATE),
        ({"checkpoint": "small"}, 16, PRETRAINED_LEARNING_RATE),
        ({"layers": 2, "width": 16}, 16, NEW_LEARNING_RATE),
        ({"times_faster": 4.0}, 16, NEW_LEARNING_RATE),
        ({"layers": 2, "start": "random"}, 32, NEW_LEARNING_RATE),
        ({"kind": "static", "training": {"learning_rate": "auto"}}, 16, STATIC_LEARNING_RATE),
        ({"layers": 2, "width": 16, "training": {"learning_rate": 1e-3}}, 16, 1e-3),
    ],
)
def test_weights_that_were_trained_keep_the_lower_rate(student, width, rate):
    """Whatever names the width: what counts is whether the layers are the teacher's own."""
    assert PRESETS["recommended"]["student"]["training"]["learning_rate"] == "auto"
    recipe = load_recipe({"data": {"source": "a.csv"}, "teacher": {"model": "encoder"}, "student": student})
    model = tiny_model(width=width)
    settled = settled_training(recipe.student, model, tiny_model())
    assert settled.rate == rate
    assert settled.epochs == recipe.student.training.epochs
