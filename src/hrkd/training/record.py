"""What happened in a training, as tidy Parquet tables that pandas reads folder by folder.

``steps``: one row per logged step (epoch, step, loss, learning_rate, gradient_norm, ...).
``levels``: one row per step, level and domain (hidden, attention, ratio).
``hierarchy``: one row per step, level, level looked at and domain (ratio).
``relations``: one row per step, level, domain and other domain (weight: how much the first looks at the other), where
the ratios come from a graph.
``predictions``: one row per step and domain (loss; where a meta-teacher's features are imitated, transfer, times its
weight).
Each epoch adds one file per table, moved into place when it is whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import replace_file
from hrkd.support.messages import first_line

__all__ = ["COSTS", "Recorder", "StepTables", "ending_of", "last_ratios", "read_table", "training_cost"]

PREFIX = "record."
COLLAPSED = 0.95
"""Share of a level's ratios beyond which the other domains hardly count."""
COSTS = ("seconds", "steps", "peak_megabytes")
"""Figures of :func:`training_cost`."""


@dataclass(frozen=True)
class StepTables:
    """Tables of one distillation step; see :mod:`hrkd.method` for their meaning.

    ``hidden`` (K, D), ``attention`` (L, D), ``prediction`` (D,), ``ratios`` (K, D), ``hierarchical`` (K, K, D);
    ``transfer`` (D,) where a meta-teacher's features are imitated; ``relations`` (K, D, D) where there is a graph.
    """

    hidden: Tensor
    attention: Tensor
    prediction: Tensor
    ratios: Tensor
    hierarchical: Tensor
    transfer: Tensor | None = None
    relations: Tensor | None = None


def read_table(folder: Path, name: str, *, last: bool = False, needs: Sequence[str] = ()) -> pd.DataFrame | None:
    """A step table of all epochs, or of the ``last`` one alone; None where there is none.

    Args:
        folder: of the training's tables.
        name: of the table.
        last: of the last epoch alone.
        needs: columns that it must have.

    Raises:
        ArtifactError: a file of it is damaged.
    """
    files, parts = sorted((folder / name).glob("epoch-*.parquet")), []
    for file in files[-1:] if last else files:
        try:
            parts.append(pd.read_parquet(file))
            if missing := [name for name in needs if name not in parts[-1].columns]:
                raise LookupError(f"no column {missing[0]}")
        except (OSError, ValueError, LookupError) as error:
            raise ArtifactError(f"{file}: a table of the training cannot be read ({first_line(error)})") from error
    return pd.concat(parts, ignore_index=True) if parts else None


def last_ratios(folder: Path) -> list[dict[str, Any]]:
    """Domain ratios over the logged steps of a training's last epoch: level, domain, mean and std; [] without tables.

    The standard deviation is None where one step alone was logged.

    Args:
        folder: of the training's tables.

    Raises:
        ArtifactError: the last table is damaged.
    """
    table = read_table(folder, "levels", last=True, needs=("level", "domain", "ratio"))
    if table is None:
        return []
    levels = table.groupby(["level", "domain"], observed=True, sort=False)["ratio"]
    found = levels.agg(mean="mean", std=lambda ratios: ratios.std(ddof=0) if len(ratios) > 1 else None).reset_index()
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in found.to_dict("records")
    ]


