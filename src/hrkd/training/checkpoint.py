"""Exact resume: everything a training needs to go on from the step after which it was written.

::

    FOLDER/step-0000120/    state.safetensors  state.json  manifest.json
    FOLDER/step-0000180/

Weights, optimiser state and random-number state go to safetensors, the rest to JSON; nothing is pickled. The last two
are kept, an older one is removed once the new one has been read back; where the last is damaged, the one before it is
used.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import read_record, replace_folder
from hrkd.support.json_text import parse_json
from hrkd.support.manifest import check_manifest
from hrkd.support.messages import first_line, first_of
from hrkd.support.own_files import remove_own
from hrkd.support.stage_files import checkpoint_name, checkpoints_in

__all__ = [
    "ANEW",
    "DAMAGE",
    "RandomState",
    "finished_epochs",
    "load_checkpoint",
    "random_state",
    "save_checkpoint",
    "set_random_state",
]

logger = logging.getLogger("hrkd.training")

ANEW = "delete this folder to start the training anew"
"""What to do about a checkpoint that is damaged, for a message."""

RATES = ("lr", "initial_lr")
"""What of an optimiser's groups changes in a training; the rest are its settings."""
DAMAGE = (OSError, SafetensorError, LookupError, ValueError, RuntimeError, TypeError, AttributeError, ArithmeticError)
"""What libraries raise about a state that they did not write."""

SLOTS = {"step", "exp_avg", "exp_avg_sq"}
"""What AdamW keeps of each tensor."""
KEPT = 2
"""Checkpoints of a training that are kept: the last, and the one before it."""

RandomState = tuple[dict[str, Tensor], dict[str, Any]]
"""Of one process: states that are tensors, and those that JSON can hold."""


