"""Importing OpenVINO and NNCF such that nothing is sent to their makers.

Both report each import and conversion over the network, and write a mark into the user's home, unless a package of
theirs that does so cannot be imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hrkd.errors import ModelError

__all__ = ["import_quietly"]

REPORTER = "openvino_telemetry"


def import_quietly(name: str) -> Any:
    """The module ``openvino`` or ``nncf``.

    Raises:
        ModelError: it is not installed.
    """
    try:
        with _nothing_reported():
            if name == "openvino":
                import_module("openvino.tools.ovc")
            return import_module(name)
    except ImportError as error:
        raise ModelError(f"{name} is not installed; pip install 'hrkd[openvino]'") from error


@contextmanager
def _nothing_reported() -> Iterator[None]:
    """Without the package that reports, for modules that look for it when they are imported."""
    known = sys.modules.get(REPORTER)
    sys.modules[REPORTER] = None  # type: ignore[assignment]  # Python's own way of saying that a module cannot be had
    try:
        yield
    finally:
        if known is None:
            del sys.modules[REPORTER]
        else:
            sys.modules[REPORTER] = known