@dataclass
class Recorder:
    """Collects rows during an epoch and writes them at its end."""

    folder: Path
    domains: Sequence[str]
    every: int = 1
    _steps: list[dict[str, float]] = field(default_factory=list)
    _tables: list[tuple[int, StepTables]] = field(default_factory=list)

    def add(self, step: int, values: Mapping[str, float], tables: StepTables | None) -> None:
        """Keep one step, counted from 1 over the whole training, if it is to be logged."""
        if not self.is_logged(step):
            return
        self._steps.append({"step": step, **values})
        if tables is not None:
            self._tables.append((step, tables))

    def is_logged(self, step: int) -> bool:
        """Whether a step, counted from 1, is one of those that are kept."""
        return (step - 1) % self.every == 0

    def scalars(self, tables: StepTables | None) -> dict[str, float]:
        """Losses and ratios of a step under names such as ``ratio/level 2/books``, for trackers."""
        if tables is None:
            return {}
        levels = {"hidden loss": tables.hidden, "attention loss": tables.attention, "ratio": tables.ratios}
        rows = {
            f"{title}/level {level}": row
            for title, table in levels.items()
            for level, row in enumerate(table.tolist(), len(tables.ratios) - len(table))
        }
        for level, lower_rows in enumerate(tables.hierarchical.tolist()):
            for lower, row in enumerate(lower_rows[: level + 1]):
                rows[f"hierarchical ratio/level {level} from {lower}"] = row
        rows["prediction loss"] = tables.prediction.tolist()
        if tables.transfer is not None:
            rows["transfer loss"] = tables.transfer.tolist()
        return {
            f"{title}/{domain}": value
            for title, row in rows.items()
            for domain, value in zip(self.domains, row, strict=True)
        }

    def collapsed(self) -> list[str]:
        """Levels of which one domain has had nearly all of the ratios since the last epoch ended, in words."""
        if not self._tables or len(self.domains) < 2:
            return []
        means = torch.stack([tables.ratios for _, tables in self._tables]).float().mean(dim=0)
        largest, domains = means.max(dim=1)
        return [
            f"at level {level} {self.domains[domain]} has {100 * share:.0f} %"
            for level, (share, domain) in enumerate(zip(largest.tolist(), domains.tolist(), strict=True))
            if share > COLLAPSED
        ]

    def state(self) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        """What was kept since the last epoch ended, for a checkpoint: figures of steps, and tables of all of them."""
        tensors = {"steps": torch.tensor([step for step, _ in self._tables], dtype=torch.long)}
        for each in fields(StepTables):
            values = [getattr(tables, each.name) for _, tables in self._tables]
            if values and values[0] is not None:
                tensors[each.name] = torch.stack(values).cpu()
        return self._steps, {f"{PREFIX}{name}": value for name, value in tensors.items()}

    def restore(self, steps: Sequence[Mapping[str, float]], tensors: dict[str, Tensor]) -> None:
        """Take what :meth:`state` gave, out of ``tensors``."""
        mine = {name.removeprefix(PREFIX): tensors.pop(name) for name in list(tensors) if name.startswith(PREFIX)}
        self._steps = [dict(step) for step in steps]
        numbers = mine.pop("steps", torch.empty(0)).long().tolist()
        rows = [StepTables(**{name: table[row] for name, table in mine.items()}) for row in range(len(numbers))]
        self._tables = list(zip(numbers, rows, strict=True))

    def end_epoch(self, epoch: int) -> None:
        """Write the rows of ``epoch`` (counted from 1) and forget them."""
        frames = {"steps": pd.DataFrame(self._steps)}
        if self._tables:
            numbers = np.asarray([step for step, _ in self._tables])
            hidden, attention, prediction, ratios, hierarchical = (
                torch.stack([getattr(tables, name) for _, tables in self._tables]).float().cpu().numpy()
                for name in ("hidden", "attention", "prediction", "ratios", "hierarchical")
            )
            padding = np.full((len(numbers), ratios.shape[1] - attention.shape[1], ratios.shape[2]), np.nan)
            values = {"hidden": hidden, "attention": np.concatenate([padding, attention], axis=1), "ratio": ratios}
            frames["levels"] = self._tidy(numbers, ("level",), values)
            losses = {"loss": prediction}
            if transfer := [tables.transfer for _, tables in self._tables if tables.transfer is not None]:
                losses["transfer"] = torch.stack(transfer).float().cpu().numpy()
            frames["predictions"] = self._tidy(numbers, (), losses)
            if relations := [tables.relations for _, tables in self._tables if tables.relations is not None]:
                weights = torch.stack(relations).transpose(2, 3).float().cpu().numpy()
                related = self._tidy(numbers, ("level", "other"), {"weight": weights})
                frames["relations"] = related.assign(other=related["other"].map(dict(enumerate(self.domains))))
            looked_at = self._tidy(numbers, ("level", "from_level"), {"ratio": hierarchical})
            frames["hierarchy"] = looked_at[looked_at["from_level"] <= looked_at["level"]]
        for name, frame in frames.items():
            target = self.folder / name / f"epoch-{epoch:03d}.parquet"
            with replace_file(target) as new:
                frame.assign(epoch=epoch).to_parquet(new, index=False)
        self._steps.clear()
        self._tables.clear()

    def _tidy(self, steps: np.ndarray, axes: Sequence[str], values: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Arrays (steps, *axes, D) to rows with the columns step, *axes, domain, *values."""
        shape = next(iter(values.values())).shape
        index = np.indices(shape).reshape(len(shape), -1)
        columns: dict[str, object] = {"step": steps[index[0]]}
        columns |= {axis: index[1 + i] for i, axis in enumerate(axes)}
        columns["domain"] = pd.Categorical.from_codes(index[-1], categories=pd.Index(list(self.domains)))
        columns |= {name: array.reshape(-1) for name, array in values.items()}
        return pd.DataFrame(columns)


def ending_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a training was kept, ``epoch`` of ``epochs`` and ``average``, and how it ended, ``still_learning`` and
    ``ended_by``, as its history says.

    Where several trainings have one record, no epoch is that of all: it is None.
    """
    epoch = record["best_epoch"]
    told = {"epoch": epoch if isinstance(epoch, int) else None, "epochs": len(record["epochs"])}
    return told | {name: record.get(name) for name in ("average", "still_learning", "ended_by")}


def training_cost(record: Mapping[str, Any]) -> dict[str, Any]:
    """``seconds`` of all epochs of a training, dev evaluations included; ``steps``; ``peak_megabytes``, or None.

    A student of two stages has the cost of the first in its record (``levels``): seconds and steps are those of both,
    the memory is the larger.
    """
    before = record.get("levels") or {}
    peaks = [each for each in (before.get("peak_megabytes"), record.get("peak_megabytes")) if each is not None]
    seconds = sum(float(epoch["seconds"]) for epoch in record["epochs"])
    return {
        "seconds": round(before.get("seconds", 0) + seconds, 1),
        "steps": before.get("steps", 0) + record["steps"],
        "peak_megabytes": max(peaks, default=None),
    }
