"""The teacher of a run: fine-tuning it, or opening one that is finished."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from accelerate.utils import set_seed
from transformers import PreTrainedTokenizerBase

from hrkd.data.columns import chunks_of
from hrkd.errors import ArtifactError, TrainingError
from hrkd.models.domain_teachers import AnyTeacher, encoders_of
from hrkd.models.loading import load_fine_tuned
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.plain import load_plain_classifier
from hrkd.models.scratch import new_teacher, word_tokenizer
from hrkd.models.tokenizers import load_tokenizer
from hrkd.run.context import Job, Made, make_folder_of, make_model
from hrkd.run.prepare import TokenizedSplits
from hrkd.support.atomic_files import read_json, write_json
from hrkd.support.domain_index import write_domain_index
from hrkd.support.folder_names import folder_names
from hrkd.training.metrics import Scores, majority_share, no_better_than_chance
from hrkd.training.trainers import fine_tune

__all__ = [
    "Teacher",
    "fine_tune_teacher",
    "finished_teacher",
    "open_teacher",
    "scratch_tokenizer",
]

logger = logging.getLogger("hrkd")


@dataclass(frozen=True)
class Teacher:
    """A teacher ready to be asked, with its tokenizer and the data in its tokens.

    ``record`` is that of its training, or None for a teacher that hrkd did not train; ``foreign`` is the folder of
    a teacher of another run.
    """

    model: AnyTeacher
    tokenizer: PreTrainedTokenizerBase
    data: TokenizedSplits
    dev_scores: Scores
    record: dict[str, Any] | None
    foreign: Path | None = None

    @property
    def encoder(self) -> Any:
        """The encoder that a student starts from: the only one, or that of the first domain."""
        return encoders_of(self.model)[0]


def fine_tune_teacher(job: Job) -> Path:
    """Fine-tune the teacher, or that of each domain, unless that is done; returns its folder."""
    config, made_with = job.recipe.teacher, job.made_with("teacher")

    def make() -> Made:
        set_seed(job.recipe.run.seed)
        tokenizer = _teacher_tokenizer(job)
        model = _new_teacher(job, tokenizer, job.data.splits.domains)
        data = job.tokenized(tokenizer)
        history = fine_tune(
            model,
            data.train,
            data.dev,
            meta_kd=config.meta_kd,
            domain_loss_weight=config.domain_loss_weight,
            **job.training(config.training, "teacher"),
        )
        return model, tokenizer, history, {}

    def make_parts() -> None:
        _fine_tune_domains(job, made_with)

    if config.encoders == "shared":
        make_model(job, "teacher", made_with, make)
    else:
        make_folder_of(job, "teacher", made_with, make_parts)
    return job.run.stage("teacher")


def _fine_tune_domains(job: Job, made_with: dict[str, Any]) -> None:
    """A classifier of each domain, fine-tuned on its rows alone, as parts of the teacher's folder; then that folder."""
    names = folder_names(job.data.splits.domains)
    tokenizer = _teacher_tokenizer(job)
    data = job.tokenized(tokenizer)
    records: dict[str, dict[str, Any]] = {}
    for domain, name in names.items():
        part = f"teacher/{name}"
        steps = sum(record["steps"] for record in records.values())
        training = job.training(job.recipe.teacher.training, part, title=f"teacher {domain}", steps=steps)

        def make(domain: str = domain, training: dict[str, Any] = training) -> Made:
            set_seed(job.recipe.run.seed)
            model = _new_teacher(job, tokenizer, (domain,))
            history = fine_tune(model, data.train.alone(domain), data.dev.alone(domain), **training)
            return model, tokenizer, history, {}

        records[domain] = make_model(job, part, {**made_with, "domain": domain}, make)
    if job.accelerator.is_main_process:
        folder = job.run.stage("teacher")
        write_json(folder / "training.json", _of_all_domains(records))
        write_domain_index(folder, names, "teachers")
        write_json(folder / "stage.json", made_with)


