"""All targets by name."""

from __future__ import annotations

from fuzz import deploying, models, readers, records
from fuzz.harness import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (*readers.TARGETS, *records.TARGETS, *deploying.TARGETS, *models.TARGETS)
}
