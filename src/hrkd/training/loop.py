"""The one training loop, for teacher, student and baselines alike.

What differs is the module handed in: it owns every trained tensor, and its ``forward`` turns a batch into a
:class:`StepOutput`. In reading order: optimiser, schedule, resume; then per epoch the steps, the dev set,
the choice of the best weights, the checkpoint.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from hrkd.data.batching import Batch, MultiDomainLoader
from hrkd.errors import ArtifactError, TrainingError
from hrkd.models.cpu_kernels import compiled_forward, cpu_kernels
from hrkd.recipe.schema import TrainingConfig
from hrkd.support.allocator import STEPS_BETWEEN, give_back
from hrkd.support.messages import first_of
from hrkd.support.stage_files import holds_checkpoint
from hrkd.training.checkpoint import ANEW, load_checkpoint, random_state, save_checkpoint
from hrkd.training.ending import AVERAGE, SecondHalf, is_over, planned_epochs, still_learning
from hrkd.training.prefetch import ahead
from hrkd.training.record import Recorder, StepTables
from hrkd.training.session import Session

__all__ = ["EpochScore", "StepOutput", "Trainable", "TrainingHistory", "train"]

logger = logging.getLogger("hrkd.training")


@dataclass(frozen=True)
class StepOutput:
    """What a step gives back: the loss to descend on (scalar) and the tables to log, if it has any."""

    loss: Tensor
    tables: StepTables | None = None


class Trainable(nn.Module, ABC):
    """What the loop can train: owns every trained tensor, and turns a batch into a loss."""

    @abstractmethod
    def selected(self) -> nn.Module:
        """The part that is evaluated, chosen and saved (such as the student without its fit layers)."""

    @abstractmethod
    def forward(self, batch: Batch) -> StepOutput:
        """The loss of one batch."""

    def prepare(self, batch: Batch) -> None:
        """Called while the batch before this one is trained on, in another thread; the batch lies on the processor."""

    def begin_epoch(self) -> None:
        """Called before the first step of an epoch: what is remembered from here on is not in a checkpoint."""

    def before_update(self, optimizer: torch.optim.Optimizer) -> None:
        """Called once gradients are clipped: the place for gradients that do not come from the loss."""

    def own_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the optimiser with a learning rate (``lr``) of their own.

        A parameter in them that needs no gradient by itself is trained with those that :meth:`before_update` gives it.
        """
        return []


@dataclass(frozen=True)
class EpochScore:
    """The score of an epoch: that of the highest ``selection`` is kept; ``details`` are recorded.

    Of equal ones that of the lower ``loss`` on the same rows is kept, and of the same loss the earlier.
    ``standard_error`` is that of ``selection``, 0 where it has none; ``note`` ends the epoch's line in the log.
    """

    selection: float
    details: dict[str, float] = field(default_factory=dict)
    note: str = ""
    standard_error: float = 0.0
    loss: float = 0.0


