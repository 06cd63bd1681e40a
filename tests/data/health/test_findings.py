import numpy as np
import pytest

from hrkd.data.health.finding import Example, Finding
from hrkd.data.health.names import find_classes, find_names
from hrkd.data.health.sides import find_overlaps, find_parts, find_sizes, too_few
from hrkd.data.health.survey import Survey
from hrkd.data.health.texts import WORDS, find_copies, find_cut, find_garbled, find_nearly_empty
from hrkd.data.readers.sources import load_domains, raw_rows
from hrkd.data.rows import ColumnNames
from hrkd.data.splits.split import given_parts, split_domains


def rows(*given, **columns):
    """A data set of (text, label, domain)."""
    text, label, domain = zip(*given, strict=True)
    names = dict.fromkeys(columns)
    return load_domains(
        {"text": text, "label": label, "domain": domain, **columns}, to_measure=True, **{name: name for name in names}
    )


def many(domain, label, number, word="text"):
    return [(f"{word} number {i} of {domain} {label}", label, domain) for i in range(number)]


def codes(findings):
    return [(each.code, each.domain) for each in findings]


def test_a_line_says_code_domain_what_where_and_what_to_do():
    finding = Finding("D203", "2 rows", "books", 2, Example("a.csv#3", "a\nb"))
    assert finding.line().startswith("D203 books: 2 rows, such as a.csv#3 'a b'. Look at these rows;")
    assert Finding("D001", "my.yaml:1: wrong", advice="").line() == "D001 my.yaml:1: wrong"


