"""What models say of the rows of a run, how good that is, and writing it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hrkd.data.batching import TokenizedDataset, tokenize
from hrkd.data.types import MultiDomainDataset
from hrkd.models.domain_teachers import AnyTeacher
from hrkd.models.sizes import model_sizes
from hrkd.report.remarks import LINEAR
from hrkd.run.context import Context, Workplace
from hrkd.run.speed import Speeds, measured_speeds
from hrkd.run.stages import FinishedStage
from hrkd.support.atomic_files import replace_file
from hrkd.training.evaluate import predict_logits, probabilities_of
from hrkd.training.intervals import paired_difference
from hrkd.training.metrics import Scores, label_ids_of, score
from hrkd.training.record import ending_of
from hrkd.training.selection import merge_best_per_domain
from hrkd.training.session import computing
from hrkd.training.teacher_cache.source import teacher_logits

if TYPE_CHECKING:
    from hrkd.run.teacher import Teacher

__all__ = ["measure_models", "predictions", "scores", "teacher_predictions"]


def measure_models(
    context: Context, teacher: Teacher, student: FinishedStage | None, baseline: FinishedStage | None
) -> tuple[dict[str, Any], Speeds]:
    """Sizes and scores of every model on dev and test, by its name in results.json; and the speeds of some.

    Besides, a model has its paired differences to others, ``paired``, by part and the other's name: the student to all,
    others to the linear model. What models say of test is written into the run's folder.
    """
    data, parts = teacher.data, {"dev": teacher.data.dev, "test": teacher.data.test}
    said = {"teacher": {part: teacher_predictions(context, teacher.model, rows) for part, rows in parts.items()}}
    of_teacher = said["teacher"]

    def told(name: str, stage: str, answers: dict[str, np.ndarray]) -> dict[str, Any]:
        said[name] = answers
        _write(context, stage, answers["test"])
        return {
            part: scores(context, answers[part], parts[part].texts, teacher=of_teacher[part]).to_dict()
            for part in parts
        }

    timed: dict[str, tuple[AnyTeacher, TokenizedDataset]] = {"teacher": (teacher.model, data.test)}

    def measured(name: str, title: str, stage: str, of: FinishedStage) -> dict[str, Any]:
        rows_of = {part: _split_by(context, of, rows) for part, rows in parts.items()}
        timed[name] = of.model, rows_of["test"]
        answers = {
            part: predictions(context, of.model, rows, title=f"{stage} on {part}") for part, rows in rows_of.items()
        }
        kept = {"vocabulary": of.record["vocabulary"]} if "vocabulary" in of.record else {}
        ended = {"training": ending_of(of.record)}
        kind = context.recipe.student.kind
        return {"title": title, "kind": kind, **_sizes(of.model), **kept, **told(name, stage, answers), **ended}

    _write(context, "teacher", of_teacher["test"])
    models: dict[str, Any] = {
        "teacher": {
            "title": "Teacher",
            **_sizes(teacher.model),
            "dev": teacher.dev_scores.to_dict(),
            "test": scores(context, of_teacher["test"], data.test.texts).to_dict(),
        }
    }
    if teacher.record is not None:
        models["teacher"]["training"] = ending_of(teacher.record)
    if student is not None:
        title = "Student (HRKD)" if context.recipe.distillation.relates_domains else "Student"
        models["student"] = measured("student", title, "student", student)
        best = merge_best_per_domain(student.record["best_per_domain"], data.test)
        models["student_best_per_domain"] = {
            "title": "Student, best epoch of each domain",
            "test": scores(context, best, data.test.texts, teacher=of_teacher["test"]).to_dict(),
        }
    if baseline is not None:
        title, name = "Same student without distillation", "student_without_distillation"
        models[name] = measured(name, title, "baseline", baseline)
    if (linear := teacher.linear) is not None:
        models["linear"] = {"title": LINEAR, **linear.facts, **told("linear", "linear", linear.said)}
    made = {"student": student, "baseline": baseline, "linear": teacher.linear}
    for stage in (name for name, model in made.items() if model is None):
        _forget(context, stage)
    for name in said:
        others = [other for other in said if other != name and (name == "student" or other == "linear")]
        if others and name != "linear":
            models[name]["paired"] = {
                part: _paired(context, said, part, rows, name, others) for part, rows in parts.items()
            }
    return models, measured_speeds(context, timed)


def _split_by(context: Context, stage: FinishedStage, rows: TokenizedDataset) -> TokenizedDataset:
    """Rows in the tokens of a stage's model: the teacher's, unless it has a part of the vocabulary alone."""
    if "vocabulary" not in stage.record:
        return rows
    data = context.recipe.data
    return tokenize(rows.texts, stage.tokenizer, data.max_length, cache=context.cache, keep=data.keep)


def _paired(
    context: Context,
    said: Mapping[str, Mapping[str, np.ndarray]],
    part: str,
    rows: TokenizedDataset,
    name: str,
    others: Sequence[str],
) -> dict[str, Any]:
    """How much more accurate a model is than each of some others on the same rows, by the other's name."""
    right = {each: label_ids_of(said[each][part]) == rows.texts.label_ids for each in (name, *others)}
    confidence = context.recipe.evaluation.confidence
    return {
        other: paired_difference(right[name], right[other], rows.texts.domain_ids, confidence).to_dict()
        for other in others
    }


