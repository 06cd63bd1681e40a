"""A table at every width: as it is, transposed, or in pieces; every cell in full."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hrkd.support.text_table import PlainTable, beside_size

words = st.text(alphabet="abc", min_size=1, max_size=9)


def shown(table: PlainTable, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(table)
    return file.getvalue()


@given(st.integers(2, 12), st.integers(0, 8), st.integers(40, 120), st.sampled_from([1, 2]), st.data())
def test_every_word_stands_there_in_full(columns: int, rows: int, width: int, keys: int, data: st.DataObject) -> None:
    cells = st.lists(words, min_size=columns, max_size=columns).map(tuple)
    lines = tuple(data.draw(cells) for _ in range(rows))
    keys = min(keys, columns - 1)
    table = PlainTable("title", data.draw(cells), lines, ("a note",), keys)
    text = shown(table, width)
    found = text.split()
    assert all(word in found for line in (table.columns, *table.rows) for word in line)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


def test_pieces_repeat_the_columns_that_name_the_rows() -> None:
    columns = ("domain", "split", *(f"column{n}" for n in range(12)))
    rows = tuple(("books", part, *(f"{part}{n}" for n in range(12))) for part in ("train", "dev", "test"))
    text = shown(PlainTable("Title", columns, rows, ("note",), keys=2), 60)
    assert text.count("domain") == text.count("split") > 1
    assert text.count("Title") == text.count("note") == 1
    assert text.count("books") == 3 * text.count("domain")


@pytest.mark.parametrize("width", [10, 25])
def test_longer_words_than_the_width_are_broken(width: int) -> None:
    text = shown(PlainTable("", ("k", "v"), (("x" * 50, "y" * 50),)), width)
    assert (text.count("x"), text.count("y")) == (50, 50)
    assert max(map(len, text.splitlines())) <= width


def test_names_with_control_characters_are_shown_as_escapes():
    table = PlainTable("a\x07", ("domain", "b\x1b"), (("\x1b]0;x\x07", "1"),), ("nul\0",))
    assert table.to_markdown().splitlines() == [
        *(r"## a\x07", "", r"| domain | b\x1b |", "| --- | ---: |", r"| \x1b]0;x\x07 | 1 |"),
        *("", r"* nul\x00"),
    ]


@pytest.mark.parametrize(
    ("size", "told"),
    [(2.0, "2.0 times smaller than"), (4.1, "as large as"), (3.96, "as large as"), (5.0, "1.2 times as large as")],
)
def test_sizes_side_by_side(size, told):
    assert beside_size(size, 4.0) == told


def test_notes_are_not_as_narrow_as_the_table():
    note = "What is said below a small table is read as a line of text, and not as a column of three words each, or so."
    table = PlainTable("t", ("a", "b"), (("x", "1"),), (note,))
    assert max(map(len, shown(table, 240).splitlines())) == len(note[: note.rindex(" ", 0, 101)])
    assert all(len(line) <= 30 for line in shown(table, 30).splitlines())


def test_rows_that_say_nothing_in_a_later_piece_are_left_out():
    columns = ("model", *(f"domain number {i}" for i in range(6)))
    rows = (("rows", *"12", *"----"), ("student", *"345678"))
    lines = [line.split() for line in shown(PlainTable("t", columns, rows), 30).splitlines()]
    cells = [line for line in lines if line[:1] == ["rows"]]
    assert cells
    assert all({*line[1:]} != {"-"} for line in cells)
