"""Names of files as domains, where tables have no column that says it."""

from pathlib import Path

from hrkd.data.readers.parts import FILE_NAME
from hrkd.data.readers.sources import load_domains
from sources import error

ROWS = "text,label\nfine {0},pos\nbad {0},neg\n"


def folder_of(tmp_path: Path, *names: str, rows: str = ROWS) -> Path:
    for name in names:
        (tmp_path / name).write_text(rows.format(name.partition(".")[0]))
    return tmp_path


def test_each_file_of_a_folder_is_a_domain(tmp_path: Path) -> None:
    found = load_domains(folder_of(tmp_path, "dvd.csv", "books & more.csv"), domain=FILE_NAME)
    assert found.domains == ("books & more", "dvd")
    assert [(row["text"], found.domains[row["domain"]]) for row in found.rows] == [
        ("fine books & more", "books & more"),
        ("bad books & more", "books & more"),
        ("fine dvd", "dvd"),
        ("bad dvd", "dvd"),
    ]


def test_nothing_is_taken_for_a_domain_unasked_and_the_error_says_how(tmp_path: Path) -> None:
    told = error(folder_of(tmp_path, "dvd.csv", "books.csv"))
    assert "where each file of a folder is a domain, set domain to file_name" in told


def test_a_column_of_this_name_goes_first(tmp_path: Path) -> None:
    rows = "text,label,file_name\nfine,pos,a\nbad,neg,b\n"
    assert load_domains(folder_of(tmp_path, "one.csv", "two.csv", rows=rows), domain=FILE_NAME).domains == ("a", "b")


def test_names_that_say_splits_are_no_domains(tmp_path: Path) -> None:
    told = error(folder_of(tmp_path, "train.csv", "dev.csv", "test.csv"), domain=FILE_NAME)
    assert "names of files say what is train, dev and test" in told


def test_swallowed_rows_are_still_found(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "dvd.csv", "books.csv")
    (folder / "dvd.csv").write_text('text,label\n"fine,pos\nbad,neg\nfine again",pos\nbad,neg\n')
    assert "dvd.csv: each of the lines 2 to 4 looks like a row" in error(folder, domain=FILE_NAME)


def test_text_without_labels_is_read_so_too(tmp_path: Path) -> None:
    found = load_domains(folder_of(tmp_path, "dvd.csv", "books.csv"), label=None, domain=FILE_NAME)
    assert found.domains == ("books", "dvd")
