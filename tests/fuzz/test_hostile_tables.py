"""Tables and texts that are meant to do harm, or are badly broken: each is read right, or refused in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuzz.deploying import FACTS, PREDICTOR, Pipe
from fuzz.harness import CONSTANT, TIMES, measured
from fuzz.readers import drained, parquet_seeds
from hrkd.data.readers.amazon import read_amazon_reviews
from hrkd.data.readers.sources import load_domains
from hrkd.data.readers.tables import read_table
from hrkd.deploy.label_table import Labelling, label_file, label_stream, look_through, plan
from hrkd.deploy.streams import Lines, stream_table
from hrkd.errors import DataError

MEGABYTES_10 = "0123456789" * 1_000_000
MOST_SAID = 4_000
"""Characters of an error, whatever the file holds."""


def refused(call, *words: str) -> DataError:
    found, seconds, _ = measured(call)
    assert isinstance(found, DataError), found
    for word in words:
        assert word in str(found)
    assert len(str(found)) < MOST_SAID
    assert seconds < 20
    return found


def stored(folder: Path, name: str, columns: dict[str, list[str]]) -> Path:
    """A table of texts in the format of its name."""
    file, rows = folder / name, list(zip(*columns.values(), strict=True))
    if name.endswith(".parquet"):
        pq.write_table(pa.table(columns), file)
    elif name.endswith(".jsonl"):
        file.write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows))
    else:
        separator = "\t" if name.endswith(".tsv") else ","
        file.write_text("\n".join(separator.join(row) for row in [tuple(columns), *rows]) + "\n")
    return file


COLUMNS = {"text": ["a", "b", "c"], "label": ["n", "p", "n"], "domain": ["books", "dvd", "books"]}


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_texts_of_ten_megabytes(tmp_path, name):
    file = stored(tmp_path, name, COLUMNS | {"text": ["a", MEGABYTES_10, "c"]})
    data, _, memory = measured(lambda: load_domains(file))
    assert data.rows["text"][:] == ["a", MEGABYTES_10, "c"]
    assert memory < TIMES * len(MEGABYTES_10) + CONSTANT


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_nul_characters_are_characters(tmp_path, name):
    file = stored(tmp_path, name, COLUMNS | {"text": ["a\0b", "\0", "c" * 100]})
    assert load_domains(file).rows["text"][:] == ["a\0b", "\0", "c" * 100]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_another_encoding_in_the_middle(tmp_path, name):
    file = stored(tmp_path, name, COLUMNS | {"text": ["café", "xyz", "öl"]})
    if name == "t.jsonl":
        file.write_text(file.read_text().replace("\\u00e9", "é").replace("\\u00f6", "ö"))
    file.write_bytes(file.read_bytes().replace(b"xyz", "naïve".encode("latin-1")))
    refused(lambda: load_domains(file), name, "not UTF-8 in line", "(byte 0xef)", "UTF-8, so do not convert the file")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_wide_encodings_with_and_without_a_mark(tmp_path, name, encoding):
    file = stored(tmp_path, name, COLUMNS | {"text": ["a good book", "b", "c"]})
    file.write_bytes(file.read_text().encode(encoding))
    refused(lambda: load_domains(file), name, encoding[:6].upper())


# --- very wide


@pytest.mark.parametrize(("name", "count"), [("t.csv", 1_000_000), ("t.tsv", 100_000)])
def test_a_million_columns(tmp_path, name, count):
    separator = "," if name == "t.csv" else "\t"
    header = separator.join(["text", "label", "domain", *(f"split_{i}" for i in range(count))])
    row = separator.join(["a", "n", "books"] + ["x"] * count)
    file = tmp_path / name
    file.write_text(f"{header}\n{row}\n{row.replace('n', 'p', 1)}\n")
    data, seconds, memory = measured(lambda: load_domains(file, to_measure=True))
    assert data.rows["text"][:] == ["a", "a"]
    assert seconds < 60
    assert memory < 30 * file.stat().st_size, "each short field is a string of sixty bytes"
    file.write_text(file.read_text().replace("text", "tex", 1))
    error = refused(lambda: load_domains(file), name, "no column 'text'")
    assert f"and {count - 27:,} more" in str(error)
    refused(lambda: look_through(file, tmp_path / "o.jsonl", FACTS, Labelling(prefix="x ")), name, "no column 'text'")


def test_many_rows_of_many_columns_are_not_held_at_once(tmp_path):
    columns, rows = 10_000, 300
    file = tmp_path / "t.csv"
    row = ",".join(["a", "n", "books"] + ["ab"] * columns)
    file.write_text("\n".join([",".join(["text", "label", "domain", *map(str, range(columns))]), *[row] * rows]))
    found, _, memory = measured(lambda: drained(read_table(file)))
    assert found == rows
    assert memory < TIMES * file.stat().st_size, "all of it at once takes thirty times as much"


def test_wide_tables_are_converted_in_a_time_that_grows_with_them(tmp_path):
    columns = {"text": ["a"], "domain": ["books"], **{f"c{i}": ["x"] for i in range(5_000)}}
    for name in ("t.csv", "t.parquet"):
        file = stored(tmp_path, name, columns)
        for target in ("o.csv", "o.jsonl"):
            call = lambda file=file, target=target: look_through(file, tmp_path / target, FACTS, Labelling())  # noqa: E731
            job, seconds, _ = measured(call)
            assert job.table.rows == 1
            assert seconds < 10


# --- JSON


def test_a_key_that_comes_twice_among_many(tmp_path):
    file = tmp_path / "t.jsonl"
    keys = ", ".join(f'"k{i}": 1' for i in range(60_000))
    file.write_text(f'{{"text": "a", "label": "n", "domain": "books", "text": "b", {keys}}}\n')
    data, seconds, _ = measured(lambda: load_domains(file, to_measure=True))
    assert data.rows["text"][:] == ["b"]
    assert any("a key comes twice in line 1 ('text')" in note for note in data.notes)
    assert seconds < 10


@pytest.mark.parametrize("depth", [101, 990, 100_000])
def test_values_within_each_other(tmp_path, depth):
    file = tmp_path / "t.jsonl"
    line = json.dumps({"text": "a", "label": "n", "domain": "books"})
    file.write_text(f'{line}\n{line[:-1]}, "more": {"[" * depth}{"]" * depth}}}\n')
    refused(lambda: load_domains(file), "t.jsonl", "not so in line 2", "more than 100 deep")

    def label() -> int:
        table = stream_table(Lines(Pipe(file.read_bytes(), 1 << 16)), ".jsonl")
        return label_stream(PREDICTOR, plan(table, FACTS, Labelling(prefix="x ")), io.BytesIO(), ".jsonl")

    refused(label, "standard input", "not so in line 2", "more than 100 deep")


def test_values_within_each_other_as_far_as_they_are_read(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "a", "domain": "books", "more": ' + "[" * 99 + "]" * 99 + "}\n")
    for name in ("o.jsonl", "o.csv"):
        job = look_through(file, tmp_path / name, FACTS, Labelling())
        assert label_file(PREDICTOR, job, tmp_path / name) == 1
        assert "[" * 99 in (tmp_path / name).read_text()


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000])
def test_numbers_of_too_many_digits(tmp_path, number):
    file = tmp_path / "t.jsonl"
    file.write_text(f'{{"text": "a", "label": {number}, "domain": "books"}}\n')
    refused(lambda: load_domains(file), "t.jsonl", "not so in line 1", "4300 digits")


@pytest.mark.parametrize(
    ("number", "name"), [("1e999", "inf"), ("-1e999", "-inf"), ("1e20", "1" + "0" * 20), ("9" * 4000, "9" * 4000)]
)
def test_large_numbers_are_labels(tmp_path, number, name):
    file = tmp_path / "t.jsonl"
    file.write_text(f'{{"text": "a", "label": {number}, "domain": "books"}}\n')
    assert load_domains(file, to_measure=True).labels == (name,)


def test_halves_of_surrogate_pairs(tmp_path):
    file = tmp_path / "t.jsonl"
    rows = [{"text": "a", "label": "n", "domain": "books"}, {"text": "b\ud800", "label": "p", "domain": "\udfff"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    refused(lambda: load_domains(file), "t.jsonl#2", "broken characters (half of a surrogate pair) in text")
    file.write_text(json.dumps({"\ud800": 1, **rows[0]}))
    assert load_domains(file, to_measure=True).rows["text"][:] == ["a"]


# --- Parquet


def test_nested_columns(tmp_path):
    nested = pa.array([[{"a": [1, None]}], None, []])
    inside = pa.array([{"x": {"y": b"\xff"}}, {"x": None}, None])
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({**COLUMNS, "nested": nested, "inside": inside}), file)
    assert load_domains(file).rows["text"][:] == COLUMNS["text"]
    pq.write_table(pa.table({**COLUMNS, "text": nested}), file)
    refused(lambda: load_domains(file), "t.parquet#1", "a list, mapping or bytes where one text was expected")


def test_no_row_of_damaged_parquet_is_lost_untold(tmp_path):
    """Each byte of the end of a file, where it says what is in it, is another one."""
    sound, told = parquet_seeds()[1], 0
    file = tmp_path / "t.parquet"
    for place in range(len(sound) - int.from_bytes(sound[-8:-4], "little") - 8, len(sound) - 8):
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 2]) + sound[place + 1 :])
        found, _, _ = measured(lambda: drained(read_table(file)))
        if isinstance(found, DataError):
            assert "t.parquet" in str(found)
            told += "says that it has" in str(found)
    assert told


# --- what is packed


@pytest.mark.parametrize("name", ["t.csv.gz", "t.tsv.gz", "t.jsonl.gz"])
def test_a_gzip_bomb(tmp_path, name):
    file = tmp_path / name
    with gzip.open(file, "wb") as packed:
        packed.write(b"text,label,domain\n")
        for _ in range(300):
            packed.write(b"a" * (1 << 20))
    assert file.stat().st_size < 1 << 20
    _, seconds, memory = measured(lambda: refused(lambda: load_domains(file), name, "more than 200 times its size"))
    assert memory < CONSTANT
    assert seconds < 20
    if name == "t.jsonl.gz":
        refused(lambda: look_through(file, tmp_path / "o.jsonl", FACTS, Labelling()), name, "more than 200 times")


def test_a_gzip_bomb_among_reviews(tmp_path):
    (tmp_path / "books").mkdir()
    file = tmp_path / "books" / "review_positive.gz"
    with gzip.open(file, "wb") as packed:
        for _ in range(300):
            packed.write(b"a" * (1 << 20))
    refused(lambda: load_domains(tmp_path, label=None), "review_positive.gz", "more than 200 times its size")


def test_a_table_of_one_line_many_times_is_no_bomb(tmp_path):
    file = tmp_path / "t.csv.gz"
    file.write_bytes(gzip.compress(b"text,label,domain\n" + b"a,n,books\n" * 100_000 + b"a,p,books\n"))
    assert len(load_domains(file)) == 100_001


@pytest.mark.parametrize(
    "inside", ["../x.csv", "/etc/x.csv", "C:\\x.csv", "..\\x.csv", "CON", "a:b.csv", "x.csv.", "xl/../../x"]
)
def test_archives_are_never_unpacked(tmp_path, inside):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(inside, "text,label,domain\na,n,books\n")
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "t.csv"
    file.write_bytes(sink.getvalue())
    refused(lambda: load_domains(file), "t.csv", "no text but")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "t.csv"]


def test_an_archive_of_a_later_version(tmp_path):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a", "b")
    data = bytearray(sink.getvalue())
    data[data.index(b"PK\x01\x02") + 6] = 99  # the version that is needed to unpack it
    file = tmp_path / "t.csv"
    file.write_bytes(data)
    refused(lambda: load_domains(file), "t.csv: no text but a zip archive, and damaged: fetch it again")


# --- names of files, and links


def test_names_that_are_not_utf_8(tmp_path):
    content = b"text,label,domain\na,n,books\nb,p,books\n"
    name = os.fsdecode(b"caf\xe9.csv")
    (tmp_path / name).write_bytes(content)
    refused(lambda: load_domains(tmp_path / name), "caf", "a name that is not UTF-8")
    refused(lambda: load_domains(tmp_path), tmp_path.name, r"caf\udce9.csv", "a name that is not UTF-8")
    refused(lambda: load_domains("\ud800.csv"), "a name that is not UTF-8")


@pytest.mark.parametrize(
    "name", ["CON.csv", "a:b.csv", "x..csv", "back\\slash.csv", " lead.csv", "star*.csv", "nl\n.csv"]
)
def test_names_that_windows_does_not_have_are_read(tmp_path, name):
    (tmp_path / name).write_text("text,label,domain\na,n,books\nb,p,books\n")
    assert load_domains(tmp_path).rows["id"][:] == [f"{name}#1", f"{name}#2"]


def test_links_in_folders_of_tables(tmp_path):
    (tmp_path / "real.csv").write_text("text,label,domain\na,n,books\nb,p,books\n")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").symlink_to("../real.csv")
    os.link(tmp_path / "real.csv", folder / "b.csv")
    (folder / "loop").symlink_to(".")
    assert len(load_domains(folder)) == 4
    (folder / "c.csv").symlink_to("c.csv")
    refused(lambda: load_domains(folder), "c.csv", "is a link to")


def test_a_hard_link_keeps_what_it_had(tmp_path):
    """What is written takes the place of a name; another name of the old file keeps its content."""
    (tmp_path / "t.csv").write_text("text,domain\na,books\n")
    (tmp_path / "old.csv").write_text("mine")
    os.link(tmp_path / "old.csv", tmp_path / "out.csv")
    job = look_through(tmp_path / "t.csv", tmp_path / "out.csv", FACTS, Labelling(), overwrite=True)
    assert label_file(PREDICTOR, job, tmp_path / "out.csv") == 1
    assert (tmp_path / "old.csv").read_text() == "mine"
    assert "a,books" in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize("name", ["../x.arrow", "/etc/passwd", "C:\\x.arrow", "..\\x", "a:b", "sub/x.arrow", "CON"])
def test_a_saved_data_set_that_names_files_elsewhere(tmp_path, name):
    import datasets

    folder = tmp_path / "set"
    datasets.Dataset.from_dict(COLUMNS).save_to_disk(folder)
    assert len(load_domains(folder)) == 3
    state = json.loads((folder / "state.json").read_text())
    state["_data_files"] = [{"filename": name}]
    (folder / "state.json").write_text(json.dumps(state))
    refused(lambda: load_domains(folder), "state.json", repr(name), "no files of its own folder")


def test_a_saved_data_set_whose_values_lie_nowhere(tmp_path):
    """Arrow trusts its files: such an offset would be read wherever it points to."""
    import datasets

    folder = tmp_path / "set"
    datasets.Dataset.from_dict(COLUMNS | {"text": ["abcdefgh"] * 3}).save_to_disk(folder)
    (file,) = folder.glob("*.arrow")
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 8, 16, 24))
    data = file.read_bytes()
    assert data.count(offsets) == 1
    file.write_bytes(data.replace(offsets, offsets[:4] + (1 << 30).to_bytes(4, "little") + offsets[8:]))
    refused(lambda: load_domains(folder), "set: cannot be opened as a folder written by save_to_disk")


# --- reviews


def test_reviews_with_numbers_of_thousands_of_digits(tmp_path):
    (tmp_path / "books").mkdir()
    text = "a &#" + "1" * 5000 + "; b &#" + "0" * 5000 + "65; c &#x" + "f" * 5000 + "; d &#228;"
    for name in ("positive", "negative"):
        review = f"<review>\n<review_text>\n{text}\n</review_text>\n</review>\n"
        (tmp_path / "books" / f"{name}.review").write_text(review)
    assert read_amazon_reviews(tmp_path).text == ["a \ufffd b A c \ufffd d ä"] * 2


@pytest.mark.parametrize(
    "text",
    [
        "<review>\n<review_text>\na\n</review_text>\n<review_text>\nb\n</review_text>\n</review>\n",
        "<review>\n<review_text>\na\n</review_text>\n</review>\n<review_text>\nlost\n</review_text>\n",
        "<review_text>\nlost\n</review_text>\n<review>\n<review_text>\na\n</review_text>\n</review>\n",
    ],
)
def test_no_text_of_a_review_is_lost_untold(tmp_path, text):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "positive.review").write_text(text)
    (tmp_path / "books" / "negative.review").write_text("<review>\n<review_text>\na\n</review_text>\n</review>\n")
    refused(lambda: load_domains(tmp_path), "books/positive.review:", "or with one twice")


def test_two_folders_of_one_domain(tmp_path):
    for folder in ("kitchen", "kitchen_&_housewares"):
        (tmp_path / folder).mkdir()
        for name in ("positive", "negative"):
            review = "<review>\n<review_text>\na\n</review_text>\n</review>\n"
            (tmp_path / folder / f"{name}.review").write_text(review)
    refused(lambda: load_domains(tmp_path), "the folders kitchen, kitchen_&_housewares are of one domain")


# --- streams


def test_a_line_that_does_not_end_for_long(tmp_path):
    """It comes in pieces of a pipe's size, and is put together once."""
    data = b"text\tdomain\n" + b"a" * 60_000_000 + b"\tbooks\n"
    out = io.BytesIO()

    def label() -> int:
        job = plan(stream_table(Lines(Pipe(data, 1 << 16)), ".tsv"), FACTS, Labelling())
        return label_stream(PREDICTOR, job, out, ".tsv")

    labelled, seconds, memory = measured(label)
    assert labelled == 1
    assert out.getvalue().startswith(b"text\tdomain\tlabel\tscore\naaa")
    assert seconds < 20
    assert memory < TIMES * len(data) + CONSTANT


def test_errors_about_all_rows_name_the_file(tmp_path):
    file = stored(tmp_path, "t.csv", COLUMNS | {"label": ["n"] * 3})
    refused(lambda: load_domains(file), "t.csv: all 3 rows have the label 'n'")
