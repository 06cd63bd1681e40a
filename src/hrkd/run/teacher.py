"""The teacher of a run: fine-tuning it, or opening one that is finished."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import set_seed
from transformers import PreTrainedTokenizerBase

from hrkd.data.batching import TokenizedDataset
from hrkd.data.splits.split_files import content_hashes, texts_of_file
from hrkd.data.types import PARTS
from hrkd.errors import ArtifactError, TrainingError
from hrkd.linear.sharing import mean_over_domains
from hrkd.models.domain_teachers import AnyTeacher, combined
from hrkd.models.loading import load_fine_tuned
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.plain import load_plain_classifier
from hrkd.models.scratch import new_teacher, scratch_tokenizer
from hrkd.models.tokenizers import load_tokenizer
from hrkd.report.advice import advice_for
from hrkd.report.remarks import beside_linear, seen_perhaps
from hrkd.run.context import Context
from hrkd.run.first_look import check_teacher_is_finished
from hrkd.run.folder import splits_beside
from hrkd.run.linear import LinearAnswers, linear_answers
from hrkd.run.measure import scores, teacher_predictions
from hrkd.run.prepare import TokenizedSplits, share_cut, tokenize_splits
from hrkd.run.stages import ModelStage, Stage, TrainedModel
from hrkd.support.atomic_files import put_manifest, read_json, read_record, write_json
from hrkd.support.domain_index import INDEX, write_domain_index
from hrkd.support.folder_names import folder_names
from hrkd.support.stage_files import STAGE_RECORD, TRAINING_RECORD
from hrkd.training.advice import train_longer
from hrkd.training.chance import majority_share, no_better_than_chance
from hrkd.training.intervals import paired_difference
from hrkd.training.metrics import Scores, label_ids_of
from hrkd.training.session import Session
from hrkd.training.trainers import fine_tune

__all__ = [
    "Teacher",
    "UnmeasuredTeacher",
    "fine_tune_teacher",
    "finished_teacher",
    "load_teacher",
    "open_teacher",
    "parts_it_may_have_seen",
    "untrained_teacher",
]

logger = logging.getLogger("hrkd")


@dataclass(frozen=True)
class UnmeasuredTeacher:
    """A teacher with its tokenizer and the data in its tokens."""

    model: AnyTeacher
    tokenizer: PreTrainedTokenizerBase
    data: TokenizedSplits

    def tokens_cut(self, context: Context) -> float:
        """Share of the training texts' tokens that it does not read."""
        settings = context.recipe.data
        return share_cut(self.data.train, self.tokenizer, settings.max_length, settings.keep)


@dataclass(frozen=True)
class Teacher(UnmeasuredTeacher):
    """A teacher ready to be asked.

    ``record`` is that of its training, or None for a teacher that hrkd did not train. ``linear`` is what the linear
    model says, and ``beside_linear`` who of both is better on dev; None and "" where the recipe leaves it out.
    """

    dev_scores: Scores
    record: dict[str, Any] | None
    linear: LinearAnswers | None
    beside_linear: str


def fine_tune_teacher(context: Context) -> Path:
    """Fine-tune the teacher, or that of each domain, unless that is done; returns its folder."""
    shared = context.recipe.teacher.encoders == "shared"
    stage = SharedTeacher(context, "teacher") if shared else SingleDomainTeachers(context, "teacher")
    stage.finish()
    return stage.files.model


class SharedTeacher(ModelStage):
    """One teacher for all domains."""

    def train(self, session: Session) -> TrainedModel:
        """Fine-tune it on the rows of all domains."""
        tokenizer = _teacher_tokenizer(self.context)
        data = _tokenized(self.context, tokenizer)
        return _trained(self.context, tokenizer, self.context.data.splits.domains, data.train, data.dev, session)


