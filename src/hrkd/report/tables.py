"""Tables of results, sizes and data, from plain dictionaries; for a terminal and in Markdown.

Numbers in the dictionaries are fractions from 0 to 1; tables show per cent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hrkd.deploy.benchmark import folder_megabytes
from hrkd.errors import ArtifactError
from hrkd.report.advice import advice_of
from hrkd.report.remarks import (
    CLASSES,
    LINEAR,
    SYNTHETIC,
    below_linear,
    beside_own,
    beside_teacher,
    beside_unrelated,
    figure,
    intervals_note,
    on_distillation,
    on_endings,
    on_vocabulary,
    ratio_rows,
    ratios_note,
    rows_of_domains,
    seen_perhaps,
    upright,
    worst_class,
)
from hrkd.support.messages import age_of, bytes_of, count_of
from hrkd.support.text_table import (
    NOTHING,
    PlainTable,
    beside_size,
    interval,
    megabytes,
    millions,
    or_nothing,
    percent,
)
from hrkd.training.metrics import METRICS

__all__ = [
    "OWN_SIZES",
    "about_linear",
    "benchmark_table",
    "cache_table",
    "classes_table",
    "data_table",
    "export_table",
    "ratios_table",
    "reading_table",
    "relations_table",
    "remarks_of",
    "results_markdown",
    "results_table",
    "scores_table",
    "sharing_table",
    "sizes_table",
]

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
    """Models by domains: accuracy in %, its mean with interval, macro-F1, worst domain and class, agreement, sizes.

    The first rows say how many rows of the data each domain has. Models stand in rows; with more than 8 domains, or on
    a narrow terminal, the domains do. Columns of which no model has a figure are left out, and remarks
    (:func:`remarks_of`) stand below.

    Args:
        results: Content of ``results.json``.
        split: ``dev`` or ``test``; models without figures for it are left out.

    Raises:
        ArtifactError: ``results`` are no results of hrkd, or no model has figures for ``split``.
    """
    models = _measured(results, split)
    domains, level = list(results["domains"]), _confidence(models, split)
    beside = {
        METRICS["macro_f1"].title: [figure(model[split]["mean"], "macro_f1", bounds=True) for model in models],
        "Worst domain": [_worst_domain(model[split]) for model in models],
        "Worst class": [worst_class(model[split]["mean"]) for model in models],
        f"{METRICS['agreement'].title} with teacher": [figure(model[split]["mean"], "agreement") for model in models],
        **{
            heading: [or_nothing(model.get(size), form) for model in models]
            for size, (heading, form) in OWN_SIZES.items()
        },
    }
    beside = {heading: cells for heading, cells in beside.items() if set(cells) != {NOTHING}}
    counts = {name: own["examples"] for name, own in models[0][split]["domains"].items()}
    heads = [rows_of_domains(f"{split.capitalize()} rows", counts, domains)]
    if results.get("train_rows"):
        heads.append(rows_of_domains("Training rows", results["train_rows"], domains))
    accuracies = [
        (
            model["title"],
            *(_accuracy_in(model[split], name) for name in domains),
            figure(model[split]["mean"], "accuracy", bounds=True),
        )
        for model in models
    ]
    rows = [(*row, *(NOTHING for _ in beside)) for row in heads]
    rows += [(*row, *(cells[m] for cells in beside.values())) for m, row in enumerate(accuracies)]
    columns = ("Model", *domains, "Mean", *beside)
    name = results.get("recipe_name")
    title = f"{name + ': a' if name else 'A'}ccuracy on the {split} set, in %"
    notes = remarks_of(results, split)
    if results["models"].get("linear", {}).get(split):
        notes.append(about_linear(results))
    if any("worst_class" in model[split]["mean"] for model in models):
        notes.append(CLASSES)
    if level is not None:
        notes.append(intervals_note(level))
    table = PlainTable(title, columns, tuple(rows), tuple(notes))
    return upright(table, domains)


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
    return upright(table, domains)


def scores_table(scores: Row, title: str, notes: Sequence[str] = ()) -> PlainTable:
    """One model's figures on one split, in %, domain by domain, with their rows and intervals.

    Args:
        scores: What :meth:`hrkd.training.metrics.Scores.to_dict` gives.
        title: Stands above.
        notes: Stand below; empty ones are left out.
    """
    worst, level = scores["worst"], scores.get("confidence")
    lines = [*scores["domains"].items(), ("Mean", scores["mean"])]
    shown = [name for name in METRICS if scores["mean"].get(name) is not None]  # those of older scores are fewer
    headings, classes = [METRICS[name].title for name in shown], "worst_class" in scores["mean"]
    rows = tuple(
        (
            name,
            f"{own['examples']:,}",
            *(figure(own, metric, bounds=True) for metric in shown),
            *([worst_class(own)] if classes else []),
        )
        for name, own in lines
    )
    columns = ("Domain", "Rows", *headings, *(["Worst class"] if classes else []))
    its = scores["domains"][worst["domain"]]["examples"]
    told = [f"Worst domain: {worst['domain']} ({percent(worst['accuracy'])} % of {count_of(its)})."]
    told += [CLASSES] if classes else []
    told += [intervals_note(level)] if level else []
    return PlainTable(f"{title}, in %", columns, rows, (*told, *(note for note in notes if note)))


def export_table(record: Row, folder: Path, student: Path) -> PlainTable:
    """What an export was found to say beside its student, on each domain, in %.

    Args:
        record: As :meth:`hrkd.deploy.export_folder.ExportRecord.to_dict` gives it, or ``checks.json`` of a
            plain export.
        folder: Where it lies.
        student: Folder of the student.
    """
    checks = record["checks"]
    before, size = folder_megabytes(student), folder_megabytes(folder)
    accuracy = checks.get("accuracy", {})
    rows = [
        (name, f"{own['texts']:,}", percent(own["student"]), percent(own["export"])) for name, own in accuracy.items()
    ]
    if rows:
        means = [sum(own[which] for own in accuracy.values()) / len(accuracy) for which in ("student", "export")]
        rows.append(("Mean", f"{checks['texts']:,}", percent(means[0]), percent(means[1])))
    on = count_of(checks["texts"], "text", "texts")
    others = f"{count_of(checks['other_answers'], 'is', 'are')} answered otherwise"
    notes = [
        f"{megabytes(size)} MB without card and manifest, {beside_size(size, before)} the student's folder.",
        f"On {on} logits differ by {or_nothing(checks['largest_difference'], '{:.2g}'.format)} at most (largest logit "
        f"{checks['largest_logit']:.2g}); {others}.",
    ]
    if not rows:
        notes.append("Checked on random words, not on labelled rows: name a recipe with its data to see accuracy.")
    else:
        notes.append("Accuracy on dev, in %.")
    if len(checks["tried"]) > 1:
        notes += ["Other ways were tried before:", *checks["tried"][:-1]]
    return PlainTable(
        f"Export to {record['target']}", ("Domain", "Texts", "Student", "Export"), tuple(rows), tuple(notes)
    )


def benchmark_table(found: Row) -> PlainTable:
    """How quick models are, with ratios to the first.

    Args:
        found: As :func:`hrkd.run.benchmark.benchmark` returns it.
    """
    first = found["models"][0]

    def times(value: float, of_first: float) -> str:
        return "" if value is None or of_first is None else f" ({value / of_first:.1f}x)"

    rows = []
    for row in found["models"]:
        middle, late, latest = row["latencies"]
        rows.append(
            (
                _last_parts(row["name"]) if "folder" in row else row["name"],
                row.get("what", NOTHING),
                megabytes(row["megabytes"]) + times(first["megabytes"], row["megabytes"]),
                or_nothing(row["parameters"], millions),
                f"{row['per_second']:,.0f}" + times(row["per_second"], first["per_second"]),
                f"{row['one_at_a_time']:,.0f}" + times(row["one_at_a_time"], first["one_at_a_time"]),
                f"{middle:.2f}" + times(first["latencies"][0], middle),
                f"{late:.2f}",
                f"{latest:.2f}",
                or_nothing(row.get("start_seconds"), "{:.1f}".format),
                or_nothing(row.get("start_processor_seconds"), "{:.1f}".format),
            )
        )
    columns = (
        "Model", "Runs by", "MB", "M parameters", f"Texts/s, {found['batch_size']} at a time",
        "Texts/s, one at a time", "One text, ms (p50)", "p95", "p99", "First answer, s", "of processor",
    )  # fmt: skip
    threads, texts = count_of(found["threads"], "thread", "threads"), count_of(found["texts"], "text", "texts")
    notes = (
        f"{texts} (median {found['words_median']:.0f} words), {threads}, median of {found['rounds']} rounds in turn; "
        "tokenising included. In brackets: how many times smaller or quicker than the first.",
        "First answer: of a new process of hrkd predict, imports included.",
    )
    return PlainTable("Speed", columns, tuple(rows), notes)


def _measured(results: Row, split: str) -> list[Row]:
    """The models that have figures for ``split``."""
    if results.get("format") != "hrkd-results" or results.get("version") != 1:
        found = f"format {results.get('format')!r}, version {results.get('version')!r}"
        raise ArtifactError(f"results: expected format 'hrkd-results', version 1; found {found}")
    models = [model for model in results["models"].values() if model.get(split)]
    if not models:
        raise ArtifactError(f"results: no model has figures for the split {split!r}; use dev or test")
    return models


def _confidence(models: Sequence[Row], split: str) -> float | None:
    """The level of the models' intervals; None where they have none."""
    return max((level for model in models if (level := model[split].get("confidence"))), default=None)


