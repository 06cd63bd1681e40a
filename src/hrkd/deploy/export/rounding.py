"""A graph with 8-bit weights, whose activations are rounded as they come (ONNX Runtime's dynamic quantisation)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hrkd.errors import ModelError
from hrkd.support.atomic_files import check_room
from hrkd.support.messages import first_line
from hrkd.support.processor import cpu_facts

__all__ = ["Int8Settings", "multiplies_in_8_bits", "quantise", "settings_to_try"]

IN_8_BITS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}
"""Instructions that add products of 8-bit numbers without an overflow on the way."""


@dataclass(frozen=True)
class Int8Settings:
    """How a graph is rounded.

    Args:
        per_channel: a scale for each output of a linear map, and not one for all.
        reduced: weights of 7 bits, for processors whose sums of 8-bit products overflow.
        excluded_last: how many linear maps stay in 32 bits: the last of the graph (heads, pooler and what is before).
    """

    per_channel: bool
    reduced: bool
    excluded_last: int = 0


def settings_to_try(linear_maps: int, *, reduced: bool) -> Iterator[Int8Settings]:
    """The quickest first, and then what costs more and loses less."""
    yield Int8Settings(per_channel=False, reduced=reduced)
    yield Int8Settings(per_channel=True, reduced=reduced)
    if not reduced:
        yield Int8Settings(per_channel=True, reduced=True)
    for share in (6, 3, 2):
        yield Int8Settings(per_channel=True, reduced=reduced, excluded_last=max(2, linear_maps // share))


def multiplies_in_8_bits() -> bool:
    """Whether this processor has instructions for products of 8-bit numbers; where it cannot be told: no."""
    return bool(IN_8_BITS & set(cpu_facts().split()))


def linear_maps(file: Path) -> list[str]:
    """Names of the nodes of a graph that multiply by weights, in the order of the graph."""
    import onnx

    graph = onnx.load(str(file)).graph
    weights = {each.name for each in graph.initializer}
    return [node.name for node in graph.node if node.op_type in ("MatMul", "Gemm") and weights & set(node.input)]


def quantise(file: Path, output: Path, settings: Int8Settings) -> None:
    """Write ``file`` with 8-bit weights to ``output``.

    Raises:
        ModelError: ONNX Runtime cannot round this graph.
        OSError, CannotWriteError: the disk does not take it.
    """
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    excluded = linear_maps(file)[-settings.excluded_last :] if settings.excluded_last else []
    # The function warns, on the root logger, that another one should have made the graph ready; with no handler there
    # that would install one, which then says everything twice.
    root, silent = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.setLevel(logging.ERROR)
    root.addHandler(silent)
    try:
        quantize_dynamic(
            str(file),
            str(output),
            weight_type=QuantType.QInt8,
            per_channel=settings.per_channel,
            reduce_range=settings.reduced,
            nodes_to_exclude=excluded,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},  # of what shape inference knows no type
        )
    except OSError:
        raise
    except Exception as error:
        for place in (output.parent, Path(tempfile.gettempdir())):  # what is cut off there is no graph when it is read
            check_room(place)
        raise ModelError(
            f"this graph cannot be rounded to 8 bits ({type(error).__name__}: {first_line(error)}); export it with "
            "--to onnx"
        ) from error
    finally:
        root.setLevel(level)
        root.removeHandler(silent)
