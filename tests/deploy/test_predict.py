"""Labels for texts and for tables: equal to the model's own logits, in order, with errors that name the place."""

import csv
import gzip
import json
import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from hrkd.deploy.export import export_plain
from hrkd.deploy.label_table import predict_file
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError

TEXTS = [
    "good book",
    "the film is not very good a good plot",
    "bad",
    "a very very bad song is a bad song and more of it so",
]
DOMAINS = ["books", "music", "kitchen & housewares", "music"]


@pytest.fixture(scope="module")
def predictor(student, tokenizer):
    return Predictor(student, tokenizer)


@torch.no_grad()
def one_by_one(predictor, texts, domains, pairs=None):
    rows = []
    for i, (text, domain) in enumerate(zip(texts, domains, strict=True)):
        pair = pairs[i] if pairs else None
        inputs = predictor.tokenizer(text, pair, truncation=True, max_length=12, return_tensors="pt")
        logits = predictor.model(**inputs, domain_ids=torch.tensor([predictor.model.domains.index(domain)])).logits
        rows.append(logits.softmax(-1)[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_change_nothing_and_order_stays(predictor, batch_size):
    found = predictor.probabilities(TEXTS, domain=DOMAINS, batch_size=batch_size)
    np.testing.assert_allclose(found, one_by_one(predictor, TEXTS, DOMAINS), atol=1e-5)


def test_answers_have_the_shape_of_a_pipeline(predictor):
    answers = predictor(TEXTS, domain=DOMAINS)
    expected = one_by_one(predictor, TEXTS, DOMAINS)
    assert [a["label"] for a in answers] == [predictor.model.labels[c] for c in expected.argmax(1)]
    assert [a["score"] for a in answers] == pytest.approx(expected.max(1).tolist(), abs=1e-5)
    assert all(type(a["score"]) is float for a in answers)


def test_all_labels_are_ranked(predictor):
    answers = predictor(TEXTS, domain="music", all_labels=True)
    for ranked, best in zip(answers, predictor(TEXTS, domain="music"), strict=True):
        assert ranked[0] == best
        assert {each["label"] for each in ranked} == {"negative", "neutral", "positive"}
        scores = [each["score"] for each in ranked]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1)


def test_one_text_gives_a_list_of_one_and_none_gives_none(predictor):
    assert predictor("good book", domain="books") == predictor(["good book"], domain=["books"])
    assert predictor([], domain="books") == []


def test_the_domain_decides_the_head(predictor):
    found = predictor.probabilities(["good book"] * 3, domain=predictor.model.domains)
    assert np.abs(found[0] - found[1]).max() > 0.01
    assert np.abs(found[1] - found[2]).max() > 0.01


def test_pairs(predictor):
    pairs = ["bad film", "good", "the song is good", "bad"]
    found = predictor.probabilities(TEXTS, domain=DOMAINS, text_pairs=pairs, batch_size=2)
    np.testing.assert_allclose(found, one_by_one(predictor, TEXTS, DOMAINS, pairs), atol=1e-5)
    assert np.abs(found - predictor.probabilities(TEXTS, domain=DOMAINS)).max() > 0.01
    assert predictor("good", domain="books", text_pairs="bad")[0]["score"] > 0


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        (["good", " ", "bad", ""], {"domain": "books"}, "empty or broken text at index 1, 3;"),
        (["good", None], {"domain": "books"}, "text at index 1;"),
        (["good \ud83d"], {"domain": "books"}, "text at index 0;"),
        (["good"], {"domain": "books", "text_pairs": [" "]}, "text pair at index 0;"),
        (["good"], {"domain": "boks"}, r"unknown domain 'boks' \(did you mean 'books'\?\). The model knows books, kit"),
        (["good", "bad"], {"domain": ["books"]}, "2 texts but 1 domains"),
        (["good", "bad"], {"domain": "books", "text_pairs": ["bad"]}, "2 texts but 1 text_pairs"),
    ],
)
def test_unusable_input_is_named(predictor, texts, options, words):
    with pytest.raises(DataError, match=words):
        predictor(texts, **options)


