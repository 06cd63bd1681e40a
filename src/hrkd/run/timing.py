"""How long a step takes here: the real trainings, on a draw of the real rows, ended once enough steps are timed.

Nothing is kept of them: what the teacher says goes into a temporary folder, and no metrics or checkpoints are written.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hrkd.data.batching import TokenizedDataset
from hrkd.models.domain_teachers import AnyTeacher
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.start.build import StartedStudent
from hrkd.recipe.schema import MethodConfig, TrainingConfig
from hrkd.run.context import Context
from hrkd.run.speed import seconds_to_read
from hrkd.support.caches import cached_folders, read_index
from hrkd.support.progress import Bar, Progress
from hrkd.training.selection import last_epoch
from hrkd.training.session import Session
from hrkd.training.teacher_cache.store import CacheIndex
from hrkd.training.trainers import distill_from_models, fine_tune

__all__ = ["Timing", "drawn", "seconds_a_text", "steps_within", "time_distillation", "time_fine_tuning"]

STEPS = 40
"""Most steps that are timed of a training."""
FEWEST = 4
"""Steps that are timed however long they take; one in so many, the first ones, does not count."""
WARMING = 5
"""Most steps that do not count."""
SECONDS = 10.0
"""After which no further step of a training begins; also what the teacher may take to be asked for them."""
BYTES = 5e8
"""That the temporary cache of what the teacher says may take, but for the fewest steps."""
TEXTS = 256
"""Most texts that a model is asked about."""


@dataclass(frozen=True)
class Timing:
    """What was timed of a training.

    Args:
        step: seconds of a step.
        row: seconds of each row that is looked at once before the first step, such as to fill the teacher cache.
        cache: what that cache holds of the drawn rows; None: there is none.
    """

    step: float
    row: float = 0.0
    cache: CacheIndex | None = None


class _EnoughError(Exception):
    """The steps that were timed are enough; not an error, but what ends a training from within."""


@dataclass
class _Watch:
    steps: list[float] = field(default_factory=list)
    seconds_of_rows: float = 0.0


class _Stopwatch(Progress):
    """Progress that is shown to nobody and timed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(False)
        self.seconds, self.watch = seconds, _Watch()

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str, later: int = 0) -> Iterator[Bar]:
        """A bar whose steps, or texts, are timed."""
        yield _Lap(title, total, unit, later, self)


class _Lap(Bar):
    def __init__(self, title: str, total: int, unit: str, later: int, stopwatch: _Stopwatch) -> None:
        super().__init__(title, total, unit, later=later)
        self._stopwatch = stopwatch
        self._begun = self._last = time.perf_counter()

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Note what passed since the last call; ends a training that has made enough steps."""
        super().advance(amount, note)
        now, watch = time.perf_counter(), self._stopwatch.watch
        passed, self._last = now - self._last, now
        if self.unit != "steps":
            watch.seconds_of_rows += passed
            return
        watch.steps.append(passed)
        done = len(watch.steps)
        if done == self.total or (done >= FEWEST and now - self._begun > self._stopwatch.seconds):
            raise _EnoughError


def drawn(data: TokenizedDataset, texts: int) -> TokenizedDataset:
    """At most so many texts of each domain, by a fixed draw."""
    domain_ids, generator = data.texts.domain_ids, np.random.default_rng(0)
    members = [np.flatnonzero(domain_ids == domain) for domain in np.unique(domain_ids)]
    return data.select(np.sort(np.concatenate([generator.permutation(each)[:texts] for each in members])))


def steps_within(seconds: float, size: float) -> int:
    """Steps to draw rows for, where the teacher takes so many ``seconds`` for each, and its cache so many bytes."""
    return int(np.clip(min(SECONDS / max(seconds, 1e-9), BYTES / max(size, 1.0)), FEWEST, STEPS))


def seconds_a_text(context: Context, model: AnyTeacher, data: TokenizedDataset) -> float:
    """Of ``data``, when the model only reads it: of few texts at first, then of as many as a few seconds take."""
    few = drawn(data, 2)
    seconds = 0.0
    for texts in (few, few, None):
        asked = texts or drawn(data, int(np.clip(SECONDS / 4 / seconds, 2, TEXTS)) // len(data.texts.domains) + 1)
        seconds = seconds_to_read(context, model, asked) / len(asked.texts)
    return seconds


def time_fine_tuning(
    context: Context, model: MultiDomainClassifier, data: TokenizedDataset, settings: TrainingConfig, **options: float
) -> Timing:
    """Of a training on labels; ``options`` are those of :func:`hrkd.training.trainers.fine_tune`."""
    some = drawn(data, settings.step_size * STEPS)

    def train(session: Session) -> object:
        return fine_tune(model, some, drawn(some, 1), settings=_short(settings, 1), session=session, **options)

    return _timed(context, train, len(some), None)


def time_distillation(
    context: Context,
    teacher: AnyTeacher,
    started: StartedStudent,
    layer_map: Sequence[int],
    data: TokenizedDataset,
    *,
    method: MethodConfig,
    settings: TrainingConfig,
    epochs: int,
    steps: int,
) -> Timing:
    """Of a distillation of so many ``epochs``, by whose number it is decided whether the teacher is cached.

    Args:
        data: rows that it will be made on.
        steps: that rows are drawn for.
        Others: as of :func:`hrkd.training.trainers.distill_from_models`.
    """
    some, rules = drawn(data, settings.step_size * steps), context.recipe.cache
    share = float(some.lengths.sum()) / float(data.lengths.sum())
    with tempfile.TemporaryDirectory(prefix="hrkd-") as folder:
        cache = rules.model_copy(update={"folder": Path(folder), "gigabytes": rules.gigabytes * share})

        def train(session: Session) -> object:
            return distill_from_models(
                teacher,
                started.model,
                some,
                drawn(some, 1),
                method=method,
                settings=_short(settings, min(epochs, 2)),
                layer_map=layer_map,
                basis=started.basis,
                evaluate=last_epoch,
                cache=cache,
                session=session,
            )

        return _timed(context, train, len(some), Path(folder))


def _short(settings: TrainingConfig, epochs: int) -> TrainingConfig:
    return settings.model_copy(update={"epochs": epochs, "min_steps": 0, "max_steps": None, "patience": None})


def _timed(context: Context, train: Callable[[Session], object], rows: int, cache: Path | None) -> Timing:
    stopwatch = _Stopwatch(SECONDS)
    session = Session(
        context.accelerator, context.recipe.run, context.recipe.evaluation, progress=stopwatch, title="timing"
    )
    with _silent(), suppress(_EnoughError):
        train(session)
    context.accelerator.free_memory()
    watch = stopwatch.watch
    steps = watch.steps[min(WARMING, len(watch.steps) // FEWEST) :]  # the first ones take what later ones have
    found = cached_folders(cache) if cache is not None else []
    index = next((CacheIndex(**read_index(path)) for path, facts in found if facts["kind"] == "teacher"), None)
    return Timing(float(np.mean(steps)), watch.seconds_of_rows / rows, index)


@contextmanager
def _silent() -> Iterator[None]:
    """Without the log lines of trainings of which nothing is kept."""
    logger = logging.getLogger("hrkd.training")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
