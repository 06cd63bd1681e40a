"""The size of a chunk decides nothing but memory, and memory does not grow with the text."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from hrkd.data.describe import describe
from hrkd.data.readers.sources import load_domains
from hrkd.data.splits.fewshot import few_shot
from hrkd.data.splits.split import split_domains
from hrkd.data.splits.split_files import save_split_ids
from hrkd.errors import DataError
from hrkd.run.prepare import PreparedData
from slow import slow

KINDS = ("csv", "csv.gz", "tsv", "jsonl", "parquet", "saved", "folder", "frame", "dict")


def frame(rows: int = 200) -> pd.DataFrame:
    """Rows with repeated texts, in two domains and labels."""
    rng = np.random.default_rng(0)
    texts = [f"text {n if n % 10 else n // 50}, \u00e9 {'w' * (n % 13)}" for n in range(rows)]
    return pd.DataFrame(
        {
            "key": [f"k{n}" for n in rng.permutation(rows)],
            "text": texts,
            "label": rng.choice(["pos", "neg"], rows),
            "domain": rng.choice(["x", "y"], rows),
        }
    )


def store(table: pd.DataFrame, kind: str, folder: Path) -> Any:
    path = folder / f"r.{kind}"
    if kind == "frame":
        return table
    if kind == "dict":
        return table.to_dict("list")
    if kind == "folder":
        path.mkdir()
        half = len(table) // 2
        table[:half].to_csv(path / "a.csv", index=False)
        table[half:].to_csv(path / "b.csv", index=False)
    elif kind == "saved":
        datasets.Dataset.from_pandas(table).save_to_disk(str(path))
    elif kind == "parquet":
        table.to_parquet(path)
    elif kind == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        quoting = csv.QUOTE_NONE if kind == "tsv" else csv.QUOTE_MINIMAL
        text = table.to_csv(index=False, sep="\t" if kind == "tsv" else ",", quoting=quoting)
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    return path


@pytest.fixture
def chunks_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_size(rows: int) -> None:
        for module in ("columns", "readers.parts", "readers.tables", "assembly"):
            monkeypatch.setattr(f"hrkd.data.{module}.CHUNK", rows)

    return set_size


def outcome(source: Any) -> Any:
    """All that comes of a source on the way to batches, as plain values; or the error."""
    try:
        data = load_domains(source, id="key")
    except DataError as error:
        return str(error)
    splits = split_domains(data, seed=1, dev=0.2, test=0.2)
    shot = few_shot(splits.train, fraction=0.3, seed=1)
    parts = [part.rows[:] for _, part in splits]
    return data.rows[:], data.labels, parts, splits.notes, shot.rows[:], describe(splits).to_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_a_chunk_changes_no_result(kind: str, tmp_path: Path, chunks_of: Callable[[int], None]) -> None:
    source = store(frame(), kind, tmp_path)
    chunks_of(3)
    small = outcome(source)
    chunks_of(1000)
    assert outcome(source) == small
    assert outcome(frame())[2:] == small[2:], "every kind of source gives the same"
    assert small[0]["text"] == frame()["text"].tolist()


def broken(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Tables with faults in rows that lie in different chunks."""
    for changes in (
        {"text": [3, 4, 9, 50, 51, 90, 180], "label": [199], "domain": [7, 8]},
        {"label": range(200)},
    ):
        faulty = table.copy()
        for column, rows in changes.items():
            faulty.loc[list(rows), column] = " "
        yield faulty
    yield table.assign(key=[f"k{n % 150}" for n in range(len(table))])
    yield table.assign(label="pos")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "saved", "folder"])
def test_the_size_of_a_chunk_changes_no_error(kind: str, tmp_path: Path, chunks_of: Callable[[int], None]) -> None:
    for number, faulty in enumerate(broken(frame())):
        (tmp_path / str(number)).mkdir()
        source = store(faulty, kind, tmp_path / str(number))
        chunks_of(3)
        small = outcome(source)
        chunks_of(1000)
        assert isinstance(small, str)
        assert outcome(source) == small


