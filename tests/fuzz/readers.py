"""Targets: the readers of tables and of research sets, each with another count of the rows that it is given."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuzz.harness import Target, must, quiet, scratch, told
from hrkd.data.readers.amazon import read_amazon_extra, read_amazon_reviews, read_amazon_unlabelled
from hrkd.data.readers.file_kinds import encoding_of, kind_of, told_of_bytes
from hrkd.data.readers.parts import Part
from hrkd.data.readers.research import read_fdu_mtl, read_fdu_unlabelled, read_mnli
from hrkd.data.readers.sources import load_domains
from hrkd.data.readers.split_names import says_a_split, splits_of
from hrkd.data.readers.tables import read_table, read_tables, separator_of
from hrkd.data.rows import RawRows, canonical_split, fault_of, name_of, sorted_labels
from hrkd.errors import DataError
from hrkd.support.folder_names import fault_of_path, folder_names
from hrkd.support.messages import suggestion

ROWS = [("a good book", "p", "books"), ('a "bad" one, really', "n", "dvd"), ("caf\u00e9\nof two lines", "1.0", "books")]
HEADER = ("text", "label", "domain")
LEFT_OUT = re.compile(r"left out ([\d,]+) rows? ")


def csv_seed(separator: str = ",", rows: Sequence[Sequence[str]] = ROWS) -> bytes:
    sink = io.StringIO()
    csv.writer(sink, delimiter=separator).writerows([HEADER, *rows])
    return sink.getvalue().encode()


def tsv_seed() -> bytes:
    rows = [HEADER, *([field.replace("\n", " ") for field in row] for row in ROWS)]
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def jsonl_seed() -> bytes:
    rows = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    rows.append({"text": 1.5, "label": 1, "domain": None, "more": {"a": [1, {"b": None}]}})
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def drained(part: Part) -> int:
    """Read all of a part in both ways; the rows that it has."""
    places = range(min(len(part.columns), 5))
    streamed = 0
    for columns in part.stream(list(places)):
        must(len({len(values) for values in columns}) <= 1, "columns of different lengths")
        streamed += len(columns[0]) if columns else 0
    if places:
        must(streamed == part.rows, f"{part.rows} rows were announced, {streamed} came")
    assert part.whole is not None
    whole = 0
    for rows in part.whole(None):
        whole += len(rows)
        if rows.names and len(rows):
            must(len(rows.values(rows.names[0])) == len(rows), "a column is shorter than its rows")
    must(whole == part.rows, f"{part.rows} rows were announced, {whole} came whole")
    for _ in () if part.long_rows is None else part.long_rows():
        pass
    return part.rows


def _table(name: str, expected: Callable[[bytes], int | None]) -> Callable[[bytes], str]:
    file = scratch(f"table-{name}") / f"t{name}"

    def run(data: bytes) -> str:
        file.write_bytes(data)
        part = read_table(file)
        rows = drained(part)
        wanted = expected(data)
        must(wanted is None or rows == wanted, f"{wanted} rows in the file, {rows} read")
        return f"{min(rows, 20)} rows of {min(len(part.columns), 10)}{' with notes' if part.notes else ''}"

    return run


def _records(data: bytes) -> int:
    """Rows of CSV by another way of reading: all at once."""
    text = data.decode("utf-8-sig")
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    records = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(first), strict=True))
    return _below_the_header(records)


def _below_the_header(records: list[list[str]]) -> int:
    kept = [record for record in records if record]
    if kept and len(kept[0]) == 1:  # blank lines are empty rows, but for those before the header and the last one
        begun = next(i for i, record in enumerate(records) if record)
        records = records[begun:]
        blank_at_the_end = len(records) - next(i for i in range(len(records), 0, -1) if records[i - 1])
        return len(records) - 1 - min(1, blank_at_the_end)
    return len(kept) - 1


def _lines(data: bytes) -> int:
    lines = data.decode("utf-8-sig").split("\n")
    ended = [line.removesuffix("\r") for line in lines[: -1 if not lines[-1] else None]]
    return _below_the_header([line.split("\t") if line else [] for line in ended])


def _objects(data: bytes) -> int:
    return sum(bool(line.strip()) for line in data.decode("utf-8-sig").split("\n"))


def _unpacked(data: bytes) -> int | None:
    return _records(gzip.decompress(data))


@cache
def parquet_seeds() -> tuple[bytes, ...]:
    columns = dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True))
    nested = {"text": [[1, 2], None, []], "label": [{"a": 1}, None, {"a": 2}], "domain": [b"x", b"\xff", None]}
    kinds = {
        "text": pa.array(["a", "b", "a"]).dictionary_encode(),
        "label": pa.array([0, 1, -1], pa.int8()),
        "domain": pa.array([1.5, None, float("nan")], pa.float32()),
    }
    features = {"label": {"_type": "ClassLabel", "names": ["n", "p"]}}
    said = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    tables = [
        pa.table(columns),
        pa.table({"text": pa.array(nested["text"]), "label": pa.array(nested["label"]), "domain": nested["domain"]}),
        pa.table(kinds).replace_schema_metadata(said),
        pa.table(columns).slice(0, 0),
    ]
    found = []
    for table in tables:
        for options in ({}, {"compression": "none", "data_page_version": "2.0"}):
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, **options)
            found.append(sink.getvalue().to_pybytes())
    return tuple(found)


def _archives() -> list[bytes]:
    found = []
    for name in ("xl/a.xml", "word/b.xml", "../x", "C:\\x", "CON", "a:b", "x."):
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            archive.writestr(name, "x")
        found.append(sink.getvalue())
    return [*found, b"%PDF-1", b"\x80\x04\x95", b" <html", b"a" * 300, "é".encode("utf-16"), "ü".encode("cp1252")]


def _run_kinds(data: bytes) -> str:
    file = scratch("kinds") / "t.csv"
    file.write_bytes(data)
    told_of = kind_of(file, data)
    return f"{told_of} {told_of_bytes(data)} {encoding_of(enumerate(data.splitlines(True), 1))[:12]}"


def _counted(rows: RawRows, messages: Sequence[str]) -> int:
    lengths = {len(values) for values in vars(rows).values() if isinstance(values, list)}
    must(len(lengths) == 1, f"columns of different lengths: {lengths}")
    must(len(set(rows.places)) == len(rows.places), "two rows have the same place")
    return len(rows.places) + sum(int(found[1].replace(",", "")) for m in messages if (found := LEFT_OUT.match(m)))


def _plain_lines(data: bytes) -> list[bytes]:
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line.removesuffix(b"\r") for line in (lines[:-1] if not lines[-1] else lines)]


REVIEW = b"<review>\n<unique_id>\n1\n</unique_id>\n<review_text>\na &amp; b &#228; good\n</review_text>\n</review>\n"


def _research(
    name: str,
    file: str,
    others: dict[str, bytes],
    read: Callable[[Path], RawRows],
    expected: Callable[[bytes], int],
    others_rows: int = 0,
) -> Callable[[bytes], str]:
    folder = scratch(f"research-{name}")
    for other, content in others.items():
        (folder / other).parent.mkdir(parents=True, exist_ok=True)
        (folder / other).write_bytes(content)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)

    def run(data: bytes) -> str:
        path.write_bytes(data)
        with told("hrkd.data") as messages:
            rows = read(folder)
        found, wanted = _counted(rows, messages), expected(data) + others_rows
        must(found == wanted, f"{wanted} rows in the file, {found} read or told")
        return f"{min(found, 20)} rows, {len(messages)} messages"

    return run


def _reviews(data: bytes) -> int:
    return sum(line.strip() == b"<review>" for line in _plain_lines(data))


def _mnli_rows(data: bytes) -> int:
    return _lines(data)


def _run_amazon_all(data: bytes) -> str:
    """Texts without labels, of a folder that has labelled ones too."""
    return _unlabelled_reviews(data)


def _tree(data: bytes) -> str:
    """A folder whose files have the names that the bytes say, one a line, links among them."""
    folder = scratch("tree") / "root"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for line in data.split(b"\n")[:12]:
        kind, name = line[:1], line[1:].replace(b"/", b"_").replace(b"\0", b"")[:200]
        path = bytes(folder) + b"/" + name
        try:
            place = Path(path.decode("utf-8", "surrogateescape"))
            if kind == b"d":
                place.mkdir()
                (place / "train.csv").write_bytes(csv_seed())
            elif kind == b"l":
                place.symlink_to("../t.csv")
            elif kind == b"o":
                place.symlink_to(".")
            elif kind == b"p":
                (place.with_name(place.name + "_d")).mkdir()
                (place.with_name(place.name + "_d") / "positive.review").write_bytes(REVIEW)
                (place.with_name(place.name + "_d") / "negative.review").write_bytes(REVIEW)
            else:
                place.write_bytes(jsonl_seed() if name.endswith(b"jsonl") else csv_seed())
        except (OSError, ValueError):
            continue
    try:
        data_set = load_domains(folder)
        return f"{min(len(data_set), 20)} rows"
    except DataError:
        parts = read_tables(folder)
        return f"{len(parts)} parts"


def _run_names(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    names = text.split("\n")
    folders = folder_names(list(dict.fromkeys(names)))
    must(len({each.casefold() for each in folders.values()}) == len(folders), "two domains have one folder")
    for each in folders.values():
        must(each and "/" not in each and "\\" not in each and each not in (".", ".."), f"a folder called {each!r}")
        must(fault_of_path(each) is None, f"no file can be called {each!r}")
    for name in names:
        fault_of_path(name)
        canonical_split(name)
        says_a_split(name)
        must(name_of(name_of(name)) == name_of(name), f"{name!r} has another name the second time")
    labels = sorted_labels({name_of(name) for name in names if fault_of(name) is None})
    suggestion(names[0], names[1:])
    return f"{len(labels)} {splits_of(names[:6])}"


def _whole(name: str, data: bytes) -> str:
    file = scratch("whole") / f"t{name}"
    file.write_bytes(data)
    found = load_domains(file, to_measure=True)
    wanted = {".csv": _records, ".jsonl": _objects, ".tsv": _lines}[name](data)
    must(len(found) == wanted, f"{wanted} rows in the file, {len(found)} loaded")
    must(all(len(found.rows[i]["text"]) for i in range(min(len(found), 3))), "an empty text")
    return f"{min(len(found), 20)} {len(found.labels)} {len(found.domains)} {len(found.notes)}"


_unlabelled_reviews = _research(
    "amazon-unlabelled",
    "books/unlabeled.review",
    {"books/positive.review": REVIEW, "books/negative.review": REVIEW},
    read_amazon_unlabelled,
    _reviews,
)


@cache
def _saved_set() -> Path:
    """A data set as save_to_disk writes it."""
    import datasets

    columns = dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True))
    folder = scratch("saved-seed") / "set"
    chosen = datasets.Dataset.from_dict(columns)
    with quiet():
        datasets.DatasetDict({"train": chosen, "test": chosen}).save_to_disk(folder)
    return folder


def _saved(file: str) -> tuple[Callable[[bytes], str], Callable[[], list[bytes]]]:
    """A saved data set of which one file is what the bytes are; and that file as it was saved."""

    @cache
    def copy() -> Path:
        folder = scratch("saved") / file.replace("/", "-")
        shutil.copytree(_saved_set(), folder)
        return folder

    def run(data: bytes) -> str:
        (copy() / file).write_bytes(data)
        found = load_domains(copy())
        return f"{len(found)} {len(found.labels)} {len(found.notes)}"

    return run, lambda: [(_saved_set() / file).read_bytes()]


SAVED = {
    "saved-parts": ("dataset_dict.json", "json"),
    "saved-state": ("train/state.json", "json"),
    "saved-info": ("train/dataset_info.json", "json"),
    "saved-rows": ("train/data-00000-of-00001.arrow", "bytes"),
}
CELLS = (b"text", b"label", b"domain", b'"a, b"', b"train", b"1.0", b"NA")
TAGS = (b"<review>\n", b"</review>\n", b"<review_text>\n", b"</review_text>\n", b"&#", b"&#x", b";", b"&amp", b"\n")
MNLI = b"index\tgenre\tsentence1\tsentence2\tgold_label\n0\tfiction\ta\tb\tneutral\n1\tslate\tc\td\t-\n"
FDU = b"1\ta good one\n0\tcaf\xe9 bad\n1\t \n"

TARGETS = [
    *(Target(name, *_saved(file), (b"train", b"../"), ("saved",), 0.1, form) for name, (file, form) in SAVED.items()),
    Target(
        "csv", _table(".csv", _records), lambda: [csv_seed(), csv_seed(";"), b"text\na\n\nb\n"], CELLS, ("t.csv",), 4
    ),
    Target("tsv", _table(".tsv", _lines), lambda: [tsv_seed(), b"text\na\n\nb\n"], CELLS, ("t.tsv",), 4),
    Target("jsonl", _table(".jsonl", _objects), lambda: [jsonl_seed(), b'{"a": 1}\n{"b": []}'], CELLS, ("t.jsonl",), 4),
    Target("gzip", _table(".csv.gz", _unpacked), lambda: [gzip.compress(csv_seed())], CELLS, ("t.csv.gz",), 2, "bytes"),
    Target("parquet", _table(".parquet", lambda _: None), parquet_seeds, CELLS, ("t.parquet",), 0.5, "bytes"),
    Target("kinds", _run_kinds, _archives, (b"PK\x01\x02", b"PK\x05\x06"), (), 2, "bytes"),
    Target(
        "names", _run_names, lambda: [b"train\ntest", b"CON\na:b\nx.\n..\n\xe9", b"1\n2.0\n1e+20\n-0"], CELLS, (), 0.5
    ),
    Target(
        "amazon",
        _research(
            "amazon", "books/positive.review", {"books/negative.review": REVIEW}, read_amazon_reviews, _reviews, 1
        ),
        lambda: [REVIEW * 2],
        TAGS,
        ("books/", "research-amazon"),
        3,
    ),
    Target("amazon-unlabelled", _unlabelled_reviews, lambda: [REVIEW * 2], TAGS, ("books/", "research-amazon"), 1),
    Target(
        "amazon-extra",
        _research("extra", "dvd/review_positive", {}, read_amazon_extra, lambda data: len(_plain_lines(data))),
        lambda: [b"a title. a body\n\nb &amp; c\n", "Übel".encode("cp1252")],
        TAGS,
        ("review_positive",),
        2,
    ),
    Target(
        "fdu",
        _research("fdu", "MR.task.train", {"MR.task.test": FDU}, read_fdu_mtl, lambda d: len(_plain_lines(d)), 3),
        lambda: [FDU],
        (b"0\t", b"1\t"),
        ("MR.task", "research-fdu"),
        3,
    ),
    Target(
        "fdu-unlabelled",
        _research("unlabel", "MR.task.unlabel", {}, read_fdu_unlabelled, lambda d: len(_plain_lines(d))),
        lambda: [b"a\n\nb\n"],
        (),
        ("MR.task", "research-unlabel"),
        1,
    ),
    Target(
        "mnli",
        _research("mnli", "train.tsv", {"dev_matched.tsv": MNLI}, read_mnli, _mnli_rows, 2),
        lambda: [MNLI],
        (b"gold_label", b"\tneutral", b"genre", b"sentence1"),
        ("train.tsv", "research-mnli"),
        2,
    ),
    Target(
        "folder",
        _tree,
        lambda: [b"ftrain.csv\nftest.csv", b"fa.csv\ndb\nla.csv\noloop"],
        (b"\npbooks",),
        ("root",),
        0.1,
    ),
    Target("load-csv", lambda data: _whole(".csv", data), lambda: [csv_seed()], CELLS, ("t.csv",), 0.5),
    Target(
        "load-jsonl",
        lambda data: _whole(".jsonl", data),
        lambda: [jsonl_seed().replace(b"null", b'"dvd"', 1), jsonl_seed()],
        CELLS,
        ("t.jsonl",),
        0.5,
    ),
]