def _of_all_domains(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The record of a training of several models, one after the other, from those of each (domain: record)."""
    peaks = [record["peak_megabytes"] for record in records.values() if record["peak_megabytes"] is not None]
    return {
        "epochs": [{"domain": domain, **epoch} for domain, record in records.items() for epoch in record["epochs"]],
        "best_epoch": {domain: record["best_epoch"] for domain, record in records.items()},
        "best_score": {domain: record["best_score"] for domain, record in records.items()},
        "steps": sum(record["steps"] for record in records.values()),
        "peak_megabytes": max(peaks, default=None),
    }


def open_teacher(job: Job, folder: Path | None) -> Teacher:
    """Load the teacher (``folder``, the recipe's fine-tuned one, or the run's own) and measure it on the dev set.

    Raises:
        ArtifactError: there is none, or it was trained on other data.
        ModelError: its labels or domains do not fit the data.
        TrainingError: it is no better than chance and the recipe does not allow that.
    """
    config, splits = job.recipe.teacher, job.data.splits
    source, record = finished_teacher(job, folder)
    model = load_fine_tuned(
        source,
        domains=splits.domains,
        labels=splits.labels,
        max_tokens=job.recipe.data.max_length,
        teacher_labels=config.labels if record is None else None,
        combine=config.combine,
    )
    tokenizer = load_tokenizer(source if isinstance(source, str) else next(iter(source.values())))
    data = job.tokenized(tokenizer)
    dev_scores = job.scores(None, data.dev, predictions=job.ask(model, data.dev))
    check_teacher(job, dev_scores, data)
    foreign = None if folder is None or folder.resolve() == job.run.stage("teacher").resolve() else folder
    return Teacher(model, tokenizer, data, dev_scores, record, foreign)


def finished_teacher(job: Job, folder: Path | None) -> tuple[str | Mapping[str, str], dict[str, Any] | None]:
    """Where a finished teacher is (``folder``, the recipe's fine-tuned one, or the run's own); its training's record.

    Raises:
        ArtifactError: there is none, or it was trained on other data.
    """
    fine_tuned = job.recipe.teacher.fine_tuned
    if folder is None and fine_tuned is not None:
        for each in [fine_tuned] if isinstance(fine_tuned, str) else fine_tuned.values():
            _check_not_seen(job, Path(each))
        return fine_tuned, None
    folder = folder or job.run.stage("teacher")
    _check_made_for(job, folder)
    return str(folder), read_json(folder / "training.json", what="the record of the teacher's training")


def check_teacher(job: Job, dev_scores: Scores, data: TokenizedSplits) -> None:
    """Stop a run whose teacher has nothing to teach.

    Raises:
        TrainingError: no better than chance on the dev set, and the recipe does not allow that.
    """
    if not no_better_than_chance(dev_scores, data.dev.label_ids, data.dev.domain_ids):
        return
    chance = majority_share(data.dev.label_ids, data.dev.domain_ids)
    message = (
        f"the teacher is not shown to be better than chance: accuracy {dev_scores.mean.accuracy:.1%} on "
        f"{dev_scores.mean.examples:,} dev texts, where always guessing each domain's most frequent class gives "
        f"{chance:.1%} (one-sided test at 95 %)"
    )
    if job.recipe.teacher.allow_weak:
        logger.warning("%s; going on, as teacher.allow_weak says", message)
        return
    raise TrainingError(
        f"{message}; there is nothing to distil. Look at the labels (hrkd data), train longer "
        "(teacher.training.epochs; outside a comparison with run.overwrite true or another run.output), or set "
        "teacher.allow_weak to go on"
    )


def _check_made_for(job: Job, folder: Path) -> None:
    if not (folder / "stage.json").is_file():
        raise ArtifactError(
            f"{folder}: no finished teacher; run hrkd train-teacher first, or name a folder (--teacher-folder)"
        )
    if read_json(folder / "stage.json", what="the record of the teacher").get("data") != job.data.digest():
        raise ArtifactError(
            f"{folder}: this teacher was trained on other data or another split, so that the test set may hold what it "
            "has seen; use the data section (or data.splits_file) of its run, or train a teacher on this split"
        )


def _check_not_seen(job: Job, folder: Path) -> None:
    """A teacher of another run on the same source must not have been trained on dev or test rows of this one."""
    above = [run / "splits.json" for run in list(folder.parents)[:2]]  # a part of a teacher lies deeper
    ids = next((path for path in above if path.is_file()), None)
    if ids is None:
        return
    parts = read_json(ids, what="the split of the teacher's run")
    train, known = set(parts["train"]), {row for name in ("train", "dev", "test") for row in parts[name]}
    held_out = [*job.data.splits.dev.rows["id"][:], *job.data.splits.test.rows["id"][:]]
    seen = [row for row in held_out if row in train]
    if seen and known.issuperset(held_out):
        raise ArtifactError(
            f"{folder}: this teacher was trained on {len(seen)} of the rows that are dev or test here (such as "
            f"{seen[0]}); set data.splits_file to {ids}"
        )


def _teacher_tokenizer(job: Job) -> PreTrainedTokenizerBase:
    config = job.recipe.teacher
    if config.scratch is not None:
        return scratch_tokenizer(job)
    assert config.model is not None, "the recipe's own check"
    return load_tokenizer(config.model)


def _new_teacher(job: Job, tokenizer: PreTrainedTokenizerBase, domains: Sequence[str]) -> MultiDomainClassifier:
    config, labels = job.recipe.teacher, job.data.splits.labels
    form: dict[str, Any] = {
        "domains": domains,
        "labels": labels,
        "heads": config.heads,
        "max_tokens": job.recipe.data.max_length,
    }
    if config.scratch is not None:
        return new_teacher(config.scratch, vocabulary_size=len(tokenizer), **form)
    assert config.model is not None, "the recipe's own check"
    plain = load_plain_classifier(config.model, labels, fine_tuned=False)
    return MultiDomainClassifier.from_plain(plain, **form, new_heads=True)


def scratch_tokenizer(job: Job) -> PreTrainedTokenizerBase:
    """The tokenizer of a teacher from nothing: the words of a generated corpus, or the most frequent ones."""
    assert job.recipe.teacher.scratch is not None
    size = job.recipe.teacher.scratch["vocabulary"]
    words = job.data.vocabulary or _frequent_words(job.data.splits.train.rows, size)
    return word_tokenizer(words, max_tokens=job.recipe.data.max_length)


def _frequent_words(rows: datasets.Dataset, size: int) -> list[str]:
    texts = (text for chunk in chunks_of(rows, "text") for text in chunk["text"])
    counts = Counter(word for text in texts for word in text.lower().split())
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]
