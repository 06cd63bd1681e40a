"""``hrkd report``: everything that a run left, put together as data and as a page."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import PydanticUndefined

from hrkd.data.health.sides import find_parts
from hrkd.data.health.texts import find_copies, find_garbled, find_nearly_empty
from hrkd.data.types import Splits
from hrkd.deploy.export_folder import is_export, read_export
from hrkd.errors import ArtifactError, HrkdError, RecipeError
from hrkd.recipe.fields import recipe_fields
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.presets import with_preset
from hrkd.recipe.schema import Recipe
from hrkd.report.page.aggregate import calibration, confusion_change, flips
from hrkd.report.page.page import made_now, run_page
from hrkd.report.page.several import several_page, shown_names
from hrkd.report.remarks import SPEEDS, times_as_fast
from hrkd.report.tables import about_linear, remarks_of
from hrkd.report.verdict import next_command, verdict
from hrkd.run.answers import NAMES, TestAnswers, check_same_rows, finished_results, read_answers, run_splits
from hrkd.run.errors import answers_table, student_of
from hrkd.run.folder import BENCHMARK
from hrkd.run.history import ratios_of_run, stages_of_run
from hrkd.support.arguments import path_of
from hrkd.support.atomic_files import read_json, write_json, write_text
from hrkd.support.messages import first_line, visible
from hrkd.support.text_table import NOTHING
from hrkd.training.record import COSTS

__all__ = ["REPORT", "recipe_fields_of", "report", "report_content", "write_report"]

logger = logging.getLogger("hrkd")

FORMAT, SEVERAL, VERSION = "hrkd-report", "hrkd-reports", 1
MOST_LABELS = 8
"""Of confusions that are kept whole; of more, the largest changes are."""
MOST_CHANGES = 10
TEXTS, TEXTS_OF_A_DOMAIN = 100, 10
CHARACTERS = 300
"""Of a text on a page."""
REPORT = "report.html"
SHOWN = ("student", "teacher", "student_without_distillation", "linear")


def report(*runs: str | Path, output: str | Path | None = None, data: Splits | None = None) -> dict[str, Any]:
    """Write the page of a run, or of several side by side, and its content as JSON beside it; returns the latter.

    Args:
        runs: folders of finished runs.
        output: the page. Default: report.html in the folder of the one run.
        data: the parts of rows in memory, of a run that was made from such.

    Raises:
        ArtifactError: a folder is no finished run, or is damaged; or the page cannot be written.
        RecipeError: no run, or several and no place for their page.
    """
    folders = [path_of("runs", run, "the folder of a run") for run in runs]
    if not folders or (len(folders) > 1 and output is None):
        raise RecipeError("name the folder of a finished run, or several and with output the page about them")
    if len(folders) == 1:
        content = report_content(folders[0], data)
        write_report(folders[0] / REPORT if output is None else Path(output), content)
        return content
    names = shown_names([str(folder) for folder in folders])
    contents = {name: report_content(folder, data) for name, folder in zip(names, folders, strict=True)}
    content = {"format": SEVERAL, "version": VERSION, "made": made_now(), "runs": contents}
    write_report(Path(str(output)), content)
    return content


def write_report(page: Path, content: Mapping[str, Any]) -> None:
    """Write the page of one run or of several, and its content beside it as JSON.

    Raises:
        ArtifactError: one of both cannot be written.
    """
    is_one = content["format"] == FORMAT
    write_text(page, run_page(content) if is_one else several_page(content["runs"], content["made"]))
    write_json(page.with_suffix(".json"), content)


def report_content(run: Path, data: Splits | None = None) -> dict[str, Any]:
    """Everything that the page of a run shows, as plain data of a size that does not grow with rows and steps.

    Args:
        run: its folder.
        data: the parts of its data; None: they are read anew as the run's recipe says, and where that cannot be done
            the content says why.

    Raises:
        ArtifactError: it is no finished run, or is damaged.
    """
    results = finished_results(run)
    answers, recipe = read_answers(run, results), load_recipe(run / "recipe.yaml", needed=())
    measured = {name: model for name in SHOWN if (model := results["models"].get(name)) and model.get("test")}
    given = [name for name in measured if name in answers.probabilities]
    weighs = recipe.distillation.weighs_domains if "student" in measured else False
    has_both = "teacher" in given and len({"student", "student_without_distillation"} & set(given)) > 0
    splits, problem = _splits(run, answers, data)
    texts, note = _texts(run, answers, splits, problem) if has_both else ([], "")
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": results.get("recipe_name") or run.resolve().name,
        "made": made_now(),
        "data_digest": results.get("data"),
        "labels": results["labels"],
        "domains": results["domains"],
        "verdict": verdict(results),
        "remarks": [*remarks_of(results), *([about_linear(results)] if "linear" in measured else [])],
        "next": next_command(results, str(run)),
        "models": measured,
        "confusion": _confusion(run, answers, results["domains"]) if has_both else None,
        "calibration": _calibration(answers, [name for name in given if name != "linear"], results["domains"]),
        "flips": {"counts": _flips(run, answers, results["domains"]), "texts": texts} if has_both else None,
        "texts_note": note,
        "history": ratios_of_run(run, results["domains"], weighs_domains=weighs),
        "stages": stages_of_run(run),
        "frontier": _frontier(run, measured, results),
        "cost": {name: results.get(name, {}) for name in (*COSTS, "texts_per_second")},
        "data": _data(run) | {"findings": _findings(splits, recipe)},
        "recipe": recipe_fields_of(recipe),
    }


def _by_domain(answers: TestAnswers, domains: Sequence[str]) -> dict[str, np.ndarray]:
    """Places of the rows of each domain that has some."""
    places = {name: np.flatnonzero(answers.domains == name) for name in domains}
    return {name: rows for name, rows in places.items() if len(rows)}


def _confusion(run: Path, answers: TestAnswers, domains: Sequence[str]) -> dict[str, Any]:
    student, teacher, labels = answers.answers(student_of(run, answers)), answers.answers("teacher"), answers.names
    is_whole, found = len(labels) <= MOST_LABELS, {}
    for name, rows in _by_domain(answers, domains).items():
        change = confusion_change(answers.label_ids[rows], teacher[rows], student[rows], len(labels))
        found[name] = change.tolist() if is_whole else _largest(change, labels)
    return {"labels": list(labels), "is_whole": is_whole, "domains": found}


def _largest(change: np.ndarray, labels: Sequence[str]) -> list[tuple[str, str, int]]:
    """True label, answer and rows of the largest changes."""
    order = np.argsort(-np.abs(change).ravel(), kind="stable")[:MOST_CHANGES]
    cells = [divmod(int(place), len(labels)) for place in order if change.ravel()[place]]
    return [(labels[truth], labels[answer], int(change[truth, answer])) for truth, answer in cells]


def _calibration(answers: TestAnswers, models: Sequence[str], domains: Sequence[str]) -> dict[str, Any]:
    return {
        name: {
            domain: calibration(answers.label_ids[rows], answers.probabilities[name][rows])
            for domain, rows in _by_domain(answers, domains).items()
        }
        for name in models
    }


def _flips(run: Path, answers: TestAnswers, domains: Sequence[str]) -> dict[str, Any]:
    student, teacher = answers.answers(student_of(run, answers)), answers.answers("teacher")
    return {
        name: flips(answers.label_ids[rows], teacher[rows], student[rows])
        for name, rows in _by_domain(answers, domains).items()
    }


def _splits(run: Path, answers: TestAnswers, data: Splits | None) -> tuple[Splits | None, str]:
    """The parts of a run's data, or what is in the way of reading them."""
    try:
        splits = run_splits(run, answers) if data is None else data
        check_same_rows(run, splits.test, answers)
    except HrkdError as error:
        logger.warning("the report shows no texts: %s", error)
        return None, first_line(error)
    return splits, ""


