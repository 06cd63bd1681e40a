"""Files that are something else than their names say, texts in other encodings, and Parquet with faults."""

from __future__ import annotations

import bz2
import decimal
import gzip
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from hrkd.data.readers.sources import load_domains
from sources import error

FRAME = pd.DataFrame({"text": [f"text {n}" for n in range(20)], "label": ["p", "n"] * 10, "domain": ["x"] * 20})
TEXT = FRAME.to_csv(index=False).encode()


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(FRAME), sink)
    return sink.getvalue().to_pybytes()


def other_kinds(folder: Path) -> dict[str, bytes]:
    kinds = {
        "a Parquet file": parquet(),
        "compressed with gzip": gzip.compress(TEXT),
        "compressed with xz": lzma.compress(TEXT),
        "compressed with bzip2": bz2.compress(TEXT),
        "compressed with Zstandard": pa.compress(TEXT, codec="zstd", asbytes=True),
        "a 7-Zip archive": b"7z\xbc\xaf\x27\x1c\x00\x04" + b"\x01" * 40,
        "a file of old Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500,
        "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "a web page": b"\n<!DOCTYPE html><html><body>Not found</body></html>",
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }
    for protocol in (2, 4, 5):
        kinds[f"a pickle of Python{chr(0) * protocol}"] = pickle.dumps(FRAME.to_dict("list"), protocol=protocol)
    pyarrow.feather.write_feather(FRAME, str(folder / "f"))
    kinds["an Arrow (Feather) file"] = (folder / "f").read_bytes()
    with sqlite3.connect(folder / "d") as base:
        base.execute("create table t (a)")
    base.close()
    kinds["an SQLite database"] = (folder / "d").read_bytes()
    for name, inside in {
        "an Excel file": "xl/workbook.xml",
        "a Word document": "word/a.xml",
        "a zip archive": "a.csv",
    }.items():
        with zipfile.ZipFile(folder / "z", "w") as archive:
            archive.writestr("[Content_Types].xml", "x")
            archive.writestr(inside, "x")
        kinds[name] = (folder / "z").read_bytes()
    return kinds


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.jsonl", "r.parquet", "r.csv.gz"])
def test_other_kinds_under_the_name_of_a_table(tmp_path: Path, name: str) -> None:
    for kind, data in other_kinds(tmp_path).items():
        own = {"r.parquet": "a Parquet file", "r.csv.gz": "compressed with gzip"}.get(name)
        if kind == own:
            continue
        (tmp_path / name).write_bytes(data)
        message = error(tmp_path / name)
        assert kind.rstrip("\0") in message
        assert "iconv" not in message
        assert "\n" not in message


def test_other_kinds_that_are_compressed(tmp_path: Path) -> None:
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(parquet()))
    assert "r.csv.gz: what is packed in it is no text but a Parquet file; unpack it, then" in error(
        tmp_path / "r.csv.gz"
    )


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.parquet"])
def test_tables_in_a_tar_archive(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.csv").write_bytes(TEXT)
    with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as archive:
        archive.add(tmp_path / "in.csv", "in.csv")
    message = error(tmp_path / name)
    assert "a tar archive" in message
    assert message.endswith("unpack it")
    assert "iconv" not in message


def test_texts_under_the_name_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "r.parquet").write_bytes(TEXT)
    assert error(tmp_path / "r.parquet").endswith(
        "named as Parquet, but it is something else: let its name end in what it is, or write it again"
    )
    (tmp_path / "r.jsonl").write_bytes(json.dumps(FRAME.to_dict("records"), indent=1).encode())
    assert "the file is one JSON array: write an object a line" in error(tmp_path / "r.jsonl")
    (tmp_path / "e.parquet").touch()
    assert "the file is empty" in error(tmp_path / "e.parquet")
    (tmp_path / "e.csv.gz").touch()
    assert "the file is empty" in error(tmp_path / "e.csv.gz")


# --- encodings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.csv.gz"])
def test_wide_encodings_are_named_and_the_advice_is_right(tmp_path: Path, encoding: str, name: str) -> None:
    data = FRAME.to_json(orient="records", lines=True) if "jsonl" in name else TEXT.decode()
    data = data.replace("text 7", "caf\u00e9 \u4e2d\u6587")
    raw = data.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    message = error(tmp_path / name)
    assert f"the file is in {encoding.upper().replace('-LE', 'LE').replace('-BE', 'BE')}, expected UTF-8" in message
    named = message.rpartition("iconv -f ")[2].split()[0]
    assert raw.decode(named) == data


