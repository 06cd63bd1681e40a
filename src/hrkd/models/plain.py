"""Plain models on disk: a family's configuration and sequence classifier, and what is wrong with them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

import hrkd.models.static  # noqa: F401  # makes the family known to transformers' tables
from hrkd.errors import ModelError
from hrkd.models.families import OTHER_FAMILY, without_use
from hrkd.models.folder import CONFIG, ModelFolder, look_into
from hrkd.models.probe import check_finite, opening
from hrkd.models.shape import shape_of
from hrkd.support.messages import first_of

__all__ = [
    "OWN_CODE",
    "check_family",
    "check_size",
    "family_config",
    "load_plain_classifier",
    "plain_config",
    "without_bars",
]

logger = logging.getLogger("hrkd")

SINGLE_LABEL = "single_label_classification"
OWN_CODE = "brings code of its own (auto_map in {file}), which hrkd does not run"
MOST_TIMES = 4
"""Times as many parameters as the weights of a folder hold that its configuration may ask for: heads may be new."""
MOST_LAYERS = 256
"""Layers of which a model without memory may be made, whatever the weights hold."""


@contextmanager
def without_bars() -> Iterator[None]:
    """No bars and reports of transformers while weights are read or written: hrkd says what is wrong with them."""
    shown, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()


def plain_config(folder: ModelFolder, where: str | Path, labels: Sequence[str] | None = None) -> PreTrainedConfig:
    """The configuration of a family's classifier with softmax outputs, without what says how to use it otherwise.

    Args:
        folder: of a plain model.
        where: what messages begin with.
        labels: names for its outputs; default: its own.

    Raises:
        ModelError: an own model of hrkd, a family that transformers does not know, fields that it does not take, or
            labels that do not name each output.
    """
    fields = folder.fields
    if folder.is_own:
        raise ModelError(
            f"{where}: hrkd wrote this model, where a plain encoder is expected; as a teacher it is named by "
            "teacher.fine_tuned, and hrkd export makes plain classifiers of it"
        )
    check_family(fields, where)
    names = _output_names(fields, where) if labels is None else list(labels)
    task = fields.get("problem_type")
    if labels is None and task not in (None, SINGLE_LABEL):
        _warn_once(
            f"{where}: this classifier was trained for {task}; its outputs are read as those of a softmax, of which "
            "each text has one label"
        )
    with opening(where, "its configuration cannot be read", f"correct {CONFIG}, or restore the folder"):
        config = family_config(fields, names)
    build = functools.partial(AutoModelForSequenceClassification.from_config, config, trust_remote_code=False)
    check_size(config, build, folder, where)
    return config


def check_family(fields: Mapping[str, Any], where: str | Path) -> None:
    """Whether transformers itself knows the family of an encoder's configuration.

    Raises:
        ModelError: it does not, or none is named.
    """
    kind = fields.get("model_type")
    if not isinstance(kind, str):
        raise ModelError(f"{where}: {CONFIG} names no family (model_type); restore the folder")
    if kind not in CONFIG_MAPPING:
        reason = OWN_CODE.format(file=CONFIG) if "auto_map" in fields else "is of no family that transformers knows"
        raise ModelError(f"{where}: the model ({kind}) {reason}; {OTHER_FAMILY}")
    if "auto_map" in fields:
        _warn_once(f"{where}: {OWN_CODE.format(file=CONFIG)}; transformers' own {kind} is taken")


def family_config(fields: Mapping[str, Any], labels: Sequence[str]) -> PreTrainedConfig:
    """A family's configuration from its fields, with ``labels``, for a classifier with softmax outputs."""
    config = AutoConfig.for_model(**without_use(fields))
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: i for i, name in enumerate(labels)}
    config.problem_type = SINGLE_LABEL if len(labels) > 1 else None
    return config


def check_size(
    config: PreTrainedConfig, build: Callable[[], nn.Module], folder: ModelFolder, where: str | Path
) -> None:
    """Whether a model is about as large as the weights in ``folder``, before it takes memory.

    Args:
        config: of its encoder.
        build: makes the model.
        folder: with its weights.
        where: what messages begin with.

    Raises:
        ModelError: it is far larger, or cannot be made, or its family is not supported.
    """
    advice = f"correct {CONFIG}, or restore the folder"
    try:
        layers = shape_of(config).layers
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    if layers > max(folder.tensors, MOST_LAYERS):
        raise ModelError(
            f"{where}: {CONFIG} asks for {layers:,} layers, the weights are {folder.tensors:,} tensors; {advice}"
        )
    making = opening(where, f"no model can be made of its {CONFIG}", advice)
    with making, torch.random.fork_rng(devices=[]), torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in build().parameters())
    if wanted > MOST_TIMES * folder.elements:
        raise ModelError(
            f"{where}: {CONFIG} asks for {wanted:,} parameters, the weights hold {folder.elements:,}; {advice}"
        )


