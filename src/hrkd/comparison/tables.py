"""The report of a comparison for people: tables and warnings, from the content of compare.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hrkd.comparison.content import COSTS
from hrkd.report.remarks import (
    SPEEDS,
    SYNTHETIC,
    below_linear,
    beside_teacher,
    on_distillation,
    points,
    ratio_rows,
    ratios_note,
    rows_of_domains,
    upright,
)
from hrkd.support.messages import count_of
from hrkd.support.text_table import NOTHING, PlainTable, interval, or_nothing, with_deviation

__all__ = ["Parts", "about", "comparison_markdown", "comparison_tables", "parts_of"]

MISSING = "missing"
ENOUGH_SEEDS = 3
SEEN = {"fraction": "the same training rows as the student", "all": "all training rows"}

Row = Mapping[str, Any]


def comparison_markdown(content: Row, plot: str | None = None) -> str:
    """The whole report in Markdown; ``plot`` is the name of a picture to show."""
    parts = ["# Comparison\n", f"{about(content)}\n"]
    parts += [f"![accuracy by method]({plot})\n"] if plot else []
    parts += [table.to_markdown() for table in comparison_tables(content)]
    unfinished = [f"{each['run']}: {each['error']}" for each in content["failed"]]
    unfinished += [f"{run}: not finished" for run in content["missing"]]
    if unfinished:
        parts += ["## What is missing\n", "".join(f"* {' '.join(line.split())}\n" for line in unfinished)]
    return "\n".join(parts)


def comparison_tables(content: Row) -> list[PlainTable]:
    """For every data set and fraction: accuracies, differences to each baseline with tests, costs, domain ratios."""
    found = []
    for parts in (parts_of(table, content) for table in content["tables"]):
        found += [parts.accuracies, *parts.differences.values(), parts.costs]
        found += [] if parts.ratios is None else [parts.ratios]
    return found


@dataclass(frozen=True)
class Parts:
    """The tables about one data set and fraction.

    Args:
        place: what it is called.
        accuracies, costs: of all methods.
        differences: by the baseline.
        ratios: None where no method has any.
    """

    place: str
    accuracies: PlainTable
    differences: Mapping[str, PlainTable]
    costs: PlainTable
    ratios: PlainTable | None


def parts_of(table: Row, content: Row) -> Parts:
    """The tables about one of the data sets and fractions of a comparison's ``content``."""
    settings, place = content["settings"], _place(table)
    differences = {
        baseline: _differences(baseline, found, place, settings)
        for baseline in settings["baselines"]
        if (found := [each for each in table["differences"] if each["baseline"] == baseline])
    }
    ratios = _ratios(table) if any(row["ratios"] for row in table["methods"]) else None
    return Parts(place, _accuracies(table, content), differences, _costs(table), ratios)


def about(content: Row) -> str:
    """What is computed, and what a reader may conclude from it."""
    settings = content["settings"]
    count = sum(len(table["differences"]) for table in content["tables"])
    varies = "Each seed has teachers of its own"
    if settings["teacher_seeds"] == "shared":
        varies = "Seeds vary the student alone, of one teacher for each method"
    return (
        f"Accuracy on the test rows in %, as mean ± standard deviation over seeds; Mean is over domains. {varies}; "
        "all share one split. Differences are in points, paired by test row and seed. Their "
        f"{100 * settings['confidence']:g} % intervals are bootstraps that resample the test rows within domains (with "
        "all seeds' answers to a row, and a prior as heavy as one row in all) and the seeds; p is a sign-flip test "
        "over test rows, two-sided; p (Holm) is "
        f"corrected for the {count_of(count, 'comparison', 'comparisons')} of this report."
    )


def _place(table: Row) -> str:
    return f"{table['data']}, {table['level'].replace('-', ' ', 1)}"


def _accuracies(table: Row, content: Row) -> PlainTable:
    domains = table["domains"]
    counts = {"Test rows": table.get("rows"), "Training rows": table.get("train_rows")}  # older reports have neither
    rows = [(*rows_of_domains(title, of, domains), NOTHING) for title, of in counts.items() if of]
    for row in table["methods"]:
        accuracies = [row["accuracy"].get(name) for name in (*domains, "mean")]
        cells = [or_nothing(each, _with_deviation) for each in accuracies]
        rows.append((row["name"], *cells, NOTHING if row["kind"] == "linear" else str(len(row["seeds"]))))
    there = {row["name"] for row in table["methods"]}
    absent = [each["method"] for each in table["missing"] if each["method"] not in there]
    rows += [(name, *(MISSING for _ in (*domains, "mean")), "0") for name in absent]
    title = f"{_place(table)}: accuracy in %, {count_of(table['examples'], 'test row', 'test rows')}"
    if any(not _is_own(row) for row in table["methods"] if row["kind"] == "teacher"):
        title += f", teacher trained on {SEEN[content['settings']['teacher_sees']]}"
    found = PlainTable(title, ("Method", *domains, "Mean", "Seeds"), tuple(rows), tuple(_warnings_of(table)))
    return upright(found, domains)


def _with_deviation(accuracy: Row) -> str:
    return with_deviation(accuracy["mean"], accuracy["deviation"])


