"""What a finished run comes to, in a few lines: what is kept, the worst domain, sizes, speed, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hrkd.report.remarks import LINEAR, points, seen_perhaps
from hrkd.support.messages import count_of
from hrkd.support.text_table import megabytes, percent

__all__ = ["next_command", "verdict"]

Row = Mapping[str, Any]
D902 = "what to do: hrkd explain D902"
AT_CHANCE = (
    "The teacher is not shown to be better than always giving each domain's most frequent label, so that nothing below "
    "says what distillation is worth: look at the labels, and train the teacher longer first (teacher.training)."
)


def verdict(results: Row) -> list[str]:
    """Short sentences about the student of a run, or the one trained without distillation, beside its teacher.

    Args:
        results: content of results.json.
    """
    models = results["models"]
    name = "student" if "student" in models else "student_without_distillation"
    if name not in models:
        return []
    student, teacher = models[name], models["teacher"]
    return [
        *([AT_CHANCE] if results.get("teacher_at_chance") else []),
        *([seen_perhaps(parts)] if (parts := results.get("teacher_may_have_seen")) else []),
        *_kept(student, teacher, models.get("linear"), distilled=name == "student"),
        *_not_above(student, teacher, models.get("linear")),
        _worst(student["test"], teacher["test"], results.get("train_rows") or {}),
        *_sizes(student, teacher),
        *_speeds(results.get("texts_per_second", {}), name, results.get("times_as_fast", {}).get(name)),
    ]


def next_command(results: Row, folder: str) -> str:
    """The one command that is most likely wanted now.

    Args:
        results: content of results.json.
        folder: of the run, as it is to be typed.
    """
    models = results["models"]
    if results.get("teacher_at_chance"):
        return f"hrkd check {folder}/recipe.yaml"
    if "student" not in models:
        return f"hrkd distill {folder}/recipe.yaml"
    accuracy = {name: model["test"]["mean"]["accuracy"] for name, model in models.items() if model.get("test")}
    if accuracy["student"] < max(accuracy["teacher"] - 0.01, accuracy.get("linear", 0.0)):
        return f"hrkd errors {folder}"
    form = "onnx" if models["student"].get("kind") == "static" else "onnx-int8"
    return f"hrkd export {folder} {folder}/small --to {form}"


def _kept(student: Row, teacher: Row, linear: Row | None, *, distilled: bool) -> list[str]:
    ours, its = (model["test"]["mean"]["accuracy"] for model in (student, teacher))
    what = "The student" if distilled else "The student without distillation"
    share = f" keeps {percent(ours / its)} % of its teacher's accuracy:" if its else ""
    beside = ""
    if linear is not None:
        beside = f"; {LINEAR}: {percent(linear['test']['mean']['accuracy'])} %"
    return [f"{what}{share} {percent(ours)} of {percent(its)} % on test, mean over domains{beside}."]


def _not_above(student: Row, teacher: Row, linear: Row | None) -> list[str]:
    if linear is None:
        return []
    ours, its, simple = (model["test"]["mean"]["accuracy"] for model in (student, teacher, linear))
    found = []
    if ours <= simple:
        found.append(f"It is not above {LINEAR}, which takes seconds ({points(ours - simple)} points); {D902}.")
    if its <= simple:
        other = "Nor is its teacher" if found else f"Its teacher is not above {LINEAR}"
        found.append(
            f"{other} ({points(its - simple)} points), which is to be mended first{'' if found else f'; {D902}'}."
        )
    return found


def _worst(student: Row, teacher: Row, train_rows: Mapping[str, int]) -> str:
    lost = {
        name: own["accuracy"] - teacher["domains"][name]["accuracy"]
        for name, own in student["domains"].items()
        if name in teacher["domains"]
    }
    name = student["worst"]["domain"]
    own = student["domains"][name]
    rows = count_of(own["examples"], "test row", "test rows")
    learnt = f"; {count_of(train_rows[name], 'training row', 'training rows')}" if name in train_rows else ""
    told = f"Worst domain: {name}, {percent(student['worst']['accuracy'])} % of {rows}{learnt}"
    told += f" ({points(lost[name])} points to the teacher)" if name in lost else ""
    low, high = own.get("accuracy_interval") or (0.0, 0.0)
    best = max(each["accuracy"] for each in student["domains"].values())
    if own["accuracy"] < best <= high:
        told += f"; by chance it may be no worse than the others ({percent(low)} to {percent(high)} %)"
    most = min(lost, key=lambda each: lost[each], default=name)
    return f"{told}; it loses most in {most} ({points(lost[most])})." if most != name and lost[most] < 0 else f"{told}."


def _sizes(student: Row, teacher: Row) -> list[str]:
    if not student.get("megabytes") or not teacher.get("megabytes"):
        return []
    ours, its = student["megabytes"], teacher["megabytes"]
    return [f"Size: {megabytes(ours)} of {megabytes(its)} MB, {its / ours:.1f} times smaller."]


def _speeds(speeds: Row, student: str, times: Sequence[float] | None) -> list[str]:
    ours, its = speeds.get(student), speeds.get("teacher")
    if not ours or not its:
        return []
    middle, low, high = times or [ours / its] * 3  # older results have no interval
    beside = f"{middle:.1f} times"
    if low <= 1 <= high or beside == "1.0 times":
        beside = "about the same"
    return [f"Speed: {ours:,.0f} texts a second, the teacher {its:,.0f} ({beside}; in PyTorch)."]
