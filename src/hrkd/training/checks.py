"""Whether the choices of a method fit models and data, before any time is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from hrkd.errors import DataError, ModelError
from hrkd.models.domain_teachers import AnyTeacher, DomainTeachers
from hrkd.models.families import has_local_windows, has_raw_scores
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.trace import AttentionKind, choose_attention
from hrkd.recipe.schema import MethodConfig

__all__ = [
    "attention_kind",
    "check_heads",
    "check_last_layer",
    "check_meta_teacher",
    "check_states",
    "weights_of_domains",
]


def attention_kind(method: MethodConfig, *encoders: PreTrainedModel) -> AttentionKind:
    """What the levels' attention losses compare of these ``encoders``: nothing where no level has a loss.

    Raises:
        ModelError: they do not all offer what ``method.attention`` asks for.
    """
    if not method.hidden_weight:
        return "none"
    if method.level_loss == "relations":
        return _queries_keys(encoders)
    return choose_attention(method.attention, *encoders, factored=not method.counts_padding)


def _queries_keys(encoders: Sequence[PreTrainedModel]) -> AttentionKind:
    without = [e.config.model_type for e in encoders if not has_raw_scores(e)]
    windows = [e.config.model_type for e in encoders if has_local_windows(e)]
    if without or windows:
        raise ModelError(
            f"method.level_loss: relations: the {[*without, *windows][0]} family "
            f"{'does not give queries and keys' if without else 'looks at local windows of tokens'}; use states"
        )
    return "queries_keys"


def weights_of_domains(named: Mapping[str, float] | None, domains: Sequence[str]) -> tuple[float, ...] | None:
    """One weight for each of the ``domains``, 1 where none is ``named``; None if none is at all.

    Raises:
        DataError: a name that is none of the ``domains``.
    """
    if not named:
        return None
    if unknown := [name for name in named if name not in domains]:
        raise DataError(
            f"method.domain_weights: no domain is called {' or '.join(map(repr, unknown))}; there are: "
            f"{', '.join(domains)}"
        )
    return tuple(float(named.get(name, 1.0)) for name in domains)


def check_meta_teacher(domains: Sequence[str]) -> None:
    """Whether a meta-teacher has anything to relate.

    Raises:
        DataError: fewer than two ``domains``.
    """
    if len(domains) < 2:
        raise DataError("a meta-teacher relates domains, and the data has one; leave teacher.meta_kd out")


def check_last_layer(layer_map: Sequence[int], layers: int) -> None:
    """Whether a student imitates the last of a teacher's ``layers``, whose features ``transfer_weight`` is about.

    Raises:
        ModelError: it does not.
    """
    if layer_map[-1] != layers:
        raise ModelError(
            f"transfer_weight: its features are those of the teacher's last layer, {layers}, which the layer map does "
            "not imitate; end student.layer_map with it"
        )


def check_states(teacher: AnyTeacher, method: MethodConfig) -> None:
    """Whether the states of all domains lie in one space, where a method compares them.

    Raises:
        ModelError: each domain has an encoder of its own.
    """
    if (method.expertise or method.reads_relations) and isinstance(teacher, DomainTeachers):
        field = "expertise" if method.expertise else _reader_of_relations(method)
        raise ModelError(
            f"{field}: compares examples of different domains in the teacher's states, and here each domain has an "
            f"encoder of its own; use one teacher for all, or leave {field} out"
        )


def check_heads(teacher: AnyTeacher, student: MultiDomainClassifier | None, method: MethodConfig) -> None:
    """Whether teacher and student have a head for each of several domains, where heads are to learn from others.

    Raises:
        ModelError: one of them has one head for all domains.
        DataError: there are too few domains.
    """
    if method.domain_relations == "permuted" and len(teacher.domains) < 3:
        raise DataError(
            "domain_relations: permuted: two domains have one relation, which cannot be given to others; leave it out"
        )
    if method.reads_relations and len(teacher.domains) < 2:
        raise DataError(f"{_reader_of_relations(method)}: relates domains, and the data has one; leave it out")
    if not method.related_weight:
        return
    for name, model in {"teacher": teacher, "student": student}.items():
        if isinstance(model, MultiDomainClassifier) and len(model.heads) == 1:
            raise ModelError(
                f"related_weight: heads learn from those of related domains, and this {name} has one head for all; "
                "leave related_weight out, or use a teacher with a head per domain"
            )


def _reader_of_relations(method: MethodConfig) -> str:
    """The field by which a method asks how domains are related."""
    return "related_weight" if method.related_weight else f"graph: {method.graph}"
