"""How the models of a run came about, from the records and step tables in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hrkd.report.page.aggregate import history, level_tables, ratio_history
from hrkd.run.folder import RunFolder
from hrkd.support.stage_files import STAGES
from hrkd.training.record import last_ratios, read_table

__all__ = ["ratios_of_run", "stages_of_run"]

TITLES = {
    "teacher": "Teacher",
    "levels": "Student, first stage",
    "student": "Student",
    "baseline": "Labels alone",
}


def stages_of_run(run: Path) -> dict[str, dict[str, Any]]:
    """Loss and epochs of each training of a run, by its title; see :func:`hrkd.report.page.training.learning_figure`.

    Of a teacher that has parts there is no one record, and it is left out.

    Raises:
        ArtifactError: a record or a table is damaged.
    """
    folder, found = RunFolder(run), {}
    for name in STAGES:
        files = folder.stage(name)
        if not files.training.is_file():
            continue
        record = files.record(files.training, what="the record of a training", needs={"epochs": list})
        steps = read_table(files.metrics, "steps")
        average = record.get("average") or {}
        found[TITLES[name]] = {
            "loss": None if steps is None else history(steps["step"].to_numpy(), steps["loss"].to_numpy()),
            "epochs": [
                {"epoch": own["epoch"], "loss": own["loss"], "accuracy": None if name == "levels" else own["selection"]}
                for own in record["epochs"]
            ],
            "kept": None if average.get("kept") else record.get("best_epoch"),
            "averaged": {"updates": average["updates"], "accuracy": None if name == "levels" else average["selection"]}
            if average.get("kept")
            else None,
        }
    return found


def ratios_of_run(run: Path, domains: Sequence[str], *, weighs_domains: bool) -> dict[str, Any]:
    """How much domains counted in a run's student: over the steps, and of its last epoch by level.

    Args:
        run: its folder.
        domains: D names.
        weighs_domains: whether domains may count differently at all.

    Returns:
        ``ratios`` (curves) and ``last_ratios``, None where all domains count the same; ``levels``, ``hierarchy``
        (K, K, D) and ``relations`` (K, D, D), None where there are none.

    Raises:
        ArtifactError: a table is damaged.
    """
    empty: dict[str, Any] = dict.fromkeys(("ratios", "last_ratios", "levels", "hierarchy", "relations"))
    folder = RunFolder(run)
    for name in ("student", "levels"):
        metrics = folder.stage(name).metrics
        levels, last = read_table(metrics, "levels"), read_table(metrics, "levels", last=True)
        if levels is not None and last is not None:
            break
    else:
        return empty
    tables = level_tables(last, domains)
    found = empty | {"levels": tables}
    if not weighs_domains:
        return found
    found |= {"ratios": ratio_history(levels, domains), "last_ratios": last_ratios(metrics)}
    hierarchy = read_table(metrics, "hierarchy", last=True)
    if hierarchy is not None and len(tables["ratio"]) > 1:
        found["hierarchy"] = _looked_at(hierarchy, len(tables["ratio"]), domains)
    relations = read_table(metrics, "relations", last=True)
    if relations is not None:
        found["relations"] = _relations(relations, domains)
    return found


def _looked_at(table: pd.DataFrame, levels: int, domains: Sequence[str]) -> list[list[list[float | None]]]:
    means = _means(table.assign(domain=table["domain"].astype(str)), ["level", "from_level", "domain"], "ratio")
    return [
        [[means.get((level, other, name)) for name in domains] for other in range(levels)] for level in range(levels)
    ]


def _relations(table: pd.DataFrame, domains: Sequence[str]) -> list[list[list[float]]]:
    named = table.assign(domain=table["domain"].astype(str), other=table["other"].astype(str))
    means = _means(named, ["level", "domain", "other"], "weight")
    levels = sorted({level for level, _, _ in means})
    return [[[means[level, name, other] for other in domains] for name in domains] for level in levels]


def _means(table: pd.DataFrame, keys: list[str], value: str) -> dict[Any, float]:
    means = table.groupby(keys, sort=False)[value].mean()
    return {key: float(f"{mean:.5g}") for key, mean in means.items()}