def _accuracy_in(scores: Row, domain: str) -> str:
    own = scores["domains"].get(domain)
    return NOTHING if own is None else figure(own, "accuracy")


def _worst_domain(scores: Row) -> str:
    return f"{percent(scores['worst']['accuracy'])} ({scores['worst']['domain']})"


def remarks_of(results: Row, split: str = "test") -> list[str]:
    """Plain sentences about what a reader of the results should not overlook; empty if there is nothing.

    Of two models, what the paired difference on the same rows tells, with its interval.

    Raises:
        ArtifactError: as :func:`results_table`.
    """
    _measured(results, split)
    models = {name: model for name, model in results["models"].items() if model.get(split)}
    accuracies = {name: model[split]["mean"]["accuracy"] for name, model in models.items()}
    found, student = [SYNTHETIC] if results.get("synthetic") else [], models.get("student")
    if parts := results.get("teacher_may_have_seen"):
        found.append(seen_perhaps(parts))
    found += on_endings(models.values())
    found += on_vocabulary(models.values())
    found += _below_linear(results, accuracies, split)
    if student is None:
        return found
    reached, paired = accuracies["student"], student.get("paired", {}).get(split, {})
    without, teacher = "student_without_distillation", "teacher"
    if without in paired:
        other = "the same model trained without distillation"
        found.append(on_distillation("the student", reached, other, accuracies[without], paired[without], split))
    elif without in models:
        found.append(
            "Whether distillation helped is not told: these results, of an older version, hold no paired differences."
        )
    if teacher in paired:
        found.append(beside_teacher("teacher", accuracies[teacher], "the student", reached, paired[teacher], split))
    return found + _far_below(student[split])


