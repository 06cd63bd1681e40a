import pytest
from safetensors.torch import load_file

from hrkd.models.domain_teachers import RoutedTeacher
from hrkd.models.sizes import model_sizes, size_rows
from tiny import DOMAINS, FAMILIES, tiny_model, tiny_plain


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_those_of_the_file(family, tmp_path):
    model = tiny_model(family)
    sizes = model_sizes(model)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert sizes.parameters == sum(tensor.numel() for tensor in stored.values())
    assert sizes.megabytes == pytest.approx((tmp_path / "model.safetensors").stat().st_size / 1e6, rel=0.1)
    assert (sizes.layers, sizes.width, sizes.heads, sizes.feed_forward) == (3, 32, 4, 48)
    named = ("_embeddings.weight", "relative_attention_bias.weight")
    tables = sum(tensor.numel() for name, tensor in stored.items() if name.endswith(named))
    assert sizes.parameters_without_embeddings == sizes.parameters - tables


def test_plain_models_and_routed_teachers_have_sizes():
    assert model_sizes(tiny_plain("bert")).layers == 3
    parts = {domain: tiny_model(domains=(domain,)) for domain in DOMAINS}
    assert model_sizes(RoutedTeacher(parts)).parameters == 3 * model_sizes(parts["books"]).parameters


def test_rows_stand_side_by_side():
    teacher, student = tiny_model(), tiny_model(layers=2, width=16, feed_forward=24)
    rows = size_rows(teacher, student, (0, 2, 3))
    assert [row["title"] for row in rows] == ["Teacher", "Student"]
    assert rows[1]["imitates"] == "2, 3"
    assert rows[1]["times_smaller"] == pytest.approx(rows[0]["parameters"] / rows[1]["parameters"])
    assert rows[0]["times_smaller"] == 1
    assert sum(p.numel() for p in student.parameters()) == rows[1]["parameters"]
