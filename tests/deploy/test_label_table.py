"""Labels for tables: columns stay as they are, rows that cannot be labelled are told, memory does not grow."""

import csv
import gzip
import json
import logging
import os
import tracemalloc
from decimal import Decimal
from functools import partial

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.label_table import Labelling, label_file, look_through, predict_file
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError


def relabel(predictor, source, target, *, batch_size=64, **how):
    """As :func:`predict_file`, in the place of what is there."""
    job = look_through(source, target, predictor.facts, Labelling(**how), overwrite=True)
    return label_file(predictor, job, target, batch_size=batch_size)


@pytest.fixture(scope="module")
def predictor(student, tokenizer):
    return Predictor(TorchEngine(student, tokenizer))


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
    relabel(predictor, source, target, domain="books")
    lines = [line.split("\t") for line in target.read_text().splitlines()]
    assert lines[0] == ["text", "nr", "label", "score"]
    assert [line[:2] for line in lines[1:]] == [['good "book', "01"], ["bad", "2"]]
    with pytest.raises(DataError, match=r"out.tsv: tabs or line breaks in row 2, which .tsv cannot hold"):
        relabel(predictor, write_csv(tmp_path / "in.csv"), target)
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
        ([{"text": "good"}], {"domain": "bok"}, r"unknown domain 'bok' \(did you mean 'books'\?\)"),
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
        ([{"text": "good", "label": "x"}], {"domain": "books"}, "has a column 'label' already.*--prefix predicted_"),
    ],
)
def test_bad_tables_name_file_column_and_row_and_leave_no_output(predictor, tmp_path, rows, options, words):
    earlier = "text,label,score\n"
    (tmp_path / "out.csv").write_text(earlier)
    with pytest.raises(DataError, match=f"(?s){words}"):
        relabel(predictor, write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv", **options)
    assert (tmp_path / "out.csv").read_text() == earlier
    assert len(list(tmp_path.iterdir())) == 2


def test_bad_file_names(predictor, tmp_path):
    source = write_csv(tmp_path / "in.csv")
    with pytest.raises(DataError, match="input and output are the same file"):
        predict_file(predictor, source, tmp_path / "." / "in.csv")
    with pytest.raises(DataError, match="input and output are the same file"):
        predict_file(predictor, source, tmp_path / "no folder yet" / ".." / "in.csv")
    with pytest.raises(DataError, match=r"out.xlsx: no table; expected .csv"):
        predict_file(predictor, source, tmp_path / "out.xlsx")
    with pytest.raises(DataError, match=r"missing\.csv"):
        predict_file(predictor, tmp_path / "missing.csv", tmp_path / "out.csv")
    long = "x" * 300 + ".csv"
    with pytest.raises(DataError, match="no file can be there: a name of 304 bytes"):
        predict_file(predictor, tmp_path / long, tmp_path / "out.csv")
    with pytest.raises(ArtifactError, match="cannot be written: a name of 304 bytes"):
        predict_file(predictor, source, tmp_path / long)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"is a pipe, which cannot be read several times.*\(--input -\)"):
        predict_file(predictor, tmp_path / "pipe.csv", tmp_path / "out.csv")
    with pytest.raises(ArtifactError, match=r"out.csv: cannot be written: .*in.csv is a file"):
        predict_file(predictor, source, source / "out.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ArtifactError, match="is a folder; name a file"):
        predict_file(predictor, source, tmp_path / "folder.csv")


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ((None, "out.csv"), {}, "input: expected the path of a table, got None"),
        (("in.csv", 3), {}, "output: expected the path of a table, got 3"),
        (
            ("in.csv", "out.csv"),
            {"domain": ["books"]},
            r"domain: expected the name of a domain, or None, got \['books'\]",
        ),
        (("in.csv", "out.csv"), {"text": 0, "domain": "books"}, "no column 0; found nr, text"),
        (("in.csv", "out.csv"), {"batch_size": 0}, "batch_size: expected a whole number from 1, got 0"),
    ],
)
def test_other_values_are_errors_that_name_the_argument(predictor, tmp_path, monkeypatch, given, options, words):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "in.csv")
    with pytest.raises(DataError, match=words):
        predict_file(predictor, *given, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_columns_that_the_output_cannot_hold_are_told_before_predicting(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "answers", lambda *_, **__: pytest.fail("predicted"))
    (tmp_path / "twice.csv").write_text("text,a,a\ngood,1,2\n")
    with pytest.raises(DataError, match="more than one column is called 'a'"):
        predict_file(predictor, tmp_path / "twice.csv", tmp_path / "out.jsonl", domain="books")
    (tmp_path / "mixed.jsonl").write_text('{"text": "good", "a": 1}\n{"text": "bad", "a": "x"}\n')
    with pytest.raises(DataError, match="holds values of several types"):
        predict_file(predictor, tmp_path / "mixed.jsonl", tmp_path / "out.parquet", domain="books")


def odd_table():
    """Arrow columns of kinds that are easily changed on the way."""
    when = pa.array([1, 1_234_567_891], pa.timestamp("ns"))
    return pa.table(
        {
            "text": ["good book", "bad film"],
            "domain": pa.array([1, 0], pa.int8()),
            "when": when,
            "zone": when.cast(pa.timestamp("us", "Europe/Berlin"), safe=False),
            "cat": pa.array(["u", "v"]).dictionary_encode(),
            "f32": pa.array([0.1, None], pa.float32()),
            "u8": pa.array([1, 255], pa.uint8()),
            "u64": pa.array([2**64 - 1, 0], pa.uint64()),
            "none": pa.nulls(2),
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int32())),
            "nested": pa.array([{"x": [1, None]}, None], pa.struct([("x", pa.list_(pa.int16()))])),
            "bytes": pa.array([b"\xff", None]),
            "broken": pa.array([b"\xff", b"a"]).view(pa.string()),
            "decimal": pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)),
            "large": pa.array(["a", None], pa.large_string()),
        },
        metadata={b"mine": b"kept"},
    )


