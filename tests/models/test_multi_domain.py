import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from hrkd.errors import ArtifactError, DataError, ModelError
from hrkd.models.multi_domain import MultiDomainClassifier
from tiny import DOMAINS, FAMILIES, LABELS, domain_ids, tiny_batch, tiny_model, tiny_plain


def logits(model, batch, domains=None):
    with torch.no_grad():
        return model(**batch, domain_ids=domain_ids() if domains is None else domains).logits


@pytest.mark.parametrize("mode", ["per_domain", "shared"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_starts_as_the_plain_classifier(family, mode):
    plain, batch = tiny_plain(family), tiny_batch(family)
    with torch.no_grad():
        expected = plain(**batch).logits
    model = MultiDomainClassifier.from_plain(plain, domains=DOMAINS, labels=LABELS, heads=mode, max_tokens=32).eval()
    assert torch.allclose(logits(model, batch), expected, atol=1e-5)
    assert len(model.heads) == (3 if mode == "per_domain" else 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_classifier_of_each_domain_gives_its_logits(family, tmp_path):
    model, batch = tiny_model(family), tiny_batch(family)
    for number, domain in enumerate(DOMAINS):
        model.to_plain(domain).save_pretrained(tmp_path / domain)
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / domain).eval()
        assert [plain.config.id2label[i] for i in range(3)] == list(LABELS)
        with torch.no_grad():
            expected = plain(**batch).logits
        assert torch.allclose(logits(model, batch, torch.full((6,), number)), expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_model_comes_back_the_same(family, tmp_path):
    model, batch = tiny_model(family), tiny_batch(family)
    model.save_pretrained(tmp_path)
    again = MultiDomainClassifier.from_pretrained(tmp_path).eval()
    assert torch.allclose(logits(again, batch), logits(model, batch), atol=1e-6)
    assert (again.domains, again.labels, again.config.max_tokens) == (DOMAINS, LABELS, 32)
    assert not list(tmp_path.glob("*.bin"))


def test_rows_go_through_the_head_of_their_domain():
    model, batch = tiny_model(), tiny_batch()
    mixed = logits(model, batch)
    assert mixed.shape == (6, 3)
    alone = [logits(model, batch, torch.full((6,), number)) for number in range(3)]
    assert (alone[0] - alone[1]).abs().max() > 1e-3
    for row, number in enumerate(domain_ids().tolist()):
        assert torch.allclose(mixed[row], alone[number][row], atol=1e-6)


def test_every_head_and_the_encoder_learn():
    model, batch = tiny_model().train(), tiny_batch()
    model(**batch, domain_ids=domain_ids()).logits.square().sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("damage", ["missing", "surplus", "shape"])
def test_weights_that_do_not_fit_are_an_error(tmp_path, damage):
    tiny_model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = "heads.1.classifier.classifier.weight"
    if damage == "missing":
        del weights[name]
    elif damage == "surplus":
        weights["heads.9.extra"] = torch.zeros(1)
    else:
        weights[name] = torch.zeros(5, 5)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    expected = "of another shape" if damage == "shape" else damage
    with pytest.raises(ArtifactError, match=f"{expected}: .*heads"):
        MultiDomainClassifier.from_pretrained(tmp_path)


def test_pickled_weights_are_not_read(tmp_path):
    model = tiny_model()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        MultiDomainClassifier.from_pretrained(tmp_path)


def test_configuration_is_plain_json(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "hrkd_multi_domain"
    assert config["domains"] == list(DOMAINS)
    assert config["id2label"] == {"0": "bad", "1": "fair", "2": "good"}
    assert config["encoder"]["model_type"] == "bert"


def test_number_of_outputs_must_be_that_of_the_labels():
    with pytest.raises(ModelError, match="3 outputs, the data 2 labels"):
        MultiDomainClassifier.from_plain(tiny_plain("bert"), domains=DOMAINS, labels=("bad", "good"), max_tokens=32)


@pytest.mark.parametrize(("family", "longest"), [("bert", 40), ("roberta", 38)])
def test_longest_input_must_fit_the_positions(family, longest):
    options = {"domains": DOMAINS, "labels": LABELS}
    MultiDomainClassifier.from_plain(tiny_plain(family), max_tokens=longest, **options)
    with pytest.raises(ModelError, match=f"takes {longest} at most"):
        MultiDomainClassifier.from_plain(tiny_plain(family), max_tokens=longest + 1, **options)


def test_unknown_domain_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'kitchen'"):
        tiny_model().to_plain("kitchens")


@pytest.mark.parametrize("family", FAMILIES)
def test_new_heads_are_drawn_apart_and_the_encoder_stays(family):
    plain, batch = tiny_plain(family), tiny_batch(family)
    options = {"domains": DOMAINS, "labels": LABELS, "max_tokens": 32}
    kept = MultiDomainClassifier.from_plain(plain, **options).eval()
    model = MultiDomainClassifier.from_plain(plain, **options, new_heads=True).eval()
    every = [logits(model, batch, torch.full((6,), number)) for number in range(3)]
    every.append(logits(kept, batch))
    assert all((one - other).abs().max() > 1e-4 for i, one in enumerate(every) for other in every[:i])
    same = zip(model.encoder.parameters(), kept.encoder.parameters(), strict=True)
    assert all(torch.equal(new, old) for new, old in same)
    fresh = AutoModelForSequenceClassification.from_config(plain.config).state_dict()
    for name, parameter in model.heads[0].classifier.named_parameters():
        expected = fresh[name].std() if fresh[name].ndim > 1 else fresh[name].abs().max()
        parameter = parameter.detach()
        found = parameter.std() if parameter.ndim > 1 else parameter.abs().max()
        assert found == pytest.approx(expected, rel=0.5), name  # as its family draws it
