"""What the models of a finished run said of its test rows, as the run left it on disk; with texts, where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrkd.data.types import MultiDomainDataset, Splits
from hrkd.errors import ArtifactError, DataError
from hrkd.recipe.loading import load_recipe
from hrkd.run.folder import RunFolder
from hrkd.run.prepare import prepare_data
from hrkd.support.atomic_files import read_record
from hrkd.support.caches import cache_folder
from hrkd.support.messages import first_line
from hrkd.support.stage_files import going_on

__all__ = ["NAMES", "TestAnswers", "check_same_rows", "finished_results", "read_answers", "run_splits"]

NAMES = {"teacher": "teacher", "student": "student", "student_without_distillation": "baseline", "linear": "linear"}
"""Models of results.json and the files of their answers."""
PREFIX = "probability_"
AGAIN = "the command that made the run, given again, writes it anew"


@dataclass(frozen=True)
class TestAnswers:
    """Rows of test, and what models said of them.

    Args:
        ids: of the rows, (rows,).
        domains, labels: names of each row's domain and label, (rows,).
        names: of the labels, C of them, in the order of probabilities.
        probabilities: (rows, C) by the model's name in results.json.
    """

    __test__ = False  # pytest: no class of tests

    ids: npt.NDArray[Any]
    domains: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    names: tuple[str, ...]
    probabilities: Mapping[str, npt.NDArray[Any]]

    @cached_property
    def label_ids(self) -> npt.NDArray[np.int64]:
        """The true label of each row, (rows,)."""
        places = {name: number for number, name in enumerate(self.names)}
        return np.array([places[name] for name in self.labels.tolist()], dtype=np.int64)

    def answers(self, model: str) -> npt.NDArray[np.int64]:
        """The most probable label of each row, (rows,)."""
        found: npt.NDArray[np.int64] = self.probabilities[model].argmax(axis=1)
        return found


def finished_results(run: Path) -> dict[str, Any]:
    """The content of a finished run's results.json.

    Raises:
        ArtifactError: ``run`` is no folder of a run, or the run is not finished.
    """
    folder = RunFolder(run)
    if not folder.is_run:
        raise ArtifactError(f"{run}: not the folder of a run of hrkd (run.output of the recipe that made it)")
    if not folder.results.is_file():
        raise ArtifactError(f"{run}: the run is not finished: it has no results.json; {going_on(run)}")
    needs = {"labels": list, "domains": list, "models": dict}
    found: dict[str, Any] = read_record(folder.results, what="the results of a run", advice=AGAIN, needs=needs)
    return found


def read_answers(run: Path, results: Mapping[str, Any]) -> TestAnswers:
    """The answers of every model of a run that left some.

    Args:
        run: its folder.
        results: the content of its results.json.

    Raises:
        ArtifactError: none is there, or one is damaged or of other rows than the rest.
    """
    folder, tables = RunFolder(run).predictions, dict[str, pd.DataFrame]()
    for model, stage in NAMES.items():
        path = folder / f"{stage}.parquet"
        if path.is_file():
            tables[model] = _read(path, results["labels"])
    if not tables:
        raise ArtifactError(f"{folder}: holds no answers of models; {AGAIN}")
    first_name, first = next(iter(tables.items()))
    for name, table in tables.items():
        if not first["id"].equals(table["id"]):
            raise ArtifactError(
                f"{folder}: {NAMES[name]}.parquet is of other rows than {NAMES[first_name]}.parquet; {AGAIN}"
            )
    columns = [f"{PREFIX}{label}" for label in results["labels"]]
    return TestAnswers(
        ids=first["id"].to_numpy(),
        domains=first["domain"].to_numpy(),
        labels=first["label"].to_numpy(),
        names=tuple(results["labels"]),
        probabilities={name: table[columns].to_numpy() for name, table in tables.items()},
    )


def _read(path: Path, labels: list[str]) -> pd.DataFrame:
    needed = ["id", "domain", "label", *(f"{PREFIX}{label}" for label in labels)]
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({first_line(error)}); {AGAIN}") from error
    if missing := [name for name in needed if name not in table.columns]:
        raise ArtifactError(f"{path}: the column {missing[0]} is missing; {AGAIN}")
    if unknown := sorted(set(table["label"]) - set(labels)):
        raise ArtifactError(f"{path}: the label {unknown[0]} is none of the run's; {AGAIN}")
    return table


def run_splits(run: Path, answers: TestAnswers) -> Splits:
    """The parts of the data of a run's recipe, read anew; test are the rows that ``answers`` are of, with their texts.

    Raises:
        DataError: the data are not where they were, or their test rows are others now.
    """
    recipe = load_recipe(run / "recipe.yaml", needed=())
    if recipe.data.source is None and recipe.data.format != "synthetic":
        raise DataError(f"{run}: was made from rows in memory, so that its texts are not known; give them as data")
    splits = prepare_data(recipe.data, cache=cache_folder(recipe.cache.folder)).splits
    check_same_rows(run, splits.test, answers)
    return splits


def check_same_rows(run: Path, rows: MultiDomainDataset, answers: TestAnswers) -> None:
    """Whether ``rows`` are those that ``answers`` are of.

    Raises:
        DataError: they are others.
    """
    if rows.rows["id"][:] != answers.ids.tolist():
        raise DataError(
            f"{run}: the test rows of its data are others than those that it was measured on; the data have changed"
        )
