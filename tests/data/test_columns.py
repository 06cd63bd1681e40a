"""Columns a chunk at a time: the same values, order and JSON as whole columns give."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkd.data.columns import chunks_of, firsts, integers, json_items, ranks_of, repeated, take, text_ranks

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@pytest.fixture
def rows() -> datasets.Dataset:
    columns = {"id": [f"r\u00e9#{n}" for n in range(2500)], "label": [n % 7 for n in range(2500)]}
    return datasets.Dataset.from_dict(columns)


@pytest.fixture(params=[3, 1000])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("hrkd.data.columns.CHUNK", request.param)
    return int(request.param)


def test_chunks_and_integers(rows: datasets.Dataset, chunk: int) -> None:
    for some in (rows, take(rows, np.arange(2499, 0, -3)), rows.select([])):
        parts = list(chunks_of(some, "id", "label"))
        assert [name for part in parts for name in part["id"]] == some["id"][:]
        assert all(len(part["id"]) <= chunk for part in parts)
        assert integers(some, "label").tolist() == some["label"][:]


@pytest.mark.parametrize("separator", [", ", ",\n"])
def test_pieces_are_the_json_of_the_whole(rows: datasets.Dataset, chunk: int, separator: str) -> None:
    for some in (rows, rows.select(range(2)), rows.select([])):
        for name in ("id", "label"):
            whole = json.dumps(some[name][:], ensure_ascii=False, separators=(separator, ": "))
            assert f"[{''.join(json_items(some, name, separator))}]" == whole


@given(texts=st.lists(TEXTS, max_size=30), cut=st.integers(1, 7))
def test_ranks_have_the_order_of_the_texts(texts: list[str], cut: int) -> None:
    expected = [sorted(set(texts)).index(text) for text in texts]
    assert ranks_of(texts[n : n + cut] for n in range(0, len(texts), cut)).tolist() == expected
    assert text_ranks(pa.chunked_array([texts], pa.string())).tolist() == expected


@given(st.data())
def test_taking_rows_is_selecting_them(data: st.DataObject) -> None:
    rows = datasets.Dataset.from_dict({"n": range(12)})
    for _ in range(3):
        chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=12))
        expected = rows.select(chosen)["n"][:]
        rows = take(rows, np.array(chosen))
        assert rows["n"][:] == expected
        assert rows[[0]] == {"n": expected[:1]}


def test_rows_that_are_not_there() -> None:
    rows = datasets.Dataset.from_dict({"n": range(5)})
    for wrong in ([0, 5], [-1, 3]):
        with pytest.raises(IndexError):
            take(rows, np.array(wrong))
    assert len(take(rows, np.array([], dtype=np.int64))) == 0


def test_numbers_that_stand_in_several_rows_and_the_first_row_of_each():
    numbers = np.array([3, 1, 3, 0, 1, 5, 3])
    assert repeated(numbers).tolist() == [True, True, True, False, True, False, True]
    assert firsts(numbers, repeated(numbers)).tolist() == [0, 1]
    nothing = np.zeros(0, dtype=np.int64)
    assert firsts(nothing, repeated(nothing)).tolist() == []
