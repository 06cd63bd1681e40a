"""The folder of a model before a library opens it: found or fetched, and looked at for what must not be opened.

Whatever came from elsewhere is data: weights as safetensors inside the folder, and JSON. Code of a folder, pickles,
adapters, kernels of the hub and quantised weights are refused here, by one clear error each. Imports nothing heavy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hrkd.errors import ModelError
from hrkd.models.kind import is_own, locate, neighbour
from hrkd.support.domain_index import domain_folders, read_domain_index
from hrkd.support.folder_names import fault_of_name
from hrkd.support.json_text import parse_json
from hrkd.support.manifest import check_manifest, has_manifest
from hrkd.support.messages import did_you_mean, first_line, first_of
from hrkd.support.stage_files import STAGES, going_on

__all__ = [
    "CONFIG",
    "ModelFolder",
    "check_no_pointer",
    "check_unchanged",
    "fetch",
    "found_instead",
    "glance",
    "look_into",
    "read_fields",
    "unfinished_run",
]

CONFIG = "config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CHECKPOINTS = "checkpoints"
"""Folder of a run (:mod:`hrkd.run.folder`)."""
ADAPTER = "adapter_config.json"
TEXT_FILES = ("*.json", "*.txt", "*.model", "*.codes", "*.jinja")
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
NOT_ASKED = "the hub is not asked, as HF_HUB_OFFLINE is set, and nothing of this name was fetched before"
PICKLES = "weights are read from safetensors alone, as other files can run code; save the model with safetensors"


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose files may be opened.

    Args:
        path: where it is.
        fields: content of config.json.
        tensors: number of tensors in its weights.
        elements: number of their elements, together.
    """

    path: Path
    fields: dict[str, Any]
    tensors: int
    elements: int

    @property
    def is_own(self) -> bool:
        """Whether hrkd wrote it."""
        return is_own(self.fields)