def test_faults_of_all_chunks_are_told_together(tmp_path: Path, chunks_of: Callable[[int], None]) -> None:
    chunks_of(3)
    *lines, last = outcome(store(next(broken(frame())), "csv", tmp_path)).split("\n")
    assert last == "(rows are counted from 1, without the header)"
    assert [line.split(": ", 2)[2] for line in lines] == [
        "r.csv#4, r.csv#5, r.csv#10, r.csv#51, r.csv#52, and 2 more",
        "r.csv#200",
        "r.csv#8, r.csv#9",
    ]


def test_unknown_splits_and_domains_of_all_chunks(tmp_path: Path, chunks_of: Callable[[int], None]) -> None:
    chunks_of(3)
    table = frame().assign(part=["train", "held", "out", "held"] * 50)
    source = store(table, "csv", tmp_path)
    with pytest.raises(DataError, match=r"got 'held' \(100 rows\), 'out' \(50 rows\)$"):
        load_domains(source, split="part")
    with pytest.raises(DataError, match=r"no rows of 'z'; the source has x, y$"):
        load_domains(source, domains=["x", "z"])
    assert load_domains(source, domains=["y"]).rows["text"][:] == table["text"][table["domain"] == "y"].tolist()


def test_ragged_rows_and_bad_quoting_in_later_chunks(tmp_path: Path, chunks_of: Callable[[int], None]) -> None:
    chunks_of(3)
    good = "text,label,domain\n" + "a,pos,x\n" * 10
    (tmp_path / "r.csv").write_text(good + "a,b\n" + "c,neg,x\n" * 5 + "a,b,c,d\n")
    with pytest.raises(DataError, match=r"not row #11 \(line 12, 2 fields\), #17 \(line 18, 4 fields\)"):
        load_domains(tmp_path / "r.csv")
    (tmp_path / "q.csv").write_text(good + 'a"b,neg,x\n"a"b,neg,x\n')
    with pytest.raises(DataError, match="bad quoting in the row that ends at line 13"):
        load_domains(tmp_path / "q.csv")


# --- the cache of rows


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder", "saved"])
def test_rows_are_read_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = store(frame(), kind, tmp_path)
    first = load_domains(source, id="key", cache=tmp_path / "cache")
    monkeypatch.setattr("hrkd.data.readers.sources.pick", None)
    again = load_domains(source, id="key", cache=tmp_path / "cache")
    assert (again.rows[:], again.labels, again.domains) == (first.rows[:], first.labels, first.domains)
    assert len(list((tmp_path / "cache").glob("*-rows"))) == 1


def test_what_decides_the_rows_decides_the_entry(tmp_path: Path) -> None:
    cache, table = tmp_path / "cache", frame()
    source = store(table, "csv", tmp_path)

    def entries() -> int:
        return len(list(cache.glob("*-rows")))

    load_domains(source, cache=cache)
    assert load_domains(source, id="key", cache=cache).rows["id"][0] == table["key"][0]
    assert load_domains(source, domains=["y"], cache=cache).domains == ("y",)
    assert entries() == 3
    (tmp_path / "folder").mkdir()
    moved = source.rename(tmp_path / "folder" / "train.csv")
    assert "split" not in load_domains(moved, cache=cache).rows.column_names
    assert load_domains(moved.parent, cache=cache).rows["split"][0] == "train"
    assert entries() == 5
    table.loc[0, "text"] = "another"
    table.to_csv(moved, index=False)
    assert load_domains(moved, cache=cache).rows["text"][0] == "another"
    assert entries() == 6