def _below_linear(results: Row, accuracies: Mapping[str, float], split: str) -> list[str]:
    """Which models the linear one surpasses; that without distillation only where it is what the run is about."""
    models, found = results["models"], list[str]()
    names = {"teacher": "The teacher", "student": "The student"}
    if "student" not in models:
        names["student_without_distillation"] = "The student without distillation"
    for name, title in names.items():
        paired = models.get(name, {}).get("paired", {}).get(split, {}).get("linear")
        if paired is None or "linear" not in models:
            continue
        advice = (
            "so is its teacher, which is to be mended first"
            if name == "student" and found
            else advice_of(results, name)
        )
        told = below_linear(title, accuracies[name], accuracies["linear"], paired, advice, split)
        found += [] if told is None else [told]
    return found


LINEAR_FORMS = {
    "pooled": "one model of all domains",
    "crossed": "one model of all domains, with features of each domain besides",
    "own": "a model for each domain",
}


def about_linear(results: Row) -> str:
    """What the linear model of ``results`` is, and what it costs."""
    model = results["models"]["linear"]
    return (
        f"{LINEAR}: words and pairs of words of the whole texts, {LINEAR_FORMS[model['form']]}, C = "
        f"{model['strength']:g}, as is best on dev; {count_of(model['rows'])} of train, trained in "
        f"{results['seconds']['linear']:.1f} s; {model['texts_per_second']:,.0f} texts a second on one core."
    )