def fetch(source: str | Path, *, weights: bool = True) -> Path:
    """The local folder of a folder or hub name; of a hub name, JSON, vocabulary and safetensors files are fetched.

    Args:
        source: a folder or hub name.
        weights: fetch weights too.

    Raises:
        ModelError: there is no such folder, nor anything of that name on the hub.
    """
    place = locate(source)
    if Path(place).is_dir():
        return Path(place)
    from huggingface_hub import constants

    cached = Path(constants.HF_HUB_CACHE) / f"models--{place.replace('/', '--')}"
    if constants.HF_HUB_OFFLINE and not cached.is_dir():
        raise _unknown(source, NOT_ASKED)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = [*TEXT_FILES, *(["*.safetensors"] if weights else [])]
    try:
        return Path(snapshot_download(place, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except Exception as error:  # network, names that cannot be, access rights: the library has an error for each
        if constants.HF_HUB_OFFLINE:
            raise _unknown(source, NOT_ASKED) from error
        unanswered = isinstance(error, LocalEntryNotFoundError)
        what = "the hub does not answer" if unanswered else "the hub has no such model that may be read"
        raise _unknown(source, f"{what} ({first_line(error)})") from error


def _unknown(source: str | Path, why: str) -> ModelError:
    return ModelError(f"{source}: no such folder{neighbour(Path(source))}; as the name of a model: {why}")


def look_into(source: str | Path, *, weights: bool = True) -> ModelFolder:
    """The folder of one model, with its configuration, once nothing in it is found that must not be opened.

    Args:
        source: a folder or hub name.
        weights: look at the files of the weights too; without, ``tensors`` and ``elements`` are 0.

    Raises:
        ArtifactError: its files are not those that its manifest lists.
        ModelError: it is no folder of a model that can be opened; the message says what was found, and what to do.
    """
    path = fetch(source, weights=weights)
    fields = read_fields(path, source)
    with _reading(source):
        if (path / ADAPTER).exists():
            raise _is_adapter(source)
        check_unchanged(path)
        encoder = fields.get("encoder")
        for part in (fields, encoder if is_own(fields) and isinstance(encoder, dict) else {}):
            _check_fields(part, source)
        tensors, elements = 0, 0
        for file in _weight_files(path, source) if weights else ():
            sizes = _tensor_sizes(file, source)
            tensors, elements = tensors + len(sizes), elements + sum(sizes)
        if weights and not elements:
            raise ModelError(f"{source}: its weights are empty; restore the folder or save the model again")
    return ModelFolder(path, fields, tensors, elements)


def glance(source: str | Path) -> None:
    """What can be found wrong with a model at once; a name that the hub has to be asked about passes.

    Raises:
        ArtifactError: a folder of hrkd is damaged.
        ModelError: as :func:`look_into`.
    """
    place = locate(source)
    if not Path(place).is_dir():
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            fetch(source, weights=False)
        return
    for folder in dict.fromkeys((domain_folders(place) or {"": place}).values()):
        look_into(folder)


def read_fields(folder: Path, where: str | Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        ArtifactError: an index of domains is damaged.
        ModelError: it is missing or is not an object of JSON.
    """
    path = folder / CONFIG
    with _reading(where):
        if not path.is_file():
            if (folder / ADAPTER).exists():
                raise _is_adapter(where)
            if path.is_symlink() or path.exists():
                raise ModelError(f"{path}: no file that can be read; restore the folder")
            raise ModelError(f"{where}: no model: {CONFIG} is missing; {found_instead(folder)}")
        check_no_pointer(path, where)
        try:
            fields = parse_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path}: no JSON ({first_line(error)}); restore the folder") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{path}: expected an object of JSON, found a {type(fields).__name__}; restore the folder")
    return fields


def found_instead(folder: Path) -> str:
    """What a folder without a config.json is, and which one is probably meant."""
    if index := read_domain_index(folder):
        what = "an export of plain classifiers" if index.holds == "plain" else "a teacher with a model"
        folders = ", ".join(dict.fromkeys(map(str, index.folders.values())))
        return f"this is the folder of {what} for each domain; take one of {folders}"
    inside = [path.name for path in sorted(folder.iterdir()) if (path / CONFIG).is_file()]
    if unfinished := unfinished_run(folder):
        return f"this is the folder of {unfinished}"
    if "student" in inside:
        return f"this is the folder of a run; its student is {folder / 'student'}"
    if inside:
        return did_you_mean(folder / inside[0])
    names = sorted(path.name for path in folder.iterdir())
    return f"found {first_of(names)}" if names else "the folder is empty"


def unfinished_run(folder: Path) -> str:
    """What a run's folder without a student is: what is finished, and what goes on with it; else empty."""
    stages = [name for name in STAGES if _is_stage(folder / name)]
    begun = sorted(path.name for path in (folder / CHECKPOINTS).glob("*") if path.is_dir())
    if _is_stage(folder / "student") or not ("levels" in stages or begun or (folder / "recipe.yaml").is_file()):
        return ""
    told = [f"finished: {', '.join(stages) or 'nothing'}", *([f"under way: {', '.join(begun)}"] if begun else [])]
    return f"a run whose student is not finished yet ({'; '.join(told)}); {going_on(folder)}"


def _is_stage(folder: Path) -> bool:
    """Whether there is a model, or one for each domain."""
    return (folder / CONFIG).is_file() or read_domain_index(folder) is not None


def check_unchanged(folder: Path) -> None:
    """As :func:`hrkd.support.manifest.check_manifest`; files that have not been touched since are not read again.

    Raises:
        ArtifactError: the files are not those that were written.
    """
    if has_manifest(folder):
        files = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
        _unchanged(folder, tuple((str(path), now.st_size, now.st_mtime_ns) for path, now in files))


@lru_cache(maxsize=256)
def _unchanged(folder: Path, files: tuple[tuple[str, int, int], ...]) -> None:
    del files  # they only decide whether the folder is looked at again
    check_manifest(folder)


@contextmanager
def _reading(where: str | Path) -> Iterator[None]:
    """What the system says against reading becomes an error of hrkd."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{where}: cannot be read ({error}); look at its access rights and links") from error


def check_no_pointer(file: Path, where: str | Path) -> None:
    """Whether a file is there itself, and not the line that stands for it where Git LFS has not fetched it.

    Raises:
        ModelError: it is such a line.
    """
    with _reading(where), file.open("rb") as content:
        if content.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ModelError(
                f"{where}: {file.name} is a pointer of Git LFS, not the file itself; fetch it (git lfs pull), or "
                "download the model anew"
            )


def _is_adapter(where: str | Path) -> ModelError:
    return ModelError(
        f"{where}: holds an adapter ({ADAPTER}), which hrkd does not open; merge it into its model "
        "(merge_and_unload in PEFT), and save that in a folder of its own"
    )


def _check_fields(fields: Mapping[str, Any], where: str | Path) -> None:
    """Whether a configuration asks for what is not opened."""
    if fields.get("quantization_config") is not None:
        raise ModelError(
            f"{where}: its weights are quantised (quantization_config in {CONFIG}), which hrkd neither trains nor "
            "reads; take the model in 32 or 16 bits"
        )
    for name in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        asked = fields.get(name)
        if "/" in (json.dumps(asked, default=str)):
            raise ModelError(
                f"{where}: asks for attention by code of the hub ({name}: {asked} in {CONFIG}), which hrkd does not "
                f"run; remove {name} from {CONFIG}"
            )


def _weight_files(folder: Path, where: str | Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return _shards(folder, where)
    others = sorted(path.name for path in folder.iterdir() if path.suffix in OTHER_WEIGHTS)
    if others:
        raise ModelError(f"{where}: no {WEIGHTS}, found {first_of(others)}; {PICKLES}")
    raise ModelError(
        f"{where}: no weights: {WEIGHTS} is missing; restore the folder, or save the model with safetensors"
    )


def _shards(folder: Path, where: str | Path) -> list[Path]:
    """The files that the index of several names: safetensors in the folder itself."""
    try:
        index = parse_json((folder / INDEX).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / INDEX}: no JSON ({first_line(error)}); restore the folder") from error
    places = index.get("weight_map") if isinstance(index, dict) else None
    if (
        not (isinstance(places, dict) and places and all(isinstance(name, str) for name in places.values()))
        or "metadata" not in index
    ):
        raise ModelError(f"{folder / INDEX}: does not say which file holds which weight; restore the folder")
    names = sorted(set(places.values()))
    if wrong := [name for name in names if not name.endswith(".safetensors")]:
        raise ModelError(f"{folder / INDEX}: names {first_of(wrong)}; {PICKLES}")
    if outside := [name for name in names if "/" in name or fault_of_name(name)]:
        raise ModelError(
            f"{folder / INDEX}: names files outside its folder ({first_of(outside)}), which are not read; put the "
            "files beside the index, and name them alone"
        )
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ModelError(f"{where}: weights are missing: {first_of(missing)}, named by {INDEX}; restore the folder")
    return [folder / name for name in names]


def _tensor_sizes(file: Path, where: str | Path) -> list[int]:
    """Elements of each tensor in a file, from its head."""
    from safetensors import SafetensorError, safe_open

    check_no_pointer(file, where)
    try:
        with safe_open(str(file), framework="np") as content:
            parts = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            sizes = [math.prod(part.get_shape()) for part in parts.values()]
            odd = [f"{name} ({part.get_dtype()})" for name, part in parts.items() if part.get_dtype() not in FLOATS]
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{where}: {file.name} is damaged: no whole safetensors file ({first_line(error)}); restore the folder"
        ) from error
    if quantised := [each for each in odd if each.partition(" ")[0].endswith("weight")]:
        raise ModelError(
            f"{where}: its weights are quantised: {first_of(quantised)}, which hrkd neither trains nor reads; take "
            "the model in 32 or 16 bits"
        )
    return sizes