@dataclass
class TrainingHistory:
    """One entry per epoch, which epoch was best (counted from 1), its score, and the steps done so far.

    ``average``: the score of the averaged weights, how many ``updates`` they are the mean of, and whether they were
    ``kept``; ``still_learning``: what says that the training was over too early.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = float("-inf")
    best_loss: float = float("inf")
    steps: int = 0
    average: dict[str, Any] | None = None
    still_learning: str = ""


def train(
    module: Trainable,
    loader: MultiDomainLoader,
    *,
    settings: TrainingConfig,
    evaluate: Callable[[int], EpochScore],
    session: Session,
    recorder: Recorder | None = None,
) -> TrainingHistory:
    """Train ``module`` (see :class:`Trainable`) and leave the weights of its best epoch, or their average, in it.

    Args:
        loader: gives the batches of an epoch.
        settings: epochs, learning rate and the like; ``batch_size`` and ``group_by_length`` are the loader's matter.
        evaluate: called with the epoch (from 1) after each, and with :data:`hrkd.training.ending.AVERAGE` for averaged
            weights; the highest selection score is kept.
        session: device, files, progress.
        recorder: where step tables go.

    Raises:
        TrainingError: a loss, a gradient, a weight or a score is not finite; fp16 overflowed in every step.
        ArtifactError: the checkpoint is damaged, or cannot be written.
    """
    training = _Training(module, loader, settings, session, recorder)
    training.resume()
    while not training.is_over:
        epoch, start = len(training.history.epochs) + 1, time.monotonic()
        loss = training.run_epoch(epoch)
        training.check_finite(epoch)
        score = evaluate(epoch)
        training.end_epoch(epoch, loss, score, time.monotonic() - start)
        if not training.is_over:
            training.save()
    training.check_updated()
    training.score_average(evaluate)
    training.tell_end()
    module.selected().load_state_dict(training.best)
    session.accelerator.free_memory()  # it would keep module and optimiser for as long as it lives
    return training.history


class _Training:
    """A training under way: what a checkpoint holds, and the steps from one to the next."""

    def __init__(
        self,
        module: Trainable,
        loader: MultiDomainLoader,
        settings: TrainingConfig,
        session: Session,
        recorder: Recorder | None,
    ) -> None:
        self.module, self.loader, self.settings, self.session = module, loader, settings, session
        accelerator = session.accelerator
        self.logs = _Logs(session, recorder)
        optimizer = torch.optim.AdamW(
            parameter_groups(module, settings.weight_decay), lr=settings.learning_rate, fused=True
        )
        self.epochs = planned_epochs(settings, len(loader))
        if self.epochs > settings.epochs:
            logger.info(
                "%s: %d epochs, not %d: training.min_steps asks for %d steps",
                session.title, self.epochs, settings.epochs, settings.min_steps,
            )  # fmt: skip
        updates = -(-len(loader) // settings.gradient_accumulation) * self.epochs
        self.scheduler = get_linear_schedule_with_warmup(optimizer, round(settings.warmup * updates), updates)
        self.kernels = _kernels(module, session)
        self.prepared, self.optimizer = accelerator.prepare(module, optimizer)
        if accelerator.scaler is not None:  # it would go on with the scale of an earlier training
            accelerator.scaler.load_state_dict(torch.amp.GradScaler(accelerator.device.type).state_dict())
        self.history = TrainingHistory()
        self.best: dict[str, Tensor] = {}
        self.average = SecondHalf(module.selected(), updates) if settings.average_weights else None

    @property
    def is_over(self) -> bool:
        """Whether there is no further epoch."""
        history = self.history
        return is_over(len(history.epochs), history.best_epoch, self.epochs, self.settings.patience)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        folder, accelerator = self.session.checkpoint, self.session.accelerator
        if folder is None or not holds_checkpoint(folder):
            return
        trained = self.module, self.optimizer.optimizer, self.scheduler
        state, self.best = load_checkpoint(
            folder, *trained, process_index=accelerator.process_index, scaler=accelerator.scaler
        )
        if self.average is not None:
            self.average.restore(self.best)
        self.history = history_of(state, folder)
        logger.info("%s: going on after epoch %d of %d", self.session.title, len(self.history.epochs), self.epochs)

    def run_epoch(self, epoch: int) -> float:
        """All steps of an epoch; returns their mean loss.

        Raises:
            TrainingError: the loss or the gradients are no longer finite.
        """
        self.prepared.train()
        self.module.begin_epoch()
        total, title = 0.0, f"{self.session.title} {epoch}/{self.epochs}"
        batches = _groups(self.module, self.loader, epoch, self.settings.gradient_accumulation)
        with self.session.progress.bar(title, total=len(self.loader), unit="steps") as bar:
            for step, (batch, share, last_of_group) in enumerate(batches, self.history.steps + 1):
                loss = self._step(step, batch, share, last_of_group)
                total += loss
                if step % STEPS_BETWEEN == 0:
                    give_back()
                bar.advance(note=f"loss {loss:.3f}")
        return total / len(self.loader)

    def _step(self, step: int, batch: Batch, share: float, last_of_group: bool) -> float:
        """Gradients of one batch and, with the ``last_of_group``, an update; returns the loss."""
        accelerator = self.session.accelerator
        with nullcontext() if last_of_group else accelerator.no_sync(self.prepared):
            with self.kernels():
                output: StepOutput = self.prepared(batch.to(accelerator.device))
            accelerator.backward(output.loss * share)
        loss = output.loss.item()
        if not math.isfinite(loss):
            raise self._error(f"the loss is not finite at step {step}")
        rate = self.scheduler.get_last_lr()[0]
        norm = self._update(step) if last_of_group else math.nan
        self.logs.step(step, {"loss": loss, "learning_rate": rate, "gradient_norm": norm}, output.tables)
        return loss

    def _update(self, step: int) -> float:
        """Change the weights; returns the norm that the gradients had."""
        accelerator = self.session.accelerator
        norm = float(accelerator.clip_grad_norm_(self.module.parameters(), self.settings.max_grad_norm))
        if accelerator.scaler is None and not math.isfinite(norm):
            raise self._error(f"the gradients are not finite at step {step}")
        self.module.before_update(self.optimizer)
        # Accelerate does not notice that a fused optimiser skips a step; the scale, which then falls, tells.
        scale = None if accelerator.scaler is None else accelerator.scaler.get_scale()
        self.optimizer.step()
        if scale is None or accelerator.scaler.get_scale() >= scale:
            self.scheduler.step()
            if self.average is not None:
                self.average.add(self.module.selected(), self.scheduler.last_epoch)
        self.optimizer.zero_grad()
        return norm

    def check_finite(self, epoch: int) -> None:
        """Whether everything that was trained is finite after an epoch: before it is looked at, kept or saved.

        Raises:
            TrainingError: a tensor is not; names it.
        """
        state: dict[str, Any] = dict(self.module.named_parameters())
        for index, slots in self.optimizer.optimizer.state_dict()["state"].items():
            state |= {f"optimiser state {index}.{name}": value for name, value in slots.items()}
        bad = [name for name, value in state.items() if isinstance(value, Tensor) and not value.isfinite().all()]
        if bad:
            raise self._error(
                f"{len(bad)} of {len(state)} tensors are not finite after epoch {epoch} ({first_of(bad)})"
            )

    def check_updated(self) -> None:
        """Whether any step changed the weights.

        Raises:
            TrainingError: the gradients of all overflowed.
        """
        if self.session.accelerator.scaler is not None and self.scheduler.last_epoch == 0:
            raise self._error("the gradients of every step overflowed, so that nothing was learnt")

    def _error(self, problem: str) -> TrainingError:
        """What went wrong in this training, and what to try."""
        precision, rates = self.session.accelerator.mixed_precision, [self.settings.learning_rate]
        rates += [group["lr"] for group in self.module.own_groups()]
        advice = "" if precision == "no" else f", or run.precision: no instead of {precision}"
        return TrainingError(
            f"{self.session.title}: {problem}; try a lower learning rate than "
            f"{' and '.join(f'{rate:g}' for rate in rates)}{advice}"
        )

    def end_epoch(self, epoch: int, loss: float, score: EpochScore, seconds: float) -> None:
        """Note what came of an epoch, and keep its weights if it is the best so far."""
        history = self.history
        if not math.isfinite(score.selection):
            raise self._error(f"the score of epoch {epoch} is {score.selection}, and chooses no epoch")
        entry = {
            "epoch": epoch,
            "loss": loss,
            "selection": score.selection,
            "seconds": round(seconds, 1),
            **({"selection_loss": score.loss, "standard_error": score.standard_error} if score.loss else {}),
            **score.details,
        }
        history.epochs.append(entry)
        history.steps += len(self.loader)
        if self._is_better(score):
            history.best_epoch, history.best_score, history.best_loss = epoch, score.selection, score.loss
            self.best = {k: v.detach().cpu().clone() for k, v in self.module.selected().state_dict().items()}
        self.logs.epoch(history.steps, entry)
        logger.info("%s: epoch %d/%d, loss %.4f%s", self.session.title, epoch, self.epochs, loss, score.note)

    def _is_better(self, score: EpochScore, *, or_as_good: bool = False) -> bool:
        """Whether weights of this score are to be kept in the place of the best ones so far."""
        ours, best = (score.selection, -score.loss), (self.history.best_score, -self.history.best_loss)
        return ours > best or (or_as_good and ours == best)

    def score_average(self, evaluate: Callable[[int], EpochScore]) -> None:
        """Score the averaged weights, and keep them if they are no worse than the best epoch's."""
        if self.average is None or not self.average.updates:
            return
        weights, history = self.average.weights(), self.history
        self.module.selected().load_state_dict(weights)
        score = evaluate(AVERAGE)
        kept = self._is_better(score, or_as_good=True)
        history.average = {
            "selection": score.selection, "updates": self.average.updates, "kept": kept, **score.details
        }  # fmt: skip
        if kept:
            self.best, history.best_score, history.best_loss = weights, score.selection, score.loss
        title, updates, what = self.session.title, self.average.updates, "kept" if kept else "not kept"
        logger.info("%s: mean weights of the last %d updates%s: %s", title, updates, score.note, what)

    def tell_end(self) -> None:
        """Say why the training ended before its time, or that it should not have ended yet."""
        history, title = self.history, self.session.title
        if len(history.epochs) < self.epochs:
            logger.info(
                "%s: ends after epoch %d of %d, as dev has not risen since epoch %d (patience: %d)",
                title, len(history.epochs), self.epochs, history.best_epoch, self.settings.patience,
            )  # fmt: skip
            return
        history.still_learning = still_learning(history.epochs)
        if history.still_learning:
            logger.warning(
                "%s: was still learning at its end: %s; raise training.epochs, or training.min_steps beyond %d",
                title, history.still_learning, history.steps,
            )  # fmt: skip

    def save(self) -> None:
        """Write a checkpoint, if there is a folder for it."""
        accelerator = self.session.accelerator
        drawn = gather_object([random_state()])
        if accelerator.is_main_process and self.session.checkpoint is not None:
            if self.session.before_saving is not None:
                self.session.before_saving()
            save_checkpoint(
                self.session.checkpoint,
                self.module,
                self.optimizer.optimizer,
                self.scheduler,
                progress=vars(self.history),
                tensors=self.best | ({} if self.average is None else self.average.state()),
                random_states=drawn,
                scaler=accelerator.scaler,
            )


