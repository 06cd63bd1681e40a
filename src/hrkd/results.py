"""Measuring the models of a run, and writing down what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hrkd.deploy.model_card import write_model_card
from hrkd.files import write_json, write_text
from hrkd.models.sizes import model_sizes
from hrkd.report.tables import results_markdown, results_table
from hrkd.stages import Job, Staged, Teacher
from hrkd.training.selection import merge_best_per_domain

__all__ = ["build_results", "write_results"]


def build_results(job: Job, teacher: Teacher, student: Staged, baseline: Staged | None) -> dict[str, Any]:
    """Scores of every model on dev and test, as the content of results.json."""
    data = teacher.data
    said = {name: job.predict(teacher.model, part) for name, part in (("dev", data.dev), ("test", data.test))}
    models: dict[str, Any] = {
        "teacher": {
            "title": "Teacher",
            **_sizes(teacher.model),
            "dev": teacher.dev_scores.to_dict(),
            "test": job.scores(None, data.test, predictions=said["test"]).to_dict(),
        },
        "student": {"title": "Student (HRKD)", **_sizes(student.model), **_measure(job, student, teacher, said)},
    }
    best = merge_best_per_domain(student.record["best_per_domain"], data.test)
    models["student_best_per_domain"] = {
        "title": "Student, best epoch of each domain",
        "test": job.scores(None, data.test, predictions=best, teacher_labels=said["test"]).to_dict(),
    }
    if baseline is not None:
        title = "Same student without distillation"
        measured = _measure(job, baseline, teacher, said)
        models["student_without_distillation"] = {"title": title, **_sizes(baseline.model), **measured}
    seconds = {"student": _seconds(student.record)}
    if teacher.record is not None:
        seconds["teacher"] = _seconds(teacher.record)
    if baseline is not None:
        seconds["student_without_distillation"] = _seconds(baseline.record)
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
        "seconds": seconds,
        "notes": list(job.data.splits.notes),
    }


def write_results(job: Job, results: Mapping[str, Any]) -> None:
    """Write results.json, results.md and the student's model card, and show the table."""
    if not job.accelerator.is_main_process:
        return
    write_json(job.run.results, results)
    write_text(job.run.folder / "results.md", results_markdown(results, "test"))
    write_model_card(
        job.run.stage("student"),
        results=results,
        base_model=job.recipe.teacher.model,
        labels=results["labels"],
        domains=results["domains"],
        max_tokens=job.recipe.data.max_length,
        synthetic=results["synthetic"],
    )
    job.show(results_table(results, "test"))
    job.show(f"Written: {job.run.folder / 'results.md'}, {job.run.results}, {job.run.stage('student')}")


def _measure(job: Job, staged: Staged, teacher: Teacher, said: Mapping[str, np.ndarray]) -> dict[str, Any]:
    parts = {"dev": teacher.data.dev, "test": teacher.data.test}
    return {name: job.scores(staged.model, part, teacher_labels=said[name]).to_dict() for name, part in parts.items()}


def _seconds(record: Mapping[str, Any]) -> float:
    """Time of all epochs of a training, their dev evaluations included."""
    return round(sum(float(epoch["seconds"]) for epoch in record["epochs"]), 1)


def _sizes(model: Any) -> dict[str, Any]:
    sizes = model_sizes(model)
    return {
        "parameters": sizes.parameters,
        "parameters_without_embeddings": sizes.parameters_without_embeddings,
        "megabytes": sizes.megabytes,
    }
