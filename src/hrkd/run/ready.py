"""A run that is found to be able to begin: data, folder and models checked for a verb, and nothing written."""

from __future__ import annotations

from typing import Any, NamedTuple

from hrkd.data.batching import check_step_sizes
from hrkd.run.command_record import STAGES_OF
from hrkd.run.context import Context
from hrkd.run.precheck import precheck, precheck_teacher
from hrkd.run.sizing import sized

__all__ = ["Ready", "opened", "ready", "trains_teacher"]


def opened(context: Context, verb: str) -> Context:
    """The context of a verb that is found to be able to begin, in whose folder its recipe now stands.

    Raises:
        HrkdError: as :func:`ready`; or the folder cannot be written.
    """
    context = ready(context, verb).context
    context.open_folder()
    return context


class Ready(NamedTuple):
    """The context with its plan and, where its size was asked for by cost, the student's size; sizes of the models."""

    context: Context
    sizes: list[dict[str, Any]]


def trains_teacher(context: Context, verb: str) -> bool:
    """Whether a verb makes the teacher itself."""
    return verb == "train-teacher" or (verb == "compress" and context.recipe.teacher.fine_tuned is None)


def ready(context: Context, verb: str) -> Ready:
    """Look whether everything that a verb needs is there and goes together; shows the sizes of the models.

    Raises:
        HrkdError: as :meth:`hrkd.run.context.Context.plan`, :func:`hrkd.run.precheck.precheck` and
            :func:`hrkd.run.sizing.sized`.
    """
    recipe, trains = context.recipe, trains_teacher(context, verb)
    if verb == "train-teacher":
        training, processes = recipe.teacher.training, context.accelerator.num_processes
        check_step_sizes(context.data.splits.train, training.batch_size, training.gradient_accumulation, processes)
        context = context.plan("teacher")
        return Ready(context, precheck_teacher(context))
    if recipe.student.has_time_goal:
        context = sized(context)
    own = context.external_teacher is None and recipe.teacher.fine_tuned is None
    stages = [*(["teacher"] if own else []), STAGES_OF[verb]]
    context = context.plan(*stages, kept=() if trains else ("teacher",))
    return Ready(context, precheck(context, trained=not trains))
