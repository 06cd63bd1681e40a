import pytest
import torch
from transformers import BertConfig

from hrkd.errors import ModelError
from hrkd.models.quick_shape import largest_below, milliseconds_of, quick_shape
from hrkd.models.shape import StudentShape, shape_of, student_config
from tiny import FAMILIES, tiny_configs

MINILM = BertConfig(num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536)


def work(shape):
    """Products of a token, a stand-in for time."""
    return shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.feed_forward)


def timed(config, texts, tokens):
    return texts * work(shape_of(config)) / 1e6


@pytest.mark.parametrize(("times", "layers"), [(1.05, 6), (1.5, 6), (2.5, 3), (4, 2), (10, 2), (60, 2), (200, 1)])
def test_the_widest_student_that_is_quick_enough(times, layers):
    shape = quick_shape(MINILM, 128, times_faster=times, timed=timed).shape
    most = work(shape_of(MINILM)) / times
    candidates = [StudentShape(layers, 64 * heads, heads, 256 * heads) for heads in range(1, 7)]
    assert shape == max((each for each in candidates if work(each) <= most), key=work)


def test_fewer_layers_only_where_the_narrowest_are_too_slow():
    for times in range(2, 217, 7):
        shape = quick_shape(MINILM, 128, times_faster=times, timed=timed).shape
        assert (shape.layers < 2) == (work(StudentShape(2, 64, 1, 256)) > work(shape_of(MINILM)) / times)


def test_what_was_timed_as_quick_is_never_said_to_be_out_of_reach():
    """Where a busy machine times narrow encoders as slower than wide ones."""
    wide = StudentShape(2, 384, 6, 1536)
    found = quick_shape(MINILM, 128, times_faster=2, timed=lambda config, *_: 1 if shape_of(config) == wide else 10)
    assert found.shape == wide


def test_heads_may_be_named():
    shape = quick_shape(MINILM, 128, times_faster=10, heads=12, timed=timed).shape
    most = work(shape_of(MINILM)) / 10
    candidates = [StudentShape(2, width, 12, round(width / 2) * 8) for width in range(48, 385, 12)]
    assert shape == max((each for each in candidates if work(each) <= most), key=work)


def test_layers_count_where_width_does_not():
    """As in the smallest of encoders, whose time is that of calls."""
    shape = quick_shape(MINILM, 128, times_faster=2.1, timed=lambda config, *_: shape_of(config).layers).shape
    assert shape == StudentShape(2, 384, 6, 1536)


def test_milliseconds_are_those_of_one_text():
    asked = []

    def noted(config, texts, tokens):
        asked.append((texts, tokens))
        return timed(config, texts, tokens)

    found = quick_shape(MINILM, 256, milliseconds=0.5, timed=noted)
    assert set(asked) == {(1, 256)}
    assert found.milliseconds == work(found.shape) / 1e6 <= 0.5 < work(StudentShape(2, 192, 3, 768)) / 1e6
    asked.clear()
    found = quick_shape(MINILM, 256, times_faster=4, timed=noted)
    assert set(asked) == {(8, 256)}
    assert found.times_faster == pytest.approx(found.teacher_milliseconds / found.milliseconds)
    assert found.times_faster >= 4


def test_no_shape_is_timed_twice():
    asked = []

    def noted(config, texts, tokens):
        asked.append(shape_of(config))
        return timed(config, texts, tokens)

    quick_shape(MINILM, 128, times_faster=200, timed=noted)
    assert len(asked) == len(set(asked))


def test_a_goal_out_of_reach_says_what_can_be_had():
    with pytest.raises(ModelError, match=r"student\.times_faster: 1000 cannot be reached .* comes to 216\.0 times"):
        quick_shape(MINILM, 128, times_faster=1000, timed=timed)
    with pytest.raises(
        ModelError, match=r"milliseconds: 0\.01 cannot be reached .* comes to 0\.049 ms.*; allow more m"
    ):
        quick_shape(MINILM, 128, milliseconds=0.01, timed=timed)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_shape_of_a_narrow_family_makes_an_encoder(family):
    teacher, costs = tiny_configs()[family], []
    assert largest_below(teacher, lambda shape: costs.append(shape) or 1.0, 0.5) is None
    for shape in costs:
        student_config(teacher, shape)
        assert shape.width % shape.heads == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_is_timed_and_leaves_no_trace(family):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    assert milliseconds_of(tiny_configs()[family], 2, 8) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
