"""The stages of a run: teacher, (levels,) student, baseline. Each is made once, from what is written down beside it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import set_seed
from transformers import PreTrainedTokenizerBase

from hrkd.config import CacheConfig, Recipe, TrainingConfig
from hrkd.data.batching import TokenizedDataset, length_sorted_batches, tokenize
from hrkd.data.columns import chunks_of
from hrkd.data.describe import describe
from hrkd.data.splits import save_split_ids
from hrkd.data.types import MultiDomainDataset
from hrkd.deploy.folder_names import folder_names
from hrkd.errors import ArtifactError, RecipeError, TrainingError
from hrkd.files import read_json, replace_folder, write_json
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.plain import load_plain_classifier
from hrkd.models.scratch import new_teacher, word_tokenizer
from hrkd.models.shape import resolve_shape, shape_of
from hrkd.models.student import StartedStudent, build_student, student_from_checkpoint
from hrkd.models.teachers import (
    AnyTeacher,
    DomainTeachers,
    domain_folders,
    load_fine_tuned,
    load_tokenizer,
    write_domain_folders,
)
from hrkd.preparation import PreparedData, TokenizedSplits, prepare_data, tokenize_splits
from hrkd.recipe import recipe_to_yaml
from hrkd.run import Run, peak_megabytes, training_cost, weights_digest
from hrkd.training.cache_files import cache_folder
from hrkd.training.evaluate import predict_logits
from hrkd.training.loop import TrainingHistory
from hrkd.training.metrics import Scores, majority_share, no_better_than_chance, score
from hrkd.training.progress import Progress, Show, quiet
from hrkd.training.runs import distill_from_models, fine_tune
from hrkd.training.selection import BestPerDomain
from hrkd.training.teacher_cache import CacheRules, teacher_logits

__all__ = [
    "Job",
    "Show",
    "Staged",
    "Teacher",
    "distil_student",
    "fine_tune_baseline",
    "fine_tune_teacher",
    "open_teacher",
    "quiet",
    "scratch_tokenizer",
]

logger = logging.getLogger("hrkd")

Made = tuple[MultiDomainClassifier, PreTrainedTokenizerBase, TrainingHistory, dict[str, Any]]
"""A trained model, its tokenizer, its training, and what else goes to the record of that."""
STATES_SAMPLE = 512
"""Training texts whose hidden states decide the principal components."""
LEVELS_ALONE = {"prediction_weight": 0.0, "keep": "last"}
LOGITS_ALONE = {
    "hidden_weight": 0.0,
    "graph": "uniform",
    "hierarchy": "none",
    "learning": "fixed",
    "expertise": False,
    "transfer_weight": 0.0,
}
"""What the two stages of ``method.stages: two`` have of their own; the second has no levels to be weighed."""


@dataclass(frozen=True)
class Job:
    """What all stages of one recipe share."""

    recipe: Recipe
    run: Run
    data: PreparedData
    accelerator: Accelerator
    progress: Progress
    show: Show

    @classmethod
    def on(
        cls,
        recipe: Recipe,
        show: Show,
        progress: Progress | None,
        dataset: MultiDomainDataset | None = None,
        unlabelled: MultiDomainDataset | None = None,
    ) -> Job:
        """Load and split the data; nothing is written."""
        # Accelerate keeps device and precision for a process; a second run in this process may want others.
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = Accelerator(
            mixed_precision=recipe.run.mixed_precision,
            cpu=recipe.run.device == "cpu",
            log_with=recipe.run.trackers or None,
            project_dir=recipe.run.output,
        )
        if recipe.run.fast and accelerator.device.type == "cpu":
            AcceleratorState._reset_state(reset_partial_state=True)  # or bf16 would stay with this process
            raise RecipeError("run.fast: bf16 and torch.compile are for a GPU, and torch finds none; leave it out")
        return cls(
            recipe,
            Run(recipe.run.output, recipe.run.overwrite),
            prepare_data(recipe.data, dataset, cache_folder(recipe.cache.folder), unlabelled=unlabelled),
            accelerator,
            progress or Progress(accelerator.is_main_process),
            show if accelerator.is_main_process else quiet,
        )

    @property
    def cache_folder(self) -> Path:
        """Where rows, token ids and what teachers say are kept."""
        return cache_folder(self.recipe.cache.folder)

    def check(self, planned: Mapping[str, Mapping[str, Any]]) -> None:
        """Look, before anything is written, whether trackers and run folder can take the ``planned`` stages.

        Raises:
            ArtifactError: the folder cannot.
            RecipeError: a tracker is not installed.
        """
        _check_trackers(self.recipe.run.trackers)
        if self.accelerator.is_main_process:  # others might see a folder that it has begun to write
            self.run.check(planned)

    def open(self, planned: Mapping[str, Mapping[str, Any]]) -> None:
        """Open the run folder for the ``planned`` stages (name: made with) and describe the data in it."""
        if self.accelerator.is_main_process:
            splits, folder = self.data.splits, self.run.folder
            self.run.open(recipe_to_yaml(self.recipe), planned)
            save_split_ids(self.data.drawn, folder / "splits.json")
            described = describe(splits, max_length=self.recipe.data.max_length, unlabelled=self.data.unlabelled)
            write_json(folder / "data.json", described.to_dict())
            for note in splits.notes:
                logger.info("data: %s", note)
        self.accelerator.wait_for_everyone()
        if self.recipe.run.trackers:
            self.accelerator.init_trackers("hrkd", config={"recipe": recipe_to_yaml(self.recipe)})

    def made_with(self, stage: str, teacher_folder: Path | None = None) -> dict[str, Any]:
        """All that decides the weights of a stage.

        Args:
            stage: "teacher", "levels", "student" or "baseline".
            teacher_folder: a teacher of another run.
        """
        recipe = self.recipe
        sources = [recipe.teacher.model, recipe.teacher.fine_tuned]
        made_with = {
            "data": self.data.digest(),
            "max_length": recipe.data.max_length,
            "teacher": recipe.teacher.decides_weights,
            "teacher_weights": [_weights(source) for source in sources if source is not None],
            "seed": recipe.run.seed,
            "precision": recipe.run.mixed_precision,
            "fast": recipe.run.fast or None,
            "processes": self.accelerator.num_processes,
        }
        if stage == "teacher":
            return made_with
        if teacher_folder is not None:
            made_with |= {"teacher": str(teacher_folder), "teacher_weights": [_weights(str(teacher_folder))]}
        checkpoint = recipe.student.checkpoint
        made_with["student"] = recipe.student.model_dump(mode="json", exclude={"baseline"})
        made_with["student_weights"] = None if checkpoint is None else _weights(checkpoint)
        if stage in ("levels", "student"):
            made_with["combine"] = None if recipe.teacher.combine == "route" else recipe.teacher.combine
            made_with["unlabelled"] = self.data.unlabelled_digest
            # One stage is no entry, as in records from before there were two.
            one = {"stages"} if recipe.method.stages == "one" else set()
            made_with["method"] = recipe.method.model_dump(mode="json", exclude=one)
            made_with["cache"] = recipe.cache.model_dump(mode="json", exclude={"folder"})
        return made_with

    def tokenized(self, tokenizer: PreTrainedTokenizerBase) -> TokenizedSplits:
        """The splits as token ids."""
        total = sum(len(part) for _, part in self.data.splits)
        with self.progress.bar("tokenising", total=total, unit="texts") as bar:
            return tokenize_splits(
                self.data.splits, tokenizer, self.recipe.data.max_length, bar.advance, self.cache_folder
            )

    def distillation_set(self, tokenizer: PreTrainedTokenizerBase, train: TokenizedDataset) -> TokenizedDataset:
        """The train rows and, behind them, those without labels, as token ids."""
        if self.data.unlabelled is None:
            return train
        rows = self.data.unlabelled.rows
        with self.progress.bar("tokenising", total=len(rows), unit="texts") as bar:
            more = tokenize(rows, tokenizer, self.recipe.data.max_length, bar.advance, self.cache_folder)
        return train.followed_by(more)

    def training(self, config: TrainingConfig, stage: str, *, title: str = "", steps: int = 0) -> dict[str, Any]:
        """Keyword arguments that every training takes.

        Args:
            config: a section ``training``.
            stage: a stage, or a part of one.
            title: what progress and trackers call it; default: its name.
            steps: those of the parts before.
        """
        return {
            **config.model_dump(),
            "seed": self.recipe.run.seed,
            "accelerator": self.accelerator,
            "evaluation_batch_size": self.recipe.evaluation.batch_size,
            "metrics": self.run.metrics(stage),
            "log_every": self.recipe.run.log_every,
            "checkpoint": self.run.checkpoint(stage),
            "steps_before": self.run.steps_before(stage.partition("/")[0]) + steps,
            "compile_backend": "inductor" if self.recipe.run.fast else None,
            "progress": self.progress,
            "title": title or stage,
        }

    def scores(
        self,
        model: Any,
        data: TokenizedDataset,
        *,
        predictions: np.ndarray | None = None,
        teacher_labels: np.ndarray | None = None,
    ) -> Scores:
        """Measure a model (or given predictions) on a data set."""
        if predictions is None:
            predictions = self.predict(model, data)
        evaluation = self.recipe.evaluation
        return score(
            predictions,
            data.label_ids,
            data.domain_ids,
            domains=data.source.domains,
            num_labels=len(data.source.labels),
            teacher_predictions=teacher_labels,
            bootstrap=evaluation.bootstrap,
            confidence=evaluation.confidence,
            seed=self.recipe.run.seed,
        )

    def predict(self, model: Any, data: TokenizedDataset) -> np.ndarray:
        """Predicted label ids, shape (rows,)."""
        model.to(self.accelerator.device)
        size = self.recipe.evaluation.batch_size
        labels: np.ndarray = predict_logits(model, data, batch_size=size, progress=self.progress).argmax(axis=1)
        return labels

    def ask(self, teacher: AnyTeacher, data: TokenizedDataset) -> np.ndarray:
        """The same of a teacher, which many runs ask about the same rows: its answers are kept in the cache."""
        logits = teacher_logits(
            teacher,
            data,
            rules=cache_rules(self.recipe.cache),
            device=self.accelerator.device,
            batch_size=self.recipe.evaluation.batch_size,
            progress=self.progress,
        )
        labels: np.ndarray = logits.argmax(axis=1)
        return labels


@dataclass(frozen=True)
class Staged:
    """A finished stage: its model and the record of its training."""

    model: MultiDomainClassifier
    record: dict[str, Any]


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
        return self.model.encoders[0] if isinstance(self.model, DomainTeachers) else self.model.encoder


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
        _make_model(job, "teacher", made_with, make)
    else:
        _make(job, "teacher", made_with, make_parts)
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

        records[domain] = _make_model(job, part, {**made_with, "domain": domain}, make)
    if job.accelerator.is_main_process:
        folder = job.run.stage("teacher")
        write_json(folder / "training.json", _of_all_domains(records))
        write_domain_folders(folder, names)
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
    record = None
    if folder is None and config.fine_tuned is not None:
        source = config.fine_tuned
        for each in [source] if isinstance(source, str) else source.values():
            _check_not_seen(job, Path(each))
    else:
        folder = folder or job.run.stage("teacher")
        source = str(folder)
        _check_made_for(job, folder)
        record = read_json(folder / "training.json", what="the record of the teacher's training")
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


def distil_student(job: Job, teacher: Teacher) -> Staged:
    """Build the student and distil the teacher into it, unless that is done; with two stages, the levels come first."""
    recipe = job.recipe

    def make() -> Made:
        record: dict[str, Any] = {}
        if recipe.method.stages == "two":
            levels = _distil_levels(job, teacher)
            started, layer_map = StartedStudent(levels.model, None, "levels"), levels.record["layer_map"]
            record["levels"] = training_cost(levels.record)
        else:
            started, layer_map = _start_student(job, teacher)
        best = BestPerDomain(
            started.model,
            teacher.data.test,
            job.run.notes("student"),
            batch_size=recipe.evaluation.batch_size,
            resume=job.run.checkpoint("student").is_dir(),
            writes=job.accelerator.is_main_process,
        )
        choices: dict[str, Any] = {"best_per_domain": best, **(LOGITS_ALONE if record else {})}
        history = _distil(job, teacher, "student", started, layer_map, epochs=recipe.student_epochs[1], **choices)
        return (
            started.model,
            teacher.tokenizer,
            history,
            {"best_per_domain": best.state, "layer_map": layer_map, **record},
        )

    return _stage(job, "student", job.made_with("student", teacher.foreign), make)


def _distil_levels(job: Job, teacher: Teacher) -> Staged:
    """Build the student and distil the teacher's levels into it, without predictions, unless that is done."""

    def make() -> Made:
        started, layer_map = _start_student(job, teacher)
        epochs = job.recipe.student_epochs[0]
        history = _distil(job, teacher, "levels", started, layer_map, epochs=epochs, **LEVELS_ALONE)
        return started.model, teacher.tokenizer, history, {"layer_map": layer_map}

    return _stage(job, "levels", job.made_with("levels", teacher.foreign), make)


