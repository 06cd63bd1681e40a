"""What can be told of a model without opening it: where it lies, and whether hrkd wrote it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrkd.errors import ModelError
from hrkd.support.arguments import shown
from hrkd.support.messages import suggestion

__all__ = ["MODEL_TYPE", "STATIC", "UNKNOWN", "is_own", "locate", "neighbour"]

MODEL_TYPE = "hrkd_multi_domain"
"""What config.json says of a model that hrkd wrote."""
UNKNOWN = -1
"""In the place of a domain's number: the model is to find the domain of a text by itself."""
STATIC = "hrkd_static"
"""What it says of an encoder without layers."""


def is_own(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of hrkd's own models."""
    return config.get("model_type") == MODEL_TYPE


def locate(source: str | Path) -> str:
    """A folder's path with ``~`` expanded, or the hub name as it is.

    Raises:
        ModelError: ``source`` looks like a path, and there is no such folder.
    """
    if not isinstance(source, str | Path):
        raise ModelError(f"expected the folder or hub name of a model, got {shown(source)}")
    try:
        folder = Path(source).expanduser()
        if folder.is_dir():
            return str(folder)
        is_file = folder.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: ~ of nobody
        raise ModelError(f"{source}: no folder that can be read ({error})") from error
    if is_file:
        raise ModelError(f"{source}: this is a file; name the folder that it stands in")
    if folder.is_symlink():
        raise ModelError(f"{source}: a link that leads to no folder")
    if Path(source).is_absolute() or str(source).startswith((".", "~")) or str(source).count("/") > 1:
        raise ModelError(f"{source}: no such folder{neighbour(folder)}")
    return str(source)


def neighbour(folder: Path) -> str:
    """The folder beside a missing one that is probably meant, as a question; empty if there is none."""
    try:
        names = [path.name for path in folder.parent.iterdir() if path.is_dir()]
    except OSError:
        return ""
    question = suggestion(folder.name, names, shown=lambda name: folder.parent / name)
    return f" ({question})" if question else ""
