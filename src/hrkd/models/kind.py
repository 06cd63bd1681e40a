"""What can be told of a model without opening it: where it lies, and whether hrkd wrote it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrkd.errors import ModelError

__all__ = ["MODEL_TYPE", "is_own", "locate"]

MODEL_TYPE = "hrkd_multi_domain"
"""What config.json says of a model that hrkd wrote."""


def is_own(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of hrkd's own models."""
    return config.get("model_type") == MODEL_TYPE


def locate(source: str | Path) -> str:
    """A folder's path with ``~`` expanded, or the hub name as it is.

    Raises:
        ModelError: ``source`` looks like a path, and there is no such folder.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return str(folder)
    if folder.is_file():
        raise ModelError(f"{source}: this is a file; name the folder that it stands in")
    if Path(source).is_absolute() or str(source).startswith((".", "~")) or str(source).count("/") > 1:
        raise ModelError(f"{source}: no such folder")
    return str(source)
