"""`hrkd serve`: answers, refusals, and its end; and the batcher behind it."""

import asyncio
import http.client
import json
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hrkd.cli import main
from hrkd.deploy.checks import Asked
from hrkd.deploy.predict import Predictor
from hrkd.deploy.serving.batcher import Batcher, BusyError
from hrkd.deploy.serving.server import _listening
from served import start

TEXTS = ["a good book", "the film is bad", "very good"]


def test_connections_send_at_once():
    """Else the body of each answer waits for the receipt of its head."""
    with _listening("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.fixture(scope="module")
def served(exported):
    server = start(exported, "--texts", "5", "--characters", "1000", "--threads", "1")
    yield server
    server.process.kill()


def test_answers_are_those_of_the_predictor(served, exported):
    status, found = served.ask({"texts": TEXTS, "domain": ["books", "music", "books"]})
    assert status == 200
    predictor = Predictor.from_pretrained(exported)
    expected = predictor.probabilities(TEXTS, domain=["books", "music", "books"])
    for answer, row in zip(found["answers"], expected, strict=True):
        assert answer["label"] == predictor.facts.labels[row.argmax()]
        assert answer["score"] == max(answer["scores"].values())
        np.testing.assert_allclose([answer["scores"][label] for label in predictor.facts.labels], row, atol=1e-6)
    assert served.ask({"texts": "good", "domain": "music"})[1]["answers"][0].keys() == {"label", "score", "scores"}
    assert served.ask({"texts": [], "domain": "music"}) == (200, {"answers": []})


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"texts": ["a"], "domain": "boks"}, "unknown domain 'boks' (did you mean 'books'?)"),
        ({"texts": ["a"]}, "domain: missing; name the domain"),
        ({"texts": ["a", " "], "domain": "books"}, "empty or broken: text 2; every text must be"),
        ({"texts": ["a"], "domain": ["books", "music"]}, "1 text but 2 domains"),
        ({"texts": ["a"] * 6, "domain": "books"}, "6 are more than the 5 of a question"),
        ({"texts": "a" * 1001, "domain": "books"}, "one has 1,001 characters, and at most 1,000 are read"),
        ({"texts": ["good", "\u200b"], "domain": "books"}, "no tokens: text 2"),
        ({"texts": 3}, "texts: expected a string, or a list of them, got 3"),
        ({"texts": ["a", 1]}, "texts[1]: expected a string, got 1"),
        ({"texts": {"a": 1}, "domain": "books"}, "texts: expected a string, or a list of them, got "),
        (["a"], "expected an object with the fields texts, domain, text_pairs, got "),
        ({"domain": "books"}, "texts: missing; the fields are texts, domain, text_pairs"),
        ({"texts": ["a"], "domian": "books"}, "unknown field 'domian' (did you mean 'domain'?); known are texts"),
        (b'{"texts": ["a"],}', "the body is no JSON: "),
        (b'{"texts": ["a"], domain', ", at character 18"),
        (b"\xff", "the body is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_question_is_told(served, question, words):
    status, found = served.ask(question)
    assert status == 422
    assert words in found["detail"]


def test_a_body_that_is_not_said_to_be_json(served):
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"))
    connection.request("POST", "/predict", b'{"texts": ["a"]}', {"Content-Type": "text/plain"})
    answer = connection.getresponse()
    assert (answer.status, "send the header Content-Type: application/json" in answer.read().decode()) == (422, True)
    connection.close()


def test_bodies_are_bounded_before_they_are_read(served):
    host = served.url.removeprefix("http://")
    for headers, status in (({"Content-Length": "999999999"}, 413), ({"Transfer-Encoding": "chunked"}, 411)):
        connection = http.client.HTTPConnection(host)
        connection.putrequest("POST", "/predict")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_what_the_server_says_of_itself(served):
    assert served.get("/health") == (200, '{"status":"ok"}')
    status, facts = served.get("/model")
    facts = json.loads(facts)
    assert status == 200
    assert facts["domains"] == ["books", "kitchen & housewares", "music"]
    assert (facts["needs_domain"], facts["finds_domains"], facts["takes_pairs"]) == (True, False, False)
    served.ask({"texts": TEXTS, "domain": "books"})
    _, metrics = served.get("/metrics")
    assert float(re.search(r"^hrkd_texts_total (\S+)", metrics, re.MULTILINE)[1]) >= 3
    assert 'hrkd_questions_total{status="200"}' in metrics
    schema = json.loads(served.get("/openapi.json")[1])
    assert {"/predict", "/model", "/health", "/metrics"} == set(schema["paths"])
    assert served.get("/docs")[0] == 404, "it would load scripts from elsewhere"
    assert served.get("/nowhere")[0] == 404


def test_the_page_loads_nothing_from_elsewhere(served):
    status, page = served.get("/")
    assert status == 200
    assert not re.findall(r"https?://|//[a-z]", page.replace("<!--", ""))
    assert 'lang="en"' in page
    assert "AUTO" not in page


def test_many_at_once_get_their_own_answers(served, exported):
    domains = Predictor.from_pretrained(exported).facts.domains
    texts = [f"{a} {b}" for a in ("good", "bad", "not a") for b in ("book", "film", "plot", "song")]
    asked = [(text, domain) for text in texts for domain in domains]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda each: served.ask({"texts": each[0], "domain": each[1]}), asked))
    expected = Predictor.from_pretrained(exported).probabilities(texts, domain=domains[0])
    for (text, domain), (status, answer) in zip(asked, found, strict=True):
        assert status == 200
        if domain == domains[0]:
            row = expected[texts.index(text)]
            assert answer["answers"][0]["score"] == pytest.approx(row.max(), abs=1e-5)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_to(exported, how):
    server = start(exported, "--json")
    assert server.ask({"texts": "good", "domain": "music"})[0] == 200
    server.process.send_signal(how)
    assert server.process.wait(20) == 0
    assert server.process.stderr.read() == ""


