"""Labels for the rows of a table, file to file: :func:`predict_file`, and its two halves.

What is wrong with a table shows in :func:`read_rows`, which needs the names of a model's domains and labels alone
(:func:`hrkd.models.open_model.read_facts`): before the model is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrkd.data.readers.places import known_kind
from hrkd.data.readers.table_writer import check_writable, write_table
from hrkd.data.readers.tables import read_table
from hrkd.deploy.checks import is_unusable, unknown_domains
from hrkd.errors import DataError
from hrkd.support.messages import first_of, misspelt

if TYPE_CHECKING:
    import numpy as np

    from hrkd.data.readers.parts import Part
    from hrkd.deploy.predict import Predictor
    from hrkd.support.progress import Progress

__all__ = ["RowsToLabel", "label_rows", "predict_file", "read_rows"]


@dataclass(frozen=True)
class RowsToLabel:
    """A table that was read: all of its ``columns``, what of them is to be labelled, and where it goes to."""

    target: Path
    columns: list[tuple[str, list[Any]]]
    added: list[str]
    texts: list[str]
    pairs: list[str] | None
    domains: list[str]
    all_labels: bool


def predict_file(
    predictor: Predictor,
    input: str | Path,  # noqa: A002
    output: str | Path,
    *,
    domain: str | None = None,
    text: str = "text",
    text_pair: str | None = None,
    domain_column: str = "domain",
    batch_size: int = 64,
    all_labels: bool = False,
    prefix: str = "",
    progress: Progress | None = None,
) -> int:
    """Label a table and write it with the columns ``label`` and ``score`` added.

    CSV, TSV, JSON lines or Parquet, the first three also with ``.gz``; the kind of the output follows its name. All
    columns and rows stay as they are. An existing output is replaced, once the new one is whole.

    Args:
        predictor: The model.
        input: Table to read.
        output: Table to write; not the same file.
        domain: Domain of all rows; None: ``domain_column`` says it for each.
        text: Column with the text.
        text_pair: Column with the second text of a pair task.
        domain_column: Column with the domain, read where ``domain`` is None.
        batch_size: Texts in a forward pass.
        all_labels: Also add ``score_<label>`` for every label of the model.
        prefix: Put before the names of the added columns, such as ``predicted_``.
        progress: Where a progress bar goes.

    Returns:
        The number of rows.

    Raises:
        DataError: a file that cannot be read or written, missing columns, columns that would be overwritten, rows
            without text, unknown domains; file and rows are named.
    """
    rows = read_rows(
        input,
        output,
        known=(predictor.model.domains, predictor.model.labels),
        domain=domain,
        text=text,
        text_pair=text_pair,
        domain_column=domain_column,
        all_labels=all_labels,
        prefix=prefix,
    )
    return label_rows(predictor, rows, batch_size=batch_size, progress=progress)


def read_rows(
    input: str | Path,  # noqa: A002
    output: str | Path,
    *,
    known: tuple[Sequence[str], Sequence[str]],
    domain: str | None = None,
    text: str = "text",
    text_pair: str | None = None,
    domain_column: str = "domain",
    all_labels: bool = False,
    prefix: str = "",
) -> RowsToLabel:
    """Read and check a table that is to be labelled; ``known`` are the domains and labels of the model.

    The other arguments and the errors are those of :func:`predict_file`.
    """
    source, target = Path(input).expanduser(), Path(output).expanduser()
    known_kind(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise DataError(f"{target}: input and output are the same file; write to another one")
    domains, labels = known
    part = read_table(source)
    added = [prefix + name for name in ("label", "score", *(f"score_{name}" for name in labels if all_labels))]
    _check_columns(part, [text, *filter(None, [text_pair]), *([] if domain else [domain_column])], added)
    texts, pairs = _texts(part, text), _texts(part, text_pair) if text_pair else None
    of_rows = _domains(part, domain, domain_column, domains)
    columns = [(name, list(part.read(i))) for i, name in enumerate(part.columns)]
    check_writable(target, columns)
    return RowsToLabel(target, columns, added, texts, pairs, of_rows, all_labels)


def label_rows(
    predictor: Predictor, rows: RowsToLabel, *, batch_size: int = 64, progress: Progress | None = None
) -> int:
    """Label rows that were read and write the table; see :func:`predict_file`."""
    probabilities = predictor.probabilities(
        rows.texts, domain=rows.domains, text_pairs=rows.pairs, batch_size=batch_size, progress=progress
    )
    values = _added_values(predictor.model.labels, probabilities, rows.all_labels)
    write_table(rows.target, [*rows.columns, *zip(rows.added, values, strict=True)])
    return len(rows.texts)


def _added_values(labels: Sequence[str], probabilities: np.ndarray, all_labels: bool) -> list[list[Any]]:
    best = probabilities.argmax(axis=1)
    rounded = probabilities.round(6)
    return [[labels[c] for c in best], rounded.max(axis=1).tolist(), *(rounded.T.tolist() if all_labels else [])]


def _check_columns(part: Part, wanted: Sequence[str], added: Sequence[str]) -> None:
    if missing := [name for name in wanted if name not in part.columns]:
        raise DataError(
            f"{part.name}: no column {misspelt(missing, part.columns)}; found {', '.join(part.columns)}. Say which "
            "columns to read (text, text_pair, domain_column; on the command line --text-column, --pair-column, "
            "--domain-column)"
        )
    if repeated := part.repeated(wanted):
        raise DataError(f"{part.name}: {repeated}")
    if taken := [repr(name) for name in added if name in part.columns]:
        raise DataError(
            f"{part.name}: has a column {first_of(taken)} already, which prediction would add; "
            "rename it, or set prefix (such as predicted_)"
        )


def _texts(part: Part, column: str) -> list[str]:
    values = part.read(part.columns.index(column))
    if unusable := [str(row) for row, value in enumerate(values, 1) if is_unusable(value)]:
        raise DataError(
            f"{part.name}: empty or broken text in column {column!r} of row {first_of(unusable)} (counted from 1 after "
            "the header); fill it in or remove the row"
        )
    return list(values)


def _domains(part: Part, domain: str | None, column: str, known: Sequence[str]) -> list[str]:
    if domain is not None:
        if problem := unknown_domains([domain], known):
            raise DataError(f"domain: {problem}. The model knows {', '.join(known)}")
        return [domain] * part.rows
    values = part.read(part.columns.index(column))
    names = ["" if value is None else str(value).strip() for value in values]
    if problem := unknown_domains(names, known):
        rows = [str(row) for row, name in enumerate(names, 1) if name not in known]
        raise DataError(
            f"{part.name}: {problem} in column {column!r}, row {first_of(rows)}. The model knows {', '.join(known)}"
        )
    return names
