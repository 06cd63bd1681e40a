"""Text without labels: how it is read, and which of it may be used."""

from __future__ import annotations

import gzip
import logging
import random
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from hrkd.data.batching import check_step_sizes
from hrkd.data.describe import describe
from hrkd.data.readers.sources import load_domains
from hrkd.data.splits.fewshot import few_shot
from hrkd.data.splits.split import split_domains
from hrkd.data.splits.unlabelled import LeftOut, choose_unlabelled
from hrkd.data.types import NO_LABEL, MultiDomainDataset, Splits
from hrkd.errors import DataError, TrainingError
from hrkd.recipe.schema import DataConfig
from hrkd.run.prepare import prepare_data
from sources import real

DOMAINS = ("x", "y")
Row = tuple[str, str]  # domain, text


def build(rows: list[Row], labels: tuple[str, ...] = ("n", "p"), domains: tuple[str, ...] = DOMAINS) -> Any:
    columns = {
        "id": [f"{len(labels)}-{n}" for n in range(len(rows))],
        "text": [text for _, text in rows],
        "label": [n % len(labels) if labels else NO_LABEL for n in range(len(rows))],
        "domain": [domains.index(domain) for domain, _ in rows],
    }
    return MultiDomainDataset(datasets.Dataset.from_dict(columns), labels, domains)


def splits_of(train: list[Row], dev: list[Row], test: list[Row]) -> Splits:
    return Splits(build(train), build(dev), build(test))


def used(found: list[Row], splits: Splits) -> list[Row]:
    chosen = choose_unlabelled(build(found, labels=()), splits).rows
    return [(DOMAINS[row["domain"]], row["text"]) for row in chosen.rows]


SPLITS = splits_of([("x", "train text"), ("y", "other")], [("x", "dev text")], [("y", "Test  text")])
LONG = "the last words of this review are long enough to say that it is a copy of a known one"


# --- the rule


def oracle(found: list[Row], parts: dict[str, list[Row]]) -> list[str]:
    """Why each row is left out, or "", by loops."""

    def normal(text: str) -> str:
        return " ".join(text.split()).casefold()

    def ending(text: str) -> str:
        letters = "".join(character for character in text if character.isalnum())
        return letters[-60:] if len(letters) >= 60 else ""

    known = {part: [normal(text) for _, text in rows] for part, rows in parts.items()}
    told: list[str] = []
    for n, (domain, text) in enumerate(found):
        own, why = normal(text), ""
        for part in ("test", "dev", "train"):
            if not why and own in known[part]:
                why = f"text also in {part}"
        every = {text for texts in known.values() for text in texts if ending(own) and ending(text) == ending(own)}
        for part in ("test", "dev", "train"):
            if not why and len(every) <= 3 and any(text in every for text in known[part]):
                why = f"ending also in {part}"
        for before in range(n):
            if not why and not told[before] and found[before][0] == domain and normal(found[before][1]) == own:
                why = "repeated"
        told.append(why)
    return told


def corpus(seed: int) -> tuple[dict[str, list[Row]], list[Row]]:
    """Parts and text without labels that share texts, endings, case and white space in many ways."""
    draw = random.Random(seed)
    endings = ["".join(draw.choices("ab", k=length)) for length in (58, 59, 60, 61, 90) for _ in range(2)]

    def text() -> str:
        base = draw.choice([*endings, endings[0], endings[4], endings[4], f"short {draw.randrange(4)}", "one"])
        start = draw.choice(["", "", "", f"t{draw.randrange(3)}. ", "Title: ", "ab"])
        whole = f"{start}{base}"
        dotted = ". ".join(whole) + " ! " * draw.choice([1, 200])
        return draw.choice([whole, whole, dotted, whole.upper(), f"  {whole.replace(' ', '   ')}\n"])

    def rows(count: int) -> list[Row]:
        return [(draw.choice(DOMAINS), text()) for _ in range(count)]

    return {"train": rows(12), "dev": rows(3), "test": rows(5)}, rows(60)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_left_out_and_why_is_that_of_slow_loops(seed: int) -> None:
    parts, found = corpus(seed)
    expected = oracle(found, parts)
    splits = splits_of(**parts)
    chosen = choose_unlabelled(build(found, labels=()), splits)
    ids = [int(name.partition("-")[2]) for name in chosen.rows.rows["id"][:]]
    assert ids == [n for n, why in enumerate(expected) if not why]
    counts = Counter((domain, why) for (domain, _), why in zip(found, expected, strict=True) if why)
    assert {(each.domain, each.why): each.rows for each in chosen.left_out} == counts


def test_the_generated_texts_have_all_reasons() -> None:
    told = {why for seed in range(12) for why in oracle(corpus(seed)[1], corpus(seed)[0])}
    assert len(told) == 8


