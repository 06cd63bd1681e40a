"""Checks and numbering that every source shares."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hrkd.data.assembly import assemble
from hrkd.data.rows import RawRows
from hrkd.errors import DataError


def raw(*rows: tuple[Any, Any, Any], **columns: Any) -> RawRows:
    """Rows of (text, label, domain), with places f#1, f#2 ..."""
    text, label, domain = (list(column) for column in zip(*rows, strict=True))
    return RawRows([f"f#{n}" for n in range(1, len(rows) + 1)], text, label, domain, **columns)


def two(first: Any, second: Any) -> RawRows:
    return raw(("a", first, "x"), ("b", second, "x"))


def error(rows: RawRows, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        assemble([rows], **options)
    return str(caught.value)


def test_labels_and_domains_get_numbers_in_sorted_order() -> None:
    data = assemble([raw(("a", "pos", "dvd"), ("b", "neg", "books"), ("c", "pos", "books"))])
    assert data.labels == ("neg", "pos")
    assert data.domains == ("books", "dvd")
    assert data.label_ids.tolist() == [1, 0, 1]
    assert data.domain_ids.tolist() == [1, 0, 0]
    assert {name: str(value.dtype) for name, value in data.rows.features.items()} == {
        "id": "string", "text": "string", "label": "int64", "domain": "int64"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        (10, 9, ("9", "10")),
        ("10", "9", ("9", "10")),
        (-1, 1, ("-1", "1")),
        ("10", "x9", ("10", "x9")),
        (1.0, 2.5, ("1", "2.5")),
        ("1.0", 2, ("1", "2")),
        (np.float32(2.0), np.int64(1), ("1", "2")),
        (True, False, ("False", "True")),
        (np.True_, np.False_, ("False", "True")),
        (" pos", "neg\n", ("neg", "pos")),
        ("NA", "null", ("NA", "null")),
    ],
)
def test_label_names(first: Any, second: Any, labels: tuple[str, ...]) -> None:
    assert assemble([two(first, second)]).labels == labels


def test_1_and_1_point_0_are_one_label() -> None:
    data = assemble([raw(("a", "1.0", "x"), ("b", 1, "x"), ("c", "0", "x"))])
    assert data.label_ids.tolist() == [1, 1, 0]


def test_texts_stay_as_they_are_and_numbers_become_strings() -> None:
    data = assemble([raw((" a\n", 0, 7), (5.0, 1, 7), (3, 0, 7.0))])
    assert data.rows["text"][:] == [" a\n", "5.0", "3"]
    assert data.domains == ("7",)


@pytest.mark.parametrize("null", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, "", " \t"])
@pytest.mark.parametrize(("position", "column"), [(0, "text"), (1, "label"), (2, "domain")])
def test_empty_values_are_errors(null: Any, position: int, column: str) -> None:
    row = ["a", "pos", "x"]
    row[position] = null
    message = error(raw(("b", "neg", "x"), tuple(row)))  # type: ignore[arg-type]
    assert f"column '{column}': empty or null {column}" in message
    assert message.endswith("in 1 row: f#2")


def test_all_kinds_are_reported_together_with_five_rows_each() -> None:
    rows = raw(*[("", "pos", "x")] * 7, ("a", None, "x"), ("b", ["pos", "neg"], "x"), ("c", "neg", None))
    lines = error(rows).split("\n")
    assert len(lines) == 4
    assert "in 7 rows: f#1, f#2, f#3, f#4, f#5, and 2 more" in lines[0]
    assert "'label'" in lines[1]
    assert lines[1].endswith("f#8")
    assert "a list, mapping or bytes where one label was expected in 1 row: f#9" in lines[2]
    assert "'domain'" in lines[3]
    assert lines[3].endswith("f#10")


def test_second_texts_are_checked_too() -> None:
    assert "column 'text_pair': empty or null text_pair" in error(
        RawRows(["f#1"], ["a"], ["pos"], ["x"], text_pair=[None])
    )