def _far_below(scores: Row) -> list[str]:
    """Whether the student's worst domain is far below its mean, by more than its rows leave open."""
    mean, worst = scores["mean"]["accuracy"], scores["worst"]
    own = scores["domains"][worst["domain"]]
    bounds = own.get("accuracy_interval")
    gap = mean - worst["accuracy"]
    if gap <= FAR_BELOW or (bounds and bounds[1] >= mean):
        return []
    return [
        f"The student is {100 * gap:.1f} points below its mean in the domain {worst['domain']} "
        f"({percent(worst['accuracy'])} %{interval(bounds)} of {count_of(own['examples'])})."
    ]


def sizes_table(rows: Sequence[Row]) -> PlainTable:
    """Sizes of models, one row each.

    Args:
        rows: Those of :func:`hrkd.models.sizes.size_rows`: dictionaries with ``title`` and any of ``layers``,
            ``width``, ``heads``, ``feed_forward``, ``parameters``, ``parameters_without_embeddings``, ``megabytes``,
            ``times_smaller``, ``imitates`` (teacher layers, as text). Other keys are not shown.
    """
    return _selection("Sizes", SIZE_COLUMNS, rows)


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


def reading_table(rows: Sequence[Row], max_length: int | None) -> PlainTable | None:
    """How much of the texts inputs of several lengths hold; None where tokens were not counted.

    Args:
        rows: ``reading`` of a description, as plain data.
        max_length: the recipe's; None: tokens were not counted.
    """
    if not rows:
        return None
    lines = tuple(
        (
            f"{row['max_length']}{' (data.max_length)' if row['max_length'] == max_length else ''}",
            percent(row["whole"]),
            percent(row["read"]),
            percent(row["read_in_windows"]),
            f"{row['windows']:.2f}",
        )
        for row in rows
    )
    notes = (
        "Read: % of all tokens, with data.keep: head, tail or head_tail. Windows go over the longer text of a pair.",
    )
    header = ("Input, tokens", "Whole texts, %", "Read, %", "In windows, %", "Windows a text")
    return PlainTable("What a model would read", header, lines, notes)


def sharing_table(found: Row) -> PlainTable:
    """What linear models of each form reach, and what that says of the domains.

    Args:
        found: ``linear`` of what :func:`hrkd.run.describe_data.describe_data` returns.
    """
    forms = {"own": "Own rows alone", "pooled": "All pooled", "crossed": "Shared and own"}
    counts = {"Training rows": found["train_rows"], "Dev rows": found["dev_rows"]}
    rows = [
        (
            domain,
            *(f"{of[domain]:,}" for of in counts.values()),
            *(percent(found["accuracy"][form][domain]) for form in forms),
        )
        for domain in found["train_rows"]
    ]
    means = {form: sum(found["accuracy"][form].values()) / len(rows) for form in forms}
    rows.append(("Mean", *(f"{sum(of.values()):,}" for of in counts.values()), *map(percent, means.values())))
    part = " Some rows of each domain only, so that it takes seconds." if found["is_part"] else ""
    notes = (
        f"{LINEAR} on the whole texts, measured on dev, where C is chosen too.{part} Own: a model for each domain. "
        "Pooled: one of all, which does not know them. Shared and own: one of all, with features of each besides.",
        beside_own(means["crossed"], means["own"], found["paired"]),
    )
    return PlainTable(f"{LINEAR}: accuracy in %", ("Domain", *counts, *forms.values()), tuple(rows), notes)