def test_objects_in_memory_and_faulty_tables_are_not_kept(tmp_path: Path) -> None:
    load_domains(frame(), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    with pytest.raises(DataError):
        load_domains(store(frame().assign(label="pos"), "csv", tmp_path), cache=tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*-rows")) == []


def test_measuring_and_training_share_what_is_kept(tmp_path: Path) -> None:
    cache, table = tmp_path / "cache", store(frame(), "csv", tmp_path)
    assert (
        load_domains(table, cache=cache, to_measure=True).rows.to_dict()
        == load_domains(table, cache=cache).rows.to_dict()
    )
    assert len(list(cache.glob("*-rows"))) == 1
    alike = store(frame().assign(label="pos"), "csv", tmp_path)
    load_domains(alike, cache=cache, to_measure=True)
    with pytest.raises(DataError, match="have the label 'pos'; a classifier needs two or more"):
        load_domains(alike, cache=cache)


# --- memory


def peak(source: Path, way: Callable[[Path], object]) -> int:
    """The most bytes of Python and numpy objects on a way from a table."""
    tracemalloc.start()
    try:
        way(source)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small tables of these tests have several blocks too."""
    monkeypatch.setattr("hrkd.data.readers.text_files.BLOCK", 1 << 14)


def to_splits(source: Path) -> None:
    splits = split_domains(load_domains(source), dev=0.1, test=0.1)
    few_shot(splits.train, shots=5)
    describe(splits)
    assert PreparedData(splits, splits).digest
    save_split_ids(splits, source.with_suffix(".json"))


@slow
@pytest.mark.usefixtures("small_blocks")
def test_python_memory_hardly_grows_with_rows_and_not_with_their_text(tmp_path: Path) -> None:
    peaks = []
    for rows in (2_000, 2_000, 20_000):  # the first imports and warms up
        path = tmp_path / f"{rows}.csv"
        lines = (f"{'word ' * 40}{n},{'np'[n % 2]},{'xy'[n // 2 % 2]}\n" for n in range(rows))
        path.write_text("text,label,domain\n" + "".join(lines))
        peaks.append(peak(path, to_splits))
    assert (peaks[2] - peaks[1]) / 18_000 < 80, "bytes a row; a text of this table alone has 200, and 250 as a string"


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet"])
def test_reading_other_kinds_takes_no_more(kind: str, tmp_path: Path) -> None:
    peaks = []
    for rows in (2_000, 2_000, 20_000):
        table = frame(rows).assign(text=[f"{'word ' * 40}{n}" for n in range(rows)]).drop(columns="key")
        folder = tmp_path / f"{rows}-{len(peaks)}"
        folder.mkdir()
        source = store(table, kind, folder)
        del table
        peaks.append(peak(source, load_domains))
    assert (peaks[2] - peaks[1]) / 18_000 < 10


# --- written in pieces


def test_the_digest_is_that_of_the_whole_content(chunks_of: Callable[[int], None]) -> None:
    splits = split_domains(load_domains(frame()), dev=0.2, test=0.2)
    parts = {name: {c: part.rows[c][:] for c in part.rows.column_names} for name, part in splits}
    content = json.dumps([splits.labels, splits.domains, parts], ensure_ascii=False, sort_keys=True)
    chunks_of(3)
    assert PreparedData(splits, splits).digest == hashlib.sha256(content.encode()).hexdigest()


def test_split_ids_are_written_as_one_json_text(tmp_path: Path, chunks_of: Callable[[int], None]) -> None:
    splits = split_domains(load_domains(frame()), dev=0.2, test=0.2)
    head: dict[str, Any] = {"format": "hrkd-splits", "version": 2}
    content = head | {name: part.rows["id"][:] for name, part in splits}
    hashes = {
        row["id"]: hashlib.blake2b(" ".join(row["text"].split()).encode(), digest_size=8).hexdigest()
        for _, part in splits
        for row in part.rows
    }
    content["texts"] = hashes
    chunks_of(3)
    save_split_ids(splits, tmp_path / "splits.json")
    assert (tmp_path / "splits.json").read_text() == json.dumps(content, indent=0) + "\n"