def test_half_a_surrogate_pair_is_an_error() -> None:
    assert "surrogate pair) in text in 1 row: f#1" in error(raw(("\ud83d", "pos", "x"), ("b", "neg", "x")))


def test_one_class_is_an_error() -> None:
    assert "all 2 rows have the label 'pos'" in error(two("pos", "pos "))


def test_no_rows_is_an_error() -> None:
    assert "no rows" in error(RawRows([], [], [], []))


def test_chosen_domains_and_their_order() -> None:
    rows = raw(("a", "pos", "x"), ("", None, "y"), ("c", "neg", "z"), ("d", "pos", "z"))
    data = assemble([rows], ["z", "x"])
    assert data.domains == ("z", "x")
    assert data.rows["id"][:] == ["f#1", "f#3", "f#4"]
    assert data.domain_ids.tolist() == [1, 0, 0]


def test_truth_is_one_domain_however_it_is_written() -> None:
    rows = raw(("a", "p", True), ("b", "n", "false"), ("c", "p", "TRUE"), ("d", "n", "other"))
    data = assemble([rows], ["true", "False"])
    assert (data.domains, data.domain_ids.tolist()) == (("true", "False"), [0, 1, 0])
    assert assemble([rows]).domains == ("TRUE", "True", "false", "other")


def test_labels_are_those_of_the_chosen_domains() -> None:
    rows = raw(("a", "pos", "x"), ("b", "neg", "x"), ("c", "other", "y"))
    assert assemble([rows], ["x"]).labels == ("neg", "pos")


def test_rows_without_domain_are_errors_even_if_domains_are_chosen() -> None:
    assert error(raw(("a", "pos", "x"), ("b", "neg", "")), domains=["x"]).endswith("f#2")


def test_unknown_domains_are_errors() -> None:
    message = error(raw(("a", "pos", "books"), ("b", "neg", "dvd")), domains=["Book", "dvd", "qqq"])
    assert message == ("data.domains: no rows of 'Book' (did you mean 'books'?), 'qqq'; the source has books, dvd")


@pytest.mark.parametrize("domains", ["x", [], ["x", "x"]])
def test_domains_must_be_a_list_of_different_names(domains: Any) -> None:
    assert "expected a list of different names" in error(two("pos", "neg"), domains=domains)


def test_usual_names_of_splits() -> None:
    names = ["train", "Training", "dev", "validation", "valid", "val", "test"]
    data = assemble([raw(*[("a", n, "x") for n in range(7)], split=names)])
    assert data.rows["split"][:] == ["train", "train", "dev", "dev", "dev", "dev", "test"]
    assert data.rows.column_names == ["id", "text", "label", "domain", "split"]


def test_unknown_splits_are_counted() -> None:
    splits = ["train", "holdout", "holdout", "unlabelled", None]
    message = error(raw(*[("a", n, "x") for n in range(5)], split=splits))
    assert message == (
        "column 'split': expected train, dev (or validation) and test, got 'holdout' (2 rows), 'unlabelled' (1 row)"
    )


def test_rows_without_a_split_are_counted_and_train() -> None:
    rows = raw(("a", "pos", "x"), ("b", "neg", "x"), ("c", "pos", "y"), split=["test", None, " "])
    data = assemble([rows])
    assert data.rows["split"][:] == ["test", None, None]
    assert data.notes == (
        "2 rows without a value in the column 'split': these count as train, or are drawn from where their domain has "
        "none",
    )


