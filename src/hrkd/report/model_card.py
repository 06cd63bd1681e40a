"""The model card: ``README.md`` with the metadata that the Hugging Face Hub reads. Its words: ``model_card.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from hrkd.recipe.schema import Keep
from hrkd.report.remarks import (
    CLASSES,
    SYNTHETIC,
    figure,
    intervals_note,
    rows_of_domains,
    upright,
    worst_class,
)
from hrkd.report.tables import OWN_SIZES, about_linear, ratios_table, remarks_of
from hrkd.support.atomic_files import write_text
from hrkd.support.text_table import PlainTable
from hrkd.training.metrics import METRICS

__all__ = ["write_model_card"]

TAGS = ("hrkd", "knowledge-distillation", "multi-domain")
SHOWN = ("linear", "teacher", "student")
"""Models that a card tells of."""
TEMPLATE = Path(__file__).with_suffix(".md")
ON_HUB = {name: metric.hub for name, metric in METRICS.items() if metric.hub is not None}
"""The Hub's name of each figure that its metadata hold."""
LONGER: dict[Keep, str] = {
    "head": "Text beyond {} tokens is cut off and not seen.",
    "tail": "Of text longer than {} tokens only the end is seen.",
    "head_tail": "Of text longer than {} tokens the beginning and the end are seen, half of that each.",
    "windows": "Text longer than {} tokens is read in windows of that length; the mean of their probabilities decides.",
}

Results = Mapping[str, Any]
Scores = Mapping[str, Any]


def write_model_card(
    folder: str | Path,
    *,
    results: Results | None,
    base_model: str | None,
    labels: Sequence[str],
    domains: Sequence[str],
    method: str,
    keep: Keep,
    max_tokens: int | None = None,
    synthetic: bool = False,
    pairs: bool = False,
    license: str | None = None,  # noqa: A002
    language: str | list[str] | None = None,
) -> Path:
    """Write ``README.md`` into the folder of a student, in one step.

    Args:
        folder: The student's folder.
        results: Content of ``results.json``; None: the card says that nothing was measured.
        base_model: Hub name or folder of the encoder that the student comes from; a folder is not made a link.
        labels: Label names, in the order of the logits.
        domains: Domain names.
        method: How the student was made, as words that fit behind "Made with".
        keep: What is read of texts longer than ``max_tokens``.
        max_tokens: Longest input.
        synthetic: The corpus was generated; ``results`` may say so too.
        pairs: Whether it takes pairs of texts.
        license: The Hub's short name of the licence.
        language: The Hub's code(s) of the language(s).

    Returns:
        Path of the card.
    """
    folder, known = Path(folder), results or {}
    models = known.get("models", {})
    name = str(known.get("recipe_name") or folder.name)
    on_hub = base_model if base_model and _is_hub_name(base_model) else None
    student = models.get("student", {}).get("test")
    data = ModelCardData(
        model_name=name,
        library_name="hrkd",
        pipeline_tag="text-classification",
        tags=list(TAGS),
        base_model=on_hub,
        license=license,
        language=language,
        metrics=sorted(ON_HUB.values()),
        eval_results=_eval_results(student, str(known.get("recipe_name") or "own data")) or None,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        name=name,
        method=method,
        # Of a folder the last part only: a card is for others, whom the author's disk does not concern.
        comes_from=on_hub or (Path(base_model).name if base_model else None),
        on_hub=on_hub,
        domains=domains,
        first_domain=repr(domains[0]),
        labels=labels,
        student=student,
        is_static=models.get("student", {}).get("kind") == "static",
        accuracies=_accuracies(models) if student else "",
        classes=CLASSES,
        intervals=intervals_note(student["confidence"]) if student and student.get("confidence") else "",
        remarks=_remarks(known) if student else [],
        test_rows=student["mean"]["examples"] if student else 0,
        train_rows=sum(known.get("train_rows", {}).values()),
        sizes=_sizes(models),
        speeds=_speeds(models, known.get("texts_per_second", {})),
        rows=_rows(known, domains),
        ratios=_ratios(known),
        pairs=pairs,
        language=", ".join([language] if isinstance(language, str) else language or ()),
        synthetic=synthetic or bool(known.get("synthetic")),
        longer=LONGER[keep].format(max_tokens) if max_tokens else None,
        seed=known.get("seed"),
        split_seed=known.get("split_seed"),
    )
    write_text(folder / "README.md", f"{card}\n")
    return folder / "README.md"