def _distil(
    job: Job,
    teacher: Teacher,
    stage: str,
    started: StartedStudent,
    layer_map: Sequence[int],
    *,
    epochs: int,
    **choices: Any,
) -> TrainingHistory:
    """One distillation as the recipe says it, but for the ``choices``."""
    recipe = job.recipe
    for note in started.notes:
        logger.info("%s: %s", stage, note)
    return distill_from_models(
        teacher.model,
        started.model,
        job.distillation_set(teacher.tokenizer, teacher.data.train),
        teacher.data.dev,
        layer_map=layer_map,
        basis=started.basis,
        cache=cache_rules(recipe.cache),
        **recipe.method.model_dump(exclude={"stages", "level_epochs"}) | choices,
        **job.training(recipe.student.training.model_copy(update={"epochs": epochs}), stage),
    )


def fine_tune_baseline(job: Job, teacher: Teacher) -> Staged:
    """The same student, started and trained alike but on labels alone, unless that is done."""

    def make() -> Made:
        model = _start_student(job, teacher)[0].model
        training = job.training(job.recipe.student.training, "baseline")
        history = fine_tune(model, teacher.data.train, teacher.data.dev, **training)
        return model, teacher.tokenizer, history, {}

    return _stage(job, "baseline", job.made_with("baseline", teacher.foreign), make)


