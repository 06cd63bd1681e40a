"""Measuring a finished model on labelled rows: ``hrkd evaluate``.

The model's own length, columns, labels and domains rule; the recipe says where the rows are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from hrkd.data.batching import tokenize
from hrkd.data.cutting import KEPT
from hrkd.data.rows import fault_of, is_nested, name_of
from hrkd.data.splits.split_files import seen_texts
from hrkd.data.types import MultiDomainDataset, check_dataset
from hrkd.deploy.export.reference import asked_of
from hrkd.deploy.export_folder import is_export, read_export
from hrkd.deploy.predict import Predictor
from hrkd.errors import RecipeError
from hrkd.models.facts import facts_of
from hrkd.models.loading import check_answers, folders_of, load_fine_tuned
from hrkd.models.open_model import ModelFacts
from hrkd.models.tokenizers import load_tokenizer
from hrkd.recipe.loading import check_source, load_recipe
from hrkd.recipe.schema import DataConfig, Recipe
from hrkd.report.tables import scores_table
from hrkd.run.context import Workplace
from hrkd.run.first_look import check_measurable, recipe_around, student_in
from hrkd.run.folder import splits_beside
from hrkd.run.measure import predictions, scores
from hrkd.run.prepare import load_labelled
from hrkd.run.rows_to_measure import MeasuredRows, as_model_says, own_part, rows_to_measure, with_columns_of
from hrkd.support.arguments import path_of, shown
from hrkd.support.caches import cache_folder
from hrkd.support.domain_index import domain_folders, read_domain_index
from hrkd.support.messages import count_of, first_of, repeated_in
from hrkd.support.progress import Progress, Show, quiet
from hrkd.support.stage_files import digest_of_rows
from hrkd.training.session import start_accelerator

__all__ = ["evaluate", "rows_of_model", "workplace_of"]

logger = logging.getLogger("hrkd")


def evaluate(
    folder: str | Path,
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    split: str | None = None,
    teacher: str | Path | None = None,
    labels: Sequence[str] | None = None,
    data: MultiDomainDataset | None = None,
    show: Show = quiet,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a model on labelled rows: its own test rows, or all that it is given. Returns its scores as a plain dict.

    The model's length, columns, labels and domains rule; rows may hold some of its labels and domains alone.

    Args:
        folder: a run (its student is measured), or a model folder: of hrkd, an export, a plain classifier, or one per
            domain.
        recipe: where the rows are; for a run, or a model in one, its own data unless another is given.
        split: "train", "dev" or "test": that part, as the source, ``data.splits_file`` or the model's run says it, or
            else as a training would draw it. "all": every row. None: test, where the source says which rows that is, or
            the data is what the model (or the student of an export) was made from; else every row.
        teacher: another model, such as the run's ``teacher`` folder; the scores then hold the agreement with it.
        labels: what the data calls the model's outputs, in their order, where it calls them otherwise.
        data: rows in memory, in the place of the recipe's.
        show, progress: as :func:`hrkd.run.commands.compress`.

    Raises:
        ArtifactError: no model there, or a damaged one.
        DataError, ModelError: the data's domains or labels are not the model's.
    """
    folder = path_of("folder", folder, "the folder of a run or model")
    teacher = None if teacher is None else path_of("teacher", teacher, "the folder of a model")
    if not isinstance(recipe, Recipe):
        check_source(recipe)
    check_dataset("data", data)
    check_measurable(folder, split, data_named=recipe is not None or data is not None)
    around = recipe_around(folder)
    if recipe is None and data is None and around is not None:
        recipe = around
    folder = student_in(folder)
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe or {}, needed=() if data is not None else ("data",))
    facts = _facts(folder)
    workplace = workplace_of(recipe, progress)
    measured = rows_of_model(workplace, folder, facts, data, split, is_run=around is not None)
    names = _names_of_outputs(folder, facts, labels)
    rows = as_model_says(measured.rows, facts, names)
    _tell_of_other_domains(folder, rows.domains)
    predicted = _predictions(workplace, folder, facts, names, rows)
    agreed_with = None
    if teacher is not None:
        other = _facts(teacher)
        meant = _meant_by(other, facts, names, recipe.teacher.labels)
        agreed_with = _predictions(workplace, teacher, other, meant, rows)
    found = scores(workplace, predicted, rows, teacher=agreed_with).to_dict()
    if workplace.accelerator.is_main_process:
        show(scores_table(found, title=f"{folder} on {measured.which}"))
    return found


