"""Targets: tables to label, standard input, what is kept of an interruption, and questions to the server."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any

import numpy as np

from fuzz.harness import Target, must, scratch, told
from fuzz.readers import CELLS, csv_seed, jsonl_seed, parquet_seeds, tsv_seed
from hrkd.data.readers.tables import read_table
from hrkd.deploy.journal import Journal, journal_of
from hrkd.deploy.label_table import Labelling, label_file, label_stream, look_through, plan
from hrkd.deploy.predict import Predictor
from hrkd.deploy.serving.app import Limits, make_app
from hrkd.deploy.streams import Lines, label_lines, stream_table
from hrkd.models.open_model import ModelFacts

FACTS = ModelFacts(
    domains=["books", "dvd", "caf\u00e9"],
    labels=["n", "p"],
    max_tokens=12,
    one_head=False,
    columns={"text": "text", "text_pair": None, "label": "label", "domain": "domain"},
    routes=True,
)
BAD_ROWS = ("stop", "skip", "blank")


class Letters:
    """An engine whose tokens are letters and whose logits are counts, so that reading is all that takes time."""

    facts = FACTS
    batch_tokens = None

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None
    ) -> tuple[dict[str, list[list[int]]], np.ndarray]:
        del pairs
        tokens = [[1, *(ord(c) % 50 for c in text[:10] if not c.isspace() and c.isprintable()), 2] for text in texts]
        return {"input_ids": tokens}, np.arange(len(texts))

    def logits(self, rows: dict[str, list[list[int]]], domain_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = np.array([[sum(row) % 7, len(row)] for row in rows["input_ids"]], dtype=np.float32)
        return found, np.tile([0.2, 0.5, 0.3], (len(domain_ids), 1))

    def digest(self) -> str:
        return "letters"


PREDICTOR = Predictor(Letters())


def _how(data: bytes) -> Labelling:
    """Some way of labelling, as the number of bytes has it."""
    size = len(data)
    return Labelling(
        domain=(None, None, "books", "auto")[size % 4],
        all_labels=size % 3 == 0,
        prefix="" if size % 5 == 0 else "new ",
        on_bad_row=BAD_ROWS[size % 7 % 3],  # type: ignore[arg-type]
    )


def _predicted(kind: str) -> Callable[[bytes], str]:
    """Label a file into a file of some format: all its rows are there, or told."""
    folder = scratch(f"predict{kind}")
    source = folder / f"t{kind}"
    written = (kind, kind, ".csv", ".tsv", ".jsonl", ".parquet")

    def run(data: bytes) -> str:
        source.write_bytes(data)
        how, target = _how(data), folder / f"out{written[sum(data[:50]) % len(written)]}"
        for old in folder.glob("out*"):
            old.unlink()
        with told("hrkd.predict") as messages:
            job = look_through(source, target, FACTS, how)
            labelled = label_file(PREDICTOR, job, target)
        assert job.table.rows is not None
        if how.on_bad_row == "skip":
            must(
                labelled == job.table.rows or any("left out" in each for each in messages), "rows are left out, untold"
            )
        wanted = labelled if how.on_bad_row == "skip" else job.table.rows
        names = len(job.table.columns) + len(job.added)
        if wanted and names:
            again = read_table(target)
            must(again.rows == wanted, f"{wanted} rows to write, {again.rows} in {target.suffix}")
            must(len(again.columns) >= len(job.added), "columns are missing")
        return f"{kind} to {target.suffix} {how.on_bad_row}: {min(labelled, 9)} of {min(job.table.rows, 9)}"

    return run


class Pipe(io.RawIOBase):
    """A stream that gives bytes as a pipe does, at most ``size`` at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size, self.place = data, size, 0

    def read1(self, most: int) -> bytes:
        end = self.place + min(most, self.size)
        block, self.place = self.data[self.place : end], end
        return block


def _piped(kind: str) -> Callable[[bytes], str]:
    def run(data: bytes) -> str:
        how, out = _how(data), io.BytesIO()
        with told("hrkd.predict"):
            lines = Lines(Pipe(data, (1 << 16, 7, 100)[len(data) % 3] if len(data) < 3000 else 1 << 16))
            job = plan(stream_table(lines, kind), FACTS, how)
            labelled = label_stream(PREDICTOR, job, out, kind)
        if how.on_bad_row == "stop" and labelled:
            file = scratch("piped") / f"t{kind}"
            file.write_bytes(data)
            must(read_table(file).rows == labelled, f"{labelled} rows came of the stream, the file has others")
        return f"{kind} {how.on_bad_row} {min(labelled, 9)}"

    return run


def _texts(data: bytes) -> str:
    how, out = _how(data), io.StringIO()
    with told("hrkd.predict") as messages:
        lines = Lines(Pipe(data, 1 << 16))
        labelled = label_lines(
            PREDICTOR, lines, out, domain=how.domain or "dvd", all_labels=how.all_labels, on_bad_row=how.on_bad_row
        )
    found = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    number = len(found) - (not found[-1])
    if how.on_bad_row == "blank":
        must(out.getvalue().count("\n") == number, f"{number} lines came, {out.getvalue().count(chr(10))} went")
    must(labelled == number or messages, f"{number} lines, {labelled} labelled, and nothing said")
    return f"{how.on_bad_row} {min(labelled, 9)}"


