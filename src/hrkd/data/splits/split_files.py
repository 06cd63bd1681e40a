"""Files that fix a split: the ids of the train, dev and test rows with a hash of each text, as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hrkd.data.columns import chunks_of, firsts, json_items, ranks_of, repeated
from hrkd.data.readers.places import check_is_plain
from hrkd.data.splits.draws import normalised
from hrkd.data.types import PARTS, MultiDomainDataset, Splits
from hrkd.errors import DataError
from hrkd.support.atomic_files import replace_file
from hrkd.support.json_text import parse_json
from hrkd.support.messages import count_of, first_of

__all__ = ["content_hashes", "read_split_ids", "save_split_ids", "seen_texts", "texts_of_file"]

HEAD = {"format": "hrkd-splits", "version": 2}
VERSIONS = (1, 2)
"""Files of version 1 list ids alone."""
PLACE = re.compile(r".*#\d+")
HASH = re.compile("[0-9a-f]{16}")

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


def content_hashes(dataset: MultiDomainDataset) -> Hashes:
    """A hash of each text (of both texts of a pair), shape (rows,); equal for copies, see :func:`normalised`."""
    texts = chain.from_iterable(normalised(dataset))
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.fromiter((int.from_bytes(digest) for digest in digests), dtype=np.uint64, count=len(dataset))


def save_split_ids(splits: Splits, path: Path) -> None:
    """Write the ids of each part, and a hash of the text of each row, to a JSON file that :func:`read_split_ids` reads.

    Missing folders are made.

    Raises:
        ArtifactError: the file cannot be written; an older file is left as it was.
    """
    with replace_file(Path(path)) as new, new.open("w", encoding="utf-8") as file:
        file.write(json.dumps(HEAD, indent=0).removesuffix("\n}"))
        for name, part in splits:
            file.write(f',\n"{name}": [\n')
            file.writelines(json_items(part.rows, "id", separator=",\n"))
            file.write("\n]")
        file.write(',\n"texts": {')
        for number, pair in enumerate(chain.from_iterable(_pairs(part) for _, part in splits)):
            file.write(f"{',' if number else ''}\n{pair}")
        file.write("\n}\n}\n")


def _pairs(part: MultiDomainDataset) -> Iterator[str]:
    """The id of each row and the hash of its text, as they stand in a JSON object."""
    ids = chain.from_iterable(chunk["id"] for chunk in chunks_of(part.rows, "id"))
    for name, text in zip(ids, content_hashes(part).tolist(), strict=True):
        yield f'{json.dumps(name, ensure_ascii=False)}: "{text:016x}"'


def read_split_ids(path: Path, dataset: MultiDomainDataset) -> tuple[dict[str, Ints], list[str]]:
    """Positions in ``dataset`` of the train, dev and test rows that the file lists, and notes.

    Rows are found by their ids. Where a row has another text than the file says (the table was sorted anew, rows were
    added), all are found by their texts instead, if that can be done without doubt: each text stands in the data as
    often as in the file, or in rows of one label and domain.

    The ids that the file lists are held in memory.

    Raises:
        DataError: the file is missing, is no splits file, lists an id twice, or its rows are not in the data.
    """
    check_is_plain(Path(path))
    file = _parse(Path(path))
    _check_unique(path, dataset)
    every = [name for part in PARTS for name in file.parts[part]]
    position = dict.fromkeys(every, -1)
    if len(position) < len(every):
        twice = [repr(name) for name, count in Counter(every).items() if count > 1]
        raise DataError(f"{path}: ids listed more than once: {first_of(twice)}; list each id once, in one part")
    ids = (name for chunk in chunks_of(dataset.rows, "id") for name in chunk["id"])
    position.update((name, row) for row, name in enumerate(ids) if name in position)
    rows = np.fromiter(position.values(), dtype=np.int64, count=len(every))
    notes = [_unchecked(path, every)] if file.texts is None else []
    moved = rows < 0
    if file.texts is not None:
        wanted, found = _wanted(path, file.texts, every), content_hashes(dataset)
        moved |= found[rows] != wanted if len(found) else True
        if moved.any():
            sides = np.repeat(np.arange(len(PARTS)), [len(file.parts[part]) for part in PARTS])
            by_text, problem = _by_text(dataset, wanted, found, sides)
            if not problem:
                rows, moved = by_text, np.zeros_like(moved)
                notes.append(
                    f"{Path(path).name}: rows are told by their texts, as ids stand for other texts than when it was "
                    "written"
                )
    if moved.any():
        unknown = [repr(every[i]) for i in np.flatnonzero(rows < 0)]
        other = [repr(every[i]) for i in np.flatnonzero(moved & (rows >= 0))]
        told = [f"{len(unknown):,} of {len(every):,} ids are not in the data: {first_of(unknown)}"] if unknown else []
        told += [f"{len(other):,} of {len(every):,} ids have another text in the data: {first_of(other)}"] * bool(other)
        told += [problem] if file.texts is not None else []
        raise DataError(
            f"{path}: {'; '.join(told)}; use the data that the file was written for, or another splits file"
        )
    return dict(
        zip(PARTS, np.split(rows, np.cumsum([len(file.parts[part]) for part in PARTS])[:-1]), strict=True)
    ), notes


def seen_texts(path: Path, dataset: MultiDomainDataset) -> Ints | None:
    """Rows of ``dataset`` whose text was in train of the split that the file describes; None: it does not say.

    Copies count whatever their case, white space, ids and labels; files of version 1 hold ids alone.

    Raises:
        DataError: the file is missing, or no splits file.
    """
    known = texts_of_file(path)
    return None if known is None else np.flatnonzero(np.isin(content_hashes(dataset), known["train"]))


def texts_of_file(path: Path) -> dict[str, Hashes] | None:
    """:func:`content_hashes` of the train, dev and test rows of a splits file; None where it holds ids alone.

    Raises:
        DataError: the file is missing, or no splits file.
    """
    file = _parse(Path(path))
    texts = file.texts
    return None if texts is None else {name: _wanted(path, texts, ids) for name, ids in file.parts.items()}


def _by_text(dataset: MultiDomainDataset, wanted: Hashes, found: Hashes, sides: Ints) -> tuple[Ints, str]:
    """The row of each ``wanted`` text among those ``found`` (rows,), and why that cannot be told."""
    texts, which, listed = np.unique(wanted, return_inverse=True, return_counts=True)
    order = np.argsort(found, kind="stable")
    starts, ends = (np.searchsorted(found[order], texts, side) for side in ("left", "right"))
    if few := int(np.count_nonzero(ends - starts < listed)):
        return order, f"{count_of(few, 'text', 'texts')} that it lists are not in the data, or less often"
    least, most = np.full(len(texts), len(PARTS)), np.full(len(texts), -1)
    np.minimum.at(least, which, sides)
    np.maximum.at(most, which, sides)
    kinds = dataset.domain_ids * (len(dataset.labels) + 1) + dataset.label_ids_or_none
    doubtful = [
        number
        for number in np.flatnonzero((ends - starts > listed) | (least < most)).tolist()
        if least[number] < most[number] or len(set(kinds[order[starts[number] : ends[number]]].tolist())) > 1
    ]
    if doubtful:
        return order, f"{count_of(len(doubtful), 'text', 'texts')} that it lists stand in several rows"
    by_text = np.argsort(which, kind="stable")
    nth = np.empty(len(wanted), dtype=np.int64)
    nth[by_text] = np.arange(len(wanted)) - np.repeat(np.cumsum(listed) - listed, listed)
    rows: Ints = order[starts[which] + nth]
    return rows, ""


def _unchecked(path: Path, ids: list[str]) -> str:
    place = next((name for name in ids if PLACE.fullmatch(name)), None)
    more = "" if place is None else f" ({place} is a place in a file: rows that were sorted anew or added move it)"
    return (
        f"{Path(path).name}: of version 1, with ids alone, so that it cannot be checked whether these still have the "
        f"same texts{more}; the splits.json of a new run can be"
    )


def _check_unique(path: Path, dataset: MultiDomainDataset) -> None:
    rows = dataset.rows
    ranks = ranks_of(chunk["id"] for chunk in chunks_of(rows, "id"))
    if twice := [repr(rows[first]["id"]) for first in firsts(ranks, repeated(ranks)).tolist()]:
        raise DataError(
            f"{path}: cannot be used, as ids of the data are not unique: {first_of(twice)}; give unique ids"
        )


@dataclass(frozen=True)
class _SplitsFile:
    """Ids by part, and the hash of each id's text in hexadecimal digits (None in files of version 1)."""

    parts: dict[str, list[str]]
    texts: dict[str, str] | None


