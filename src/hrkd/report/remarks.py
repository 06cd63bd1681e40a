"""Cells, rows and sentences that the reports on one run and on a comparison share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hrkd.support.messages import count_of
from hrkd.support.text_table import NOTHING, PlainTable, interval, millions, or_nothing, percent, with_deviation
from hrkd.training.advice import train_longer
from hrkd.training.metrics import METRICS

__all__ = [
    "CLASSES",
    "LINEAR",
    "SPEEDS",
    "SYNTHETIC",
    "below_linear",
    "beside_linear",
    "beside_own",
    "beside_teacher",
    "beside_unrelated",
    "figure",
    "intervals_note",
    "on_distillation",
    "on_endings",
    "on_vocabulary",
    "points",
    "ratio_rows",
    "ratios_note",
    "rows_of_domains",
    "times_as_fast",
    "upright",
    "worst_class",
]

MOST_DOMAINS_ACROSS = 8
"""Tables of more domains have these in rows."""
CLASSES = (
    "Macro-F1: of the classes that occur among a domain's labels or predictions. Worst class: that with the lowest "
    "recall, and how many rows have it."
)
LINEAR = "TF-IDF + logistic regression"
"""What tables call the linear model. No method of a grid can have this name."""
SPEEDS = (
    "Times as fast as the teacher: in PyTorch, of texts that are tokens already, by a few dozen of them; of "
    f"{LINEAR} on one core, from the texts."
)
SYNTHETIC = "The corpus is synthetic: these figures say nothing about real text."


def figure(figures: Mapping[str, Any], metric: str, *, bounds: bool = False) -> str:
    """A figure of results.json as the cell of a table; with ``bounds``, its interval too, if it has one."""
    form, value = METRICS[metric].form, figures.get(metric)
    known = bounds and value is not None
    return or_nothing(value, form) + interval(figures.get(f"{metric}_interval") if known else None, form)


def worst_class(figures: Mapping[str, Any]) -> str:
    """The worst class of figures of results.json as the cell of a table, with its recall and its rows."""
    found = figures.get("worst_class")
    if not found:
        return NOTHING
    return f"{percent(found['recall'])} ({found['label']}, {count_of(found['examples'])})"


def intervals_note(level: float) -> str:
    """What the intervals beside scores are."""
    return (
        f"In brackets: {100 * level:g} % intervals (accuracy and agreement: Wilson; macro-F1: Dirichlet posterior; "
        "means: MOVER)."
    )


def rows_of_domains(title: str, counts: Mapping[str, int | None], domains: Sequence[str]) -> tuple[str, ...]:
    """The row of a table that says how many rows each domain has, and all together."""
    known = [count for count in counts.values() if count is not None]
    return (title, *(or_nothing(counts.get(name), "{:,}".format) for name in domains), f"{sum(known):,}")


def times_as_fast(results: Mapping[str, Any], model: str) -> float | None:
    """How many times the teacher's texts a second a model of results.json takes; None where it was not timed.

    In PyTorch, of texts that are tokens already; of the linear model on one core, from the texts.
    """
    speeds = results.get("texts_per_second", {})
    if model == "teacher":
        return 1.0
    if model in results.get("times_as_fast", {}):
        return float(results["times_as_fast"][model][0])
    ours = results["models"][model].get("texts_per_second") if model == "linear" else speeds.get(model)
    its = speeds.get("teacher")
    return ours / its if ours and its else None


def upright(table: PlainTable, domains: Sequence[str]) -> PlainTable:
    """The table; with many domains, these stand in rows."""
    return table.transposed() if len(domains) > MOST_DOMAINS_ACROSS else table


def points(difference: float) -> str:
    """A difference of fractions in points, with its sign: "+1.3"."""
    return f"{round(100 * difference, 9):+.1f}"  # a half is the same half, whichever way it was computed


def seen_perhaps(parts: Sequence[str]) -> str:
    """That a teacher may have been trained on rows of ``parts``, and what follows from that."""
    named = " and ".join(parts)
    return (
        f"It is not known which rows the teacher was trained on, and {named} {'are' if len(parts) > 1 else 'is'} drawn "
        "anew: where it has seen them, its own figures there are too good, and what a student keeps of them looks too "
        "little; the student's are not touched. Name the split that it was trained on (data.split or data.splits_file)."
    )


def on_endings(models: Iterable[Mapping[str, Any]]) -> list[str]:
    """Which epoch of each training was kept, and which training was over too early; nothing of older results."""
    known = [(model["title"], training) for model in models if (training := model.get("training"))]
    kept = [f"{title} {_kept(training)}" for title, training in known if training["epoch"] is not None]
    early = [
        f"{title} was still learning at its end: {training['still_learning']}; {train_longer('training', training)}."
        for title, training in known
        if training["still_learning"]
    ]
    return [*([f"Kept by dev accuracy, then loss: {'; '.join(kept)}."] if kept else []), *early]


def _kept(training: Mapping[str, Any]) -> str:
    average = training["average"]
    if average and average["kept"]:
        return f"the mean of its last {average['updates']:,} updates"
    return f"epoch {training['epoch']} of {training['epochs']}"


def on_distillation(
    student: str, reached: float, other: str, alone: float, paired: Mapping[str, Any], split: str = "test"
) -> str:
    """Whether distillation helped, as far as the rows tell.

    Args:
        student: what is named so, with its accuracy ``reached``.
        other: the model without distillation, with its accuracy ``alone``.
        paired: difference, interval, confidence and examples of both on the same rows of ``split``.
    """
    did = _verdict(paired, "helped", "hurt", "did not help measurably")
    return (
        f"Distillation {did} here: {student} reaches {percent(reached)} %, {other} {percent(alone)} % "
        f"({_evidence(paired, split)})."
    )


def on_vocabulary(models: Iterable[Mapping[str, Any]]) -> list[str]:
    """How many pieces models of results.json have kept, and what they are smaller by; one sentence for equal ones."""
    told: dict[str, list[str]] = {}
    for model in models:
        if kept := model.get("vocabulary"):
            times = {1: "once", 2: "twice"}.get(kept["at_least"], f"{kept['at_least']} times")
            sentence = (
                f"{kept['pieces']:,} of the teacher's {kept['of']:,} pieces (those that the training texts need at "
                f"least {times}, and characters for other words); {millions(model['parameters'])} M parameters, "
                f"{millions(kept['parameters_before'])} M with all."
            )
            told.setdefault(sentence, []).append(model["title"])
    return [f"Vocabulary ({', '.join(titles)}): {sentence}" for sentence, titles in told.items()]


def beside_teacher(
    teacher: str, its: float, student: str, reached: float, paired: Mapping[str, Any], split: str = "test"
) -> str:
    """How much of the teacher's accuracy a student keeps; names (``teacher`` without its article), else as above."""
    evidence = _evidence(paired, split)
    if paired["interval"][0] > 0:
        return (
            f"The {teacher} ({percent(its)} %) is below {student} ({percent(reached)} %): it may be trained too little "
            f"or too long ({evidence})."
        )
    kept = f"keeps {percent(reached / its)} % of the {teacher}'s accuracy" if its else f"is held against the {teacher}"
    return f"{student[0].upper()}{student[1:]} {kept}: {percent(reached)} of {percent(its)} % ({evidence})."


