"""Figures of how good models are: accuracy by domain, confusions, calibration, and where answers flip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hrkd.report.page.aggregate import KINDS
from hrkd.report.page.figure import (
    IN_TABLE,
    MOST_PANELS,
    NAME,
    Figure,
    Segment,
    Series,
    cut,
    heat_map,
    maps_within,
    percent_axis,
    some_drawn,
    stacked_bars,
    width_of_names,
)
from hrkd.report.page.svg import Canvas, Scale, colour, shortened
from hrkd.support.messages import count_of
from hrkd.support.text_table import PlainTable, interval, percent

__all__ = ["accuracy_figure", "by_accuracy", "calibration_figure", "confusion_figure", "flips_figure"]

Row = Mapping[str, Any]

MOST_CHANGES = 20
KIND_TITLES = {
    "both_right": "Both right",
    "lost": "Teacher alone right",
    "gained": "Student alone right",
    "both_wrong": "Both wrong",
}


def by_accuracy(models: Mapping[str, Row], domains: Sequence[str]) -> list[str]:
    """Domains from the one in which the first of the models is worst to its best."""
    scores = next(iter(models.values()))["test"]["domains"]
    return sorted((name for name in domains if name in scores), key=lambda name: scores[name]["accuracy"])


def accuracy_figure(models: Mapping[str, Row], domains: Sequence[str]) -> Figure:
    """Accuracy of each model in each domain with its interval, the first model's worst domain on top.

    Args:
        models: those of results.json that have figures of test; by the first the domains are sorted.
        domains: all names.
    """
    order, series = by_accuracy(models, domains), _series(models)
    lines = [*order, "Mean"]
    figures = {name: {**model["test"]["domains"], "Mean": model["test"]["mean"]} for name, model in models.items()}
    ends = [
        end
        for of_model in figures.values()
        for name in lines
        for end in (*(of_model[name].get("accuracy_interval") or ()), of_model[name]["accuracy"])
    ]
    low = max(0.0, min(ends) - 0.01)
    name_width, height = width_of_names(lines), 10 + 11 * len(models)
    canvas = Canvas(760, 40 + height * len(lines), "Accuracy by domain", description=IN_TABLE)
    across = Scale(low, min(1.0, max(ends) + 0.005), name_width + 60, 748)
    bottom = 6 + height * len(lines)
    canvas.horizontal_axis(across, bottom, 6, percent_axis(across.low, across.high))
    canvas.text((across.start + across.end) / 2, bottom + 30, "accuracy, %", "tick", anchor="middle")
    for row, name in enumerate(lines):
        top = 6.0 + row * height
        middle = top + height / 2
        if row:
            canvas.line((0, top), (748, top), "rule")
        is_worst = row == 0 and len(order) > 1
        look = "name strong" if name == "Mean" or is_worst else "name"
        canvas.text(0, middle + (0 if is_worst else 4), shortened(name, NAME), look)
        if is_worst:
            canvas.text(0, middle + 14, "worst domain", "tick")
        for place, of_model in enumerate(figures.values()):
            own, y = of_model[name], top + 10.5 + 11 * place
            bounds = own.get("accuracy_interval")
            if bounds is not None:
                canvas.line((across(bounds[0]), y), (across(bounds[1]), y), f"whisker {colour(place)}")
            tip = f"{percent(own['accuracy'])}{interval(bounds)} %"
            canvas.mark(across(own["accuracy"]), y, place, tip=tip)
    rows = tuple(
        (
            name,
            f"{next(iter(figures.values()))[name]['examples']:,}",
            *(
                percent(of_model[name]["accuracy"]) + interval(of_model[name].get("accuracy_interval"))
                for of_model in figures.values()
            ),
        )
        for name in lines
    )
    table = cut(PlainTable("", ("Domain", "Test rows", *(each.title for each in series)), rows), "domains")
    first = series[0].title
    return Figure(
        "accuracy",
        "Accuracy by domain",
        f"On the test rows. Domains are sorted by the accuracy of the {_lower(first)}, the worst on top"
        f"{_about_lines(models)}.",
        (canvas,),
        (table,),
        tuple(series),
    )


def confusion_figure(confusion: Row, order: Sequence[str]) -> Figure:
    """What the student answers more, or less, often than its teacher, for each true label.

    Args:
        confusion: ``labels`` (C names), ``is_whole`` (whether ``domains`` holds matrices (C, C), or the largest
            changes alone: true label, answer, rows) and ``domains``.
        order: of domains.
    """
    labels, found = confusion["labels"], confusion["domains"]
    changes = [
        (name, truth, answer, rows)
        for name in order
        for truth, answer, rows in _changes(found[name], labels, is_whole=confusion["is_whole"])
    ]
    changes.sort(key=lambda each: -abs(each[3]))
    shown = changes[:MOST_CHANGES]
    rows = tuple((name, truth, answer, f"{count:+,}") for name, truth, answer, count in shown)
    note = () if len(changes) == len(shown) else (f"The largest {MOST_CHANGES} of {len(changes):,} changes.",)
    table = PlainTable("", ("Domain", "True label", "Answer", "Rows: student less teacher"), rows, note, keys=3)
    pictures: tuple[Canvas, ...] = ()
    if confusion["is_whole"] and rows:
        drawn = order[: maps_within(len(labels) ** 2)]
        top = max((abs(value) for name in drawn for row in found[name] for value in row), default=1) or 1
        names = [shortened(label, 14) for label in labels]
        pictures = tuple(
            heat_map(
                f"{name}: change of answers",
                names,
                names,
                found[name],
                [[f"{value:+d}" if value else "0" for value in row] for row in found[name]],
                top=top,
                corner=shortened(name, NAME),
            )
            for name in drawn
        )
    return Figure(
        "confusion",
        "What changed from teacher to student",
        "Test rows of each true label (in rows) by answer (in columns): how many more, or fewer, the student gives "
        "than its teacher. On the diagonal a minus is right answers that were lost."
        f"{'' if rows else ' Here both answer every row alike.'}{some_drawn(len(pictures), len(order))}",
        pictures,
        (table,),
    )


def _changes(cells: Sequence[Any], labels: Sequence[str], *, is_whole: bool) -> list[tuple[str, str, int]]:
    if not is_whole:
        return [(truth, answer, rows) for truth, answer, rows in cells]
    return [
        (labels[truth], labels[answer], rows)
        for truth, row in enumerate(cells)
        for answer, rows in enumerate(row)
        if rows
    ]


def calibration_figure(calibration: Mapping[str, Row], titles: Mapping[str, str], order: Sequence[str]) -> Figure:
    """How often models are right where they are so sure, a small picture for each domain.

    Args:
        calibration: by model and domain what :func:`hrkd.report.page.aggregate.calibration` gives.
        titles: of the models.
        order: of domains.
    """
    series = [Series(titles[name], number) for number, name in enumerate(calibration)]
    pictures = []
    for name in order[:MOST_PANELS]:
        canvas = Canvas(196, 190, f"Calibration in {name}", description=IN_TABLE)
        least = min(each["confidence"] for model in calibration.values() for each in model[name]["bins"])
        across = Scale(min(least, 0.5), 1.0, 34, 188)
        least = min(each["accuracy"] for model in calibration.values() for each in model[name]["bins"])
        up = Scale(min(least, 0.5), 1.0, 152, 26)
        canvas.text(4, 14, shortened(name, NAME), "name strong")
        canvas.horizontal_axis(across, 152, 26, percent_axis(across.low, 1.0))
        canvas.vertical_axis(up, 34, 188, percent_axis(up.low, 1.0))
        canvas.text(111, 183, "how sure, %", "tick", anchor="middle")
        start = max(across.low, up.low)
        canvas.line((across(start), up(start)), (across(1.0), up(1.0)), "even")
        for each, model in zip(series, calibration.values(), strict=True):
            bins = model[name]["bins"]
            points = [(across(one["confidence"]), up(one["accuracy"])) for one in bins]
            canvas.path(points, f"curve {colour(each.number)}")
            for (x, y), one in zip(points, bins, strict=True):
                tip = (
                    f"{percent(one['accuracy'])} % right, {percent(one['confidence'])} % sure, {count_of(one['rows'])}"
                )
                canvas.mark(x, y, each.number, size=2.2 + 3 * (one["rows"] / _rows(bins)) ** 0.5, tip=tip)
        pictures.append(canvas)
    rows = tuple((name, *(_calibration_error(model[name]) for model in calibration.values())) for name in order)
    columns = ("Domain", *(f"{each.title}: calibration error, points" for each in series))
    return Figure(
        "calibration",
        "Calibration by domain",
        "How often a model is right (upwards, in %) among test rows of which it is so sure; larger marks stand for "
        "more rows. On the dashed line it is as often right as it says; below it is too sure, above it is not sure "
        "enough, as models are that have trained briefly or learnt from a teacher's doubts. The error is the mean "
        "distance from that line: where it is large, scores tell which answers are surer than others, and are no "
        f"probabilities.{some_drawn(len(pictures), len(order))}",
        tuple(pictures),
        (cut(PlainTable("", columns, rows), "domains"),),
        tuple(series),
    )


def _calibration_error(found: Row) -> str:
    error, lean = found["error"], found["lean"]
    if abs(lean) < max(0.02, error / 2):
        return percent(error)
    return f"{percent(error)} ({'too sure' if lean > 0 else 'not sure enough'})"


def flips_figure(flips: Row, order: Sequence[str]) -> Figure:
    """Rows of each domain by who is right: both, the teacher alone, the student alone, none.

    Args:
        flips: ``counts`` by domain, of each of :data:`hrkd.report.page.aggregate.KINDS` and ``differ``.
        order: of domains.
    """
    counts = flips["counts"]
    bars = {
        name: [
            Segment(
                kind,
                counts[name][kind] / _total(counts[name]),
                f"{counts[name][kind]:,}",
                f"{KIND_TITLES[kind].lower()}: {counts[name][kind]:,} of {count_of(_total(counts[name]))}",
            )
            for kind in KINDS[1:]
        ]
        for name in order
    }
    below = "test rows that student or teacher gets wrong, %"
    canvas = stacked_bars("Who is right, by domain", bars, below, lambda longest: percent_axis(0.0, longest))
    rows = tuple(
        (name, *(f"{counts[name][kind]:,}" for kind in (*KINDS, "differ")), percent(_kept(counts[name])))
        for name in order
    )
    columns = ("Domain", *KIND_TITLES.values(), "Answers differ", "Kept of the teacher's right answers, %")
    return Figure(
        "flips",
        "Where student and teacher part",
        "Test rows of each domain that the teacher alone gets right (dark, lost), the student alone (striped, gained), "
        "or none of them (light). The rest both get right.",
        (canvas,),
        (cut(PlainTable("", columns, rows), "domains"),),
    )


def _kept(counts: Mapping[str, int]) -> float:
    right = counts["both_right"] + counts["lost"]
    return counts["both_right"] / right if right else 0.0


def _total(counts: Mapping[str, int]) -> int:
    return sum(counts[kind] for kind in KINDS)


def _rows(bins: Sequence[Row]) -> int:
    return max([1, *(int(one["rows"]) for one in bins)])


def _series(models: Mapping[str, Row]) -> list[Series]:
    return [Series(model["title"], number) for number, model in enumerate(models.values())]


def _about_lines(models: Mapping[str, Row]) -> str:
    level = next(iter(models.values()))["test"].get("confidence")
    return f"; lines are {100 * level:g} % intervals" if level else ""


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]