@pytest.mark.parametrize("known", ["train", "dev", "test"])
def test_a_title_before_a_known_text_hides_nothing(known: str) -> None:
    parts = {"train": [("x", "a"), ("y", "b")], "dev": [("x", "c")], "test": [("x", "d")]}
    parts[known] = [*parts[known], ("x", LONG)]
    splits = splits_of(**parts)
    chosen = choose_unlabelled(build([("y", f"My title. {LONG.upper()} "), ("y", f"{LONG} indeed")], labels=()), splits)
    assert chosen.rows.rows["text"][:] == [f"{LONG} indeed"]
    assert chosen.left_out == (LeftOut("y", f"ending also in {known}", 1),)


def test_the_signature_of_many_texts_makes_no_copies() -> None:
    footer = " Kind regards, the service team. This message is for its addressee alone; delete it otherwise."
    assert len(footer) > 80
    many = [("x", f"known {n}{footer}") for n in range(4)]
    assert used([("x", f"new{footer}"), ("x", f"known 1{footer}")], splits_of(many, many[:1], many[1:2])) == [
        ("x", f"new{footer}")
    ]
    few = many[:3]
    with pytest.raises(DataError, match=r"nothing is left of 1 row .*1 row left out: ending also in test \(x 1\)"):
        used([("x", f"new{footer}")], splits_of(few, few[:1], few[1:2]))


def test_a_text_stands_once_in_each_domain_and_the_first_of_its_rows_stays() -> None:
    found = [("x", "new one"), ("y", "New one"), ("x", "NEW  one"), ("x", "train TEXT"), ("x", "newer")]
    assert used(found, SPLITS) == [("x", "new one"), ("y", "New one"), ("x", "newer")]


def test_pairs_are_compared_as_pairs() -> None:
    def pairs(rows: list[tuple[str, str]], label: int) -> MultiDomainDataset:
        columns = {
            "id": [str(n) for n in range(len(rows))],
            "text": [one for one, _ in rows],
            "text_pair": [other for _, other in rows],
            "label": [label] * len(rows),
            "domain": [0] * len(rows),
        }
        return MultiDomainDataset(datasets.Dataset.from_dict(columns), ("n", "p"), ("x",))

    known = pairs([("a", LONG), ("b", "c")], 0)
    chosen = choose_unlabelled(pairs([("new", LONG), ("A", LONG), ("b", "d")], NO_LABEL), Splits(known, known, known))
    assert chosen.rows.rows["text"][:] == ["new", "b"]


def test_notes_tell_how_many_are_used_and_why_others_are_not() -> None:
    found = [("x", "train text"), ("y", "train text"), ("x", "test text"), ("x", "new"), ("x", "new")]
    found.append(("y", "train text"))
    assert choose_unlabelled(build(found, labels=()), SPLITS).notes == (
        "unlabelled: 1 row of 6 used for distillation",
        "unlabelled: 1 row left out: text also in test (x 1)",
        "unlabelled: 3 rows left out: text also in train (y 2, x 1)",
        "unlabelled: 1 row left out: repeated (x 1)",
    )


# --- the rows


def test_domains_get_the_numbers_of_the_labelled_data() -> None:
    found = build([("y", "one"), ("y", "two")], labels=("a", "b", "c"), domains=("y",))
    chosen = choose_unlabelled(found.select([1, 0]), SPLITS).rows
    assert chosen.rows["text"][:] == ["two", "one"]
    assert (chosen.domains, chosen.labels) == (SPLITS.domains, SPLITS.labels)
    assert chosen.domain_ids.tolist() == [1, 1]
    assert chosen.label_ids_or_none.tolist() == [NO_LABEL, NO_LABEL], "labels are not looked at"


def test_unknown_domains_are_named() -> None:
    found = build([("y", "one"), ("z", "two"), ("yy", "three")], labels=(), domains=("y", "yy", "z"))
    with pytest.raises(DataError, match=r"labelled data does not have: 'yy' \(did you mean 'y'\?\), 'z'; it has x, y"):
        choose_unlabelled(found, SPLITS)
    assert len(choose_unlabelled(found.select([0]), SPLITS).rows) == 1, "without rows they do not matter"


def test_single_texts_do_not_go_with_pairs() -> None:
    pairs = load_domains({"text": ["a"], "other": ["b"], "domain": ["x"]}, text_pair="other", label=None)
    with pytest.raises(DataError, match=r"pairs of texts, while the labelled data has single texts"):
        choose_unlabelled(pairs, SPLITS)


