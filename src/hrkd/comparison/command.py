"""``hrkd compare``: from a grid to finished runs and a report on them."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hrkd.comparison.collect import collect
from hrkd.comparison.content import COLUMNS, Measured, Settings, comparison_content, tidy_rows
from hrkd.comparison.page import comparison_page
from hrkd.comparison.planning import GridPlan, PlannedRun, load_grid
from hrkd.comparison.plot import can_plot, plot_comparison
from hrkd.comparison.processes import changes_of, is_finished, make_runs
from hrkd.comparison.tables import comparison_markdown, comparison_tables
from hrkd.errors import ArtifactError, RecipeError
from hrkd.report.page.page import made_now
from hrkd.run.command_record import CommandRecord
from hrkd.run.folder import COMMAND, RunFolder
from hrkd.support.arguments import check_switch
from hrkd.support.atomic_files import read_record, replace_file, write_json, write_text
from hrkd.support.launch import launch
from hrkd.support.progress import Progress, Show, quiet

__all__ = ["compare", "is_finished_comparison"]

logger = logging.getLogger("hrkd.compare")

PAGE, REPORT = "compare.html", "compare.md"
"""Written last, the report as the very last."""
CONTENT = "compare.json"


def compare(
    grid: GridPlan | str | Path | Mapping[str, Any],
    *,
    report_only: bool = False,
    overwrite: bool = False,
    show: Show = quiet,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run what is missing of a grid, and report on all of it. Returns the content of compare.json.

    A run that fails does not stop the others; its error stands under ``failed``.

    Args:
        grid: a checked grid, or what :func:`hrkd.comparison.planning.load_grid` takes.
        report_only: run nothing.
        overwrite: make runs anew that were made with other settings.
        show: receives the tables for a person.
        progress: where progress goes; default: a bar on a terminal, log lines elsewhere.

    Raises:
        RecipeError: something is wrong in the grid or in a recipe that it makes; nothing has run.
        ArtifactError: runs in the output folder were made with other settings, or another comparison is at work
            there.
    """
    check_switch("report_only", report_only)
    check_switch("overwrite", overwrite)
    plan = grid if isinstance(grid, GridPlan) else load_grid(grid)
    output, failed = plan.grid.output, dict[str, str]()
    if not report_only:
        if launch().size > 1:
            raise RecipeError("hrkd compare starts processes of its own; call it without a launcher, with jobs")
        if not overwrite:
            _check_unchanged(plan)
        missing = _missing(plan)
        finished = len(plan.teachers) + len(plan.cells) - len(missing)
        logger.info("%s: %d runs to make, %d finished", output, len(missing), finished)
        if missing:
            given = {"grid": plan.grid.model_dump(mode="json"), "overwrite": overwrite}
            record = asdict(CommandRecord("compare", str(Path.cwd()), given))
            failed = make_runs(
                missing,
                output,
                jobs=plan.grid.jobs,
                overwrite=overwrite,
                progress=progress or Progress(),
                begin=lambda folder: write_json(folder / COMMAND, record),
            )
    measured, unusable = collect(plan)
    failed |= unusable
    if not measured and not failed:
        raise ArtifactError(f"{output}: no finished run of this grid; hrkd compare without --report-only makes them")
    content = comparison_content(
        measured,
        _settings(plan),
        failed=failed,
        missing=[run.name for run in _missing(plan) if run.name not in failed],
        grid=plan.grid.model_dump(mode="json"),
    )
    _write(content, measured, output)
    for table in comparison_tables(content):
        show(table)
    show(f"Written: {output / PAGE}, {REPORT}, compare.csv, {CONTENT}")
    return content


def is_finished_comparison(plan: GridPlan) -> bool:
    """Whether all runs of a grid are there, and a report on all of them that is no older than they are."""
    output = plan.grid.output
    if not (output / REPORT).is_file() or not (output / CONTENT).is_file() or _missing(plan):
        return False
    told = read_record(output / CONTENT, what="the results of a comparison", advice=f"delete {output / CONTENT}")
    newest = max(RunFolder(cell.folder).results.stat().st_mtime for cell in plan.cells)
    is_younger = (output / REPORT).stat().st_mtime >= newest
    then, now = ({**grid, "output": None} for grid in (told.get("grid") or {}, plan.grid.model_dump(mode="json")))
    return is_younger and then == now and not told.get("missing")


def _missing(plan: GridPlan) -> list[PlannedRun]:
    """Runs to make; a teacher whose cells are all finished is not."""
    cells = [cell for cell in plan.cells if changes_of(cell) or not is_finished(cell)]
    needed = {cell.teacher.name for cell in cells if cell.teacher is not None}
    teachers = [teacher for teacher in plan.teachers if teacher.name in needed and not is_finished(teacher)]
    return [*teachers, *cells]


def _check_unchanged(plan: GridPlan) -> None:
    """Before anything runs: no folder of a cell holds a model that was made with other settings."""
    changed = {cell.name: changes for cell in plan.cells if (changes := changes_of(cell))}
    if changed:
        lines = "\n".join(f"{name}: {'; '.join(changes)}" for name, changes in changed.items())
        raise ArtifactError(
            f"{plan.grid.output}: some runs were made with other settings; choose another output, or "
            f"--overwrite makes them anew:\n{lines}"
        )


def _settings(plan: GridPlan) -> Settings:
    grid = plan.grid
    return Settings(
        baselines=grid.baselines,
        methods=tuple(grid.methods),
        seeds=tuple(grid.seeds),
        teacher_sees=grid.teacher_sees,
        teacher_seeds=grid.teacher_seeds,
        resamples=grid.resamples,
        confidence=grid.confidence,
    )


def _write(content: Mapping[str, Any], measured: Sequence[Measured], output: Path) -> None:
    write_json(output / CONTENT, content)
    with replace_file(output / "compare.csv") as new, new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(tidy_rows(measured))
    plot = None
    if not can_plot():
        logger.warning("compare.svg is not drawn: it needs matplotlib; pip install 'hrkd[plot]'")
    elif content["tables"]:
        plot = "compare.svg"
        with replace_file(output / plot) as new:
            plot_comparison(content, new)
    write_text(output / PAGE, comparison_page(content, made_now()))
    write_text(output / REPORT, comparison_markdown(content, plot))
