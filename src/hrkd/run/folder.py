"""The folder of a run: what is in it, which stages are finished, and with what they were made.

::

    OUTPUT/
      recipe.yaml        the resolved recipe          environment.json   versions, machine
      splits.json        ids of train, dev, test      data.json          counts per domain
      teacher/           trained here (absent where the recipe names a fine-tuned one)
      teacher/<domain>/                               with teacher.encoders: per_domain; domains.json says whose it is
      student/  baseline/                             models, each with stage.json: what it was made with
      levels/            the student after the first of two stages (method.stages: two); its heads are not trained
      metrics/<stage>/   tables of every step         checkpoints/<stage>/   only while a stage is under way
      predictions/<stage>.parquet                     id, domain, label, predicted, probability_<label> of each label:
                                                      one row per row of test
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
from hrkd.support.atomic_files import clear_leftovers, read_json, write_json, write_text

__all__ = ["COSTS", "Run", "differences", "environment", "peak_megabytes", "training_cost", "weights_digest"]

FIELDS = {
    "seed": "run.seed",
    "precision": "run.precision",
    "fast": "run.fast",
    "max_length": "data.max_length",
    "unlabelled": "data.unlabelled",
    "combine": "teacher.combine",
}
"""Names of a record that are called otherwise in a recipe."""
STAGES = ("teacher", "levels", "student", "baseline")
COSTS = ("seconds", "steps", "peak_megabytes")
"""Figures of :func:`training_cost`."""
PACKAGES = ("hrkd", "torch", "transformers", "datasets", "accelerate", "tokenizers", "safetensors", "numpy", "pandas")


@dataclass(frozen=True)
class Run:
    """Paths and bookkeeping of one output folder.

    A stage may have parts, named such as ``teacher/books``: each is finished or absent, and settings are those of the
    stage, which is finished when all its parts are.
    """

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

    def predictions(self, name: str) -> Path:
        """Table of what the model of a stage says of the test rows."""
        return self.folder / "predictions" / f"{name}.parquet"

    def notes(self, name: str) -> Path:
        """File for what a stage keeps beside its checkpoint."""
        return self.checkpoint(name).with_name(f"{self.checkpoint(name).name}-best-per-domain.json")

    def steps_before(self, name: str) -> int:
        """Training steps of the finished stages that come before stage ``name``."""
        records = [self.stage(earlier) / "training.json" for earlier in STAGES[: STAGES.index(name)]]
        found = [read_json(record, what="the record of a training") for record in records if record.is_file()]
        return sum(record.get("steps", 0) for record in found)

    def check(self, planned: Mapping[str, Mapping[str, Any]]) -> None:
        """Look, before anything is written, whether the folder can take the ``planned`` stages (name: made with).

        Raises:
            ArtifactError: the folder holds files that are no run of hrkd, or a stage that was made with other
                settings while ``overwrite`` is off.
        """
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / "recipe.yaml").is_file():
            raise ArtifactError(f"{self.folder}: not empty and not a run of hrkd; choose another run.output")
        for name, made_with in planned.items():
            changes = self._changes(name, made_with)
            if changes and not self.overwrite:
                again = name != "teacher" and self.is_finished("teacher")
                served = f" (hrkd distill --teacher-folder {self.folder} takes its teacher)" if again else ""
                raise ArtifactError(
                    f"{self.folder}: its {name} was made with other settings ({'; '.join(changes)}); "
                    f"choose another run.output{served}, or set run.overwrite to make it anew"
                )

    def open(self, recipe_yaml: str, planned: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the recipe and the environment, and clear away what was cut off and stages that are to be made anew."""
        below = [path for name in ("metrics", "checkpoints") for path in (self.folder / name).rglob("*")]
        named = [self.folder / name for name in ("checkpoints", "predictions", *STAGES)]
        for folder in (self.folder, *named, *(path for path in below if path.is_dir())):
            clear_leftovers(folder)
        for name, made_with in planned.items():
            if self._changes(name, made_with):
                for path in (self.stage(name), self.checkpoint(name), self.metrics(name)):
                    shutil.rmtree(path, ignore_errors=True)
            if not self.is_finished(name):
                self.results.unlink(missing_ok=True)
                self.results.with_suffix(".md").unlink(missing_ok=True)
                self.predictions(name).unlink(missing_ok=True)
        write_text(self.folder / "recipe.yaml", recipe_yaml)
        write_json(self.folder / "environment.json", environment())

    def is_finished(self, name: str) -> bool:
        """Whether stage ``name`` is done."""
        return (self.stage(name) / "stage.json").is_file()

    def is_begun(self, name: str) -> bool:
        """Whether stage ``name`` is done, or has a checkpoint to go on from."""
        return self.is_finished(name) or self.checkpoint(name).is_dir()

    def begin(self, name: str, made_with: Mapping[str, Any]) -> None:
        """Note what a stage is being made with, so that a later run knows whether it may go on with what is there.

        Nothing is noted of a part: the note of its stage holds for it.
        """
        if not self._is_under_way(name):
            shutil.rmtree(self.metrics(name), ignore_errors=True)
        if name in STAGES:
            write_json(self.checkpoint(name).with_suffix(".json"), _plain(made_with))

    def end(self, name: str) -> None:
        """Remove what a finished stage needed only while it was under way."""
        shutil.rmtree(self.checkpoint(name), ignore_errors=True)
        self.checkpoint(name).with_suffix(".json").unlink(missing_ok=True)
        self.notes(name).unlink(missing_ok=True)
        folder = self.checkpoint(name).parent
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def _is_under_way(self, name: str) -> bool:
        """Whether there is something to go on with: a checkpoint, or finished parts of an unfinished stage."""
        return self.checkpoint(name).is_dir() or (self.stage(name).is_dir() and not self.is_finished(name))

    def _changes(self, name: str, made_with: Mapping[str, Any]) -> list[str]:
        """Fields in which a finished stage, or one under way, differs from ``made_with``.

        How many processes made a finished stage is of no matter; one under way goes on with as many only.
        """
        wanted, changes = _plain(made_with), []
        if self.is_finished(name):
            record = read_json(self.stage(name) / "stage.json", what="the record of a stage")
            changes += differences(record | {"processes": wanted.get("processes")}, wanted)
        if self._is_under_way(name):
            record = read_json(self.checkpoint(name).with_suffix(".json"), what="the record of a stage")
            changes += differences(record, wanted)
        return changes


