"""Raw layouts of public sets, written byte by byte with their defects; and the real ones, where HRKD_DATA has them."""

from __future__ import annotations

import gzip
import logging
from collections import Counter
from pathlib import Path

import pytest

from hrkd.data.readers.sources import load_domains
from sources import error, real

# --- Amazon Reviews


def review(body: bytes) -> bytes:
    return (
        b"<review>\n<unique_id>\n1:a\n</unique_id>\n<helpful>\n</helpful>\n<title>\nT & t\n</title>\n<product_name>\n"
        b"kitchen & housewares\n</product_name>\n<review_text>\n" + body + b"\n</review_text>\n</review>\n"
    )


QUIRKS = {
    "plain": (b"Good book.", "Good book."),
    "blank lines": (b"\nfirst\n\n  second\tpart \n", "first second part"),
    "entities": (b"&quot;a &amp; b&quot; &lt; c & d&#45;e &#8217;", '"a & b" < c & d-e \u2019'),
    "mark": (b"a&#65279;b \xef\xbb\xbfc", "ab c"),
    "control character": (b"na\x1ave idea\x00", "na\x1ave idea\x00"),
    "replacement character": ("caf\ufffd".encode(), "caf\ufffd"),
    "one-byte line after UTF-8": ("\u00e9".encode() + b"\nd\xe9j\xe0 \x96 vu", "\u00e9 d\u00e9j\u00e0 \u2013 vu"),
    "byte unknown to Windows-1252": (b"a\x81b", "a\ufffdb"),
    "other line separators": ("a\u0085b\u2028c\x0cd".encode(), "a b c d"),
    "markup in the text": (b"<br>\n<title>\nx & y\n</title>", "<br> <title> x & y </title>"),
    "carriage returns": (b"a\r\nb\rc", "a b c"),
}  # fmt: skip


def write_amazon(root: Path, domains: tuple[str, ...] = ("books", "kitchen_&_housewares")) -> Path:
    for domain in domains:
        (root / domain).mkdir(parents=True)
        for label in ("positive", "negative"):
            (root / domain / f"{label}.review").write_bytes(review(b"one " + label.encode()) + review(b"two"))
    return root


