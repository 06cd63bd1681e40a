"""Texts of an unknown domain: shares by prototypes, heads mixed by them, and what a run makes of it."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from hrkd.cli import main
from hrkd.deploy.batches import BatchLabeller
from hrkd.deploy.checks import ask
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.export.command import export_to
from hrkd.deploy.label_table import Labelling, predict_file
from hrkd.deploy.predict import Predictor
from hrkd.deploy.streams import answers_to, json_line
from hrkd.errors import ArtifactError, DataError, ModelError
from hrkd.models.kind import UNKNOWN
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.open_model import open_model, read_facts
from hrkd.models.routing import DomainRouter, mean_over_tokens, mixed_logits
from hrkd.run.commands import compress
from hrkd.run.evaluation import evaluate
from hrkd.run.rows_to_measure import as_model_says
from hrkd.training.routing import fit_router
from served import start
from slow import slowly
from tiny import tiny_recipe


def test_means_are_over_valid_tokens():
    states = torch.randn(3, 5, 4)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    found = mean_over_tokens(states, mask)
    torch.testing.assert_close(found[0], states[0].mean(dim=0))
    torch.testing.assert_close(found[1], states[1, :2].mean(dim=0))
    assert not found[2].any(), "and of no token nothing"


def test_shares_are_by_the_nearest_prototype():
    torch.manual_seed(0)
    centres = 3 * torch.randn(3, 8) + 100  # what all share is much more than what sets them apart
    domains = torch.arange(3).repeat_interleave(40)
    texts = centres[domains] + torch.randn(120, 8)
    router = DomainRouter(3, 8, 0, 4.0)
    router.fit(texts, domains)
    shares = router(texts[:, None], torch.ones(120, 1))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(120))
    assert (shares.argmax(dim=1) == domains).float().mean() > 0.95
    sharper = DomainRouter(3, 8, 0, 40.0)
    sharper.fit(texts, domains)
    assert (sharper(texts[:, None], torch.ones(120, 1)).max(dim=1)[0] >= shares.max(dim=1)[0]).all()


def test_the_order_of_domains_and_their_sizes_play_no_part():
    torch.manual_seed(0)
    texts, domains = torch.randn(60, 4), torch.arange(60) % 3
    router, permuted, repeated = (DomainRouter(3, 4, 0, 2.0) for _ in range(3))
    router.fit(texts, domains)
    order = torch.tensor([2, 0, 1])
    permuted.fit(texts, order[domains])
    torch.testing.assert_close(permuted.cosines(texts)[:, order], router.cosines(texts))
    again = torch.cat([texts, texts[domains == 1]])
    repeated.fit(again, torch.cat([domains, domains[domains == 1]]))
    torch.testing.assert_close(repeated.cosines(texts), router.cosines(texts))


def test_heads_are_mixed_as_probabilities():
    logits = torch.randn(5, 3, 4)
    shares = torch.randn(5, 3).softmax(dim=-1)
    expected = sum(shares[:, d, None] * logits[:, d].softmax(dim=-1) for d in range(3))
    torch.testing.assert_close(mixed_logits(logits, shares).softmax(dim=-1), expected)
    sure = torch.tensor([[0.0, 1.0, 0.0]]).expand(5, 3)
    torch.testing.assert_close(mixed_logits(logits, sure), logits[:, 1].log_softmax(dim=-1))


def routed(tiny):
    model = tiny.model(seed=3).eval()
    return model, fit_router(model, tiny.train, tiny.dev)


class TestModel:
    def test_known_domains_are_untouched_by_unknown_ones_beside_them(self, tiny):
        model, record = routed(tiny)
        assert record["dev_accuracy"] >= 1 / 3
        batch = tiny.dev.batch(range(6))
        with torch.no_grad():
            known = model(**batch.inputs, domain_ids=batch.domain_ids).logits
            ids = batch.domain_ids.clone()
            ids[::2] = UNKNOWN
            both = model(**batch.inputs, domain_ids=ids).logits
        torch.testing.assert_close(both[1::2], known[1::2])
        assert (both[::2] - known[::2]).abs().max() > 1e-4

    def test_padding_changes_nothing(self, tiny):
        model, _ = routed(tiny)
        long, short = tiny.dev.batch(range(6)), tiny.dev.batch([0])
        ids = torch.full((6,), UNKNOWN)
        with torch.no_grad():
            both = model(**long.inputs, domain_ids=ids).logits[0], model(**short.inputs, domain_ids=ids[:1]).logits[0]
        torch.testing.assert_close(*both)

    def test_it_is_saved_with_the_model(self, tiny, tmp_path):
        model, record = routed(tiny)
        model.save_pretrained(tmp_path)
        tiny.tokenizer.save_pretrained(tmp_path)
        again, _ = open_model(tmp_path)
        assert again.config.router == {name: record[name] for name in ("level", "sharpness")}
        for name, values in model.router.state_dict().items():
            torch.testing.assert_close(again.router.state_dict()[name], values)
        assert read_facts(tmp_path).routes
        config = json.loads((tmp_path / "config.json").read_text())
        for wrong in ({"level": "two", "sharpness": 1.0}, [1, 2], {"level": True, "sharpness": 1.0}):
            (tmp_path / "config.json").write_text(json.dumps(config | {"router": wrong}))
            with pytest.raises(ArtifactError, match="its router is no longer what was written"):
                read_facts(tmp_path)

    def test_without_prototypes_it_says_so(self, tiny):
        model = tiny.model()
        batch = tiny.dev.batch(range(2))
        with pytest.raises(ModelError, match="has no prototypes to find it by"):
            model(**batch.inputs, domain_ids=torch.tensor([0, UNKNOWN]))
        facts = TorchEngine(model, tiny.tokenizer).facts
        with pytest.raises(DataError, match="'auto' is not for this model, which keeps no prototypes"):
            ask("a text", "auto", None, facts)

    def test_one_head_has_nothing_to_route(self, tiny):
        model = tiny.model(mode="shared")
        assert fit_router(model, tiny.train, tiny.dev) is None
        assert ask(["a", "b"], "auto", None, TorchEngine(model, tiny.tokenizer).facts).domains == [0, 0]

    @pytest.mark.parametrize(
        ("to", "close"), [("onnx", 1e-5), *slowly(("onnx-int8", 0.1), ("openvino", 0.02), ("openvino-int8", 0.1))]
    )
    def test_an_export_routes_as_the_model_does(self, tiny, tmp_path, to, close):
        model, _ = routed(tiny)
        model.save_pretrained(tmp_path / "student")
        tiny.tokenizer.save_pretrained(tmp_path / "student")
        ours = Predictor.from_pretrained(tmp_path / "student", device="cpu")
        rows = as_model_says(tiny.splits.dev, ours.facts, ours.facts.labels)
        checks = export_to(tmp_path / "student", tmp_path / "out", to, rows=rows, calibration=rows, allowance=30).checks
        assert checks["largest_difference"] < close
        assert checks["routed"]["largest_difference"] < close
        theirs = Predictor.from_pretrained(tmp_path / "out")
        assert theirs.facts.routes
        texts = list(tiny.splits.dev.rows["text"][:8])
        for domain in ("auto", model.domains[1]):
            np.testing.assert_allclose(
                theirs.probabilities(texts, domain=domain), ours.probabilities(texts, domain=domain), atol=close
            )
        asked = ask(texts, ["auto", *model.domains[:1]] * 4, None, ours.facts)
        found = ours.answers_and_shares(asked)
        told = theirs.answers_and_shares(asked)
        np.testing.assert_allclose(found, told, atol=close)
        shares = found[:, len(model.labels) :]
        assert shares.shape == (8, len(model.domains))
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(found[:, : len(model.labels)], ours.answers(asked), atol=1e-6)
        assert ours.answers_and_shares(asked.take([])).shape == (0, found.shape[1])
        shares = told[:, len(model.labels) :]
        server = start(tmp_path / "out", "--threads", "1")
        try:
            _, answers = server.ask({"texts": texts[:2], "domain": ["auto", model.domains[0]]})
        finally:
            server.process.kill()
        assert answers["answers"][0]["domain_found"] == model.domains[shares[0].argmax()]
        assert answers["answers"][0]["domain_share"] == pytest.approx(shares[0].max(), abs=close)
        assert answers["answers"][1].keys() == {"label", "score", "scores"}


class TestAsking:
    def test_names_go_before_auto(self, tiny):
        model, _ = routed(tiny)
        facts = TorchEngine(model, tiny.tokenizer).facts
        names = list(model.domains)
        assert ask(["a"] * 3, [names[1], "auto", names[0]], None, facts).domains == [1, UNKNOWN, 0]
        with pytest.raises(DataError, match=r"unknown domain 'boks'.*; 'auto' lets it find the nearest ones"):
            ask("a", "boks", None, facts)
        called_so = MultiDomainClassifier(model.config)
        called_so.config.domains = ["auto", *names[1:]]
        assert ask("a", "auto", None, TorchEngine(called_so, tiny.tokenizer).facts).domains == [0]

    def test_a_table_whose_domain_nobody_knows(self, tiny, tmp_path):
        model, _ = routed(tiny)
        predictor = Predictor(TorchEngine(model, tiny.tokenizer))
        texts = list(tiny.splits.dev.rows["text"][:3])
        (tmp_path / "in.csv").write_text("text,domain\n" + "".join(f'"{text}",elsewhere\n' for text in texts))
        assert predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv", domain="auto") == 3
        found = pd.read_csv(tmp_path / "out.csv")
        shares = predictor.answers_and_shares(ask(texts, "auto", None, predictor.facts))[:, len(model.labels) :]
        assert found["domain_found"].tolist() == [model.domains[d] for d in shares.argmax(axis=1)]
        np.testing.assert_allclose(found["domain_share"], shares.max(axis=1), atol=1e-6)
        (said, *_) = answers_to(predictor, ask(texts, "auto", None, predictor.facts))
        line = json.loads(json_line(texts[0], said, predictor.facts, False))
        assert (line["domain_found"], line["label"]) == (found["domain_found"][0], found["label"][0])
        assert json.loads(json_line("", None, predictor.facts, False)) == {"text": "", "label": None, "score": None}
        batch = pa.table({"text": texts})
        labeller = BatchLabeller(tmp_path, Labelling(domain="auto", prefix="its_"))
        labeller.predictor = predictor
        assert labeller(batch)["its_domain_found"].to_pylist() == found["domain_found"].tolist()
        labels = found["label"].tolist()
        assert labels == [each["label"] for each in predictor(texts, domain="auto")]
        with pytest.raises(DataError, match="unknown domain"):
            predict_file(predictor, tmp_path / "in.csv", tmp_path / "other.csv")

    def test_a_cell_may_say_auto(self, tiny, tmp_path):
        model, _ = routed(tiny)
        predictor = Predictor(TorchEngine(model, tiny.tokenizer))
        texts, domains = list(tiny.splits.dev.rows["text"][:3]), ["auto", model.domains[1], " auto "]
        pd.DataFrame({"text": texts, "domain": domains}).to_csv(tmp_path / "in.csv", index=False)
        assert predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv") == 3
        found = predictor(texts, domain=[name.strip() for name in domains])
        assert pd.read_csv(tmp_path / "out.csv")["label"].tolist() == [each["label"] for each in found]
        np.testing.assert_allclose(
            pd.read_csv(tmp_path / "out.csv")["score"], [each["score"] for each in found], atol=1e-6
        )
        unrouted = Predictor(TorchEngine(tiny.model(), tiny.tokenizer))
        with pytest.raises(DataError, match="2 unknown domains 'auto'"):
            predict_file(unrouted, tmp_path / "in.csv", tmp_path / "other.csv")


def test_students_of_a_run_route(tmp_path, capsys):
    folder = tmp_path / "run"
    compress(tiny_recipe(folder, **{"student.training.epochs": 1, "teacher.training.epochs": 1}))
    record = json.loads((folder / "student" / "training.json").read_text())["routing"]
    assert 0.5 <= record["dev_accuracy"] <= 1
    assert not read_facts(folder / "teacher").routes
    assert read_facts(folder / "baseline").routes
    assert main(["predict", str(folder / "student"), "--domain", "auto", "a good read"]) == 0
    line = capsys.readouterr().out.split("\t")
    assert line[2] == "a good read\n"
    assert line[1].split()[0] in read_facts(folder / "student").domains
    assert evaluate(folder)["mean"]["accuracy"] > 0
