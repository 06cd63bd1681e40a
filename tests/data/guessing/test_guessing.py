import random

import pytest

from hrkd.data.guessing.columns import look_at
from hrkd.data.guessing.roles import guess_roles
from hrkd.data.readers.parts import dict_part

DRAW = random.Random(0)
SENTENCE = "the story of this shop was told again and nobody knows why it is so long and so good"


def texts(number=120, words=12):
    return [" ".join(DRAW.choices(SENTENCE.split(), k=words)) for _ in range(number)]


def some(*values, number=120):
    return [DRAW.choice(values) for _ in range(number)]


def guessed(**columns):
    return guess_roles(look_at([dict_part(columns)]))


def roles(**columns):
    return {role: column.name for role, column in guessed(**columns).columns.items()}


@pytest.mark.parametrize(
    ("text", "label", "domain"),
    [
        ("text", "label", "domain"),
        ("Kommentar", "sterne", "shop_section"),
        ("reseña", "puntuación", "categoría"),
        ("avis", "note", "rubrique"),
        ("текст", "оценка", "тема"),
        ("c1", "c2", "c3"),
    ],
)
def test_text_label_and_domain_whatever_they_are_called(text, label, domain):
    columns = {
        domain: some("books", "films", "games"),
        label: some("positive", "negative", "positive "),
        "nr": list(range(120)),
        text: texts(),
    }
    assert roles(**columns) == {"text": text, "label": label, "domain": domain}


def test_stars_are_labels_and_switches_and_countries_are_not():
    columns = {
        "verified": some("True", "False"),
        "land": some("de", "fr", "at"),
        "s": some("1", "2", "3", "4", "5"),
        "kind": some("phone", "pen", "lamp"),
        "t": texts(),
    }
    assert roles(**columns) == {"text": "t", "label": "s", "domain": "kind"}


def test_a_pair_a_split_and_a_shorter_text():
    columns = {
        "title": texts(words=3),
        "sentence2": texts(),
        "sentence1": texts(),
        "fold": some("train", "dev", "test"),
        "gold": some("x", "y", "z"),
        "genre": some("a", "b"),
    }
    found = roles(**columns)
    assert found == {"text": "sentence1", "text_pair": "sentence2", "split": "fold", "label": "gold", "domain": "genre"}
    assert "text_pair" not in roles(title=texts(words=3), body=texts(), label=some("x", "y"))


def test_it_says_when_it_is_not_sure():
    found = guessed(a=some("u", "v", "w"), b=some("k", "l", "m"), t=texts())
    assert {role: [column.name for column in near] for role, near in found.others.items()} == {
        "label": ["b"],
        "domain": ["a"],
    }
    sure = guessed(label=some("good", "bad"), domain=some("k", "l", "m"), t=texts())
    assert sure.others == {}


def test_what_is_missing_is_left_out():
    assert roles(t=texts(), label=some("good", "bad")) == {"text": "t", "label": "label"}
    assert roles(t=texts(), x=[DRAW.random() for _ in range(120)]) == {"text": "t"}
    assert roles(x=some("1", "2"), y=some("k", "l", "m")).get("text") is None
    assert roles(t=texts(), label=some("good", "bad"), domain=["all"] * 120)["domain"] == "domain"


@pytest.mark.parametrize(
    ("values", "looks_like"),
    [
        (list(range(50)), "another number in each row, as ids have"),
        ([f"q{i}" for i in range(50)], "another value in each row, as ids have"),
        ([f"2024-01-{i % 28 + 1:02}" for i in range(50)], "dates"),
        ([f"{i}@example.org" for i in range(25)] * 2, "addresses or ids"),
        (["de", "en"] * 25, "languages or countries: de (25), en (25)"),
        ([{"a": 1}] * 50, "lists or mappings"),
        (["", None] * 25, "empty"),
        (["all"] * 48 + [""] * 2, "the value all (48) in all rows, 2 rows without"),
        ([f"{i}.5" for i in range(50)], "numbers, 100 % of them different"),
        (
            ["\u597d\u770b\u7684\u7535\u5f71" + chr(0x4E00 + i) for i in range(50)],
            "4 words on average, 100 % of the texts different",
        ),
    ],
)
def test_what_columns_look_like(values, looks_like):
    (column,) = look_at([dict_part({"x": values})])
    assert str(column) == looks_like


def test_large_tables_are_looked_at_in_part(monkeypatch):
    monkeypatch.setattr("hrkd.data.guessing.columns.MOST_ROWS", 40)
    (column,) = look_at([dict_part({"x": ["a"] * 60}), dict_part({"x": ["b"] * 60})])
    assert column.rows == 40
    assert column.counts == {"a": 20, "b": 20}
