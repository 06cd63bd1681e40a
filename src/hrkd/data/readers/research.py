"""Public research sets in the files in which they are passed around, with all their defects.

Each reader returns :class:`RawRows` and logs, at WARNING, the rows that it left out. For Amazon reviews see
:mod:`hrkd.data.readers.amazon`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hrkd.data.readers.parts import Part
from hrkd.data.readers.places import check_names
from hrkd.data.readers.tables import read_tsv
from hrkd.data.readers.text_files import lenient_lines
from hrkd.data.rows import ColumnNames, RawRows
from hrkd.errors import DataError
from hrkd.support.messages import count_of, first_of, names_of

__all__ = ["a_text_in_each_line", "check_files", "left_out", "read_fdu_mtl", "read_fdu_unlabelled", "read_mnli"]

FDU_LABELS = {"0": "negative", "1": "positive"}
FDU_UNLABELLED = ".task.unlabel"
MNLI_COLUMNS = ("genre", "sentence1", "sentence2", "gold_label")
MNLI_LABELS = ("contradiction", "entailment", "neutral")

logger = logging.getLogger("hrkd.data")


def check_files(files: Sequence[Path], root: Path) -> None:
    """Raise where one of the files below ``root`` is missing.

    Raises:
        DataError: it is; names all that are.
    """
    check_names(root, [str(file.relative_to(root)) for file in files])
    missing = [str(file.relative_to(root)) for file in files if not file.is_file()]
    if missing:
        raise DataError(f"{root}: missing {first_of(missing)}")


def left_out(places: Sequence[str], why: str) -> None:
    """Log, if there are any, the places of rows that a reader leaves out."""
    if places:
        logger.warning("left out %s (%s): %s", count_of(len(places)), why, first_of(places))


def read_fdu_mtl(folder: Path) -> RawRows:
    r"""FDU-MTL of Liu et al. (ACL 2017): ``{domain}.task.{train,test}``, lines of ``label<TAB>text``.

    Label 1 is positive, 0 negative. Lines end in LF alone and are UTF-8 or, one by one, Windows-1252. Lines without
    text are left out, with a log entry. Ids are ``MR.task.train#17``, with the number of the line;
    the split is given: train or test.

    Raises:
        DataError: no such files, one of the two missing in a domain, or lines of another form.
    """
    labelled = [file.name for part in ("train", "test") for file in folder.glob(f"*.task.{part}")]
    domains = sorted({name.split(".task.")[0] for name in labelled if not name.startswith(".")})
    if not domains:
        raise DataError(f"{folder}: expected files {{domain}}.task.train and {{domain}}.task.test, found none")
    files = [(domain, split, folder / f"{domain}.task.{split}") for domain in domains for split in ("train", "test")]
    check_files([file for _, _, file in files], folder)
    rows = RawRows([], [], [], [], split=[])
    faults: list[str] = []
    empty: list[str] = []
    for domain, split, file in files:
        for number, line in lenient_lines(file):
            label, tab, text = line.partition("\t")
            if not tab or label.strip() not in FDU_LABELS:
                faults.append(f"{file.name}:{number}")
            elif not text.strip():
                empty.append(f"{file.name}:{number}")
            else:
                _append(rows, f"{file.name}#{number}", text, FDU_LABELS[label.strip()], domain, split)
    if faults:
        raise DataError(
            f"{folder}: expected 0 or 1, a tab and a text in each line, not so in {first_of(faults)} (file:line)"
        )
    left_out(empty, "no text")
    return rows


def read_fdu_unlabelled(folder: Path) -> RawRows:
    """The ``{domain}.task.unlabel`` of FDU-MTL: a text in each line, encoded as those of :func:`read_fdu_mtl`.

    Without any, the texts of its labelled files. Lines without text are left out, with a log entry. Ids are
    ``MR.task.unlabel#17``.

    Raises:
        DataError: as :func:`read_fdu_mtl`, where there are no such files.
    """
    files = sorted(file for file in folder.glob(f"*{FDU_UNLABELLED}") if not file.name.startswith("."))
    if not files:
        return read_fdu_mtl(folder)
    check_files(files, folder)
    return a_text_in_each_line((file, file.name, file.name.removesuffix(FDU_UNLABELLED)) for file in files)


def a_text_in_each_line(files: Iterable[tuple[Path, str, str]], clean: Callable[[str], str] = str.strip) -> RawRows:
    """Texts without labels from files, each with the name that its rows' places begin with and its domain.

    Lines without text are left out, with a log entry.

    Raises:
        DataError: a file cannot be read.
    """
    rows = RawRows([], [], None, [])
    empty: list[str] = []
    for file, name, domain in files:
        for number, line in lenient_lines(file):
            if text := clean(line):
                rows.places.append(f"{name}#{number}")
                rows.text.append(text)
                rows.domain.append(domain)
            else:
                empty.append(f"{name}:{number}")
    left_out(empty, "no text")
    return rows


def _append(rows: RawRows, place: str, text: str, label: str, domain: str, split: str) -> None:
    assert rows.label is not None
    assert rows.split is not None
    rows.places.append(place)
    rows.text.append(text.strip())
    rows.label.append(label)
    rows.domain.append(domain)
    rows.split.append(split)


def read_mnli(folder: Path) -> RawRows:
    """MultiNLI of Williams et al. (NAACL 2018) with genres as domains, in GLUE's columns, looked up by name.

    ``train*.tsv[.gz]`` is the train part and ``dev_matched*.tsv[.gz]`` the test part, as in the Meta-KD and HRKD
    papers; other files are not read. Rows whose annotators did not agree (label ``-``) and rows without text are
    left out, with a log entry. Texts are stripped. Ids are ``train.tsv#17``, with the number of the data row.

    Raises:
        DataError: a file or column missing, rows of another form, or unknown labels.
    """
    files = [(file, "train") for file in _tsv_files(folder, "train")]
    files += [(file, "test") for file in _tsv_files(folder, "dev_matched")]
    check_files([file for file, _ in files], folder)
    columns = dict(zip(("domain", "text", "text_pair", "label"), MNLI_COLUMNS, strict=True))
    rows = RawRows([], [], [], [], text_pair=[], split=[], names=ColumnNames(**columns))
    unknown: list[str] = []
    no_label: list[str] = []
    no_text: list[str] = []
    for file, split in files:
        for number, (genre, first, second, label) in enumerate(_mnli_fields(read_tsv(file)), 1):
            place = f"{file.name}#{number}"
            if label == "-":
                no_label.append(place)
            elif label not in MNLI_LABELS:
                unknown.append(f"{place} ({label!r})")
            elif not first or not second:
                no_text.append(place)
            else:
                assert rows.text_pair is not None
                _append(rows, place, first, label, genre, split)
                rows.text_pair.append(second)
    if unknown:
        raise DataError(f"{folder}: gold_label must be {', '.join(MNLI_LABELS)} or -, not so in {first_of(unknown)}")
    left_out(no_label, "no gold label")
    left_out(no_text, "no text")
    return rows


def _tsv_files(folder: Path, start: str) -> list[Path]:
    files = sorted(f for f in folder.glob(f"{start}*") if f.name.endswith((".tsv", ".tsv.gz")))
    if not files:
        raise DataError(
            f"{folder}: no {start}*.tsv or {start}*.tsv.gz; the layout mnli needs train and dev_matched files"
        )
    twice = [file.name for file in files if file.with_name(f"{file.name}.gz") in files]
    if twice:
        raise DataError(f"{folder}: {first_of(twice)} stands there plain and compressed; remove one of the two")
    return files


def _mnli_fields(part: Part) -> Iterator[tuple[str, ...]]:
    missing = [name for name in MNLI_COLUMNS if name not in part.columns]
    if missing:
        raise DataError(f"{part.name}: no column {first_of(missing)}; columns found: {names_of(part.columns)}")
    for columns in part.stream([part.columns.index(name) for name in MNLI_COLUMNS]):
        yield from (tuple(value.strip() for value in row) for row in zip(*columns, strict=True))
