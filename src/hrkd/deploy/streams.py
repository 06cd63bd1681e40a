"""Texts and tables from a stream, labelled as they come: standard input to standard output.

What is there is labelled at once, some lines at a time; what is not yet there is waited for.
"""

from __future__ import annotations

import csv
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from hrkd.data.readers.file_kinds import kind_of, told_of_bytes
from hrkd.deploy.checks import ask
from hrkd.errors import DataError
from hrkd.models.kind import UNKNOWN
from hrkd.support.json_text import parse_json
from hrkd.support.messages import Found, count_of

if TYPE_CHECKING:
    from hrkd.data.readers.parts import LongRow
    from hrkd.data.readers.whole_rows import Rows, WholeTable
    from hrkd.deploy.bad_rows import OnBadRow
    from hrkd.deploy.checks import Asked
    from hrkd.deploy.predict import Predictor
    from hrkd.models.open_model import ModelFacts

__all__ = ["NAME", "Answer", "Lines", "answer_line", "answers_to", "json_line", "label_lines", "stream_table"]

logger = logging.getLogger("hrkd.predict")

Answer = Callable[[str, "Sequence[float] | None", "ModelFacts", bool], str]
"""Writes a text and what :func:`answers_to` says of it (None: it has no label) as a line; the last: all labels."""

NAME = "standard input"
BLOCK = 1 << 16
"""Bytes that are taken at a time, as many as a pipe holds."""
SURE = 16
"""Bytes that tell an encoding."""
MOST_ROWS = 1000
"""Rows of a chunk."""
LONGEST = (1 << 31) - 1
"""Characters of a field, for the csv module, which takes 131,072 otherwise."""


class Lines:
    r"""Lines of a stream of UTF-8 text, with the LF (or CR LF) that ends each; ``waiting`` are there to be read.

    Raises:
        DataError: a line is not UTF-8, or the stream cannot be read.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.waiting: list[bytes] = []
        self.rest: list[bytes] = []
        self.number = 0
        self.ended = False

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        while not self.waiting:
            if self.ended:
                raise StopIteration
            self._fill()
        line = self.waiting.pop()
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{NAME}: not UTF-8 in line {self.number:,} ({error.reason}); convert it (iconv)"
            ) from error

    def peek(self) -> bytes:
        """The next line, which stays to be read; empty at the end."""
        while not self.waiting and not self.ended:
            self._fill()
        return self.waiting[-1].removeprefix(b"\xef\xbb\xbf") if self.waiting else b""

    def _fill(self) -> None:
        """Take what is there, and wait only if that is nothing."""
        try:
            block = self.stream.read1(BLOCK)
        except OSError as error:
            raise DataError(f"{NAME}: cannot be read ({error.strerror or error})") from error
        if self.number == 0 and not self.rest:
            _check_kind(block)
        self.ended = not block
        if block and b"\n" not in block:  # kept apart, so that a long line is not put together for each of its pieces
            self.rest.append(block)
            return
        lines = _lines(b"".join([*self.rest, block]))
        self.rest = [lines.pop()] if lines and not self.ended and not lines[-1].endswith(b"\n") else []
        self.waiting = lines[::-1]

    def chunks(self) -> Iterator[list[str]]:
        """Lines without their ends, as many as are there at a time."""
        chunk: list[str] = []
        for line in self:
            chunk.append(line.removesuffix("\n").removesuffix("\r"))
            if not self.waiting or len(chunk) == MOST_ROWS:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def _check_kind(head: bytes) -> None:
    """Refuse what is no text by its first bytes, or in units of two or four bytes."""
    if kind := kind_of(None, head):
        raise DataError(f"{NAME}: no text but {kind[0]}; unpack or convert it first, or give it as a file (--input)")
    encoding = told_of_bytes(head) if len(head) >= SURE else ""
    if encoding not in ("", "unknown"):
        raise DataError(f"{NAME}: in {encoding}, expected UTF-8; convert it (iconv -f {encoding} -t UTF-8)")


def _lines(data: bytes) -> list[bytes]:
    """Lines that end in LF alone: a lone CR stands inside of texts."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def label_lines(
    predictor: Predictor,
    lines: Lines,
    out: IO[str],
    *,
    domain: Any,
    all_labels: bool,
    on_bad_row: OnBadRow,
    answer: Answer | None = None,
) -> int:
    """Label one text a line, and write an answer a line as soon as it is known; the number of texts labelled.

    Args:
        answer: how an answer is written; default: :func:`answer_line`.
        Others: as of the verb.

    Raises:
        DataError: a line without text, where ``on_bad_row`` is ``stop``; answers to earlier lines are written.
    """
    labelled, number, blank = 0, 0, Found()
    for chunk in lines.chunks():
        empty = [i for i, text in enumerate(chunk) if not text.strip()]
        empty = sorted({*empty, *predictor.without_tokens(chunk)})
        for i in empty:
            blank.add(f"{number + i + 1:,}")
        number += len(chunk)
        stop = on_bad_row == "stop" and bool(empty)
        if stop:
            chunk = chunk[: empty[0]]
        good = [i for i in range(len(chunk)) if i not in set(empty)]
        asked = ask([chunk[i] for i in good], domain, None, predictor.facts)
        answers = dict(zip(good, answers_to(predictor, asked), strict=True))
        for i, text in enumerate(chunk):
            if i in answers or on_bad_row == "blank":
                out.write((answer or answer_line)(text, answers.get(i), predictor.facts, all_labels))
        out.flush()
        labelled += len(good)
        if stop:
            raise DataError(
                f"{NAME}: no text in line {blank}; remove it, or leave such lines out (--on-bad-row skip) or without a "
                "label (--on-bad-row blank)"
            )
    if blank:
        logger.warning(
            "%s: %s without text %s (line %s)",
            NAME,
            count_of(blank.total, "line", "lines"),
            "left out" if on_bad_row == "skip" else "left blank",
            blank,
        )
    return labelled


