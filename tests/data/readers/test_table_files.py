"""CSV, TSV, JSON lines and Parquet, through load_domains: files with every quirk, byte by byte."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hrkd.data.readers.sources import load_domains
from sources import error

HEADER = b"text,label,domain\n"
GOOD = HEADER + b"fine,pos,x\nbad,neg,y\n"


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def texts(source: Path, **options: Any) -> list[str]:
    return list(load_domains(source, **options).rows["text"][:])


def ids(source: Path, **options: Any) -> list[str]:
    return list(load_domains(source, **options).rows["id"][:])


# --- CSV


def test_csv_quotes_line_breaks_and_words_that_look_like_nulls(tmp_path: Path) -> None:
    data = HEADER + b'"a, ""b""\nc",pos,x\n\nNA,neg,y\nnull,null,None\nnan,neg,x\n"",pos,x\n'
    path = write(tmp_path, "r.csv", data[: data.rindex(b'""')])
    loaded = load_domains(path)
    assert loaded.rows["text"][:] == ['a, "b"\nc', "NA", "null", "nan"]
    assert loaded.rows["id"][:] == ["r.csv#1", "r.csv#2", "r.csv#3", "r.csv#4"]
    assert loaded.labels == ("neg", "null", "pos")
    assert loaded.domains == ("None", "x", "y")
    assert error(write(tmp_path, "e.csv", data)).split("\n")[0].endswith("in 1 row: e.csv#5")


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n"), GOOD[:-1]])
def test_byte_order_mark_crlf_and_no_last_line_end(tmp_path: Path, data: bytes) -> None:
    assert texts(write(tmp_path, "r.csv", data)) == ["fine", "bad"]


def test_csv_gz(tmp_path: Path) -> None:
    assert ids(write(tmp_path, "r.csv.gz", GOOD)) == ["r.csv.gz#1", "r.csv.gz#2"]


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(GOOD)[:-12])
    assert "r.csv.gz: not a complete gzip file" in error(path)
    path.write_bytes(GOOD)
    assert error(path).endswith("(.gz), but it is not compressed: leave .gz out of its name")


def test_long_csv_field_and_the_limit_stays_as_it_was(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = write(tmp_path, "r.csv", GOOD + b"x" * (limit + 10) + b",pos,x\n")
    assert len(texts(path)[2]) == limit + 10
    assert csv.field_size_limit() == limit


def test_other_line_separators_and_control_characters_stay_in_the_text(tmp_path: Path) -> None:
    odd = "a\u0085b\u2028c\x1ad\x00e"
    path = write(tmp_path, "r.csv", GOOD + f"{odd},pos,x\n".encode())
    assert texts(path)[2] == odd


def test_ragged_csv_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "r.csv", HEADER + b'"a\nb",pos,x\nc,pos\nd,e,pos,x\nf,neg,x\n')
    message = error(path)
    assert message.startswith(
        "r.csv: the header has 3 fields, but not row #2 (line 4, 2 fields), #3 (line 5, 4 fields);"
    )
    assert "double quotes" in message


def test_every_csv_row_with_one_field_too_many(tmp_path: Path) -> None:
    message = error(write(tmp_path, "r.csv", HEADER + b"a,b,pos,x\n" * 7))
    assert "#5 (line 6, 4 fields), and 2 more" in message


@pytest.mark.parametrize(("data", "line"), [(b'"a"b,pos,x\nc,neg,y\n', 2), (b'a,pos,x\n"b,neg,y\n', 3)])
def test_bad_quoting(tmp_path: Path, data: bytes, line: int) -> None:
    assert f"r.csv: bad quoting in the row that ends at line {line}" in error(write(tmp_path, "r.csv", HEADER + data))


def test_semicolons_separate_fields_where_the_header_has_no_comma(tmp_path: Path) -> None:
    table = 'text;label;domain\n"a; b";pos;x\n"c, ""d""";neg;y\n'
    for header in (table, "\ufeff" + table, table.replace("text", '"text, of all"')):
        source = write(tmp_path, "r.csv", header.encode())
        dataset = load_domains(source, text="text, of all" if ", of" in header else "text")
        assert dataset.rows["text"][:] == ["a; b", 'c, "d"']
    assert "put texts that hold semicolons" in error(write(tmp_path, "r.csv", b"text;label;domain\na;b;pos;x\n"))


