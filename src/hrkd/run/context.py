"""What all stages of a run share: recipe, data, folder, device; and how a stage is made, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from transformers import PreTrainedTokenizerBase

from hrkd.data.batching import TokenizedDataset, tokenize
from hrkd.data.describe import describe
from hrkd.data.splits.split import save_split_ids
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import RecipeError
from hrkd.models.domain_teachers import AnyTeacher
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.recipe.loading import recipe_to_yaml
from hrkd.recipe.schema import CacheConfig, Recipe, TrainingConfig
from hrkd.run.folder import Run, peak_megabytes, weights_digest
from hrkd.run.prepare import PreparedData, TokenizedSplits, prepare_data, tokenize_splits
from hrkd.support.atomic_files import read_json, replace_folder, write_json
from hrkd.support.caches import cache_folder
from hrkd.support.domain_index import domain_folders
from hrkd.support.progress import Progress, Show, quiet
from hrkd.training.evaluate import predict_logits
from hrkd.training.loop import TrainingHistory
from hrkd.training.metrics import Scores, score
from hrkd.training.teacher_cache.source import CacheRules, teacher_logits
from hrkd.training.trainers import check_meta_teacher, weights_of_domains

__all__ = [
    "Job",
    "Made",
    "Show",
    "Staged",
    "cache_rules",
    "make_folder_of",
    "make_model",
    "make_stage",
    "quiet",
]

logger = logging.getLogger("hrkd")

Made = tuple[MultiDomainClassifier, PreTrainedTokenizerBase, TrainingHistory, dict[str, Any]]
"""A trained model, its tokenizer, its training, and what else goes to the record of that."""


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
            DataError: a meta-teacher, and one domain; a weight for a domain that there is not.
            RecipeError: a tracker is not installed.
        """
        _check_trackers(self.recipe.run.trackers)
        if self.recipe.teacher.meta_kd:
            check_meta_teacher(self.data.splits.domains)
        weights_of_domains(self.recipe.method.domain_weights, self.data.splits.domains)
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
            **recipe.decides_weights(stage),
            "data": self.data.digest(),
            "teacher_weights": [_weights(source) for source in sources if source is not None],
            "processes": self.accelerator.num_processes,
        }
        if stage == "teacher":
            return made_with
        if teacher_folder is not None:
            made_with |= {"teacher": str(teacher_folder), "teacher_weights": [_weights(str(teacher_folder))]}
        checkpoint = recipe.student.checkpoint
        made_with["student_weights"] = None if checkpoint is None else _weights(checkpoint)
        if stage in ("levels", "student"):
            made_with["unlabelled"] = self.data.unlabelled_digest
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


def make_stage(job: Job, name: str, made_with: dict[str, Any], make: Callable[[], Made]) -> Staged:
    """A stage that is one model: trained and written unless that is done, then loaded."""
    record = make_model(job, name, made_with, make)
    model = MultiDomainClassifier.from_pretrained(job.run.stage(name))
    return Staged(model.to(job.accelerator.device), record)


def make_model(job: Job, name: str, made_with: dict[str, Any], make: Callable[[], Made]) -> dict[str, Any]:
    """Train and write the model of a stage, or of a part of one, unless that is done; the record of its training."""

    def make_folder() -> None:
        model, tokenizer, history, record = make()
        if job.accelerator.is_main_process:
            with replace_folder(job.run.stage(name)) as new:
                model.save_pretrained(new)
                tokenizer.save_pretrained(new)
                write_json(new / "training.json", {**vars(history), "peak_megabytes": peak_megabytes(), **record})
                write_json(new / "stage.json", made_with)

    return make_folder_of(job, name, made_with, make_folder)


def make_folder_of(job: Job, name: str, made_with: dict[str, Any], make_folder: Callable[[], None]) -> dict[str, Any]:
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


def cache_rules(config: CacheConfig) -> CacheRules:
    """The section ``cache`` of a recipe."""
    return CacheRules(cache_folder(config.folder), config.gigabytes, config.precision)


def _weights(source: str | Mapping[str, str]) -> Any:
    if isinstance(source, str):
        folders = domain_folders(source)
        return weights_digest(source) if folders is None else _weights(folders)
    return {domain: weights_digest(folder) for domain, folder in source.items()}


def _check_trackers(names: Sequence[str]) -> None:
    missing = [name for name in names if name not in {str(known.value) for known in get_available_trackers()}]
    if missing:
        raise RecipeError(f"run.trackers: {', '.join(missing)} is not installed; install it or leave it out")