def _is_hub_name(name: str) -> bool:
    """Whether ``name`` can be a repository of the Hub and is no folder here."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def _eval_results(test: Scores | None, dataset: str) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type="custom",
            dataset_name=dataset,
            dataset_config=domain,
            dataset_split="test",
            metric_type=hub_name,
            metric_name=metric.replace("_", "-"),
            metric_value=round(figures[metric], 4),
        )
        for domain, figures in (test["domains"] if test else {}).items()
        for metric, hub_name in ON_HUB.items()
    ]


def _remarks(results: Results) -> list[str]:
    """But for the synthetic corpus, which the card's limits tell."""
    found = [told for told in remarks_of(results) if told != SYNTHETIC]
    return [*found, about_linear(results)] if results["models"].get("linear") else found


def _accuracies(models: Mapping[str, Any]) -> str:
    """Those of student, teacher and linear model (if measured) by domain, with the student's other figures."""
    measured = [models[name] for name in SHOWN if models.get(name, {}).get("test")]
    tests, student = [model["test"] for model in measured], models["student"]["test"]
    lines = [(domain, [test["domains"][domain] for test in tests]) for domain in student["domains"]]
    lines.append(("Mean", [test["mean"] for test in tests]))
    rows = [
        (
            name,
            f"{own['examples']:,}",
            *(figure(each, "accuracy", bounds=True) for each in figures),
            figure(own, "macro_f1", bounds=True),
            worst_class(own),
            figure(own, "agreement"),
        )
        for name, figures in lines
        for own in [figures[measured.index(models["student"])]]
    ]
    others = (METRICS["macro_f1"].title, "Worst class", METRICS["agreement"].title)
    columns = ("Domain", "Test rows", *(model["title"] for model in measured), *others)
    return PlainTable("", columns, tuple(rows)).to_markdown().rstrip()


def _sizes(models: Mapping[str, Any]) -> str:
    """Those of all these models as a table; nothing where none is known."""
    known = [models[name] for name in SHOWN if models.get(name, {}).get("parameters") is not None]
    rows = tuple((model["title"], *(form(model[size]) for size, (_, form) in OWN_SIZES.items())) for model in known)
    columns = ("Model", *(heading for heading, _ in OWN_SIZES.values()))
    return PlainTable("", columns, rows).to_markdown().rstrip() if rows else ""


def _speeds(models: Mapping[str, Any], speeds: Mapping[str, float | None]) -> str:
    """Texts a second of these models as a table; nothing where that of the student is not known."""
    known = {name: speed for name in SHOWN if name in models and (speed := speeds.get(name)) is not None}
    if "student" not in known:
        return ""
    rows = tuple((models[name]["title"], f"{speed:,.0f}") for name, speed in known.items())
    return PlainTable("", ("Model", "Texts a second"), rows).to_markdown()


def _rows(results: Results, domains: Sequence[str]) -> str:
    """How many labelled rows each part has of each domain, as far as the results tell, as a table."""
    measured = results.get("models", {}).get("student", {})
    parts = {"Train": results.get("train_rows") or {}}
    for part in ("dev", "test"):
        own = (measured.get(part) or {}).get("domains", {})
        parts[part.capitalize()] = {name: figures["examples"] for name, figures in own.items()}
    rows = tuple(rows_of_domains(part, counts, domains) for part, counts in parts.items() if counts)
    table = PlainTable("", ("Rows", *domains, "All"), rows)
    return upright(table, domains).to_markdown().rstrip() if rows else ""


def _ratios(results: Results) -> str:
    """How much each domain counted at the end of the training; nothing where all counted the same."""
    table = ratios_table(results) if results else None
    return "" if table is None else table.to_markdown()
