"""Findings of ``hrkd check`` as lines."""

from hrkd.data.health.finding import Finding
from hrkd.report.findings import findings_lines


def test_how_rows_are_counted_is_said_of_a_row_that_is_named_and_only_then():
    named = Finding("D201", "1 row with an empty text: rows.csv.gz#401")
    unnamed = Finding("D402", "an accuracy of 80.0 % has an interval")
    assert "(rows.csv.gz#401 is row 401 below the header)" in list(findings_lines("my.yaml", [unnamed, named], {}))
    assert not any("header" in line for line in findings_lines("my.yaml", [unnamed], {}))
    of_lines = Finding("D201", "1 row with an empty text: rows.jsonl#401")
    assert not any("header" in line for line in findings_lines("my.yaml", [of_lines], {}))
