import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, ElectraConfig, PreTrainedConfig

from hrkd.errors import ModelError
from hrkd.models.shape import StudentShape, resolve_shape, shape_of, student_config
from tiny import FAMILIES, tiny_configs


def parameters(config):
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_shape_is_read_whatever_the_family_calls_it(family):
    assert shape_of(tiny_configs()[family]) == StudentShape(3, 32, 4, 48)


def test_family_without_such_fields_is_an_error():
    with pytest.raises(ModelError, match="does not tell num_hidden_layers, hidden_size"):
        shape_of(PreTrainedConfig())


@pytest.mark.parametrize("family", FAMILIES)
def test_student_configuration_builds_a_model_of_that_shape(family):
    teacher = tiny_configs()[family]
    config = student_config(teacher, StudentShape(2, 24, 4, 40))
    assert config.model_type == teacher.model_type
    assert shape_of(config) == StudentShape(2, 24, 4, 40)
    assert (config.vocab_size, config.max_position_embeddings) == (teacher.vocab_size, teacher.max_position_embeddings)
    plain = AutoModelForSequenceClassification.from_config(config)
    ids = torch.full((2, 5), 7)
    outputs = plain(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    assert [state.shape[-1] for state in outputs.hidden_states] == [24] * 3
    assert shape_of(teacher) == StudentShape(3, 32, 4, 48)  # left as it was


def test_embeddings_of_the_hidden_width_follow_it_and_narrow_ones_stay():
    wide = tiny_configs()["electra"]
    assert student_config(wide, StudentShape(2, 24, 4, 40)).embedding_size == 16
    same = ElectraConfig(vocab_size=60, hidden_size=32, embedding_size=32, num_attention_heads=4, intermediate_size=48)
    assert student_config(same, StudentShape(2, 24, 4, 40)).embedding_size == 24


def test_deberta_pooler_follows_the_width():
    assert student_config(tiny_configs()["deberta-v2"], StudentShape(2, 24, 4, 40)).pooler_hidden_size == 24


def test_layers_of_modernbert_are_of_the_kind_of_those_they_imitate():
    teacher = tiny_configs(layers=6)["modernbert"]
    full, local = "full_attention", "sliding_attention"
    assert teacher.layer_types == [full, local, local, full, local, local]
    shape = StudentShape(3, 32, 4, 48)
    assert student_config(teacher, shape).layer_types == [local, full, local]  # 2, 4, 6
    assert student_config(teacher, shape, (0, 1, 3, 4)).layer_types == [full, local, full]


def test_missing_parts_follow_from_the_teacher():
    teacher = BertConfig()
    assert resolve_shape(teacher) == shape_of(teacher)
    assert resolve_shape(teacher, layers=4, width=312) == StudentShape(4, 312, 12, 1248)
    assert resolve_shape(teacher, layers=4, width=300, feed_forward=1200) == StudentShape(4, 300, 12, 1200)
    assert resolve_shape(tiny_configs(feed_forward=50)["bert"], layers=1).feed_forward == 50
    assert resolve_shape(tiny_configs(feed_forward=50)["bert"], width=16).feed_forward == 24  # 25, to a multiple of 8


def test_heads_that_do_not_divide_the_width_are_an_error():
    with pytest.raises(ModelError) as caught:
        resolve_shape(BertConfig(), layers=4, width=200)
    assert "the teacher's 12 heads" in str(caught.value)
    assert "192 or 204" in str(caught.value)
    with pytest.raises(ModelError, match=r"student\.heads: 7.*\(1, 2, 3, 4, 6, 8, "):
        resolve_shape(BertConfig(), layers=4, width=312, heads=7)
    assert resolve_shape(BertConfig(), layers=4, width=200, heads=8).heads == 8


def test_rotary_heads_need_an_even_width():
    teacher = tiny_configs()["modernbert"]
    with pytest.raises(ModelError, match="rotary"):
        resolve_shape(teacher, width=20)
    assert resolve_shape(teacher, width=24).heads == 4


@pytest.mark.parametrize("factor", [1.5, 7.5, 20])
def test_times_smaller_hits_the_number_of_parameters(factor):
    teacher = BertConfig()
    shape = resolve_shape(teacher, times_smaller=factor)
    target = parameters(teacher) / factor
    reached = abs(parameters(student_config(teacher, shape)) - target)
    for width in (shape.width - 12, shape.width + 12):
        other = resolve_shape(teacher, layers=shape.layers, width=width)
        assert reached <= abs(parameters(student_config(teacher, other)) - target)


@pytest.mark.parametrize(("layers", "expected"), [(12, 4), (6, 2), (24, 8), (3, 1), (1, 1), (22, 11)])
def test_times_smaller_takes_about_a_third_of_the_layers(layers, expected):
    teacher = tiny_configs(layers=layers, width=64, feed_forward=256)["bert"]
    assert resolve_shape(teacher, times_smaller=6).layers == expected


def test_little_smaller_takes_more_layers():
    assert resolve_shape(BertConfig(), times_smaller=1.2).layers == 12


def test_vocabulary_can_make_a_size_impossible():
    with pytest.raises(ModelError, match=r"3\.4 is the most \(4 layers of width 16\)"):
        resolve_shape(ElectraConfig(), times_smaller=20)