class SingleDomainTeachers(Stage):
    """A classifier of each domain, fine-tuned on its rows alone, as parts of the teacher's folder."""

    def record_to_write(self) -> dict[str, Any]:
        """As of any stage, and the folders of its parts."""
        return {**super().record_to_write(), "parts": list(folder_names(self.context.data.splits.domains).values())}

    def make(self) -> None:
        """Make the classifiers that are missing, then what says whose they are."""
        context, names = self.context, folder_names(self.context.data.splits.domains)
        tokenizer = _teacher_tokenizer(context)
        data = _tokenized(context, tokenizer)
        records: dict[str, dict[str, Any]] = {}
        for domain, name in names.items():
            steps = sum(record["steps"] for record in records.values())
            part = SingleDomainTeacher(context, f"teacher/{name}", domain, tokenizer, data, steps=steps)
            records[domain] = part.finish()
        if context.accelerator.is_main_process:
            context.folder.lock.check()
            write_json(self.files.training, _of_all_domains(records))
            write_domain_index(self.files.model, names, "teachers")
            write_json(self.files.settings, self.record_to_write())
            put_manifest(self.files.model, [TRAINING_RECORD, INDEX, STAGE_RECORD])


class SingleDomainTeacher(ModelStage):
    """The classifier of one ``domain``; ``steps`` are those of the classifiers before it."""

    def __init__(
        self,
        context: Context,
        name: str,
        domain: str,
        tokenizer: PreTrainedTokenizerBase,
        data: TokenizedSplits,
        *,
        steps: int,
    ) -> None:
        super().__init__(context, name, title=f"teacher {domain}", steps=steps)
        self.settings = {**self.settings, "domain": domain}
        self.domain, self.tokenizer, self.data = domain, tokenizer, data

    def train(self, session: Session) -> TrainedModel:
        """Fine-tune it on the rows of its domain."""
        train_set, dev_set = (part.alone(self.domain) for part in (self.data.train, self.data.dev))
        return _trained(self.context, self.tokenizer, (self.domain,), train_set, dev_set, session)