@pytest.mark.parametrize(("body", "text"), QUIRKS.values(), ids=QUIRKS.keys())
def test_amazon_texts(tmp_path: Path, body: bytes, text: str) -> None:
    write_amazon(tmp_path)
    (tmp_path / "books" / "negative.review").write_bytes(review(b"before") + review(body) + review(b"after"))
    rows = load_domains(tmp_path).rows
    assert rows["text"][:3] == ["before", text, "after"]
    assert rows["id"][:3] == ["books/negative#1", "books/negative#2", "books/negative#3"]


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (b"", b""),
        (b"<data>\n", b"</data>\n"),
        (b"\xef\xbb\xbf", b""),
        (b'<?xml version="1.0"?>\n<reviews>\n', b"</reviews>"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_amazon_with_and_without_root(tmp_path: Path, head: bytes, tail: bytes, end: bytes) -> None:
    write_amazon(tmp_path)
    data = (head + review(b"a") + b"\n" + review(b"b") + tail).replace(b"\n", end)
    (tmp_path / "books" / "negative.review").write_bytes(data)
    assert load_domains(tmp_path).rows["text"][:3] == ["a", "b", "one positive"]


@pytest.mark.parametrize("layout", ["auto", "amazon_reviews"])
@pytest.mark.parametrize("below", ["", "sorted_data_acl"])
def test_amazon_names_and_numbers(tmp_path: Path, layout: str, below: str) -> None:
    write_amazon(tmp_path / below)
    (tmp_path / below / "books" / "unlabeled.review").write_bytes(review(b"more"))
    (tmp_path / below / "stopwords").touch()
    data = load_domains(tmp_path, format=layout)
    assert (data.labels, data.domains) == (("negative", "positive"), ("books", "kitchen"))
    assert data.rows["id"][-1] == "kitchen/positive#2"
    assert set(data.count().values()) == {2}
    assert data.rows.column_names == ["id", "text", "label", "domain"]
    assert load_domains(tmp_path, domains=["kitchen"]).domains == ("kitchen",)


@pytest.mark.parametrize("cut", [b"</review_text>\n</review>\n", b"</review>\n", b"<review_text>\nbad\n"])
def test_amazon_incomplete_reviews(tmp_path: Path, cut: bytes) -> None:
    write_amazon(tmp_path)
    damaged = review(b"bad")
    assert cut in damaged
    first = review(b"good")
    line = first.count(b"\n") + 1
    file = tmp_path / "kitchen_&_housewares" / "negative.review"
    file.write_bytes(first + damaged.replace(cut, b"") + review(b"good"))
    assert f"at kitchen_&_housewares/negative.review:{line} (file:line)" in error(tmp_path)


def test_amazon_file_cut_off_at_its_end(tmp_path: Path) -> None:
    write_amazon(tmp_path)
    for label in ("positive", "negative"):
        file = tmp_path / "books" / f"{label}.review"
        file.write_bytes(file.read_bytes()[:-30])
    assert "at books/negative.review:17, books/positive.review:17 (file:line)" in error(tmp_path)


def test_amazon_files_missing_or_without_reviews(tmp_path: Path) -> None:
    write_amazon(tmp_path)
    (tmp_path / "books" / "negative.review").write_bytes(b"<data>\n</data>\n")
    assert "no <review> in books/negative.review" in error(tmp_path)
    (tmp_path / "books" / "negative.review").unlink()
    assert error(tmp_path) == f"{tmp_path}: missing books/negative.review"
    assert "found none" in error(tmp_path / "books", format="amazon_reviews")


# --- FDU-MTL


def write_fdu(folder: Path, **files: bytes) -> Path:
    defaults = dict.fromkeys(("MR.task.train", "MR.task.test"), b"1\tgood .\n0\tbad .\n")
    for name, data in {**defaults, **files}.items():
        (folder / name).write_bytes(data)
    (folder / "MR.task.unlabel").write_bytes(b"no tab here\n")
    return folder


@pytest.mark.parametrize("layout", ["auto", "fdu_mtl"])
def test_fdu(tmp_path: Path, layout: str) -> None:
    data = load_domains(write_fdu(tmp_path), format=layout)
    assert list(data.rows) == [
        {"id": "MR.task.train#1", "text": "good .", "label": 1, "domain": 0, "split": "train"},
        {"id": "MR.task.train#2", "text": "bad .", "label": 0, "domain": 0, "split": "train"},
        {"id": "MR.task.test#1", "text": "good .", "label": 1, "domain": 0, "split": "test"},
        {"id": "MR.task.test#2", "text": "bad .", "label": 0, "domain": 0, "split": "test"},
    ]
    assert data.labels == ("negative", "positive")


def test_fdu_encodings_by_line_and_lf_alone_as_line_end(tmp_path: Path) -> None:
    lines = [
        "1\tcaf\u00e9 \u0085 a\u2028b".encode(),
        b"0\td\xe9j\xe0 vu \x96 it's",
        b"1\tbroken \xc3 \x81 end",
        b"0\tsecond\ttab \x0c\x1c ",
    ]
    texts = load_domains(write_fdu(tmp_path, **{"MR.task.train": b"\n".join(lines)})).rows["text"][:4]
    assert texts == [
        "caf\u00e9 \u0085 a\u2028b",
        "d\u00e9j\u00e0 vu \u2013 it's",
        "broken \u00c3 \ufffd end",
        "second\ttab",
    ]


def test_fdu_empty_texts_are_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="hrkd.data"):
        rows = load_domains(write_fdu(tmp_path, **{"MR.task.train": b"1\ta\n0\t \n0\tb\n"})).rows
    assert rows["id"][:2] == ["MR.task.train#1", "MR.task.train#3"]
    assert caplog.messages == ["left out 1 row (no text): MR.task.train:2"]
    assert caplog.records[0].name == "hrkd.data"


