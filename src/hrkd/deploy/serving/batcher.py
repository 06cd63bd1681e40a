"""One worker for a model, which takes at a time whatever has been asked meanwhile.

Nothing is waited for: while a batch is computed the next one gathers, so that batches grow with the load and a lone
question is answered at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from hrkd.deploy.checks import Asked

__all__ = ["Batcher", "BusyError"]


CHARACTERS = 4
"""Of a token, about, in many languages' own vocabularies."""


class BusyError(Exception):
    """More is waiting than the batcher takes."""


@dataclass(frozen=True)
class _Question:
    asked: Asked
    answer: asyncio.Future[np.ndarray]


class Batcher:
    """Puts questions together for a function that runs in a thread of its own.

    Args:
        answers: from what is asked to probabilities, (texts, C).
        most: texts of a batch, unless a single question has more.
        most_tokens: of a batch, likewise, as its texts' characters let expect; None: as many as there are. More at a
            time would only have the first ones wait for the last.
        most_waiting: texts that may wait.
        seen: called with the number of texts of every batch.
    """

    def __init__(
        self,
        answers: Callable[[Asked], np.ndarray],
        *,
        most: int,
        most_waiting: int,
        most_tokens: int | None = None,
        seen: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._answers, self._most, self._most_waiting, self._seen = answers, most, most_waiting, seen
        self._most_tokens = most_tokens
        self._questions: asyncio.Queue[_Question] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hrkd-model")
        self._worker: asyncio.Task[None] | None = None
        self._waiting = 0

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._worker = asyncio.create_task(self._work())

    @property
    def is_at_work(self) -> bool:
        """Whether what is asked will be answered."""
        return self._worker is not None and not self._worker.done()

    async def stop(self) -> None:
        """Answer what was asked before, then end."""
        await self._questions.join()
        if self._worker is not None:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker
        self._thread.shutdown()

    async def ask(self, asked: Asked) -> np.ndarray:
        """Probabilities, (texts, C).

        Raises:
            BusyError: too much is waiting.
        """
        if self._waiting and self._waiting + len(asked.texts) > self._most_waiting:
            raise BusyError
        question = _Question(asked, asyncio.get_running_loop().create_future())
        self._waiting += len(asked.texts)
        await self._questions.put(question)
        return await question.answer

    async def _work(self) -> None:
        left: _Question | None = None
        while True:
            batch = [left or await self._questions.get()]
            left, count, tokens = None, len(batch[0].asked.texts), _tokens(batch[0].asked)
            while count < self._most and not self._questions.empty():
                following = self._questions.get_nowait()
                unlike = (following.asked.pairs is None) != (batch[0].asked.pairs is None)
                count += len(following.asked.texts)
                tokens += _tokens(following.asked)
                if unlike or count > self._most or (self._most_tokens is not None and tokens > self._most_tokens):
                    left = following
                    break
                batch.append(following)
            await self._answer(batch)

    async def _answer(self, batch: list[_Question]) -> None:
        count = sum(len(question.asked.texts) for question in batch)
        try:
            # Who asked may have gone.
            await self._settle([question for question in batch if not question.answer.done()])
        finally:
            self._waiting -= count
            for _ in batch:
                self._questions.task_done()

    async def _settle(self, batch: list[_Question]) -> None:
        if not batch:
            return
        self._seen(sum(len(question.asked.texts) for question in batch))
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, self._answers, _together(batch))
        except Exception as error:
            if len(batch) > 1:  # what is wrong with one is not the others'
                for question in batch:
                    await self._settle([question])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        start = 0
        for question in batch:
            end = start + len(question.asked.texts)
            if not question.answer.done():
                question.answer.set_result(found[start:end])
            start = end


def _tokens(asked: Asked) -> int:
    """About as many as texts have."""
    return sum(2 + len(text) // CHARACTERS for text in (*asked.texts, *(asked.pairs or ())))


def _together(batch: list[_Question]) -> Asked:
    asked = [question.asked for question in batch]
    pairs = None if asked[0].pairs is None else [pair for each in asked for pair in each.pairs or ()]
    return Asked([text for each in asked for text in each.texts], pairs, [d for each in asked for d in each.domains])