def _journal(data: bytes) -> str:
    output = scratch("journal") / "out.csv"
    path = output.parent / f".{output.name}.hrkd-journal"
    path.write_bytes(data)
    answers = 0
    with told("hrkd.predict"), journal_of(output, "k") as journal:
        for rows in (2, 3):
            found = journal.next(rows, 2)
            if found is None:
                journal.add(np.zeros((rows, 2)))
            else:
                must(found.shape == (rows, 2), f"numbers of shape {found.shape}")
                answers += 1
    must(not path.exists(), "the journal stays")
    return f"{answers} of 2 kept"


@cache
def _journals() -> list[bytes]:
    file = scratch("journal-seed") / "j"
    with file.open("w+b") as content:
        journal = Journal(content, file, "k")
        journal.next(2, 2)
        journal.add(np.ones((2, 2)))
        journal.add(np.ones((3, 2)))
    return [file.read_bytes()]


class Service:
    """The application of ``hrkd serve``, asked without a socket."""

    def __init__(self) -> None:
        self.app = make_app(PREDICTOR, Limits(texts=5, characters=1000))
        self.loop = asyncio.new_event_loop()
        self.numbers = count()
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.life = self.app.router.lifespan_context(self.app)
        await self.life.__aenter__()

    def ask(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, bytes]:
        return self.loop.run_until_complete(self._ask(body, headers))

    async def _ask(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, bytes]:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/predict",
            "raw_path": b"/predict",
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
        }
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:])


@cache
def _service() -> Service:
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    return Service()


KINDS = (b"application/json", b"text/plain", b"application/json; charset=latin-1", b"multipart/form-data", b"\xff")


def _question(data: bytes) -> str:
    first, _, body = data.partition(b"\n") if data[:1] == b"!" else (b"", b"", data)
    headers = [(b"content-type", KINDS[0] if not first else KINDS[len(first) % len(KINDS)])]
    headers.append((b"content-length", first[1:] if len(first) > 1 else str(len(body)).encode()))
    status, said = _service().ask(body, headers)
    must(status in (200, 411, 413, 422), f"status {status}: {said[:200]!r}")
    found = json.loads(said)
    if status == 200:
        asked = json.loads(body)["texts"]
        must(len(found["answers"]) == (1 if isinstance(asked, str) else len(asked)), "as many answers as texts")
        return f"200 {len(found['answers'])}"
    must(isinstance(found["detail"], str) and found["detail"], "a refusal without a reason")
    must(len(found["detail"]) < 3000, f"a refusal of {len(found['detail'])} characters")
    if b"\0" not in body[:4]:  # which would be UTF-16 to a reader of JSON
        with suppress(UnicodeDecodeError):
            must(not body.decode() or "is not UTF-8" not in found["detail"], f"this is UTF-8: {body[:80]!r}")
    return f"{status} {found['detail'].split(chr(39))[0][:60]}"


def _asked(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


QUESTIONS = [
    _asked(texts=["good", "bad book"], domain="books"),
    _asked(texts="a", domain="auto"),
    _asked(texts=["a", "b"], domain=["books", "dvd"], text_pairs=None),
    b"!5\n" + _asked(texts=["a"], domain="dvd"),
]

TARGETS = [
    Target("predict-csv", _predicted(".csv"), lambda: [csv_seed(), csv_seed(";")], CELLS, ("t.csv", "out."), 0.7),
    Target("predict-tsv", _predicted(".tsv"), lambda: [tsv_seed()], CELLS, ("t.tsv", "out."), 0.5),
    Target("predict-jsonl", _predicted(".jsonl"), lambda: [jsonl_seed()], CELLS, ("t.jsonl", "out."), 0.7),
    Target("predict-parquet", _predicted(".parquet"), parquet_seeds, CELLS, ("t.parquet", "out."), 0.2, "bytes"),
    Target("stream-csv", _piped(".csv"), lambda: [csv_seed(), csv_seed(";")], CELLS, ("standard input",), 2),
    Target("stream-tsv", _piped(".tsv"), lambda: [tsv_seed()], CELLS, ("standard input",), 2),
    Target("stream-jsonl", _piped(".jsonl"), lambda: [jsonl_seed()], CELLS, ("standard input",), 2),
    Target(
        "stream-texts",
        _texts,
        lambda: [b"good\nbad\nx", b"good\nbad\n\n \nx"],
        (b"\xe2\x80\x8b", b"\n"),
        ("standard input",),
        3,
    ),
    Target("journal", _journal, _journals, (b"\n", b'{"rows": 2'), ("journal",), 2),
    Target("question", _question, lambda: QUESTIONS, (b"texts", b"domain", b"text_pairs", b"!"), (), 1, form="json"),
]
