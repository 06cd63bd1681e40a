"""Several classifiers, one per domain, as one teacher; and what is done to teachers of either kind."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hrkd.errors import ModelError
from hrkd.models.families import layer_list
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import shape_of
from hrkd.models.trace import EncoderTrace
from hrkd.recipe.rules import NO_STATES, ONE_CLASSIFIER

__all__ = [
    "AnyTeacher",
    "AveragedTeacher",
    "Combine",
    "DomainTeachers",
    "RoutedTeacher",
    "combined",
    "cut_off",
    "encoders_of",
]


Combine = Literal["route", "average"]
"""Who answers for a row: the classifier of its domain, or all of them by the mean of their probabilities."""


class DomainTeachers(nn.Module):
    """One classifier per domain; called like :class:`~hrkd.models.multi_domain.MultiDomainClassifier`.

    Args:
        models: classifier of each domain, in the order of the domain ids; each serves this one domain alone.

    Raises:
        ModelError: the encoders differ in layers, width or heads.
    """

    def __init__(self, models: Mapping[str, MultiDomainClassifier]) -> None:
        super().__init__()
        self.domains = tuple(models)
        self.models = nn.ModuleList(models.values())
        self.labels = self.classifiers[0].labels
        shapes = {domain: shape_of(model.encoder.config) for domain, model in models.items()}
        sizes = {domain: (shape.layers, shape.width, shape.heads) for domain, shape in shapes.items()}
        if len(set(sizes.values())) > 1:
            found = "; ".join(f"{domain}: {n} layers, width {w}, {h} heads" for domain, (n, w, h) in sizes.items())
            raise ModelError(f"teacher.fine_tuned: the encoders of the domains must have one size; found {found}")

    @property
    def classifiers(self) -> tuple[MultiDomainClassifier, ...]:
        """The classifier of each domain."""
        return tuple(cast(MultiDomainClassifier, model) for model in self.models)

    @property
    def encoders(self) -> tuple[PreTrainedModel, ...]:
        """The encoder of each domain."""
        return tuple(classifier.encoder for classifier in self.classifiers)


class RoutedTeacher(DomainTeachers):
    """Every row goes through the classifier of its domain."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        domain_ids: Tensor,
        *,
        hidden_states: bool | Sequence[int] = False,
        attention: bool = False,
        **inputs: Tensor,
    ) -> EncoderTrace:
        """One pass over rows of any domains; shapes as in the classifier's ``forward``."""
        present = sorted(set(domain_ids.tolist()))
        groups = [(domain_ids == domain).nonzero().squeeze(1) for domain in present]
        traces = [
            self.models[domain](
                input_ids[rows],
                attention_mask[rows],
                torch.zeros_like(rows),
                hidden_states=hidden_states,
                attention=attention,
                **{name: tensor[rows] for name, tensor in inputs.items()},
            )
            for domain, rows in zip(present, groups, strict=True)
        ]
        back = torch.cat(groups).argsort()
        whole: EncoderTrace = traces[0].map(lambda *parts: torch.cat(parts)[back], *traces[1:])
        return whole


class AveragedTeacher(DomainTeachers):
    """Every row goes through all classifiers, and their class probabilities are averaged (You et al., KDD 2017).

    This is how Meta-KD (Pan et al., ACL 2021) lets the teachers of several domains teach together (MTN-KD).
    """

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        domain_ids: Tensor,
        *,
        hidden_states: bool | Sequence[int] = False,
        attention: bool = False,
        **inputs: Tensor,
    ) -> EncoderTrace:
        """Logits (B, C) that are the logarithms of the mean probabilities; shapes as in the classifier's ``forward``.

        Raises:
            ModelError: hidden states or attention are asked for.
        """
        if hidden_states or attention:
            raise ModelError(f"teacher.combine: average: {NO_STATES}")
        first = torch.zeros_like(domain_ids)  # each classifier knows one domain
        outputs = (model(input_ids, attention_mask, first, **inputs).logits.float() for model in self.models)
        logs = torch.stack([logits.log_softmax(dim=1) for logits in outputs])
        return EncoderTrace(logs.logsumexp(dim=0) - math.log(len(logs)))


AnyTeacher = MultiDomainClassifier | DomainTeachers
"""Whatever can teach."""


def combined(models: Mapping[str, MultiDomainClassifier], combine: Combine = "route") -> DomainTeachers:
    """One teacher of the classifiers of all domains, in the order of the domain ids.

    Raises:
        ModelError: their encoders differ in size, or an average is to be taken of one.
    """
    if combine == "route":
        return RoutedTeacher(models)
    if len(models) < 2:
        raise ModelError(f"teacher.combine: average: {ONE_CLASSIFIER}")
    return AveragedTeacher(models)


def encoders_of(teacher: AnyTeacher) -> tuple[PreTrainedModel, ...]:
    """The encoder of a teacher, or of each of its domains."""
    return teacher.encoders if isinstance(teacher, DomainTeachers) else (teacher.encoder,)


def cut_off(teacher: AnyTeacher, layers: int) -> Any:
    """The same teacher, its weights shared, whose encoders end after ``layers`` layers."""
    lists = {id(found[1]) for encoder in encoders_of(teacher) if (found := layer_list(encoder))}

    def twin(module: nn.Module) -> nn.Module:
        if id(module) in lists:
            return nn.ModuleList(list(module.children())[:layers])
        children = {name: twin(child) for name, child in module.named_children()}
        if all(children[name] is child for name, child in module.named_children()):
            return module
        changed = copy.copy(module)
        changed._modules = {**module._modules, **children}
        return changed

    return twin(teacher)