def relations_table(found: Row) -> PlainTable:
    """How alike what sets the classes apart is in different domains, and whether it can pay to relate these.

    Args:
        found: ``linear.relations`` of what :func:`hrkd.run.describe_data.describe_data` returns.
    """
    matrix = found["matrix"]
    rows = tuple((domain, *(f"{value:.2f}" for value in own.values())) for domain, own in matrix.items())
    notes = [
        "Cosines of what sets the classes apart in TF-IDF, smoothed: 1 the same words speak for the same classes, 0 "
        "other words, below 0 the same words for other classes. Strengths are chosen on dev, for all alike."
    ]
    if "accuracy" in found:
        notes.append(beside_unrelated(found))
    else:
        notes.append(
            "Of two domains there is one relation, and no other to hold it against: whether it pays is not told."
        )
    return PlainTable("Relations between domains", ("Domain", *matrix), rows, tuple(notes))


def _labels(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row if key.startswith("label:")))


def _extremes(counts: Mapping[str, int]) -> dict[str, Any]:
    """The number of classes that have rows, and the rarest and the most frequent of all, with their counts."""
    if not counts:
        return {}
    picked = {"rarest": min(counts, key=counts.__getitem__), "most_frequent": max(counts, key=counts.__getitem__)}
    told = {role: f"{label.removeprefix('label:')} {counts[label]:,}" for role, label in picked.items()}
    return {"classes": sum(count > 0 for count in counts.values()), **told}


def cache_table(caches: Sequence[tuple[Path, Row]], others: Mapping[Path, str], folder: Path) -> PlainTable:
    """Caches, one row each, what they take together, and what else lies there.

    Args:
        caches: as :func:`hrkd.support.caches.cached_folders` tells them.
        others: as :func:`hrkd.support.caches.other_folders` tells them.
        folder: where they lie.
    """
    now = time.time()
    rows = tuple(
        (
            path.name,
            index["kind"] if index["complete"] else f"{index['kind']}, not complete",
            or_nothing(index["of"], _last_parts),
            or_nothing(index["rows"], "{:,}".format),
            bytes_of(index["bytes"]),
            f"{datetime.fromtimestamp(index['used']):%Y-%m-%d}, {age_of(now - index['used'])}",
        )
        for path, index in caches
    )
    total = bytes_of(sum(index["bytes"] for _, index in caches))
    notes = [f"{count_of(len(caches), 'cache', 'caches')}, {total}."]
    notes += [f"No cache of hrkd, and left alone: {path.name} ({why})." for path, why in others.items()]
    columns = ("Name", "What", "Of", "Texts", "Size", "Last used")
    return PlainTable(f"Caches in {folder}", columns, rows, tuple(notes))


def _last_parts(path: str) -> str:
    """The end of a path, or the name of a model: "runs/mine/teacher" is "mine/teacher"."""
    return "/".join(Path(path).parts[-2:])


def _selection(title: str, formats: Formats, rows: Sequence[Row]) -> PlainTable:
    """The columns of ``formats`` that any row has."""
    shown = {key: column for key, column in formats.items() if any(row.get(key) is not None for row in rows)}
    cells = tuple(tuple(or_nothing(row.get(key), form) for key, (_, form) in shown.items()) for row in rows)
    return PlainTable(title, tuple(heading for heading, _ in shown.values()), cells)
