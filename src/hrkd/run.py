"""The folder of a run: what is in it, which stages are finished, and with what they were made.

::

    OUTPUT/
      recipe.yaml        the resolved recipe          environment.json   versions, machine
      splits.json        ids of train, dev, test      data.json          counts per domain
      teacher/           trained here (absent where the recipe names a fine-tuned one)
      student/  baseline/                             models, each with stage.json: what it was made with
      metrics/<stage>/   tables of every step         checkpoints/<stage>/   only while a stage is under way
      results.json  results.md
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError
from hrkd.files import read_json, write_json, write_text

__all__ = ["Run", "digest", "environment"]

PACKAGES = ("hrkd", "torch", "transformers", "datasets", "accelerate", "tokenizers", "safetensors", "numpy", "pandas")


@dataclass(frozen=True)
class Run:
    """Paths and bookkeeping of one output folder."""

    folder: Path
    overwrite: bool = False

    @property
    def results(self) -> Path:
        """The results file."""
        return self.folder / "results.json"

    def stage(self, name: str) -> Path:
        """Folder of a finished stage's model."""
        return self.folder / name

    def metrics(self, name: str) -> Path:
        """Folder of a stage's step tables."""
        return self.folder / "metrics" / name

    def checkpoint(self, name: str) -> Path:
        """Folder of a stage's checkpoint, there only while the stage is under way."""
        return self.folder / "checkpoints" / name

    def open(self, recipe_yaml: str) -> None:
        """Make the folder and write the recipe and the environment into it.

        Raises:
            ArtifactError: the folder holds files that are no run of hrkd.
        """
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / "recipe.yaml").is_file():
            raise ArtifactError(f"{self.folder}: not empty and not a run of hrkd; choose another run.output")
        write_text(self.folder / "recipe.yaml", recipe_yaml)
        write_json(self.folder / "environment.json", environment())

    def is_finished(self, name: str, made_with: Mapping[str, Any]) -> bool:
        """Whether stage ``name`` is done, made with exactly ``made_with``; clears the way if it is to be redone.

        Raises:
            ArtifactError: it was made with something else and ``overwrite`` is off.
        """
        finished = (self.stage(name) / "stage.json").is_file()
        marks = [self.stage(name) / "stage.json"] if finished else []
        if self.checkpoint(name).is_dir():
            marks.append(self.checkpoint(name).with_suffix(".json"))
        found = [read_json(mark, what="the record of a stage") for mark in marks]
        changes = [line for record in found for line in _differences(record, _plain(made_with))]
        if not changes:
            return finished
        if not self.overwrite:
            raise ArtifactError(
                f"{self.folder}: its {name} was made with other settings ({'; '.join(changes)}); "
                "choose another run.output, or set run.overwrite to make it anew"
            )
        for path in (self.stage(name), self.checkpoint(name), self.metrics(name)):
            shutil.rmtree(path, ignore_errors=True)
        return False

    def begin(self, name: str, made_with: Mapping[str, Any]) -> None:
        """Note what a stage is being made with, so that a later run knows whether it may go on from its checkpoint."""
        if not self.checkpoint(name).is_dir():
            shutil.rmtree(self.metrics(name), ignore_errors=True)
        write_json(self.checkpoint(name).with_suffix(".json"), _plain(made_with))

    def finish(self, name: str, new_folder: Path, made_with: Mapping[str, Any]) -> None:
        """Put the record of the stage into ``new_folder`` (about to become its folder)."""
        write_json(new_folder / "stage.json", _plain(made_with))
        self.checkpoint(name).with_suffix(".json").unlink(missing_ok=True)


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {"python": sys.version.split()[0], "platform": platform.platform(), "packages": versions}


def digest(*parts: Any) -> str:
    """SHA-256 over JSON-able parts, the same in every process."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Readable list of the fields in which two records differ; a missing field and one of null are the same."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        return [line for key in keys for line in _differences(old.get(key), new.get(key), f"{where}.{key}".strip("."))]
    return [] if old == new else [f"{where}: {old} then, {new} now"]
