"""Texts and tables from a stream: labelled as they come, with errors that name the line."""

import csv
import gzip
import io
import json
import logging

import pytest

from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.label_table import Labelling, label_stream, plan
from hrkd.deploy.predict import Predictor
from hrkd.deploy.streams import Lines, label_lines, stream_table
from hrkd.errors import DataError


class Pipe:
    """Gives one block after the other, as a pipe that is written to at times."""

    def __init__(self, *blocks):
        self.blocks = [block if isinstance(block, bytes) else block.encode() for block in blocks]

    def read1(self, _):
        return self.blocks.pop(0) if self.blocks else b""


class Lazy(Predictor):
    """Notes how many blocks of its pipe are left when it is asked."""

    def __init__(self, predictor, pipe):
        super().__init__(predictor.engine)
        self.pipe, self.left = pipe, []

    def answers(self, asked, *, batch_size=64):
        self.left.append((len(asked.texts), len(self.pipe.blocks)))
        return super().answers(asked, batch_size=batch_size)


@pytest.fixture(scope="module")
def predictor(student, tokenizer):
    return Predictor(TorchEngine(student, tokenizer))


def answers(predictor, *blocks, on_bad_row="stop", all_labels=False, domain="books"):
    out = io.StringIO()
    lines = Lines(Pipe(*blocks))
    label_lines(predictor, lines, out, domain=domain, all_labels=all_labels, on_bad_row=on_bad_row)
    return out.getvalue().splitlines()


def said(predictor, text, domain="books"):
    (answer,) = predictor(text, domain=domain)
    return f"{answer['label']} {answer['score']:.4f}\t{' '.join(text.split())}"


def test_each_line_gets_an_answer(predictor):
    found = answers(predictor, "\ufeffgood book\nbad fi", "lm\r\na  very\tbad plot\u2028is good")
    assert found == [said(predictor, text) for text in ("good book", "bad film", "a very bad plot is good")]


def test_all_labels_are_ranked(predictor):
    (line,) = answers(predictor, "good\n", all_labels=True)
    (ranked,) = predictor("good", domain="books", all_labels=True)
    assert line == "  ".join(f"{each['label']} {each['score']:.4f}" for each in ranked) + "\tgood"


def test_what_is_there_is_answered_before_more_is_waited_for(predictor):
    pipe = Pipe("good\nbad\nvery", " good\n", "bad")
    lazy = Lazy(predictor, pipe)
    label_lines(lazy, Lines(pipe), io.StringIO(), domain="books", all_labels=False, on_bad_row="stop")
    assert lazy.left == [(2, 2), (1, 1), (1, 0)]


def test_lines_without_text(predictor, caplog):
    good, bad = said(predictor, "good"), said(predictor, "bad")
    out = io.StringIO()
    with pytest.raises(DataError, match="standard input: no text in line 2; remove it, or"):
        label_lines(predictor, Lines(Pipe("good\n \nbad\n")), out, domain="books", all_labels=False, on_bad_row="stop")
    assert out.getvalue() == f"{good}\n"
    with caplog.at_level(logging.WARNING, logger="hrkd"):
        assert answers(predictor, "good\n \nbad\n\n", on_bad_row="skip") == [good, bad]
        assert answers(predictor, "good\n \nbad\n", on_bad_row="blank") == [good, "\t", bad]
    assert "2 lines without text left out (line 2, 4)" in caplog.text
    assert answers(predictor, "good\n\u200b\nbad\n", on_bad_row="skip") == [good, bad]
    assert "1 line without text left blank (line 2)" in caplog.text
    with pytest.raises(DataError, match="no text in line 2; remove it"):
        answers(predictor, "good\n\u0301\n")


def test_lines_that_are_not_utf8_are_named(predictor):
    with pytest.raises(DataError, match="standard input: not UTF-8 in line 2"):
        answers(predictor, "good\n", b"b\xe4d\n")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            gzip.compress(b"good", mtime=0),
            "standard input: no text but compressed with gzip; unpack or convert it first, or give",
        ),
        (b"PAR1....", "standard input: no text but a Parquet file; "),
        ("good book\n".encode("utf-16"), r"in UTF-16, expected UTF-8; convert it \(iconv -f UTF-16 -t UTF-8\)"),
        ("good book\n".encode("utf-16-le"), "in UTF-16LE, expected UTF-8"),
    ],
)
def test_what_is_no_text_is_told_by_its_first_bytes(predictor, data, words):
    with pytest.raises(DataError, match=words):
        answers(predictor, data)


def table(predictor, kind, *blocks, to=None, pipe=None, **how):
    lines = Lines(pipe or Pipe(*blocks))
    job = plan(stream_table(lines, kind), predictor.facts, Labelling(**how))
    out = io.BytesIO()
    label_stream(predictor, job, out, to or job.table.kind)
    return out.getvalue().decode()


CSV = 'text,nr,domain\n"good, ""book""\nis a book",007,books\nbad,1, music \n'


@pytest.mark.parametrize("cut", [1, 7, 20, 40, 1000])
def test_csv_comes_out_as_it_went_in(predictor, cut):
    found = table(predictor, ".csv", *(CSV[i : i + cut] for i in range(0, len(CSV), cut)))
    rows = list(csv.DictReader(io.StringIO(found, newline="")))
    own = list(csv.DictReader(io.StringIO(CSV, newline="")))
    assert [{name: row[name] for name in own[0]} for row in rows] == own
    expected = predictor([row["text"] for row in own], domain=["books", "music"])
    assert [row["label"] for row in rows] == [answer["label"] for answer in expected]


