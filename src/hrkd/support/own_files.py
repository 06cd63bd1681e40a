"""Removing what hrkd wrote itself, and nothing else.

What hrkd wrote in a folder is what its manifest lists. Folders of earlier versions have no manifest: there the names
that hrkd and transformers give count. A file that somebody else put beside them stays, as does a README.md, which
people edit; and no link is followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from hrkd.support.folder_names import fault_of_name
from hrkd.support.json_text import parse_json
from hrkd.support.manifest import MANIFEST, listed_names

__all__ = ["MODEL_FILES", "free_name", "keep_the_rest", "remove_own"]

MODEL_FILES = (
    *("config.json", "generation_config.json", "*.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.txt", "vocab.json", "merges.txt", "spm.model", "spiece.model", "sentencepiece.bpe.model", "bpe.codes"),
    *("stage.json", "training.json", "domains.json", "state.json"),
)
"""Names in the folder of a model, a stage or a checkpoint that has no manifest."""


def remove_own(folder: Path, names: Sequence[str] = MODEL_FILES, parts: Iterable[str] = ()) -> None:
    """Remove from ``folder`` what hrkd wrote there, and the folder itself if nothing else is in it.

    Args:
        folder: one that hrkd made. A link, or no folder at all: nothing is removed.
        names: patterns of the names that hrkd gives, for a folder without a manifest.
        parts: folders within that hrkd made too, beside those that an index of domains names.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    parts = {*parts, *_indexed(folder)}
    for link in [path for path in folder.iterdir() if path.is_symlink() and str(path.readlink()) in parts]:
        link.unlink()  # the name of a domain, beside the folder that several share
    for part in parts:
        if not fault_of_name(part):
            remove_own(folder / part, names)
    listed = listed_names(folder)
    if listed is None:
        own = [path.name for path in folder.iterdir() if any(fnmatch(path.name, name) for name in names)]
    else:
        own = [*listed, MANIFEST]
    for name in own:
        _remove(folder, name)
    _remove_empty(folder)


def keep_the_rest(left: Path, folder: Path) -> None:
    """Move what is in ``left`` into ``folder``; where something has the name already, under another one beside it."""
    for path in list(left.iterdir()):
        target = folder / path.name
        if _is_real_folder(path) and _is_real_folder(target):
            keep_the_rest(path, target)
            continue
        path.rename(free_name(target))
    _remove_empty(left)


def free_name(path: Path) -> Path:
    """``path``, or with ``.before`` behind it as often as something has that name already."""
    while path.exists() or path.is_symlink():
        path = path.with_name(f"{path.name}.before")
    return path


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(folder: Path, name: str) -> None:
    """One file below ``folder``, and the folders that it leaves empty; not through a link."""
    if fault_of_name(name):
        return
    path = folder / name
    above = [each for each in path.parents if each != folder and folder in each.parents]
    if all(_is_real_folder(each) for each in above) and (path.is_file() or path.is_symlink()):
        path.unlink()
        for each in above:
            _remove_empty(each)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _indexed(folder: Path) -> list[str]:
    """Folders of the domains, where there is an index of them (:mod:`hrkd.support.domain_index`)."""
    try:
        names = parse_json((folder / "domains.json").read_text(encoding="utf-8"))["domains"].values()
        return [name for name in names if isinstance(name, str)]
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return []
