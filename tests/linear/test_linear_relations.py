"""The linear check on relations between domains."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfTransformer

from hrkd.data.readers.sources import load_domains
from hrkd.data.splits.draws import by_turns
from hrkd.linear.relations import RelatedRows, permuted, right_by_relations, smoothed_cosines
from hrkd.linear.words import WordCounts
from hrkd.method.contrasts import class_contrasts
from hrkd.recipe.loading import load_recipe
from hrkd.report.tables import relations_table
from hrkd.run.describe_data import describe_data
from hrkd.run.prepare import prepare_data
from hrkd.training.contrast import contrast_relations


def splits(relatedness, examples=300, domains=4):
    corpus = {"domains": domains, "examples": examples, "relatedness": relatedness, "label_noise": 0.0}
    data = load_recipe({"data": {"format": "synthetic", "synthetic": corpus, "dev": 0.4}}, needed=("data",)).data
    return prepare_data(data, None, None).splits


def test_products_are_those_of_contrasts_of_tf_idf():
    parts = splits(0.8, examples=60)
    found = RelatedRows.of(parts.train, parts.dev)
    _, counts = WordCounts.fit(parts.train)
    rows = TfidfTransformer(sublinear_tf=True).fit_transform(counts).toarray()
    cells = parts.train.domain_ids * 2 + parts.train.label_ids
    halves = by_turns(cells)
    sums, numbers = np.zeros((2, 4, 2, rows.shape[1])), np.zeros((2, 4, 2))
    for row, half, d, c in zip(rows, halves, parts.train.domain_ids, parts.train.label_ids, strict=True):
        sums[half, d, c] += row
        numbers[half, d, c] += 1
    both = torch.stack([class_contrasts(torch.tensor(sums[h])[None], torch.tensor(numbers[h])) for h in (0, 1)])
    relations = smoothed_cosines(found.products[:, :, None])
    np.testing.assert_allclose(relations, contrast_relations(both).numpy(), atol=1e-9)
    np.testing.assert_allclose(found.within, rows @ rows.T, atol=1e-12)


def test_related_domains_are_found_and_help():
    parts = splits(1.0, examples=400, domains=8)
    rows = RelatedRows.of(parts.train, parts.dev)
    relations = smoothed_cosines(rows.products[:, :, None])
    matrix = relations[0]
    same_group = np.arange(8)[:, None] // 2 == np.arange(8)[None] // 2
    apart = same_group & ~np.eye(8, dtype=bool)
    assert matrix[apart].mean() > matrix[~same_group].mean() + 0.3
    compared = {"equal": np.ones_like(matrix), "related": matrix, "permuted": permuted(relations, 0)[0]}
    right = {name: each.mean() for name, each in right_by_relations(rows, compared).items()}
    assert right["related"] > right["permuted"]
    assert right["related"] > right["equal"]


def test_halves_of_every_group():
    groups = np.array([3, 1, 3, 3, 1, 7, 3])
    found = by_turns(groups)
    assert found.tolist() == [0, 0, 1, 0, 1, 0, 1]
    assert by_turns(np.array([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("domains", [2, 3])
def test_the_data_command_shows_them(domains):
    shown = []
    corpus = {"domains": domains, "examples": 80}
    content = describe_data({"data": {"format": "synthetic", "synthetic": corpus}}, show=shown.append)
    found = content["linear"]["relations"]
    names = list(content["linear"]["train_rows"])
    assert list(found["matrix"]) == names
    assert all(found["matrix"][name][name] == 1 for name in names)
    table = next(each for each in shown if getattr(each, "title", "") == "Relations between domains")
    assert table.columns == ("Domain", *names)
    assert ("paired" in found) is (domains > 2)
    assert ("Of two domains there is one relation" in table.notes[1]) is (domains == 2)


def test_texts_without_a_word_are_related_by_nothing():
    columns = {
        "text": ["?!", "...", "!!", "--"] * 6,
        "label": ["a", "b"] * 12,
        "domain": ["x"] * 8 + ["y"] * 8 + ["z"] * 8,
    }
    rows = load_domains(columns)
    found = RelatedRows.of(rows, rows)
    assert not found.products.any()
    relations = smoothed_cosines(found.products[:, :, None])[0]
    assert right_by_relations(found, {"related": relations})["related"].mean() == 0.5


@pytest.mark.parametrize(
    ("gain", "control", "told"),
    [
        ((0.5, 2.0), (0.1, 2.0), "Relating domains can pay here (method.related_weight): "),
        ((0.5, 2.0), (-0.1, 2.0), "Relating domains is not shown to pay here"),
        ((-0.5, 2.0), (0.1, 2.0), "Relating domains is not shown to pay here"),
    ],
)
def test_that_relations_can_pay_is_said_where_both_intervals_say_so(gain, control, told):
    paired = [{"difference": 0.01, "interval": each, "confidence": 0.95, "examples": 99} for each in (gain, control)]
    accuracy = {"equal": 0.7, "related": 0.72, "permuted": 0.71}
    found = {"matrix": {"x": {"x": 1.0}}, "accuracy": accuracy, "paired": paired[0], "paired_control": paired[1]}
    assert relations_table(found).notes[1].startswith(told)