def test_rows_of_a_table_come_out_before_more_is_waited_for(predictor):
    pipe = Pipe("text,domain\ngood,books\nbad,", "music\ngood", ",books\n")
    lazy = Lazy(predictor, pipe)
    assert table(lazy, ".csv", pipe=pipe).count("\n") == 4
    assert lazy.left == [(1, 2), (1, 1), (1, 0)]


def test_json_lines_are_told_by_their_first_character(predictor):
    line = '{"text": "good", "n": 1.0}'
    found = table(predictor, None, f"{line}\n\n", '{"text": "bad", "late": [1]}\n', domain="books")
    assert [next(iter(found.splitlines()))[: len(line) - 1], found.count("\n")] == [line[:-1], 2]
    assert json.loads(found.splitlines()[1])["late"] == [1]
    with pytest.raises(DataError, match="standard input: say what it is: --input-format csv, tsv or jsonl"):
        table(predictor, None, CSV)


def test_formats_change_on_the_way(predictor):
    first = json.loads(table(predictor, ".csv", CSV, to=".jsonl").splitlines()[0])
    assert first | {"label": 0, "score": 0} == {
        "text": 'good, "book"\nis a book', "nr": "007", "domain": "books", "label": 0, "score": 0,
    }  # fmt: skip
    tsv = table(predictor, ".tsv", 'text\tdomain\n"good\tbooks\n', to=".csv")
    assert tsv.splitlines()[1].startswith('"""good",books,')
    lines = '{"text": "good", "domain": "books", "n": 1.10}\n'
    assert table(predictor, ".jsonl", lines, to=".tsv").splitlines()[1].startswith("good\tbooks\t1.10\t")


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        (".csv", "", "standard input: nothing there; expected a table with a header"),
        (".csv", "text,domain\ngood,books,x\n", r"not the row that ends at line 2 \(3 fields\)"),
        (".csv", 'text,domain\n"good,books\n', "standard input: bad quoting in the row that ends at line 2"),
        (".tsv", "text\tdomain\ngood\n", r"not the row that ends at line 2 \(1 fields\)"),
        (".csv", "txt,domain\ngood,books\n", "standard input: no column 'text' .*found txt, domain"),
        (
            ".csv",
            "text|domain\ngood|books\n",
            r"the header holds '\|' and no ',', so fields seem to be separated by it",
        ),
        (".csv", "text,domain\ngood,books\n,books\n", "(?s)standard input: 1 row cannot be labelled.*row 2"),
        (".jsonl", '{"text": "good", "domain": "books"}\n[]\n', r"one JSON object a line, not so in line 2 \(list\)"),
        (".jsonl", '{"text": "good", "domain": "books"}\n{\n', "one JSON object a line, not so in line 2"),
        (".jsonl", '{"label": 1, "text": "good", "domain": "books"}\n', "has a column 'label' already"),
    ],
)
def test_what_does_not_fit_is_named(predictor, kind, content, words):
    with pytest.raises(DataError, match=words):
        table(predictor, kind, content)


def test_semicolons_separate_the_fields_of_a_header_without_commas(predictor):
    found = table(predictor, ".csv", 'text;domain\n"good; or bad";books\n', to=".csv").splitlines()
    assert found[0].startswith("text,domain,")
    assert found[1].startswith("good; or bad,books,")


@pytest.mark.parametrize("kind", [".csv", ".tsv"])
def test_blank_lines_of_a_single_column_are_rows(predictor, kind):
    found = table(predictor, kind, "text\ngood\n", "\n", "bad\n\n", to=".csv", domain="books", on_bad_row="blank")
    assert [line.split(",")[0] for line in found.splitlines()] == ["text", "good", "", "bad"]
    with pytest.raises(DataError, match="1 empty text in column 'text': row 2"):
        table(predictor, kind, "text\ngood\n\nbad\n", domain="books")


@pytest.mark.parametrize(("kind", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_a_header_in_the_middle(predictor, kind, separator):
    with pytest.raises(DataError, match=r"the header comes once more, .* in the row that ends at line 3; remove it"):
        table(predictor, kind, "text,domain\ngood,books\n\ufefftext,domain\nbad,books\n".replace(",", separator))


def test_rows_that_a_quote_swallows_are_told(predictor, caplog):
    rows = ["text,domain", "good,books", '"bad,books', "good,music", 'bad",music', "good,books"]
    with pytest.raises(DataError, match="standard input: each of the lines 3 to 5 looks like a row"):
        table(predictor, ".csv", "\n".join(rows) + "\n", on_bad_row="skip")
    with caplog.at_level(logging.WARNING, logger="hrkd"):
        table(predictor, ".csv", 'text,domain\n"a long\nbad,music\nbook",books\n', "good,books\n")
    assert "holds one that looks like a row of the table (line 3)" in caplog.text


def test_later_keys(predictor):
    """Their own lines hold them; a header that is written already does not."""
    later = ['{"text": "good", "domain": "books"}\n', '{"text": "bad", "domain": "books", "x": 1}\n']
    assert '"x": 1, "label"' in table(predictor, ".jsonl", *later)
    with pytest.raises(DataError, match=r"standard output: the key 'x' comes up after the first rows.*write \.jsonl"):
        table(predictor, ".jsonl", *later, to=".csv")
    with pytest.raises(DataError, match="standard input: has a column 'score' already"):
        table(predictor, ".jsonl", later[0], later[1].replace('"x"', '"score"'))


def test_an_empty_stream_of_json_lines_is_a_table_without_rows(predictor):
    assert table(predictor, ".jsonl", "") == ""
    assert table(predictor, ".csv", "text,domain\n") == "text,domain,label,score\n"
