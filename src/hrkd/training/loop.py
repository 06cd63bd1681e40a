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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
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
from hrkd.support.messages import first_line, first_of
from hrkd.support.signals import signals_held
from hrkd.support.stage_files import checkpoints_in
from hrkd.training.advice import train_longer
from hrkd.training.checkpoint import ANEW, DAMAGE, load_checkpoint, random_state, save_checkpoint, set_random_state
from hrkd.training.culprits import cells_not_finite, rows_not_finite
from hrkd.training.ending import AVERAGE, SecondHalf, ended_by, is_over, planned_epochs, still_learning
from hrkd.training.memory import BeforeStep, cut_into, is_lack_of_memory
from hrkd.training.prefetch import ahead
from hrkd.training.record import Recorder, StepTables
from hrkd.training.session import Session
from hrkd.training.together import summed
from hrkd.training.watch import phase

__all__ = ["EpochScore", "StepOutput", "Trainable", "TrainingHistory", "train"]

logger = logging.getLogger("hrkd.training")


@dataclass(frozen=True)
class StepOutput:
    """What a batch gives back: its part of the loss to descend on, and the tables to log, if there are any.

    ``loss`` (scalar) is what the batch adds to the loss of its update, whose batches, in all processes, make up the
    whole; ``tables`` are those of the whole update.
    """

    loss: Tensor
    tables: StepTables | None = None