def _of_all_domains(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The record of a training of several models, one after the other, from those of each (domain: record)."""
    known = (record.get("peak_megabytes") for record in records.values())
    peaks = [peak for peak in known if peak is not None]
    early = [f"{domain}: {told}" for domain, record in records.items() if (told := record.get("still_learning"))]
    ended_by = {record.get("ended_by") for record in records.values()}
    return {
        "epochs": [{"domain": domain, **epoch} for domain, record in records.items() for epoch in record["epochs"]],
        "best_epoch": {domain: record["best_epoch"] for domain, record in records.items()},
        "best_score": {domain: record["best_score"] for domain, record in records.items()},
        "still_learning": "; ".join(early),
        "ended_by": ended_by.pop() if len(ended_by) == 1 else None,
        "steps": sum(record["steps"] for record in records.values()),
        "peak_megabytes": max(peaks, default=None),
    }


def open_teacher(context: Context) -> Teacher:
    """Load the teacher (another run's, the recipe's fine-tuned one, or the run's own) and measure it on the dev set.

    That it is not above the linear model there is logged as a warning.

    Raises:
        ArtifactError: there is none, or it was trained on other data.
        ModelError: its labels or domains do not fit the data.
        TrainingError: it is no better than chance and the recipe does not allow that.
    """
    teacher, record = load_teacher(context)
    answers, rows = teacher_predictions(context, teacher.model, teacher.data.dev), teacher.data.dev.texts
    dev_scores = scores(context, answers, rows)
    check_teacher(context, dev_scores, teacher.data, record)
    if parts := parts_it_may_have_seen(context):
        logger.warning("%s", seen_perhaps(parts))
    linear, told = None, ""
    if context.recipe.evaluation.linear:
        linear = linear_answers(context)
        told = _beside_linear(context, teacher, record, answers, linear.said["dev"])
    return Teacher(teacher.model, teacher.tokenizer, teacher.data, dev_scores, record, linear, told)


def _beside_linear(
    context: Context, teacher: UnmeasuredTeacher, record: Mapping[str, Any] | None, its: np.ndarray, linear: np.ndarray
) -> str:
    """Who of both is better on dev, from the probabilities of the teacher and of the linear model, shape (rows, C)."""
    rows = teacher.data.dev.texts
    right, others = (label_ids_of(said) == rows.label_ids for said in (its, linear))
    reached, bar = (mean_over_domains(each, rows.domain_ids) for each in (right, others))
    paired = paired_difference(right, others, rows.domain_ids, context.recipe.evaluation.confidence).to_dict()
    is_below, advice = reached <= bar, ""
    if is_below:
        advice = advice_for("teacher", record, teacher.tokens_cut(context), is_trained=record is not None)
    told = beside_linear("The teacher", reached, bar, paired, advice, "dev")
    if is_below:
        logger.warning("%s", told)
    return told


def parts_it_may_have_seen(context: Context) -> tuple[str, ...]:
    """Which of dev and test are drawn here, under a teacher of which it is not known what it was trained on."""
    fine_tuned = context.recipe.teacher.fine_tuned
    if context.external_teacher is not None or fine_tuned is None:
        return ()
    folders = [fine_tuned] if isinstance(fine_tuned, str) else fine_tuned.values()
    is_known = all(splits_beside(Path(folder)) is not None for folder in folders)
    return () if is_known else context.data.splits.drawn


def load_teacher(context: Context) -> tuple[UnmeasuredTeacher, dict[str, Any] | None]:
    """Load a finished teacher, without asking it anything, and the record of its training.

    Raises:
        ArtifactError, ModelError: as :func:`open_teacher`.
    """
    config, splits = context.recipe.teacher, context.data.splits
    source, record = finished_teacher(context)
    model = load_fine_tuned(
        source,
        domains=splits.domains,
        labels=splits.labels,
        max_tokens=context.recipe.data.max_length,
        teacher_labels=config.labels if record is None else None,
        combine=config.combine,
    )
    tokenizer = load_tokenizer(source if isinstance(source, str) else next(iter(source.values())))
    return UnmeasuredTeacher(model, tokenizer, _tokenized(context, tokenizer)), record


def untrained_teacher(context: Context) -> UnmeasuredTeacher:
    """The teacher that is to be trained, as it is before; where each domain has its own, all of them."""
    tokenizer, domains, config = _teacher_tokenizer(context), context.data.splits.domains, context.recipe.teacher
    set_seed(context.recipe.run.seed)
    if config.encoders == "shared":
        model: AnyTeacher = _new_teacher(context, tokenizer, domains)
    else:
        models = {domain: _new_teacher(context, tokenizer, (domain,)) for domain in domains}
        model = combined(models, config.combine)
    return UnmeasuredTeacher(model, tokenizer, _tokenized(context, tokenizer))


def finished_teacher(context: Context) -> tuple[str | Mapping[str, str], dict[str, Any] | None]:
    """Where a finished teacher is (another run's, the recipe's fine-tuned one, or the run's own), and its record.

    Raises:
        ArtifactError: there is none, or it was trained on other data.
    """
    fine_tuned = context.recipe.teacher.fine_tuned
    if context.external_teacher is None and fine_tuned is not None:
        for each in [fine_tuned] if isinstance(fine_tuned, str) else fine_tuned.values():
            _check_not_seen(context, Path(each))
        return fine_tuned, None
    folder = context.external_teacher or context.folder.stage("teacher").model
    _check_made_for(context, folder)
    return str(folder), _record(folder / TRAINING_RECORD, "the record of the teacher's training")


def check_teacher(
    context: Context, dev_scores: Scores, data: TokenizedSplits, record: Mapping[str, Any] | None
) -> None:
    """Stop a run whose teacher has nothing to teach.

    Args:
        record: of its training, if hrkd trained it.

    Raises:
        TrainingError: no better than chance on the dev set, and the recipe does not allow that.
    """
    if not no_better_than_chance(dev_scores, data.dev.texts.label_ids, data.dev.texts.domain_ids):
        return
    chance = majority_share(data.dev.texts.label_ids, data.dev.texts.domain_ids)
    message = (
        f"the teacher is not shown to be better than chance: accuracy {dev_scores.mean.accuracy:.1%} on "
        f"{dev_scores.mean.examples:,} dev texts, where always guessing each domain's most frequent class gives "
        f"{chance:.1%} (one-sided test at 95 %)"
    )
    if context.recipe.teacher.allow_weak:
        logger.warning("%s; going on, as teacher.allow_weak says", message)
        return
    better = (
        "take another classifier (teacher.fine_tuned)"
        if record is None
        else f"train longer ({train_longer('teacher.training', record)}; outside a comparison with run.overwrite true "
        "or another run.output)"
    )
    raise TrainingError(
        f"{message}; there is nothing to distil. Look at the labels (hrkd data), {better}, or set "
        "teacher.allow_weak to go on"
    )


def _check_made_for(context: Context, folder: Path) -> None:
    check_teacher_is_finished(folder)
    if _record(folder / STAGE_RECORD, "the record of the teacher").get("data") != context.data.digest:
        raise ArtifactError(
            f"{folder}: this teacher was trained on other data or another split, so that the test set may hold what it "
            "has seen; use the data section (or data.splits_file) of its run, or train a teacher on this split"
        )


def _record(file: Path, what: str) -> dict[str, Any]:
    advice = "restore the teacher's folder from a copy, or delete it and hrkd train-teacher makes it anew"
    return read_record(file, what=what, advice=advice)


def _check_not_seen(context: Context, folder: Path) -> None:
    """A teacher of another run must not have been trained on dev or test rows of this one.

    An error where the data are the same (most of these rows are known to that run's split), else a warning: texts such
    as "good" stand in many data sets.
    """
    path = splits_beside(folder)
    if path is None:
        return
    dev, test = context.data.splits.dev, context.data.splits.test
    known = texts_of_file(path)
    if known is None:
        parts = read_json(path, what="the split of the teacher's run")
        known = {name: np.array(parts[name]) for name in PARTS}
        held_out = np.array([*dev.rows["id"][:], *test.rows["id"][:]])
    else:
        held_out = np.concatenate([content_hashes(dev), content_hashes(test)])
    seen = np.flatnonzero(np.isin(held_out, known["train"]))
    if not len(seen):
        return
    row = int(seen[0])
    first = dev.rows[row]["id"] if row < len(dev) else test.rows[row - len(dev)]["id"]
    told = f"{folder}: this teacher was trained on {len(seen)} of the rows that are dev or test here (such as {first})"
    if 2 * np.isin(held_out, np.concatenate(list(known.values()))).sum() > len(held_out):
        raise ArtifactError(f"{told}; set data.splits_file to {path}")
    logger.warning("%s: figures are too good there", told)


def _tokenized(context: Context, tokenizer: PreTrainedTokenizerBase) -> TokenizedSplits:
    data = context.recipe.data
    return tokenize_splits(
        context.data.splits, tokenizer, data.max_length, data.keep, cache=context.cache, progress=context.progress
    )


def _teacher_tokenizer(context: Context) -> PreTrainedTokenizerBase:
    config, length = context.recipe.teacher, context.recipe.data.max_length
    if config.scratch is not None:
        return scratch_tokenizer(config.scratch, context.data.vocabulary, context.data.splits.train, length)
    assert config.model is not None, "the recipe's own check"
    return load_tokenizer(config.model)


def _trained(
    context: Context,
    tokenizer: PreTrainedTokenizerBase,
    domains: Sequence[str],
    train_set: TokenizedDataset,
    dev_set: TokenizedDataset,
    session: Session,
) -> TrainedModel:
    """A new teacher of ``domains``, fine-tuned as the recipe says."""
    config = context.recipe.teacher
    set_seed(context.recipe.run.seed)
    model = _new_teacher(context, tokenizer, domains)
    weight = config.domain_loss_weight if config.meta_kd else None
    history = fine_tune(model, train_set, dev_set, settings=config.training, domain_loss_weight=weight, session=session)
    return TrainedModel(model, tokenizer, history)


def _new_teacher(context: Context, tokenizer: PreTrainedTokenizerBase, domains: Sequence[str]) -> MultiDomainClassifier:
    config, labels = context.recipe.teacher, context.data.splits.labels
    form: dict[str, Any] = {
        "domains": domains,
        "labels": labels,
        "heads": config.heads,
        "max_tokens": context.recipe.data.max_length,
    }
    if config.scratch is not None:
        return new_teacher(config.scratch, vocabulary_size=len(tokenizer), **form)
    assert config.model is not None, "the recipe's own check"
    plain = load_plain_classifier(config.model, labels, fine_tuned=False)
    return MultiDomainClassifier.from_plain(plain, **form, new_heads=True)