SLOW = """
import time
from hrkd.deploy.predict import Predictor
from hrkd.deploy.serving import app, guard
right = Predictor.answers
def answers(self, asked, **options):
    time.sleep(1.5)
    return right(self, asked, **options)
Predictor.answers = answers
guard.SILENCE = 0.5
app.Limits.__init__.__defaults__ = (*app.Limits.__init__.__defaults__[:-1], 2)
"""


def half_a_question(server):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", "100")
    connection.endheaders()
    connection.send(b'{"texts"')
    return connection


def test_what_was_asked_is_answered_before_it_ends(exported):
    """However long that takes; who has sent half a question is not waited for."""
    server = start(exported, first=SLOW)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(server.ask, {"texts": "good", "domain": "music"}) for _ in range(2)]
        connection = half_a_question(server)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert [each.result()[0] for each in asked] == [200, 200]
    assert connection.getresponse().status == 408
    assert server.process.wait(20) == 0
    assert server.process.stderr.read() == ""


def test_a_second_signal_ends_it_at_once(exported):
    server = start(exported, first=SLOW.replace("1.5", "3"))
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(server.ask, {"texts": "good", "domain": "music"}) for _ in range(2)]
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        start_of_wait = time.perf_counter()
        found = [each.result() for each in asked]
        assert [status for status, _ in found] == [503, 503]
        assert "the server was ended" in found[0][1]["detail"]
        assert time.perf_counter() - start_of_wait < 2
    server.process.wait(20)
    assert "Traceback" not in server.process.stderr.read()


def test_too_much_is_refused_and_counted_and_it_stays_healthy(exported):
    server = start(exported, first=SLOW)
    try:
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(server.ask, {"texts": "good", "domain": "music"}) for _ in range(2)]
            time.sleep(0.5)
            status, answer = server.ask({"texts": ["good"], "domain": "music"})
            assert (status, server.headers["Retry-After"]) == (503, "1")
            assert "too many texts are waiting" in answer["detail"]
            assert server.get("/health") == (200, '{"status":"ok"}')
            assert [each.result()[0] for each in asked] == [200, 200]
        assert half_a_question(server).getresponse().status == 408
        assert server.ask(b"\xff")[0] == 422
        assert server.ask({"texts": "a"})[0] == 422
        for headers in ({"Content-Length": "999999999"}, {"Transfer-Encoding": "chunked"}):
            connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
            connection.request("POST", "/predict", headers=headers)
            connection.getresponse().read()
        assert server.counts() == {200: 2, 503: 1, 408: 1, 422: 2, 413: 1, 411: 1}
    finally:
        server.process.kill()


def test_addresses_of_version_6_stand_in_brackets(exported):
    server = start(exported, "--host", "::1")
    assert re.search(r"//\[::1\]:\d+$", server.url)
    assert server.get("/health")[0] == 200
    server.process.kill()


def test_what_cannot_be_served(exported, tmp_path, capsys, served):
    port = served.url.rpartition(":")[2]
    for arguments, words in (
        ([str(tmp_path / "nowhere")], "no such folder"),
        ([str(exported), "--port", port], f"127.0.0.1:{port}: cannot be listened at"),
        ([str(exported), "--port", "99999"], "cannot be listened at"),
        ([str(exported), "--host", "nowhere.invalid"], "cannot be listened at"),
        ([str(exported), "--host", "a..b"], "cannot be listened at"),
        ([str(exported), "--batch-size", "0"], "--batch-size: expected a whole number from 1, got 0"),
        ([str(exported), "--texts", "-1"], "texts: expected a whole number from 1, got -1"),
    ):
        assert main(["serve", *arguments]) == 2
        assert words in capsys.readouterr().err


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def one(number):
    return Asked([f"text {number}"], None, [number])