def test_other_separator(tmp_path: Path) -> None:
    message = error(write(tmp_path, "r.csv", GOOD.replace(b",", b"|")))
    assert "the header holds '|'" in message


@pytest.mark.parametrize(
    ("broken", "named", "encoding"),
    [
        (GOOD + b"caf\xe9,pos,x\nd\xe9j\xe0,neg,y\n", "line 4 (byte 0xe9), line 5 (byte 0xe9)", "WINDOWS-1252"),
        (GOOD.decode().encode("utf-16"), "in UTF-16", "UTF-16"),
    ],
)
def test_undecodable_lines(tmp_path: Path, broken: bytes, named: str, encoding: str) -> None:
    message = error(write(tmp_path, "r.csv", broken))
    assert message.startswith("r.csv: ")
    assert named in message
    assert f"iconv -f {encoding} -t UTF-8" in message


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.jsonl"])
def test_empty_files(tmp_path: Path, name: str) -> None:
    assert "the file is empty" in error(write(tmp_path, name, b"\n \n"))


def test_header_alone(tmp_path: Path) -> None:
    assert error(write(tmp_path, "r.csv", HEADER)) == "r.csv: no rows; expected labelled text"


# --- columns


def test_missing_columns_are_named_together(tmp_path: Path) -> None:
    message = error(write(tmp_path, "r.csv", b"Text,klass,area\na,b,c\n"), split="part")
    assert message.startswith("r.csv: no column 'text' for text (did you mean 'Text'? then set text to it);")
    assert "no column 'label' for label" in message
    assert "no column 'domain' for domain (add one that names the domain of each row" in message
    assert "no column 'part' for split" in message
    assert message.endswith("Columns found: Text, klass, area")


def test_columns_of_other_names(tmp_path: Path) -> None:
    path = write(tmp_path, "r.csv", b"n,q,a,klass,area,part\nk1,one,two,pos,x,train\nk2,three,four,neg,x,val\n")
    data = load_domains(path, text="q", text_pair="a", label="klass", domain="area", split="part", id="n")
    assert data.rows[1] == {"id": "k2", "text": "three", "text_pair": "four", "label": 0, "domain": 0, "split": "dev"}
    assert data.rows.column_names == ["id", "text", "text_pair", "label", "domain", "split"]


def test_a_needed_column_that_stands_there_twice(tmp_path: Path) -> None:
    path = write(tmp_path, "r.csv", b"text,text,label,domain,,\na,b,pos,x,1,2\n")
    assert error(path) == "r.csv: more than one column is called 'text'; rename the others"


def test_errors_name_the_users_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "r.csv", b"q,label,domain\n,pos,x\nb,neg,x\n")
    assert error(path, text="q") == (
        "column 'q': empty or null text (fill it in or remove the row) in 1 row: r.csv#1\n"
        "(rows are counted from 1, without the header)"
    )


# --- TSV


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    data = b'text\tlabel\tdomain\n"open\tpos\tx\n"a ""b"" c"\tneg\tx\r\n\nd\re\tpos\tx\n'
    path = write(tmp_path, "r.tsv", data)
    assert texts(path) == ['"open', '"a ""b"" c"', "d\re"]
    assert ids(path) == ["r.tsv#1", "r.tsv#2", "r.tsv#3"]


def test_ragged_tsv(tmp_path: Path) -> None:
    message = error(write(tmp_path, "r.tsv", b'text\tlabel\tdomain\na\tpos\tx\n"b\nc"\tneg\nd\tneg\tx\n'))
    assert message.startswith(
        "r.tsv: the header has 3 fields, but not row #2 (line 3, 1 fields), #3 (line 4, 2 fields);"
    )
    assert "in .tsv quotes have no meaning" in message