def history_of(state: Mapping[str, Any], folder: Path) -> TrainingHistory:
    """The history that the checkpoint in ``folder`` holds.

    Raises:
        ArtifactError: it is none.
    """
    try:
        history = TrainingHistory(**state)
        sound = len(history.epochs) >= history.best_epoch > 0 and history.steps > 0
        sound = sound and type(history.best_epoch) is int and type(history.steps) is int
        sound = sound and all({"epoch", "selection", "seconds"} <= each.keys() for each in history.epochs)
        sound = sound and isinstance(history.best_score, float) and isinstance(history.best_loss, float | int)
    except (TypeError, AttributeError):
        sound = False
    if not sound:
        raise ArtifactError(f"{folder}: the history in this checkpoint is damaged; {ANEW}")
    return history


class _Logs:
    """Step tables on disk, and what trackers are told."""

    def __init__(self, session: Session, recorder: Recorder | None) -> None:
        self.session, self.recorder = session, recorder

    def step(self, step: int, values: Mapping[str, float], tables: StepTables | None) -> None:
        """The figures of one step."""
        recorder = self.recorder
        if recorder is not None and self.session.accelerator.is_main_process:
            recorder.add(step, values, tables)
        if self.session.accelerator.trackers and (recorder is None or recorder.is_logged(step)):
            self._track("", values if recorder is None else {**values, **recorder.scalars(tables)}, step)

    def epoch(self, step: int, entry: Mapping[str, float]) -> None:
        """The figures of an epoch that ends with ``step``."""
        self._track("/epoch", entry, step)
        if self.recorder is not None and self.session.accelerator.is_main_process:
            self.recorder.end_epoch(int(entry["epoch"]))

    def _track(self, below: str, values: Mapping[str, float], step: int) -> None:
        known = {f"{self.session.title}{below}/{name}": value for name, value in values.items() if value == value}
        self.session.accelerator.log(known, step=self.session.steps_before + step)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Every trainable tensor of ``module`` once: with weight decay, but for vectors and biases of any shape.

    Last come the groups that a :class:`Trainable` has for itself, as they are.

    Raises:
        TrainingError: nothing is trainable.
    """
    own = module.own_groups() if isinstance(module, Trainable) else []
    apart = {id(parameter) for group in own for parameter in group["params"]}
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad and id(p) not in apart}
    if not trained:
        raise TrainingError("the module has no trainable tensor")
    decayed = {name for name, p in trained.items() if p.ndim > 1 and name.rpartition(".")[2] != "bias"}
    return [
        {"params": [p for name, p in trained.items() if name in decayed], "weight_decay": weight_decay},
        {"params": [p for name, p in trained.items() if name not in decayed], "weight_decay": 0.0},
        *own,
    ]


def _kernels(module: Trainable, session: Session) -> Callable[[], AbstractContextManager[object]]:
    """The context of a step's forward pass."""
    if session.compile_backend is None:
        return partial(cpu_kernels, session.accelerator.device)
    selected = module.selected()
    encoder = cast(nn.Module, getattr(selected, "encoder", selected))
    compiled = torch.compile(encoder.forward, dynamic=True, backend=session.compile_backend)
    return partial(compiled_forward, encoder, compiled)


def _groups(module: Trainable, loader: MultiDomainLoader, epoch: int, size: int) -> Iterator[tuple[Batch, float, bool]]:
    """Batches of an epoch with their share of an optimiser step and whether they are the last of its group."""

    def prepared() -> Iterator[Batch]:
        for batch in loader.epoch(epoch - 1):
            module.prepare(batch)
            yield batch

    for number, batch in enumerate(ahead(prepared())):
        start = number - number % size
        members = min(size, len(loader) - start)
        yield batch, 1 / members, number == start + members - 1