def weights_digest(source: str | Path) -> str | None:
    """SHA-256 over the safetensors files of a local folder, None for a name on the Hub."""
    files = sorted(Path(source).glob("*.safetensors")) if Path(source).is_dir() else []
    if not files:
        return None
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            total.update(hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {"python": sys.version.split()[0], "platform": platform.platform(), "packages": versions}


def peak_megabytes() -> float | None:
    """The most memory that this process has held so far (VmHWM), in megabytes of 1e6 bytes; None off Linux.

    Not ``ru_maxrss``, which a process takes over from the one that started it.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    kibibytes = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    return None if kibibytes is None else round(kibibytes * 1024 / 1e6, 1)


def training_cost(record: Mapping[str, Any]) -> dict[str, Any]:
    """``seconds`` of all epochs of a training, dev evaluations included; ``steps``; ``peak_megabytes``, or None.

    A student of two stages has the cost of the first in its record (``levels``): seconds and steps are those of both,
    the memory is the larger.
    """
    before = record.get("levels") or {}
    peaks = [each for each in (before.get("peak_megabytes"), record.get("peak_megabytes")) if each is not None]
    seconds = sum(float(epoch["seconds"]) for epoch in record["epochs"])
    return {
        "seconds": round(before.get("seconds", 0) + seconds, 1),
        "steps": before.get("steps", 0) + record["steps"],
        "peak_megabytes": max(peaks, default=None),
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Readable list of the fields in which two records differ; a missing field and one of null are the same."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{where}.{key}".strip("."))]
    then, now = ("not set" if value is None else value for value in (old, new))
    return [] if old == new else [f"{FIELDS.get(where, where)}: {then} then, {now} now"]