def test_parquet_columns_go_through_untouched(predictor, tmp_path):
    table = odd_table()
    pq.write_table(table, tmp_path / "in.parquet")
    predict_file(predictor, tmp_path / "in.parquet", tmp_path / "out.parquet", domain="books", all_labels=True)
    found = pq.read_table(tmp_path / "out.parquet")
    stored = pq.read_table(tmp_path / "in.parquet")
    assert found.select(table.column_names).equals(stored)
    assert found.select(table.column_names).schema.equals(stored.schema, check_metadata=True)
    added = found.schema.names[len(table.column_names) :]
    assert added == ["label", "score", *(f"score_{name}" for name in predictor.engine.model.labels)]
    assert [found.schema.field(name).type for name in added] == [pa.string(), *[pa.float64()] * 4]


def test_features_of_data_sets_and_the_index_of_pandas_stay(predictor, tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "domain": datasets.ClassLabel(names=["music", "books"])}
    )
    rows = {"text": ["good", "bad", "a"], "domain": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "in.parquet")
    predict_file(predictor, tmp_path / "in.parquet", tmp_path / "out.parquet")
    again = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    assert {name: again.features[name] for name in features} == dict(features)
    assert again["label"] == [a["label"] for a in predictor(rows["text"], domain=["books", "music", "books"])]
    frame = pd.DataFrame({"text": rows["text"], "domain": "books"}, index=pd.Index(["x", "y", "z"], name="key"))
    frame.to_parquet(tmp_path / "frame.parquet")
    predict_file(predictor, tmp_path / "frame.parquet", tmp_path / "frame_out.parquet")
    found = pd.read_parquet(tmp_path / "frame_out.parquet")
    pd.testing.assert_frame_equal(found[["text", "domain"]], frame)


