"""``hrkd completion``: what a shell completes, as a script of that shell."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from hrkd.cli import app_of

__all__ = ["completion"]

SOURCED = {
    "zsh": 'compdef _cyclopts_hrkd hrkd\nif [ "$funcstack[1]" = "_cyclopts_hrkd" ]; then _cyclopts_hrkd "$@"; fi\n'
}
"""What a script needs behind it to be sourced, and not only found by its name in a folder of completions."""


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="bash, zsh or fish.")], /) -> None:
    """Print what completes verbs and flags in a shell.

    For this shell: `source <(hrkd completion bash)`, or zsh; `hrkd completion fish | source`. For every shell: put that
    line into ~/.bashrc, ~/.zshrc (after compinit) or ~/.config/fish/config.fish; or write the script to a file and
    source that, which is quicker.
    """
    script = app_of([]).generate_completion(prog_name="hrkd", shell=shell)
    if shell == "bash":  # names of files where nothing else is known, such as that of a recipe
        script = script.replace("complete -F ", "complete -o default -F ")
    sys.stdout.write(script.rstrip("\n") + "\n" + SOURCED.get(shell, ""))