def test_names_that_differ_in_case_or_white_space_are_told() -> None:
    rows = raw(("a", "refund", "Billing"), ("b", "Refund ", "billing"), ("c", "re fund", "re  x"), ("d", "x", "re x"))
    data = assemble([rows])
    assert data.labels == ("Refund", "re fund", "refund", "x")
    assert data.notes == (
        "white space around labels is left out: 'Refund ' (1 row)",
        "labels that differ in case, white space or unseen characters alone are different labels: "
        "'Refund' (1 row) and 'refund' (1 row); "
        "write them alike if they are the same",
        "domains that differ in case, white space or unseen characters alone are different domains: "
        "'Billing' (1 row) and 'billing' (1 "
        "row); 're  x' (1 row) and 're x' (1 row); write them alike if they are the same",
    )


@pytest.mark.parametrize("role", ["label", "domain"])
def test_a_column_of_another_role_is_told(role) -> None:
    values = [(str(n), "pos" if n % 2 else "neg", "x") for n in range(60)]
    rows = raw(*((t, f"ticket {t}", d) if role == "label" else (t, y, f"ticket {t}") for t, y, d in values))
    assert f"60 different {role}s in 60 rows; name the column that holds the {role} (data.{role})" in error(rows)
    assemble([raw(*((t, f"ticket {int(t) % 40}", d) for t, _, d in values))])


def test_every_domain_needs_train_rows_if_one_has_some() -> None:
    rows = raw(("a", "pos", "x"), ("b", "neg", "y"), split=["train", "test"])
    assert "no train rows in domain y" in error(rows)
    only_test = raw(("a", "pos", "x"), ("b", "neg", "y"), split=["test", "test"])
    assert assemble([only_test]).rows["split"][:] == ["test", "test"]


def test_own_ids() -> None:
    data = assemble([raw(("a", 0, "x"), ("b", 1, "x"), id=[7.0, "b "])])
    assert data.rows["id"][:] == ["7", "b"]


def test_ids_must_be_unique_and_not_null() -> None:
    rows = [("a", 0, "x"), ("b", 1, "x"), ("c", 1, "x"), ("d", 1, "x")]
    assert "repeated: 'p' (f#1, f#3)" in error(raw(*rows, id=["p", "q", "p", "r"]))
    assert "column 'id': empty or null id" in error(raw(*rows, id=["p", "q", None, "r"]))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (("-0.0", "0.0", "-0", "0", -0.0, 0, Decimal("-0.0"), np.float32(-0.0), 1), ("0", "1")),
        ((1e20, "1e+20", np.float32(1e20), 10**20, "100000000000000000000", Decimal("1E+20"), 0), ("0", f"{10**20}")),
        (("-1.5e+16", -1.5e16, 0), (f"-{15 * 10**15}", "0")),
        (("1e5", "2E+03", "1.5e+00", "1e+400x", "1e+999", 0), ("0", "1.5e+00", "1e+400x", "1e+999", "1e5", "2E+03")),
        ((np.float32(0.1), np.float16(0.1), 0.1, "0.1", 0), ("0", "0.1")),
    ],
)
def test_one_number_is_one_name(values: tuple[Any, ...], labels: tuple[str, ...]) -> None:
    assert assemble([raw(*((f"t{n}", value, "x") for n, value in enumerate(values)))]).labels == labels


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("caf\u00e9", "cafe\u0301", r"'cafe\u0301' (1 row) and 'caf\xe9' (1 row)"),
        ("good", "good\u200b", r"'good' (1 row) and 'good\u200b' (1 row)"),
        ("\ufeffgood", "good", r"'good' (1 row) and '\ufeffgood' (1 row)"),
        ("x1", "\uff581", "'x1' (1 row) and '\uff581' (1 row)"),
        ("ok\u2764", "ok\u2764\ufe0f", "'ok\u2764' (1 row) and 'ok\u2764\ufe0f' (1 row)"),
    ],
)
def test_names_that_look_alike_are_told(one: str, other: str, shown: str) -> None:
    (note,) = assemble([raw(("a", one, "x"), ("b", other, "x"))]).notes
    assert note == (
        f"labels that differ in case, white space or unseen characters alone are different labels: {shown}; write them "
        "alike if they are the same"
    )