LINES = [
    '{"text": "good","n": 1.0, "big": 123456789012345678901234567890, "e": 1E3, "u": "caf\\u00e9", "o": {"a" : [1.0]}}',
    '{"text":"bad","odd":"\\ud83d"}   ',
    '  {"text": "a é", "f": 1e400, "domain": null}',
]


def test_json_lines_stay_as_they_are_spelt(predictor, tmp_path):
    (tmp_path / "in.jsonl").write_text("\n".join([LINES[0], "", *LINES[1:]]))
    predict_file(predictor, tmp_path / "in.jsonl", tmp_path / "out.jsonl", domain="books")
    found = (tmp_path / "out.jsonl").read_text().splitlines()
    for line, new, answer in zip(LINES, found, predictor(["good", "bad", "a é"], domain="books"), strict=True):
        assert new.startswith(line.strip()[:-1] + ', "label": ')
        assert json.loads(new)["label"] == answer["label"]


def test_json_lines_as_csv_keep_their_spelling(predictor, tmp_path):
    (tmp_path / "in.jsonl").write_text("\n".join([LINES[0], LINES[2], '{"text": "b", "t": true, "n": null}']))
    predict_file(predictor, tmp_path / "in.jsonl", tmp_path / "out.csv", domain="books")
    first, second, third = read_back(tmp_path / "out.csv")
    assert first | {"label": "", "score": ""} == {
        "text": "good",
        "n": "1.0",
        "big": "123456789012345678901234567890",
        "e": "1E3",
        "u": "café",
        "o": '{"a" : [1.0]}',
        "f": "",
        "domain": "",
        "t": "",
        "label": "",
        "score": "",
    }
    assert (second["f"], third["t"], third["n"]) == ("1e400", "true", "")


def test_what_a_format_cannot_hold_is_told_before_anything_is_predicted(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "answers", lambda *_, **__: pytest.fail("predicted"))
    pq.write_table(odd_table(), tmp_path / "in.parquet")
    pq.write_table(
        odd_table().drop_columns(["bytes", "broken"]).append_column("f", [[1.0, float("inf")]]),
        tmp_path / "inf.parquet",
    )
    pq.write_table(pa.table({"text": ["good", "bad"], "f": [1.0, float("nan")]}), tmp_path / "nan.parquet")
    many = '{"text": "good", "n": 1}\n' * 1500
    cases = {
        "big.jsonl": ('{"text": "good", "n": 9007199254740993}\n{"text": "bad", "n": 0.5}\n', "out.parquet"),
        "late.jsonl": (many + '{"text": "bad", "n": "x"}\n', "out.parquet"),
        "far.jsonl": (many.replace("1}", "9007199254740993}") + '{"text": "bad", "n": 0.5}\n', "out.parquet"),
        "half.jsonl": ('{"text": "good", "n": "\\ud83d"}\n', "out.parquet"),
        "struct.jsonl": ('{"text": "good", "n": {}}\n', "out.parquet"),
        "tabs.jsonl": (many + '{"text": "good", "n": "a\\tb"}\n', "out.tsv"),
        "twice.jsonl": ('{"text": "good", "n": 1, "n": 2}\n', "out.csv"),
        "inside.jsonl": ('{"text": "good", "n": {"a": 1, "a": 2}}\n', "out.parquet"),
        "in.parquet": (None, "out.csv"),
        "inf.parquet": (None, "out.jsonl"),
        "nan.parquet": (None, "out.jsonl"),
    }
    for name, (content, output) in cases.items():
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=rf"{output}: .*(write|keep the format)"):
            predict_file(predictor, tmp_path / name, tmp_path / output, domain="books")
        assert not (tmp_path / output).exists()