def _findings(splits: Splits | None, recipe: Recipe) -> list[dict[str, Any]]:
    """What hrkd check says of the rows alone, in train and in the sizes of the parts."""
    if splits is None:
        return []
    train = splits.train
    found = [*find_copies(train), *find_nearly_empty(train), *find_garbled(train), *find_parts(splits)]
    return [each.to_dict() | {"line": each.line()} for each in found if each.code not in recipe.data.ignore]


def _texts(run: Path, answers: TestAnswers, splits: Splits | None, problem: str) -> tuple[list[dict[str, Any]], str]:
    """Texts on which student and teacher part, the student's surest first, some of each domain; and what they are."""
    if splits is None:
        return [], f"No texts are shown: {problem}"
    rows = splits.test
    table = answers_table(run, answers, rows)
    parted = table[table["kind"].isin(["lost", "gained"])]
    if parted.empty:
        return [], "Student and teacher are right on the same test rows, and wrong on the same."
    each = max(1, min(TEXTS_OF_A_DOMAIN, TEXTS // max(1, parted["domain"].nunique())))
    some = parted.groupby("domain", sort=False).head(each).head(TEXTS)
    texts = [
        {str(name): _shown(value) if name in rows.text_columns else value for name, value in row.items()}
        for row in some.to_dict("records")
    ]
    return texts, (
        f"{len(texts)} of the {len(parted)} test rows that one of both alone gets right, those first of which the "
        f"student is surest; long texts are cut. hrkd errors {run} lists all, and those that both get wrong."
    )


def _shown(text: str) -> str:
    """The beginning of a text, without what a page cannot show."""
    return visible(text if len(text) <= CHARACTERS else text[: CHARACTERS - 1] + "…")


def _frontier(run: Path, models: Mapping[str, Mapping[str, Any]], results: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy on dev, sizes and speeds of the run's models, and of exports that were timed beside them."""
    found = {
        name: {
            "title": model["title"],
            "accuracy": model["dev"]["mean"]["accuracy"] if model.get("dev") else None,
            "parameters": model.get("parameters"),
            "megabytes": model.get("megabytes"),
            "times_as_fast": times_as_fast(results, name),
        }
        for name, model in models.items()
    }
    path = run / BENCHMARK
    if not path.is_file():
        return {
            "models": list(found.values()),
            "note": f"{SPEEDS} Texts a second, and exports, are shown once hrkd benchmark {run} EXPORT... has timed "
            "them.",
        }
    models_of = {stage: model for model, stage in NAMES.items()}
    timed = read_json(path, what="what hrkd benchmark found", advice="run hrkd benchmark again, or delete it")
    for row in timed["models"]:
        speed = {"per_second": row["per_second"], "milliseconds": row["latencies"][0]}
        folder = Path(row["folder"]) if "folder" in row else None
        stage = "linear" if folder is None else folder.name if folder.parent.resolve() == run.resolve() else ""
        name = models_of.get(stage)
        if name in found:
            found[name] |= speed
        elif folder is not None:
            found[str(folder)] = {
                "title": f"{folder.name} ({row['what']})",
                "accuracy": _accuracy_of_export(folder),
                "parameters": row["parameters"],
                "megabytes": row["megabytes"],
                **speed,
            }
    return {
        "models": list(found.values()),
        "note": f"Speeds: {timed['texts']} test texts, {timed['threads']} thread(s), {timed['batch_size']} at a time, "
        f"tokenising included. {SPEEDS}",
    }


def _accuracy_of_export(folder: Path) -> float | None:
    """On dev, mean over domains, as the check of the export found it; None where it had no rows, or it is gone."""
    try:
        checks = read_export(folder).checks if is_export(folder) else {}
    except ArtifactError:
        return None
    shares = [own["export"] for own in checks.get("accuracy", {}).values()]
    return float(np.mean(shares)) if shares else None


def _data(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(
        run / "data.json", what="the description of the data", advice="the command that made the run writes it anew"
    )
    return found


def recipe_fields_of(recipe: Recipe) -> list[dict[str, Any]]:
    """Every field: its value, the default (of the recipe's preset), and whether they differ."""
    kind = recipe.student.kind  # by which a preset's values differ
    preset: Any = with_preset(recipe.method.preset, {"student": {"kind": kind}})
    found = []
    for field in recipe_fields():
        value: Any = recipe
        for part in field.path:
            value = getattr(value, part)
        default = field.default if field.path == ("student", "kind") else _at(preset, field.path, field.default)
        found.append(
            {
                "field": field.name,
                "value": _plain(value),
                "default": _plain(default),
                "differs": _plain(value) != _plain(default),
            }
        )
    return found


def _at(values: Any, path: Sequence[str], otherwise: Any) -> Any:
    """What stands at a path of nested mappings."""
    for part in path:
        if not isinstance(values, Mapping) or part not in values:
            return otherwise
        values = values[part]
    return values


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True)
    return NOTHING if value is None or value is PydanticUndefined else str(value)