def below_linear(
    model: str, reached: float, linear: float, paired: Mapping[str, Any], advice: str, split: str = "test"
) -> str | None:
    """That a model is not more accurate than the linear one, and what to do; None where it is. As below."""
    return beside_linear(model, reached, linear, paired, advice, split) if reached <= linear else None


def beside_linear(
    model: str, reached: float, linear: float, paired: Mapping[str, Any], advice: str, split: str = "test"
) -> str:
    """Whether a model is more accurate than the linear one, and what to do where it is not.

    Args: ``model`` is what the sentence begins with, with its accuracy ``reached``; others as above.
    """
    beside = "above" if reached > linear else "below" if paired["interval"][1] < 0 else "not above"
    told = f"{model} ({percent(reached)} %) is {beside} {LINEAR} ({percent(linear)} %; {_evidence(paired, split)})"
    return f"{told}." if reached > linear else f"{told}: {advice}."


def beside_own(shared: float, own: float, paired: Mapping[str, Any]) -> str:
    """Whether domains give each other anything, as far as dev rows and linear models of all and of each domain tell."""
    do = _verdict(paired, "help each other", "hurt each other", "are not shown to help each other")
    return (
        f"Domains {do} here: a linear model of all, with features of each, reaches {percent(shared)} %, one for each "
        f"domain {percent(own)} % ({_evidence(paired, 'dev')})."
    )


def beside_unrelated(found: Mapping[str, Any]) -> str:
    """Whether it can pay to relate domains, as far as dev rows and a linear check tell.

    Args:
        found: ``linear.relations`` of what :func:`hrkd.run.describe_data.describe_data` returns, with its check.
    """
    accuracy, gain, control = found["accuracy"], found["paired"], found["paired_control"]
    told = (
        f"a linear model of related domains reaches {percent(accuracy['related'])} %, one of equal relations "
        f"{percent(accuracy['equal'])} % ({_evidence(gain, 'dev')}), one of the same relations between other domains "
        f"{percent(accuracy['permuted'])} % ({_evidence(control, 'dev')})"
    )
    if gain["interval"][0] > 0 and control["interval"][0] > 0:
        return f"Relating domains can pay here (method.related_weight): {told}."
    return f"Relating domains is not shown to pay here, beyond what all share and each has alone: {told}."


def _verdict(paired: Mapping[str, Any], better: str, worse: str, unclear: str) -> str:
    """What to say of a paired difference: by the side of 0 on which its interval lies, if it lies on one."""
    low, high = paired["interval"]
    return better if low > 0 else worse if high < 0 else unclear


def _evidence(paired: Mapping[str, Any], split: str) -> str:
    low, high = paired["interval"]
    rows = count_of(paired["examples"], f"{split} row", f"{split} rows")
    told = "" if low > 0 or high < 0 else ", which holds 0: these rows do not tell which of the two is better"
    return (
        f"{points(paired['difference'])} points on the same {rows}, {100 * paired['confidence']:g} % interval"
        f"{interval((low, high), points)}{told}"
    )


def ratio_rows(ratios: Iterable[Mapping[str, Any]], domains: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Each level, in order, with its cells in the order of ``domains``: mean ± deviation.

    Args:
        ratios: level, domain, mean and std (or None) of each.
        domains: those of the columns.
    """
    cells = {
        (entry["level"], entry["domain"]): with_deviation(entry["mean"], entry["std"], "{:.3f}".format)
        for entry in ratios
    }
    return [(level, [cells[level, name] for name in domains]) for level in sorted({level for level, _ in cells})]


def ratios_note(domains: Sequence[str]) -> str:
    """What stands below a table of ratios."""
    return f"Level 0 is the embedding output. Uniform ratios would be {1 / len(domains):.3f}."