def answers_to(predictor: Predictor, asked: Asked) -> list[list[float]]:
    """Probabilities of each text, and behind them the shares of the domains where these are to be found."""
    finds = UNKNOWN in asked.domains
    found: list[list[float]] = (predictor.answers_and_shares if finds else predictor.answers)(asked).tolist()
    return found


def answer_line(text: str, answer: Sequence[float] | None, facts: ModelFacts, all_labels: bool) -> str:
    """Label and score (or all, the best first), domain and share if found, and the text, with tabs between in one line.

    ``answer`` None: no label.
    """
    if answer is None:
        return f"\t{' '.join(text.split())}\n"
    probabilities, domain, share = _parts(answer, facts)
    labels, ranked = facts.labels, _ranked(probabilities)[: None if all_labels else 1]
    scores = "  ".join(f"{labels[c]} {probabilities[c]:.4f}" for c in ranked)
    found = "" if domain is None else f"{domain} {share:.4f}\t"
    return f"{scores}\t{found}{' '.join(text.split())}\n"


def json_line(text: str, answer: Sequence[float] | None, facts: ModelFacts, all_labels: bool) -> str:
    """The text with its label and score as a JSON object in one line, with all labels their ``scores`` besides.

    Where the domain is found, so are ``domain_found`` and ``domain_share``.
    """
    probabilities, domain, share = _parts(answer or [], facts)
    scores = {facts.labels[c]: probabilities[c] for c in _ranked(probabilities)}
    best = next(iter(scores), None)
    said: dict[str, Any] = {"text": text, "label": best, "score": None if best is None else scores[best]}
    said |= {"scores": scores} if all_labels else {}
    said |= {} if domain is None else {"domain_found": domain, "domain_share": share}
    return json.dumps(said) + "\n"


def _parts(answer: Sequence[float], facts: ModelFacts) -> tuple[Sequence[float], str | None, float]:
    """Probabilities, and the domain of the largest share with it; None and 0 where none is found."""
    shares = answer[len(facts.labels) :]
    share = max(shares, default=0.0)
    return answer[: len(facts.labels)], facts.domains[shares.index(share)] if shares else None, share


def _ranked(probabilities: Sequence[float]) -> list[int]:
    """Places of the labels, the most probable first."""
    return sorted(range(len(probabilities)), key=lambda c: -probabilities[c])