def predictions(
    context: Workplace, model: AnyTeacher, data: TokenizedDataset, *, title: str = "evaluating"
) -> np.ndarray:
    """Probabilities of the labels, shape (rows, C); ``title`` stands before the progress."""
    model.to(context.accelerator.device)
    size = context.recipe.evaluation.batch_size
    with computing(context.recipe.run, model, data=data, rows=size):
        found = predict_logits(model, data, batch_size=size, progress=context.progress, title=title)
    return probabilities_of(found)


def teacher_predictions(context: Context, teacher: AnyTeacher, data: TokenizedDataset) -> np.ndarray:
    """The same of a teacher, which many runs ask about the same rows: its answers are kept in the cache."""
    size = context.recipe.evaluation.batch_size
    with computing(context.recipe.run, teacher, data=data, rows=size):
        logits = teacher_logits(
            teacher,
            data,
            rules=context.recipe.cache,
            device=context.accelerator.device,
            batch_size=size,
            progress=context.progress,
        )
    return probabilities_of(logits)


def scores(
    context: Workplace, predicted: np.ndarray, rows: MultiDomainDataset, *, teacher: np.ndarray | None = None
) -> Scores:
    """How good predictions are (probabilities, or label ids), and how far they agree with the teacher's."""
    evaluation = context.recipe.evaluation
    return score(
        predicted,
        rows.label_ids,
        rows.domain_ids,
        domains=rows.domains,
        num_labels=len(rows.labels),
        label_names=rows.labels,
        teacher_predictions=teacher,
        bootstrap=evaluation.bootstrap,
        confidence=evaluation.confidence,
        seed=context.recipe.run.seed,
    )


def _write(context: Context, stage: str, predicted: np.ndarray) -> None:
    """Write what a model says of test into the run's folder."""
    if not context.accelerator.is_main_process:
        return
    rows = context.data.splits.test
    labels, domains = np.asarray(rows.labels), np.asarray(rows.domains)
    columns = {
        "id": rows.rows["id"][:],
        "domain": domains[rows.domain_ids],
        "label": labels[rows.label_ids],
        "predicted": labels[label_ids_of(predicted)],
        **{f"probability_{name}": predicted[:, c] for c, name in enumerate(rows.labels)},
    }
    with replace_file(context.folder.predictions / f"{stage}.parquet") as new:
        pd.DataFrame(columns).to_parquet(new, index=False)


def _forget(context: Context, stage: str) -> None:
    """Remove what a model said of test in an earlier call."""
    if context.accelerator.is_main_process:
        (context.folder.predictions / f"{stage}.parquet").unlink(missing_ok=True)


def _sizes(model: Any) -> dict[str, Any]:
    names = ("parameters", "parameters_without_embeddings", "megabytes")
    return {name: size for name, size in asdict(model_sizes(model)).items() if name in names}
