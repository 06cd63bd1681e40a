"""Text of several domains, with labels or without, from wherever it lies: :func:`load_domains`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hrkd.data.assembly import assemble, domain_names
from hrkd.data.readers.amazon import (
    amazon_root,
    extra_files,
    read_amazon_extra,
    read_amazon_reviews,
    read_amazon_unlabelled,
)
from hrkd.data.readers.parts import FILE_NAME, Part, dataset_part, dict_part, frame_part, with_file_names
from hrkd.data.readers.picking import pick
from hrkd.data.readers.places import TABLE_SUFFIXES, check_is_plain, is_hub_name, no_such_path, table_kind
from hrkd.data.readers.research import read_fdu_mtl, read_fdu_unlabelled, read_mnli
from hrkd.data.readers.split_names import note_on_names, splits_of
from hrkd.data.readers.tables import no_tables, passed_over, read_tables, table_files
from hrkd.data.rows import DEFAULTS, ColumnNames, RawRows
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import DataError
from hrkd.support.folder_names import fault_of_name
from hrkd.support.json_text import parse_json
from hrkd.support.messages import first_line, first_of

if TYPE_CHECKING:
    import datasets
    import pandas as pd

__all__ = ["has_columns_of_its_own", "load_domains", "open_parts", "raw_rows"]

RESEARCH = {"amazon_reviews": read_amazon_reviews, "fdu_mtl": read_fdu_mtl, "mnli": read_mnli}
UNLABELLED = {
    "amazon_reviews": read_amazon_unlabelled,
    "amazon_reviews_extra": read_amazon_extra,
    "fdu_mtl": read_fdu_unlabelled,
}
FORMATS = ("auto", "table", "dataset", *RESEARCH, "synthetic")
ROWS_VERSION = 3
"""Goes up when the same files come to give other rows."""
LOOKED_FOR = (
    f"tables ({', '.join(TABLE_SUFFIXES)}), a folder written by save_to_disk, */positive.review (amazon_reviews), "
    "*.task.train (fdu_mtl), dev_matched*.tsv (mnli)"
)
ALSO_LOOKED_FOR = "*/review_positive (amazon_reviews_extra), *.task.unlabel (fdu_mtl)"

Source: TypeAlias = "str | Path | pd.DataFrame | Mapping[str, Sequence[Any]] | datasets.Dataset | datasets.DatasetDict"


def load_domains(
    source: Source | None,
    *,
    format: str = DEFAULTS.format,  # noqa: A002
    text: str = DEFAULTS.text,
    text_pair: str | None = None,
    label: str | None = DEFAULTS.label,
    domain: str = DEFAULTS.domain,
    split: str | None = None,
    id: str | None = None,  # noqa: A002
    domains: Sequence[str] | None = None,
    cache: Path | None = None,
    to_measure: bool = False,
) -> MultiDomainDataset:
    """Read text, check it and give labels and domains their numbers.

    Labels and domains become strings: ``1.0`` becomes ``1``, names are stripped. Labels that are all integers are
    sorted by number, others as text; one map serves all domains. Ids come from the column ``id``, or are
    ``<file>#<row>`` with rows counted from 1 after the header (``row#<row>`` for objects in memory). Rows that a
    reader of a research set leaves out are logged at WARNING by the logger ``hrkd.data``.

    Args:
        source: A table (.csv, .tsv, .jsonl, .parquet, the first three also .gz) or a folder of tables of one kind (or
            with one called ``data``); a folder written by ``save_to_disk``; the name of a hub data set; a folder of a
            research set; or a pandas frame, a mapping of columns, a ``Dataset`` or ``DatasetDict``. In a folder, files
            with train, dev or test as a word of their names (``reviews_test.csv``) are these splits, as are the keys
            of a ``DatasetDict``, unless ``split`` names a column.
        format: Layout: table, dataset, amazon_reviews, fdu_mtl, mnli, without labels also amazon_reviews_extra; or auto
            to recognise it.
        text: Column with the text.
        text_pair: Column with the second text of a pair task.
        label: Column with the class. None: none is looked at, and the data set has no labels (a teacher may be asked
            about such rows, nothing can be learnt from them otherwise); nor do ``split`` and ``id`` play a part. Raw
            folders are then those of their unlabelled files: ``*/unlabeled.review``, ``*/review_{positive,negative}``
            (``title. body`` in each line), ``*.task.unlabel``; where a set has none, its texts are taken.
        domain: Column with the domain.
        split: Column with train, dev (validation) or test.
        id: Column with a unique id.
        domains: Keep these domains only, in this order; None: all, sorted. Without labels, some may have no rows.
        cache: Folder that keeps the rows of tables and saved data sets, so that the same content is read and checked
            once. None, and for other sources: a temporary file, gone with the process. In either case the rows stay
            on disk, and memory does not grow with the text.
        to_measure: The rows are for measuring a model: they may have a single label, and domains without train rows.

    Raises:
        ArtifactError: what the cache keeps is damaged, or there is no room for the file.
        DataError: the source is missing or of an unknown layout, a column is missing, or rows cannot be used;
            names file, row and column.
    """
    asked = {"text": text, "text_pair": text_pair, "label": label, "domain": domain, "split": split, "id": id}
    text, text_pair, label, domain, split, id = (_column_name(*item) for item in asked.items())  # noqa: A001
    labelled = label is not None
    names = ColumnNames(text, text_pair, label, domain, split if labelled else None, id if labelled else None)
    _check_source(source, format, labelled=labelled)
    if cache is not None and not isinstance(cache, str | Path):
        raise DataError(f"cache: expected the path of a folder, got {cache!r} ({type(cache).__name__})")
    cache = None if cache is None else Path(cache)
    domains = domain_names(domains)
    origin = _from_path(source, format, names) if isinstance(source, str | Path) else _in_memory(source, format, names)
    mark = "" if cache is None else _mark(origin, names, domains)
    plain: dict[str, Any] = {} if labelled else dict.fromkeys(("label", "split", "id"))
    chunks = (replace(chunk, **plain) for chunk in origin.chunks)
    kept = cache if mark else None
    of = str(Path(source).expanduser().absolute()) if isinstance(source, str | Path) else ""
    try:
        return assemble(chunks, domains, labelled=labelled, to_measure=to_measure, cache=kept, mark=mark, of=of)
    except DataError as error:
        raise _naming(source, origin.files, error) from error


def _naming(source: Source, files: Sequence[Path], error: DataError) -> DataError:
    """An error about rows, with the source that they are from, where it names no file."""
    if not isinstance(source, str | Path) or any(path.name in str(error) for path in (Path(source), *files)):
        return error
    return DataError(f"{source}: {error}")


def raw_rows(source: str | Path, layout: str, names: ColumnNames) -> Iterator[RawRows]:
    """Labelled rows of files as they stand there, some at a time, nothing checked but that they can be read.

    Raises:
        DataError: as :func:`load_domains`, but for what is wrong with single rows.
    """
    _check_source(source, layout, labelled=True)
    yield from _from_path(source, layout, names).chunks


def open_parts(source: str | Path, layout: str = DEFAULTS.format) -> list[Part] | None:
    """The tables of a file, folder or hub data set, whatever their columns; None of a set with columns of its own.

    Raises:
        DataError: the source is missing, of an unknown layout or cannot be read.
    """
    _check_source(source, layout, labelled=True)
    path = Path(source).expanduser()
    check_is_plain(path)
    if layout == "auto":
        layout = _recognise(source, path, labelled=True)
    if layout in RESEARCH:
        return None
    if layout == "dataset":
        return _dataset_parts(_open_dataset(source, path), ColumnNames())
    if not path.exists():
        raise DataError(no_such_path(path))
    return read_tables(path)


def _check_source(source: Source | None, layout: str, *, labelled: bool) -> None:
    known = FORMATS if labelled else tuple(dict.fromkeys((*FORMATS, *UNLABELLED)))
    if layout not in known:
        raise DataError(f"format: expected {', '.join(known)}; got {layout!r}")
    if source is None or layout == "synthetic":
        raise DataError("source: nothing to load; a synthetic corpus is generated, every other format needs a source")
    if isinstance(source, str) and not source.strip():
        raise DataError("source: expected a path or a name, got an empty string")


def has_columns_of_its_own(source: str | Path, layout: str = DEFAULTS.format) -> bool:
    """Whether a source is a research set or a generated corpus, whose columns nobody has to name."""
    path = Path(source).expanduser()
    if layout == "auto" and path.is_dir():
        layout = _recognise_folder(path, labelled=True)
    return layout in (*RESEARCH, "synthetic")


def _column_name(role: str, name: Any) -> Any:
    """The name of a column as it stands in a table: a string; pandas names columns by numbers, too."""
    if isinstance(name, str) or (name is None and role not in ("text", "domain")):
        return name
    if isinstance(name, Integral) and not isinstance(name, bool):
        return str(name)
    advice = {
        "text": "",
        "domain": "; every row needs a domain: add a column that names it, with one value if there is one",
    }.get(role, ", or None where there is none")
    if isinstance(name, tuple):
        advice = "; join the levels of a MultiIndex to one string each"
    raise DataError(f"{role}: expected the name of a column, got {name!r} ({type(name).__name__}){advice}")


@dataclass(frozen=True)
class Origin:
    """Rows to be read, and the files that, read as ``kind``, decide them (none: what decides them cannot be told)."""

    chunks: Iterable[RawRows]
    kind: str = ""
    files: tuple[Path, ...] = ()


def _mark(origin: Origin, names: ColumnNames, domains: Sequence[str] | None) -> str:
    """A name for what is read from files, by their names and content; empty without files."""
    total = hashlib.sha256(repr((ROWS_VERSION, origin.kind, names, domains)).encode())
    try:
        for file in origin.files:
            with file.open("rb") as content:
                total.update(f"{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}".encode())
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    return total.hexdigest()[:20] if origin.files else ""


def _in_memory(source: Any, layout: str, names: ColumnNames) -> Origin:
    import datasets
    import pandas as pd

    kinds = {pd.DataFrame: "table", datasets.Dataset: "dataset", datasets.DatasetDict: "dataset", Mapping: "table"}
    kind = next((kind for cls, kind in kinds.items() if isinstance(source, cls)), None)
    if kind is None or isinstance(source, datasets.IterableDatasetDict):
        raise DataError(
            "source: expected a path, a hub name, a pandas DataFrame, a mapping of columns, a Dataset or a "
            f"DatasetDict; got {type(source).__name__}"
        )
    if layout not in ("auto", kind):
        raise DataError(f"format: {layout!r} does not fit a {type(source).__name__} in memory; use 'auto'")
    if kind == "dataset":
        return Origin(pick(_dataset_parts(source, names), names))
    return Origin(pick([frame_part(source) if isinstance(source, pd.DataFrame) else dict_part(source)], names))


def _dataset_parts(source: datasets.Dataset | datasets.DatasetDict, names: ColumnNames) -> list[Part]:
    import datasets

    if isinstance(source, datasets.Dataset):
        return [dataset_part(source)]
    keys = list(map(str, source))
    if names.split is not None or names.label is None:
        return [dataset_part(part, name=key) for key, part in zip(keys, source.values(), strict=True)]
    splits = splits_of(keys)
    parts = [
        dataset_part(part, name=key, split=split or key)
        for key, split, part in zip(keys, splits, source.values(), strict=True)
    ]
    return [replace(part, notes=note_on_names(keys, splits)) for part in parts]


def _from_path(source: str | Path, layout: str, names: ColumnNames) -> Origin:
    path = Path(source).expanduser()
    check_is_plain(path)
    if layout == "auto":
        layout = _recognise(source, path, labelled=names.label is not None)
    if layout == "dataset":
        files = sorted(file for file in path.rglob("*") if file.is_file()) if _is_saved(path) else []
        return Origin(_dataset_rows(source, path, names), "dataset", tuple(files))
    if not path.exists():
        raise DataError(no_such_path(path))
    if layout == "table":
        kind, files = "file", [path]
        if path.is_dir():
            kind, files = f"folder {passed_over(path)}", table_files(path)
        return Origin(_table_rows(path, names), kind, tuple(files))
    if not path.is_dir():
        raise DataError(f"{path}: format {layout!r} needs a folder")
    own = [role for role, value in vars(names).items() if value != getattr(ColumnNames(), role)]
    if own and names.label is not None:
        raise DataError(f"format {layout!r} has columns of its own; leave out {', '.join(own)}")
    readers = RESEARCH if names.label is not None else RESEARCH | UNLABELLED
    return Origin([readers[layout](path)])


def _dataset_rows(source: str | Path, path: Path, names: ColumnNames) -> Iterator[RawRows]:
    yield from pick(_dataset_parts(_open_dataset(source, path), names), names)


def _table_rows(path: Path, names: ColumnNames) -> Iterator[RawRows]:
    parts = read_tables(path, split_column=names.split is not None or names.label is None)
    yield from pick(with_file_names(parts, path) if names.domain == FILE_NAME else parts, names)


def _recognise(source: str | Path, path: Path, *, labelled: bool) -> str:
    if path.is_dir():
        return _recognise_folder(path, labelled=labelled)
    if path.exists() and table_kind(path):
        return "table"
    if path.exists():
        raise DataError(f"{path}: unknown kind of file; looked for {LOOKED_FOR}")
    if is_hub_name(source) and not path.suffix:
        return "dataset"
    raise DataError(no_such_path(path))


def _recognise_folder(path: Path, *, labelled: bool) -> str:
    if _is_saved(path):
        return "dataset"
    if amazon_root(path) is not None:
        return "amazon_reviews"
    if any(path.glob("*.task.train")) or (not labelled and any(path.glob("*.task.unlabel"))):
        return "fdu_mtl"
    if not labelled and extra_files(path):
        return "amazon_reviews_extra"
    if any(path.glob("dev_matched*.tsv")) or any(path.glob("dev_matched*.tsv.gz")):
        return "mnli"
    if table_files(path):
        return "table"
    looked_for = LOOKED_FOR if labelled else f"{LOOKED_FOR}, {ALSO_LOOKED_FOR}"
    found = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
    raise DataError(
        f"{path}: unknown layout; looked for {looked_for}; found {first_of(found) or 'nothing'}{no_tables(path)}"
    )


def _is_saved(path: Path) -> bool:
    return (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()


def _open_dataset(source: str | Path, path: Path) -> datasets.Dataset | datasets.DatasetDict:
    """A folder written by ``save_to_disk``, or else what ``datasets.load_dataset`` makes of the name or folder."""
    if path.is_file():
        raise DataError(f"{path}: format 'dataset' needs a folder or a hub name, this is a file; use format 'table'")
    if not path.is_dir() and not is_hub_name(source):
        raise DataError(no_such_path(path))
    import datasets

    saved = path.is_dir() and _is_saved(path)
    if saved:
        _check_saved(path)
    read = datasets.load_from_disk if saved else datasets.load_dataset
    try:
        found = read(str(path if path.is_dir() else source))
        if saved:
            for part in found.values() if isinstance(found, datasets.DatasetDict) else [found]:
                part.data.table.validate(full=True)  # Arrow itself trusts a file, and reads wherever that points to
        return found
    except Exception as error:  # the library raises errors of many families: network, builder, Arrow, file system
        what = "a folder written by save_to_disk" if saved else "a data set of the hub or a folder of data files"
        local = "" if path.exists() else " (there is no local file or folder of that name)"
        raise DataError(f"{source}: cannot be opened as {what}{local}: {first_line(error)}") from error


def _check_saved(path: Path) -> None:
    """Refuse a saved data set that names files outside of its folder.

    Raises:
        DataError: it does.
    """
    for file in sorted(path.rglob("*.json")):
        with suppress(OSError, ValueError):  # which the library tells
            content = parse_json(file.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                _check_named(file, content)


def _check_named(file: Path, content: Mapping[str, Any]) -> None:
    parts = content.get("splits") if file.name == "dataset_dict.json" else None
    names = list(parts) if isinstance(parts, list | dict) else []
    named = content.get("_data_files") if file.name == "state.json" else None
    names += [each.get("filename") for each in named if isinstance(each, dict)] if isinstance(named, list) else []
    if wrong := [repr(name) for name in names if not isinstance(name, str) or "/" in name or fault_of_name(name)]:
        raise DataError(f"{file}: names {first_of(wrong)}, no files of its own folder, which are not read")