def test_what_reads_labels_never_sees_such_rows() -> None:
    rows = SPLITS.train.followed_by(choose_unlabelled(build([("x", "new")], labels=()), SPLITS).rows)
    assert rows.label_ids_or_none.tolist() == [0, 1, NO_LABEL]
    for reads in (
        lambda: rows.label_ids,
        rows.count,
        lambda: few_shot(rows, shots=1),
        lambda: split_domains(rows),
    ):
        with pytest.raises(TrainingError, match="1 row without a label where labels are read"):
            reads()
    check_step_sizes(rows, 1)


def test_rows_behind_one_another() -> None:
    chosen = choose_unlabelled(build([("x", "new"), ("x", "train text"), ("y", "newer")], labels=()), SPLITS).rows
    both = SPLITS.train.select([1, 0]).followed_by(chosen)
    assert both.rows["text"][:] == ["other", "train text", "new", "newer"]
    assert both.domain_ids.tolist() == [1, 0, 0, 1]
    assert both.select([3, 0]).rows["text"][:] == ["newer", "other"]


# --- reading


def table(rows: int = 6) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"text {n}" for n in range(rows)], "domain": [DOMAINS[n % 2] for n in range(rows)]})


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "saved", "folder", "frame", "dict"])
def test_a_table_needs_text_and_domain_only(kind: str, tmp_path: Path) -> None:
    source: Any = tmp_path / f"r.{kind}"
    if kind == "csv":
        table().assign(label="").to_csv(source, index=False)
    elif kind == "jsonl":
        table().to_json(source, orient="records", lines=True)
    elif kind == "parquet":
        table().to_parquet(source)
    elif kind == "saved":
        datasets.DatasetDict({"test": datasets.Dataset.from_pandas(table())}).save_to_disk(str(source))
    elif kind == "folder":
        source.mkdir()
        table().to_csv(source / "train.csv", index=False)
        table()[:1].to_csv(source / "more.csv", index=False)
    else:
        source = table() if kind == "frame" else table().to_dict("list")
    data = load_domains(source, label=None, split="part", id="key")
    assert sorted(set(data.rows["text"][:])) == table()["text"].tolist()
    assert (data.labels, data.domains) == ((), DOMAINS)
    assert data.rows.column_names == ["id", "text", "label", "domain"]
    assert set(data.label_ids_or_none.tolist()) == {NO_LABEL}
    assert all(name.startswith("unlabelled/") for name in data.rows["id"][:])


def test_it_is_kept_apart_from_the_labelled_rows_of_the_same_table(tmp_path: Path) -> None:
    table().assign(label=["n", "n", "p"] * 2).to_csv(tmp_path / "r.csv", index=False)
    labelled = load_domains(tmp_path / "r.csv", cache=tmp_path / "cache")
    for _ in range(2):
        more = load_domains(tmp_path / "r.csv", label=None, cache=tmp_path / "cache")
        assert not set(more.rows["id"][:]) & set(labelled.rows["id"][:])
    assert len(list((tmp_path / "cache").glob("*-rows"))) == 2