def save_checkpoint(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    *,
    step: int,
    progress: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    random_states: Sequence[RandomState],
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write a checkpoint into ``folder``; older ones are removed only once the new one has been found whole.

    Args:
        module: owner of every trained tensor.
        step: after which it is written, counted over the whole training.
        progress: JSON-able counters and results, given back by :func:`load_checkpoint`.
        tensors: further tensors to keep, such as the best weights so far.
        random_states: that of every process (:func:`random_state`), in their order.

    Raises:
        ArtifactError: it cannot be written, or is not found as it was written; the older ones are as they were.
    """
    written = folder / checkpoint_name(step)
    with replace_folder(written) as new:
        state = {f"module.{k}": v for k, v in module.state_dict().items()}
        state |= {f"kept.{k}": v for k, v in tensors.items()}
        optimizer_state = optimizer.state_dict()
        for index, slots in optimizer_state["state"].items():
            state |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in slots.items()}
        for index, (tensors_of, _) in enumerate(random_states):
            state |= {f"random.{index}.{k}": v for k, v in tensors_of.items()}
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in state.items()}, new / "state.safetensors")
        rest = {
            "progress": progress,
            "param_groups": optimizer_state["param_groups"],
            "scheduler": scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "random": [generators for _, generators in random_states],
        }
        (new / "state.json").write_text(json.dumps(rest), encoding="utf-8")
    check_manifest(written, advice="the disk does not keep what is written to it; choose another run.output")
    others = [path for path in checkpoints_in(folder) if path != written]
    # Those of later steps were damaged, or this one would not have been made.
    before = [path for path in others if path.name < written.name]
    for path in (*before[: 1 - KEPT], *(each for each in others if each not in before)):
        try:
            remove_own(path)
        except OSError as error:
            logger.warning("%s: an older checkpoint cannot be removed: %s", path, first_line(error))


def load_checkpoint(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    *,
    process_index: int = 0,
    scaler: torch.amp.GradScaler | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Put the state of ``folder`` back into the objects; returns (progress, tensors).

    Raises:
        ArtifactError: the checkpoint is damaged, of another model, or of fewer processes.
    """
    found = _last_whole(folder)
    try:
        state = load_file(found / "state.safetensors")
        trained = {f"module.{name}" for name, _ in module.named_parameters()}
        for name, value in state.items():
            if (name in trained or name.startswith("optimizer.")) and not value.isfinite().all():
                raise ValueError(f"{name} is not finite")
        rest = parse_json((found / "state.json").read_text(encoding="utf-8"))
        groups = {group: _strip(state, f"{group}.") for group in ("module", "kept", "optimizer")}
        module.load_state_dict(groups["module"])
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in groups["optimizer"].items():
            index, name = key.split(".", 1)
            slots.setdefault(int(index), {})[name] = value
        if other := [index for index, each in slots.items() if each.keys() != SLOTS]:
            raise ValueError(f"the optimiser's state of tensor {other[0]} is not that of AdamW")
        own = optimizer.state_dict()["param_groups"]
        param_groups = [_known(said, mine, RATES) for said, mine in zip(rest["param_groups"], own, strict=True)]
        optimizer.load_state_dict({"state": slots, "param_groups": param_groups})
        scheduler.load_state_dict(_known(rest["scheduler"], scheduler.state_dict()))
        if scaler is not None and rest["scaler"] is not None:
            scaler.load_state_dict(rest["scaler"])
        set_random_state((_strip(state, f"random.{process_index}."), rest["random"][process_index]))
        return dict(rest["progress"]), groups["kept"]
    except DAMAGE as error:
        raise ArtifactError(f"{found}: the checkpoint cannot be used ({first_line(error)}); {ANEW}") from error


def finished_epochs(folder: Path) -> int:
    """How many epochs were finished when the last checkpoint in ``folder`` was written; 0 without one.

    Raises:
        ArtifactError: no checkpoint there is whole.
    """
    if not checkpoints_in(folder):
        return 0
    needs = {"progress": dict}
    rest = read_record(_last_whole(folder) / "state.json", what="a checkpoint", advice=ANEW, needs=needs)
    history = rest["progress"].get("history")
    return len(history["epochs"]) if isinstance(history, dict) and isinstance(history.get("epochs"), list) else 0


def _last_whole(folder: Path) -> Path:
    """The last checkpoint in ``folder`` whose files are those that were written; damaged ones are named.

    Raises:
        ArtifactError: there is none.
    """
    *before, last = checkpoints_in(folder)
    try:
        check_manifest(last, advice=ANEW, needed=True)
    except ArtifactError as error:
        if not before:
            raise
        *_, found = before
        logger.warning("%s; going on from %s, which was written before it", first_line(error), found.name)
        check_manifest(found, advice=ANEW, needed=True)
        return found
    return last


def _known(said: dict[str, Any], own: Mapping[str, Any], fields: Sequence[str] | None = None) -> dict[str, Any]:
    """The object's ``own`` state with what a checkpoint says of the ``fields`` of it; None: of all that it has.

    Whatever else is said would become part of the object all the same.

    Raises:
        ValueError: a field is of another kind than the object's own.
    """
    known = {name: said[name] for name in own if name in said and (fields is None or name in fields)}
    if other := [name for name, value in known.items() if _kind(value) != _kind(own[name])]:
        raise ValueError(f"{first_of(other)}: another kind of value than this training has")
    return {**own, **known}


def _kind(value: Any) -> Any:
    """Numbers are one kind, and None may stand for one; lists are of a kind if all their items are."""
    if isinstance(value, int | float | bool | None):
        return "number"
    return tuple(map(_kind, value)) if isinstance(value, list | tuple) else type(value).__name__


def random_state() -> RandomState:
    """State of all random generators of this process."""
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    name, keys, *rest = np.random.get_state(legacy=True)
    return tensors, {"python": random.getstate(), "numpy": [name, np.asarray(keys).tolist(), *rest]}


def set_random_state(state: RandomState) -> None:
    """Put :func:`random_state` back."""
    tensors, generators = state
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    version, internal, gauss = generators["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = generators["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))


def _strip(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
