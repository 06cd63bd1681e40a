"""Tables of results, sizes and data, from plain dictionaries; for a terminal and in Markdown.

Numbers in the dictionaries are fractions from 0 to 1; tables show per cent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table

from hrkd.errors import ArtifactError
from hrkd.report.remarks import SYNTHETIC, distillation_did_not_help, figure, ratio_rows, ratios_note, teacher_is_below
from hrkd.support.text_table import PlainTable, megabytes, millions, or_nothing, percent
from hrkd.training.metrics import METRICS

__all__ = [
    "OWN_SIZES",
    "cache_table",
    "classes_table",
    "data_table",
    "ratios_table",
    "results_markdown",
    "results_table",
    "scores_table",
    "sizes_table",
    "warnings_of",
]

MOST_DOMAINS_ACROSS = 8
MOST_LABELS_ACROSS = 5
MOST_LABELS_SHOWN = 20
FAR_BELOW = 0.05  # how far the worst domain may lie below the mean before it is a warning

Row = Mapping[str, Any]
Formats = Mapping[str, tuple[str, Callable[[Any], str]]]


SIZE_COLUMNS: Formats = {
    "title": ("Model", str),
    "layers": ("Layers", str),
    "width": ("Width", str),
    "heads": ("Heads", str),
    "feed_forward": ("Feed-forward", str),
    "parameters": ("M parameters", millions),
    "parameters_without_embeddings": ("without embeddings", millions),
    "megabytes": ("MB", megabytes),
    "times_smaller": ("Times smaller", "{:.1f}".format),
    "imitates": ("Imitates layers", str),
}
OWN_SIZES: Formats = {name: SIZE_COLUMNS[name] for name in ("parameters", "megabytes")}
"""Those that stand beside the figures of a model."""


def results_table(results: Row, split: str = "test") -> PlainTable:
    """Models by domains: accuracy in %, its mean with interval, worst domain, agreement with the teacher, sizes.

    Models stand in rows; with more than 8 domains, or on a narrow terminal, the domains do.
    Warnings (:func:`warnings_of`) stand below.

    Args:
        results: Content of ``results.json``.
        split: ``dev`` or ``test``; models without figures for it are left out.

    Raises:
        ArtifactError: ``results`` are no results of hrkd, or no model has figures for ``split``.
    """
    models = _measured(results, split)
    domains = list(results["domains"])
    sizes = [heading for heading, _ in OWN_SIZES.values()]
    agreement = f"{METRICS['agreement'].title} with teacher"
    columns = ("Model", *domains, _mean_heading(models, split), "Worst", agreement, *sizes)
    rows = tuple(_model_row(model, model[split], domains) for model in models.values())
    name = results.get("recipe_name")
    title = f"{name + ': a' if name else 'A'}ccuracy on the {split} set, in %"
    table = PlainTable(title, columns, rows, tuple(warnings_of(results, split)))
    return table.transposed() if len(domains) > MOST_DOMAINS_ACROSS else table


def results_markdown(results: Row, split: str = "test") -> str:
    """The same as :func:`results_table`, in Markdown.

    Raises:
        ArtifactError: as there.
    """
    return results_table(results, split).to_markdown()


def ratios_table(results: Row) -> PlainTable | None:
    """Domain ratios of the student's last epoch, mean ± deviation over its logged steps; None where there are none.

    Args:
        results: Content of ``results.json``.
    """
    entries = results.get("ratios")
    if not entries:
        return None
    domains = list(results["domains"])
    rows = tuple((str(level), *cells) for level, cells in ratio_rows(entries, domains))
    title = "Domain ratios, last epoch of the student"
    table = PlainTable(title, ("Level", *domains), rows, (ratios_note(domains),))
    return table.transposed() if len(domains) > MOST_DOMAINS_ACROSS else table


def scores_table(scores: Row, title: str) -> Table:
    """One model's figures on one split, in %, domain by domain, with their intervals.

    Args:
        scores: What :meth:`hrkd.training.metrics.Scores.to_dict` gives.
        title: Stands above.
    """
    worst, level = scores["worst"], scores.get("confidence")
    lines = [*scores["domains"].items(), ("Mean", scores["mean"])]
    shown = [name for name in METRICS if name in scores["mean"]]  # those of older scores are fewer
    rows = tuple((name, f"{own['examples']:,}", *(figure(own, m, bounds=True) for m in shown)) for name, own in lines)
    columns = ("Domain", "Examples", *(METRICS[name].title for name in shown))
    notes = [f"Worst domain: {worst['domain']} ({percent(worst['accuracy'])} %)."]
    if level:
        notes.append(f"In brackets: {100 * level:g} % bootstrap intervals.")
    return PlainTable(f"{title}, in %", columns, rows, tuple(notes)).to_rich()


def _measured(results: Row, split: str) -> dict[str, Row]:
    """The models that have figures for ``split``."""
    if results.get("format") != "hrkd-results" or results.get("version") != 1:
        found = f"format {results.get('format')!r}, version {results.get('version')!r}"
        raise ArtifactError(f"results: expected format 'hrkd-results', version 1; found {found}")
    models = {name: model for name, model in results["models"].items() if model.get(split)}
    if not models:
        raise ArtifactError(f"results: no model has figures for the split {split!r}; use dev or test")
    return models


def _mean_heading(models: Mapping[str, Row], split: str) -> str:
    levels = {model[split].get("confidence") for model in models.values()} - {None}
    return f"Mean [{100 * max(levels):g} % interval]" if levels else "Mean"


def _model_row(model: Row, scores: Row, domains: Sequence[str]) -> tuple[str, ...]:
    mean, worst = scores["mean"], scores["worst"]
    return (
        model["title"],
        *(figure(scores["domains"][name], "accuracy") for name in domains),
        figure(mean, "accuracy", bounds=True),
        f"{percent(worst['accuracy'])} ({worst['domain']})",
        figure(mean, "agreement"),
        *(or_nothing(model.get(size), form) for size, (_, form) in OWN_SIZES.items()),
    )


def warnings_of(results: Row, split: str = "test") -> list[str]:
    """Plain sentences about what a reader of the results should not overlook; empty if there is nothing.

    Raises:
        ArtifactError: as :func:`results_table`.
    """
    models = _measured(results, split)
    means = {name: model[split]["mean"] for name, model in models.items()}
    found = [SYNTHETIC] if results.get("synthetic") else []
    student, teacher = means.get("student"), means.get("teacher")
    baseline = means.get("student_without_distillation")
    if student and baseline and student["accuracy"] < baseline["accuracy"]:
        other = "the same model trained without distillation"
        found.append(distillation_did_not_help("the student", student["accuracy"], other, baseline["accuracy"]))
    if student and teacher:
        found += _against_teacher(student, teacher)
    if student:
        worst = models["student"][split]["worst"]
        gap = student["accuracy"] - worst["accuracy"]
        if gap > FAR_BELOW:
            found.append(
                f"The student is {100 * gap:.1f} points below its mean in the domain {worst['domain']} "
                f"({percent(worst['accuracy'])} %)."
            )
    return found


def _against_teacher(student: Row, teacher: Row) -> list[str]:
    found = []
    if teacher["accuracy"] < student["accuracy"]:
        found.append(teacher_is_below("teacher", teacher["accuracy"], "the student", student["accuracy"]))
    ours, theirs = student["accuracy_interval"], teacher["accuracy_interval"]
    if ours and theirs and ours[0] <= theirs[1] and theirs[0] <= ours[1]:
        found.append(
            f"The intervals of teacher and student overlap: {student['examples']:,} examples do not settle by "
            "themselves which of the two is better."
        )
    return found


def sizes_table(rows: Sequence[Row]) -> Table:
    """Sizes of models, one row each.

    Args:
        rows: Those of :func:`hrkd.models.sizes.size_rows`: dictionaries with ``title`` and any of ``layers``,
            ``width``, ``heads``, ``feed_forward``, ``parameters``, ``parameters_without_embeddings``, ``megabytes``,
            ``times_smaller``, ``imitates`` (teacher layers, as text). Other keys are not shown.
    """
    return _selection("Sizes", SIZE_COLUMNS, rows).to_rich()


DATA_COLUMNS: Formats = {
    "domain": ("Domain", str),
    "split": ("Split", str),
    "rows": ("Rows", "{:,}".format),
    "left_out": ("Left out", "{:,}".format),
    "words_median": ("Words (median)", "{:.0f}".format),
    "tokens_median": ("Tokens (median)", "{:.0f}".format),
    "tokens_p95": ("Tokens (95 % have at most)", "{:.0f}".format),
    "truncated": ("Cut, %", percent),
    "repeated": ("Repeated", "{:,}".format),
    "conflicting": ("Conflicting", "{:,}".format),
}


CLASS_COLUMNS: Formats = {
    "classes": ("Classes", "{:,}".format),
    "rarest": ("Rarest", str),
    "most_frequent": ("Most frequent", str),
}


def data_table(rows: Sequence[Row]) -> PlainTable:
    """What a data set is like, one row per domain and split.

    Args:
        rows: Those of :meth:`hrkd.data.describe.DataDescription.rows`; of their figures, the more telling ones are
            shown, with the count of every label, or of the rarest and the most frequent where there are many.
    """
    labels = _labels(rows)
    counts: Formats = {label: (label.removeprefix("label:"), "{:,}".format) for label in labels}
    if len(labels) > MOST_LABELS_ACROSS:
        rows = [
            {**row, **_extremes({label: row[label] for label in labels if row.get(label) is not None})} for row in rows
        ]
        counts = CLASS_COLUMNS
    first = {key: DATA_COLUMNS[key] for key in ("domain", "split", "rows")}
    return replace(_selection("Data", {**first, **counts, **DATA_COLUMNS}, rows), keys=2)


def classes_table(rows: Sequence[Row]) -> PlainTable | None:
    """Rows of each label by split, of all domains together, the most frequent first; None where labels are few.

    Args:
        rows: As of :func:`data_table`, which shows few labels itself.
    """
    labels = _labels(rows)
    if len(labels) <= MOST_LABELS_ACROSS:
        return None
    splits = list(dict.fromkeys(row["split"] for row in rows if any(row.get(label) is not None for label in labels)))
    counts = {
        label: [sum(row.get(label) or 0 for row in rows if row["split"] == split) for split in splits]
        for label in labels
    }
    ordered = sorted(labels, key=lambda label: -sum(counts[label]))
    lines = tuple(
        (label.removeprefix("label:"), *map("{:,}".format, counts[label])) for label in ordered[:MOST_LABELS_SHOWN]
    )
    more = len(labels) - len(lines)
    notes = (f"and {more:,} more, none with more rows.",) if more else ()
    return PlainTable("Classes", ("Class", *splits), lines, notes)


def _labels(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row if key.startswith("label:")))


def _extremes(counts: Mapping[str, int]) -> dict[str, Any]:
    """The number of classes that have rows, and the rarest and the most frequent of all, with their counts."""
    if not counts:
        return {}
    picked = {"rarest": min(counts, key=counts.__getitem__), "most_frequent": max(counts, key=counts.__getitem__)}
    told = {role: f"{label.removeprefix('label:')} {counts[label]:,}" for role, label in picked.items()}
    return {"classes": sum(count > 0 for count in counts.values()), **told}


CACHE_COLUMNS: Formats = {
    "name": ("Name", str),
    "kind": ("What", str),
    "rows": ("Texts", "{:,}".format),
    "tokens": ("Tokens", "{:,}".format),
    "precision": ("Precision", str),
    "bytes": ("GB on disk", lambda size: f"{size / 1e9:.3f}"),
    "complete": ("Complete", lambda complete: "yes" if complete else "no"),
}


def cache_table(rows: Sequence[Row], folder: str) -> Table:
    """Caches, one row each, and what they take together.

    Args:
        rows: ``name`` and what :func:`hrkd.support.caches.cached_folders` tells.
        folder: where they lie.
    """
    note = f"{len(rows)} caches, {sum(row['bytes'] for row in rows) / 1e9:.3f} GB."
    return replace(_selection(f"Caches in {folder}", CACHE_COLUMNS, rows), notes=(note,)).to_rich()


def _selection(title: str, formats: Formats, rows: Sequence[Row]) -> PlainTable:
    """The columns of ``formats`` that any row has."""
    shown = {key: column for key, column in formats.items() if any(row.get(key) is not None for row in rows)}
    cells = tuple(tuple(or_nothing(row.get(key), form) for key, (_, form) in shown.items()) for row in rows)
    return PlainTable(title, tuple(heading for heading, _ in shown.values()), cells)
