"""Exact resume: everything a training needs to go on after the last finished epoch.

Weights, optimiser state and random-number state go to safetensors, the rest to JSON; nothing is pickled.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hrkd.errors import ArtifactError
from hrkd.files import replace_folder

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    *,
    progress: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write a checkpoint to ``folder``, replacing an older one only once the new one is whole.

    Args:
        module: owner of every trained tensor.
        progress: JSON-able counters and results, given back by :func:`load_checkpoint`.
        tensors: further tensors to keep, such as the best weights so far.
    """
    with replace_folder(folder) as new:
        state = {f"module.{k}": v for k, v in module.state_dict().items()}
        state |= {f"kept.{k}": v for k, v in tensors.items()}
        optimizer_state = optimizer.state_dict()
        for index, slots in optimizer_state["state"].items():
            state |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in slots.items()}
        state["random.torch"] = torch.get_rng_state()
        if torch.cuda.is_available():
            state["random.cuda"] = torch.cuda.get_rng_state()
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in state.items()}, new / "state.safetensors")
        rest = {
            "progress": progress,
            "param_groups": optimizer_state["param_groups"],
            "scheduler": scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "random_python": random.getstate(),
            "random_numpy": _numpy_state(),
        }
        (new / "state.json").write_text(json.dumps(rest), encoding="utf-8")


def load_checkpoint(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    *,
    scaler: torch.amp.GradScaler | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Put the state of ``folder`` back into the objects; returns (progress, tensors).

    Raises:
        ArtifactError: the checkpoint is damaged or of another model.
    """
    try:
        state = load_file(folder / "state.safetensors")
        rest = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        groups = {group: _strip(state, f"{group}.") for group in ("module", "kept", "optimizer", "random")}
        module.load_state_dict(groups["module"])
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in groups["optimizer"].items():
            index, name = key.split(".", 1)
            slots.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": slots, "param_groups": rest["param_groups"]})
        scheduler.load_state_dict(rest["scheduler"])
        if scaler is not None and rest["scaler"] is not None:
            scaler.load_state_dict(rest["scaler"])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise ArtifactError(
            f"{folder}: the checkpoint cannot be used ({reason}); delete this folder to start the training anew"
        ) from error
    torch.set_rng_state(groups["random"]["torch"])
    if "cuda" in groups["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["random"]["cuda"])
    version, internal, gauss = rest["random_python"]
    random.setstate((version, tuple(internal), gauss))
    _set_numpy_state(rest["random_numpy"])
    return rest["progress"], groups["kept"]


def _strip(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _numpy_state() -> list[Any]:
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return [name, np.asarray(keys).tolist(), position, has_gauss, gauss]


def _set_numpy_state(state: list[Any]) -> None:
    name, keys, position, has_gauss, gauss = state
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), position, has_gauss, gauss))
