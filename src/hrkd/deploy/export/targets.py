"""What a student can be exported to: one entry each, with what it needs and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrkd.errors import DataError, ModelError, RecipeError
from hrkd.support.messages import suggestion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hrkd.deploy.checks import Asked
    from hrkd.models.multi_domain import MultiDomainClassifier

__all__ = ["ALLOWANCE", "PLAIN", "TARGETS", "Job", "Made", "Target", "check_allowance", "check_target", "in_words"]

PLAIN = "plain"
ALLOWANCE = 0.5
"""Points of accuracy that a form that rounds may lose."""


@dataclass(frozen=True)
class Job:
    """What is to be exported.

    Args:
        model, tokenizer: the student's.
        domain: the only one whose head is exported; None: all.
        calibration: training texts, for targets that look at what the activations are like.
    """

    model: MultiDomainClassifier
    tokenizer: PreTrainedTokenizerBase
    domain: str | None
    calibration: Asked | None


@dataclass(frozen=True)
class Made:
    """What a target wrote: the file to run, the columns of token ids that it takes, and how it was made."""

    model: str
    inputs: Sequence[str]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A form.

    Args:
        what: in words.
        exact: whether it says what the student says but for the last digits; else its accuracy is looked at.
        packages: names of the modules that making it needs.
        extra: of hrkd, that installs them.
        make: writes it into a folder in one or more ways, the quickest first, until one passes.
        calibrated: whether it needs training texts.
    """

    what: str
    exact: bool
    packages: tuple[str, ...]
    extra: str
    make: Callable[[Job, Path], Generator[Made, None, None]]
    calibrated: bool = False


def _by_itself(*_: Any) -> Generator[Made, None, None]:
    """Nothing: a plain export is made by :mod:`hrkd.deploy.export.plain`."""
    yield from ()


def _onnx(job: Job, folder: Path) -> Generator[Made, None, None]:
    from hrkd.deploy.export.graph import write_graph

    facts = write_graph(job.model, job.tokenizer, folder / "model.onnx", domain=job.domain)
    yield Made("model.onnx", facts.inputs, {"attention": facts.attention})


def _onnx_int8(job: Job, folder: Path) -> Generator[Made, None, None]:
    from hrkd.deploy.export.graph import write_graph
    from hrkd.deploy.export.rounding import linear_maps, multiplies_in_8_bits, quantise, settings_to_try

    whole = folder / ".whole.onnx"
    facts = write_graph(job.model, job.tokenizer, whole, domain=job.domain)
    try:
        for settings in settings_to_try(len(linear_maps(whole)), reduced=not multiplies_in_8_bits()):
            quantise(whole, folder / "model.onnx", settings)
            yield Made("model.onnx", facts.inputs, {"attention": facts.attention, **asdict(settings)})
    finally:
        whole.unlink(missing_ok=True)


def _openvino(job: Job, folder: Path) -> Generator[Made, None, None]:
    from hrkd.deploy.export.openvino_ir import converted, write

    model, facts = converted(job, folder)
    write(model, folder / "model.xml")
    yield Made("model.xml", facts.inputs, {"attention": facts.attention, "weights": "fp16"})


def _openvino_int8(job: Job, folder: Path) -> Generator[Made, None, None]:
    from hrkd.deploy.export.openvino_ir import converted, rounded, write

    model, facts = converted(job, folder)
    for name, settings in (("all", {}), ("accurate", {"preset": "mixed"})):
        write(rounded(model, job, **settings), folder / "model.xml")
        yield Made("model.xml", facts.inputs, {"attention": facts.attention, "weights": "int8", "layers": name})


ONNX = ("onnx", "onnxscript", "onnxruntime")
TARGETS = {
    PLAIN: Target("a folder for each domain, for transformers alone", True, (), "", _by_itself),
    "onnx": Target("one graph in 32 bits, for ONNX Runtime", True, ONNX, "onnx", _onnx),
    "onnx-int8": Target("one graph with 8-bit weights, for ONNX Runtime", False, ONNX, "onnx", _onnx_int8),
    "openvino": Target(
        "one graph for OpenVINO, with 16-bit weights", False, ("onnx", "onnxscript", "openvino"), "openvino", _openvino
    ),
    "openvino-int8": Target(
        "one graph for OpenVINO, with 8-bit weights and activations", False,
        ("onnx", "onnxscript", "openvino", "nncf"), "openvino", _openvino_int8, calibrated=True,
    ),
}  # fmt: skip


def check_allowance(points: Any) -> None:
    """Whether so many points of accuracy may be lost.

    Raises:
        DataError: it is no number of points.
    """
    if isinstance(points, bool) or not isinstance(points, int | float) or not 0 <= points < float("inf"):
        raise DataError(f"--allowance: expected points from 0, got {points!r}")


def check_target(name: str) -> Target:
    """The target of a name, once all that it needs is known to be installed.

    Raises:
        RecipeError: there is none of that name.
        ModelError: a package is missing; names the extra.
    """
    if name not in TARGETS:
        hint = suggestion(name, TARGETS, before="; ")
        raise RecipeError(f"--to: there is no {name!r}; possible are {', '.join(TARGETS)}{hint}")
    target = TARGETS[name]
    if missing := [package for package in target.packages if find_spec(package) is None]:
        raise ModelError(
            f"--to {name} needs {', '.join(missing)}, not installed here; pip install 'hrkd[{target.extra}]'"
        )
    return target


def in_words(settings: Mapping[str, Any]) -> str:
    """How a form was made, for people."""
    attention = settings.get("attention")
    said = [f"attention as {attention}"] if attention not in (None, "none") else []
    if "per_channel" in settings:
        said.append("weights of 7 bits" if settings["reduced"] else "weights of 8 bits")
        said.append("a scale for each channel" if settings["per_channel"] else "a scale for each linear map")
        if last := settings["excluded_last"]:
            said.append(f"the last {last} linear maps in 32 bits")
    if "weights" in settings:
        said.append(f"weights in {settings['weights']}")
    if settings.get("layers") == "accurate":
        said.append("a zero of their own for activations")
    if "pieces" in settings:
        said.append(f"{settings['pieces']:,} of {settings['pieces_before']:,} pieces kept")
    return ", ".join(said)
