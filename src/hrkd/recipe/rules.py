"""What the choices of a method rule out, and what averaged teachers cannot do, for recipes and Python alike.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["NO_STATES", "ONE_CLASSIFIER", "method_contradictions"]

NO_STATES = (
    "averaged teachers have no single state of a level to imitate; set method.hidden_weight: 0, or combine: route"
)
ONE_CLASSIFIER = (
    "there is one classifier; it needs several, by teacher.encoders: per_domain or a fine_tuned folder per domain"
)


def method_contradictions(
    *,
    graph: str,
    learning: str,
    hidden_weight: float,
    prediction_weight: float,
    label_weight: float = 0.0,
    expertise: bool = False,
    transfer_weight: float = 0.0,
    stages: str = "one",
    level_epochs: int | None = None,
    domain_weights: Mapping[str, float] | None = None,
) -> Iterator[str]:
    """One message for each; it begins with the name of the field it is about."""
    if hidden_weight == 0 and expertise:
        yield "expertise: its weights come from the teacher's states, which are not looked at with hidden_weight 0"
    if hidden_weight == 0 and transfer_weight:
        yield "transfer_weight: counts with the levels' losses, whose hidden_weight is 0; leave one of them out"
    if hidden_weight == 0 and domain_weights:
        yield "domain_weights: weigh the levels' losses, whose hidden_weight is 0; leave one of them out"
    if prediction_weight == 0 and label_weight:
        yield "label_weight: is part of the prediction loss, whose prediction_weight is 0; leave one of them out"
    if stages == "two":
        for name, weight in {"hidden_weight": hidden_weight, "prediction_weight": prediction_weight}.items():
            if weight == 0:
                yield f"stages: two: a stage with {name} alone would learn nothing, as that is 0; use one"
    elif level_epochs is not None:
        yield "level_epochs: counts the epochs of the first of two stages; leave it out or set stages: two"
    if hidden_weight == 0 and prediction_weight == 0:
        yield "hidden_weight and prediction_weight are both 0; nothing would be distilled"
    if learning == "fixed":
        if graph == "relational":
            yield "learning: the relational graph starts at uniform ratios; choose meta or joint, or graph: uniform"
        return
    if graph in ("uniform", "random"):
        yield f"learning: {learning}: graph: {graph} has nothing to be learnt; use fixed"
    if hidden_weight == 0:
        yield f"learning: {learning}: ratios weigh the levels' losses, whose hidden_weight is 0; use fixed"
