"""The files of a stage of a run: where they lie, whether it is finished and whole, and removing them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import read_record
from hrkd.support.folder_names import fault_of_name, folder_names
from hrkd.support.manifest import MANIFEST, check_manifest, has_manifest
from hrkd.support.messages import first_of
from hrkd.support.own_files import remove_own

__all__ = [
    "COMMAND",
    "STAGES",
    "STAGE_RECORD",
    "TRAINING_RECORD",
    "StageFiles",
    "checkpoint_name",
    "checkpoints_in",
    "digest_of_rows",
    "going_on",
    "is_finished_stage",
    "versions",
]

COMMAND = "command.json"
"""In the folder of a run or a comparison: the command that made it."""
STAGE_RECORD, TRAINING_RECORD = "stage.json", "training.json"
STAGES = ("teacher", "levels", "student", "baseline")
"""In the order in which they are made."""

TABLES = ("steps", "levels", "hierarchy", "relations", "predictions")
"""Folders of the step tables (:mod:`hrkd.training.record`)."""

CHECKPOINT, STATE = f"step-{'[0-9]' * 9}", ("state.safetensors", "state.json", MANIFEST)
EPOCH_FILES = "epoch-[0-9][0-9][0-9]*.parquet"
DECISIVE = ("hrkd", "torch", "transformers", "accelerate", "tokenizers")
"""Packages that a model's numbers depend on; their versions are in the record of every stage."""

AGAIN = "restore it from a copy, or delete the folder {} and the same command makes it anew"


def is_finished_stage(folder: Path) -> bool:
    """Whether ``folder`` holds a stage that was finished: with a record of its settings, and with weights."""
    if has_manifest(folder):  # which is written last, so that what is missing was lost
        return True
    weights = any(folder.glob("*.safetensors")) or (folder / "domains.json").is_file()
    return weights and (folder / STAGE_RECORD).is_file()


def going_on(folder: Path) -> str:
    """How to go on with a run or a comparison, to end a message: a command to type, if the folder knows it."""
    if (folder / COMMAND).is_file():
        return f"to go on: hrkd resume {shlex.quote(str(folder))}"
    return "the command that began it goes on"


def digest_of_rows(folder: Path) -> str | None:
    """Of the rows and parts that a finished stage was made from; None where ``folder`` holds no stage.

    Raises:
        ArtifactError: its record is damaged.
    """
    if not (folder / STAGE_RECORD).is_file():
        return None
    advice = "restore the model's folder from a copy"
    found = read_record(folder / STAGE_RECORD, what="the record of a stage", advice=advice).get("data")
    return None if found is None else str(found)