def cache_rules(config: CacheConfig) -> CacheRules:
    """The section ``cache`` of a recipe."""
    return CacheRules(cache_folder(config.folder), config.gigabytes, config.precision)


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
        "(teacher.training.epochs, with run.overwrite true or another run.output), or set teacher.allow_weak to go on"
    )


def _stage(job: Job, name: str, made_with: dict[str, Any], make: Callable[[], Made]) -> Staged:
    record = _make_model(job, name, made_with, make)
    model = MultiDomainClassifier.from_pretrained(job.run.stage(name))
    return Staged(model.to(job.accelerator.device), record)


def _make_model(job: Job, name: str, made_with: dict[str, Any], make: Callable[[], Made]) -> dict[str, Any]:
    """Train and write the model of a stage, or of a part of one, unless that is done; the record of its training."""

    def make_folder() -> None:
        model, tokenizer, history, record = make()
        if job.accelerator.is_main_process:
            with replace_folder(job.run.stage(name)) as new:
                model.save_pretrained(new)
                tokenizer.save_pretrained(new)
                write_json(new / "training.json", {**vars(history), "peak_megabytes": peak_megabytes(), **record})
                write_json(new / "stage.json", made_with)

    return _make(job, name, made_with, make_folder)


def _make(job: Job, name: str, made_with: dict[str, Any], make_folder: Callable[[], None]) -> dict[str, Any]:
    """Have the folder of a stage, or of a part of one, made unless it is finished; the record of its training."""
    folder, main = job.run.stage(name), job.accelerator.is_main_process
    if job.run.is_finished(name):
        logger.info("%s: finished before, taken from %s", name, folder)
        if main:
            job.run.end(name)
    else:
        if main:
            job.run.begin(name, made_with)
        job.accelerator.wait_for_everyone()
        make_folder()
        if main:
            job.run.end(name)
        job.accelerator.wait_for_everyone()
    record: dict[str, Any] = read_json(folder / "training.json", what=f"the record of the {name}'s training")
    return record


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


