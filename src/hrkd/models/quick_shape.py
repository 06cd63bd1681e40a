"""The largest student that is quick enough: encoders of random weights, timed in PyTorch on one core of this machine.

Texts are as long as the model takes them; exports (:mod:`hrkd.deploy.export`) are quicker still, teacher and student
alike.
"""

from __future__ import annotations

import logging
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import AutoModel, PreTrainedConfig

from hrkd.errors import ModelError
from hrkd.models.families import family_of
from hrkd.models.shape import StudentShape, feed_forward_for, layers_from_a_third, shape_of, student_config

__all__ = ["QuickShape", "largest_below", "milliseconds_of", "quick_shape"]

logger = logging.getLogger("hrkd")

HEAD = 64
"""Width of a head; with narrower ones attention takes a larger part of the time."""
NARROWEST_HEAD = 4
ROUNDS = 5
BATCH_TOKENS = 2048
"""Of a batch, in which a core is as quick for each text as it gets."""

Milliseconds = Callable[[StudentShape], float]


@dataclass(frozen=True)
class QuickShape:
    """A shape and what it was timed at.

    Args:
        shape: of the student.
        milliseconds: of its forward pass: for each text of a batch, or for one that comes alone.
        teacher_milliseconds: the same of its teacher.
    """

    shape: StudentShape
    milliseconds: float
    teacher_milliseconds: float

    @property
    def times_faster(self) -> float:
        """As a ratio."""
        return self.teacher_milliseconds / self.milliseconds


def quick_shape(
    teacher: PreTrainedConfig,
    tokens: int,
    *,
    times_faster: float | None = None,
    milliseconds: float | None = None,
    heads: int | None = None,
    timed: Callable[[PreTrainedConfig, int, int], float] | None = None,
) -> QuickShape:
    """The largest student that takes at most a part of its teacher's time, or so many milliseconds.

    One of the two is given.

    Args:
        teacher: its configuration; a student is of the same family.
        tokens: of a text.
        times_faster: more than 1; texts come in batches.
        milliseconds: for a text that comes alone.
        heads: of the student; default: of 64 each.
        timed: milliseconds of a forward pass of (configuration, texts, tokens); default: :func:`milliseconds_of`.

    Raises:
        ModelError: the smallest student is not quick enough.
    """
    timed = timed or milliseconds_of
    texts = max(1, BATCH_TOKENS // tokens) if milliseconds is None else 1
    found: dict[StudentShape, float] = {}

    def cost(shape: StudentShape) -> float:
        if shape not in found:
            config = teacher if shape == shape_of(teacher) else student_config(teacher, shape)
            found[shape] = timed(config, texts, tokens) / texts
            logger.debug("size: %s: %.3f ms a text", shape, found[shape])
        return found[shape]

    own = cost(shape_of(teacher))
    most = milliseconds if milliseconds is not None else own / (times_faster or 1)
    shape = largest_below(teacher, cost, most, heads)
    if shape is None:  # times of the smallest encoders, and on a busy machine, need not rise with the width
        quick = (each for each, time_of_text in found.items() if time_of_text <= most)
        shape = max(quick, key=lambda each: (each.layers, each.width), default=None)
    if shape is None:
        least = min(found.values())
        asked = f"milliseconds: {most:g}" if milliseconds is not None else f"times_faster: {times_faster:g}"
        reached = f"{least:.2g} ms" if milliseconds is not None else f"{own / least:.1f} times"
        less = "allow more milliseconds" if milliseconds is not None else "ask for less"
        raise ModelError(
            f"student.{asked} cannot be reached on this machine: the smallest student of this teacher comes to "
            f"{reached} (in PyTorch, one core, texts of {tokens} tokens); {less}, a smaller data.max_length, or "
            "student.kind: static"
        )
    return QuickShape(shape, cost(shape), own)


def largest_below(
    teacher: PreTrainedConfig, cost: Milliseconds, most: float, heads: int | None = None
) -> StudentShape | None:
    """The largest shape whose cost is at most ``most``; None: there is none.

    Layers: about a third of the teacher's, as with ``times_smaller``; more, if those are quick enough at the teacher's
    width; fewer, if not even the narrowest is. Width: the widest multiple of 64, with heads of 64; of ``heads``, where
    they are given, and under a teacher that is narrower than 64 of its heads.
    """
    wide = shape_of(teacher)
    counts = layers_from_a_third(wide)
    first = next((n for n in counts if cost(_shapes(teacher, n, heads)[-1]) > most), wide.layers)
    fewer = [n for n in counts if n < first][::-1]
    for layers in (first, *fewer, *range(counts[0] - 1, 0, -1)):
        shapes = _shapes(teacher, layers, heads)
        if (quick := bisect_right(shapes, most, key=cost)) > 0:
            return shapes[quick - 1]
    return None


def _shapes(teacher: PreTrainedConfig, layers: int, heads: int | None) -> list[StudentShape]:
    """From the narrowest to the widest."""
    wide = shape_of(teacher)
    if heads is None and wide.width >= HEAD:
        sizes = [(width, width // HEAD) for width in range(HEAD, wide.width + 1, HEAD)]
    else:
        count = heads or wide.heads
        step = count * (2 if family_of(teacher).rotary else 1)
        widths = range(count * NARROWEST_HEAD, wide.width + 1, step)
        sizes = [(width, count) for width in widths] or [(wide.width, wide.heads)]
    return [StudentShape(layers, width, count, feed_forward_for(wide, width)) for width, count in sizes]


def milliseconds_of(config: PreTrainedConfig, texts: int, tokens: int) -> float:
    """Of a forward pass of an encoder with random weights, on one core: the median of some."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            model = AutoModel.from_config(config, trust_remote_code=False).eval()
            ids = torch.randint(config.vocab_size // 2, config.vocab_size, (texts, tokens))
        times = []
        with torch.inference_mode():
            for _ in range(1 + ROUNDS):
                start = time.perf_counter()
                model(input_ids=ids, attention_mask=torch.ones_like(ids))
                times.append(1000 * (time.perf_counter() - start))
        return statistics.median(times[1:])
    finally:
        torch.set_num_threads(threads)
