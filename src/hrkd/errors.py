"""Every error that hrkd raises on purpose.

::

    HrkdError
    ├── RecipeError      a recipe file or flag: unknown field, wrong value, fields that contradict
    │   └── BudgetError  too few hours for even the smallest run
    ├── DataError        the user's text: missing file or column, unknown label or domain, empty text
    ├── ModelError       an encoder, tokenizer or checkpoint that does not fit the job
    ├── TrainingError    a run that must not go on: weak teacher, loss that is not finite
    └── ArtifactError    a folder or file that hrkd should have written and that is missing or damaged

A message names the place (file, row, field), what was expected, what came, and what to do.
The command line prints the message alone and exits with status 2; anything else is a bug.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["ArtifactError", "BudgetError", "DataError", "HrkdError", "ModelError", "RecipeError", "TrainingError"]


LONGEST = 9_000
"""Characters of a message: what it quotes of a broken file may be of any length."""


class HrkdError(Exception):
    """Base of all errors that a user can cause and mend."""

    def __str__(self) -> str:
        said = super().__str__()
        if len(said) <= LONGEST:
            return said
        return f"{said[: LONGEST * 2 // 3]} ... ({len(said):,} characters) ... {said[-LONGEST // 4 :]}"


class RecipeError(HrkdError):
    """A recipe (file, flag or Python object) is wrong. Lists every problem found, one a line."""


class BudgetError(RecipeError):
    """A budget of hours is too small; ``plan``: the content of the plan with the fewest epochs, once it is made."""

    plan: Mapping[str, Any] | None = None


class DataError(HrkdError):
    """The labelled text cannot be used as it is."""


class ModelError(HrkdError):
    """An encoder, tokenizer or checkpoint does not fit the job."""


class TrainingError(HrkdError):
    """A training run was stopped because going on would waste time or mislead."""


class ArtifactError(HrkdError):
    """A file or folder written by hrkd is missing, damaged or of another kind than expected."""
