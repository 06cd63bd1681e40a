"""Public research sets in the files in which they are passed around, with all their defects.

Each reader returns :class:`RawRows` and logs, at WARNING, the rows that it left out.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from hrkd.data.files import decode_lenient, read_bytes, split_lines
from hrkd.data.parts import Part
from hrkd.data.rows import ColumnNames, RawRows
from hrkd.data.tables import read_tsv
from hrkd.data.wording import count_of, first_of
from hrkd.errors import DataError

__all__ = ["amazon_root", "read_amazon_reviews", "read_fdu_mtl", "read_mnli"]

AMAZON_FOLDER = "sorted_data_acl"
AMAZON_NAMES = {"kitchen_&_housewares": "kitchen"}
AMAZON_LABELS = ("negative", "positive")
FDU_LABELS = {"0": "negative", "1": "positive"}
MNLI_COLUMNS = ("genre", "sentence1", "sentence2", "gold_label")
MNLI_LABELS = ("contradiction", "entailment", "neutral")

logger = logging.getLogger("hrkd.data")


def amazon_root(folder: Path) -> Path | None:
    """The folder with ``*/positive.review``: ``folder`` itself or its ``sorted_data_acl``; None if neither."""
    candidates = (folder, folder / AMAZON_FOLDER)
    return next((c for c in candidates if any(c.glob("*/positive.review")) or any(c.glob("*/negative.review"))), None)


def read_amazon_reviews(folder: Path) -> RawRows:
    """Amazon Reviews of Blitzer et al. (ACL 2007): ``{domain}/{positive,negative}.review``.

    The files look like XML and are not, so they are read by lines: tags stand alone on theirs. The text is the
    body of the review (not its title) with HTML entities resolved, U+FEFF removed and white space collapsed. The
    label is the name of the file, the domain that of the folder (``kitchen_&_housewares``: ``kitchen``); ids are
    ``books/negative#17``.

    Raises:
        DataError: no such files, one of the two missing in a domain, or a review that is not complete.
    """
    root = amazon_root(folder)
    if root is None:
        raise DataError(f"{folder}: expected folders of domains with positive.review and negative.review, found none")
    domains = sorted({file.parent for label in AMAZON_LABELS for file in root.glob(f"*/{label}.review")})
    files = [(domain, label, domain / f"{label}.review") for domain in domains for label in AMAZON_LABELS]
    _check_files([file for _, _, file in files], root)
    rows = RawRows([], [], [], [])
    faults: list[str] = []
    empty: list[str] = []
    for domain, label, file in files:
        name = AMAZON_NAMES.get(domain.name, domain.name)
        bodies, lines = _review_bodies(split_lines(read_bytes(file)))
        faults += [f"{domain.name}/{file.name}:{line}" for line in lines]
        if not bodies and not lines:
            empty.append(f"{domain.name}/{file.name}")
        rows.places.extend(f"{name}/{label}#{n}" for n in range(1, len(bodies) + 1))
        rows.text.extend(bodies)
        rows.label.extend([label] * len(bodies))
        rows.domain.extend([name] * len(bodies))
    if faults:
        raise DataError(
            f"{root}: review without <review_text>, </review_text> or </review> at {first_of(faults)} (file:line); "
            "the file seems cut off or damaged"
        )
    if empty:
        raise DataError(f"{root}: no <review> in {first_of(empty)}; expected one such line before each review")
    return rows


def _check_files(files: Sequence[Path], root: Path) -> None:
    missing = [str(file.relative_to(root)) for file in files if not file.is_file()]
    if missing:
        raise DataError(f"{root}: missing {first_of(missing)}")


def _review_bodies(lines: Sequence[bytes]) -> tuple[list[str], list[int]]:
    """Texts of the complete reviews, and the first lines of incomplete ones."""
    bodies: list[str] = []
    faults: list[int] = []
    opened = 0  # line of the <review> that is being read; 0: none
    body: list[str] | None = None
    inside = False
    for number, line in enumerate(lines, 1):
        tag = line.strip()
        if inside and tag not in (b"</review_text>", b"</review>", b"<review>"):
            assert body is not None
            body.append(decode_lenient(line))
        elif tag == b"<review>":
            if opened:
                faults.append(opened)
            opened, body, inside = number, None, False
        elif tag == b"<review_text>":
            body, inside = [], True
        elif tag == b"</review_text>":
            inside = False
        elif tag == b"</review>":
            if opened and body is not None and not inside:
                bodies.append(_clean(body))
            else:
                faults.append(opened or number)
            opened, body, inside = 0, None, False
    return bodies, [*faults, opened] if opened else faults


def _clean(body: Sequence[str]) -> str:
    return " ".join(html.unescape("\n".join(body)).replace("\ufeff", "").split())


def read_fdu_mtl(folder: Path) -> RawRows:
    r"""FDU-MTL of Liu et al. (ACL 2017): ``{domain}.task.{train,test}``, lines of ``label<TAB>text``.

    Label 1 is positive, 0 negative. Lines end in LF alone and are UTF-8 or, one by one, Windows-1252. Lines without
    text are left out, with a log entry. ``{domain}.task.unlabel`` is not read. Ids are ``MR.task.train#17``, with the
    number of the line; the split is given: train or test.

    Raises:
        DataError: no such files, one of the two missing in a domain, or lines of another form.
    """
    domains = sorted({file.name.split(".task.")[0] for file in folder.glob("*.task.*") if _is_labelled(file)})
    if not domains:
        raise DataError(f"{folder}: expected files {{domain}}.task.train and {{domain}}.task.test, found none")
    files = [(domain, split, folder / f"{domain}.task.{split}") for domain in domains for split in ("train", "test")]
    _check_files([file for _, _, file in files], folder)
    rows = RawRows([], [], [], [], split=[])
    faults: list[str] = []
    empty: list[str] = []
    for domain, split, file in files:
        for number, line in enumerate(split_lines(read_bytes(file)), 1):
            label, tab, text = decode_lenient(line).partition("\t")
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
    _left_out(empty, "no text")
    return rows


def _is_labelled(file: Path) -> bool:
    return file.name.endswith((".task.train", ".task.test")) and not file.name.startswith(".")


def _append(rows: RawRows, place: str, text: str, label: str, domain: str, split: str) -> None:
    assert rows.split is not None
    rows.places.append(place)
    rows.text.append(text.strip())
    rows.label.append(label)
    rows.domain.append(domain)
    rows.split.append(split)


def _left_out(places: Sequence[str], why: str) -> None:
    if places:
        logger.warning("left out %s (%s): %s", count_of(len(places)), why, first_of(places))


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
    _left_out(no_label, "no gold label")
    _left_out(no_text, "no text")
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
        raise DataError(f"{part.name}: no column {first_of(missing)}; columns found: {', '.join(part.columns)}")
    for columns in part.stream([part.columns.index(name) for name in MNLI_COLUMNS]):
        yield from (tuple(value.strip() for value in row) for row in zip(*columns, strict=True))
