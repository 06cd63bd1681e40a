"""The index of a folder that holds one model folder per domain: single-domain teachers, or an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import read_json, write_json
from hrkd.support.folder_names import fault_of_name
from hrkd.support.messages import first_of

__all__ = ["INDEX", "DomainIndex", "domain_folders", "read_domain_index", "write_domain_index"]

Holds = Literal["teachers", "plain"]
"""Folders of hrkd, as teachers; or plain classifiers, which need transformers alone."""

INDEX = "domains.json"
FORMAT, VERSION = "hrkd-domains", 1
EARLIER: dict[str, Holds] = {"hrkd-teachers": "teachers", "hrkd-export": "plain"}
"""Two formats, each at version 1, that this one is the successor of, and what such a folder holds."""


@dataclass(frozen=True)
class DomainIndex:
    """What the folder holds, where the model of each domain lies, and a digest of the rows that they were made from."""

    holds: Holds
    folders: Mapping[str, Path]
    data: str | None = None


def write_domain_index(folder: Path, names: Mapping[str, str], holds: Holds, *, data: str | None = None) -> None:
    """Say in ``folder`` which folder in it is whose (``names``, domain: name), and what rows they were made from."""
    known = {} if data is None else {"data": data}
    write_json(folder / INDEX, {"format": FORMAT, "version": VERSION, "holds": holds, "domains": dict(names), **known})


def read_domain_index(folder: Path) -> DomainIndex | None:
    """The index in ``folder``; None if there is none of hrkd.

    Raises:
        ArtifactError: it is damaged, of a later hrkd, or a domain's folder is missing.
    """
    path = folder / INDEX
    if not path.is_file():
        return None
    index: Any = read_json(path, what="the index of the domains' folders")
    name = index.get("format") if isinstance(index, dict) else None
    if name not in (FORMAT, *EARLIER):
        return None
    if index.get("version") != VERSION:
        raise ArtifactError(
            f"{path}: {name} version {index.get('version')}, where version {VERSION} is read; open it with the hrkd "
            "that wrote it, or make the folder anew"
        )
    holds, names = EARLIER.get(str(name)) or index.get("holds"), index.get("domains")
    if holds not in EARLIER.values() or not isinstance(names, dict) or not names:
        raise ArtifactError(f"{path}: it does not say which folder is whose; restore the folder or make it anew")
    if outside := [repr(name) for name in names.values() if not isinstance(name, str) or fault_of_name(name)]:
        raise ArtifactError(
            f"{path}: no folder in it is called {first_of(outside)}; restore the folder or make it anew"
        )
    folders = {domain: folder / name for domain, name in names.items()}
    if missing := [str(each) for each in folders.values() if not each.is_dir()]:
        raise ArtifactError(f"{path}: there is no {first_of(missing)}; restore the folder or make it anew")
    return DomainIndex(holds, folders, index.get("data"))


def domain_folders(source: str | Path) -> dict[str, str] | None:
    """The folder of each domain's classifier, in a folder that holds one for each; None for any other source.

    Raises:
        ArtifactError: it is damaged.
    """
    index = read_domain_index(Path(source).expanduser())
    return None if index is None else {domain: str(folder) for domain, folder in index.folders.items()}