def load_plain_classifier(source: str | Path, labels: Sequence[str], *, fine_tuned: bool) -> PreTrainedModel:
    """A family's sequence classifier from a folder or hub name, in 32 bits. No code of the folder is run.

    With ``fine_tuned`` every weight must come from the source; without, the head (and a pooler) may start anew, and its
    outputs are called ``labels``.

    Raises:
        ArtifactError: the folder was changed since hrkd wrote it.
        ModelError: nothing that transformers can load, an encoder-less or incomplete checkpoint, weights that are NaN
            or infinite.
    """
    folder = look_into(source)
    config = plain_config(folder, source, None if fine_tuned else labels)
    advice = "expected a folder or hub name of a sequence classifier or encoder; restore it, or choose another"
    with opening(source, "transformers cannot load it as a sequence classifier", advice), without_bars():
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder.path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # a mismatch is reported below
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    _check_loaded(model, info, source, fine_tuned=fine_tuned)
    check_finite(model, source)
    return model


def _check_loaded(model: PreTrainedModel, info: Mapping[str, Any], source: str | Path, *, fine_tuned: bool) -> None:
    """Whether the weights are those of the model."""
    prefix = f"{model.base_model_prefix}."
    other_shapes = {key[0]: key[1] for key in info["mismatched_keys"] if isinstance(key, tuple)}
    absent = [*info["missing_keys"], *(key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"])]
    missing = sorted(key for key in absent if fine_tuned or (key.startswith(prefix) and ".pooler." not in key))
    if fine_tuned and missing and all(key in other_shapes and not key.startswith(prefix) for key in missing):
        outputs, names = other_shapes[missing[0]][0], list(model.config.id2label.values())
        raise ModelError(
            f"{source}: its head has {outputs} outputs, and {CONFIG} (id2label) names {len(names)}: "
            f"{', '.join(names)}; correct {CONFIG}"
        )
    if missing:
        what = "fine-tuned classifier" if fine_tuned else "complete encoder"
        advice = "fine-tune it first, or name it as teacher.model" if fine_tuned else "check the checkpoint"
        some = f"{len(missing)} weights are missing or of another shape ({', '.join(missing[:3])} ...)"
        raise ModelError(f"{source}: no {what}: {some}; {advice}")
    if fine_tuned and (surplus := sorted(info["unexpected_keys"])):
        _warn_once(
            f"{source}: {len(surplus):,} of its weights have no place in a {model.config.model_type} classifier "
            f"and are not used ({first_of(surplus)})"
        )


def _output_names(fields: Mapping[str, Any], where: str | Path) -> list[str]:
    """What config.json calls the outputs, in their order."""
    given = fields.get("id2label")
    if given is None:
        count = fields.get("num_labels", 2)
        given = [f"LABEL_{i}" for i in range(count)] if isinstance(count, int) and 0 < count < 10**6 else count
    names = dict(enumerate(given)) if isinstance(given, list) else given
    problem = None
    if not isinstance(names, dict) or not names:
        problem = f"found {str(given)[:80]}"
    elif {str(key) for key in names} != {str(i) for i in range(len(names))}:
        problem = f"found the numbers {first_of(list(map(str, names)))}"
    elif odd := [str(name) for name in names.values() if isinstance(name, bool) or not isinstance(name, str | int)]:
        problem = f"found {first_of(odd)}, where a name is expected"
    if problem is None:
        by_number = {int(key): str(name) for key, name in names.items()}
        return [by_number[i] for i in range(len(by_number))]
    raise ModelError(
        f'{where}: {CONFIG}: id2label: expected a name for each output, such as {{"0": "negative", "1": "positive"}}, '
        f"{problem}; correct it"
    )


@functools.cache
def _warn_once(message: str) -> None:
    """A warning about a model, which is opened more than once in a run."""
    logger.warning(message)
