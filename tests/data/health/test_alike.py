import pytest

from hrkd.data.alike import read_alike, slips


def test_names_that_read_alike_are_grouped():
    groups = read_alike(["good", "Good", "go\u200bod", "bad"])
    assert [[name for name, _ in group] for group in groups] == [["Good", "good", "go\u200bod"]]


@pytest.mark.parametrize(
    ("rare", "frequent"),
    [("positv", "positive"), ("postiive", "positive"), ("Bookes", "books"), ("negatve", "negative"), ("baad", "good")],
)
def test_a_rare_name_near_a_frequent_one_is_a_slip(rare, frequent):
    expected = [] if rare == "baad" else [(rare, frequent)]
    assert list(slips({rare: 2, frequent: 100, "other": 100})) == expected


@pytest.mark.parametrize(
    ("rare", "frequent"),
    [
        ("class 1", "class 2"),  # numbers
        ("unknown", "known"),
        ("cat", "car"),  # short
        ("Positive", "positive"),  # read alike, which is told elsewhere
        ("negative", "positive"),
    ],
)
def test_other_names_are_left_alone(rare, frequent):
    assert list(slips({rare: 1, frequent: 1000})) == []


def test_a_name_that_is_not_rare_is_no_slip():
    assert list(slips({"positv": 10, "positive": 100})) == []
