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


def _student_test(results: Results | None) -> Mapping[str, Any] | None:
    return results["models"].get("student", {}).get("test") if results else None


def _eval_results(results: Results | None) -> list[EvalResult]:
    test = _student_test(results)
    if results is None or test is None:
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
        for domain, figures in test["domains"].items()
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
    models = {name: model for name in ("teacher", "student") if (model := _measured(results, name))}
    if "student" not in models:
        return "## Results\n\nThis model has not been measured."
    tests = [model["test"] for model in models.values()]
    student = models["student"]["test"]
    rows = [_domain_row(domain, student, tests) for domain in student["domains"]]
    means = [test["mean"] for test in tests]
    mean = [figure(figures, "accuracy", bounds=True) for figures in means]
    rows.append(("Mean", f"{student['mean']['examples']:,}", *mean, figure(student["mean"], "agreement")))
    agreement = METRICS["agreement"].title
    columns = ("Domain", "Examples", *(model["title"] for model in models.values()), agreement)
    level = student.get("confidence")
    told = f" The mean has its {100 * level:g} % bootstrap interval." if level else ""
    legend = f"Accuracy on the test set, in %. {agreement}: how often student and teacher say the same.{told}"
    return f"## Results\n\n{legend}\n\n" + PlainTable("", columns, tuple(rows)).to_markdown().rstrip()


def _measured(results: Results | None, name: str) -> Mapping[str, Any] | None:
    model = results["models"].get(name) if results else None
    return model if model and model.get("test") else None


def _domain_row(domain: str, student: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    own = student["domains"][domain]
    return (
        domain,
        f"{own['examples']:,}",
        *(figure(test["domains"][domain], "accuracy") for test in tests),
        figure(own, "agreement"),
    )


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
    if results and _student_test(results):
        seeds = f"training seed {results['seed']}, split seed {results['split_seed']}"
        lines.append(f"* The figures above are those of one training run ({seeds}).")
    if synthetic:
        lines.insert(0, "* **The training and test text is synthetic: the figures say nothing about real text.**")
    return "## Limits\n\n" + "\n".join(lines)


def _code(name: str) -> str:
    return f"`{name}`"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_code, names))
