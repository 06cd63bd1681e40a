"""Answers a second and latency of `hrkd serve` under load on loopback, beside one question at a time and LitServe.

python benchmarks/serving.py RECIPE FOLDER            # FOLDER: a student or an export; LitServe where it is installed

Each of some clients asks for one text, waits for the answer, and asks for the next. RECIPE names the data, whose test
texts are asked about.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from hrkd.recipe.loading import load_recipe
from hrkd.run.prepare import prepare_data

OURS, ALONE, PEER = "hrkd serve", "hrkd serve --batch-size 1", "LitServe, batches of 32"
PEER_SERVER = """
import sys
import litserve
from hrkd.deploy.predict import Predictor

class Api(litserve.LitAPI):
    def setup(self, device):
        self.predictor = Predictor.from_pretrained(sys.argv[1], threads=1)
    def decode_request(self, request):
        return request["texts"][0], request["domain"]
    def predict(self, asked):
        texts, domains = zip(*asked)
        return self.predictor(list(texts), domain=list(domains), all_labels=True)
    def encode_response(self, output):
        return {"answers": [output]}

if __name__ == "__main__":
    api = Api(max_batch_size=32, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", track_requests=False).run(
        port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False, log_level="warning", access_log=False
    )
"""


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--words", type=int, help="first words of each text; default: all")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        _measure(arguments, stack)


def _measure(arguments: argparse.Namespace, stack: ExitStack) -> None:
    test = prepare_data(load_recipe(arguments.recipe, needed=("data",)).data).splits.test
    names = [test.domains[i] for i in test.domain_ids]
    texts = [" ".join(text.split()[: arguments.words]) for text in test.rows["text"][:]]
    questions = [_question(text, name) for text, name in zip(texts, names, strict=True)]
    base = [sys.executable, "-m", "hrkd", "serve", str(arguments.folder), "--threads", "1", "--port"]
    servers = {OURS: (8101, [*base, "8101"]), ALONE: (8102, [*base, "8102", "--batch-size", "1"])}
    if find_spec("litserve"):
        script = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "peer.py"  # its processes import it
        script.write_text(PEER_SERVER)
        servers[PEER] = (8103, [sys.executable, str(script), str(arguments.folder), "8103"])
    for _, command in servers.values():
        stack.callback(subprocess.Popen(command, stdout=subprocess.DEVNULL).terminate)
    for port, _ in servers.values():
        _wait(port, questions[0])
    found = {(name, clients): [] for clients in arguments.clients for name in servers}
    for _ in range(arguments.rounds):
        for name, clients in found:
            times = asyncio.run(_load(servers[name][0], questions, clients, arguments.seconds))
            found[name, clients].append((len(times) / arguments.seconds, *np.percentile(times, [50, 99])))
    print(f"{len(questions)} texts in turn, {arguments.rounds} rounds of {arguments.seconds:g} s, the median of them\n")
    print("| clients | server | answers/s | times one at a time | p50, ms | p99, ms |\n|---:|---|---:|---:|---:|---:|")
    for (name, clients), rounds in found.items():
        rate, middle, late = np.median(rounds, axis=0)
        alone = np.median(found[ALONE, clients], axis=0)[0]
        print(f"| {clients} | {name} | {rate:,.0f} | {rate / alone:.2f} | {middle:.1f} | {late:.1f} |")


def _question(text: str, domain: str) -> bytes:
    body = json.dumps({"texts": [text], "domain": domain}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _wait(port: int, question: bytes) -> None:
    """Until the server answers."""
    for _ in range(240):
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            asyncio.run(_load(port, [question], 1, 0.5))
            return
        time.sleep(0.5)
    raise SystemExit(f"no server at port {port}")


async def _load(port: int, questions: list[bytes], clients: int, seconds: float) -> list[float]:
    """Milliseconds of every answer."""
    end, times, number = time.perf_counter() + seconds, [], 0

    async def client() -> None:
        nonlocal number
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (start := time.perf_counter()) < end:
            number += 1
            writer.write(questions[number % len(questions)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = json.loads(await reader.readexactly(length))
            assert len(answer["answers"]) == 1, answer
            times.append(1000 * (time.perf_counter() - start))
        writer.close()

    await asyncio.wait_for(asyncio.gather(*(client() for _ in range(clients))), seconds + 20)
    return times


if __name__ == "__main__":
    main()
