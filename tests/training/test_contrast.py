"""Relations of domains by what sets their classes apart, measured in a teacher and used in distillation."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from hrkd.errors import DataError, ModelError, RecipeError
from hrkd.method.build import build_domain_ratios
from hrkd.method.contrasts import class_contrasts, shares
from hrkd.method.domain_graph import ContrastGraph
from hrkd.models.domain_teachers import combined
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import CacheConfig
from hrkd.training import contrast, evaluate
from hrkd.training.contrast import contrast_relations, measure_relations
from hrkd.training.live_teacher import LiveTeacher
from hrkd.training.teacher_cache import source as cache_source
from tiny import distil, method_of

CPU = torch.device("cpu")


def test_relations_row_by_row(tiny, monkeypatch):
    monkeypatch.setitem(evaluate.TOKENS_IN_A_BATCH, "cpu", 60)
    live = LiveTeacher(tiny.model(seed=1), (0, 1, 2), attention="none")
    found = measure_relations(live, tiny.train, CPU)
    domains, labels = len(tiny.splits.domains), len(tiny.splits.labels)
    sums, counts = torch.zeros(2, 3, domains, labels, 16), torch.zeros(2, domains, labels)
    for row in range(len(tiny.train)):
        batch = tiny.train.batch([row])
        d, c = int(batch.domain_ids), int(batch.labels)
        half = int(counts[:, d, c].sum()) % 2
        states = live(batch).hidden_states
        sums[half, :, d, c] += torch.stack([level[0].mean(dim=0) for level in states])
        counts[half, d, c] += 1
    expected = contrast_relations(torch.stack([class_contrasts(sums[half], counts[half]) for half in (0, 1)]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_texts_without_a_label_are_not_looked_at(tiny):
    live = LiveTeacher(tiny.model(seed=1), (0, 2), attention="none")
    more = tiny.train.followed_by(tiny.unlabelled("good good good", "bad book", "film film"))
    assert torch.equal(measure_relations(live, more, CPU), measure_relations(live, tiny.train, CPU))


def test_relations_in_words():
    matrix = torch.tensor([[1.0, 0.5, -0.25], [0.5, 1.0, 0.0], [-0.25, 0.0, 1.0]])
    told = contrast.in_words(matrix, ("books", "dvd", "pans"))
    assert told == "0.08 on average (books and dvd 0.50, dvd and pans 0.00, books and pans -0.25)"
    many = contrast.in_words(torch.eye(16), [f"d{n}" for n in range(16)])
    assert many.count(" and ") == 6


def test_no_labels_are_told_before_anything_is_computed(tiny):
    one_domain = np.flatnonzero(tiny.train.texts.domain_ids == 0)
    for texts in ([0, 1], one_domain):
        with pytest.raises(DataError, match="fewer than two domains have two labelled texts of two classes"):
            distil(tiny.model(seed=1), tiny.model(width=8), tiny.train.select(texts), tiny.dev, related_weight=1.0)


def test_windows_of_a_text_are_in_one_half_and_few_texts_of_each_class_will_do(tiny, monkeypatch):
    asked = []

    def source(batch):
        asked.extend(batch.indices.tolist())
        return live(batch)

    live = LiveTeacher(tiny.model(seed=1), (0, 2), attention="none")
    whole = measure_relations(source, tiny.train, CPU)
    # Each text twice is each text's window twice: nothing is known better by it.
    twice = np.repeat(np.arange(len(tiny.train)), 2)
    windows = replace(tiny.train, rows=tiny.train.rows.select(twice), lengths=tiny.train.lengths[twice], owners=twice)
    torch.testing.assert_close(measure_relations(live, windows, CPU), whole, rtol=1e-4, atol=1e-4)
    asked.clear()
    cells = len(tiny.splits.domains) * len(tiny.splits.labels)
    monkeypatch.setattr(contrast, "MOST_TEXTS", 4 * cells)
    measure_relations(source, tiny.train, CPU)
    drawn = tiny.train.texts.select(asked)
    counts = np.bincount(drawn.domain_ids * len(tiny.splits.labels) + drawn.label_ids)
    assert (counts == 4).all()


def test_every_head_says_what_it_says_of_its_own_texts(tiny):
    model, batch = tiny.model(seed=1).eval(), tiny.train.batch(range(0, len(tiny.train), 3))
    with torch.no_grad():
        trace = model(**batch.inputs, domain_ids=batch.domain_ids, every_head=True)
        torch.testing.assert_close(trace.logits, model(**batch.inputs, domain_ids=batch.domain_ids).logits)
        for d in range(len(model.domains)):
            own = model(**batch.inputs, domain_ids=torch.full_like(batch.domain_ids, d)).logits
            torch.testing.assert_close(trace.head_logits[:, d], own)


@pytest.mark.parametrize("hidden_weight", [0.0, 1.0])
@pytest.mark.parametrize("percent", [100, 40])
def test_a_cache_knows_what_every_head_says(tiny, tmp_path, monkeypatch, hidden_weight, percent):
    if percent < 100:
        monkeypatch.setattr(
            cache_source, "_kept_rows", lambda *_: (percent, np.arange(len(tiny.train)) % 10 < percent // 10)
        )
    layer_map, attention = ((0, 1), "queries_keys") if hidden_weight else ((), "none")
    live = LiveTeacher(tiny.model(seed=1), layer_map, attention=attention, every_head=True)
    rules = CacheConfig(folder=tmp_path, precision="fp32")
    cached = cache_source.teacher_source(live, tiny.train, rules=rules, device=CPU)
    batch = tiny.train.batch(range(0, len(tiny.train), 5))
    found, expected = cached(batch), live(batch)
    torch.testing.assert_close(found.head_logits, expected.head_logits)
    torch.testing.assert_close(found.logits, expected.logits)
    without = LiveTeacher(live.teacher, layer_map, attention=attention)
    assert cache_source.teacher_source(without, tiny.train, rules=rules, device=CPU)(batch).head_logits is None


def test_related_heads_teach_each_other(tiny, tmp_path):
    teacher = tiny.model(seed=1)
    students = {}
    for weight in (0.0, 2.0):
        student = tiny.model(width=8)
        options = {"hidden_weight": 0.0, "related_weight": weight, "learning_rate": 2e-3}
        rules = CacheConfig(folder=tmp_path)
        history = distil(teacher, student, tiny.train, tiny.dev, **options, cache=rules)
        assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]
        students[weight] = student
    live = LiveTeacher(teacher, (0, 1, 2), attention="none", every_head=True)
    parts = shares(measure_relations(live, tiny.train, CPU)[-1])
    batch = tiny.train.batch(range(len(tiny.train)))

    def distance(student):
        """Of what heads say of texts of all domains to what the teacher's related heads say."""
        with torch.no_grad():
            said = student.eval()(**batch.inputs, domain_ids=batch.domain_ids, every_head=True).head_logits.softmax(-1)
            wanted = torch.einsum("de,bec->bdc", parts, live(batch).head_logits.softmax(-1))
        return float((said - wanted).abs().mean())

    assert distance(students[2.0]) < distance(students[0.0])


