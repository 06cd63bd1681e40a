"""Labels for tables: columns stay as they are, rows that cannot be labelled are told, memory does not grow."""

import csv
import gzip
import json

import pandas as pd
import pytest

from hrkd.deploy.label_table import predict_file
from hrkd.deploy.predict import Predictor
from hrkd.errors import DataError


@pytest.fixture(scope="module")
def predictor(student, tokenizer):
    return Predictor(student, tokenizer)


ROWS = [
    {"nr": "007", "text": "good, book", "domain": "books", "note": "NA"},
    {"nr": "1", "text": 'a "very" bad\r\nsong', "domain": " music ", "note": ""},
    {"nr": "2", "text": "the plot\ris good", "domain": "kitchen & housewares", "note": "é"},
]


def write_csv(path, rows=ROWS):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_back(path):
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_dict("records")
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".jsonl" in path.name:
        return [json.loads(line) for line in data.decode().split("\n") if line]
    return list(csv.DictReader(data.decode().splitlines(keepends=True), strict=True))


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet", "new/out.csv.gz", "out.jsonl.gz"])
def test_tables_keep_their_columns_and_get_label_and_score(predictor, tmp_path, name):
    source, target = write_csv(tmp_path / "in.csv"), tmp_path / name
    assert predict_file(predictor, source, target) == 3
    found = read_back(target)
    assert [{k: row[k] for k in ROWS[0]} for row in found] == ROWS
    expected = predictor([row["text"] for row in ROWS], domain=[row["domain"].strip() for row in ROWS])
    assert [row["label"] for row in found] == [e["label"] for e in expected]
    assert [float(row["score"]) for row in found] == pytest.approx([e["score"] for e in expected], abs=1e-6)
    assert sorted(path.name for path in target.parent.iterdir() if path != source) == [target.name]


def test_tsv_goes_through_and_refuses_what_it_cannot_hold(predictor, tmp_path):
    source, target = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text('text\tnr\ngood "book\t01\nbad\t2\n')
    predict_file(predictor, source, target, domain="books")
    lines = [line.split("\t") for line in target.read_text().splitlines()]
    assert lines[0] == ["text", "nr", "label", "score"]
    assert [line[:2] for line in lines[1:]] == [['good "book', "01"], ["bad", "2"]]
    with pytest.raises(DataError, match=r"out.tsv: tabs or line breaks in row 2, which .tsv cannot hold"):
        predict_file(predictor, write_csv(tmp_path / "in.csv"), target)
    assert len(target.read_text().splitlines()) == 3


def test_json_values_keep_their_types(predictor, tmp_path):
    rows = [{"review": "good", "n": 1, "tags": ["x"], "none": None}, {"review": "bad", "n": 2.5, "odd": "\ud83d"}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    predict_file(predictor, tmp_path / "in.jsonl", tmp_path / "out.jsonl", domain="music", text="review")
    found = read_back(tmp_path / "out.jsonl")
    assert [{**row, "label": 0, "score": 0} for row in found] == [{**row, "label": 0, "score": 0} for row in rows]


def test_all_labels_and_prefix_and_pairs(predictor, tmp_path):
    rows = [{"text": "good", "second": "bad film", "label": "gold"}]
    options = {"domain": "books", "text_pair": "second", "all_labels": True, "prefix": "predicted_"}
    predict_file(predictor, write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv", **options)
    (found,) = read_back(tmp_path / "out.csv")
    (ranked,) = predictor(["good"], domain="books", text_pairs=["bad film"], all_labels=True)
    assert found["label"] == "gold"
    assert found["predicted_label"] == ranked[0]["label"]
    for each in ranked:
        assert float(found[f"predicted_score_{each['label']}"]) == pytest.approx(each["score"], abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{"txt": "good"}], {"domain": "books"}, r"in.csv: no column 'text' \(did you mean 'txt'\?\); found txt"),
        ([{"text": "good"}], {}, "in.csv: no column 'domain'; found text"),
        ([{"text": "good"}], {"domain": "bok"}, r"domain: unknown domain 'bok' \(did you mean 'books'\?\)"),
        (
            [{"text": "good", "domain": "books"}, {"text": "bad", "domain": "musik"}],
            {},
            r"in.csv: 1 row cannot be labelled .*\n1 unknown domain 'musik' \(did you mean 'music'\?\) in column "
            r"'domain': row 2; the model knows books, .*--on-bad-row skip",
        ),
        (
            [{"text": t, "domain": "books"} for t in ["good", "", " ", "bad"]],
            {},
            r"in.csv: 2 rows cannot be labelled .*\n2 empty texts in column 'text': row 2, 3\nMend",
        ),
        ([{"text": "good", "label": "x"}], {"domain": "books"}, "has a column 'label' already.*set prefix"),
    ],
)
def test_bad_tables_name_file_column_and_row_and_leave_no_output(predictor, tmp_path, rows, options, words):
    (tmp_path / "out.csv").write_text("earlier")
    with pytest.raises(DataError, match=f"(?s){words}"):
        predict_file(predictor, write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv", **options)
    assert (tmp_path / "out.csv").read_text() == "earlier"
    assert len(list(tmp_path.iterdir())) == 2


def test_bad_file_names(predictor, tmp_path):
    source = write_csv(tmp_path / "in.csv")
    with pytest.raises(DataError, match="input and output are the same file"):
        predict_file(predictor, source, tmp_path / "." / "in.csv")
    with pytest.raises(DataError, match=r"out.xlsx: no table; expected .csv"):
        predict_file(predictor, source, tmp_path / "out.xlsx")
    with pytest.raises(DataError, match=r"missing\.csv"):
        predict_file(predictor, tmp_path / "missing.csv", tmp_path / "out.csv")
    with pytest.raises(DataError, match="this folder cannot be made"):
        predict_file(predictor, source, source / "out.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is a folder; name a file"):
        predict_file(predictor, source, tmp_path / "folder.csv")


def test_columns_that_the_output_cannot_hold_are_told_before_predicting(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "answers", lambda *_, **__: pytest.fail("predicted"))
    (tmp_path / "twice.csv").write_text("text,a,a\ngood,1,2\n")
    with pytest.raises(DataError, match="more than one column is called 'a'"):
        predict_file(predictor, tmp_path / "twice.csv", tmp_path / "out.jsonl", domain="books")
    (tmp_path / "mixed.jsonl").write_text('{"text": "good", "a": 1}\n{"text": "bad", "a": "x"}\n')
    with pytest.raises(DataError, match="holds values of several types"):
        predict_file(predictor, tmp_path / "mixed.jsonl", tmp_path / "out.parquet", domain="books")
