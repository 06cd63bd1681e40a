"""What the choices of a method rule out, and what averaged teachers cannot do. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hrkd.recipe.presets import recommended

if TYPE_CHECKING:
    from hrkd.recipe.schema import MethodConfig

__all__ = ["NO_STATES", "ONE_CLASSIFIER", "method_contradictions"]

NO_STATES = (
    "averaged teachers have no single state of a level to imitate; set method.hidden_weight: 0, or combine: route"
)
ONE_CLASSIFIER = (
    "there is one classifier; it needs several, by teacher.encoders: per_domain or a fine_tuned folder per domain"
)


def method_contradictions(method: MethodConfig) -> Iterator[str]:
    """One message for each; it begins with the name of the field it is about."""
    hidden, prediction = method.hidden_weight > 0, method.prediction_weight > 0
    if not hidden and method.expertise:
        yield "expertise: its weights come from the teacher's states, which are not looked at with hidden_weight 0"
    if method.level_loss == "relations":
        others = {
            "attention": method.attention != "auto",
            "reductions": method.counts_padding,
            "relative": method.relative,
            "transfer_weight": method.transfer_weight > 0,
        }
        for name in (name for name, given in others.items() if given):
            yield f"{name}: is about states and scores, which level_loss: relations takes the place of; leave it out"
    if not hidden and method.transfer_weight:
        yield "transfer_weight: counts with the levels' losses, whose hidden_weight is 0; leave one of them out"
    if not hidden and method.domain_weights:
        yield "domain_weights: weigh the levels' losses, whose hidden_weight is 0; leave one of them out"
    if not prediction and method.label_weight:
        yield "label_weight: is part of the prediction loss, whose prediction_weight is 0; leave one of them out"
    if not prediction and method.related_weight:
        yield "related_weight: is part of the prediction loss, whose prediction_weight is 0; leave one of them out"
    if method.related_weight and method.counts_padding:
        yield "related_weight: is none of the public code's losses; leave it out, or reductions: public_code"
    if method.domain_relations != "contrast" and not method.reads_relations:
        yield "domain_relations: nothing reads them; set graph: contrast or related_weight, or leave them out"
    if method.stages == "two":
        for name in ("hidden_weight", "prediction_weight"):
            if getattr(method, name) == 0:
                yield f"stages: two: a stage with {name} alone would learn nothing, as that is 0; use one"
    elif method.level_epochs is not None:
        yield "level_epochs: counts the epochs of the first of two stages; leave it out or set stages: two"
    if not hidden and not prediction:
        yield "hidden_weight and prediction_weight are both 0; nothing would be distilled"
    if method.learning == "fixed":
        if method.form.starts_uniform:
            yield (
                f"learning: the {method.graph} graph starts at uniform ratios; choose meta or joint, or graph: uniform"
            )
        return
    if not method.form.learnable:
        preset = method.preset == "recommended" and method.graph == recommended(("method", "graph"))
        by = " (of preset: recommended)" if preset else ""
        yield f"learning: {method.learning}: graph: {method.graph}{by} has nothing to be learnt; use fixed"
    if not hidden:
        yield f"learning: {method.learning}: ratios weigh the levels' losses, whose hidden_weight is 0; use fixed"