def _facts(folder: Path) -> ModelFacts:
    return read_export(folder).facts if is_export(folder) else facts_of(folder)


def _names_of_outputs(folder: Path, facts: ModelFacts, labels: Sequence[str] | None) -> list[str]:
    """What the data calls the model's outputs, in their order: one name for each, and none twice."""
    if isinstance(labels, str) or not isinstance(labels, Sequence | None):
        raise RecipeError(f"labels: expected a list of names, got {shown(labels)}")
    given = facts.labels if labels is None else labels
    if odd := [repr(name) for name in given if is_nested(name) or fault_of(name)]:
        raise RecipeError(f"labels: expected a name for each output of the model, got {first_of(odd)}")
    names = [name if isinstance(name, str) else name_of(name) for name in given]
    if len(names) != len(facts.labels):
        raise RecipeError(
            f"--labels: {len(names)} names ({', '.join(names)}) for {len(facts.labels)} outputs of the model "
            f"({', '.join(facts.labels)}); give one for each, in their order"
        )
    if twice := sorted(repeated_in(names)):
        what = f"{folder}: its outputs are called" if labels is None else "--labels:"
        raise RecipeError(
            f"{what} {', '.join(names)}: {', '.join(twice)} stands there twice; give each output a name of its own "
            "(--labels), in their order"
        )
    return names


def _meant_by(
    teacher: ModelFacts, model: ModelFacts, names: Sequence[str], said: Sequence[str] | None
) -> Sequence[str]:
    """What the data calls a teacher's outputs: as they are called, as the recipe ``said``, or as the model's are."""
    if set(teacher.labels) == set(names):
        return teacher.labels
    if said is not None and len(said) == len(teacher.labels):
        return said
    renamed = dict(zip(model.labels, names, strict=True))
    return [renamed.get(name, name) for name in teacher.labels]


def workplace_of(recipe: Recipe, progress: Progress | None) -> Workplace:
    """What a model is asked with, as a recipe says."""
    accelerator = start_accelerator(recipe.run)
    shown = progress or Progress(accelerator.is_main_process)
    return Workplace(recipe, accelerator, shown, cache_folder(recipe.cache.folder))


def rows_of_model(
    workplace: Workplace,
    folder: Path,
    facts: ModelFacts,
    given: MultiDomainDataset | None,
    split: str | None,
    *,
    is_run: bool,
) -> MeasuredRows:
    """The model's own part, where the data is that of its run, or else the rows that are given."""
    said, digest = workplace.recipe.data, _digest_of(folder)
    data = with_columns_of(said.model_copy(update={"unlabelled": None}), facts)
    if facts.max_tokens and "max_length" in said.model_fields_set and said.max_length != facts.max_tokens:
        logger.warning(
            "data.max_length: %s plays no part here: %s reads %s tokens", said.max_length, folder, facts.max_tokens
        )
    if facts.max_tokens and "keep" in said.model_fields_set and said.keep != facts.keep:
        logger.warning("data.keep: %s plays no part here: %s reads %s of a text", said.keep, folder, KEPT[facts.keep])
    rows = load_labelled(data, workplace.cache, to_measure=True)[0] if given is None else given
    if split != "all" and digest is not None:
        own = own_part(data, rows, digest=digest, split=split or "test")
        if own is not None:
            return MeasuredRows(own, split or "test")
    for note in rows.notes if given is None else ():
        logger.warning("%s", note)
    if is_run and given is None and split is None and _is_data_of(folder, said):
        logger.warning("%s was trained on other data or another split: %s may hold what it has seen", folder, "test")
        split = "test"
    measured = rows_to_measure(data, rows, split=split)
    _tell_of_seen(folder, measured)
    return measured


