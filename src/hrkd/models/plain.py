"""Plain models on disk: loading a family's own sequence classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from hrkd.errors import ModelError
from hrkd.models.kind import locate
from hrkd.support.messages import first_line

__all__ = ["config_fields", "load_plain_classifier", "without_bars"]


def config_fields(place: str) -> dict[str, Any]:
    """The content of config.json, {} if there is none."""
    fields: dict[str, Any] = PreTrainedConfig.get_config_dict(place)[0]
    return fields


@contextmanager
def without_bars() -> Iterator[None]:
    """No bars of transformers while weights are read or written: they are no work that one waits for."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def load_plain_classifier(source: str | Path, labels: Sequence[str], *, fine_tuned: bool) -> PreTrainedModel:
    """A family's sequence classifier from a folder or hub name.

    With ``fine_tuned`` every weight must come from the source; without, the head (and a pooler) may start anew.

    Raises:
        ModelError: nothing that transformers can load, an encoder-less or incomplete checkpoint.
    """
    place = locate(source)
    own: dict[str, Any] = {"output_loading_info": True, "dtype": torch.float32, "use_safetensors": True}
    own["ignore_mismatched_sizes"] = True  # a mismatch is reported below
    if not fine_tuned:
        names = dict(enumerate(labels))
        own |= {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    try:
        with without_bars():
            model, info = AutoModelForSequenceClassification.from_pretrained(place, **own)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{source}: transformers cannot load it as a sequence classifier: {first_line(error)} (expected a folder "
            "or hub name with config.json and weights as safetensors; other weight files can run code and are not read)"
        ) from error
    prefix = f"{model.base_model_prefix}."
    absent = [*info["missing_keys"], *(key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"])]
    missing = sorted(key for key in absent if fine_tuned or (key.startswith(prefix) and ".pooler." not in key))
    if missing:
        what = "fine-tuned classifier" if fine_tuned else "complete encoder"
        advice = "fine-tune it first, or name it as teacher.model" if fine_tuned else "check the checkpoint"
        some = f"{len(missing)} weights are missing or of another shape ({', '.join(missing[:3])} ...)"
        raise ModelError(f"{source}: no {what}: {some}; {advice}")
    return model