class TestBatcher:
    def test_what_comes_while_it_works_is_answered_together(self):
        free, batches = threading.Event(), []

        def answers(asked):
            batches.append(len(asked.texts))
            free.wait(10)
            return np.array(asked.domains)[:, None]

        async def ask():
            batcher = Batcher(answers, most=4, most_waiting=100)
            batcher.start()
            first = asyncio.create_task(batcher.ask(one(0)))
            while not batches:
                await asyncio.sleep(0.001)
            others = [asyncio.create_task(batcher.ask(one(number))) for number in range(1, 8)]
            await asyncio.sleep(0.01)
            free.set()
            found = await asyncio.gather(first, *others)
            await batcher.stop()
            return [rows.item() for rows in found]

        assert run(ask()) == list(range(8))
        assert batches == [1, 4, 3]

    def test_long_texts_go_in_smaller_batches(self):
        batches = []

        def answers(asked):
            batches.append(list(asked.domains))
            return np.zeros((len(asked.texts), 2))

        async def ask():
            batcher = Batcher(answers, most=32, most_waiting=100, most_tokens=20)
            batcher.start()
            texts = ["a" * 4, "b" * 40, "c" * 16, "d" * 400, "e" * 4, "f" * 4, "g" * 4]
            await asyncio.gather(*(batcher.ask(Asked([t], None, [n])) for n, t in enumerate(texts)))
            await batcher.stop()

        run(ask())
        assert batches == [[0, 1], [2], [3], [4, 5, 6]]

    def test_a_question_that_is_larger_than_a_batch_is_one(self):
        batches = []

        def answers(asked):
            batches.append(len(asked.texts))
            return np.zeros((len(asked.texts), 2))

        async def ask():
            batcher = Batcher(answers, most=4, most_waiting=100)
            batcher.start()
            many = Asked(["a"] * 9, None, [0] * 9)
            found = await asyncio.gather(batcher.ask(many), batcher.ask(one(1)), batcher.ask(many))
            await batcher.stop()
            return [len(rows) for rows in found]

        assert run(ask()) == [9, 1, 9]
        assert batches == [9, 1, 9]

    def test_pairs_and_single_texts_are_not_put_together(self):
        def answers(asked):
            assert asked.pairs is None or len(asked.pairs) == len(asked.texts)
            return np.full((len(asked.texts), 1), 0 if asked.pairs is None else 1)

        async def ask():
            batcher = Batcher(answers, most=8, most_waiting=100)
            batcher.start()
            pair = Asked(["a"], ["b"], [0])
            found = await asyncio.gather(*map(batcher.ask, (one(0), pair, pair, one(1), pair)))
            await batcher.stop()
            return [rows.item() for rows in found]

        assert run(ask()) == [0, 1, 1, 0, 1]

    def test_what_is_wrong_with_one_is_not_the_others(self):
        def answers(asked):
            if 13 in asked.domains:
                raise RuntimeError("broken")
            return np.array(asked.domains)[:, None]

        async def ask():
            batcher = Batcher(answers, most=8, most_waiting=100)
            batcher.start()
            found = await asyncio.gather(*(batcher.ask(one(n)) for n in (1, 13, 2)), return_exceptions=True)
            await batcher.stop()
            return [each.item() if isinstance(each, np.ndarray) else str(each) for each in found]

        assert run(ask()) == [1, "broken", 2]

    def test_an_error_goes_to_who_asked_and_work_goes_on(self):
        def answers(asked):
            if asked.domains == [13]:
                raise RuntimeError("broken")
            return np.zeros((len(asked.texts), 2))

        async def ask():
            batcher = Batcher(answers, most=1, most_waiting=100)
            batcher.start()
            found = await asyncio.gather(*(batcher.ask(one(n)) for n in (1, 13, 2)), return_exceptions=True)
            await batcher.stop()
            return [type(each).__name__ for each in found]

        assert run(ask()) == ["ndarray", "RuntimeError", "ndarray"]

    def test_too_much_is_refused_and_who_left_is_forgotten(self):
        computed = []

        def answers(asked):
            computed.append(asked.domains)
            time.sleep(0.05)
            return np.zeros((len(asked.texts), 2))

        async def ask():
            batcher = Batcher(answers, most=1, most_waiting=2)
            batcher.start()
            tasks = [asyncio.create_task(batcher.ask(one(n))) for n in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                await batcher.ask(one(3))
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.15)
            found = await batcher.ask(one(4))
            await batcher.stop()
            return len(found)

        assert run(ask()) == 1
        assert computed == [[0], [4]]
