"""A student's graph in OpenVINO's form, and the same rounded to 8 bits by NNCF."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrkd.data.reading import encode
from hrkd.deploy.engines.engine import padded, paddings
from hrkd.deploy.engines.openvino_package import import_quietly
from hrkd.deploy.export.graph import GraphFacts, write_graph
from hrkd.errors import ModelError
from hrkd.support.atomic_files import check_room
from hrkd.support.messages import first_line

if TYPE_CHECKING:
    from hrkd.deploy.export.targets import Job

__all__ = ["converted", "rounded", "write"]

CALIBRATION_BATCH = 16


def converted(job: Job, folder: Path) -> tuple[Any, GraphFacts]:
    """The student as a model of OpenVINO; ``folder`` is for a file that is in between.

    Raises:
        ModelError: the family's operations cannot be exported, or OpenVINO does not know them.
    """
    openvino = import_quietly("openvino")
    between = folder / ".between.onnx"
    try:
        # OpenVINO finds attention in the operations by itself, and does not know the node of ONNX Runtime.
        facts = write_graph(job.model, job.tokenizer, between, domain=job.domain, one_node=False)
        return openvino.convert_model(str(between)), facts
    except (ModelError, OSError):  # the latter is the disk's, and says nothing of the family
        raise
    except Exception as error:
        check_room(folder)
        raise ModelError(
            f"OpenVINO cannot convert the {job.model.encoder.config.model_type} family ({first_line(error)}); export "
            "it with --to onnx"
        ) from error
    finally:
        between.unlink(missing_ok=True)


def rounded(model: Any, job: Job, **settings: Any) -> Any:
    """The model with weights and activations of 8 bits, whose ranges are those of the calibration texts.

    Args:
        model: of OpenVINO, in 32 bits.
        job: its calibration texts are looked at.
        settings: of NNCF's ``quantize``; ``preset``: "mixed" keeps signs of activations.

    Raises:
        ModelError: NNCF is not installed.
    """
    logging.getLogger("nncf").setLevel(logging.ERROR)
    nncf = import_quietly("nncf")
    if "preset" in settings:
        settings["preset"] = nncf.QuantizationPreset.MIXED
    batches = list(_batches(job))
    data = nncf.Dataset(batches)
    with contextlib.redirect_stdout(StringIO()):  # its bars would stand among what hrkd is asked to print
        return nncf.quantize(
            model,
            data,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
            fast_bias_correction=True,
            **settings,
        )


def _batches(job: Job) -> Iterator[dict[str, Any]]:
    """Inputs of the graph for the calibration texts."""
    asked, config = job.calibration, job.model.config
    assert asked is not None
    columns, owners = encode(job.tokenizer, asked.texts, asked.pairs, config.max_tokens, config.keep)
    domain_ids = np.asarray(asked.domains, dtype=np.int64)[owners]
    order = sorted(range(len(owners)), key=lambda i: -len(columns["input_ids"][i]))
    for start in range(0, len(order), CALIBRATION_BATCH):
        chosen = order[start : start + CALIBRATION_BATCH]
        batch: dict[str, Any] = dict(
            padded({name: [values[i] for i in chosen] for name, values in columns.items()}, paddings(job.tokenizer))
        )
        if job.domain is None and len(job.model.heads) > 1:
            batch["domain_ids"] = domain_ids[chosen]
        yield batch


def write(model: Any, file: Path) -> None:
    """Write it, with the 32-bit weights that are left in 16 bits.

    Args:
        model: of OpenVINO.
        file: ``model.xml``; the weights go into ``model.bin`` beside it.

    Raises:
        CannotWriteError: the disk does not take it.
        ModelError: OpenVINO is not installed.
    """
    try:
        import_quietly("openvino").save_model(model, str(file), compress_to_fp16=True)
    except RuntimeError:  # it does not say what the system said
        check_room(file.parent)
        raise
