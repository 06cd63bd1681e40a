"""The command line. The only importer of the CLI library; nothing imports this package.

One verb is one function of a module that is imported when the verb is called, so that ``--help`` and ``--version``
answer at once.
"""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cyclopts import App, CycloptsError, UnknownOptionError

from hrkd.cli.output import ReaderGoneError, standard_output
from hrkd.errors import DataError, HrkdError, RecipeError
from hrkd.support.launch import launch
from hrkd.support.messages import first_line, visible

__all__ = ["HOMES", "VERBS", "app_of", "main"]

VERBS = {
    "init": "Look at a table and write a recipe for it.",
    "check": "Check a recipe and its data without training; findings have codes.",
    "explain": "Say what the code of a finding means and what to do.",
    "compress": "Make a small student from labelled text and a large encoder, and measure it.",
    "train-teacher": "Fine-tune the teacher only.",
    "distill": "Distil the student from a teacher that exists.",
    "train-baseline": "Train the student on labels alone, without distillation.",
    "resume": "Go on with a run or a comparison, of which its folder alone is named.",
    "compare": "Run methods against each other over data sets, fractions and seeds, and test the differences.",
    "evaluate": "Measure a run or a model on each domain.",
    "report": "Write the page of a run: figures, texts and numbers in one file.",
    "errors": "List the texts that student and teacher get wrong, or part on.",
    "predict": "Classify texts with a student.",
    "export": "Write the student in a form that runs elsewhere, and check it.",
    "serve": "Answer questions over HTTP.",
    "benchmark": "Time models and exports side by side on texts of their own kind.",
    "data": "Describe the data of a recipe: sizes, labels, lengths, repeated texts.",
    "cache": "List, and clear, what is kept on disk for later runs.",
    "recipe": "List the packaged recipes, print one, or print the schema of all fields.",
    "completion": "Print what completes verbs and flags in a shell.",
}
"""Verb to the first line of its help; the rest stands at its function."""

MODULES = {
    "hrkd.cli.commands": ("compress", "train-teacher", "distill", "train-baseline", "compare"),
    "hrkd.cli.looking": ("init", "check", "explain", "data", "cache", "recipe"),
    "hrkd.cli.measuring": ("evaluate", "report", "errors", "benchmark"),
    "hrkd.cli.leaving": ("predict", "export", "serve"),
    "hrkd.cli.resuming": ("resume",),
    "hrkd.cli.completion": ("completion",),
}
HOMES = {verb: module for module, verbs in MODULES.items() for verb in verbs}
"""The module of each verb's function."""

TRAINING = {"compress", "train-teacher", "distill", "train-baseline"}
TOGETHER = TRAINING | {"resume", "evaluate"}
"""Verbs that several processes of a launch work on; all others are the work of the first alone."""

RESUMED = TRAINING | {"compare"}
"""Verbs whose folder says how to go on."""

