"""Measuring the models of a run, and writing down what came out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hrkd.errors import ArtifactError
from hrkd.recipe.schema import MethodConfig
from hrkd.report.model_card import write_model_card
from hrkd.report.tables import ratios_table, results_table
from hrkd.run.context import Context
from hrkd.run.measure import measure_models
from hrkd.run.report import REPORT, report_content, write_report
from hrkd.run.stages import FinishedStage
from hrkd.run.teacher import Teacher, parts_it_may_have_seen
from hrkd.support.atomic_files import write_json, write_text
from hrkd.support.manifest import file_sum
from hrkd.training.chance import no_better_than_chance
from hrkd.training.record import COSTS, last_ratios, training_cost

__all__ = ["build_results", "method_in_words", "write_results"]

logger = logging.getLogger("hrkd")


def build_results(
    context: Context, teacher: Teacher, student: FinishedStage | None, baseline: FinishedStage | None
) -> dict[str, Any]:
    """Scores of every model on dev and test, as the content of results.json; what they say of test is written."""
    records = {
        "student": None if student is None else student.record,
        "teacher": teacher.record,
        "student_without_distillation": None if baseline is None else baseline.record,
    }
    costs = {name: training_cost(record) for name, record in records.items() if record is not None}
    models, speeds = measure_models(context, teacher, student, baseline)
    figures = {figure: {name: cost[figure] for name, cost in costs.items()} for figure in COSTS}
    if "linear" in models:
        figures["seconds"]["linear"] = models["linear"].pop("seconds")
    figures["texts_per_second"], figures["times_as_fast"] = speeds.texts_per_second, speeds.times_as_fast
    dev = teacher.data.dev.texts
    return {
        "format": "hrkd-results",
        "version": 1,
        "labels": list(context.data.splits.labels),
        "domains": list(context.data.splits.domains),
        "recipe_name": context.folder.path.name,
        "seed": context.recipe.run.seed,
        "split_seed": context.recipe.data.split_seed,
        "synthetic": context.recipe.data.format == "synthetic",
        "data": context.data.digest,
        "evaluation": context.recipe.evaluation.model_dump(mode="json"),
        "train_rows": context.data.splits.train.rows_by_domain(),
        "tokens_cut": teacher.tokens_cut(context),
        "models": models,
        "teacher_at_chance": no_better_than_chance(teacher.dev_scores, dev.label_ids, dev.domain_ids),
        "teacher_may_have_seen": list(parts_it_may_have_seen(context)),
        "ratios": None if student is None else _ratios(context),
        **figures,
        "notes": list(context.data.splits.notes),
    }


def write_results(context: Context, results: dict[str, Any]) -> None:
    """Write results.json, results.md and, where there is a student, its model card; show the table.

    A card that was edited stays as it is.
    """
    if not context.accelerator.is_main_process:
        return
    context.folder.lock.check()
    edited = context.folder.card_is_edited
    tables = [table for table in (results_table(results), ratios_table(results)) if table is not None]
    write_text(context.folder.path / "results.md", "\n".join(table.to_markdown() for table in tables))
    made = "student" if "student" in results["models"] else "baseline"
    if made == "student" and edited:
        logger.info(
            "%s: is not known to be as hrkd wrote it, and stays; delete it to have it anew", context.folder.card
        )
    elif made == "student":
        write_model_card(
            context.folder.card.parent,
            results=results,
            base_model=context.recipe.teacher.model,
            labels=results["labels"],
            domains=results["domains"],
            method=method_in_words(context.recipe.distillation),
            max_tokens=context.recipe.data.max_length,
            keep=context.recipe.data.keep,
            synthetic=results["synthetic"],
            pairs=context.data.splits.train.has_pairs,
        )
    if made == "student":
        results["model_card"] = None if edited else file_sum(context.folder.card)
    write_json(context.folder.results, results)
    content = report_content(context.folder.path, context.data.splits)
    write_report(context.folder.path / REPORT, content)
    for shown in (*tables, *_last_words(context, made, content)):
        context.show(shown)


def _last_words(context: Context, made: str, content: Mapping[str, Any]) -> list[str]:
    """What a run comes to, where it lies, and what to do next."""
    folder = context.folder.path
    return [
        "",  # parts it from the tables' notes
        *content["verdict"],
        f"Written: {folder / made} (the model), {folder / REPORT} (figures and texts), {context.folder.results}, "
        f"{context.folder.results.with_suffix('.md').name}",
        f"Next: {content['next']}",
    ]


def method_in_words(method: MethodConfig) -> str:
    """What a student was made with, for its model card."""
    if method.relates_domains:
        words = "hierarchical relational knowledge distillation"
    elif not method.hidden_weight:
        words = "distillation of the teacher's predictions"
    else:
        attention = "" if method.attention == "none" else ", attention"
        of_levels = "token relations" if method.level_loss == "relations" else f"hidden states{attention}"
        words = f"distillation of the teacher's {of_levels} and predictions"
    beside = ["the labels"] if method.label_weight else []
    beside += ["those of related domains"] if method.related_weight else []
    return f"{words}, beside {' and '.join(beside)}" if beside else words


def _ratios(context: Context) -> list[dict[str, Any]] | None:
    """How much domains counted at the end of the student's training; None where they all count the same."""
    method = context.recipe.distillation
    if not method.weighs_domains:
        return None
    files = context.folder.stage("student" if method.stages == "one" else "levels")
    try:
        return last_ratios(files.metrics) or None
    except ArtifactError as error:
        raise ArtifactError(f"{error}; {files.advice}") from error