def _wanted(path: Path, texts: dict[str, str], ids: list[str]) -> Hashes:
    if without := [repr(name) for name in ids if name not in texts]:
        raise DataError(f"{path}: no hash of the text (under texts) for {first_of(without)}; list ids that have one")
    return np.array([int(texts[name], 16) for name in ids], dtype=np.uint64)


def _parse(path: Path) -> _SplitsFile:
    try:
        content: Any = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot read the splits file ({error.strerror}); check splits_file") from error
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file ({error}); expected a splits file as a run writes it") from error
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(content, dict) or content.get("format") != HEAD["format"] or version not in VERSIONS:
        raise DataError(
            f'{path}: not a splits file; expected a JSON object with "format": "hrkd-splits", "version": 2 (or 1)'
        )
    lists: dict[str, Any] = {name: content.get(name) for name in PARTS}
    wrong = [
        name
        for name, ids in lists.items()
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids)
    ]
    if wrong:
        raise DataError(f"{path}: expected a list of ids (strings) under {' and '.join(wrong)}")
    texts = content.get("texts")
    if version == 1:
        return _SplitsFile(lists, None)
    if not isinstance(texts, dict) or not all(isinstance(t, str) and HASH.fullmatch(t) for t in texts.values()):
        raise DataError(f"{path}: expected ids with a hash (16 hexadecimal digits) each under texts")
    return _SplitsFile(lists, texts)
