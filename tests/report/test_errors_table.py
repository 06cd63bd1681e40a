"""Rows that models get wrong, on terminals of two widths."""

import io

import pandas as pd
from rich.console import Console

from hrkd.report.errors import errors_table

TEXT = "the cord was much too short for my kitchen, and the lid would not close at all, whatever I tried"


def written(width):
    row = {"kind": "lost", "label": "bad [b]", "teacher": "bad [b]", "student": "good", "text": TEXT}
    row |= {"teacher_confidence": 0.91, "student_confidence": 0.88}
    rows = [{"id": f"reviews.csv#{place}", "domain": "kitchen"} | row for place in (7, 8)]
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=True, color_system=None).print(
        errors_table(pd.DataFrame(rows), limit=1)
    )
    return stream.getvalue()


def test_a_wide_terminal_gets_a_table():
    assert any("reviews.csv#7" in line and TEXT in line for line in written(200).splitlines())


def test_on_a_narrow_one_a_text_stands_below_its_row_as_wide_as_there_is_room():
    lines = [line.rstrip() for line in written(80).splitlines()]
    start = lines.index("kitchen, reviews.csv#7: teacher alone right")
    assert lines[start + 1] == "  label bad [b]; teacher bad [b] (91.0); student good (88.0)"
    assert " ".join(line.strip() for line in lines[start + 2 : start + 4]) == TEXT
    assert "1 more: --limit shows more of each domain, --output writes all." in lines
    assert max(map(len, lines)) <= 80


def test_no_rows_are_a_table_without_any():
    stream = io.StringIO()
    nothing = pd.DataFrame(columns=["id", "domain", "kind", "label", "teacher", "student", "text"])
    Console(file=stream, width=80).print(errors_table(nothing, limit=1))
    assert "0 test rows" in stream.getvalue()
