"""The folder of an export that hrkd runs without torch: what it says of itself, and whether it is whole.

::

    FOLDER/
      export.json         what it is, what it was made from, and how it was checked
      model.onnx          or model.xml and model.bin
      tokenizer.json      of the tokenizers library, with the files that transformers wants beside it
      manifest.json

Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from hrkd.deploy.export.targets import PLAIN, TARGETS
from hrkd.errors import ArtifactError
from hrkd.models.open_model import ModelFacts, are_columns, are_names, read_facts
from hrkd.recipe.schema import Keep
from hrkd.support.arguments import path_of
from hrkd.support.atomic_files import read_json, read_record, writing
from hrkd.support.domain_index import domain_folders, read_domain_index
from hrkd.support.folder_names import fault_of_name
from hrkd.support.manifest import check_manifest
from hrkd.support.messages import brief

__all__ = [
    "CHECKS",
    "COLUMNS",
    "EXPORT",
    "HEAD",
    "ExportRecord",
    "check_place",
    "exported_facts",
    "facts_of_any",
    "is_export",
    "read_export",
]

EXPORT = "export.json"
CHECKS = "checks.json"
"""Beside the folders of a plain export: what export.json says of others, but for what only hrkd's runtimes read."""
HEAD: dict[str, Any] = {"format": "hrkd-export", "version": 1}
RESTORE = "make the export anew (hrkd export), or restore the folder from a copy"
COLUMNS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""Of token ids, that a graph may take, and what the tokenizers library calls them."""
NEEDS = {
    "target": str,
    "model": str,
    "inputs": list,
    "padding": dict,
    "truncation_side": str,
    "facts": dict,
    "made_from": dict,
    "settings": dict,
    "checks": dict,
}


@dataclass(frozen=True)
class ExportRecord:
    """What an export says of itself.

    Args:
        target: what it was made for, such as ``onnx-int8``.
        model: the file to run.
        inputs: names of the columns of token ids that the model takes, besides ``domain_ids``.
        padding: what stands behind shorter rows, by column; 0 where it is not said.
        truncation_side: where the tokenizer cuts a long text whose head is kept.
        facts: what the student said of itself; a graph of one domain knows that one alone, and asks for no domain.
        made_from: the student's folder, a hash of its files, a digest of the rows of its run, its parameters (of the
            pieces that are kept), and versions of what made the export.
        settings: how it was made.
        checks: what was found when it was held against the student.
    """

    target: str
    model: str
    inputs: list[str]
    padding: dict[str, int]
    truncation_side: str
    facts: ModelFacts
    made_from: dict[str, Any]
    settings: dict[str, Any]
    checks: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As export.json holds it."""
        return {**HEAD, **asdict(self)}


def is_export(folder: str | Path) -> bool:
    """Whether a folder says that it is such an export."""
    try:
        return (Path(folder).expanduser() / EXPORT).is_file()
    except (OSError, RuntimeError, ValueError, TypeError):
        return False


def check_place(output: Path, overwrite: bool) -> None:
    """Whether an export may be written to a folder; with ``overwrite`` in the place of an earlier one of any form.

    Raises:
        ArtifactError: it may not; says why.
    """
    with writing(output):
        if output.exists() and not output.is_dir():
            raise ArtifactError(f"{output}: is a file; name a folder to export to")
        if not output.is_dir() or not any(output.iterdir()):
            return
    form = _form_in(output)
    if form is None:
        raise ArtifactError(f"{output}: not empty and no earlier export; choose another folder, or empty it first")
    if not overwrite:
        raise ArtifactError(
            f"{output}: holds an earlier export ({form}); replace it with overwrite (--overwrite), or choose another "
            "folder"
        )


def _form_in(folder: Path) -> str | None:
    """Which form of an export a folder holds; None: none."""
    if is_export(folder):
        said = read_json(folder / EXPORT, what="the record of an export", advice=RESTORE)
        return str(said.get("target")) if isinstance(said, dict) and said.get("format") == HEAD["format"] else None
    index = read_domain_index(folder)
    return PLAIN if index is not None and index.holds == "plain" else None


def read_export(folder: str | Path) -> ExportRecord:
    """What an export says of itself, once its files are found to be whole; none is opened.

    Raises:
        ArtifactError: it is damaged, or was written by a later hrkd.
    """
    place = path_of("folder", folder, "the folder of an export")
    check_manifest(place, advice=RESTORE)
    file = place / EXPORT
    record = read_record(file, what="the record of an export", advice=RESTORE, needs=NEEDS)
    if {name: record.get(name) for name in HEAD} != HEAD:
        raise ArtifactError(
            f"{file}: {record.get('format')} version {record.get('version')}, where {HEAD['format']} version "
            f"{HEAD['version']} is read; use the hrkd that wrote it, or make the export anew"
        )
    facts = _facts(record["facts"])
    sound = (
        record["target"] in TARGETS
        and all(name in list(COLUMNS) for name in record["inputs"])
        and "input_ids" in record["inputs"]
        and all(name in COLUMNS and type(value) is int for name, value in record["padding"].items())
        and record["truncation_side"] in ("left", "right")
    )
    if facts is None or not sound:
        raise ArtifactError(f"{file}: its facts are no longer what was written; {RESTORE}")
    if fault_of_name(record["model"]) or "/" in record["model"] or not (place / record["model"]).is_file():
        raise ArtifactError(f"{place}: {brief(record['model'])} is missing; {RESTORE}")
    return ExportRecord(**{name: record[name] for name in NEEDS if name != "facts"}, facts=facts)


def _facts(said: dict[str, Any]) -> ModelFacts | None:
    """The facts that a record holds; None where they are none."""
    try:
        facts = ModelFacts(**said)
    except TypeError:
        return None
    names = [each for each in (facts.domains, facts.labels) if are_names(each)]
    columns = facts.columns is None or are_columns(facts.columns)
    switches = type(facts.one_head) is bool and type(facts.routes) is bool
    length = type(facts.max_tokens) is int and facts.max_tokens > 0
    return facts if len(names) == 2 and columns and switches and length and facts.keep in get_args(Keep) else None


def facts_of_any(folder: str | Path) -> ModelFacts:
    """What a folder that :class:`hrkd.Predictor` opens says of itself; none of its models is opened.

    Raises:
        ArtifactError: it is no such folder, or damaged.
    """
    return read_export(folder).facts if is_export(folder) else read_facts(folder)


def exported_facts(folder: Path) -> dict[str, Any]:
    """The record of an export of any form, with its folder; of a plain one the folder of each domain's classifier.

    Raises:
        ArtifactError: it is none, or damaged.
    """
    if is_export(folder):
        return {"folder": str(folder), **read_export(folder).to_dict()}
    checks = read_json(folder / CHECKS, what="the checks of an export", advice=RESTORE)
    return {"folder": str(folder), **HEAD, "target": PLAIN, "folders": domain_folders(folder), **checks}
