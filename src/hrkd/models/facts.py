"""What any folder of a finished classifier says of itself: hrkd's, one per domain, or a plain one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hrkd.models.folder import look_into
from hrkd.models.open_model import ModelFacts, read_facts
from hrkd.models.plain import plain_config
from hrkd.support.domain_index import domain_folders

__all__ = ["facts_of"]


def facts_of(source: str | Path) -> ModelFacts:
    """Labels, domains (none: it serves any), longest input (0: not said) and columns of a model.

    Raises:
        ArtifactError: a folder of hrkd is damaged.
        ModelError: no model.
    """
    if folders := domain_folders(source):
        return replace(facts_of(next(iter(folders.values()))), domains=list(folders), one_head=False)
    folder = look_into(source)
    if folder.is_own:
        return read_facts(folder.path)
    names = plain_config(folder, source).id2label
    return ModelFacts([], [names[i] for i in range(len(names))], 0, True, None)
