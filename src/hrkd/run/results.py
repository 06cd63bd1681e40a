"""Measuring the models of a run, and writing down what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hrkd.data.batching import TokenizedDataset
from hrkd.data.types import MultiDomainDataset
from hrkd.models.sizes import model_sizes
from hrkd.recipe.schema import MethodConfig
from hrkd.report.model_card import write_model_card
from hrkd.report.tables import ratios_table, results_markdown, results_table
from hrkd.run.context import Job, Staged
from hrkd.run.folder import COSTS, training_cost
from hrkd.run.teacher import Teacher
from hrkd.support.atomic_files import replace_file, write_json, write_text
from hrkd.training.metrics import label_ids_of
from hrkd.training.record import last_ratios
from hrkd.training.selection import merge_best_per_domain

__all__ = ["build_results", "method_in_words", "write_results"]

Predicted = Mapping[str, np.ndarray]
"""Probabilities of the labels, shape (rows, C), by part of the data."""


def build_results(job: Job, teacher: Teacher, student: Staged | None, baseline: Staged | None) -> dict[str, Any]:
    """Scores of every model on dev and test, as the content of results.json; what they say of test is written."""
    test = teacher.data.test
    said = _keep(job, "teacher", {part: job.ask(teacher.model, rows) for part, rows in _parts(teacher).items()})
    models: dict[str, Any] = {
        "teacher": {
            "title": "Teacher",
            **_sizes(teacher.model),
            "dev": teacher.dev_scores.to_dict(),
            "test": job.scores(None, test, predictions=said["test"]).to_dict(),
        },
    }
    if student is not None:
        title = "Student (HRKD)" if _has_graph(job.recipe.method) else "Student"
        models["student"] = {"title": title, **_measure(job, "student", student, teacher, said)}
        best = merge_best_per_domain(student.record["best_per_domain"], test)
        models["student_best_per_domain"] = {
            "title": "Student, best epoch of each domain",
            "test": job.scores(None, test, predictions=best, teacher_labels=said["test"]).to_dict(),
        }
    if baseline is not None:
        title = "Same student without distillation"
        measured = _measure(job, "baseline", baseline, teacher, said)
        models["student_without_distillation"] = {"title": title, **measured}
    records = {
        "student": None if student is None else student.record,
        "teacher": teacher.record,
        "student_without_distillation": None if baseline is None else baseline.record,
    }
    costs = {name: training_cost(record) for name, record in records.items() if record is not None}
    return {
        "format": "hrkd-results",
        "version": 1,
        "labels": list(job.data.splits.labels),
        "domains": list(job.data.splits.domains),
        "recipe_name": job.run.folder.name,
        "seed": job.recipe.run.seed,
        "split_seed": job.recipe.data.split_seed,
        "synthetic": job.recipe.data.format == "synthetic",
        "data": job.data.digest(),
        "models": models,
        "ratios": None if student is None else _ratios(job),
        **{figure: {name: cost[figure] for name, cost in costs.items()} for figure in COSTS},
        "notes": list(job.data.splits.notes),
    }


def write_results(job: Job, results: Mapping[str, Any]) -> None:
    """Write results.json, results.md and, where there is a student, its model card; show the table."""
    if not job.accelerator.is_main_process:
        return
    write_json(job.run.results, results)
    ratios = ratios_table(results)
    write_text(
        job.run.folder / "results.md",
        "\n".join([results_markdown(results, "test"), *([] if ratios is None else [ratios.to_markdown()])]),
    )
    made = "student" if "student" in results["models"] else "baseline"
    if made == "student":
        write_model_card(
            job.run.stage("student"),
            results=results,
            base_model=job.recipe.teacher.model,
            labels=results["labels"],
            domains=results["domains"],
            method=method_in_words(job.recipe.method),
            max_tokens=job.recipe.data.max_length,
            synthetic=results["synthetic"],
        )
    job.show(results_table(results, "test"))
    if ratios is not None:
        job.show(ratios)
    job.show(f"Written: {job.run.folder / 'results.md'}, {job.run.results}, {job.run.stage(made)}")


def method_in_words(method: MethodConfig) -> str:
    """What a student was made with, for its model card."""
    if _has_graph(method):
        words = "hierarchical relational knowledge distillation"
    elif not method.hidden_weight:
        words = "distillation of the teacher's predictions"
    else:
        attention = "" if method.attention == "none" else ", attention"
        words = f"distillation of the teacher's hidden states{attention} and predictions"
    return f"{words}, beside the labels" if method.label_weight else words


def _has_graph(method: MethodConfig) -> bool:
    return bool(method.hidden_weight) and method.graph not in ("uniform", "random")


def _ratios(job: Job) -> list[dict[str, Any]] | None:
    """How much domains counted at the end of the student's training; None where they all count the same."""
    method = job.recipe.method
    stage = "student" if method.stages == "one" else "levels"
    if not method.hidden_weight or method.graph == "uniform":
        return None
    return last_ratios(job.run.metrics(stage)) or None


def _measure(job: Job, stage: str, staged: Staged, teacher: Teacher, said: Predicted) -> dict[str, Any]:
    parts = _parts(teacher)
    predicted = _keep(job, stage, {name: job.predict(staged.model, part) for name, part in parts.items()})
    scores = {
        name: job.scores(None, part, predictions=predicted[name], teacher_labels=said[name]).to_dict()
        for name, part in parts.items()
    }
    return {**_sizes(staged.model), **scores}


def _parts(teacher: Teacher) -> dict[str, TokenizedDataset]:
    """What models are measured on."""
    return {"dev": teacher.data.dev, "test": teacher.data.test}


def _keep(job: Job, stage: str, predicted: Predicted) -> Predicted:
    """Write what a model says of test into the run's folder; returns ``predicted``."""
    if job.accelerator.is_main_process:
        table = _prediction_table(job.data.splits.test, predicted["test"])
        with replace_file(job.run.predictions(stage)) as new:
            table.to_parquet(new, index=False)
    return predicted


def _prediction_table(rows: MultiDomainDataset, predicted: np.ndarray) -> pd.DataFrame:
    labels, domains = np.asarray(rows.labels), np.asarray(rows.domains)
    return pd.DataFrame(
        {
            "id": rows.rows["id"][:],
            "domain": domains[rows.domain_ids],
            "label": labels[rows.label_ids],
            "predicted": labels[label_ids_of(predicted)],
            **{f"probability_{name}": predicted[:, c] for c, name in enumerate(rows.labels)},
        }
    )


def _sizes(model: Any) -> dict[str, Any]:
    sizes = model_sizes(model)
    return {
        "parameters": sizes.parameters,
        "parameters_without_embeddings": sizes.parameters_without_embeddings,
        "megabytes": sizes.megabytes,
    }
