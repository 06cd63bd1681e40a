"""Labels for the rows of a table, file to file: :func:`predict_file`, and its two halves.

What is wrong with a table shows in :func:`look_through`, which needs what a model says of itself alone
(:func:`hrkd.models.open_model.read_facts`): before the model is opened. Rows are read, labelled and written some at a
time, so that memory does not grow with the table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from hrkd.data.columns import CHUNK
from hrkd.data.readers.hints import LongRows
from hrkd.data.readers.places import check_is_plain, check_source_is_there, known_kind
from hrkd.data.readers.table_writer import Added, TableWriter, naming, new_table, table_writer
from hrkd.data.readers.tables import read_table
from hrkd.data.readers.text_files import is_blank
from hrkd.data.readers.whole_rows import JsonRows, Rows, WholeTable, check_names
from hrkd.data.rows import ColumnNames, fault_of
from hrkd.deploy.bad_rows import BadRows, OnBadRow, RowColumns
from hrkd.deploy.checks import check_pairs, numbers_of
from hrkd.errors import ArtifactError, DataError
from hrkd.models.kind import UNKNOWN
from hrkd.support.arguments import check_count, check_switch, path_of, shown
from hrkd.support.atomic_files import check_can_be_written
from hrkd.support.messages import first_of, misspelt, names_of

if TYPE_CHECKING:
    import numpy as np

    from hrkd.deploy.checks import Asked
    from hrkd.deploy.journal import Journal
    from hrkd.deploy.predict import Predictor
    from hrkd.models.open_model import ModelFacts
    from hrkd.support.progress import Bar, Progress

__all__ = [
    "Labelling",
    "TableJob",
    "check_output",
    "check_replaceable",
    "label_file",
    "label_stream",
    "labels_of",
    "look_through",
    "plan",
    "predict_file",
    "whole_table",
]

logger = logging.getLogger("hrkd.predict")

TABLE = "the path of a table"


@dataclass(frozen=True)
class Labelling:
    """What is read of a table and what is added to it; see :func:`predict_file`."""

    domain: Any = None
    text: str | None = None
    text_pair: str | None = None
    domain_column: str | None = None
    all_labels: bool = False
    prefix: str = ""
    on_bad_row: OnBadRow = "stop"


@dataclass(frozen=True)
class TableJob:
    """A table that was looked at, and how it is to be labelled; ``schema`` is that of its rows in Parquet, if made."""

    table: WholeTable
    columns: RowColumns
    facts: ModelFacts
    added: Added
    how: Labelling
    schema: pa.Schema | None = None
    source: Path | None = field(default=None)

    @property
    def finds_domains(self) -> bool:
        """Whether the model finds the domain of each row, which is then told."""
        return self.columns.number == UNKNOWN

    def answers(self, predictor: Predictor, asked: Asked, batch_size: int) -> np.ndarray:
        """Probabilities (texts, C) of what is asked; behind them, where they are found, shares of the domains."""
        ask = predictor.answers_and_shares if self.finds_domains else predictor.answers
        return ask(asked, batch_size=batch_size)

    def bad_rows(self, predictor: Predictor | None = None) -> BadRows:
        """Nothing counted yet; with a ``predictor`` it also finds texts of which its tokenizer leaves nothing."""
        without_tokens = None if predictor is None else predictor.without_tokens
        return BadRows(self.columns, self.facts, without_tokens)

    def check_rows(self, predictor: Predictor | None = None) -> None:
        """Look at all rows of a file, if bad ones are an error.

        Raises:
            DataError: there are some; names them.
        """
        if self.source is not None and self.how.on_bad_row == "stop":
            found = self.bad_rows(predictor)
            for rows in self.table.chunks(self.columns.names()):
                found.usable(rows.values, len(rows))
            found.check(self.table.name)


def predict_file(
    predictor: Predictor,
    input: str | Path,  # noqa: A002
    output: str | Path,
    *,
    domain: str | float | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    domain_column: str | None = None,
    batch_size: int = 64,
    all_labels: bool = False,
    prefix: str = "",
    on_bad_row: OnBadRow = "stop",
    progress: Progress | None = None,
) -> int:
    """Label a table and write it with the columns ``label`` and ``score`` added.

    CSV, TSV, JSON lines or Parquet, the first three also with ``.gz``; the kind of the output follows its name. All
    columns and rows stay as they are: in the same format to the last digit, type and spelling. After an interruption
    the same call goes on where it stopped (:mod:`hrkd.deploy.journal`).

    Args:
        predictor: The model.
        input: Table to read.
        output: Table to write; not the same file, and none that is there already.
        domain: Domain of all rows; None: a column says it for each, unless the model has one head for all domains;
            ``auto``: the model finds it by itself, and ``domain_found`` and ``domain_share`` are added too.
        text: Column with the text; default: as in the table that the model was made from, or ``text``.
        text_pair: Column with the second text of a pair task; default: as there.
        domain_column: Column with the domain, where ``domain`` is None; default: as there, or ``domain``. A cell may
            say ``auto`` too.
        batch_size: Texts in a forward pass.
        all_labels: Also add ``score_<label>`` for every label of the model.
        prefix: Put before the names of the added columns, such as ``predicted_``.
        on_bad_row: What happens to rows without text (or of which the tokenizer leaves nothing) or of an unknown
            domain. ``stop``: an error names them, before anything is predicted; ``skip``: they are left out of the
            output; ``blank``: they stay, without label and score. Rows that cannot be told apart (bad quoting, no JSON)
            are an error in any case.
        progress: Where a progress bar goes.

    Returns:
        The number of rows labelled; a warning of the logger ``hrkd`` tells of others.

    Raises:
        DataError: a file that cannot be read, missing columns, columns that would be overwritten, rows
            without text, unknown domains; file and rows are named.
        ArtifactError: the output cannot be written, or is there already; the model's answers are not finite.
    """
    how = Labelling(domain, text, text_pair, domain_column, all_labels, prefix, on_bad_row)
    job = look_through(input, output, predictor.facts, how)
    return label_file(predictor, job, output, batch_size=batch_size, progress=progress)


def look_through(
    input: str | Path,  # noqa: A002
    output: str | Path | None,
    facts: ModelFacts,
    how: Labelling,
    *,
    kind: str | None = None,
    overwrite: bool = False,
) -> TableJob:
    """Read and check a table that is to be labelled, all of it.

    ``output`` None: it is written to a stream, as ``kind``; ``overwrite``: it may be there already. The other arguments
    and the errors are those of :func:`predict_file`.
    """
    source, target = (
        path_of("input", input, TABLE, DataError),
        None if output is None else path_of("output", output, TABLE, DataError),
    )
    check_is_plain(source)
    if target is not None:
        check_output(target)
        if _is_same(source, target):
            raise DataError(f"{target}: input and output are the same file; write to another one")
        check_replaceable(target, overwrite=overwrite)
        kind = known_kind(target)
    job = replace(plan(whole_table(source), facts, how), source=source)
    for note in _notes(job):
        logger.warning("%s", note)
    job.check_rows()
    return _check_conversion(job, kind or job.table.kind, str(target or "standard output"))


def _is_same(source: Path, target: Path) -> bool:
    # Of what does not exist yet (a folder that is made, and left by ..) the resolved path tells.
    same = target.exists() and source.exists() and target.samefile(source)
    return same or target.resolve() == source.resolve()


def _notes(job: TableJob) -> Sequence[str]:
    """What a user should know of the file, or of what has come of a stream since the last call.

    Raises:
        DataError: a quote that is not closed makes one row of several.
    """
    part, columns = job.table.part, job.columns
    if part is None:
        return ()
    if columns.domain is None:  # lines that are rows cannot be told from others
        return part.notes
    long = LongRows(part, ColumnNames(text=columns.text, label=None, domain=columns.domain))
    long.known["domain"].update(job.facts.domains)
    return (*part.notes, *long.notes())


def check_output(path: Path) -> None:
    """Find out now what can be known of an output before long work.

    Raises:
        DataError: the name is of no known kind.
        ArtifactError: it cannot be written.
    """
    known_kind(path)
    check_can_be_written(path)


def check_replaceable(path: Path, *, overwrite: bool) -> None:
    """Whether an output may be written: whatever is in a file of its name is somebody's, and may have been corrected.

    Raises:
        ArtifactError: there is one, and it is not to be replaced.
    """
    check_switch("overwrite", overwrite)
    if not overwrite and path.is_file() and path.stat().st_size:
        raise ArtifactError(f"{path}: is there already; name another output, or replace it with --overwrite")


def whole_table(file: Path) -> WholeTable:
    """A table file, looked through; an empty file of JSON lines is a table without rows.

    Raises:
        DataError: it cannot be read.
    """
    check_source_is_there(file, "table")
    kind = known_kind(file)
    if kind == ".jsonl" and file.is_file() and is_blank(file):
        return WholeTable(file.name, kind, (), 0, lambda _: iter([JsonRows((), [], [])]))
    part = read_table(file)
    assert part.whole is not None
    return WholeTable(part.name, kind, part.columns, part.rows, part.whole, part)


def plan(table: WholeTable, facts: ModelFacts, how: Labelling) -> TableJob:
    """Which columns of a table are read, and which are added to it.

    Raises:
        DataError: a column is missing or is there twice, would be overwritten, or the domain of all rows is unknown.
    """
    if how.on_bad_row not in ("stop", "skip", "blank"):
        raise DataError(f"on_bad_row: expected stop, skip or blank, got {how.on_bad_row!r}")
    check_switch("all_labels", how.all_labels)
    if not isinstance(how.prefix, str):
        raise DataError(f"prefix: expected text to put before the names of added columns, got {shown(how.prefix)}")
    own = facts.columns or {}
    pair = how.text_pair if how.text_pair is not None else own.get("text_pair")
    check_pairs(pair is not None, facts, how="text_pair (--pair-column)")
    number = 0
    if how.domain is not None:
        if fault_of(how.domain):
            raise DataError(f"domain: expected the name of a domain, or None, got {how.domain!r}")
        (number,) = numbers_of([how.domain], facts)
    by_column = how.domain is None and (how.domain_column is not None or not facts.one_head)
    text = own.get("text") or "text" if how.text is None else how.text
    domain = own.get("domain") or "domain" if how.domain_column is None else how.domain_column
    columns = RowColumns(text, pair, domain if by_column else None, number)
    scores = ["score", *(f"score_{name}" for name in facts.labels if how.all_labels)]
    added = [(f"{how.prefix}label", str), *((f"{how.prefix}{name}", float) for name in scores)]
    if columns.number == UNKNOWN:
        added += [(f"{how.prefix}domain_found", str), (f"{how.prefix}domain_share", float)]
    if table.columns or table.rows != 0:
        _check_columns(table, columns, [name for name, _ in added], facts)
    return TableJob(table, columns, facts, added, how)


def _check_columns(table: WholeTable, columns: RowColumns, added: Sequence[str], facts: ModelFacts) -> None:
    if missing := [name for name in columns.names() if name not in table.columns]:
        own = [repr(name) for name in missing if name in (facts.columns or {}).values()]
        origin = f"{first_of(own)} is what the table that the model was made from has. " if own else ""
        advice = ", or the domain of all rows (domain, --domain)" if columns.domain in missing else ""
        found = names_of(table.columns)
        raise DataError(
            f"{table.name}: no column {misspelt(missing, table.columns)}; found {found}. {origin}Say which columns to "
            "read (text, text_pair, domain_column; on the command line --text-column, --pair-column, --domain-column)"
            f"{advice}"
        )
    if repeated := [repr(name) for name in columns.names() if table.columns.count(name) > 1]:
        raise DataError(f"{table.name}: more than one column is called {first_of(repeated)}; rename the others")
    _check_added(table.name, added, table.columns)


def _check_added(name: str, added: Sequence[str], found: Collection[str]) -> None:
    if taken := [repr(each) for each in added if each in found]:
        raise DataError(
            f"{name}: has a column {first_of(taken)} already, which prediction would add; "
            "rename it, or put something before what is added (prefix, on the command line --prefix predicted_)"
        )


def _check_conversion(job: TableJob, kind: str, name: str) -> TableJob:
    """Write all rows to nowhere, if their format changes or is one that does not hold all text."""
    own = job.table.kind
    if kind == own and kind != ".tsv":
        return job
    if kind in (".jsonl", ".parquet"):
        with naming(name):
            check_names([*job.table.columns, *(name for name, _ in job.added)], ".csv")
    if own == ".jsonl" and kind == ".parquet":
        job = replace(job, schema=_united(job.table, name))
    writer = table_writer(kind, _Nowhere(), job.added, name=name, schema=job.schema)
    for rows in job.table.chunks(None):
        label = " ".join(job.facts.labels)
        writer.write(rows, [[label if of is str else 0.0] * len(rows) for _, of in job.added])
    writer.close()
    return job


def _united(table: WholeTable, name: str) -> pa.Schema:
    """The types of all rows together."""
    found: pa.Schema | None = None
    with naming(name):
        for rows in table.chunks(None):
            own = rows.schema()
            try:
                found = own if found is None else pa.unify_schemas([found, own], promote_options="permissive")
            except pa.ArrowException as error:
                raise DataError(f"a column holds values of several types ({error}); write .csv or .jsonl") from error
    return found


class _Nowhere(BytesIO):
    """A stream that keeps nothing."""

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


def label_file(
    predictor: Predictor,
    job: TableJob,
    output: str | Path,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> int:
    """Label a table that was looked at and write it; see :func:`predict_file`."""
    target = path_of("output", output, TABLE, DataError)
    batch_size = check_count("batch_size", batch_size)
    job.check_rows(predictor)  # what only its tokenizer can tell
    with ExitStack() as stack:
        journal: Journal | None = None
        if job.source is not None:
            from hrkd.deploy.journal import hash_of, journal_of

            key = hash_of(predictor, job.source, columns=vars(job.columns), batch_size=batch_size, chunk=CHUNK)
            journal = stack.enter_context(journal_of(target.resolve(), key))
        writer = stack.enter_context(new_table(target, job.added, job.schema))
        return _label(predictor, job, writer, batch_size=batch_size, journal=journal, progress=progress)


def label_stream(
    predictor: Predictor,
    job: TableJob,
    stream: IO[bytes],
    kind: str,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> int:
    """Label a table and write it to a stream, as it comes; ``kind`` is .csv, .tsv or .jsonl.

    Raises:
        DataError, ArtifactError: as :func:`predict_file`; what was written before stays.
    """
    job.check_rows(predictor)
    writer = table_writer(kind, stream, job.added, name="standard output", schema=job.schema)
    return _label(predictor, job, _Flushing(writer), batch_size=batch_size, progress=progress)


@dataclass(frozen=True)
class _Flushing:
    """A writer that hands on what it is given at once."""

    writer: TableWriter

    def write(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> None:
        self.writer.write(rows, columns)
        self.writer.close()

    def close(self) -> None:
        self.writer.close()


def _label(
    predictor: Predictor,
    job: TableJob,
    writer: TableWriter,
    *,
    batch_size: int,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> int:
    found, labelled = job.bad_rows(predictor), 0

    def answers(asked: Asked) -> np.ndarray:
        return _answers(predictor, job, asked, batch_size, journal)

    with _bar(progress, job.table.rows) as bar:
        for rows in job.table.chunks(None):
            count = len(rows)
            if job.table.rows is None:
                for note in _notes(job):
                    logger.warning("%s", note)
            if job.table.rows is None and isinstance(rows, JsonRows):
                _check_added(
                    job.table.name, [name for name, _ in job.added], {name for row in rows.said for name in row}
                )
            rows, values, known = labels_of(job, rows, found, answers)
            writer.write(rows, values)
            labelled += known
            bar.advance(count)
    if note := found.note(job.how.on_bad_row):
        logger.warning("%s: %s", job.table.name, note)
    return labelled


def labels_of(
    job: TableJob, rows: Rows, found: BadRows, answers: Callable[[Asked], np.ndarray]
) -> tuple[Rows, list[list[Any]], int]:
    """Of the next rows those that stay, with the values of the added columns, and how many have a label.

    Args:
        job: how they are labelled.
        rows: as many as are there.
        found: counts those that cannot be labelled.
        answers: gives of what is asked what :meth:`TableJob.answers` does.

    Raises:
        DataError: a row cannot be labelled, where such rows are an error.
    """
    good, asked = found.usable(rows.values, len(rows))
    if job.how.on_bad_row == "stop":
        found.check(job.table.name)
    values = _added_values(job, answers(asked))
    if job.how.on_bad_row == "blank":
        values = [_spread(column, good, len(rows)) for column in values]
    elif len(good) < len(rows):
        with naming(job.table.name):
            rows = rows.take(good)
    return rows, values, len(good)


def _bar(progress: Progress | None, rows: int | None) -> AbstractContextManager[Bar]:
    from hrkd.support.progress import Progress

    shown = progress if progress is not None and rows is not None else Progress(enabled=False)
    return shown.bar("predicting", total=rows or 0, unit="rows")


def _answers(predictor: Predictor, job: TableJob, asked: Asked, batch_size: int, journal: Journal | None) -> np.ndarray:
    """What the journal has, or else the model says."""
    columns = len(job.facts.labels) + len(job.facts.domains) * job.finds_domains
    known = None if journal is None else journal.next(len(asked.texts), columns)
    if known is not None:
        return known
    found = job.answers(predictor, asked, batch_size)
    if journal is not None:
        journal.add(found)
    return found


def _added_values(job: TableJob, answers: np.ndarray) -> list[list[Any]]:
    classes = len(job.facts.labels)
    probabilities, shares = answers[:, :classes], answers[:, classes:]
    best = probabilities.argmax(axis=1)
    rounded = probabilities.round(6)
    every = rounded.T.tolist() if job.how.all_labels else []
    if job.finds_domains:
        names = [job.facts.domains[d] for d in shares.argmax(axis=1)]
        every += [names, shares.round(6).max(axis=1, initial=0.0).tolist()]
    return [[job.facts.labels[c] for c in best], rounded.max(axis=1, initial=0.0).tolist(), *every]


def _spread(values: Sequence[Any], places: Sequence[int], count: int) -> list[Any]:
    """``values`` at ``places`` among ``count``, None elsewhere."""
    spread: list[Any] = [None] * count
    for place, value in zip(places, values, strict=True):
        spread[place] = value
    return spread
