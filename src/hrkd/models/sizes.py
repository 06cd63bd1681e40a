"""How large a model is, and how two models compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from hrkd.models.domain_teachers import AnyTeacher, DomainTeachers
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import shape_of

__all__ = ["ModelSizes", "model_sizes", "size_rows"]


@dataclass(frozen=True)
class ModelSizes:
    """Size of a model, heads included.

    ``parameters_without_embeddings`` leaves out all tables (words, positions, token types), which a forward pass
    only looks up; ``megabytes`` are those of the weights in 32 bits on disk, in millions of bytes.
    """

    parameters: int
    parameters_without_embeddings: int
    megabytes: float
    layers: int
    width: int
    heads: int
    feed_forward: int


def model_sizes(model: AnyTeacher | PreTrainedModel) -> ModelSizes:
    """Sizes of a multi-domain model, of a routed teacher (all its encoders together) or of a plain one.

    A meta-teacher's domain head, which serves training alone, does not count.

    Raises:
        ModelError: the family's configuration does not tell its shape.
    """
    encoder = model.encoders[0] if isinstance(model, DomainTeachers) else model.base_model
    head = getattr(model, "domain_head", None)
    apart = set() if head is None else set(head.modules())
    counted = [module for module in model.modules() if module not in apart]
    parameters = _count(parameter for module in counted for parameter in module.parameters(recurse=False))
    tables = (table.weight for table in counted if isinstance(table, nn.Embedding))
    return ModelSizes(
        parameters=parameters,
        parameters_without_embeddings=parameters - _count(tables),
        megabytes=parameters * 4 / 1e6,
        **asdict(shape_of(encoder.config)),
    )


def size_rows(teacher: AnyTeacher, student: MultiDomainClassifier, layer_map: Sequence[int]) -> list[dict[str, Any]]:
    """Teacher and student as rows of a table, with the sizes of :class:`ModelSizes`.

    ``imitates`` says which teacher layers the student's layers imitate (``layer_map`` without its level 0), and
    ``times_smaller`` compares the numbers of parameters.
    """
    sizes = {"Teacher": model_sizes(teacher), "Student": model_sizes(student)}
    rows = [{"title": title, **asdict(size)} for title, size in sizes.items()]
    for row in rows:
        row["times_smaller"] = sizes["Teacher"].parameters / row["parameters"]
    rows[1]["imitates"] = ", ".join(map(str, layer_map[1:]))
    return rows


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in {id(p): p for p in parameters}.values())