def test_only_the_chosen_domains_are_read_and_some_may_have_no_text() -> None:
    data = load_domains(table().to_dict("list"), label=None, domains=["z", "y"])
    assert data.domains == ("z", "y")
    assert data.domain_ids.tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="no text of the domains z; the source has x, y"):
        load_domains(table().to_dict("list"), label=None, domains=["z"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a", " "], "domain": ["x", "y"]}, "column 'text': empty or null text .*: row#2"),
        ({"text": ["a", "b"], "domain": ["x", None]}, "column 'domain': empty or null domain .*: row#2"),
        ({"texts": ["a"], "domain": ["x"]}, "no column 'text' for text .did you mean 'texts'"),
        ({"text": [], "domain": []}, "no rows; expected text"),
    ],
)
def test_rows_that_cannot_be_used(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_domains(columns, label=None)


def test_errors_name_the_field(tmp_path: Path) -> None:
    config = DataConfig(format="synthetic", unlabelled=str(tmp_path / "more.csv"))
    with pytest.raises(DataError, match=r"^data\.unlabelled: .*more\.csv: no such file or folder"):
        prepare_data(config)
    table().to_csv(tmp_path / "more.csv", index=False)
    with pytest.raises(DataError, match=r"^data\.unlabelled: text of domains that .* does not have: 'x'"):
        prepare_data(config)


def write_extra(folder: Path, **lines: bytes) -> Path:
    for name, content in lines.items():
        domain, _, file = name.partition("__")
        (folder / domain).mkdir(exist_ok=True, parents=True)
        (folder / domain / file.replace("_gz", ".gz")).write_bytes(
            gzip.compress(content) if name.endswith("_gz") else content
        )
    return folder


@pytest.mark.parametrize("layout", ["auto", "amazon_reviews_extra"])
def test_reviews_one_a_line(layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = b"Title. a\tb &amp; c\n\xe9 one-byte\n \n"
    folder = write_extra(
        tmp_path, **{"books__review_positive_gz": lines, "kitchen_&_housewares__review_negative": b"bad\n"}
    )
    (folder / "books" / "notes").write_text("not read")
    with caplog.at_level(logging.WARNING, logger="hrkd.data"):
        data = load_domains(folder, format=layout, label=None)
    assert data.rows["text"][:] == ["Title. a b & c", "\u00e9 one-byte", "bad"]
    assert data.domains == ("books", "kitchen")
    assert data.rows["id"][0] == "unlabelled/books/review_positive.gz#1"
    assert caplog.messages == ["left out 1 row (no text): books/review_positive.gz:3"]
    with pytest.raises(DataError, match="unknown layout"):
        load_domains(folder)


@pytest.mark.parametrize("layout", ["auto", "fdu_mtl"])
def test_unlabelled_files_of_fdu(layout: str, tmp_path: Path) -> None:
    (tmp_path / "MR.task.train").write_bytes(b"1\tgood\n")
    (tmp_path / "MR.task.test").write_bytes(b"0\tbad\n")
    assert load_domains(tmp_path, format=layout, label=None).rows["text"][:] == ["good", "bad"]
    (tmp_path / "MR.task.unlabel").write_bytes(b"no\ttab \x96 here\n\nnext\n")
    data = load_domains(tmp_path, format=layout, label=None)
    assert data.rows["text"][:] == ["no\ttab \u2013 here", "next"]
    assert data.rows["id"][1] == "unlabelled/MR.task.unlabel#3"


def test_unlabelled_reviews_of_the_archive(tmp_path: Path) -> None:
    def review(body: str) -> str:
        return f"<review>\n<review_text>\n{body}\n</review_text>\n</review>\n"

    (tmp_path / "books").mkdir()
    for name in ("positive", "negative"):
        (tmp_path / "books" / f"{name}.review").write_text(review(name))
    assert load_domains(tmp_path, label=None).rows["text"][:] == ["negative", "positive"]
    (tmp_path / "books" / "unlabeled.review").write_text(review("more") + review("text"))
    assert load_domains(tmp_path, label=None).rows["text"][:] == ["more", "text"]


# --- what is told, and memory


def test_the_description_has_the_rows_and_what_is_left_out() -> None:
    found = [("x", "train text"), ("x", "new"), ("x", "new"), ("y", "a b c"), ("y", "a")]
    description = describe(SPLITS, unlabelled=choose_unlabelled(build(found, labels=()), SPLITS))
    rows = {(row["domain"], row["split"]): row for row in description.rows()}
    assert [rows[d, "unlabelled"]["rows"] for d in DOMAINS] == [1, 2]
    assert [rows[d, "unlabelled"]["left_out"] for d in DOMAINS] == [2, 0]
    assert rows["y", "unlabelled"]["words_max"] == 3
    assert rows["y", "unlabelled"]["label:n"] is rows["y", "unlabelled"]["balance"] is None
    assert rows["y", "train"]["left_out"] is None
    assert all(list(row) == list(rows["x", "train"]) for row in rows.values())
    assert description.overlaps == ()
    assert list(description.to_dict()["left_out"]) == [
        {"domain": "x", "why": "text also in train", "rows": 1},
        {"domain": "x", "why": "repeated", "rows": 1},
    ]


def test_python_memory_hardly_grows_with_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrkd.data.readers.text_files.BLOCK", 1 << 14)
    peaks = []
    for rows in (1_000, 1_000, 10_000):  # the first imports and warms up
        path = tmp_path / f"{rows}.csv"
        lines = (f"{'word ' * 60}{n % (rows - 9)},{'xy'[n % 2]}\n" for n in range(rows))
        path.write_text("text,domain\n" + "".join(lines))
        tracemalloc.start()
        chosen = choose_unlabelled(load_domains(path, label=None), SPLITS).rows
        SPLITS.train.followed_by(chosen).select(np.arange(5)[::-1])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / 9_000 < 120, "bytes a row; a text alone has 300"


# --- the real sets


def test_real_reviews_that_end_like_labelled_ones() -> None:
    data, more = load_domains(real("amazon_reviews")), load_domains(real("amazon_reviews_extra"), label=None)
    assert len(more) == 24_000
    chosen = choose_unlabelled(more, split_domains(data, sizes="paper"))
    copies = Counter[str]()
    for each in chosen.left_out:
        copies[each.domain] += each.rows * ("ending" in each.why)
    assert copies == {"books": 172, "dvd": 398, "electronics": 206, "kitchen": 71}


def test_real_unlabelled_files_of_fdu() -> None:
    data, more = load_domains(real("fdu_mtl")), load_domains(real("fdu_mtl"), label=None)
    assert len(more) == 30_475
    assert len(choose_unlabelled(more, split_domains(data)).rows) > 20_000