def lines(words: list[str]) -> str:
    return "text,label,domain\n" + "".join(f"a {word} here,{'pn'[n % 2]},x\n" for n, word in enumerate(words))


WORDS = {
    "cp1252": ["caf\u00e9", "\u201cd\u00e9j\u00e0\u201d", "na\u00efve", "\u20ac5", "it\u2019s", "Stra\u00dfe"],
    "latin-1": ["caf\u00e9", "\u00fcber", "se\u00f1or", "\u00c5ngstr\u00f6m", "\u00bfqu\u00e9?"],
    "koi8-r": ["\u0445\u043e\u0440\u043e\u0448\u043e", "\u043f\u043b\u043e\u0445\u043e"],
    "cp1251": ["\u0445\u043e\u0440\u043e\u0448\u043e", "\u0438", "\u043f\u043b\u043e\u0445\u043e"],
    "shift_jis": ["\u30c6\u30b9\u30c8", "\u6620\u753b"],
    "euc_jp": ["\u30c6\u30b9\u30c8", "\u6620\u753b"],
    "gbk": ["\u7535\u5f71", "\u597d"],
    "big5": ["\u96fb\u5f71", "\u597d"],
    "euc_kr": ["\uc601\ud654", "\uc88b\ub2e4"],
    "cp1250": ["dobr\u00fd", "ksi\u0105\u017cka", "by\u0142o"],
    "cp1254": ["\u015feker", "ya\u011fmur", "\u0131\u015f\u0131k"],
    "iso8859_7": ["\u03ba\u03b1\u03bb\u03cc"],
    "mac_roman": ["caf\u00e9", "\u00fcber"],
    "cp850": ["caf\u00e9", "\u00fcber"],
}


@pytest.mark.parametrize("encoding", WORDS)
def test_an_encoding_is_named_only_where_it_is_right(tmp_path: Path, encoding: str) -> None:
    text = lines(WORDS[encoding])
    (tmp_path / "r.csv").write_bytes(text.encode(encoding))
    message = error(tmp_path / "r.csv")
    assert "r.csv: not UTF-8 in line 2" in message
    assert ("iconv" in message) == (encoding in ("cp1252", "latin-1"))
    if "iconv" in message:
        named = message.partition("iconv -f ")[2].split()[0]
        assert text.encode(encoding).decode(named) == text
        assert WORDS[encoding][0] in message


def test_bad_bytes_in_utf_8_are_no_reason_to_convert(tmp_path: Path) -> None:
    good = lines(["caf\u00e9"] * 30).encode()
    broken = good.replace(b"\xc3\xa9", b"\xe9", 1)
    (tmp_path / "r.csv").write_bytes(broken)
    message = error(tmp_path / "r.csv")
    assert "not UTF-8 in line 2 (byte 0xe9); 29 other lines with such letters are UTF-8, so do not convert" in message
    assert "iconv" not in message


# --- Parquet


def write_parquet(path: Path, columns: dict[str, Any], metadata: Any = None) -> Path:
    table = pa.table({**FRAME.to_dict("list"), **columns})
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, path)
    return path


def features(**more: Any) -> str:
    return json.dumps({"info": {"features": {"text": {"dtype": "string", "_type": "Value"}, **more}}})


NAMES = {"names": ["neg", "pos"], "_type": "ClassLabel"}


def test_bytes_that_are_no_utf_8(tmp_path: Path) -> None:
    raw = pa.array([b"fine"] * 7 + [b"caf\xe9"] + [b"fine"] * 12)
    broken = pa.StringArray.from_buffers(20, raw.buffers()[1], raw.buffers()[2])
    path = write_parquet(tmp_path / "r.parquet", {"text": broken})
    assert error(path).startswith("r.parquet#8: not UTF-8 in the column 'text' (")
    assert len(load_domains(write_parquet(tmp_path / "s.parquet", {"other": broken}))) == 20


