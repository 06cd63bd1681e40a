"""What the environment says of a launch of several processes, as `torchrun` and `accelerate launch` leave it there."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hrkd.errors import RecipeError

__all__ = ["Launch", "launch"]

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
ALONE = {"RANK": ("0", "-1"), "WORLD_SIZE": ("1",), "LOCAL_RANK": ("-1",)}
"""Values that say no more than that nothing was launched."""


@dataclass(frozen=True)
class Launch:
    """This process's number in a launch and the number of all; ``is_group``: they form one, be it of one process."""

    rank: int = 0
    size: int = 1
    is_group: bool = False
    is_first_of_machine: bool = True

    @property
    def is_first(self) -> bool:
        """Whether this process does what one does for all."""
        return self.rank == 0


def launch() -> Launch:
    """The launch that this process belongs to.

    Raises:
        RecipeError: some variables of a launch are set and others are not, or they contradict each other.
    """
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    saying = [name for name, alone in ALONE.items() if name in given and given[name] not in alone]
    if not saying:
        return Launch()
    shown = ", ".join(f"{name}={given[name]}" for name in VARIABLES if name in given)
    advice = "start several processes with torchrun, or unset these variables for one"
    if missing := [name for name in VARIABLES if name not in given]:
        raise RecipeError(
            f"{shown} in the environment speaks of a launch, and {', '.join(missing)} is missing; {advice}"
        )
    wrong = [name for name in NUMBERS if not (given[name].isascii() and given[name].isdigit())]
    if not wrong:
        wrong = [name for name in ("RANK", "LOCAL_RANK") if int(given[name]) >= int(given["WORLD_SIZE"])]
    if wrong:
        raise RecipeError(f"{shown} in the environment: {', '.join(wrong)} cannot be; {advice}")
    return Launch(int(given["RANK"]), int(given["WORLD_SIZE"]), True, int(given["LOCAL_RANK"]) == 0)