def test_fdu_lines_of_another_form(tmp_path: Path) -> None:
    write_fdu(tmp_path, **{"MR.task.train": b"1\ta\nno tab\n\n2\tb\n0\tc\n", "MR.task.test": b"0\ta\npositive\tb\n"})
    assert "not so in MR.task.train:2, MR.task.train:3, MR.task.train:4, MR.task.test:2 (file:line)" in error(tmp_path)


def test_fdu_missing_files(tmp_path: Path) -> None:
    write_fdu(tmp_path, **{"dvd.task.train": b"1\ta\n"})
    assert error(tmp_path) == f"{tmp_path}: missing dvd.task.test"
    (tmp_path / "empty").mkdir()
    assert "found none" in error(tmp_path / "empty", format="fdu_mtl")


# --- MultiNLI

SHORT = "genre\tsentence1\tsentence2\tgold_label"
GLUE = "index\tpromptID\tgenre\tsentence1_binary_parse\tsentence1\tsentence2\tlabel1\tgold_label"


def tsv(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


TRAIN = tsv(
    SHORT + "\tsource",
    'travel\t\u00a0"Open quote. \tNo. \tneutral\tpada',
    'travel\t"A" and "b"\tN/A\tentailment\tpada',
    "travel\tC\u0085c\tnull\tcontradiction\tboth",
)
DEV = tsv(SHORT, 'travel\t"D\tE"\tneutral')


def write_mnli(folder: Path, **files: bytes) -> Path:
    for name, data in (files or {"train_subset.tsv.gz": TRAIN, "dev_matched.tsv.gz": DEV}).items():
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (folder / "dev_mismatched.tsv").write_bytes(b"not read")
    (folder / "test_matched.tsv").write_bytes(b"not read")
    return folder


@pytest.mark.parametrize("layout", ["auto", "mnli"])
def test_mnli(tmp_path: Path, layout: str) -> None:
    data = load_domains(write_mnli(tmp_path), format=layout)
    assert data.labels == ("contradiction", "entailment", "neutral")
    assert data.domains == ("travel",)
    assert data.has_pairs
    assert data.rows["id"][:] == [f"train_subset.tsv.gz#{n}" for n in (1, 2, 3)] + ["dev_matched.tsv.gz#1"]
    assert data.rows["text"][:] == ['"Open quote.', '"A" and "b"', "C\u0085c", '"D']
    assert data.rows["text_pair"][:] == ["No.", "N/A", "null", 'E"']
    assert data.rows["split"][:] == ["train", "train", "train", "test"]
    assert data.label_ids.tolist() == [2, 1, 0, 2]


def test_mnli_in_glue_columns_with_rows_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = tsv(
        GLUE,
        "0\t1p\tfiction\t( A )\tA\tB\tneutral\tneutral",
        "1\t2p\tfiction\t( A )\tC\tD\tneutral\t-",
        "2\t3p\tfiction\t( A )\tE\t\tneutral\tneutral",
        "3\t4p\tfiction\t( A )\tF\tG\tneutral\tentailment",
    )
    dev = tsv(GLUE, "0\t1p\tfiction\t( A )\tH\tI\tneutral\tentailment")
    with caplog.at_level(logging.WARNING, logger="hrkd.data"):
        data = load_domains(write_mnli(tmp_path, **{"train.tsv": train, "dev_matched.tsv": dev}))
    assert data.rows["id"][:] == ["train.tsv#1", "train.tsv#4", "dev_matched.tsv#1"]
    assert data.rows["text"][:] == ["A", "F", "H"]
    assert caplog.messages == [
        "left out 1 row (no gold label): train.tsv#2",
        "left out 1 row (no text): train.tsv#3",
    ]


def test_mnli_errors(tmp_path: Path) -> None:
    for name, train, dev, expected in (
        ("label", TRAIN + b"travel\ta\tb\tmaybe\tx\n", DEV, "not so in train.tsv#4 ('maybe')"),
        ("column", TRAIN.replace(b"genre\t", b"topic\t"), DEV, "train.tsv: no column genre; columns found: topic"),
        ("ragged", TRAIN + b"travel\ta\tb\n", DEV, "header has 5 fields, but not row #4 (line 5, 3 fields)"),
        ("empty", TRAIN, b"", "dev_matched.tsv: the file is empty"),
        ("genre", TRAIN, DEV + b"slate\ta\tb\tneutral\n", "no train rows in domain slate"),
        ("no genre", TRAIN, DEV + b"\ta\tb\tneutral\n", "column 'genre': empty or null domain"),
    ):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        assert expected in error(write_mnli(folder, **{"train.tsv": train, "dev_matched.tsv": dev}))


def test_mnli_domain_without_train_rows_can_be_left_out(tmp_path: Path) -> None:
    write_mnli(tmp_path, **{"train.tsv": TRAIN, "dev_matched.tsv": DEV + b"slate\ta\tb\tneutral\n"})
    assert len(load_domains(tmp_path, domains=["travel"])) == 4


def test_mnli_files_missing_or_twice(tmp_path: Path) -> None:
    write_mnli(tmp_path, **{"dev_matched.tsv": DEV})
    assert f"{tmp_path}: no train*.tsv or train*.tsv.gz" in error(tmp_path)
    write_mnli(tmp_path, **{"train.tsv": TRAIN, "train.tsv.gz": TRAIN})
    assert "train.tsv stands there plain and compressed" in error(tmp_path)


def test_research_sets_have_columns_of_their_own(tmp_path: Path) -> None:
    assert "format 'mnli' has columns of its own; leave out text, id" in error(write_mnli(tmp_path), text="a", id="b")


# --- the real sets


def test_real_amazon_reviews() -> None:
    data = load_domains(real("amazon_reviews"))
    assert data.domains == ("books", "dvd", "electronics", "kitchen")
    assert set(data.count().values()) == {1000}
    assert len(data) == 8000
    texts = data.rows["text"][:]
    bodies = Counter(zip(data.domain_ids.tolist(), data.label_ids.tolist(), texts, strict=True))
    assert sum(n - 1 for n in bodies.values()) == 148
    words = [len(t.split()) for t, d, y in zip(texts, data.domain_ids, data.label_ids, strict=True) if (d, y) == (0, 0)]
    assert (max(words), sum(n > 256 for n in words)) == (3393, 178)


def test_real_fdu_mtl(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="hrkd.data"):
        data = load_domains(real("fdu_mtl"))
    assert Counter(data.rows["split"][:]) == {"train": 25_379, "test": 6_400}
    assert len(data.domains) == 16
    assert caplog.messages == ["left out 1 row (no text): sports_outdoors.task.train:1121"]
    parts = Counter(zip(data.domain_ids.tolist(), data.rows["split"][:], data.label_ids.tolist(), strict=True))
    mr, imdb = data.domains.index("MR"), data.domains.index("imdb")
    assert [parts[mr, "train", 1], parts[mr, "train", 0], parts[imdb, "test", 1], parts[imdb, "test", 0]] == [
        778, 822, 199, 201
    ]  # fmt: skip


def test_real_mnli() -> None:
    data = load_domains(real("mnli"))
    splits = data.rows["split"][:]
    assert Counter(splits) == {"train": 25_072, "test": 9_815}
    counts = Counter(zip(data.domain_ids.tolist(), splits, strict=True))
    assert [counts[d, "test"] for d in range(5)] == [1973, 1945, 1955, 1966, 1976]
    assert [counts[d, "train"] for d in range(5)] == [4972, 4956, 5022, 5171, 4951]
    labels = Counter(y for y, split in zip(data.label_ids.tolist(), splits, strict=True) if split == "test")
    assert [labels[data.labels.index(name)] for name in ("entailment", "neutral", "contradiction")] == [
        3479,
        3123,
        3213,
    ]
