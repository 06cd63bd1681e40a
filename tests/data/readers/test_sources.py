"""load_domains: what it recognises, objects in memory, saved data sets and hub names."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from hrkd.data.readers.sources import load_domains
from sources import error

COLUMNS: dict[str, list[Any]] = {"text": ["fine", "bad"], "label": ["pos", "neg"], "domain": ["x", "y"]}
ROWS = [
    {"id": "row#1", "text": "fine", "label": 1, "domain": 0},
    {"id": "row#2", "text": "bad", "label": 0, "domain": 1},
]


def class_label_set(labels: list[int]) -> datasets.Dataset:
    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])}
    n = range(len(labels))
    columns = {"text": [f"t{i}" for i in n], "label": labels, "domain": [i % 2 for i in n]}
    features["domain"] = datasets.ClassLabel(names=["x", "y"])
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


# --- in memory


@pytest.mark.parametrize(
    "source",
    [
        COLUMNS,
        {name: np.array(values) for name, values in COLUMNS.items()},
        pd.DataFrame(COLUMNS, index=[7, 7]),
        pd.DataFrame(COLUMNS).astype("category"),
        datasets.Dataset.from_dict(COLUMNS),
        datasets.Dataset.from_dict(COLUMNS).with_format("numpy"),
    ],
    ids=["dict", "arrays", "frame", "categories", "dataset", "formatted"],
)
def test_objects_in_memory(source: Any) -> None:
    data = load_domains(source)
    assert list(data.rows) == ROWS
    assert (data.labels, data.domains) == (("neg", "pos"), ("x", "y"))
    assert load_domains(source, format="dataset" if isinstance(source, datasets.Dataset) else "table").domains


def test_frame_with_missing_values_and_whole_floats() -> None:
    frame = pd.DataFrame({"text": ["a", "b", None], "label": [1, 0, np.nan], "domain": ["x", "x", pd.NA]})
    assert load_domains(frame.iloc[:2]).labels == ("0", "1")
    lines = error(frame).split("\n")
    assert [line.split(":")[0] for line in lines] == ["column 'text'", "column 'label'", "column 'domain'"]
    assert all(line.endswith("in 1 row: row#3") for line in lines)


def test_nullable_integers() -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.array([1, 0], dtype="Int64"), "domain": ["x", "y"]})
    assert load_domains(frame).labels == ("0", "1")


def test_frame_with_a_column_twice() -> None:
    frame = pd.DataFrame([["a", "b", 1, "x"]], columns=["text", "text", "label", "domain"])
    assert error(frame) == "source: more than one column is called 'text'; rename the others"


def test_missing_column_in_memory() -> None:
    assert error({"texts": ["a"], "label": [0], "domain": ["x"]}).startswith(
        "source: no column 'text' for text (did you mean 'texts'?"
    )


@pytest.mark.parametrize("wrong", ["ab", {"a": 1, "b": 2}, {"a", "b"}, 3, iter("ab")])
def test_values_that_are_no_columns(wrong: Any) -> None:
    assert "expected a sequence of values for each column, got something else for text" in error(
        {**COLUMNS, "text": wrong}
    )


def test_columns_of_different_lengths() -> None:
    assert error({**COLUMNS, "text": ["a"]}) == "source: columns differ in length: text 1, label 2, domain 2"


@pytest.mark.parametrize("source", [{}, pd.DataFrame(), datasets.Dataset.from_dict({})])
def test_nothing_in_memory(source: Any) -> None:
    assert "no column 'text'" in error(source)


def test_no_rows_in_memory() -> None:
    assert error(pd.DataFrame(COLUMNS).iloc[:0]) == "source: no rows; expected labelled text"


@pytest.mark.parametrize("source", [3, [COLUMNS], datasets.Dataset.from_dict(COLUMNS).to_iterable_dataset()])
def test_other_objects(source: Any) -> None:
    assert f"got {type(source).__name__}" in error(source)


def test_iterable_dataset_dict() -> None:
    parts = datasets.IterableDatasetDict({"train": datasets.Dataset.from_dict(COLUMNS).to_iterable_dataset()})
    assert "got IterableDatasetDict" in error(parts)


@pytest.mark.parametrize("layout", ["dataset", "mnli"])
def test_format_that_does_not_fit_the_object(layout: str) -> None:
    assert f"{layout!r} does not fit a DataFrame" in error(pd.DataFrame(COLUMNS), format=layout)


# --- data sets


def test_class_labels_become_names() -> None:
    data = load_domains(class_label_set([0, 1, 0]).select([2, 1]))
    assert (data.labels, data.domains) == (("neg", "pos"), ("x", "y"))
    assert data.rows["text"][:] == ["t2", "t1"]
    assert data.label_ids.tolist() == [1, 0]


def test_unlabelled_rows_of_a_class_label() -> None:
    assert error(class_label_set([0, -1, 1])) == (
        "column 'label': empty or null label (fill it in or remove the row) in 1 row: row#2"
    )


def test_keys_are_splits_and_ids() -> None:
    parts = datasets.DatasetDict({"train": class_label_set([0, 1]), "validation": class_label_set([1, 0])})
    data = load_domains(parts)
    assert data.rows["id"][:] == ["train#1", "train#2", "validation#1", "validation#2"]
    assert data.rows["split"][:] == ["train", "train", "dev", "dev"]


def test_split_column_goes_before_keys() -> None:
    part = class_label_set([0, 1]).add_column("part", ["train", "train"])
    assert load_domains(datasets.DatasetDict({"all": part}), split="part").rows["split"][:] == ["train", "train"]


def test_keys_that_are_no_splits() -> None:
    parts = datasets.DatasetDict({"train": class_label_set([0, 1]), "unsupervised": class_label_set([0, 1, 1])})
    assert error(parts) == ("column 'split': expected train, dev (or validation) and test, got 'unsupervised' (3 rows)")


@pytest.mark.parametrize("layout", ["auto", "dataset"])
def test_saved_folders(tmp_path: Path, layout: str) -> None:
    class_label_set([0, 1]).save_to_disk(str(tmp_path / "one"))
    assert load_domains(tmp_path / "one", format=layout).rows["id"][:] == ["row#1", "row#2"]
    datasets.DatasetDict({"train": class_label_set([0, 1]), "test": class_label_set([1, 0])}).save_to_disk(
        str(tmp_path / "parts")
    )
    data = load_domains(str(tmp_path / "parts"), format=layout)
    assert data.rows["split"][:] == ["train", "train", "test", "test"]
    assert data.labels == ("neg", "pos")


def test_damaged_saved_folder(tmp_path: Path) -> None:
    class_label_set([0, 1]).save_to_disk(str(tmp_path / "one"))
    (tmp_path / "one" / "state.json").unlink()
    assert f"{tmp_path / 'one'}: cannot be opened as a folder written by save_to_disk" in error(tmp_path / "one")


def test_a_folder_that_load_dataset_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        rows = [{"text": f"{name} {y}", "label": y, "domain": "x"} for y in (0, 1)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = load_domains(tmp_path / "set", format="dataset")
    assert data.rows["id"][:] == ["train#1", "train#2", "test#1", "test#2"]
    assert data.rows["text"][2] == "test 0"


@pytest.mark.parametrize("name", ["owner/name", "name"])
def test_hub_names_go_to_load_dataset(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    def load_dataset(path: str) -> datasets.DatasetDict:
        asked.append(path)
        return datasets.DatasetDict({"train": class_label_set([0, 1])})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load_domains(name).rows["split"][:] == ["train", "train"]
    assert asked == [name]


def test_failure_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load_dataset(path: str) -> None:
        raise ConnectionError(f"Couldn't reach {path!r}\nmore")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert error("owner/name") == (
        "owner/name: cannot be opened as a data set of the hub or a folder of data files (there is no local file or "
        "folder of that name): Couldn't reach 'owner/name'"
    )


# --- paths and formats


def test_relative_names_of_folders_are_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reviews").mkdir()
    Path("reviews/a.csv").write_text("text,label,domain\na,0,x\nb,1,y\n", encoding="utf-8")
    assert len(load_domains("reviews")) == 2
    assert len(load_domains("reviews/a.csv")) == 2


def test_missing_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").touch()
    assert error(tmp_path / "review.csv") == (
        f"{tmp_path / 'review.csv'}: no such file or folder (did you mean {tmp_path / 'reviews.csv'}?)"
    )
    for source in ("./name", "name.csv", "a/b/c", "/qq/name", Path("owner/name")):
        for layout in ("auto", "table", "dataset", "mnli"):
            assert "no such file or folder" in error(source, format=layout)


@pytest.mark.parametrize("how", ["table", "auto"])
def test_what_is_no_file(tmp_path: Path, how: str) -> None:
    os.mkfifo(tmp_path / "p.csv")
    (tmp_path / "d.csv").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.csv"))
    for name, kind in {"p.csv": "a pipe", "d.csv": "a device", "s.csv": "a socket"}.items():
        message = error(tmp_path / name, format=how)
        assert message.startswith(
            f"{tmp_path / name}: is {kind}, which cannot be read several times: write it to a file"
        )
        assert "--input -" in message
    (tmp_path / "l.csv").symlink_to("gone.csv")
    assert error(tmp_path / "l.csv", format=how).endswith(
        "is a link to gone.csv, which is not there; fetch what it leads to, or remove it"
    )


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "x" * 300, "a/" * 3000 + "b.csv"])
def test_names_that_no_file_can_have(name: str) -> None:
    assert "no file can be there: a " in error(name)
    assert "no file can be there: a " in error(Path(name), format="table")


def test_a_file_is_no_dataset_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert "this is a file; use format 'table'" in error(tmp_path / "a.csv", format="dataset")
    assert "format 'fdu_mtl' needs a folder" in error(tmp_path / "a.csv", format="fdu_mtl")


def test_unknown_layout_says_what_was_looked_for(tmp_path: Path) -> None:
    assert error(tmp_path).endswith("found nothing")
    (tmp_path / "a.txt").touch()
    (tmp_path / "b").mkdir()
    message = error(tmp_path)
    assert message.startswith(f"{tmp_path}: unknown layout; looked for tables (.csv, .tsv, .jsonl, .parquet)")
    for word in ("save_to_disk", "*/positive.review", "*.task.train", "dev_matched*.tsv"):
        assert word in message
    assert message.endswith("found a.txt, b/")


def test_nothing_to_load_and_unknown_format() -> None:
    assert "a synthetic corpus is generated" in error(None, format="synthetic")
    assert "a synthetic corpus is generated" in error(None)
    assert error(COLUMNS, format="csv").startswith("format: expected auto, table, dataset, amazon_reviews")


def test_chosen_domains() -> None:
    data = load_domains({"text": list("abc"), "label": [0, 1, 0], "domain": list("xyz")}, domains=["y", "x"])
    assert data.domains == ("y", "x")
    assert data.domain_ids.tolist() == [1, 0]


# --- arguments


@pytest.mark.parametrize("role", ["text", "domain"])
@pytest.mark.parametrize("wrong", [None, ["a"], b"text", 1.5, ("a", "b"), True])
def test_names_of_columns_that_are_none(role: str, wrong: Any) -> None:
    message = error(COLUMNS, **{role: wrong})
    assert message.startswith(f"{role}: expected the name of a column, got {wrong!r} ({type(wrong).__name__})")


@pytest.mark.parametrize("role", ["label", "text_pair", "split", "id"])
@pytest.mark.parametrize("wrong", [["a"], b"text", 1.5, ("a", "b")])
def test_names_of_columns_that_may_be_missing(role: str, wrong: Any) -> None:
    message = error(COLUMNS, **{role: wrong})
    assert message.startswith(f"{role}: expected the name of a column, got {wrong!r}")
    assert message.endswith(
        "MultiIndex to one string each" if isinstance(wrong, tuple) else "or None where there is none"
    )


@pytest.mark.parametrize("as_number", [int, np.int64])
def test_columns_whose_names_are_numbers(as_number: Any) -> None:
    frame = pd.DataFrame(COLUMNS).set_axis([0, 1, 2], axis=1)
    data = load_domains(frame, text=as_number(0), label=as_number(1), domain=as_number(2))
    assert list(data.rows) == ROWS
    assert list(load_domains(dict(enumerate(COLUMNS.values())), text=0, label=1, domain=2).rows) == ROWS
    assert "no column '3' for text" in error(frame, text=3, label=1, domain=2)


def test_frames_with_names_that_are_no_strings() -> None:
    frame = pd.DataFrame(COLUMNS)
    several = frame.set_axis(pd.MultiIndex.from_tuples([("a", c) for c in frame.columns]), axis=1)
    assert "no column 'text' for text" in error(several)
    assert "no column 'text' for text" in error(frame.rename(columns={"text": b"text"}))
    assert "more than one column is called '0'" in error(frame.assign(**{"0": "a"}).rename(columns={"text": 0}), text=0)


@pytest.mark.parametrize("domains", [5, {"x"}, [["x"]], [None], ["x", " x"], b"x", {}])
def test_domains_that_are_no_list_of_names(domains: Any) -> None:
    assert error(COLUMNS, domains=domains).startswith("domains: expected a list of different names, got ")


def test_domains_are_named_as_in_data() -> None:
    columns = COLUMNS | {"domain": [1.0, 2.0]}
    assert load_domains(columns | {"label": ["a", "b"], "domain": [1.0, 1]}, domains=np.array([1.0])).domains == ("1",)


@pytest.mark.parametrize("source", ["", " "])
def test_empty_source(source: str) -> None:
    assert error(source) == "source: expected a path or a name, got an empty string"


def test_cache_that_is_no_path(tmp_path: Path) -> None:
    assert "cache: expected the path of a folder, got 5" in error(COLUMNS, cache=5)
    pd.DataFrame(COLUMNS).to_csv(tmp_path / "r.csv", index=False)
    assert len(load_domains(tmp_path / "r.csv", cache=str(tmp_path / "cache"))) == 2


@pytest.mark.parametrize("make", [torch.tensor, np.array, pd.Series, list])
def test_tensors_hold_labels_and_domains(make: Any) -> None:
    data = load_domains({"text": ["a", "b", "c"], "label": make([2, 10, 2]), "domain": make([0.5, 1.0, 1.0])})
    assert (data.labels, data.domains) == (("2", "10"), ("0.5", "1"))
    assert load_domains({"text": ["a", "b"], "label": make([True, False]), "domain": ["x"] * 2}).labels == (
        "False",
        "True",
    )


def test_floats_of_few_bits_are_named_by_their_own_digits(tmp_path: Path) -> None:
    texts, numbers = ["a", "b"], np.array([0.1, 1e20], np.float32)
    table = pa.table({"text": texts, "label": pa.array(numbers), "domain": pa.array(numbers).dictionary_encode()})
    pq.write_table(table, tmp_path / "r.parquet")
    (tmp_path / "r.csv").write_text("text,label,domain\na,0.1,0.1\nb,1e+20,1e+20\n")
    frame = pd.DataFrame({"text": texts, "label": numbers, "domain": pd.Categorical(numbers)})
    columns = {"text": texts, "label": numbers, "domain": torch.tensor(numbers)}
    saved = datasets.Dataset.from_dict({"text": texts, "label": numbers, "domain": numbers})
    for source in (
        tmp_path / "r.parquet",
        tmp_path / "r.csv",
        frame,
        frame.astype({"label": "Float32"}),
        columns,
        saved,
    ):
        data = load_domains(source)
        assert data.labels == data.domains == ("0.1", "100000000000000000000")


def test_labels_of_many_digits() -> None:
    big = "1" * 4301
    assert load_domains(COLUMNS | {"label": [big, "2"]}).labels == ("2", big)
    assert load_domains(COLUMNS | {"label": [f"-{big}", "-2"]}).labels == (f"-{big}", "-2")
    message = error(COLUMNS | {"label": [10**4301, 2]})
    assert message.startswith(
        "column 'label': a number of more than 4,300 digits as label (write it as a string) in 1 row"
    )
    assert load_domains(COLUMNS | {"text": [10**4299, "b"]}).rows["text"][0] == str(10**4299)
