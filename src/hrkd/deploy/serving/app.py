"""The routes of ``hrkd serve``, as a FastAPI application."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from itertools import islice
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from hrkd.deploy.checks import AUTO, BATCH_SIZE, Asked, ask
from hrkd.deploy.predict import Predictor
from hrkd.deploy.serving.batcher import Batcher, BusyError
from hrkd.deploy.serving.guard import Guard, refusal
from hrkd.deploy.serving.refusals import told_of_body, told_of_form
from hrkd.errors import DataError, HrkdError
from hrkd.models.kind import UNKNOWN
from hrkd.models.open_model import ModelFacts

__all__ = ["Limits", "make_app"]

QUESTION = "/predict"
MOST_BYTES = 32_000_000
BAD_REQUEST = 400
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Args:
        texts: of a question.
        characters: of a text.
        batch: texts in a forward pass.
        waiting: texts that may wait; more are refused with status 503.
    """

    texts: int = 256
    characters: int = 100_000
    batch: int = BATCH_SIZE
    waiting: int = 4096

    @property
    def bytes(self) -> int:
        """Of a question's body."""
        return min(MOST_BYTES, 8 * self.characters * self.texts + 65_536)


class Question(BaseModel):
    """Texts of one domain, or each of its own."""

    model_config = ConfigDict(extra="forbid")

    texts: Annotated[str | list[str], Field(description="One text, or several.")]
    domain: Annotated[
        str | list[str] | None,
        Field(description="Of all texts, or one for each; `auto`: the student finds it by itself."),
    ] = None
    text_pairs: Annotated[str | list[str] | None, Field(description="Second texts of a pair task.")] = None

    @model_validator(mode="before")
    @classmethod
    def _first_faults(cls, given: Any) -> Any:
        """The first wrong item of a list, the first unknown field: telling of millions takes a thousand times more."""
        if not isinstance(given, dict):
            return given
        unknown = [name for name in islice(given, len(cls.model_fields) + 1) if name not in cls.model_fields]
        names = [*cls.model_fields, *unknown[:1]]
        return {name: _to_first_fault(given[name]) for name in names if name in given}


def _to_first_fault(value: Any) -> Any:
    """A list up to its first item that is no string, that included; other values as they are."""
    if not isinstance(value, list):
        return value
    wrong = next((place for place, item in enumerate(value) if not isinstance(item, str)), len(value))
    return value[: wrong + 1]


class Answer(BaseModel):
    """What the student says of a text."""

    label: str
    score: float = Field(description="Its probability.")
    scores: dict[str, float] = Field(description="Probabilities of all labels.")
    domain_found: str | None = Field(None, description="What the text is like most, where the domain is `auto`.")
    domain_share: float | None = Field(None, description="Its share.")


class Answers(BaseModel):
    """As many as there are texts, in their order."""

    answers: list[Answer]


class Facts(BaseModel):
    """What the student says of itself."""

    domains: list[str]
    labels: list[str]
    max_tokens: int
    takes_pairs: bool
    finds_domains: bool = Field(description="Whether `auto` may stand for a domain.")
    needs_domain: bool
    hrkd: str