def _warnings_of(table: Row) -> list[str]:
    """Plain sentences about what a reader of one data set and fraction should not overlook."""
    rows = {row["name"]: row for row in table["methods"]}
    found = [SYNTHETIC] if table["synthetic"] else []
    beside = table.get("beside", ())  # older reports have no paired differences but those to the baselines
    found += [
        on_distillation(each["method"], ours, f"{each['other']}, which learns from labels alone,", theirs, each)
        for each in beside
        for ours, theirs in [each["accuracies"]]
        if each["kind"] == "labels"
    ]
    unaided = any(row["kind"] == "labels" for row in rows.values())
    if not unaided and any(row["kind"] == "distilled" for row in rows.values()):
        found.append(
            "No method learns from labels alone (learns_from: labels): whether distillation helps at all is not told."
        )
    found += [
        beside_teacher(each["other"], theirs, each["method"], ours, each)
        for each in beside
        for ours, theirs in [each["accuracies"]]
        if each["kind"] == "teacher" and each["interval"][0] > 0
    ]
    found += [
        told
        for each in beside
        for ours, theirs in [each["accuracies"]]
        if each["kind"] == "linear"
        for row in [rows[each["method"]]]
        if (told := below_linear(_named(row), ours, theirs, each, row["advice"])) is not None
    ]
    found += [
        f"The {row['name']} was fine-tuned elsewhere: on which rows is not known here."
        for row in rows.values()
        if row["kind"] == "teacher" and _is_own(row)
    ]
    found += [
        f"{_named(row)} was still learning at its end ({row['still_learning']} of "
        f"{count_of(len(row['seeds']), 'training', 'trainings')}): {row['longer']}."
        for row in rows.values()
        if row.get("still_learning")
    ]
    few = [
        row["name"]
        for row in rows.values()
        if row["kind"] in ("distilled", "labels") and len(row["seeds"]) < ENOUGH_SEEDS
    ]
    if few:
        found.append(
            f"Fewer than {ENOUGH_SEEDS} seeds: {', '.join(few)}. How much another seed would change is not known."
        )
    found += [f"Missing: {each['method']}, seeds {', '.join(map(str, each['seeds']))}." for each in table["missing"]]
    return found


def _named(row: Row) -> str:
    return f"The {row['name']}" if row["kind"] == "teacher" else str(row["name"])


def _is_own(teacher: Row) -> bool:
    """Whether it is the user's own classifier, which the grid did not train."""
    return list(teacher["seeds"]) == [None]


def _differences(baseline: str, differences: Sequence[Row], place: str, settings: Row) -> PlainTable:
    rows: list[tuple[str, ...]] = [
        (
            each["method"],
            points(each["difference"]),
            interval(each["interval"], points).strip(),
            _p(each["p"]) + ("" if each["exact"] else " *"),
            _p(each["p_holm"]),
            _mcnemar(each["mcnemar"]),
            str(len(each["seeds"])),
            _verdict(each, settings["confidence"]),
        )
        for each in differences
    ]
    title = f"{place}: difference to {baseline}, in points"
    heading = f"{100 * settings['confidence']:g} % interval"
    columns = ("Method", "Difference", heading, "p", "p (Holm)", "McNemar", "Seeds", "Verdict")
    return PlainTable(title, columns, tuple(rows), tuple(_notes_on_tests(differences, settings)))


def _notes_on_tests(differences: Sequence[Row], settings: Row) -> Iterator[str]:
    if not all(each["exact"] for each in differences):
        yield f"p with *: estimated from {settings['resamples']:,} random sign changes; the others are exact."
    if any(each["mcnemar"] for each in differences):
        yield (
            "McNemar: test rows that the method alone gets right, those that the baseline alone does, and the exact p "
            "over all domains together; for one seed only."
        )
    if any(len(each["seeds"]) > 1 for each in differences):
        yield "The bootstrap over few seeds understates how much seeds differ; p does not speak of other seeds at all."


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _mcnemar(test: Row | None) -> str:
    return NOTHING if test is None else f"{test['better']} : {test['worse']}, p {_p(test['p'])}"


def _verdict(difference: Row, confidence: float) -> str:
    low, high = difference["interval"]
    if low <= 0 <= high:
        return "no evidence of a difference"
    if difference["p_holm"] > 1 - confidence:
        return "no evidence after correction"
    return "better" if difference["difference"] > 0 else "worse"


def _costs(table: Row) -> PlainTable:
    rows = tuple(
        (row["name"], *(or_nothing(row["cost"].get(name), cost.form) for name, cost in COSTS.items()))
        for row in table["methods"]
    )
    columns = ("Method", *(cost.heading for cost in COSTS.values()))
    note = (
        "Training: mean over seeds of the time of all epochs, dev evaluations included; what goes before them (the "
        "student's start, the teacher's cache) is not in it. Peak memory: the most that a run's process held."
    )
    return PlainTable(f"{_place(table)}: cost", columns, rows, (note, SPEEDS))


def _ratios(table: Row) -> PlainTable:
    domains = table["domains"]
    rows = tuple(
        (f"{row['name']}, level {level}", *cells)
        for row in table["methods"]
        for level, cells in ratio_rows(row["ratios"] or (), domains)
    )
    note = (
        "Mean ± standard deviation over the logged steps of the last epoch, both as means over seeds. "
        f"{ratios_note(domains)}"
    )
    return upright(PlainTable(f"{_place(table)}: domain ratios", ("Method", *domains), rows, (note,)), domains)
