"""What families are told apart by; each is either usable end to end or refused by one message."""

import pytest
import torch
from transformers import AutoConfig

from hrkd.errors import ModelError
from hrkd.models.families import layer_list
from hrkd.models.shape import StudentShape, student_config
from hrkd.models.trial import try_encoder, try_start
from tiny import FAMILIES, tiny_configs, tiny_plain

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
OTHER = "choose an encoder of another family"


def config_of(family, **more):
    return AutoConfig.for_model(family, **SIZES | {"vocab_size": 60, "pad_token_id": 0} | more)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_the_table_pass_with_every_start(family):
    teacher = tiny_configs()[family]
    kind = "probabilities" if family in ("deberta-v2", "mpnet") else "scores"
    try_encoder(teacher, kind, where="here")
    try_encoder(teacher, "none", where="here")
    try_start(teacher, student_config(teacher, StudentShape(2, 32, 4, 48)), "teacher_layers")
    narrower = student_config(teacher, StudentShape(2, 24, 4, 48))
    if family == "modernbert":
        with pytest.raises(ModelError, match=r"principal_components is not available for modernbert .*start: random"):
            try_start(teacher, narrower, "principal_components")
    else:
        try_start(teacher, narrower, "principal_components")


@pytest.mark.parametrize("family", ["albert", "ernie", "eurobert", "mpnet", "roberta-prelayernorm", "xlm-roberta-xl"])
def test_families_that_nobody_named_pass_too(family):
    kind = "probabilities" if family == "mpnet" else "queries_keys"
    config = config_of(family, **({"num_key_value_heads": 4} if family == "eurobert" else {}))
    try_encoder(config, kind, where="here")
    try_start(config, student_config(config, StudentShape(2, 32, 4, 48)), "teacher_layers")


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("llama", "failed at classifying by the encoder's states alone"),
        ("longformer", "failed at classifying by the encoder's states alone"),
        ("nystromformer", "failed at padding, which must change nothing"),
        ("gpt2", "the gpt2 family is not supported: its configuration does not tell intermediate_size"),
        ("bart", "the bart family is not supported: its configuration does not tell"),
        ("xlnet", "the xlnet family is not supported: its configuration does not tell"),
    ],
)
def test_others_are_refused_with_what_failed_and_what_to_do(family, said):
    config = config_of(family) if family in ("llama", "longformer", "nystromformer") else AutoConfig.for_model(family)
    with pytest.raises(ModelError, match=f"^teacher.model: x: .*{said}.*; {OTHER}"):
        try_encoder(config, "none", where="teacher.model: x")


def test_attention_that_cannot_be_compared_names_the_choice_that_is_left():
    try_encoder(config_of("big_bird"), "none", where="here")
    with pytest.raises(
        ModelError, match=r"big_bird .* reading attention \(probabilities\).*; set method\.attention: none"
    ):
        try_encoder(config_of("big_bird"), "probabilities", where="here")
    grouped = config_of("eurobert", num_key_value_heads=2)
    try_encoder(grouped, "none", where="here")
    with pytest.raises(ModelError, match=r"4 query heads and 2 key heads.*; set method\.attention: none"):
        try_encoder(grouped, "scores", where="here")


def test_token_types_that_an_encoder_passes_on_to_attention_are_found_out():
    config = config_of("eurobert", num_key_value_heads=4)
    with pytest.raises(ModelError, match=r"further terms \(token_type_ids\)"):
        try_encoder(config, "queries_keys", where="here", token_types=True)


def test_a_size_that_the_family_does_not_take_is_an_error():
    with pytest.raises(ModelError, match=r"nomic_bert family with 1 layer of width 20, 4 heads.* even"):
        student_config(config_of("nomic_bert"), StudentShape(1, 20, 4, 48))


def test_key_heads_keep_their_ratio_and_windows_their_layers():
    grouped = config_of("eurobert", num_attention_heads=8, num_key_value_heads=4)
    assert student_config(grouped, StudentShape(1, 32, 4, 48)).num_key_value_heads == 2
    local = config_of("longformer", attention_window=[2, 4, 8])
    assert student_config(local, StudentShape(2, 32, 4, 48), (0, 1, 3)).attention_window == [2, 8]


def test_a_trial_leaves_random_numbers_alone():
    state = torch.random.get_rng_state()
    try_encoder(tiny_configs()["bert"], "queries_keys", where="here")
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_list_of_layers_is_found_by_its_length(family):
    encoder = tiny_plain(family).base_model
    name, layers = layer_list(encoder)
    assert encoder.get_submodule(name) is layers
    assert len(layers) == 3


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ((32, 2), (26, 2)),
        ((128, 4), (120, 4)),
        ((64, 4), (52, 4)),
        ((64, 2), (54, 6)),
        ((16, 2), (9, 1)),
        ((8, 1), (7, 1)),
    ],
)
def test_a_student_whose_heads_have_an_odd_width_can_start_as_any_narrower_one(wide, narrow):
    """Such copies shrink less than their teachers', and must not become the wider ones."""
    teacher = tiny_configs(layers=3, width=wide[0], heads=wide[1])["bert"]
    student = student_config(teacher, StudentShape(2, narrow[0], narrow[1], 3 * narrow[0]))
    try_start(teacher, student, "principal_components")