def checkpoint_name(step: int) -> str:
    """Name of the folder of the checkpoint after ``step``."""
    return f"step-{step:09d}"


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, be they damaged, by their steps; not what others put there."""
    found = (path for path in folder.glob(CHECKPOINT) if path.is_dir() and not path.is_symlink())
    return sorted(path for path in found if any((path / name).exists() for name in STATE))


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
        return is_finished_stage(self.model)

    @property
    def is_begun(self) -> bool:
        """Whether the stage is done, or has a checkpoint to go on from."""
        return self.is_finished or self.has_checkpoint

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to go on from, of the stage or of a part of it."""
        return any(checkpoints_in(folder) for folder in (self.checkpoint, *self.checkpoint.glob("*/")))

    @property
    def advice(self) -> str:
        """What to do where a file of the finished stage is damaged, for a message."""
        return AGAIN.format(self.model)

    @property
    def unfinished_advice(self) -> str:
        """What to do where a file of a stage under way is damaged, for a message."""
        return f"delete the folder {self.checkpoint} to start this stage anew"

    def record(self, file: Path, *, what: str, needs: Mapping[str, type | tuple[type, ...]] | None = None) -> Any:
        """The content of one of the stage's own JSON files, a mapping with the keys that are needed.

        Raises:
            ArtifactError: it is missing or damaged; says what to do.
        """
        advice = self.advice if file.parent == self.model else self.unfinished_advice
        return read_record(file, what=what, advice=advice, needs=needs or {})

    @property
    def is_under_way(self) -> bool:
        """Whether the stage has a checkpoint, or finished parts without being finished itself."""
        return self.has_checkpoint or (not self.is_finished and self._has_parts())

    def check_recorded(self) -> None:
        """Whether weights that lie there have the record of their settings.

        Raises:
            ArtifactError: they have none; says what to do.
        """
        if not self.is_finished and any(self.model.glob("*.safetensors")):
            raise ArtifactError(f"{self.settings}: the record of a stage is missing; {self.advice}")

    def check_whole(self) -> None:
        """Whether the files of a finished stage, and of its parts, are those that were written.

        Raises:
            ArtifactError: one is not, or the record names parts that lie elsewhere; says which, and what to do.
        """
        noted = self._noted("parts")
        elsewhere = [repr(part) for part in noted if _is_elsewhere(part)] if isinstance(noted, list) else []
        if elsewhere:
            file = self.settings if self.settings.is_file() else self.begun
            told = f"names the parts {first_of(elsewhere)}, which hrkd writes nowhere"
            raise ArtifactError(f"{file}: {told}; {self.advice}")
        for folder in (self.model, *(self.model / part for part in self._parts())):
            check_manifest(folder, advice=AGAIN.format(folder))

    @property
    def made_with(self) -> dict[str, Any]:
        """Versions of the packages with which the stage was made, or begun; {} where they are not known."""
        known = self._noted("versions")
        return known if isinstance(known, dict) else {}

    @property
    def other_versions(self) -> list[str]:
        """Packages of which another version is here than that with which the stage was made, or begun, in words."""
        now = versions()
        before = self.made_with
        return [f"{name} {then} (now {now[name]})" for name, then in before.items() if now.get(name, then) != then]

    def remove(self) -> None:
        """Remove all that hrkd wrote for the stage."""
        parts = self._parts()
        remove_own(self.model, parts=parts)
        for part in parts:
            remove_own(self.metrics / part, names=(EPOCH_FILES,), parts=TABLES)
        self.remove_metrics()
        self.remove_checkpoint(parts)

    def remove_checkpoint(self, parts: Iterable[str] = ()) -> None:
        """Remove the checkpoint and what lies beside it, and the folder of all checkpoints once nothing is in it."""
        for part in parts:
            _remove_checkpoints(self.checkpoint / part)
        _remove_checkpoints(self.checkpoint)
        for file in filter(None, (self.begun, self.best_per_domain)):
            file.unlink(missing_ok=True)
        remove_own(self.checkpoint.parent, names=())

    def remove_metrics(self) -> None:
        """Remove the step tables of a stage without parts, or of a part."""
        remove_own(self.metrics, names=(EPOCH_FILES,), parts=TABLES)

    def _noted(self, key: str) -> Any:
        """What the record of the stage, finished or under way, says beside the settings; None if it does not tell."""
        for file in (self.settings, self.begun):
            if file is not None and file.is_file():
                with suppress(ArtifactError):  # which is told where the settings are read
                    return self.record(file, what="the record of a stage").get(key)
        return None

    def _has_parts(self) -> bool:
        return any((self.model / part).is_dir() for part in self._parts())

    def _parts(self) -> list[str]:
        """Folders in that of the model which hold a part of it, as the record of the stage names them.

        Earlier versions did not note them: they are those named by the domain that their own record names.
        """
        if isinstance(parts := self._noted("parts"), list):
            return [part for part in parts if not _is_elsewhere(part)]
        found = []
        for path in sorted(self.model.glob(f"*/{STAGE_RECORD}")):
            folder = path.parent
            domain = read_record(path, what="the record of a stage", advice=AGAIN.format(folder)).get("domain")
            is_own = isinstance(domain, str) and folder.name.startswith(folder_names([domain])[domain])
            if is_own and not folder.is_symlink():
                found.append(folder.name)
        return found


def _is_elsewhere(part: Any) -> bool:
    """Whether what a record calls a part of a stage is no folder in that of the stage."""
    return not isinstance(part, str) or "/" in part or fault_of_name(part) is not None


def _remove_checkpoints(folder: Path) -> None:
    if not folder.is_symlink():
        remove_own(folder, parts=[path.name for path in checkpoints_in(folder)])


def versions(packages: tuple[str, ...] = DECISIVE) -> dict[str, str | None]:
    """Versions of packages; None of one that is not installed."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
