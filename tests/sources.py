"""What tests of readers share: the message of a source that is refused, and the real research sets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hrkd.data.readers.sources import load_domains
from hrkd.errors import DataError


def error(source: Any, **options: Any) -> str:
    """The message with which a source is refused."""
    with pytest.raises(DataError) as caught:
        load_domains(source, **options)
    return str(caught.value)


def real(name: str) -> Path:
    """The folder of a research set below HRKD_DATA; the test is skipped where there is none."""
    folder = Path(os.environ.get("HRKD_DATA", "")) / name
    if not os.environ.get("HRKD_DATA") or not folder.is_dir():
        pytest.skip(f"HRKD_DATA names no folder with {name}")
    return folder