def make_app(predictor: Predictor, limits: Limits | None = None) -> FastAPI:
    """A server of one student.

    ``POST /predict`` answers, ``GET /model`` says what the student is, ``/health`` that it can be asked, ``/metrics``
    counts (Prometheus), ``/openapi.json`` describes these, and ``/`` is a page to try it, which loads nothing from
    elsewhere.
    """
    limits = limits or Limits()
    facts, registry = predictor.facts, CollectorRegistry()
    questions = Counter("hrkd_questions", "Questions by status", ["status"], registry=registry)
    texts = Counter("hrkd_texts", "Texts that were answered", registry=registry)
    seconds = Histogram("hrkd_seconds", "From question to answer", buckets=SECONDS, registry=registry)
    sizes = Histogram("hrkd_batch_texts", "Texts in a forward pass", buckets=SIZES, registry=registry)

    def answers(asked: Asked) -> np.ndarray:
        ask_for = predictor.answers_and_shares if UNKNOWN in asked.domains else predictor.answers
        return ask_for(asked, batch_size=limits.batch)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.batcher = Batcher(
            answers,
            most=limits.batch,
            most_tokens=predictor.engine.batch_tokens,
            most_waiting=limits.waiting,
            seen=sizes.observe,
        )
        app.state.batcher.start()
        yield
        await app.state.batcher.stop()

    # The pages that FastAPI makes for the schema load scripts from elsewhere.
    app = FastAPI(title="hrkd", version=metadata.version("hrkd"), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(
        Guard, most=limits.bytes, question=QUESTION, seen=lambda status: questions.labels(str(status)).inc()
    )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        """What is wrong with the form of a question."""
        return refusal(422, told_of_form(error.errors(), request.headers.get("content-type"), Question.model_fields))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        """An address that is not there, a body that does not come; one that cannot be read, FastAPI's status 400."""
        if error.status_code != BAD_REQUEST:
            return refusal(error.status_code, error.detail, error.headers)
        return refusal(422, told_of_body(error.__cause__))

    @app.exception_handler(HrkdError)
    async def unusable(_: Request, error: HrkdError) -> Response:
        """What is wrong with its content, or with the model."""
        status = 422 if isinstance(error, DataError) else 500
        return refusal(status, str(error))

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> Response:
        """What nobody has foreseen; the server's log has it."""
        return refusal(500, "the server met an error of its own; its log says which")

    @app.exception_handler(BusyError)
    async def busy(_: Request, __: BusyError) -> Response:
        """Too much is waiting."""
        return refusal(503, "too many texts are waiting; ask again in a second", {"Retry-After": "1"})

    @app.post(
        QUESTION,
        response_model_exclude_none=True,
        responses={422: {"description": "What is wrong with the question"}, 503: {}, 413: {}, 408: {}},
    )
    async def predict(question: Question) -> Answers:
        """Labels and their probabilities."""
        start = time.perf_counter()
        _check_count(question.texts, limits)
        asked = ask(question.texts, question.domain, question.text_pairs, facts)
        _check_lengths(asked, limits)
        found = (await app.state.batcher.ask(asked)).tolist() if asked.texts else []
        texts.inc(len(found))
        seconds.observe(time.perf_counter() - start)
        return Answers(answers=[_answer(*each, facts) for each in zip(found, asked.domains, strict=True)])

    @app.get("/model")
    async def model() -> Facts:
        """What the student is."""
        return Facts(
            domains=facts.domains,
            labels=facts.labels,
            max_tokens=facts.max_tokens,
            takes_pairs=bool(facts.pairs),
            finds_domains=facts.routes or facts.one_head,
            needs_domain=not facts.one_head,
            hrkd=metadata.version("hrkd"),
        )

    @app.get("/health")
    async def health() -> Response:
        """Whether the model is there and at work; however much waits for it."""
        if app.state.batcher.is_at_work:
            return JSONResponse({"status": "ok"})
        return refusal(503, "what answers questions has ended; start the server again")

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counts, for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> str:
        """Where people try sentences."""
        return files("hrkd.deploy.serving").joinpath("page.html").read_text(encoding="utf-8").replace("AUTO", AUTO)

    return app


def _check_count(texts: str | list[str], limits: Limits) -> None:
    if isinstance(texts, list) and len(texts) > limits.texts:
        raise DataError(f"texts: {len(texts):,} are more than the {limits.texts:,} of a question; ask in parts")


def _check_lengths(asked: Asked, limits: Limits) -> None:
    longest = max(map(len, [*asked.texts, *(asked.pairs or ())]), default=0)
    if longest > limits.characters:
        raise DataError(f"texts: one has {longest:,} characters, and at most {limits.characters:,} are read")


def _answer(said: list[float], domain: int, facts: ModelFacts) -> Answer:
    """Of the probabilities of a text, behind which shares of the domains stand if some were to be found."""
    labels, shares = facts.labels, said[len(facts.labels) :]
    probabilities = said[: len(labels)]
    best = max(range(len(labels)), key=probabilities.__getitem__)
    answer = Answer(label=labels[best], score=probabilities[best], scores=dict(zip(labels, probabilities, strict=True)))
    if domain == UNKNOWN:
        answer.domain_found, answer.domain_share = facts.domains[shares.index(max(shares))], max(shares)
    return answer