def test_the_survey_counts_what_is_wrong_by_domain_and_passes_the_rest(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,label,domain\n,good,books\nfine, good,books\nfine,,films\nbad,bad,films\n  ,bad,books\n")
    survey = Survey()
    kept = [text for chunk in survey.sound(raw_rows(table, "auto", ColumnNames())) for text in chunk.text]
    assert kept == ["fine", "bad"]
    found = survey.findings()
    assert codes(found) == [("D202", "films"), ("D201", "books"), ("D107", "")]
    assert found[1].rows == 2
    assert "t.csv#1, t.csv#5" in found[1].found
    assert survey.names["label"] == {"good": 1, "bad": 1}
    assert found[2].example.place == "t.csv#2"


def test_rows_of_domains_that_are_not_chosen_are_not_looked_at(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,label,domain\n,good,books\nfine,good,films\n")
    survey = Survey(["films"])
    assert sum(len(chunk.text) for chunk in survey.sound(raw_rows(table, "auto", ColumnNames()))) == 2
    assert survey.findings() == []


def test_names_that_are_alike_or_misspelt():
    counts = {"good": 100, "Good": 3, "excellent": 200, "excelent": 2}
    first = {name: f"row#{i}" for i, name in enumerate(counts)}
    assert [each.code for each in find_names("label", counts, first)] == ["D101", "D102"]
    assert [each.code for each in find_names("domain", counts, first)] == ["D301", "D302"]
    assert find_names("label", counts, first)[1].example.place == "row#3"


def test_classes_that_are_rare_absent_or_all_there_is():
    given = many("books", "good", 60) + many("books", "bad", 60) + many("books", "fair", 2)
    given += many("films", "good", 97) + many("films", "bad", 3)
    found = find_classes(rows(*given), None)
    assert codes(found) == [("D104", "books"), ("D104", "films"), ("D106", "films")]
    assert "'fair' (2 rows)" in found[0].found
    assert find_classes(rows(*given), None, ["fair"])[0].domain == "films", "what may be misspelt is not told again"
    more = [*given, *many("games", "good", 60), *many("games", "fair", 60)]
    assert ("D105", "games") in codes(find_classes(rows(*more), None))
    assert codes(find_classes(rows(*many("books", "good", 5)), None)) == [("D108", "")]


def test_of_rare_classes_the_rarest_comes_first_with_its_row():
    given = many("a", "often", 60) + many("a", "how_to", 5) + many("a", "xyz", 1)
    found = find_classes(rows(*given), None)[0]
    assert found.found == "few rows of 'xyz' (1 row); 'how_to' (5 rows)"
    assert found.example.place == f"row#{len(given)}"


def test_a_label_of_hardly_any_row_is_told_in_a_small_domain_too():
    """Whose classes are not told one by one."""
    given = many("a", "bug", 30) + many("a", "question", 15) + many("a", "bgu", 1)
    found = find_classes(rows(*given), None)
    assert codes(found) == [("D104", "")]
    assert (found[0].found, found[0].rows) == ("1 row of 'bgu' in all", 1)
    assert find_classes(rows(*given), None, ["bgu"]) == []


def test_rare_classes_are_counted_by_part():
    given = [row for domain in ("a", "b") for row in many(domain, "x", 100) + many(domain, "y", 12)]
    dataset = rows(*given)
    found = find_classes(dataset, split_domains(dataset, dev=0.1, test=0.1))
    assert codes(found) == [("D104", "a"), ("D104", "b")]
    assert "'y' (10 train, 1 dev, 1 test)" in found[0].found


@pytest.mark.parametrize("text", ["-", "?!", " na ", "NaN", "ok", "..."])
def test_texts_with_hardly_a_letter(text):
    found = find_nearly_empty(rows((text, "x", "a"), ("three words here", "y", "a")))
    assert codes(found) == [("D203", "a")]
    assert found[0].rows == 1


@pytest.mark.parametrize("text", ["bad", "\u597d", "\U0001f600", "A 10", "\u2605\u2605"])
def test_short_texts_that_say_something(text):
    assert find_nearly_empty(rows((text, "x", "a"))) == []


@pytest.mark.parametrize(
    "text",
    [
        *(each.encode().decode("cp1252") for each in ("un \u00e9t\u00e9", "it\u2019s", "5 \u00b0C", "\u201cfine")),
        *(
            each.encode().decode("cp1252")
            for each in ("no \u2013 yes", "no\u2014yes", "5 \u20ac", "Tom\u2122", "c\u0153ur")
        ),
        *(each.encode().decode("cp1252") for each in ("\u00d6sterreich", "co\u00fbte", "\u0142atwo", "\u017bycie")),
        "\u00e9t\u00e9".encode().decode("latin-1"),
        b"caf\xe9 noir".decode(errors="replace"),
        "ends here\0",
        "\x1b[1mbold",
    ],
)
def test_texts_that_were_decoded_wrongly(text):
    found = find_garbled(rows((text, "x", "a"), ("three words here", "y", "a")))
    assert codes(found) == [("D207", "a")]
    assert found[0].rows == 1


@pytest.mark.parametrize(
    "text",
    [
        "un \u00e9t\u00e9",
        "N\u00c3O, S\u00c3O \u00c2NGULO",
        "\u00abAMANH\u00c3\u2026\u00bb, AMANH\u00c3\u00bb",
        "\u201e\u00c4\u201c und \u201e\u00c5\u201c",
        "it\u2019s 5 \u00b0C\n\tand \u201cfine\u201d",
        "p\u00e2t\u00e9 \u20ac 5",
        "\u597d \U0001f600",
    ],
)
def test_texts_of_other_letters_were_not(text):
    assert find_garbled(rows((text, "x", "a"))) == []


def test_copies_conflicts_and_texts_of_several_domains():
    found = find_copies(
        rows(
            ("Same text", "good", "a"),
            ("same  TEXT", "bad", "a"),
            ("another", "good", "a"),
            ("another", "good", "a"),
            ("another", "good", "a"),
            ("shared", "good", "a"),
            ("shared", "bad", "b"),
            ("once", "good", "b"),
        )
    )
    assert [(each.code, each.domain, each.rows) for each in found] == [
        ("D103", "a", 2),
        ("D204", "a", 2),
        ("D205", "", 2),
    ]
    assert "row#1 has 'good' and row#2 has 'bad'" in found[0].found
    assert "with different labels: row#6 and row#7 are equal" in found[2].found
    assert find_copies(rows(("one", "x", "a"), ("two", "x", "a"))) == []


def test_what_is_cut_is_told_by_domain_and_not_for_windows():
    dataset = rows(("word " * 100, "x", "long"), ("word " * 10, "x", "short"))
    found = find_cut(dataset, 50, "head", WORDS, "a rule")
    assert codes(found) == [("D206", "long")]
    assert "62 % of all tokens" in found[0].found
    assert "136 holds nine of ten" in found[0].advice
    assert find_cut(dataset, 50, "windows", WORDS, "a rule") == []


def test_windows_lose_the_end_of_the_shorter_text_of_a_long_pair():
    columns = {"text": ["word " * 100], "text_pair": ["word " * 80], "domain": ["a"]}
    pair = load_domains(columns, label=None, text_pair="text_pair")
    [found] = find_cut(pair, 60, "windows", WORDS, "a rule")  # 130 and 104 tokens; half of 60 for the second
    assert "32 % of all tokens are not read (data.keep: windows" in found.found
    assert found.advice == "Raise data.max_length (240 holds nine of ten texts, if the model takes so many)."


def test_copies_across_given_parts():
    texts = [("one", "x", "a"), ("ONE", "x", "a"), ("two", "x", "a"), ("two", "x", "a"), ("three", "y", "a")]
    dataset = rows(*texts, split=["train", "test", "train", "dev", "test"])
    found = find_overlaps(dataset, given_parts(dataset))
    assert [(each.code, each.rows) for each in found] == [("D401", 1), ("D401", 1)]
    assert found[0].found.startswith("1 row of train with a text of test")
    assert "row#2 in test" in found[0].found


def test_domains_that_are_too_small():
    given = many("large", "x", 900) + many("large", "y", 900) + many("small", "x", 20) + many("small", "y", 20)
    dataset = rows(*given)
    splits = split_domains(dataset)
    assert codes(find_sizes(dataset, splits)) == [("D303", "small"), ("D305", "")]
    assert too_few(dataset, splits, 32) == []
    assert codes(too_few(dataset, splits, 33)) == [("D304", "small")]
    assert codes(too_few(dataset, None, 41)) == [("D304", "small")]
    assert "4 of dev, 4 of test" in find_sizes(dataset, splits)[0].found
    assert find_parts(splits) == []  # told with D303
    some = many("large", "x", 900) + many("small", "x", 75) + many("small", "y", 75)
    assert codes(find_parts(split_domains(rows(*some)))) == [("D403", "small")]
    assert codes(find_sizes(rows(*many("only", "x", 9)), None)) == [("D307", "")]


def test_labels_that_are_measured_and_not_learnt():
    given = [*many("a", "x", 40), *many("a", "y", 1), *many("b", "x", 40), *many("b", "y", 40)]
    parts = ["train"] * 39 + ["dev"] + ["test"] + ["train"] * 20 + ["dev"] * 10 + ["test"] * 10
    parts += ["train"] * 20 + ["dev"] * 10 + ["test"] * 10
    found = [each for each in find_parts(split_domains(rows(*given, split=parts))) if each.code == "D404"]
    assert codes(found) == [("D404", "a")]
    assert "1 row of test" in found[0].found


def test_domains_can_be_left_out_of_a_data_set():
    dataset = rows(("one", "x", "a"), ("two", "y", "b"), ("three", "x", "c")).without(["b"])
    assert dataset.domains == ("a", "c")
    assert np.array_equal(dataset.domain_ids, [0, 1])
    assert dataset.rows["text"][:] == ["one", "three"]