def stream_table(lines: Lines, kind: str | None) -> WholeTable:
    """The table that a stream holds, row by row; ``kind`` is .csv, .tsv, .jsonl or, None, told by the first line.

    Raises:
        DataError: the stream is empty, its kind is not told, or (from its chunks) a row does not fit.
    """
    from hrkd.data.readers.parts import Part
    from hrkd.data.readers.tables import check_separator, separator_of, without_blanks
    from hrkd.data.readers.whole_rows import WholeTable

    first = lines.peek()
    if kind is None:
        if not first.lstrip().startswith(b"{"):
            raise DataError(f"{NAME}: say what it is: --input-format csv, tsv or jsonl")
        kind = ".jsonl"
    if kind == ".jsonl":
        chunks = _json_chunks(lines)
        rows = next(chunks)
        return WholeTable(NAME, kind, rows.names, None if len(rows) else 0, lambda _: _again(rows, chunks))
    long: deque[LongRow] = deque(maxlen=MOST_ROWS)
    separator = separator_of(first.decode(errors="replace")) if kind == ".csv" else "\t"
    numbered = _csv_rows(lines, long, separator) if kind == ".csv" else _tsv_rows(lines)
    table = (row for _, row in without_blanks(numbered))
    header = next(table, None)
    if not header:
        raise DataError(f"{NAME}: nothing there; expected a table with a header")
    check_separator(NAME, header, separator)
    part = Part(NAME, 0, tuple(header), lambda _: iter(()), long_rows=lambda: _taken(long))
    return WholeTable(NAME, kind, tuple(header), None, lambda _: _field_chunks(lines, header, table), part)


def _again(first: Rows, rest: Iterator[Rows]) -> Iterator[Rows]:
    yield first
    yield from rest


def _taken(long: deque[LongRow]) -> Iterator[LongRow]:
    while long:
        yield long.popleft()


def _csv_rows(lines: Lines, long: deque[LongRow], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Rows; what stands in several lines, one of which could be a row, is put into ``long`` too."""
    from hrkd.data.readers.tables import SEPARATORS, long_row

    taken: list[tuple[int, str]] = []

    def read() -> Iterator[str]:
        for line in lines:
            taken.append((lines.number, line))
            yield line

    before = csv.field_size_limit(LONGEST)
    try:
        for row in csv.reader(read(), delimiter=separator, strict=True):
            if len(taken) > 1 and (lying := long_row(taken, len(row), separator)):
                long.append(lying)
            taken.clear()
            yield lines.number, row
    except csv.Error as error:
        raise DataError(
            f"{NAME}: bad quoting in the row that ends at line {lines.number:,} ({error}); put texts with "
            f"{SEPARATORS[separator]}, quotes or line breaks in double quotes, and double each quote inside"
            ' ("")'
        ) from error
    finally:
        csv.field_size_limit(before)


def _tsv_rows(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    for line in lines:
        row = line.removesuffix("\n").removesuffix("\r")
        yield lines.number, row.split("\t") if row else []


def _field_chunks(lines: Lines, header: Sequence[str], rows: Iterator[list[str]]) -> Iterator[Rows]:
    from hrkd.data.columns import rows_at_a_time
    from hrkd.data.readers.tables import JOINED, repeats_header
    from hrkd.data.readers.whole_rows import FieldRows

    chunk: list[list[str]] = []
    empty, most = True, rows_at_a_time(len(header))
    for row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{NAME}: the header has {len(header)} fields, but not the row that ends at line {lines.number:,} "
                f"({len(row)} fields)"
            )
        if len(header) > 1 and repeats_header(header, row):
            raise DataError(f"{NAME}: {JOINED} in the row that ends at line {lines.number:,}; remove it")
        chunk.append(row)
        if not lines.waiting or len(chunk) == most:
            yield FieldRows(tuple(header), chunk)
            chunk, empty = [], False
    if chunk or empty:
        yield FieldRows(tuple(header), chunk)


def _json_chunks(lines: Lines) -> Iterator[Rows]:
    from hrkd.data.readers.whole_rows import JsonRows

    names: tuple[str, ...] | None = None
    kept: list[str] = []
    said: list[dict[str, Any]] = []
    for line in lines:
        if line.strip():
            said.append(_object(line, lines.number))
            kept.append(line.strip())
        if kept and (not lines.waiting or len(kept) == MOST_ROWS):
            names = names or tuple(dict.fromkeys(name for row in said for name in row))
            yield JsonRows(names, kept, said)
            kept, said = [], []
    if kept or names is None:
        names = names or tuple(dict.fromkeys(name for row in said for name in row))
        yield JsonRows(names, kept, said)


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        found = parse_json(line)
    except ValueError as error:
        raise DataError(f"{NAME}: expected one JSON object a line, not so in line {number:,} ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{NAME}: expected one JSON object a line, not so in line {number:,} ({type(found).__name__})")
    return found
