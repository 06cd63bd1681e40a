"""The model card: ``README.md`` with the metadata that the Hugging Face Hub reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from hrkd.report.remarks import figure
from hrkd.report.tables import OWN_SIZES
from hrkd.support.atomic_files import write_text
from hrkd.support.text_table import PlainTable
from hrkd.training.metrics import METRICS

__all__ = ["write_model_card"]

TAGS = ("hrkd", "knowledge-distillation", "multi-domain")
ON_HUB = {name: metric.hub for name, metric in METRICS.items() if metric.hub is not None}
"""The Hub's name of each figure that its metadata hold."""

Results = Mapping[str, Any]


def write_model_card(
    folder: str | Path,
    *,
    results: Results | None,
    base_model: str | None,
    labels: Sequence[str],
    domains: Sequence[str],
    method: str,
    max_tokens: int | None = None,
    synthetic: bool = False,
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
        max_tokens: Longest input.
        synthetic: The corpus was generated; ``results`` may say so too.
        license: The Hub's short name of the licence.
        language: The Hub's code(s) of the language(s).

    Returns:
        Path of the card.
    """
    folder = Path(folder)
    name = _recipe_name(results, folder.name)
    on_hub = base_model if base_model and _is_hub_name(base_model) else None
    data = ModelCardData(
        model_name=name,
        library_name="hrkd",
        pipeline_tag="text-classification",
        tags=list(TAGS),
        base_model=on_hub,
        license=license,
        language=language,
        metrics=sorted(ON_HUB.values()),
        eval_results=_eval_results(results) or None,
    )
    synthetic = synthetic or bool(results and results.get("synthetic"))
    sections = [
        f"# {name}",
        _summary(method, base_model, on_hub, labels, domains),
        _usage(domains),
        _measurements(results),
        _sizes(results),
        _limits(results, max_tokens, synthetic),
    ]
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n")
    write_text(folder / "README.md", str(card))
    return folder / "README.md"


def _recipe_name(results: Results | None, otherwise: str) -> str:
    return str((results or {}).get("recipe_name") or otherwise)


def _is_hub_name(name: str) -> bool:
    """Whether ``name`` can be a repository of the Hub and is no folder here."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def _tested(results: Results | None) -> dict[str, Mapping[str, Any]]:
    """Teacher and student, in this order, as far as they have figures on the test set."""
    models = results["models"] if results else {}
    return {name: models[name] for name in ("teacher", "student") if models.get(name, {}).get("test")}


def _eval_results(results: Results | None) -> list[EvalResult]:
    student = _tested(results).get("student")
    if results is None or student is None:
        return []
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type="custom",
            dataset_name=_recipe_name(results, "own data"),
            dataset_config=domain,
            dataset_split="test",
            metric_type=hub_name,
            metric_name=metric.replace("_", "-"),
            metric_value=round(figures[metric], 4),
        )
        for domain, figures in student["test"]["domains"].items()
        for metric, hub_name in ON_HUB.items()
    ]


def _summary(
    method: str, base_model: str | None, on_hub: str | None, labels: Sequence[str], domains: Sequence[str]
) -> str:
    lines = [f"One small text classifier for {len(domains)} domains. Made with {method}."]
    if base_model:
        # Of a folder the last part only: a card is for others, whom the author's disk does not concern.
        lines.append(f"It comes from {_code(on_hub or Path(base_model).name)}{'' if on_hub else ' (a local model)'}.")
    return "\n".join([*lines, "", f"* Domains: {_listed(domains)}", f"* Labels: {_listed(labels)}"])


def _usage(domains: Sequence[str]) -> str:
    return f"""## Use

With hrkd, all domains from this one folder:

```python
from hrkd.deploy.predict import Predictor

predictor = Predictor.from_pretrained("path/to/this/folder")
predictor(["Some text.", "Some other text."], domain={domains[0]!r})
```

Without hrkd, after an export to one plain classifier per domain:

```python
from hrkd.deploy.export import export_plain

folders = export_plain("path/to/this/folder", "path/to/export")
```

```python
from transformers import pipeline

classify = pipeline("text-classification", str(folders[{domains[0]!r}]))
classify("Some text.", truncation=True)
```"""


def _measurements(results: Results | None) -> str:
    models = _tested(results)
    if "student" not in models:
        return "## Results\n\nThis model has not been measured."
    tests = [model["test"] for model in models.values()]
    student = tests[-1]
    lines = [(domain, [test["domains"][domain] for test in tests], False) for domain in student["domains"]]
    lines.append(("Mean", [test["mean"] for test in tests], True))
    rows = [
        (
            name,
            f"{figures[-1]['examples']:,}",
            *(figure(each, "accuracy", bounds=bounds) for each in figures),
            figure(figures[-1], "agreement"),
        )
        for name, figures, bounds in lines
    ]
    agreement = METRICS["agreement"].title
    columns = ("Domain", "Examples", *(model["title"] for model in models.values()), agreement)
    level = student.get("confidence")
    told = f" The mean has its {100 * level:g} % bootstrap interval." if level else ""
    legend = f"Accuracy on the test set, in %. {agreement}: how often student and teacher say the same.{told}"
    return f"## Results\n\n{legend}\n\n" + PlainTable("", columns, tuple(rows)).to_markdown().rstrip()


def _sizes(results: Results | None) -> str:
    models = [results["models"].get(name, {}) for name in ("teacher", "student")] if results else []
    rows = tuple(
        (model["title"], *(form(model[size]) for size, (_, form) in OWN_SIZES.items()))
        for model in models
        if model.get("parameters") is not None
    )
    columns = ("Model", *(heading for heading, _ in OWN_SIZES.values()))
    return "## Size\n\n" + PlainTable("", columns, rows).to_markdown().rstrip() if rows else ""


def _limits(results: Results | None, max_tokens: int | None, synthetic: bool) -> str:
    lines = [
        "* It knows the domains and labels above and no others; text of another kind still gets one of these labels.",
        "* It has learnt from its teacher, the teacher's mistakes and leanings included.",
        "* Scores are softmax outputs and have not been calibrated.",
    ]
    if max_tokens is not None:
        lines.append(f"* Text beyond {max_tokens} tokens is cut off and not seen.")
    if results and "student" in _tested(results):
        seeds = f"training seed {results['seed']}, split seed {results['split_seed']}"
        lines.append(f"* The figures above are those of one training run ({seeds}).")
    if synthetic:
        lines.insert(0, "* **The training and test text is synthetic: the figures say nothing about real text.**")
    return "## Limits\n\n" + "\n".join(lines)


def _code(name: str) -> str:
    return f"`{name}`"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_code, names))
