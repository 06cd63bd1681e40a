"""Labels for tables in Arrow's memory format, batch by batch: what a worker of Ray Data does with its part of a table.

A table's order and count are the caller's: every row of a batch comes back in its place, but for those left out on
request (``on_bad_row="skip"``).
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hrkd.data.readers.table_writer import with_columns, with_fields
from hrkd.data.readers.whole_rows import ArrowRows, WholeTable
from hrkd.deploy.export_folder import is_export
from hrkd.deploy.label_table import Labelling, labels_of, plan
from hrkd.errors import DataError
from hrkd.support.arguments import check_count, shown

if TYPE_CHECKING:
    from hrkd.deploy.predict import Predictor

__all__ = ["BatchLabeller"]

logger = logging.getLogger("hrkd.predict")


class BatchLabeller:
    """Adds labels to Arrow tables; a class that Ray Data's ``map_batches`` takes with ``batch_format="pyarrow"``.

    Nothing is opened before the first batch, so that it can be sent to other processes.

    Args:
        folder: a model of hrkd or an export of one, at the same place on every machine. An export takes one core.
        how: which columns are read and added; default: those of the table that the model was made from.
        batch_size: texts in a forward pass, whatever the size of a batch of the table.
    """

    def __init__(
        self,
        folder: str | Path,
        how: Labelling | None = None,
        *,
        batch_size: int = 64,
    ) -> None:
        self.folder = str(folder)
        self.batch_size = check_count("batch_size", batch_size)
        self.how = how or Labelling()

    @cached_property
    def predictor(self) -> Predictor:
        """Opened when it is first asked for.

        Raises:
            ArtifactError: the folder is missing or damaged.
        """
        from hrkd.deploy.predict import Predictor

        return Predictor.from_pretrained(self.folder, threads=1 if is_export(self.folder) else None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "predictor"}

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with ``label`` and ``score`` behind its columns.

        Raises:
            DataError: no table; missing columns, or columns that would be overwritten; rows without text or of an
                unknown domain, which are counted from 1 in this batch.
            ArtifactError: the folder is missing or damaged; the model's answers are not finite.
        """
        if not isinstance(table, pa.Table):
            raise DataError(f"expected a table of pyarrow, got {shown(table)}; say batch_format='pyarrow'")
        whole = WholeTable("a batch", ".parquet", tuple(table.schema.names), table.num_rows, lambda _: iter(()))
        job = plan(whole, self.predictor.facts, self.how)
        schema, found, batches = with_fields(table.schema, job.added), job.bad_rows(self.predictor), []
        for batch in table.to_batches():
            rows, values, _ = labels_of(
                job, ArrowRows(batch), found, lambda asked: job.answers(self.predictor, asked, self.batch_size)
            )
            batches.append(with_columns(rows.batch(table.schema), job.added, values, schema))
        if note := found.note(self.how.on_bad_row):
            logger.warning("a batch: %s", note)
        return pa.Table.from_batches(batches, schema)
