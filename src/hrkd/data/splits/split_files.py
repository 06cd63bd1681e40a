"""Files that fix a split: the ids of the train, dev and test rows, as JSON."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrkd.data.columns import chunks_of, firsts, json_items, ranks_of, repeated
from hrkd.data.types import PARTS, Splits
from hrkd.errors import DataError
from hrkd.support.atomic_files import replace_file
from hrkd.support.messages import first_of

if TYPE_CHECKING:
    import datasets

__all__ = ["read_split_ids", "save_split_ids"]

FORMAT = {"format": "hrkd-splits", "version": 1}


def save_split_ids(splits: Splits, path: Path) -> None:
    """Write the ids of each part to a JSON file that :func:`read_split_ids` reads back; missing folders are made.

    Raises:
        ArtifactError: the file cannot be written; an older file is left as it was.
    """
    with replace_file(Path(path)) as new, new.open("w", encoding="utf-8") as file:
        file.write(json.dumps(FORMAT, indent=0).removesuffix("\n}"))
        for name, part in splits:
            file.write(f',\n"{name}": [\n')
            file.writelines(json_items(part.rows, "id", separator=",\n"))
            file.write("\n]")
        file.write("\n}\n")


def read_split_ids(path: Path, rows: datasets.Dataset) -> dict[str, list[int]]:
    """Positions in ``rows`` (by their ids) of the train, dev and test rows that the file lists.

    The ids that the file lists are held in memory.

    Raises:
        DataError: the file is missing, is no splits file, lists an id twice or lists one that is not in the data.
    """
    parts = _parse(Path(path))
    _check_unique(path, rows)
    every = [name for names in parts.values() for name in names]
    position = dict.fromkeys(every, -1)
    if len(position) < len(every):
        twice = [repr(name) for name, count in Counter(every).items() if count > 1]
        raise DataError(f"{path}: ids listed more than once: {first_of(twice)}; list each id once, in one part")
    ids = (name for chunk in chunks_of(rows, "id") for name in chunk["id"])
    position.update((name, row) for row, name in enumerate(ids) if name in position)
    unknown = [repr(name) for name, row in position.items() if row < 0]
    if unknown:
        raise DataError(
            f"{path}: {len(unknown):,} of {len(every):,} ids are not in the data: {first_of(unknown)}; "
            "use the data that the file was written for, or another splits file"
        )
    return {name: [position[row] for row in parts[name]] for name in PARTS}


def _check_unique(path: Path, rows: datasets.Dataset) -> None:
    ranks = ranks_of(chunk["id"] for chunk in chunks_of(rows, "id"))
    if twice := [repr(rows[first]["id"]) for first in firsts(ranks, repeated(ranks)).tolist()]:
        raise DataError(
            f"{path}: cannot be used, as ids of the data are not unique: {first_of(twice)}; give unique ids"
        )


def _parse(path: Path) -> dict[str, list[str]]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot read the splits file ({error.strerror}); check splits_file") from error
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file ({error}); expected a splits file as a run writes it") from error
    if not isinstance(content, dict) or any(content.get(key) != value for key, value in FORMAT.items()):
        raise DataError(f'{path}: not a splits file; expected a JSON object with "format": "hrkd-splits", "version": 1')
    lists: dict[str, Any] = {name: content.get(name) for name in PARTS}
    wrong = [
        name
        for name, ids in lists.items()
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids)
    ]
    if wrong:
        raise DataError(f"{path}: expected a list of ids (strings) under {' and '.join(wrong)}")
    return lists