@pytest.mark.parametrize("learning", ["joint", "meta"])
@pytest.mark.parametrize("relations", ["contrast", "permuted"])
def test_a_graph_of_contrasts_trains(tiny, tmp_path, learning, relations):
    method = {"graph": "contrast", "hierarchy": "none", "graph_heads": 2, "learning": learning, "meta_interval": 2}
    models = tiny.model(seed=1), tiny.model(width=8)
    distil(*models, tiny.train, tiny.dev, domain_relations=relations, metrics=tmp_path, **method)
    table = pd.read_parquet(tmp_path / "relations")
    own = table[table["domain"].astype(str) == table["other"].astype(str)]
    most = table.groupby(["step", "level", "domain"], observed=True)["weight"].max()
    assert (own["weight"].to_numpy() == most.to_numpy()).all(), "nobody is more related to a domain than itself"
    ratios = pd.read_parquet(tmp_path / "levels")["ratio"]
    assert ratios.iloc[0] == pytest.approx(1 / 3)
    assert ratios.std() > 0


def test_permuting_domains_permutes_a_contrast_graphs_scores():
    torch.manual_seed(0)
    states, relations = torch.randn(2, 4, 6), contrast_relations(torch.randn(1, 2, 4, 9).expand(2, -1, -1, -1))
    graph = ContrastGraph(shares(relations), 6, heads=2, head_width=3).eval()
    torch.nn.init.normal_(graph.readout)
    order = torch.tensor([2, 0, 3, 1])
    other = copy.deepcopy(graph)
    other.shares = shares(relations[:, order][:, :, order])
    torch.testing.assert_close(other(states[:, order]), graph(states)[:, order])
    assert not torch.allclose(other(states), graph(states))


