"""What looks like a mistake: splits in names and columns, quotes that swallow rows, columns in two roles."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkd.data.readers.sources import load_domains
from hrkd.data.readers.split_names import splits_of
from hrkd.data.splits.split import split_domains
from hrkd.errors import DataError
from sources import error


def table(name: str, rows: int = 20) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": [f"{name} text {n}" for n in range(rows)],
            "label": ["pos", "neg"] * (rows // 2),
            "domain": ["x", "x", "y", "y"] * (rows // 4),
        }
    )


def folder(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        table(name).to_csv(path / name, index=False)
    return path


# --- names


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("reviews_test", "test"),
        ("train-data", "train"),
        ("train1", "train"),
        ("imdb-train", "train"),
        ("train (1)", "train"),
        ("trainset", "train"),
        ("TRAINSET", "train"),
        ("my.test", "test"),
        ("TestData", "test"),
        ("myTestData", "test"),
        ("X_valid", "dev"),
        ("development", "dev"),
        ("dev_matched", "dev"),
        ("train-00000-of-00002", "train"),
        ("train-00000-of-00002-a09b74b3ef9c3b56", "train"),
        ("2024test", "test"),
        ("contest_train", "train"),
        ("test_eval", "test"),
        ("latest", None),
        ("constrained", None),
        ("protest", None),
        ("trains", None),
        ("contest", None),
        ("testament", None),
        ("valued", None),
        ("devices", None),
        ("invalid", None),
        ("books", None),
        ("2024", None),
    ],
)
def test_words_in_names(name: str, split: str | None) -> None:
    assert splits_of([name]) == [split]


@pytest.mark.parametrize("held", ["eval", "heldout", "held-out", "HoldOut", "reviews_evaluation", "evalset"])
def test_what_is_held_out_is_what_the_others_leave(held: str) -> None:
    assert splits_of(["train", "dev", held]) == ["train", "dev", "test"]
    assert splits_of(["train", held, "test"]) == ["train", "dev", "test"]
    with pytest.raises(DataError, match="does not say which of train, dev and test it is"):
        splits_of(["train", held])


@pytest.mark.parametrize("name", ["train_test", "testTrain", "train-eval", "dev.test"])
def test_a_name_of_two_parts_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"does not say which .* \(data.split\)"):
        splits_of(["train", name])


@given(st.text(alphabet="abcdegilnrstvw", min_size=1, max_size=8), st.sampled_from(["train", "test", "dev"]))
def test_letters_that_touch_a_word_make_another_word(letters: str, word: str) -> None:
    assert splits_of([f"q{letters}{word}"]) == [None]
    assert splits_of([f"{word}q{letters}q"]) == [None]
    assert splits_of([f"qq_{word}_qq", f"qq{word.title()}"]) == [word, word]


@pytest.mark.parametrize("names", [("reviews_train.csv", "reviews_test.csv"), ("train (1).csv", "test (1).csv")])
def test_no_row_of_a_test_file_is_in_train(tmp_path: Path, names: tuple[str, str]) -> None:
    splits = split_domains(load_domains(folder(tmp_path, *names)))
    assert {text.split(" text")[0] for text in splits.test.rows["text"]} == {names[1]}
    assert {text.split(" text")[0] for text in splits.train.rows["text"]} == {names[0]}
    assert splits.notes[0] == (f"splits are told by names: {names[1]} is test, {names[0]} is train")


def test_some_files_alone_that_name_a_split(tmp_path: Path) -> None:
    message = error(folder(tmp_path, "books.csv", "dvd.csv", "protest_test.csv"))
    assert "named after a split (train, dev, test), but not books.csv, dvd.csv (protest_test.csv is test)" in message
    message = error(folder(tmp_path / "b", "train.csv", "train_test.csv"))
    assert message.startswith(f"{tmp_path / 'b'}: the name 'train_test' does not say which of train, dev and test")


def test_names_of_domains_say_nothing(tmp_path: Path) -> None:
    data = load_domains(folder(tmp_path, "latest.csv", "contest.csv", "trains.csv"))
    assert "split" not in data.rows.column_names
    assert data.notes == ()


@pytest.mark.parametrize("name", ["test.csv", "train_test.csv"])
def test_a_table_alone_in_its_folder_says_nothing(tmp_path: Path, name: str) -> None:
    data = load_domains(folder(tmp_path, name))
    assert "split" not in data.rows.column_names


def test_tables_in_data(tmp_path: Path) -> None:
    folder(tmp_path, "data/train-00000-of-00001.csv", "data/test-00000-of-00001.csv")
    (tmp_path / "README.md").write_text("---\n---\n")
    data = load_domains(tmp_path)
    assert data.notes == ("the tables in its folder data/ are read",)
    assert data.rows["split"][0] == "test"


def test_tables_in_other_folders_are_named(tmp_path: Path) -> None:
    folder(tmp_path, "plain_text/train.csv", "other/train.csv")
    for layout in ("auto", "table"):
        assert error(tmp_path, format=layout).endswith("tables lie in other/, plain_text/: name one of these folders")


def test_a_split_of_another_kind_of_file_is_told(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    tables = folder(tmp_path / "tables", "train.csv")
    assert load_domains(tables, cache=cache).notes == ()
    (tables / "test.json").write_text("[]")
    assert load_domains(tables, cache=cache).notes == ("not read, as no table of a known kind: test.json",)


@pytest.mark.parametrize(
    "name",
    ["test.tab", "test.pq", "test.csv.zst", "TEST.TXT", "reviews_test", "test/", "more/dev.csv", "data/test.csv"],
)
def test_whatever_is_named_after_a_split_and_not_read_is_told(tmp_path: Path, name: str) -> None:
    folder(tmp_path, "train.csv")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text("a")
    outer, _, inner = name.partition("/")
    told = outer if "/" not in name else f"{outer}/ ({inner})" if inner else name
    assert load_domains(tmp_path).notes == (f"not read, as no table of a known kind: {told}",)


@pytest.mark.parametrize("name", ["test.py", "TEST.md", ".test.csv.swp", "latest.txt", "more/a.csv", "latest/a.csv"])
def test_what_speaks_of_no_rows_is_not_told(tmp_path: Path, name: str) -> None:
    folder(tmp_path, "train.csv", name)
    assert load_domains(tmp_path).notes == ()


@pytest.mark.parametrize("name", ["test.CSV", "Test.Csv", "TEST.CSV.GZ"])
def test_endings_of_tables_in_any_case(tmp_path: Path, name: str) -> None:
    folder(tmp_path, "train.csv")
    data = table(name).to_csv(index=False).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("GZ") else data)
    splits = split_domains(load_domains(tmp_path))
    assert {text.split(" text")[0] for text in splits.test.rows["text"]} == {name}
    alone = folder(tmp_path / "alone", "train.csv") / name
    alone.write_bytes((tmp_path / name).read_bytes())
    assert len(load_domains(alone)) == 20


def test_tables_that_are_no_files_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, "train.csv")
    (tmp_path / "books.csv").symlink_to("annex/nothing")
    gone = "is a link to annex/nothing, which is not there; fetch what it leads to, or remove it"
    assert error(tmp_path) == f"{tmp_path / 'books.csv'}: {gone}"
    (tmp_path / "train.csv").unlink()
    assert error(tmp_path).endswith("; links to what is not there: books.csv: fetch it")
    (tmp_path / "books.csv").unlink()
    folder(tmp_path, "train.csv", "test.parquet/part-0.csv")
    assert "test.parquet: is a folder beside tables; move what is in it here" in error(tmp_path)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("imdb.trn", "imdb.tst"),
        ("XTRAIN", "XTEST"),
        ("mytraindata", "mytestdata"),
        ("reviewstrain", "reviewstest"),
        ("trains", "tests"),
        ("tobetrained", "tobetested"),
        ("mytrain-00000-of-00002", "mytest-00000-of-00001"),
        ("ｔｒａｉｎ", "ｔｅｓｔ"),
        ("TRAINs2", "tests2"),
    ],
)
def test_names_that_are_alike_but_for_the_part(train: str, test: str) -> None:
    assert splits_of([test, train]) == ["test", "train"]
    assert splits_of([train, "books"]) == [*splits_of([train]), None]


@given(st.text(alphabet="bcxyz_19", max_size=6), st.text(alphabet="bcxyz_19", max_size=6))
def test_a_word_in_one_place_of_two_names_is_a_split(before: str, after: str) -> None:
    names = [f"{before}{part}{after}" for part in ("train", "test", "valid")]
    assert splits_of(names) == ["train", "test", "dev"]


def test_names_that_may_be_parts_are_told(tmp_path: Path) -> None:
    data = load_domains(folder(tmp_path / "two", "reviews_tr.csv", "reviews_te.csv"))
    assert "split" not in data.rows.column_names
    (note,) = data.notes
    assert note.startswith("reviews_te.csv, reviews_tr.csv may be parts of a split, and are not read so: all rows are")
    assert load_domains(folder(tmp_path / "languages", "tr.csv", "te.csv", "en.csv")).notes == ()


def test_keys_of_a_data_set_follow_the_same_rule() -> None:
    names = {"train_1": "train", "train_2": "train", "test_matched": "test", "validation_mismatched": "dev"}
    parts = datasets.DatasetDict({name: datasets.Dataset.from_pandas(table(name)) for name in names})
    data = load_domains(parts)
    assert dict(zip(data.rows["id"], data.rows["split"], strict=True)) == {
        f"{name}#{n}": split for name, split in names.items() for n in range(1, 21)
    }
    assert data.notes == (
        "splits are told by names: train_1 is train, train_2 is train, test_matched is test, "
        "validation_mismatched is dev",
    )
    part = parts["train_1"]
    assert "'train_eval' does not say which" in error(datasets.DatasetDict({"train": part, "train_eval": part}))


# --- columns


@pytest.mark.parametrize("name", ["split", "Fold", "data_split", "partition", "subset"])
def test_a_column_that_says_the_split_and_is_not_named(name: str) -> None:
    frame = table("a").assign(**{name: ["train", "Test", None, "validation"] * 5})
    (note,) = load_domains(frame).notes
    assert note.startswith(f"the column {name!r} says Test, train, validation and is not used: all rows are split anew")
    assert not any("not used" in note for note in load_domains(frame, split=name).notes)


@pytest.mark.parametrize(
    ("name", "values"),
    [("split", ["a", "train"]), ("fold", [0, 1]), ("split", ["train", None]), ("kind", ["train", "test"])],
)
def test_columns_that_say_something_else(name: str, values: list[Any]) -> None:
    assert load_domains(table("a").assign(**{name: values * 10})).notes == ()


@pytest.mark.parametrize("roles", [{"text_pair": "text"}, {"label": "text"}, {"domain": "text"}, {"split": "text"}])
def test_a_text_is_nothing_else_besides(roles: dict[str, str]) -> None:
    (role,) = roles
    message = error(table("a"), **roles)
    assert message.startswith(f"text and {role}: both are to be the column 'text'; name two different columns")


def test_label_and_domain_may_be_one_column() -> None:
    assert load_domains(table("a"), label="domain").notes == ("the column 'domain' is label and domain at once",)
    assert load_domains(table("a"), id="text").notes == ()


# --- quotes


def csv_of(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


ROWS = "".join(f"text {n},{'pos' if n % 2 else 'neg'},{'xy'[n % 3 == 0]}\n" for n in range(12))


@pytest.mark.parametrize("last", ['ends 6" tall', 'he said "so'])
def test_quotes_that_swallow_rows_are_refused(tmp_path: Path, last: str) -> None:
    for swallowed in (0, 1, 5):
        lines = "".join(f"more {n},neg,x\n" for n in range(swallowed))
        end = last.split('"')[0] + '"'
        path = csv_of(tmp_path / "r.csv", f'text,label,domain\n{ROWS}\n"starts,pos,x\n{lines}{end},neg,y\n{ROWS}')
        message = error(path)
        assert message.startswith(f"r.csv: each of the lines 15 to {16 + swallowed} looks like a row")


def test_swallowed_rows_where_the_text_is_the_last_column(tmp_path: Path) -> None:
    rows = "".join(f"{n % 2},{'xy'[n % 3 == 0]},text {n}\n" for n in range(12))
    path = csv_of(tmp_path / "r.csv", f'label,domain,text\n{rows}0,x,"open\n1,y,lost\n1,x,closed"\n')
    assert "each of the lines 14 to 16" in error(path)
    path = csv_of(tmp_path / "r.csv", f'label,domain,text\n{rows}0,x,"open\nthis, not, so\nclosed"\n')
    assert load_domains(path).notes == ()


@pytest.mark.parametrize(
    "text",
    ["one\ntwo", "well, yes, ok\nas I said, so, there", "a\n\n\nb", "one\npos,x\ntwo", "a\r\nb, c, d\r\ne", "\n\n"],
)
@pytest.mark.parametrize(
    "order", [["text", "label", "domain"], ["label", "domain", "text"], ["label", "text", "domain"]]
)
def test_texts_of_several_lines_are_left_alone(tmp_path: Path, text: str, order: list[str]) -> None:
    frame = table("a")
    frame.loc[3, "text"] = f"before{text}behind"
    frame[order].to_csv(tmp_path / "r.csv", index=False)
    data = load_domains(tmp_path / "r.csv")
    assert data.rows["text"][3] == f"before{text}behind"
    assert data.notes == ()


def test_a_text_that_quotes_a_row_is_told_and_kept(tmp_path: Path) -> None:
    frame = table("a")
    frame.loc[3, "text"] = "see\nthis,pos,x\nthere"
    frame.to_csv(tmp_path / "r.csv", index=False)
    data = load_domains(tmp_path / "r.csv")
    assert data.rows["text"][3] == "see\nthis,pos,x\nthere"
    assert data.notes == (
        "r.csv: a quoted text of several lines holds one that looks like a row of the table (line 6); if it is one, a "
        "quote before it is not closed",
    )


def test_a_quote_that_is_never_closed_is_named_where_it_opens(tmp_path: Path) -> None:
    message = error(csv_of(tmp_path / "r.csv", f'text,label,domain\n{ROWS}"open,pos,x\n{ROWS}'))
    assert message.startswith("r.csv: bad quoting in the row that ends at line 26 and begins at line 14 (")


def test_tsv_as_pandas_writes_it(tmp_path: Path) -> None:
    frame = table("a")
    frame.loc[[3, 7], "text"] = 'he said "no" twice'
    frame.loc[5, "text"] = '"whole"'
    frame.to_csv(tmp_path / "r.tsv", sep="\t", index=False)
    data = load_domains(tmp_path / "r.tsv")
    assert data.rows["text"][3] == '"he said ""no"" twice"'
    (note,) = data.notes
    assert note.startswith("r.tsv: 3 rows with a field in quotes that doubles those inside")
    assert "(line 5, 7, 9)" in note


@pytest.mark.parametrize(
    ("name", "separator", "expected"),
    [
        ("r.csv", "\t", "commas in .csv"),
        ("r.csv", "|", "commas in .csv"),
        ("r.tsv", ",", "tabs in .tsv"),
        ("r.tsv", ";", "tabs in .tsv"),
    ],
)
def test_other_separators_are_named(tmp_path: Path, name: str, separator: str, expected: str) -> None:
    frame = table("a")
    frame.loc[3, "text"] = 'with , "quotes" ; and | signs'
    frame.to_csv(tmp_path / name, sep=separator, index=False)
    message = error(tmp_path / name)
    assert message.startswith(f"{name}: the header holds {separator!r} and no ")
    assert expected in message


def test_a_tsv_with_quoted_names(tmp_path: Path) -> None:
    table("a").to_csv(tmp_path / "r.tsv", sep="\t", index=False, quoting=1)
    assert "in .tsv quotes have no meaning" in error(tmp_path / "r.tsv")