def _weights(source: str | Mapping[str, str]) -> Any:
    if isinstance(source, str):
        folders = domain_folders(source)
        return weights_digest(source) if folders is None else _weights(folders)
    return {domain: weights_digest(folder) for domain, folder in source.items()}


def _check_trackers(names: Sequence[str]) -> None:
    missing = [name for name in names if name not in {str(known.value) for known in get_available_trackers()}]
    if missing:
        raise RecipeError(f"run.trackers: {', '.join(missing)} is not installed; install it or leave it out")


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


def _start_student(job: Job, teacher: Teacher) -> tuple[StartedStudent, tuple[int, ...]]:
    """The student before training, and the teacher layer (from 1) of each of its layers."""
    config, seed = job.recipe.student, job.recipe.run.seed
    set_seed(seed)
    if config.checkpoint is not None:
        started = student_from_checkpoint(config.checkpoint, teacher.model, teacher.tokenizer)
        layers = shape_of(started.model.encoder.config).layers
        return started, resolve_layer_map(config.layer_map, layers, shape_of(teacher.encoder.config).layers)[1:]
    shape = resolve_shape(teacher.encoder.config, **config.size)
    layer_map = resolve_layer_map(config.layer_map, shape.layers, shape_of(teacher.encoder.config).layers)
    train_set = teacher.data.train
    sample = train_set.select(np.random.default_rng(seed).permutation(len(train_set))[:STATES_SAMPLE])
    started = build_student(
        teacher.model,
        shape,
        start="auto" if config.start == "checkpoint" else config.start,
        teacher_layers=config.teacher_layers,
        layer_map=layer_map,
        batches=(batch.to(job.accelerator.device).inputs for batch in length_sorted_batches(sample, 64)),
        seed=seed,
    )
    return started, layer_map[1:]