def test_a_graph_of_contrasts_without_relations_is_an_error():
    method = method_of({"graph": "contrast", "learning": "meta"})
    with pytest.raises(ValueError, match="graph: contrast is made of relations"):
        build_domain_ratios(method, levels=2, domains=3, width=4)


def test_one_head_for_all_cannot_learn_from_others(tiny):
    shared = tiny.model(mode="shared")
    with pytest.raises(ModelError, match=r"related_weight: heads learn .* this teacher has one head for all"):
        distil(shared, tiny.model(), tiny.train, tiny.dev, related_weight=1.0)
    with pytest.raises(ModelError, match=r"related_weight: .* this student has one head for all"):
        distil(tiny.model(), shared, tiny.train, tiny.dev, related_weight=1.0)
    batch = tiny.train.batch(range(4))
    with pytest.raises(ModelError, match="this model has one head for all domains"):
        shared(**batch.inputs, domain_ids=batch.domain_ids, every_head=True)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("related_weight", {"related_weight": 1.0, "hidden_weight": 0.0}),
        ("graph: contrast", {"graph": "contrast", "learning": "joint"}),
    ],
)
def test_states_of_several_encoders_cannot_be_compared(tiny, field, options):
    parts = {name: tiny.model(seed=n).to_plain(name) for n, name in enumerate(tiny.splits.domains)}
    alone = {
        name: MultiDomainClassifier.from_plain(each, domains=[name], labels=tiny.splits.labels, max_tokens=32)
        for name, each in parts.items()
    }
    with pytest.raises(ModelError, match=f"{field}: compares examples of different domains"):
        distil(combined(alone), tiny.model(), tiny.train, tiny.dev, **options)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": {"related_weight": 1, "prediction_weight": 0}}, "related_weight: is part of the prediction loss"),
        (
            {"method": {"related_weight": 1, "reductions": "public_code"}},
            "related_weight: is none of the public code's",
        ),
        ({"method": {"domain_relations": "permuted"}}, "domain_relations: nothing reads them"),
        ({"method": {"graph": "contrast"}}, "starts at uniform ratios; choose meta or joint"),
        (
            {"method": {"related_weight": 1}, "teacher": {"heads": "shared"}},
            "related_weight: heads learn from each other",
        ),
        (
            {"method": {"related_weight": 1}, "teacher": {"encoders": "per_domain"}},
            "method.related_weight: compares domains in the states of one teacher",
        ),
        (
            {"method": {"graph": "contrast", "learning": "meta"}, "teacher": {"encoders": "per_domain"}},
            "method.graph: contrast: compares domains in the states of one teacher",
        ),
    ],
)
def test_what_excludes_what(changes, words):
    flat = {f"{section}.{name}": value for section, fields in changes.items() for name, value in fields.items()}
    with pytest.raises(RecipeError, match=words):
        load_recipe("demo", flat)
