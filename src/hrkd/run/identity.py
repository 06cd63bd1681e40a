"""Is it the same model? What decides the weights of a stage, and in what two records of that differ.

A record holds the fields of a recipe that are not at their defaults, so that a younger field with its default leaves
every older record as it is; records of version 1, which hold them all, are compared by the same rule. Should a default
ever change, the older one has to be put back into older records here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError
from hrkd.recipe.schema import CacheConfig, DataConfig, MethodConfig, Recipe, Section, StudentConfig, TeacherConfig
from hrkd.support.domain_index import domain_folders

__all__ = ["VERSION", "differences", "model_settings", "recipe_settings", "unlike_defaults"]

VERSION = 3
"""Of the record of a stage."""
NOT_COMPARED = ("version", "versions", "parts")
"""In a record beside what decides the weights: its own version, those of the packages, folders of a stage's parts."""

SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "teacher": TeacherConfig,
    "student": StudentConfig,
    "method": MethodConfig,
    "cache": CacheConfig,
}
FIELDS = {
    "seed": "run.seed",
    "precision": "run.precision",
    "fast": "run.fast",
    "kernels": "run.kernels",
    "max_length": "data.max_length",
    "keep": "data.keep",
    "unlabelled": "data.unlabelled",
    "combine": "teacher.combine",
}
"""Names of a record that are called otherwise in a recipe."""


def model_settings(
    recipe: Recipe,
    stage: str,
    *,
    data: str,
    unlabelled: str | None,
    processes: int,
    external_teacher: Path | None = None,
) -> dict[str, Any]:
    """All that decides the weights of a stage, as JSON gives it back.

    Args:
        stage: "teacher", "levels", "student" or "baseline".
        data, unlabelled: hashes over the labelled rows, and over those without labels.
        processes: how many train it together.
        external_teacher: the folder of a teacher of another run.
    """
    sources = [source for source in (recipe.teacher.model, recipe.teacher.fine_tuned) if source is not None]
    settings = {
        **recipe_settings(recipe, stage),
        "version": VERSION,
        "data": data,
        "teacher_weights": [_weights(source) for source in sources],
        "processes": processes,
    }
    if stage == "teacher":
        return _plain(settings)
    if external_teacher is not None:
        folder = str(external_teacher)
        settings |= {"teacher": folder, "teacher_weights": [_weights(folder)]}
    checkpoint = recipe.student.checkpoint
    settings["student_weights"] = None if checkpoint is None else _weights(checkpoint)
    if stage != "baseline":
        settings["unlabelled"] = unlabelled
    return _plain(settings)


def recipe_settings(recipe: Recipe, stage: str) -> dict[str, Any]:
    """What decides the weights of a stage, as far as a recipe says it and but for the rows, as plain values."""
    settings: dict[str, Any] = {
        "max_length": recipe.data.max_length,
        "keep": None if recipe.data.keep == "head" else recipe.data.keep,
        "teacher": _of(recipe.teacher),
        "seed": recipe.run.seed,
        "precision": recipe.run.mixed_precision,
        "fast": recipe.run.fast or None,
        "kernels": None if recipe.run.kernels == "auto" else recipe.run.kernels,
    }
    if stage != "teacher":
        settings["student"] = _of(recipe.student)
    if stage == "levels":  # whose vocabulary is still the teacher's
        settings["student"].pop("vocabulary", None)
    if stage in ("levels", "student"):
        settings["combine"] = None if recipe.teacher.combine == "route" else recipe.teacher.combine
        settings |= {"method": _of(recipe.method), "cache": _of(recipe.cache)}
    return settings


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The fields in which two records differ, readable; a missing field and one of null are the same."""
    then, now = (_with_defaults(_plain(record)) for record in (old, new))
    return _differences(then, now, "")


def unlike_defaults(section: Section, *, but: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The fields of a section, save some, that are not at their defaults, as plain values."""
    return _unlike(section.model_dump(mode="json", exclude=set(but)), _defaults(type(section)))


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` as JSON gives it back."""
    copy: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return copy


def _of(section: Section) -> dict[str, Any]:
    return unlike_defaults(section, but=section.leaves_weights_alone)


def _defaults(section: type[Section]) -> dict[str, Any]:
    return section.model_construct().model_dump(mode="json")


def _unlike(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        default = defaults.get(name)
        if value != default:
            kept[name] = _unlike(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
    return kept


def _with_defaults(record: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(record.get("version", 1), int) or record.get("version", 1) > VERSION:
        raise ArtifactError(
            f"the record of a stage is of version {record['version']}, this hrkd writes {VERSION}; use the hrkd that "
            "made the run, or choose another run.output"
        )
    filled = {name: value for name, value in record.items() if name not in NOT_COMPARED}
    if record.get("version", 1) < 3:
        filled |= _as_then(filled)
    for name, section in SECTIONS.items():
        # Rows are a hash, and a teacher of another run is the name of its folder.
        if isinstance(filled.get(name), dict):
            filled[name] = _filled(filled[name], _defaults(section))
    _drop_what_has_no_effect(filled)
    return filled


def _drop_what_has_no_effect(record: dict[str, Any]) -> None:
    """How a teacher would be trained that is fine-tuned already, and the buckets of a student that has none."""
    teacher, student = record.get("teacher"), record.get("student")
    if isinstance(teacher, dict) and teacher.get("fine_tuned"):
        del teacher["training"]
    if isinstance(student, dict) and student["kind"] == "encoder":
        del student["pair_buckets"]


def _as_then(record: Mapping[str, Any]) -> dict[str, Any]:
    """What versions 1 and 2 meant by defaults that are others now: of static students and of the published graph."""
    found: dict[str, Any] = {}
    student, method = record.get("student"), record.get("method")
    if isinstance(student, dict) and student.get("kind") == "static":
        found["student"] = {"pair_buckets": 65_536, **student, "width": student.get("width") or 64}
    if isinstance(method, dict) and method.get("graph", "published") == "published":
        found["method"] = {**method, "graph_width": method.get("graph_width") or "that of the states / heads"}
    return found


def _filled(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    filled = {**defaults, **values}
    for name, default in defaults.items():
        if isinstance(default, dict) and isinstance(values.get(name), dict):
            filled[name] = _filled(values[name], default)
    return filled


def _differences(old: Any, new: Any, where: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        return [line for key in keys for line in _differences(old.get(key), new.get(key), f"{where}.{key}".strip("."))]
    then, now = ("not set" if value is None else value for value in (old, new))
    return [] if old == new else [f"{FIELDS.get(where, where)}: {then} then, {now} now"]


def _weights(source: str | Mapping[str, str]) -> Any:
    """A hash of the weights in a folder (None for a name on the Hub), or of those of each domain."""
    if isinstance(source, str):
        folders = domain_folders(source)
        return _weights_digest(Path(source)) if folders is None else _weights(folders)
    return {domain: _weights_digest(Path(folder)) for domain, folder in source.items()}


def _weights_digest(folder: Path) -> str | None:
    """SHA-256 over the safetensors files of a local folder, None for a name on the Hub."""
    files = [file for file in sorted(folder.glob("*.safetensors")) if file.is_file()] if folder.is_dir() else []
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            total.update(hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest() if files else None