# --- files that were joined


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("kind", "separator"), [("csv", ","), ("tsv", "\t")])
def test_a_header_in_the_middle(tmp_path: Path, kind: str, separator: str, mark: str) -> None:
    data = (mark + GOOD.decode() * 2 + mark + "domain,text,label\nfine,pos,x\n").replace(",", separator)
    message = error(write(tmp_path, f"r.{kind}", data.encode()))
    where = "in row #3 (line 4), #6 (line 7); remove it"
    assert message == f"r.{kind}: the header comes once more, as in files that were joined, {where}"


def test_the_names_of_columns_in_a_row(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "p", "domain": "x"}, {"text": "\ufefftext", "label": "label", "domain": "domain"}]
    pd.DataFrame(rows).to_json(tmp_path / "r.jsonl", orient="records", lines=True)
    pd.DataFrame(rows).to_parquet(tmp_path / "r.parquet")
    for source, name in [(tmp_path / f"r.{kind}", f"r.{kind}") for kind in ("jsonl", "parquet")]:
        assert error(source) == f"{name}#2: the names of columns come once more; remove it"
    assert error(pd.DataFrame(rows)).startswith("row#2: the names of columns")
    rows[1]["label"] = "n"
    assert load_domains(pd.DataFrame(rows)).domains == ("domain", "x")


# --- JSON lines


def test_jsonl_missing_keys_are_null_and_only_lf_ends_a_line(tmp_path: Path) -> None:
    odd = json.dumps({"text": "a\u2028b\u0085c", "label": True, "domain": 3}, ensure_ascii=False).encode()
    good = odd + b'\r\n\n{"label": false, "domain": 3, "text": 12, "more": {"x": []}}\n'
    data = load_domains(write(tmp_path, "r.jsonl", good))
    assert data.rows["text"][:] == ["a\u2028b\u0085c", "12"]
    assert (data.labels, data.domains) == (("False", "True"), ("3",))
    message = error(write(tmp_path, "s.jsonl", good + b'{"text": "b", "domain": "x"}\n'))
    assert message == "column 'label': empty or null label (fill it in or remove the row) in 1 row: s.jsonl#3"


def test_lines_that_are_no_objects(tmp_path: Path) -> None:
    message = error(write(tmp_path, "r.jsonl", b'{"text": "a"}\n[1]\n\n{"text": \n'))
    assert message.startswith("r.jsonl: expected one JSON object a line, not so in line 2 (list), line 4 (")


def test_half_a_surrogate_in_jsonl(tmp_path: Path) -> None:
    path = write(tmp_path, "r.jsonl", b'{"text": "\\ud83d", "label": 0, "domain": "x"}\n')
    assert error(path).endswith("r.jsonl#1")


# --- Parquet


def test_parquet_with_categories_and_nulls(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"text": ["a", "b", None], "label": pd.Categorical(["p", "n", "p"]), "domain": [1.0, 1.0, 2.0]}
    )
    frame.iloc[:2].to_parquet(tmp_path / "r.parquet")
    data = load_domains(tmp_path / "r.parquet")
    assert (data.labels, data.domains) == (("n", "p"), ("1",))
    frame.to_parquet(tmp_path / "s.parquet")
    assert error(tmp_path / "s.parquet").endswith("in 1 row: s.parquet#3")


def test_parquet_in_a_folder_that_looks_like_a_partition(tmp_path: Path) -> None:
    folder = tmp_path / "domain=zzz"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1], "domain": ["x", "y"]}), folder / "r.parquet")
    assert load_domains(folder / "r.parquet").domains == ("x", "y")


def test_parquet_with_class_labels(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["pos", "neg"]),
            "domain": datasets.Value("string"),
        }
    )
    columns = {"text": ["a", "b"], "label": [0, 1], "domain": ["x", "x"]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(tmp_path / "r.parquet"))
    data = load_domains(tmp_path / "r.parquet")
    assert data.labels == ("neg", "pos")
    assert data.label_ids.tolist() == [1, 0]


