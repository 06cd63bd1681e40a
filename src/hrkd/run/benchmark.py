"""``hrkd benchmark``: models and exports side by side, on texts of their own kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from hrkd.data.types import MultiDomainDataset, check_dataset
from hrkd.deploy.benchmark import Answer, folder_megabytes, measure, start_up
from hrkd.deploy.checks import BATCH_SIZE
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.export.reference import asked_of
from hrkd.deploy.export_folder import facts_of_any, is_export, read_export
from hrkd.deploy.predict import Predictor
from hrkd.errors import DataError, RecipeError
from hrkd.linear.model import LinearModel, fit_linear
from hrkd.models.sizes import model_sizes
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.report.remarks import LINEAR
from hrkd.report.tables import benchmark_table
from hrkd.run.evaluation import rows_of_model, workplace_of
from hrkd.run.first_look import recipe_around, student_in
from hrkd.run.folder import BENCHMARK, RunFolder, environment
from hrkd.support.arguments import check_count, path_of
from hrkd.support.atomic_files import write_json
from hrkd.support.progress import Progress, Show, quiet

__all__ = ["benchmark"]

SEED = 0


def benchmark(
    folders: Sequence[str | Path],
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    threads: int = 1,
    texts: int = 300,
    rounds: int = 5,
    batch_size: int = BATCH_SIZE,
    data: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time models and exports of them on the same texts, in turn, and show a table; returns it as a plain dict.

    Args:
        folders: of runs (teacher and student), models of hrkd, or exports that hrkd runs. The first one (of a run its
            teacher) is what the others are compared with.
        recipe: where the texts are; None: the data of the run that the first folder is, or lies in.
        threads: of the processor, for each model.
        texts: how many test texts are taken, drawn with a fixed seed.
        rounds: how often each model is asked all of them.
        batch_size: texts in a forward pass of the many; single texts are timed besides.
        data: rows in memory, in the place of the recipe's.
        show, progress: as :func:`hrkd.run.commands.compress`.

    Where the first folder is a run, the figures are kept in it too, for its report.

    Raises:
        ArtifactError: a folder holds nothing of the kind, or is damaged.
        DataError: there are no texts, or they are of domains that a model does not know.
    """
    check_dataset("data", data)
    for name, value in {"threads": threads, "texts": texts, "rounds": rounds, "batch_size": batch_size}.items():
        check_count(f"--{name.replace('_', '-')}", value)
    places = _models([path_of("folders", folder, "the folder of a model") for folder in folders])
    first = next(iter(places.values()))
    own = recipe_around(first)
    if recipe is None and data is None:
        if own is None:
            raise DataError(f"{first}: lies in no run, so that its texts are not known; name a recipe with its data")
        recipe = own
    checked = recipe if isinstance(recipe, Recipe) else load_recipe(recipe or {}, needed=("data",) if recipe else ())
    workplace, facts = workplace_of(checked, progress), facts_of_any(first)

    def part(split: str) -> MultiDomainDataset:
        return rows_of_model(workplace, first, facts, data, split, is_run=own is not None and recipe == own).rows

    test = part("test")
    test = test.select(np.sort(np.random.default_rng(SEED).permutation(len(test))[:texts]))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with threadpool_limits(threads), ExitStack() as stack:
        stack.callback(torch.set_num_threads, before)
        linear = fit_linear(part("train"), part("dev"))
        models: dict[str, Answer] = {}
        found: list[dict[str, Any]] = []
        predictors = {name: _opened(folder, threads) for name, folder in places.items()}
        test = _with_tokens(test, list(predictors.values()))
        for name, folder in places.items():
            predictor = predictors[name]
            models[name] = _asking(predictor, test, batch_size)
            found.append({"name": name, "folder": str(folder), **_facts(folder, predictor)})
        for row in found:  # before the long part: a model that cannot start ends it
            row["start_seconds"], row["start_processor_seconds"] = _first_answer(Path(row["folder"]), test)
        models[LINEAR] = _linear(linear, test)
        speeds = measure(models, len(test), rounds=rounds, singles=max(1, texts // 3), progress=progress)
    found.append({"name": LINEAR, "megabytes": linear.megabytes, "parameters": linear.parameters})
    for row in found:
        row |= asdict(speeds[row["name"]])
    result = {
        "format": "hrkd-benchmark",
        "version": 1,
        "threads": threads,
        "texts": len(test),
        "rounds": rounds,
        "batch_size": batch_size,
        "words_median": float(np.median([len(text.split()) for text in test.rows["text"][:]])),
        "models": found,
        "environment": environment(),
    }
    if workplace.accelerator.is_main_process:
        show(benchmark_table(result))
        run = RunFolder(Path(folders[0]))
        if run.is_run:
            write_json(run.path / BENCHMARK, result)
            show(f"Written: {run.path / BENCHMARK}, which hrkd report {run.path} shows")
    return result


def _models(folders: Sequence[Path]) -> dict[str, Path]:
    """Names and folders: of a run its teacher, if it has trained one, and its student."""
    if not folders:
        raise RecipeError("name at least one folder of a run, a model or an export")
    found: dict[str, Path] = {}
    for folder in folders:
        student = student_in(folder)
        if student == folder:
            found[str(folder)] = folder
            continue
        teacher = RunFolder(folder).stage("teacher").model
        found |= {str(each): each for each in (teacher, student) if (each / "config.json").is_file()}
    for folder in found.values():
        facts_of_any(folder)
    return found


def _opened(folder: Path, threads: int) -> Predictor:
    if is_export(folder):
        return Predictor.from_pretrained(folder, threads=threads)
    return Predictor.from_pretrained(folder, device="cpu")


def _asking(predictor: Predictor, rows: MultiDomainDataset, batch_size: int) -> Answer:
    """A predictor that is asked for some of the rows."""
    facts = predictor.facts
    if facts.one_head:
        asked = asked_of(rows, rows.domains)
        asked = replace(asked, domains=[0] * len(rows))
    elif unknown := sorted(set(rows.domains) - set(facts.domains)):
        raise DataError(f"texts are of {', '.join(unknown)}, which a model does not know; data.domains selects some")
    else:
        asked = asked_of(rows, facts.domains)

    def answer(places: Sequence[int]) -> object:
        return predictor.answers(asked.take(places), batch_size=batch_size)

    return answer


def _with_tokens(rows: MultiDomainDataset, predictors: Sequence[Predictor]) -> MultiDomainDataset:
    """Without the rows of which a tokenizer leaves nothing, which no predictor takes."""
    columns = [rows.rows[name][:] for name in ("text", *(["text_pair"] if rows.has_pairs else []))]
    texts = [list(map(str, column)) for column in columns]
    bad = {place for each in predictors for column in texts for place in each.without_tokens(column)}
    return rows.select(np.array([place for place in range(len(rows)) if place not in bad])) if bad else rows


def _linear(model: LinearModel, rows: MultiDomainDataset) -> Callable[[Sequence[int]], object]:
    def answer(places: Sequence[int]) -> object:
        return model.predict(rows.select(np.asarray(places)))

    return answer


def _facts(folder: Path, predictor: Predictor) -> dict[str, Any]:
    """Size of a model, and what it is."""
    if is_export(folder):
        record = read_export(folder)
        names = [record.model, f"{Path(record.model).stem}.bin"]
        return {
            "what": record.target,
            "megabytes": folder_megabytes(folder, names),
            "parameters": record.made_from.get("parameters"),
        }
    engine = predictor.engine
    assert isinstance(engine, TorchEngine)
    sizes = model_sizes(engine.model)
    return {
        "what": "torch", "megabytes": folder_megabytes(folder, ["model.safetensors"]), "parameters": sizes.parameters
    }  # fmt: skip


def _first_answer(folder: Path, rows: MultiDomainDataset) -> tuple[float, float]:
    pair = str(rows.rows["text_pair"][0])[:1000] if rows.has_pairs else None
    facts = facts_of_any(folder)
    domain = None if facts.one_head else rows.domains[rows.domain_ids[0]]
    return start_up(folder, str(rows.rows["text"][0])[:1000], pair, domain)