class Trainable(nn.Module, ABC):
    """What the loop can train: owns every trained tensor, and turns a batch into a loss."""

    @abstractmethod
    def selected(self) -> nn.Module:
        """The part that is evaluated, chosen and saved (such as the student without its fit layers)."""

    @abstractmethod
    def forward(self, batch: Batch) -> StepOutput:
        """What one batch adds to the loss of its update."""

    def prepare(self, batch: Batch) -> None:
        """Called while the update before this one is trained on, in another thread; the batch lies on the processor."""

    def begin_epoch(self) -> None:
        """Called before the first step of an epoch: what was remembered of the one before is to be forgotten."""

    def recall(self, batches: Sequence[Batch]) -> None:
        """Called where a training goes on within an epoch, with the batches of the update before."""

    def begin_update(self, batches: Sequence[Batch]) -> None:
        """Called before the first forward pass of an update, with all its batches of this process."""

    def undone(self) -> None:
        """Called where an update is made once more, with its buffers as they were before it: forget the rest of it."""

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
    ``kept``; ``still_learning``: what says that the training was over too early; ``ended_by``: the field that ended it.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = float("-inf")
    best_loss: float = float("inf")
    steps: int = 0
    average: dict[str, Any] | None = None
    still_learning: str = ""
    ended_by: str = ""


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
        ArtifactError: the checkpoints are damaged, or one cannot be written.
        KeyboardInterrupt: an interrupt or a termination came; the step was finished and a checkpoint written before.
    """
    training = _Training(module, loader, settings, session, recorder)
    training.resume()
    while not training.is_over:
        epoch = len(training.history.epochs) + 1
        training.run_epoch(epoch)
        training.check_finite()
        training.end_epoch(epoch, training.score(evaluate, epoch))
        if not training.is_over:
            training.save()
    training.check_updated()
    training.score_average(evaluate)
    training.tell_end()
    module.selected().load_state_dict(training.best)
    session.accelerator.free_memory()  # it would keep module and optimiser for as long as it lives
    return training.history


@dataclass
class Position:
    """Where a training stands within an epoch: ``steps`` of it are done, with the sum of their losses and seconds."""

    steps: int = 0
    loss: float = 0.0
    seconds: float = 0.0


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
        optimizer = torch.optim.AdamW(parameter_groups(module, settings.weight_decay), lr=settings.rate, fused=True)
        self.epochs = planned_epochs(settings, len(loader))
        if self.epochs != settings.epochs:
            asked = "min_steps asks for" if self.epochs > settings.epochs else "max_steps allows"
            steps = settings.min_steps if self.epochs > settings.epochs else settings.max_steps
            logger.info(
                "%s: %d epochs, not %d: training.%s %d steps",
                session.title, self.epochs, settings.epochs, asked, steps,
            )  # fmt: skip
        updates = len(loader) * self.epochs
        self.scheduler = get_linear_schedule_with_warmup(optimizer, round(settings.warmup * updates), updates)
        self.kernels = _kernels(module, session)
        self.prepared, self.optimizer = accelerator.prepare(module, optimizer)
        if accelerator.scaler is not None:  # it would go on with the scale of an earlier training
            accelerator.scaler.load_state_dict(torch.amp.GradScaler(accelerator.device.type).state_dict())
        self.history = TrainingHistory()
        self.position = Position()
        self.parts, self.has_collapsed = 1, False
        self.last_save = time.monotonic()
        self.best: dict[str, Tensor] = {}
        self.average = SecondHalf(module.selected(), updates) if settings.average_weights else None

    @property
    def is_over(self) -> bool:
        """Whether there is no further epoch."""
        return is_over(self.settings, len(self.loader), len(self.history.epochs), self.history.best_epoch)

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        folder, accelerator = self.session.checkpoint, self.session.accelerator
        if folder is None or not checkpoints_in(folder):
            return
        trained = self.module, self.optimizer.optimizer, self.scheduler
        state, kept = load_checkpoint(
            folder, *trained, process_index=accelerator.process_index, scaler=accelerator.scaler
        )
        self.history, self.position = history_of(state, folder)
        try:
            if self.average is not None:
                self.average.restore(kept)
            self.logs.restore(state.get("record", []), kept)
        except DAMAGE as error:
            raise ArtifactError(f"{folder}: the checkpoint cannot be used ({first_line(error)}); {ANEW}") from error
        if self.position.steps:
            before = next(self.loader.epoch(len(self.history.epochs), start=self.position.steps - 1))
            self.module.recall([batch.to(accelerator.device) for batch in before])
        self.best = kept
        epochs, steps = len(self.history.epochs), self.position.steps
        within = f" and {steps} of the {len(self.loader)} steps of the next" if steps else ""
        logger.info("%s: going on after epoch %d of %d%s", self.session.title, epochs, self.epochs, within)

    def run_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are not done yet.

        Raises:
            TrainingError: the loss or the gradients are no longer finite.
            KeyboardInterrupt: as :func:`train`.
        """
        self.prepared.train()
        position, title = self.position, f"{self.session.title} {epoch}/{self.epochs}"
        if not position.steps:
            self.module.begin_epoch()
        began = time.monotonic() - position.seconds
        updates = _prepared(self.module, self.loader, epoch, position.steps)
        later = (self.epochs - epoch) * len(self.loader)  # fewer where the training ends early
        progress = self.session.progress.bar(title, total=len(self.loader), unit="steps", later=later)
        with phase("step"), self._interrupts() as came, progress as bar:
            if position.steps:
                bar.skip(position.steps)
            for batches in updates:
                step = self.history.steps + position.steps + 1
                loss = self._step(step, batches)
                position.steps, position.loss = position.steps + 1, position.loss + loss
                position.seconds = time.monotonic() - began
                if step % STEPS_BETWEEN == 0:
                    give_back()
                bar.advance(note=f"loss {loss:.3f}")
                if self.session.checkpoint is not None:
                    self._save_if_due(step, came)

    @contextmanager
    def _interrupts(self) -> Iterator[list[int]]:
        """Interrupts wait where a checkpoint can be written; a second one does not."""
        if self.session.checkpoint is None:
            yield []
            return
        with signals_held(once=True) as came:
            yield came

    def _save_if_due(self, step: int, came: list[int]) -> None:
        """Write a checkpoint if it is time for one, or if the process is asked to end, and then end it."""
        run, accelerator = self.session.run, self.session.accelerator
        minutes, steps = run.checkpoint_minutes, run.checkpoint_steps
        due = steps is not None and step % steps == 0
        due = due or (minutes is not None and time.monotonic() - self.last_save >= 60 * minutes)
        asked = bool(came)
        if accelerator.num_processes > 1:  # all of them or none: clocks differ, and signals come to some
            flags = torch.tensor([due, asked], dtype=torch.float, device=accelerator.device)
            due, asked = (accelerator.reduce(flags, "sum") > 0).tolist()
        if asked:
            logger.warning("%s: asked to end; a checkpoint after step %d is written first", self.session.title, step)
        if due or asked:
            self.save()
        if asked:
            raise KeyboardInterrupt

    def score(self, evaluate: Callable[[int], EpochScore], epoch: int) -> EpochScore:
        """The score of an epoch; where that is interrupted, the steps before it are not lost."""
        began, drawn = time.monotonic(), random_state()
        lower = "lower evaluation.batch_size"
        try:
            with phase("evaluation"), self._telling_lack_of_memory("evaluating does not fit into memory", lower):
                score = evaluate(epoch)
        except KeyboardInterrupt:
            if self.session.checkpoint is not None and self.session.accelerator.num_processes == 1:
                set_random_state(drawn)
                self.save()
            raise
        self.position.seconds += time.monotonic() - began
        return replace(
            score,  # in numbers that a checkpoint can hold, whatever a caller's function counts in
            selection=float(score.selection),
            details={name: float(value) for name, value in score.details.items()},
            standard_error=float(score.standard_error),
            loss=float(score.loss),
        )

    def _step(self, step: int, batches: Sequence[Batch]) -> float:
        """Gradients of the batches of an update, and the update; returns the loss."""
        accelerator = self.session.accelerator
        batches = [batch.to(accelerator.device) for batch in batches]
        before, found = BeforeStep.of(self.module, accelerator.device), None
        while found is None:
            try:
                found = self._gradients(cut_into(self.parts, batches) if self.parts > 1 else batches)
            except (MemoryError, RuntimeError) as error:
                if not is_lack_of_memory(error):
                    raise
                self._halve(step, batches, error)
            if found is None:  # not before the error, which holds what was computed, is forgotten
                self.optimizer.zero_grad()
                before.put_back(self.module, accelerator.device)
                self.module.undone()
                give_back()
        loss, tables = found
        if not math.isfinite(loss):
            raise self._error(f"the loss is not finite at step {step}{self._culprits(batches, tables)}")
        rate = self.scheduler.get_last_lr()[0]
        with self._telling_lack_of_memory(
            f"what the optimiser keeps of every weight does not fit into memory at step {step}", "take a smaller model"
        ):
            norm = self._update(step)
        self.logs.step(step, {"loss": loss, "learning_rate": rate, "gradient_norm": norm}, tables)
        return loss

    def _gradients(self, batches: Sequence[Batch]) -> tuple[float, StepTables | None]:
        """The loss of an update, whose gradients the parameters have, and its tables."""
        accelerator, parts = self.session.accelerator, []
        with self.kernels(), accelerator.autocast():
            self.module.begin_update(batches)
        for number, batch in enumerate(batches, 1):
            with nullcontext() if number == len(batches) else accelerator.no_sync(self.prepared):
                with self.kernels():
                    output: StepOutput = self.prepared(batch)
                # Of several processes gradients are means, and parts of a loss add up.
                accelerator.backward(output.loss * accelerator.num_processes)
            parts.append(output.loss.detach())
        return float(summed([torch.stack(parts).sum()], accelerator.device)[0]), output.tables

    @contextmanager
    def _telling_lack_of_memory(self, what: str, advice: str) -> Iterator[None]:
        """What cannot be made smaller here."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            raise TrainingError(f"{self.session.title}: {what} ({first_line(error):.100}); {advice}") from error

    def _halve(self, step: int, batches: Sequence[Batch], error: Exception) -> None:
        """Make steps in twice as many parts from here on: the same rows and loss, half of the memory, other dropout.

        Raises:
            TrainingError: there are no smaller parts, or other processes wait for this one.
        """
        title, rows = self.session.title, max(len(batch.labels) for batch in batches)
        what = f"{title}: step {step} of {rows} rows and {batches[0].mask.shape[1]} tokens does not fit into memory"
        if self.session.accelerator.num_processes > 1 or self.parts >= rows:
            raise TrainingError(
                f"{what} ({first_line(error):.100}); lower training.batch_size, raise training.gradient_accumulation, "
                "or lower data.max_length"
            ) from error
        self.parts *= 2
        logger.warning(
            "%s; made in %d parts from here on: the same rows and loss, and dropout as with "
            "training.gradient_accumulation, which does so at once", what, self.parts,
        )  # fmt: skip

    def _update(self, step: int) -> float:
        """Change the weights; returns the norm that the gradients had."""
        accelerator = self.session.accelerator
        norm = float(accelerator.clip_grad_norm_(self.module.parameters(), self.settings.max_grad_norm))
        if accelerator.scaler is None and not math.isfinite(norm):
            raise self._error(f"the gradients are not finite at step {step}")
        with self._telling_lack_of_memory(
            f"what goes before the update of step {step} does not fit into memory", "lower training.batch_size"
        ):
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

    def check_finite(self) -> None:
        """Whether everything that was trained is finite: before it is looked at, kept or saved.

        Raises:
            TrainingError: a tensor is not; names it.
        """
        state: dict[str, Any] = dict(self.module.named_parameters())
        for index, slots in self.optimizer.optimizer.state_dict()["state"].items():
            state |= {f"optimiser state {index}.{name}": value for name, value in slots.items()}
        bad = [name for name, value in state.items() if isinstance(value, Tensor) and not value.isfinite().all()]
        if bad:
            raise self._error(
                f"{len(bad)} of {len(state)} tensors are not finite after step "
                f"{self.history.steps + self.position.steps} ({first_of(bad)})"
            )

    def check_updated(self) -> None:
        """Whether any step changed the weights.

        Raises:
            TrainingError: the gradients of all overflowed.
        """
        if self.session.accelerator.scaler is not None and self.scheduler.last_epoch == 0:
            raise self._error("the gradients of every step overflowed, so that nothing was learnt")

    def _culprits(self, batches: Sequence[Batch], tables: StepTables | None) -> str:
        """Levels, domains and rows that make a loss not finite."""
        data = self.loader.data
        cells = [] if tables is None else cells_not_finite(tables, data.source.domains)
        told = f" ({first_of(cells)})" if cells else ""
        if self.session.accelerator.num_processes > 1:  # a step of one row would wait for the others
            return told
        return f"{told}; {rows_not_finite(self.module, batches, data)}"

    def _error(self, problem: str) -> TrainingError:
        """What went wrong in this training, and what to try."""
        precision, rates = self.session.accelerator.mixed_precision, [self.settings.rate]
        rates += [group["lr"] for group in self.module.own_groups()]
        advice = "" if precision == "no" else f", or run.precision: no instead of {precision}"
        return TrainingError(
            f"{self.session.title}: {problem}; try a lower learning rate than "
            f"{' and '.join(f'{rate:g}' for rate in rates)}{advice}"
        )

    def end_epoch(self, epoch: int, score: EpochScore) -> None:
        """Note what came of an epoch, and keep its weights if it is the best so far."""
        history = self.history
        if not math.isfinite(score.selection):
            raise self._error(f"the score of epoch {epoch} is {score.selection}, and chooses no epoch")
        entry = {
            "epoch": epoch,
            "loss": self.position.loss / len(self.loader),
            "selection": score.selection,
            "seconds": round(self.position.seconds, 1),
            **({"selection_loss": score.loss, "standard_error": score.standard_error} if score.loss else {}),
            **score.details,
        }
        history.epochs.append(entry)
        history.steps += len(self.loader)
        if self._is_better(score):
            history.best_epoch, history.best_score, history.best_loss = epoch, score.selection, score.loss
            self.best = {k: v.detach().cpu().clone() for k, v in self.module.selected().state_dict().items()}
        self.position = Position()
        self._warn_of_collapse()
        self.logs.epoch(history.steps, entry)
        logger.info("%s: epoch %d/%d, loss %.4f%s", self.session.title, epoch, self.epochs, entry["loss"], score.note)

    def _warn_of_collapse(self) -> None:
        """Say once where one domain has taken nearly all of a level's weight."""
        found = [] if self.has_collapsed else self.logs.collapsed()
        if found:
            self.has_collapsed = True
            logger.warning(
                "%s: the domain ratios have collapsed: %s; the other domains hardly count there. Raise "
                "method.entropy_weight, or set method.graph: uniform", self.session.title, first_of(found),
            )  # fmt: skip

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
        score = self.score(evaluate, AVERAGE)
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
        history.ended_by = ended_by(self.settings, len(self.loader), len(history.epochs))
        if history.ended_by == "patience":
            logger.info(
                "%s: ends after epoch %d of %d, as dev has not risen since epoch %d (patience: %d)",
                title, len(history.epochs), self.epochs, history.best_epoch, self.settings.patience,
            )  # fmt: skip
            return
        history.still_learning = still_learning(history.epochs)
        if history.still_learning:
            logger.warning(
                "%s: was still learning at its end: %s; %s",
                title, history.still_learning, train_longer("training", vars(history)),
            )  # fmt: skip

    @phase("save")
    def save(self) -> None:
        """Write a checkpoint, if there is a folder for it."""
        accelerator, folder = self.session.accelerator, self.session.checkpoint
        self.check_finite()
        drawn = gather_object([random_state()])
        self.last_save = time.monotonic()
        if folder is None or not accelerator.is_main_process:
            return
        if self.session.before_saving is not None:
            self.session.before_saving()
        record, tensors = self.logs.state()
        tensors |= self.best | ({} if self.average is None else self.average.state())
        save_checkpoint(
            folder,
            self.module,
            self.optimizer.optimizer,
            self.scheduler,
            step=self.history.steps + self.position.steps,
            progress={"history": vars(self.history), "position": vars(self.position), "record": record},
            tensors=tensors,
            random_states=drawn,
            scaler=accelerator.scaler,
        )


