"""What any folder of a finished classifier says of itself: hrkd's, one per domain, or a plain one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hrkd.errors import ModelError
from hrkd.models.kind import is_own, locate
from hrkd.models.open_model import ModelFacts, read_facts
from hrkd.models.plain import config_fields
from hrkd.support.domain_index import domain_folders
from hrkd.support.messages import first_line

__all__ = ["facts_of"]


def facts_of(source: str | Path) -> ModelFacts:
    """Labels, domains (none: it serves any), longest input (0: not said) and columns of a model.

    Raises:
        ArtifactError: a folder of hrkd is damaged.
        ModelError: no model.
    """
    if folders := domain_folders(source):
        return replace(facts_of(next(iter(folders.values()))), domains=list(folders), one_head=False)
    place = locate(source)
    try:
        config = config_fields(place)
    except (OSError, ValueError) as error:
        raise ModelError(f"{source}: no model: {first_line(error)}") from error
    if is_own(config):
        return read_facts(place)
    names = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(config.get("num_labels") or 2)}
    labels = [str(names[i]) for i in sorted(names, key=int)]
    return ModelFacts([], labels, 0, True, None)
