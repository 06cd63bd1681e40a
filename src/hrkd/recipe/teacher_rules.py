"""What averaged teachers cannot do, in words that recipes and models share. Nothing here imports torch."""

from __future__ import annotations

__all__ = ["NO_STATES", "ONE_CLASSIFIER"]

NO_STATES = (
    "averaged teachers have no single state of a level to imitate; set method.hidden_weight: 0, or combine: route"
)
ONE_CLASSIFIER = (
    "there is one classifier; it needs several, by teacher.encoders: per_domain or a fine_tuned folder per domain"
)
