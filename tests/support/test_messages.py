"""Suggestions, lists and the first line of an error, as messages hold them."""

from pathlib import Path

from hrkd.support.messages import Found, did_you_mean, first_line, first_of, misspelt, suggestion, visible


def test_a_suggestion_is_the_nearest_name_whatever_its_case():
    assert suggestion("text", ["Label", "TEXT"]) == "did you mean 'TEXT'?"
    assert suggestion("boks", ["books", "dvd"], before="; ", shown=str) == "; did you mean books?"
    assert suggestion("boks.csv", ["books.csv"], shown=Path("a", "b").with_name) == "did you mean a/books.csv?"
    assert suggestion("text", ["zzz"], before="; ") == ""


def test_several_names_may_be_meant_and_none():
    assert did_you_mean("a.b", "c.b", before="; ") == "; did you mean a.b or c.b?"
    assert did_you_mean(before="; ") == ""


def test_of_misspelt_names_five_are_told_each_with_its_suggestion():
    known = (name for name in ("books", "dvd"))
    told = misspelt(["boks", "qqq", "dvds", "r", "s", "t"], known)
    assert misspelt([2, None], ["20"]) == "2 (did you mean '20'?), None"
    assert told == "'boks' (did you mean 'books'?), 'qqq', 'dvds' (did you mean 'dvd'?), 'r', 's', and 1 more"


def test_problems_that_come_one_by_one_read_as_those_in_a_list():
    found, problems = Found(), [f"row {n}" for n in range(1_200)]
    assert not found
    for problem in problems:
        found.add(problem)
    assert str(found) == first_of(problems) == "row 0, row 1, row 2, row 3, row 4, and 1,195 more"


def test_the_first_line_of_an_error_is_never_empty():
    assert first_line(OSError("\n  no such file\nuse another")) == "no such file"
    assert first_line(KeyError()) == "KeyError()"


def test_what_a_terminal_would_obey_is_escaped():
    assert visible("\x1b[31mred\x07 nul\0 \x9b \r") == r"\x1b[31mred\x07 nul\x00 \x9b \r"
    assert visible("two\nlines\tand a tab, \u00e9 \u4e66") == "two\nlines\tand a tab, \u00e9 \u4e66"
