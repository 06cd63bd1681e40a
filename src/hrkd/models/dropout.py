"""Dropout of any encoder, turned off for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

__all__ = ["without_dropout"]


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """``model`` as it is in training mode, but with nothing dropped; afterwards all rates are as before.

    Rates are those of dropout modules and, where attention drops by a function, the module's attribute that is named
    after dropout.
    """
    found = [(module, name, value) for module in model.modules() for name, value in _rates(module)]
    for module, name, value in found:
        setattr(module, name, type(value)(0))
    try:
        yield
    finally:
        for module, name, value in found:
            setattr(module, name, value)


def _rates(module: nn.Module) -> Iterator[tuple[str, float]]:
    if isinstance(module, _DropoutNd):
        yield "p", module.p
        return
    for name, value in vars(module).items():
        if "dropout" in name and isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, value
