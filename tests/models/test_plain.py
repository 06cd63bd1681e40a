import pytest
import torch

from hrkd.errors import ModelError
from hrkd.models.families import longest_input
from hrkd.models.kind import locate
from hrkd.models.plain import load_plain_classifier
from tiny import LABELS, tiny_plain


def test_folders_hub_names_and_neither(tmp_path, monkeypatch):
    assert locate(tmp_path) == str(tmp_path)
    assert locate("some-owner/some-model") == "some-owner/some-model"
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert locate(f"~/{tmp_path.name}") == str(tmp_path)
    for wrong in (tmp_path / "nothing", "./nothing", "~/nothing", "a/b/c"):
        with pytest.raises(ModelError, match="no such folder"):
            locate(wrong)
    (tmp_path / "weights").touch()
    with pytest.raises(ModelError, match="this is a file"):
        locate(tmp_path / "weights")


def test_encoder_gets_a_new_head_with_the_labels(tmp_path):
    encoder = tiny_plain("bert").bert
    encoder.save_pretrained(tmp_path)
    plain = load_plain_classifier(tmp_path, ("no", "yes"), fine_tuned=False)
    assert plain.config.id2label == {0: "no", 1: "yes"}
    assert plain.classifier.out_features == 2
    new = plain.bert.state_dict()
    assert all(torch.equal(new[name], tensor) for name, tensor in encoder.state_dict().items())


def test_head_of_another_task_is_made_anew(tmp_path):
    tiny_plain("bert").save_pretrained(tmp_path)
    assert load_plain_classifier(tmp_path, ("no", "yes"), fine_tuned=False).classifier.out_features == 2


def test_half_precision_is_read_as_32_bits(tmp_path):
    tiny_plain("bert").to(torch.bfloat16).save_pretrained(tmp_path)
    plain = load_plain_classifier(tmp_path, LABELS, fine_tuned=True)
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.float32}


def test_incomplete_encoder_is_an_error(tmp_path):
    plain = tiny_plain("bert")
    state = plain.state_dict()
    del state["bert.encoder.layer.1.output.dense.weight"]
    plain.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ModelError, match=r"no complete encoder: 1 weights.*layer\.1\.output\.dense\.weight"):
        load_plain_classifier(tmp_path, LABELS, fine_tuned=False)


@pytest.mark.parametrize(("family", "expected"), [("bert", 40), ("roberta", 38), ("modernbert", None)])
def test_longest_input_is_read_off_the_position_table(family, expected):
    assert longest_input(tiny_plain(family).base_model) == expected