EPILOGUE = """Start with: hrkd compress demo

Exit status: 0 done; 1 findings, of hrkd check; 2 something to mend, told in one message; 3 another process of the
launch has gone; 130 interrupted; 141 the reader of the output has gone; 143 terminated.
"""

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
READER_GONE = 141  # 128 + SIGPIPE
TERMINATED = 128 + signal.SIGTERM


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as `kill`, `timeout` and job schedulers send it: to be left by the same way as an interrupt."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; ``arguments`` default to those of the process. Returns the exit status.

    0: done; 1: `hrkd check` found warnings; 2: something that the user can mend, told in one message (`hrkd check`
    prints it with its findings); 130: interrupted; 141: the reader of the output has gone; 143: terminated. A process
    of a launch that ends for the sake of another has 3 (:data:`hrkd.training.watch.LOST`), or that one's status.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not launch().is_first and (tokens[:1] == [] or tokens[0] not in TOGETHER or "--help" in tokens):
            return 0
        if tokens and tokens[0] in VERBS:
            from hrkd.cli.flags import join_switches

            tokens = join_switches(tokens)
            if tokens[0] == "predict":
                from hrkd.cli.prediction import guarded

                tokens = guarded(tokens)
        with standard_output(), _terminations():
            status = app_of(tokens)(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(f"{error}\n{_dashed(error, tokens)}{_where_to_look(tokens)}")
    except HrkdError as error:
        _fail(f"{error}{_all_at_once(tokens, error)}")
        return _with_others(USER_ERROR, error)
    except (ReaderGoneError, BrokenPipeError):
        return READER_GONE
    except KeyboardInterrupt as interrupt:
        how = "terminated" if isinstance(interrupt, _Terminated) else "interrupted"
        status = _with_others(TERMINATED if how == "terminated" else INTERRUPTED, interrupt)
        _fail(f"{how}{_going_on(tokens, interrupt)}")
        return status
    except RuntimeError as error:
        if not _is_of_group(error):
            raise
        _with_others(USER_ERROR, error)  # which is left by a better word where it is known whom it is about
        return _fail(f"another process of the launch has ended, and this one with it ({first_line(error):.200})")
    return status if isinstance(status, int) else 0


def _all_at_once(tokens: Sequence[str], error: HrkdError) -> str:
    """Where the rest of what is wrong with a recipe and its data is to be seen."""
    if tokens and tokens[0] in TRAINING and isinstance(error, DataError):
        return "\n`hrkd check`, with the same recipe and fields, lists all that a run would refuse."
    return ""


def _with_others(status: int, error: BaseException) -> int:
    """The exit status of this process, with which the others of its launch end too."""
    if watch := sys.modules.get("hrkd.training.watch"):
        watch.leave(status, error)
    return status


def _going_on(tokens: Sequence[str], interrupt: KeyboardInterrupt) -> str:
    """How to go on with an interrupted command, where anything of it is kept."""
    verb = tokens[0] if tokens else ""
    notes: list[str] = getattr(interrupt, "__notes__", [])
    if verb in RESUMED and notes:
        return f"; checkpoints are kept; {notes[0]}"
    if verb == "resume":  # paths count from another directory meanwhile
        return f"; checkpoints are kept; to go on, the same again: {shlex.join(['hrkd', *tokens])}"
    if verb in RESUMED:
        return "; the same command goes on from the last checkpoint, where there is one"
    if verb == "predict" and any(token.partition("=")[0] == "--output" for token in tokens):
        return "; the same command goes on where it stopped, if it labels a file"
    return ""


def _is_of_group(error: RuntimeError) -> bool:
    """Whether an error says that processes which were started together have lost each other."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or launch().size == 1:
        return False
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


@contextmanager
def _terminations() -> Iterator[None]:
    """Raise where a SIGTERM comes, so that a comparison ends its runs; a handler that somebody else has set stays."""
    free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not free or threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends what does not end by itself
        raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def app_of(tokens: Sequence[str]) -> App:
    """All verbs, unresolved; the one that is called brings its own, longer help."""
    app = App(
        name="hrkd",
        help="Distil a fine-tuned encoder that serves many domains into one small, fast student.",
        help_epilogue=None if tokens and tokens[0] in VERBS else EPILOGUE,
        version=_version,
        suppress_keyboard_interrupt=False,  # main tells what comes next
    )
    for place, (verb, summary) in enumerate(VERBS.items()):  # in the order of their use
        called = bool(tokens) and tokens[0] == verb
        function = f"{HOMES[verb]}:{verb.replace('-', '_')}"
        app.command(function, name=verb, help=None if called else summary, sort_key=place)
    return app


def _version() -> str:
    import hrkd

    return hrkd.__version__


def _where_to_look(tokens: Sequence[str]) -> str:
    verb = f" {tokens[0]}" if tokens and tokens[0] in VERBS else ""
    return f"`hrkd{verb} --help` lists what there is."


def _dashed(error: CycloptsError, tokens: Sequence[str]) -> str:
    """What to do with a text that looks like a flag."""
    is_text = tokens[:1] == ["predict"] and isinstance(error, UnknownOptionError) and "Did you mean" not in str(error)
    return "A text that begins with a dash stands behind --, after all flags. " if is_text else ""


def _fail(message: str) -> int:
    """Tell what is wrong, once on each machine; returns the status."""
    if sys.stderr is not None and _is_to_speak():
        sys.stderr.write(f"error: {visible(message)}\n")
    return USER_ERROR


def _is_to_speak() -> bool:
    try:
        return launch().is_first_of_machine
    except RecipeError:
        return True
