"""The one training loop, for teacher, student and baselines alike.

What differs is the module handed in: it owns every trained tensor, and its ``forward`` turns a batch into a
:class:`StepOutput`. In reading order: optimiser, schedule, resume; then per epoch the steps, the dev set,
the choice of the best weights, the checkpoint.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from hrkd.data.batching import Batch, MultiDomainLoader
from hrkd.errors import TrainingError
from hrkd.models.cpu_kernels import compiled_forward, cpu_kernels
from hrkd.support.allocator import STEPS_BETWEEN, give_back
from hrkd.support.progress import Progress
from hrkd.training.checkpoint import load_checkpoint, random_state, save_checkpoint
from hrkd.training.prefetch import ahead
from hrkd.training.record import Recorder, StepTables

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
    """What is said of an epoch: that of the highest ``selection`` is kept; ``details`` are recorded.

    ``said`` ends the epoch's line in the log.
    """

    selection: float
    details: dict[str, float] = field(default_factory=dict)
    said: str = ""


@dataclass
class TrainingHistory:
    """One entry per epoch, which epoch was best (counted from 1), and the steps done so far."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = float("-inf")
    steps: int = 0


def train(
    module: Trainable,
    loader: MultiDomainLoader,
    *,
    evaluate: Callable[[int], EpochScore],
    accelerator: Accelerator,
    epochs: int = 3,
    learning_rate: float = 5e-5,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    max_grad_norm: float = 1.0,
    gradient_accumulation: int = 1,
    recorder: Recorder | None = None,
    checkpoint: Path | None = None,
    steps_before: int = 0,
    compile_backend: str | None = None,
    progress: Progress | None = None,
    title: str = "training",
) -> TrainingHistory:
    """Train ``module`` (see :class:`Trainable`) and leave the weights of its best epoch in it.

    Args:
        loader: gives the batches of an epoch.
        evaluate: called with the epoch (from 1) after each; the highest selection score is kept.
        accelerator: device, precision, processes, trackers.
        checkpoint: folder for exact resume after a kill; the caller removes it once the result is saved.
        recorder: where step tables go.
        compile_backend: compile the encoder that is trained with this backend of torch.compile; default: not at all.
        steps_before: added to the step that trackers are told, for trainings that share one tracker.

    Raises:
        TrainingError: the loss is no longer finite.
        ArtifactError: the checkpoint is damaged.
    """
    progress = progress or Progress(False)
    optimizer = torch.optim.AdamW(parameter_groups(module, weight_decay), lr=learning_rate, fused=True)
    updates = -(-len(loader) // gradient_accumulation) * epochs
    scheduler = get_linear_schedule_with_warmup(optimizer, round(warmup * updates), updates)
    kernels = _kernels(module, accelerator, compile_backend)
    prepared, optimizer = accelerator.prepare(module, optimizer)
    if accelerator.scaler is not None:  # it would go on with the scale of an earlier training
        accelerator.scaler.load_state_dict(torch.amp.GradScaler(accelerator.device.type).state_dict())
    history = TrainingHistory()
    best: dict[str, Tensor] = {}
    if checkpoint is not None and checkpoint.is_dir():
        state, best = load_checkpoint(
            checkpoint,
            module,
            optimizer.optimizer,
            scheduler,
            process_index=accelerator.process_index,
            scaler=accelerator.scaler,
        )
        history = TrainingHistory(**state)
        logger.info("%s: going on after epoch %d of %d", title, len(history.epochs), epochs)

    for epoch in range(len(history.epochs) + 1, epochs + 1):
        prepared.train()
        module.begin_epoch()
        start, total, first_step = time.monotonic(), 0.0, history.steps + 1
        with progress.bar(f"{title} {epoch}/{epochs}", total=len(loader), unit="steps") as bar:
            for step, (batch, share, last_of_group) in enumerate(
                _groups(module, loader, epoch, gradient_accumulation), first_step
            ):
                with nullcontext() if last_of_group else accelerator.no_sync(prepared):
                    with kernels():
                        output: StepOutput = prepared(batch.to(accelerator.device))
                    accelerator.backward(output.loss * share)
                loss = output.loss.item()
                if loss != loss or loss in (float("inf"), float("-inf")):
                    raise TrainingError(_not_finite(title, step, learning_rate, accelerator.mixed_precision))
                values = {"loss": loss, "learning_rate": scheduler.get_last_lr()[0], "gradient_norm": float("nan")}
                if last_of_group:
                    values["gradient_norm"] = float(accelerator.clip_grad_norm_(module.parameters(), max_grad_norm))
                    module.before_update(optimizer)
                    optimizer.step()
                    if not accelerator.optimizer_step_was_skipped:
                        scheduler.step()
                    optimizer.zero_grad()
                total += loss
                if recorder is not None and accelerator.is_main_process:
                    recorder.add(step, values, output.tables)
                if accelerator.trackers and (recorder is None or recorder.is_logged(step)):
                    tracked = values if recorder is None else values | recorder.scalars(output.tables)
                    _track(accelerator, title, tracked, step=steps_before + step)
                if step % STEPS_BETWEEN == 0:
                    give_back()
                bar.advance(note=f"loss {loss:.3f}")

        score = evaluate(epoch)
        entry = {
            "epoch": epoch,
            "loss": total / len(loader),
            "selection": score.selection,
            "seconds": round(time.monotonic() - start, 1),
            **score.details,
        }
        history.epochs.append(entry)
        history.steps += len(loader)
        _track(accelerator, f"{title}/epoch", entry, step=steps_before + history.steps)
        if score.selection > history.best_score:
            history.best_epoch, history.best_score = epoch, score.selection
            best = {k: v.detach().cpu().clone() for k, v in module.selected().state_dict().items()}
        logger.info("%s: epoch %d/%d, loss %.4f%s", title, epoch, epochs, entry["loss"], score.said)
        drawn = gather_object([random_state()])
        if accelerator.is_main_process:
            if recorder is not None:
                recorder.end_epoch(epoch)
            if checkpoint is not None and epoch < epochs:
                save_checkpoint(
                    checkpoint,
                    module,
                    optimizer.optimizer,
                    scheduler,
                    progress=vars(history),
                    tensors=best,
                    random_states=drawn,
                    scaler=accelerator.scaler,
                )

    module.selected().load_state_dict(best)
    accelerator.free_memory()  # it would keep module and optimiser for as long as it lives
    return history


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


def _kernels(
    module: Trainable, accelerator: Accelerator, compile_backend: str | None
) -> Callable[[], AbstractContextManager[object]]:
    """The context of a step's forward pass."""
    if compile_backend is None:
        return partial(cpu_kernels, accelerator.device)
    selected = module.selected()
    encoder = cast(nn.Module, getattr(selected, "encoder", selected))
    compiled = torch.compile(encoder.forward, dynamic=True, backend=compile_backend)
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


def _track(accelerator: Accelerator, title: str, values: Mapping[str, float], *, step: int) -> None:
    accelerator.log({f"{title}/{name}": value for name, value in values.items() if value == value}, step=step)


def _not_finite(title: str, step: int, learning_rate: float, precision: str) -> str:
    advice = "" if precision == "no" else f", or run.precision: no instead of {precision}"
    return f"{title}: the loss is not finite at step {step}; try a lower learning rate than {learning_rate:g}{advice}"
