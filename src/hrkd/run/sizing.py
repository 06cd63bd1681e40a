"""The size of a student that is asked for by what it may cost: timed once on a machine, and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import transformers
from transformers import PreTrainedConfig

from hrkd.data.arrow_files import kept_table, write_arrow
from hrkd.models.loading import folders_of, read_config
from hrkd.models.quick_shape import quick_shape
from hrkd.models.scratch import scratch_config
from hrkd.models.shape import StudentShape, shape_of
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import SIZE_BY_TIME
from hrkd.recipe.sizes import with_found_size
from hrkd.run.context import Context
from hrkd.run.folder import RECIPE
from hrkd.support.messages import count_of
from hrkd.support.processor import cpu_facts

__all__ = ["sized"]

logger = logging.getLogger("hrkd")

VERSION = 1
"""Of the search and its timing: another one makes what is kept of no use."""


def sized(context: Context) -> Context:
    """The same with layers, width, heads and feed_forward of a student whose recipe says what it may cost.

    The run's own recipe then names the size beside what was asked, so that a run that is begun goes on with that size
    wherever it is taken, and so does the command that began it.

    Raises:
        ModelError: there is no teacher of that name, or no student of its family is quick enough.
    """
    folder = context.folder
    if context.recipe.student.is_sized_by_time and folder.is_run and folder.is_begun and not folder.overwrite:
        known = load_recipe(folder.path / RECIPE, needed=())
        context = replace(context, recipe=with_found_size(context.recipe, known))
    settings = context.recipe.student
    asked = ", ".join(f"{name} {value:g}" for name in SIZE_BY_TIME if (value := getattr(settings, name)) is not None)
    if settings.is_sized_by_earlier_times:
        logger.info("student: of the size that was found for %s earlier, and which the recipe names beside it", asked)
    if not settings.is_sized_by_time:
        return context
    times_faster, milliseconds = settings.times_faster, settings.milliseconds
    if settings.heads is not None:
        asked += f", heads {settings.heads}"
    teacher, tokens = _teacher_config(context), context.recipe.data.max_length

    def write(file: Path) -> dict[str, Any]:
        logger.info("student: timing encoders to find its size")
        found = quick_shape(teacher, tokens, times_faster=times_faster, milliseconds=milliseconds, heads=settings.heads)
        write_arrow(file, [pa.RecordBatch.from_pylist([asdict(found.shape)])])
        times = {"milliseconds": found.milliseconds, "times_faster": found.times_faster}
        return {"of": asked, **times}

    table, notes = kept_table(context.cache, f"{_mark(teacher, tokens, asked)}-size", write)
    (sizes,) = table.to_pylist()
    logger.info(
        "student: %s of width %d with %s: a forward pass over %d tokens is %.1f times as quick as the teacher's, %.2g "
        "ms a text (asked: %s). Splitting texts comes on top for both: hrkd benchmark measures the whole",
        count_of(sizes["layers"], "layer", "layers"), sizes["width"], count_of(sizes["heads"], "head", "heads"), tokens,
        notes["times_faster"], notes["milliseconds"], notes["of"],
    )  # fmt: skip
    if StudentShape(**sizes) == shape_of(teacher):
        logger.warning("student: its encoder is as large as the teacher's, which is quick enough; ask for a quicker")
    student = settings.model_copy(update=sizes)
    return replace(context, recipe=context.recipe.model_copy(update={"student": student}))


def _teacher_config(context: Context) -> PreTrainedConfig:
    teacher, data = context.recipe.teacher, context.data.splits
    source = context.external_teacher or teacher.fine_tuned
    if source is not None:
        folders = folders_of(str(source) if isinstance(source, Path) else source, data.domains)
        return read_config(folders if isinstance(folders, str) else next(iter(folders.values())))[0]
    if teacher.model is not None:
        return read_config(teacher.model, data.labels)[0]
    assert teacher.scratch is not None, "the recipe's own check"
    return scratch_config(
        teacher.scratch, vocabulary_size=teacher.scratch["vocabulary"], max_tokens=context.recipe.data.max_length
    )


def _mark(teacher: PreTrainedConfig, tokens: int, asked: str) -> str:
    """A hash of all that decides the times."""
    machine = platform.machine(), _processor(), torch.__version__, transformers.__version__
    known = {"version": VERSION, "teacher": teacher.to_dict(), "tokens": tokens, "asked": asked, "machine": machine}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:20]


def _processor() -> str:
    lines = cpu_facts().splitlines()
    return next((line for line in lines if line.startswith("model name")), platform.processor())