def test_numbers_without_a_name(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "r.parquet", {"label": [0, 1, 1, 2] * 5}, features(label=NAMES))
    assert error(path) == (
        "r.parquet#4: the number 2 in the column 'label' has no name: its ClassLabel has 2 (neg, pos), for the numbers "
        "from 0; correct the column, or its names"
    )
    path = write_parquet(
        tmp_path / "s.parquet", {"other": [7] * 20, "label": [1.0, 0.0] * 10}, features(label=NAMES, other=NAMES)
    )
    assert load_domains(path).labels == ("neg", "pos")


@pytest.mark.parametrize("feature", [{"_type": "FutureType"}, {"_type": "ClassLabel"}, "odd", None, ["x"]])
def test_features_of_other_columns_are_not_looked_at(tmp_path: Path, feature: Any) -> None:
    path = write_parquet(
        tmp_path / "r.parquet", {"label": [0, 1] * 10, "image": [b"x"] * 20}, features(label=NAMES, image=feature)
    )
    data = load_domains(path)
    assert (data.labels, data.notes) == (("neg", "pos"), ())


@pytest.mark.parametrize("metadata", ["not json", "[]", "{}", "null", '{"info": 3}', b"\xff"])
def test_metadata_that_cannot_be_read_is_told(tmp_path: Path, metadata: Any) -> None:
    data = load_domains(write_parquet(tmp_path / "r.parquet", {"label": [0, 1] * 10}, metadata))
    assert data.labels == ("0", "1")
    assert data.notes == (
        "r.parquet: its metadata of the datasets library cannot be read; numbers of classes stay numbers, without "
        "names",
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([decimal.Decimal("1.00"), decimal.Decimal("2.50")] * 10), ("1", "2.50")),
        (pa.array([True, False] * 10), ("False", "True")),
        (pa.array(["p", "n"] * 10).dictionary_encode(), ("n", "p")),
        (pa.array(["p", "n"] * 10, pa.large_string()), ("n", "p")),
        (pa.array(["p", "n"] * 10, pa.string_view()), ("n", "p")),
        (pa.array([np.float16(1), np.float16(2)] * 10, pa.float16()), ("1", "2")),
        (pa.array([1, 2**63] * 10, pa.uint64()), ("1", str(2**63))),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_kinds_of_columns(tmp_path: Path, labels: pa.Array, expected: tuple[str, ...]) -> None:
    assert load_domains(write_parquet(tmp_path / "r.parquet", {"label": labels})).labels == expected


def test_columns_with_dots_beside_nested_ones(tmp_path: Path) -> None:
    nested = [{"text": "inner", "label": 7}] * 20
    path = write_parquet(tmp_path / "r.parquet", {"m.text": [f"outer {n}" for n in range(20)], "m": nested})
    assert load_domains(path, text="m.text").rows["text"][1] == "outer 1"
    assert "a list, mapping or bytes where one text was expected" in error(path, text="m")


def test_null_columns_no_rows_and_times_beyond_the_calendar(tmp_path: Path) -> None:
    assert "empty or null label" in error(write_parquet(tmp_path / "n.parquet", {"label": pa.nulls(20)}))
    pq.write_table(pa.Table.from_pandas(FRAME)[:0], tmp_path / "z.parquet")
    assert error(tmp_path / "z.parquet") == "z.parquet: no rows; expected labelled text"
    late = pa.array([0] * 19 + [10**18], pa.timestamp("us"))
    assert error(write_parquet(tmp_path / "t.parquet", {"text": late})).startswith(
        "t.parquet#20: a value that cannot be read in the column 'text' ("
    )


def test_cut_and_encrypted_parquet(tmp_path: Path) -> None:
    (tmp_path / "r.parquet").write_bytes(parquet()[:-200])
    assert "cannot be read as Parquet: its end is missing" in error(tmp_path / "r.parquet")
    (tmp_path / "r.parquet").write_bytes(b"PARE" + parquet()[4:-4] + b"PARE")
    assert "an encrypted Parquet file" in error(tmp_path / "r.parquet")
    damaged = bytearray(parquet())
    damaged[20:400] = b"\x55" * 380
    (tmp_path / "r.parquet").write_bytes(bytes(damaged))
    assert "cannot be read" in error(tmp_path / "r.parquet")
