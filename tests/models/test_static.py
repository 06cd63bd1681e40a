"""A student without layers: its equation, its start, and a run with it."""

import json
from itertools import pairwise

import pytest
import torch

from hrkd.cli import main
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, RecipeError
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.open_model import open_model
from hrkd.models.start.build import static_classifier
from hrkd.models.static import MULTIPLIER, StaticConfig, is_static
from hrkd.recipe.loading import load_recipe, recipe_to_yaml
from hrkd.recipe.schema import StudentConfig
from hrkd.run.commands import compress
from hrkd.run.evaluation import evaluate
from hrkd.training.trainers import distill_from_models
from tiny import tiny_recipe

STATIC = {
    "student": {"kind": "static", "width": 8, "pair_buckets": 500, "training": {"epochs": 3, "batch_size": 4}},
}


def classifier(**sizes):
    torch.manual_seed(0)
    config = StaticConfig(40, **{"hidden_size": 6, "pair_buckets": 30, "num_labels": 3} | sizes)
    plain = static_classifier(config, torch.randn(40, 10))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return plain


def inputs():
    ids = torch.randint(1, 40, (4, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 4:] = mask[3, 1:] = 0
    return ids, mask


def test_the_equation():
    plain, (ids, mask) = classifier(), inputs()
    tokens, pairs = plain.bag.tokens.weight, plain.bag.pairs.weight
    found = plain.bag(input_ids=ids, attention_mask=mask).pooler_output
    for row, valid, vector in zip(ids.tolist(), mask, found, strict=True):
        row = row[: int(valid.sum())]
        total = sum(tokens[i] for i in row)
        for first, second in pairwise(row):
            total = total + pairs[(first * MULTIPLIER + second) % 30]
        torch.testing.assert_close(vector, total / len(row) ** 0.5)


@pytest.mark.parametrize("pair_buckets", [0, 30])
def test_padding_changes_nothing(pair_buckets):
    plain, (ids, mask) = classifier(pair_buckets=pair_buckets), inputs()
    longer = torch.nn.functional.pad(ids, (0, 3), value=9), torch.nn.functional.pad(mask, (0, 3))
    expected = plain(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(plain(input_ids=longer[0], attention_mask=longer[1]).logits, expected)
    left = torch.nn.functional.pad(ids, (3, 0), value=9), torch.nn.functional.pad(mask, (3, 0))
    torch.testing.assert_close(plain(input_ids=left[0], attention_mask=left[1]).logits, expected)


def test_the_start_keeps_what_principal_components_keep():
    torch.manual_seed(0)
    table = torch.randn(40, 3) @ torch.randn(3, 10) + 5
    config = StaticConfig(40, hidden_size=4, pair_buckets=0)
    vectors = static_classifier(config, table).bag.tokens.weight
    centred = table - table.mean(dim=0)
    ratio = torch.cdist(vectors, vectors) / torch.cdist(centred, centred).clamp_min(1e-9)
    several = ratio[~torch.eye(40, dtype=torch.bool)]
    torch.testing.assert_close(several, several.mean().expand_as(several), rtol=1e-3, atol=0)
    wide = static_classifier(StaticConfig(40, hidden_size=16, pair_buckets=0), table).bag.tokens.weight
    assert wide[:, 10:].abs().max() == 0


def test_it_is_saved_and_opened_with_a_head_for_each_domain(tmp_path):
    domains = ["books", "films"]
    model = MultiDomainClassifier.from_plain(
        classifier(), domains=domains, labels=["a", "b", "c"], max_tokens=900, new_heads=True
    ).eval()
    ids, mask = inputs()
    asked = {"input_ids": ids, "attention_mask": mask, "domain_ids": torch.tensor([0, 1, 1, 0])}
    model.save_pretrained(tmp_path)
    again = MultiDomainClassifier.from_pretrained(tmp_path).eval()
    assert is_static(again)
    assert torch.equal(again(**asked).logits, model(**asked).logits)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static") / "run"
    made = tiny_recipe(folder).model_dump(mode="json", exclude_unset=True) | STATIC
    made["teacher"]["training"]["epochs"] = 8
    file = folder.with_name("recipe.yaml")
    file.write_text(recipe_to_yaml(load_recipe(made)))
    assert main(["compress", str(file)]) == 0
    return folder


def test_a_run_makes_measures_and_predicts(finished):
    results = json.loads((finished / "results.json").read_text())
    student = results["models"]["student"]
    losses = [epoch["loss"] for epoch in json.loads((finished / "student" / "training.json").read_text())["epochs"]]
    assert losses[-1] < losses[0]
    assert student["title"] == "Student"
    assert results["ratios"] is None
    model, tokenizer = open_model(finished / "student")
    assert is_static(model)
    assert evaluate(finished)["mean"]["accuracy"] == student["test"]["mean"]["accuracy"]
    answers = Predictor(TorchEngine(model, tokenizer))(["a good read", "dull"], domain=model.domains[0])
    assert {each["label"] for each in answers} <= set(model.labels)
    assert load_recipe(finished / "recipe.yaml").student.training.learning_rate == 3e-3
    assert student["kind"] == "static"
    assert "export_plain" not in (finished / "student" / "README.md").read_text(encoding="utf-8")


def test_it_has_no_plain_form(finished, tmp_path):
    with pytest.raises(ArtifactError, match="a static student is of no family that transformers alone knows"):
        export_plain(finished / "student", tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


def test_a_vocabulary_can_be_made_smaller_without_pairs(tmp_path):
    base = tiny_recipe(tmp_path / "run").model_dump(mode="json", exclude_unset=True)
    student = STATIC["student"] | {"pair_buckets": 0, "vocabulary": 2, "baseline": False}
    compress(base | {"student": student})
    model, tokenizer = open_model(tmp_path / "run" / "student")
    assert model.encoder.tokens.num_embeddings == len(tokenizer)


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ({"layers": 2}, "student.layers: a static student has no layers"),
        ({"checkpoint": "x"}, "student.checkpoint: a static student has no layers"),
        ({"layer_map": [1]}, "student.layer_map: a static student starts from"),
        ({"vocabulary": 1}, "student.vocabulary: pairs are hashed"),
        ({"kind": "encoder", "layers": 1, "pair_buckets": 9}, "student.pair_buckets: belongs to a static student"),
    ],
)
def test_what_does_not_go_together(student, words):
    with pytest.raises(RecipeError, match=words):
        load_recipe({**MADE, "student": {"kind": "static", **student}})


@pytest.mark.parametrize("method", [{"stages": "two"}, {"prediction_weight": 0}])
def test_methods_without_predictions_are_refused(method):
    with pytest.raises(RecipeError, match=r"method\.(stages|prediction_weight)"):
        load_recipe({**MADE, "student": {"kind": "static"}, "method": method})


def test_the_learning_rate_is_its_own_unless_one_is_given():
    rates = [
        load_recipe({**MADE, "student": {"kind": kind, **sizes, "training": training}}).student.training.learning_rate
        for kind, sizes, training in (
            ("static", {}, {}),
            ("static", {}, {"learning_rate": 0.5}),
            ("encoder", {"layers": 1}, {}),
        )
    ]
    assert rates == [3e-3, 0.5, "auto"]


MADE = {"data": {"format": "synthetic"}, "teacher": {"model": "encoder"}}


def test_in_python_it_is_distilled_as_a_recipe_would_have_it(tiny):
    teacher = tiny.model()
    config = StaticConfig(len(tiny.tokenizer), hidden_size=6, pair_buckets=30, num_labels=2)
    plain = static_classifier(config, teacher.get_input_embeddings().weight.detach())
    student = MultiDomainClassifier.from_plain(
        plain, domains=teacher.domains, labels=teacher.labels, new_heads=True, max_tokens=24
    )
    history = distill_from_models(teacher, student, tiny.train, tiny.dev)
    assert len(history.epochs) == StudentConfig(kind="static").training.epochs, "no least number of steps"