def test_types_of_all_chunks_make_those_of_parquet(predictor, tmp_path):
    rows = [{"text": "good", "n": 1, "s": {"a": 1}}] * 1200 + [{"text": "bad", "n": 2.5, "s": {"b": "x"}, "late": True}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    predict_file(predictor, tmp_path / "in.jsonl", tmp_path / "out.parquet", domain="books")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.schema.field("n").type == pa.float64()
    assert found.schema.field("s").type == pa.struct([("a", pa.int64()), ("b", pa.string())])
    assert found["late"].to_pylist() == [None] * 1200 + [True]


@pytest.mark.parametrize("output", ["out.csv", "out.tsv", "out.jsonl"])
def test_parquet_as_text(predictor, tmp_path, output):
    table = odd_table().drop_columns(["bytes", "broken"])
    pq.write_table(table, tmp_path / "in.parquet")
    predict_file(predictor, tmp_path / "in.parquet", tmp_path / output, domain="books")
    if output == "out.jsonl":
        first, second = read_back(tmp_path / output)
        assert (first["u64"], first["none"], second["f32"], first["map"]) == (2**64 - 1, None, None, [["a", 1]])
    else:
        separator = "\t" if output == "out.tsv" else ","
        quoting = csv.QUOTE_NONE if output == "out.tsv" else csv.QUOTE_MINIMAL
        with (tmp_path / output).open(newline="") as file:
            first, second = csv.DictReader(file, delimiter=separator, quoting=quoting)
        assert (first["u64"], first["none"], second["f32"], first["map"]) == (str(2**64 - 1), "", "", '[["a", 1]]')
    assert first["when"] == "1970-01-01 00:00:00.000000001"
    assert second["when"] == "1970-01-01 00:00:01.234567891"


def test_two_columns_of_one_name_stay_in_formats_that_take_them(predictor, tmp_path):
    (tmp_path / "in.csv").write_text("text,a,a\ngood,1,2\n")
    predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv", domain="books")
    assert (tmp_path / "out.csv").read_text().startswith("text,a,a,label,score\ngood,1,2,")
    pq.write_table(pa.Table.from_arrays([["good"], [1], [2]], names=["text", "a", "a"]), tmp_path / "in.parquet")
    predict_file(predictor, tmp_path / "in.parquet", tmp_path / "out.parquet", domain="books")
    assert pq.ParquetFile(tmp_path / "out.parquet").schema_arrow.names == ["text", "a", "a", "label", "score"]


@pytest.mark.parametrize("output", ["out.csv", "out.tsv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_without_rows_gives_one_without_rows(predictor, tmp_path, kind, output):
    source = tmp_path / f"in.{kind}"
    if kind == "parquet":
        pq.write_table(pa.schema([("text", pa.string()), ("domain", pa.string())]).empty_table(), source)
    else:
        source.write_text({"csv": "text,domain\n", "tsv": "text\tdomain\n", "jsonl": ""}[kind])
    assert predict_file(predictor, source, tmp_path / output) == 0
    columns = [] if kind == "jsonl" else ["text", "domain"]
    columns += ["label", "score"]
    if output == "out.parquet":
        schema = pq.read_schema(tmp_path / output)
        assert schema.names == columns
        assert [schema.field(name).type for name in ("label", "score")] == [pa.string(), pa.float64()]
    else:
        separator = "\t" if output == "out.tsv" else ","
        expected = "" if output == "out.jsonl" else separator.join(columns) + "\n"
        assert (tmp_path / output).read_text() == expected


MIXED = [
    {"text": "good", "domain": "books"},
    {"text": " ", "domain": "books"},
    {"text": "bad", "domain": "musik"},
    {"text": "bad", "domain": "music"},
    {"text": "bad", "domain": ""},
    {"text": "", "domain": "opera"},
]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("how", ["skip", "blank"])
def test_rows_that_cannot_be_labelled(predictor, tmp_path, caplog, name, how):
    source = write_csv(tmp_path / "in.csv", MIXED)
    with caplog.at_level(logging.WARNING, logger="hrkd"):
        assert predict_file(predictor, source, tmp_path / name, on_bad_row=how) == 2
    found = [{k: None if v == "" or v != v else v for k, v in row.items()} for row in read_back(tmp_path / name)]
    good = predictor(["good", "bad"], domain=["books", "music"])
    assert [(row["label"], float(row["score"])) for row in found if row["label"]] == [
        (answer["label"], pytest.approx(answer["score"], abs=1e-6)) for answer in good
    ]
    kept = [row for row in MIXED if how == "blank" or row in (MIXED[0], MIXED[3])]
    assert [row["text"] for row in found] == [row["text"] or None for row in kept]
    assert all(row["score"] is None for row in found if row["label"] is None)
    done = "left blank" if how == "blank" else "left out"
    assert f"in.csv: 4 rows {done}: 2 empty texts (row 2, 6), 1 unknown domain 'musik' (did you" in caplog.text
    assert "1 empty domain (row 5)" in caplog.text


def test_all_bad_rows_are_told_together_before_anything_is_predicted(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "answers", lambda *_, **__: pytest.fail("predicted"))
    rows = [{"text": "good", "domain": "books"}] * 2500 + MIXED
    with pytest.raises(DataError) as error:
        predict_file(predictor, write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv")
    assert str(error.value).splitlines()[:4] == [
        "in.csv: 4 rows cannot be labelled (rows are counted from 1, without the header):",
        "2 empty texts in column 'text': row 2,502, 2,506",
        "1 unknown domain 'musik' (did you mean 'music'?) in column 'domain': row 2,503; the model knows books, "
        "kitchen & housewares, music",
        "1 empty domain in column 'domain': row 2,505",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    with pytest.raises(DataError, match="on_bad_row: expected stop, skip or blank, got 'drop'"):
        predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv", on_bad_row="drop")


TOKENLESS = [
    {"text": "good", "domain": "books"},
    {"text": "\u200b", "domain": "music"},
    {"text": "\x01", "domain": "opera"},
    {"text": "bad", "domain": "music"},
]


@pytest.mark.parametrize("how", ["skip", "blank"])
def test_rows_without_tokens_are_bad_ones(predictor, tmp_path, caplog, how):
    source = write_csv(tmp_path / "in.csv", TOKENLESS)
    with caplog.at_level(logging.WARNING, logger="hrkd"):
        assert predict_file(predictor, source, tmp_path / "out.csv", on_bad_row=how) == 2
    labels = [row["label"] for row in read_back(tmp_path / "out.csv")]
    good = [each["label"] for each in predictor(["good", "bad"], domain=["books", "music"])]
    assert labels == (good if how == "skip" else [good[0], "", "", good[1]])
    assert "2 tokenless texts (row 2, 3)" in caplog.text


def test_rows_without_tokens_are_told_before_anything_is_predicted(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "answers", lambda *_, **__: pytest.fail("predicted"))
    rows = [{"text": "good", "domain": "books"}] * 2500 + TOKENLESS[:2]
    with pytest.raises(DataError, match=r"(?s)1 row cannot be labelled.*1 tokenless text in column 'text': row 2,502"):
        predict_file(predictor, write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_values_follow_the_rule_of_loading(new_student, tokenizer, tmp_path):
    numbered = Predictor(TorchEngine(new_student(domains=["1", "10", "2"]), tokenizer))
    frame = pd.DataFrame({"text": [1000, 1001, 1002], "domain": [1.0, 10.0, 2.0]})
    frame.to_csv(tmp_path / "in.csv", index=False)
    frame.to_parquet(tmp_path / "in.parquet")
    frame.to_json(tmp_path / "in.jsonl", orient="records", lines=True)
    expected = [answer["label"] for answer in numbered(["1000", "1001", "1002"], domain=["1", "10", "2"])]
    for kind in ("csv", "parquet", "jsonl"):
        relabel(numbered, tmp_path / f"in.{kind}", tmp_path / "out.csv")
        assert [row["label"] for row in read_back(tmp_path / "out.csv")] == expected
    relabel(numbered, tmp_path / "in.csv", tmp_path / "out.csv", domain=1)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        (["good", "", "bad", ""], ["good", "", "bad"]),
        (["", "good", "", "", "bad"], ["", "good", "", "", "bad"]),
        (["good", "bad", "", "", ""], ["good", "bad", "", ""]),
        (["good", '""', "bad"], ["good", "", "bad"]),
    ],
)
@pytest.mark.parametrize("how", ["stop", "blank", "skip"])
def test_blank_lines_of_a_single_column_are_rows(predictor, tmp_path, caplog, kind, lines, texts, how):
    if kind == "tsv":
        texts = [text or line for text, line in zip(texts, lines, strict=False)]
    (tmp_path / f"in.{kind}").write_text("\n".join(["text", *lines, ""]))
    options = {"domain": "books", "on_bad_row": how}
    call = partial(predict_file, predictor, tmp_path / f"in.{kind}", tmp_path / "out.csv", **options)
    empty = [n for n, text in enumerate(texts, 1) if not text]
    if how == "stop" and empty:
        with pytest.raises(DataError, match=f"empty texts? in column 'text': row {', '.join(map(str, empty))}\n"):
            call()
        return
    assert call() == len(texts) - len(empty)
    found = [(row["text"], bool(row["label"])) for row in read_back(tmp_path / "out.csv")]
    assert found == [(text, bool(text)) for text in texts if text or how == "blank"]


VIEWS = {
    "text": pa.array(["q", "r", None], pa.string_view()),
    "bytes": pa.array([b"q", b"r", None], pa.binary_view()),
    "struct": pa.array([{"a": "q"}, {"a": "r"}, None], pa.struct([("a", pa.string_view())])),
    "list": pa.array([["q"], ["r"], None], pa.list_(pa.string_view())),
    "list view": pa.array([[1], [2], None], pa.list_view(pa.int8())),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_views_go_through_where_rows_are_left_out(predictor, tmp_path, kind):
    own = pa.table({"text": pa.array(["", "good", None], pa.string_view()), "more": VIEWS[kind]})
    pq.write_table(own, tmp_path / "in.parquet")
    call = partial(relabel, predictor, tmp_path / "in.parquet", tmp_path / "out.parquet", domain="books")
    assert call(on_bad_row="skip") == 1
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(["text", "more"]).to_pylist() == own.to_pylist()[1:2]
    assert found.schema.field("more").type == pq.read_table(tmp_path / "in.parquet").schema.field("more").type
    assert call(on_bad_row="blank") == 1
    pq.write_table(own.slice(0, 1), tmp_path / "in.parquet")
    assert call(on_bad_row="skip") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


def test_what_is_wrong_with_the_data_leaves_no_journal(predictor, tmp_path, monkeypatch):
    write_csv(tmp_path / "in.csv", [{"text": "good", "domain": "books"}] * 1500)

    def fail(*_):
        if next(tmp_path.glob(".*.hrkd-journal")).stat().st_size > 1000:
            raise DataError("a fault")

    monkeypatch.setattr("hrkd.data.readers.table_writer._CsvWriter.lines", lambda *_: fail() or [])
    with pytest.raises(DataError, match="a fault"):
        predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_keys_that_come_twice_are_told_and_stay(predictor, tmp_path, caplog):
    line = '{"text": "bad", "x": 1, "text": "good", "x": 2}'
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n' + line + "\n")
    with caplog.at_level(logging.WARNING, logger="hrkd"):
        predict_file(predictor, tmp_path / "in.jsonl", tmp_path / "out.jsonl", domain="books")
    assert "in.jsonl: a key comes twice in line 2 ('text'): its last value counts" in caplog.text
    first, second = (tmp_path / "out.jsonl").read_text().splitlines()
    assert second.startswith(line[:-1])
    assert json.loads(first)["label"] == json.loads(second)["label"]


def test_what_is_written_as_another_format_is_read_back(new_student, tokenizer, tmp_path):
    of_truth = Predictor(TorchEngine(new_student(domains=["False", "True"]), tokenizer))
    (tmp_path / "in.jsonl").write_text('{"text": "good", "domain": true}\n{"text": "good", "domain": false}\n')
    predict_file(of_truth, tmp_path / "in.jsonl", tmp_path / "out.csv", prefix="first_")
    predict_file(of_truth, tmp_path / "out.csv", tmp_path / "again.csv")
    rows = read_back(tmp_path / "again.csv")
    assert [row["domain"] for row in rows] == ["true", "false"]
    assert all((row["label"], row["score"]) == (row["first_label"], row["first_score"]) for row in rows)
    numbered = Predictor(TorchEngine(new_student(domains=["0.1", f"{10**20}"]), tokenizer))
    own = pa.table({"text": ["good", "good"], "domain": pa.array([0.1, 1e20], pa.float32())})
    pq.write_table(own, tmp_path / "in.parquet")
    predict_file(numbered, tmp_path / "in.parquet", tmp_path / "n.csv", prefix="first_")
    predict_file(numbered, tmp_path / "n.csv", tmp_path / "n2.csv")
    assert [row["domain"] for row in read_back(tmp_path / "n2.csv")] == ["0.1", "1e+20"]


def of_columns(new_student, tokenizer, **options):
    model = new_student(**options)
    model.config.columns = {"text": "review", "text_pair": None, "label": "stars", "domain": "category"}
    return Predictor(TorchEngine(model, tokenizer))


def test_columns_are_the_models_own_unless_others_are_named(new_student, tokenizer, predictor, tmp_path):
    own = of_columns(new_student, tokenizer)
    rows = [{"review": "good", "category": "books", "text": "bad", "domain": "music"}]
    source = write_csv(tmp_path / "in.csv", rows)
    predict_file(own, source, tmp_path / "own.csv")
    predict_file(own, source, tmp_path / "named.csv", text="text", domain_column="domain")
    expected = predictor(["good", "bad"], domain=["books", "music"])
    for name, answer in zip(("own.csv", "named.csv"), expected, strict=True):
        (row,) = read_back(tmp_path / name)
        assert float(row["score"]) == pytest.approx(answer["score"], abs=1e-6)
    with pytest.raises(
        DataError, match=r"no column 'review' \(did you mean 'reviews'\?\); found reviews, category. 'rev"
    ):
        predict_file(own, write_csv(tmp_path / "in.csv", [{"reviews": "a", "category": "books"}]), tmp_path / "o.csv")
    with pytest.raises(DataError, match="'category' is what the table that the model was made from has"):
        predict_file(own, write_csv(tmp_path / "in.csv", [{"review": "a"}]), tmp_path / "o.csv")
    with pytest.raises(DataError, match=r"text_pair \(--pair-column\): the model was made from single texts; leave"):
        predict_file(own, source, tmp_path / "o.csv", text_pair="text")


def test_a_model_of_pairs_finds_its_second_texts(new_student, tokenizer, tmp_path):
    own = of_columns(new_student, tokenizer)
    own.engine.model.config.columns["text_pair"] = "answer"
    rows = [{"review": "good", "answer": "bad film", "category": "books"}]
    predict_file(own, write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv")
    (answer,) = own(["good"], text_pairs=["bad film"], domain="books")
    assert float(read_back(tmp_path / "out.csv")[0]["score"]) == pytest.approx(answer["score"], abs=1e-6)
    with pytest.raises(DataError, match="no column 'answer'"):
        predict_file(own, write_csv(tmp_path / "in.csv", [{"review": "a", "category": "books"}]), tmp_path / "o.csv")
    rows[0]["answer"] = ""
    with pytest.raises(DataError, match="1 empty second text in column 'answer': row 1"):
        predict_file(own, write_csv(tmp_path / "in.csv", rows), tmp_path / "o.csv")


def test_one_head_looks_for_no_domain(new_student, tokenizer, tmp_path):
    shared = Predictor(TorchEngine(new_student(heads="shared"), tokenizer))
    rows = [{"text": "good", "domain": "never heard of"}]
    assert relabel(shared, write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv") == 1
    assert relabel(shared, write_csv(tmp_path / "in.csv", [{"text": "good"}]), tmp_path / "out.csv") == 1
    with pytest.raises(DataError, match="1 unknown domain 'never heard of'"):
        relabel(shared, write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv", domain_column="domain")


def test_memory_does_not_grow_with_the_table(predictor, tmp_path, monkeypatch):
    """Never more than a few chunks of rows are held, whatever the format."""
    monkeypatch.setattr(Predictor, "answers", lambda self, asked, **_: np.full((len(asked.texts), 3), 1 / 3))
    text = "good " * 100
    for kind in ("csv", "jsonl"):
        peaks = []
        for rows in (1500, 4500):
            line = f"{text},books\n" if kind == "csv" else json.dumps({"text": text, "domain": "books"}) + "\n"
            (tmp_path / f"in.{kind}").write_text(("text,domain\n" if kind == "csv" else "") + line * rows)
            tracemalloc.start()
            relabel(predictor, tmp_path / f"in.{kind}", tmp_path / f"out.{kind}")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.2 * peaks[0]


def test_an_unwritable_folder_is_told_at_once(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ArtifactError, match=r"out\.csv: cannot be written: .* may not be written to"):
        predict_file(predictor, write_csv(tmp_path / "in.csv"), tmp_path / "out.csv")


def test_rows_that_a_quote_swallows_are_told(predictor, tmp_path, caplog):
    rows = ["text,domain", "good,books", '"bad,books', "good,music", 'bad",music', "good,books"]
    (tmp_path / "in.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"in\.csv: each of the lines 3 to 5 looks like a row"):
        predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv", on_bad_row="skip")
    (tmp_path / "quoted.tsv").write_text('text\tdomain\n"a ""good"" book"\tbooks\n')
    with caplog.at_level(logging.WARNING, logger="hrkd"):
        predict_file(predictor, tmp_path / "quoted.tsv", tmp_path / "out.csv")
    assert "quoted.tsv: 1 row with a field in quotes that doubles those inside" in caplog.text


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet", "out.tsv.gz"])
def test_a_table_is_replaced_only_where_that_is_asked_for(predictor, tmp_path, name):
    source = write_csv(tmp_path / "in.csv", [{"text": "good"}, {"text": "bad"}])
    (tmp_path / name).touch()
    predict_file(predictor, source, tmp_path / name, domain="books")
    found = (tmp_path / name).read_bytes()
    mine = tmp_path / f"mine-{name}"
    frame = pd.DataFrame({"text": ["good", "bad"], "label": ["pos", "pos"], "score": [1.0, 1.0]})
    write = {"out.csv": frame.to_csv, "out.tsv.gz": frame.to_csv, "out.parquet": frame.to_parquet}
    write.get(name, lambda path: frame.to_json(path, orient="records", lines=True))(mine)
    before = mine.read_bytes()
    with pytest.raises(ArtifactError, match=rf"mine-{name}: is there already; name another output, or .*--overwrite"):
        predict_file(predictor, source, mine, domain="books")
    assert mine.read_bytes() == before
    relabel(predictor, source, mine, domain="books")
    assert read_back(mine) == read_back(tmp_path / name) if "tsv" not in name else mine.read_bytes() != before
    assert (tmp_path / name).read_bytes() == found