def test_from_pretrained_is_the_same_model_and_quiet(predictor, student_folder, caplog):
    with caplog.at_level(logging.WARNING):
        loaded = Predictor.from_pretrained(student_folder, device="cpu")
    np.testing.assert_allclose(
        loaded.probabilities(TEXTS, domain=DOMAINS), predictor.probabilities(TEXTS, domain=DOMAINS), atol=1e-6
    )
    assert not loaded.model.training
    assert not caplog.records


def test_a_run_after_its_first_stage_has_no_student_yet(student, tmp_path):
    student.save_pretrained(tmp_path / "levels")
    with pytest.raises(ArtifactError, match=r"student is not finished yet; hrkd compress goes on"):
        Predictor.from_pretrained(tmp_path)


def test_other_folders_are_refused(student, student_folder, tokenizer, tmp_path):
    with pytest.raises(ArtifactError, match="no such folder"):
        Predictor.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(
        ArtifactError, match=r"config.json is missing; this is the folder of a run; its student is .*student"
    ):
        Predictor.from_pretrained(student_folder.parent)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ArtifactError, match=r"config.json is missing; found notes.txt"):
        Predictor.from_pretrained(tmp_path)
    student.to_plain("books").save_pretrained(tmp_path / "plain")
    with pytest.raises(
        ArtifactError, match=r"a plain bert model \(BertForSequenceClassification\); use it with transf"
    ):
        Predictor.from_pretrained(tmp_path / "plain")
    plain = export_plain(student_folder, tmp_path / "export")["music"]
    with pytest.raises(ArtifactError, match=f"an export of plain classifiers for each domain; take one of .*{plain}"):
        Predictor.from_pretrained(tmp_path / "export")
    student.save_pretrained(tmp_path / "bare")
    with pytest.raises(ArtifactError, match="tokenizer is missing"):
        Predictor.from_pretrained(tmp_path / "bare")


def test_damaged_folders_are_refused(student_folder, tmp_path):
    for name, damage, words in (
        ("cut", lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "is damaged"),
        ("lost", lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        ("json", lambda folder: (folder / "config.json").write_text("{"), "config.json: no JSON"),
    ):
        shutil.copytree(student_folder, tmp_path / name)
        damage(tmp_path / name)
        with pytest.raises(ArtifactError, match=words):
            Predictor.from_pretrained(tmp_path / name)


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
    assert found[0] | {"label": 0, "score": 0} == rows[0] | {"odd": None, "label": 0, "score": 0}
    assert (found[1]["n"], found[1]["odd"]) == (2.5, "\ud83d")


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
            r"in.csv: unknown domain 'musik' \(did you mean 'music'\?\) in column 'domain', row 2. The model",
        ),
        (
            [{"text": t, "domain": "books"} for t in ["good", "", " ", "bad"]],
            {},
            r"in.csv: empty or broken text in column 'text' of row 2, 3 \(counted",
        ),
        ([{"text": "good", "label": "x"}], {"domain": "books"}, "has a column 'label' already.*set prefix"),
    ],
)
def test_bad_tables_name_file_column_and_row_and_leave_no_output(predictor, tmp_path, rows, options, words):
    (tmp_path / "out.csv").write_text("earlier")
    with pytest.raises(DataError, match=words):
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
    monkeypatch.setattr(Predictor, "probabilities", lambda *_, **__: pytest.fail("predicted"))
    (tmp_path / "twice.csv").write_text("text,a,a\ngood,1,2\n")
    with pytest.raises(DataError, match="more than one column is called 'a'"):
        predict_file(predictor, tmp_path / "twice.csv", tmp_path / "out.jsonl", domain="books")
    (tmp_path / "mixed.jsonl").write_text('{"text": "good", "a": 1}\n{"text": "bad", "a": "x"}\n')
    with pytest.raises(DataError, match="holds values of several types"):
        predict_file(predictor, tmp_path / "mixed.jsonl", tmp_path / "out.parquet", domain="books")
