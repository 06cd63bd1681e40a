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

import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError
from hrkd.run.identity import differences
from hrkd.support.atomic_files import clear_leftovers, read_json, write_json, write_text

__all__ = ["STAGES", "STAGE_RECORD", "TRAINING_RECORD", "RunFolder", "StageFiles", "environment"]

STAGE_RECORD, TRAINING_RECORD = "stage.json", "training.json"
STAGES = ("teacher", "levels", "student", "baseline")
"""In the order in which they are made."""

PACKAGES = ("hrkd", "torch", "transformers", "datasets", "accelerate", "tokenizers", "safetensors", "numpy", "pandas")


@dataclass(frozen=True)
class StageFiles:
    """Where a stage writes, or one of its parts, named such as ``teacher/books``.

    Each is finished or absent. Settings are those of the stage, which is finished when all its parts are.

    Args:
        model: folder of the finished model; it appears when it is whole.
        settings: in it, the record of all that decided the weights.
        training: in it, the record of the training.
        metrics: folder of the step tables.
        checkpoint: folder of the checkpoint, there only while the stage is under way.
        begun: beside it, the ``settings`` of a stage under way; None of a part.
        best_per_domain: beside it, the predictions of each domain's best epoch.
    """

    model: Path
    settings: Path
    training: Path
    metrics: Path
    checkpoint: Path
    begun: Path | None
    best_per_domain: Path

    @classmethod
    def of(cls, run: Path, name: str) -> StageFiles:
        """Those of a stage in the folder of a run, or of a part of one."""
        model, checkpoint = run / name, run / "checkpoints" / name
        return cls(
            model=model,
            settings=model / STAGE_RECORD,
            training=model / TRAINING_RECORD,
            metrics=run / "metrics" / name,
            checkpoint=checkpoint,
            begun=checkpoint.with_suffix(".json") if name in STAGES else None,
            best_per_domain=checkpoint.with_name(f"{checkpoint.name}-best-per-domain.json"),
        )

    @property
    def is_finished(self) -> bool:
        """Whether the stage is done."""
        return self.settings.is_file()

    @property
    def is_begun(self) -> bool:
        """Whether the stage is done, or has a checkpoint to go on from."""
        return self.is_finished or self.checkpoint.is_dir()

    def changes(self, settings: Mapping[str, Any]) -> list[str]:
        """Fields in which the stage, finished or under way, differs from ``settings``.

        How many processes made a finished stage is of no matter; one under way goes on with as many only.
        """
        changes = []
        if self.is_finished:
            record = read_json(self.settings, what="the record of a stage")
            changes += differences(record | {"processes": settings.get("processes")}, settings)
        if self.begun is not None and (self.checkpoint.is_dir() or (self.model.is_dir() and not self.is_finished)):
            changes += differences(read_json(self.begun, what="the record of a stage"), settings)
        return changes


class RunFolder:
    """One output folder; ``overwrite``: stages that were made with other settings may be made anew.

    ``results`` is the results file, ``predictions`` the folder of what models say of the test rows.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        self.path = path
        self.overwrite = overwrite
        self.results = path / "results.json"
        self.predictions = path / "predictions"

    def stage(self, name: str) -> StageFiles:
        """The files of a stage, or of a part of one."""
        return StageFiles.of(self.path, name)

    def check(self, planned: Mapping[str, Mapping[str, Any]]) -> None:
        """Look, before anything is written, whether the folder can take the ``planned`` stages (name: settings).

        Raises:
            ArtifactError: the folder holds files that are no run of hrkd, or a stage that was made with other
                settings while ``overwrite`` is off.
        """
        if self.path.exists() and any(self.path.iterdir()) and not (self.path / "recipe.yaml").is_file():
            raise ArtifactError(f"{self.path}: not empty and not a run of hrkd; choose another run.output")
        if self.overwrite:
            return
        for name, settings in planned.items():
            if changes := self.stage(name).changes(settings):
                again = name != "teacher" and self.stage("teacher").is_finished
                served = f" (hrkd distill --teacher-folder {self.path / 'teacher'} takes its teacher)" if again else ""
                raise ArtifactError(
                    f"{self.path}: its {name} was made with other settings ({'; '.join(changes)}); "
                    f"choose another run.output{served}, or set run.overwrite to make it anew"
                )

    def open(self, recipe_yaml: str, planned: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the recipe and the environment, and clear away what was cut off and stages that are to be made anew."""
        below = [path for name in ("metrics", "checkpoints") for path in (self.path / name).rglob("*")]
        named = [self.path / name for name in ("checkpoints", "predictions", *STAGES)]
        for folder in (self.path, *named, *(path for path in below if path.is_dir())):
            clear_leftovers(folder)
        for name, settings in planned.items():
            files = self.stage(name)
            if files.changes(settings):
                for path in (files.model, files.checkpoint, files.metrics):
                    shutil.rmtree(path, ignore_errors=True)
            if not files.is_finished:
                for path in (self.results, self.results.with_suffix(".md"), self.predictions / f"{name}.parquet"):
                    path.unlink(missing_ok=True)
        write_text(self.path / "recipe.yaml", recipe_yaml)
        write_json(self.path / "environment.json", environment())


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {"python": sys.version.split()[0], "platform": platform.platform(), "packages": versions}