def _digest_of(folder: Path) -> str | None:
    """Of the rows and parts that a model, or the student of an export, was made from; None where nobody says."""
    if is_export(folder):
        return read_export(folder).made_from.get("data")
    of_plain = (index.data for place in (folder, folder.parent) if (index := read_domain_index(place)) is not None)
    return digest_of_rows(folder) or next(of_plain, None)


def _tell_of_seen(folder: Path, measured: MeasuredRows) -> None:
    """Warn where rows are train rows of the run that a model was made in, or may be where that is not known."""
    splits, rows = splits_beside(folder), measured.rows
    if splits is None and measured.are_all:
        logger.warning(
            "all %s are measured, and the model may have learnt from some: nothing here says which rows %s was trained "
            "on. --split test measures those that a training would have kept aside", count_of(len(rows)), folder,
        )  # fmt: skip
    seen = None if splits is None else seen_texts(splits, rows)
    if seen is not None and len(seen):
        number, all_rows = f"{len(seen):,}", count_of(len(rows))
        logger.warning("%s of %s were train rows of %s: the figures are too good there", number, all_rows, folder)


def _tell_of_other_domains(folder: Path, domains: Sequence[str]) -> None:
    """Warn where an export's classifier of some domains is measured on rows of others."""
    index = read_domain_index(folder.parent)
    own = [] if index is None else [d for d, place in index.folders.items() if place.resolve() == folder.resolve()]
    if own and (others := [domain for domain in domains if domain not in own]):
        logger.warning(
            "%s: is the classifier of %s, and measured on rows of %s too; %s has that of each domain",
            folder, ", ".join(own), first_of(others), folder.parent,
        )  # fmt: skip


def _is_data_of(model: Path, data: DataConfig) -> bool:
    """Whether these are the rows of the run that a model lies in, however much of each is read."""
    own, reading = recipe_around(model), {"keep": data.keep, "max_length": data.max_length}
    return own is not None and load_recipe(own).data.model_copy(update=reading) == data


def _predictions(
    workplace: Workplace, folder: Path, facts: ModelFacts, names: Sequence[str], rows: MultiDomainDataset
) -> np.ndarray:
    """What the model of a folder, whose outputs are called ``names``, says of rows: probabilities, (rows, C)."""
    if is_export(folder):
        predictor = Predictor.from_pretrained(folder)
        order = [list(names).index(name) for name in rows.labels]
        found = predictor.measured(asked_of(rows, facts.domains), batch_size=workplace.recipe.evaluation.batch_size)
        ordered: np.ndarray = found[:, order]
        return ordered
    tokenizer = load_tokenizer(folder)
    longest = facts.max_tokens or _plain_length(workplace.recipe.data, tokenizer, folder)
    combine = workplace.recipe.teacher.combine if domain_folders(folder) else "route"
    model = load_fine_tuned(
        str(folder),
        domains=rows.domains,
        labels=rows.labels,
        max_tokens=longest,
        teacher_labels=None if list(names) == facts.labels else names,
        combine=combine,
    )
    spec = folders_of(str(folder), rows.domains)
    places = [spec] if isinstance(spec, str) else list(spec.values())
    check_answers(model, tokenizer, places, longest=longest, pairs=rows.has_pairs)
    keep = facts.keep if facts.max_tokens else workplace.recipe.data.keep
    tokens = tokenize(rows, tokenizer, longest, cache=workplace.cache, keep=keep)
    return predictions(workplace, model, tokens)


def _plain_length(said: DataConfig, tokenizer: PreTrainedTokenizerBase, folder: Path) -> int:
    """Tokens that a plain classifier reads: as many as are asked for, or its tokenizer's length, which is the most."""
    most = int(tokenizer.model_max_length)
    if most >= VERY_LARGE_INTEGER:
        return said.max_length
    if "max_length" in said.model_fields_set and said.max_length > most:
        logger.warning("data.max_length: %s is more than %s reads: %s tokens", said.max_length, folder, most)
    return min(said.max_length, most) if "max_length" in said.model_fields_set else most