def history_of(state: Mapping[str, Any], folder: Path) -> tuple[TrainingHistory, Position]:
    """The history that the checkpoint in ``folder`` holds, and where in an epoch it was written.

    Raises:
        ArtifactError: it holds none.
    """
    try:
        history, position = TrainingHistory(**state["history"]), Position(**state["position"])
        epochs = len(history.epochs)
        counts = (history.best_epoch, history.steps, position.steps)
        sound = all(type(count) is int and count >= 0 for count in counts)
        sound = sound and epochs >= history.best_epoch >= min(1, epochs) and history.steps + position.steps > 0
        sound = sound and all({"epoch", "selection", "seconds"} <= each.keys() for each in history.epochs)
        sound = sound and isinstance(history.best_score, float) and isinstance(history.best_loss, float | int)
        sound = sound and all(isinstance(value, float | int) for value in (position.loss, position.seconds))
    except (TypeError, LookupError, AttributeError):
        sound = False
    if not sound:
        raise ArtifactError(f"{folder}: the history in this checkpoint is damaged; {ANEW}")
    return history, position


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

    def collapsed(self) -> list[str]:
        """Levels of which one domain has nearly all."""
        return [] if self.recorder is None else self.recorder.collapsed()

    def state(self) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        """What of an unfinished epoch is not on disk yet."""
        return ([], {}) if self.recorder is None else self.recorder.state()

    def restore(self, steps: list[dict[str, float]], tensors: dict[str, Tensor]) -> None:
        """Take what :meth:`state` gave, out of ``tensors``."""
        if self.recorder is not None:
            self.recorder.restore(steps, tensors)

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


def _prepared(module: Trainable, loader: MultiDomainLoader, epoch: int, start: int) -> Iterator[tuple[Batch, ...]]:
    """The batches of the steps of an epoch from ``start`` on, each step's made while the one before it is in use."""

    def prepared() -> Iterator[tuple[Batch, ...]]:
        for batches in loader.epoch(epoch - 1, start=start):
            for batch in batches:
                module.prepare(batch)
            yield batches

    return ahead(prepared())