def test_damaged_parquet(tmp_path: Path) -> None:
    assert "cannot be read as Parquet" in error(write(tmp_path, "r.parquet", b"PAR1 nothing PAR1"))


def test_bytes_are_no_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [b"a", b"b"], "label": [0, 1], "domain": ["x", "y"]}), tmp_path / "r.parquet")
    assert "a list, mapping or bytes where one text was expected in 2 rows" in error(tmp_path / "r.parquet")


# --- folders


def test_files_of_a_folder_in_sorted_order(tmp_path: Path) -> None:
    write(tmp_path, "b.csv", GOOD)
    write(tmp_path, "a.csv.gz", GOOD)
    write(tmp_path, "README.md", b"about")
    write(tmp_path, ".hidden.csv", b"junk")
    write(tmp_path, "sub/c.csv", GOOD)
    data = load_domains(tmp_path)
    assert data.rows["id"][:] == ["a.csv.gz#1", "a.csv.gz#2", "b.csv#1", "b.csv#2"]
    assert "split" not in data.rows.column_names


@pytest.mark.parametrize("dev", ["dev.csv", "validation.csv.gz", "val-00000-of-00001.csv"])
def test_file_names_say_the_split(tmp_path: Path, dev: str) -> None:
    for name in ("train.csv", "test.csv", dev):
        write(tmp_path, name, GOOD)
    data = load_domains(tmp_path)
    split_of = dict(zip(data.rows["id"][:], data.rows["split"][:], strict=True))
    assert split_of["train.csv#1"] == "train"
    assert split_of["test.csv#2"] == "test"
    assert split_of[f"{dev}#1"] == "dev"


def test_a_split_column_goes_before_file_names(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", b"text,label,domain,part\na,pos,x,train\nb,neg,x,test\n")
    write(tmp_path, "more.csv", b"text,label,domain,part\na,pos,x,dev\n")
    assert load_domains(tmp_path, split="part").rows["split"][:] == ["dev", "train", "test"]


def test_a_single_file_called_train_says_nothing(tmp_path: Path) -> None:
    assert "split" not in load_domains(write(tmp_path, "train.csv", GOOD)).rows.column_names


def test_some_files_named_after_splits(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "extra.csv"):
        write(tmp_path, name, GOOD)
    assert "named after a split (train, dev, test), but not extra.csv" in error(tmp_path)


def test_folders_that_cannot_be_one_table(tmp_path: Path) -> None:
    write(tmp_path, "mixed/a.csv", GOOD)
    write(tmp_path, "mixed/b.tsv", GOOD)
    assert "tables of several kinds (.csv, .tsv)" in error(tmp_path / "mixed")
    write(tmp_path, "twice/a.csv", GOOD)
    write(tmp_path, "twice/a.csv.gz", GOOD)
    assert "plain and compressed: a.csv, a.csv.gz" in error(tmp_path / "twice")
    write(tmp_path, "none/a.txt", GOOD)
    assert "no table directly in this folder" in error(tmp_path / "none", format="table")


def test_a_file_without_the_domain_column_is_named(tmp_path: Path) -> None:
    write(tmp_path, "books.csv", b"text,label\na,pos\n")
    write(tmp_path, "dvd.csv", b"text,label\na,neg\n")
    lines = error(tmp_path).split("\n")
    assert [line.split(":")[0] for line in lines] == ["books.csv", "dvd.csv"]
    assert all("add one that names the domain of each row" in line for line in lines)


@pytest.mark.parametrize("name", ["r.json", "r.parquet.gz", "r.xlsx"])
def test_files_that_are_no_tables(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, GOOD)
    assert "unknown kind of file" in error(path)
    assert "no table; expected .csv, .tsv, .jsonl, .parquet" in error(path, format="table")
