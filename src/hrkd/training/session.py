"""How a training is executed: device, seed, files and progress, whatever it is that is trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, set_seed
from torch import nn

from hrkd.data.batching import TokenizedDataset
from hrkd.errors import RecipeError
from hrkd.models.cpu_kernels import use_kernels
from hrkd.models.threads import threads_for
from hrkd.recipe.schema import SEEDS, EvaluationConfig, RunConfig
from hrkd.support.launch import launch
from hrkd.support.messages import first_line
from hrkd.support.progress import Progress
from hrkd.training.record import Recorder
from hrkd.training.watch import start_watching

SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
"""Variables by which accelerate's launcher asks for what cuts models up."""

__all__ = ["Session", "computing", "grouped_accelerator", "start_accelerator"]


@dataclass(frozen=True)
class Session:
    """Everything that a training takes besides models, data and what decides its course.

    Args:
        accelerator: device, precision, processes, trackers.
        run: seed, and how often step tables are logged.
        evaluation: how the dev set is measured.
        metrics: folder for the tables of every ``run.log_every``-th step.
        checkpoint: folder for exact resume after a kill; the caller removes it once the result is saved.
        before_saving: called before a checkpoint is written; what it raises ends the training.
        steps_before: added to the step that trackers are told, for trainings that share one tracker.
        compile_backend: compile the encoder that is trained with this backend of torch.compile; default: not at all,
            or with ``run.fast`` inductor.
        progress: where progress goes; default: nowhere.
        title: what progress, log and trackers call the training; default: what it is.
    """

    accelerator: Accelerator
    run: RunConfig = field(default_factory=RunConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    metrics: Path | None = None
    checkpoint: Path | None = None
    before_saving: Callable[[], None] | None = None
    steps_before: int = 0
    compile_backend: str | None = None
    progress: Progress = field(default_factory=lambda: Progress(False))
    title: str = ""

    def __post_init__(self) -> None:
        if self.run.fast and self.compile_backend is None:
            object.__setattr__(self, "compile_backend", "inductor")

    def recorder(self, domains: tuple[str, ...]) -> Recorder | None:
        """Where the step tables of a training on ``domains`` go, if anywhere."""
        return None if self.metrics is None else Recorder(self.metrics, domains, every=self.run.log_every)

    def draw_apart(self) -> None:
        """From here on every process draws dropout of its own; all weights are drawn before, alike in each."""
        if self.accelerator.num_processes > 1:
            set_seed((self.run.seed + self.accelerator.process_index) % SEEDS)


def start_accelerator(run: RunConfig, *, trains: bool = False) -> Accelerator:
    """The device, precision, processes and trackers that ``run`` asks for.

    Args:
        trains: something is to be trained; measuring goes without ``precision`` and ``fast``.

    Raises:
        RecipeError: ``fast`` or a ``precision`` of fp16 without a GPU; processes that find no common group.
    """
    # Accelerate keeps device and precision for a process; a second run in this process may want others.
    AcceleratorState._reset_state(reset_partial_state=True)
    options: dict[str, Any] = {"log_with": run.trackers or None, "project_dir": run.output}
    if trains:
        options["mixed_precision"] = run.mixed_precision
    accelerator = grouped_accelerator(cpu=run.device == "cpu", **options)
    problem = _unfit(run) if trains and accelerator.device.type == "cpu" else ""
    if problem:
        AcceleratorState._reset_state(reset_partial_state=True)  # or the precision would stay with this process
        raise RecipeError(problem)
    return accelerator


def grouped_accelerator(*, cpu: bool = False, **options: Any) -> Accelerator:
    """An accelerator that knows of all processes that were started together.

    Raises:
        RecipeError: they find no common group, or are to share a model out.
    """
    group = launch()
    started = group.size
    if sharded := [name for variable, name in SHARDING.items() if os.environ.get(variable, "").lower() == "true"]:
        raise RecipeError(
            f"accelerate is set to {sharded[0]}, which leaves a part of the model in each process; hrkd trains with "
            "the whole of it in each (DDP), as it reads and measures models between steps; start it with accelerate "
            "launch --multi_gpu, or torchrun, and choose a smaller batch_size where memory is short"
        )
    # Who waits for a process that is at something long waits for as long as that is there (hrkd.training.watch).
    options["kwargs_handlers"] = [InitProcessGroupKwargs(timeout=timedelta(days=1))]
    try:
        accelerator = Accelerator(cpu=cpu, **options)
        if started > 1 and accelerator.num_processes == 1 and accelerator.device.type == "cpu":
            # Without a device of another kind accelerate makes a group only where the processor is asked for.
            AcceleratorState._reset_state(reset_partial_state=True)
            accelerator = Accelerator(cpu=True, **options)
    except (ValueError, RuntimeError, OSError) as error:
        if not group.is_group:
            raise
        raise RecipeError(
            f"the {started} processes that were started together find no group ({first_line(error)}); start them with "
            "torchrun, or one without its variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT)"
        ) from error
    if accelerator.num_processes < started:
        raise RecipeError(
            f"{started} processes were started together, and accelerate makes no group of them on "
            f"{accelerator.device.type}; start one, or set run.device to cpu"
        )
    start_watching()
    return accelerator


def _unfit(run: RunConfig) -> str:
    """What of ``run`` a processor cannot do."""
    if run.fast:
        return "run.fast: bf16 and torch.compile are for a GPU, and torch finds none; leave it out"
    if run.precision == "fp16":
        return "run.precision: fp16 is for a GPU, and torch finds none; choose bf16, or no"
    return ""


@contextmanager
def computing(run: RunConfig, *models: nn.Module, data: TokenizedDataset, rows: int) -> Iterator[None]:
    """A context with the kernels that ``run`` names, and as many threads as ``models`` and ``data`` give work for.

    Args:
        rows: those of a batch.
    """
    tokens = rows * float(data.lengths.mean()) if len(data) else 0.0
    with use_kernels(run.kernels), threads_for(*models, tokens=tokens):
        yield
