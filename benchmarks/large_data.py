"""What memory and time rows take, from a table on disk to training steps, by the number of rows.

    python benchmarks/large_data.py [ROWS ...] > benchmarks/results/DATE-large-data.md

Each size has a process of its own. Own memory (RssAnon) is what the process itself holds; resident memory (VmRSS) also
counts pages of mapped files, which the system takes back whenever another process wants them. Both are polled.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from itertools import islice
from pathlib import Path

import numpy as np

SIZES = (10_000, 100_000, 1_000_000)
DOMAINS = ("books", "dvd", "electronics", "kitchen")
WORDS = 20_000
WORDS_IN_A_TEXT = 60
COPIES = 0.01
STEPS, BATCH, MAX_TOKENS = 200, 8, 64
STAGES = ("load", "split", "describe", "tokenise", "train")
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "pyarrow", "numpy")
POLL_SECONDS = 0.005


def write_rows(file: Path, rows: int) -> None:
    """Random words with frequencies as in a language, about 60 a text; one text in a hundred repeats the one before."""
    rng = np.random.default_rng(0)
    words = np.array(vocabulary())
    chances = 1 / np.arange(10, WORDS + 10)
    chances /= chances.sum()
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(["text", "label", "domain"])
        for start in range(0, rows, 1000):
            lengths = rng.integers(WORDS_IN_A_TEXT // 2, WORDS_IN_A_TEXT * 3 // 2 + 1, 1000)
            drawn = np.split(rng.choice(words, lengths.sum(), p=chances), np.cumsum(lengths)[:-1])
            copies, labels = rng.random(1000) < COPIES, rng.integers(2, size=1000).tolist()
            for n in range(min(1000, rows - start)):
                text = " ".join(drawn[n - 1 if n and copies[n] else n])
                table.writerow([text, ("negative", "positive")[labels[n]], DOMAINS[n % len(DOMAINS)]])


def vocabulary() -> list[str]:
    """Words of about six letters, the same in every process."""
    rng = np.random.default_rng(1)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in "aeiou"]
    return list(dict.fromkeys("".join(rng.choice(syllables, rng.integers(2, 5))) for _ in range(3 * WORDS)))[:WORDS]


class Memory:
    """Peaks of the process's memory in kB, since the last :meth:`reset` and in all, polled by a thread."""

    def __init__(self) -> None:
        self.own = self.resident = self.most_own = self.most_resident = 0
        threading.Thread(target=self._poll, daemon=True).start()

    def _poll(self) -> None:
        while True:
            self.look()
            time.sleep(POLL_SECONDS)

    def look(self) -> int:
        """Own memory now, in kB."""
        lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
        found = {fields[0]: int(fields[1]) for fields in lines if fields[0] in ("RssAnon:", "VmRSS:")}
        self.own, self.resident = max(self.own, found["RssAnon:"]), max(self.resident, found["VmRSS:"])
        self.most_own, self.most_resident = max(self.most_own, self.own), max(self.most_resident, self.resident)
        return found["RssAnon:"]

    def reset(self) -> None:
        """Count the peaks of a stage anew."""
        self.own = self.resident = 0


def measure(file: Path, cache: Path) -> dict[str, object]:
    """All stages on one table."""
    import torch
    from torch.nn.functional import cross_entropy

    from hrkd.data.batching import MultiDomainLoader, tokenize
    from hrkd.data.describe import describe
    from hrkd.data.readers.sources import load_domains
    from hrkd.data.splits.split import split_domains
    from hrkd.models.scratch import new_teacher, word_tokenizer
    from hrkd.run.prepare import PreparedData

    torch.manual_seed(0)
    tokenizer = word_tokenizer(vocabulary(), max_tokens=MAX_TOKENS)
    memory, seconds, peaks = Memory(), {}, {}
    before = memory.look()

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        memory.reset()
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start
        memory.look()
        peaks[name] = memory.own

    with stage("load"):
        dataset = load_domains(file, cache=cache)
    with stage("split"):
        splits = split_domains(dataset)
    with stage("describe"):
        describe(splits)
        PreparedData(splits, splits).digest()
    with stage("tokenise"):
        train, _, _ = (tokenize(part, tokenizer, MAX_TOKENS, cache=cache) for _, part in splits)
    with stage("train"):
        scratch = {"layers": 2, "width": 64, "heads": 2, "feed_forward": 128}
        size = len(tokenizer)
        model = new_teacher(
            scratch, vocabulary_size=size, domains=splits.domains, labels=splits.labels, max_tokens=MAX_TOKENS
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        loader = MultiDomainLoader(train, batch_size=BATCH, seed=0)
        batches = (batch for epoch in range(STEPS) for (batch,) in loader.epoch(epoch))
        for batch in islice(batches, STEPS):
            cross_entropy(model(**batch.inputs, domain_ids=batch.domain_ids).logits, batch.labels).backward()
            optimizer.step()
            optimizer.zero_grad()
    with stage("load again"):
        load_domains(file, cache=cache)
    with stage("tokenise again"):
        for _, part in splits:
            tokenize(part, tokenizer, MAX_TOKENS, cache=cache)
    return {
        "rows": len(dataset),
        "bytes": file.stat().st_size,
        "before": before,
        "own": memory.most_own,
        "resident": memory.most_resident,
        "seconds": seconds,
        "peaks": peaks,
    }


def report(found: list[dict], command: str) -> str:
    """Tables of all sizes."""
    stages = list(found[0]["seconds"])
    lines = [
        "# Memory and time by the number of rows\n",
        f"Command: `{command}`\n",
        f"CSV; texts of {WORDS_IN_A_TEXT} words on average out of {WORDS:,}, {len(DOMAINS)} domains, one text in a "
        f"hundred a copy of another. {STEPS} training steps of {BATCH} texts of each domain, {MAX_TOKENS} tokens at "
        "most, a student of 2 layers and width 64.\n",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        + ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
        + "\n",
        "## Memory\n",
        _line(["rows", "file, MB", "own before, MB", "peak own, MB", "peak resident, MB", "own, to the first size"]),
        _line(["---:"] * 6),
    ]
    for one in found:
        sizes = [f"{one['bytes'] / 1e6:,.1f}", *(f"{one[key] / 1024:,.0f}" for key in ("before", "own", "resident"))]
        lines.append(_line([f"{one['rows']:,}", *sizes, f"{one['own'] / found[0]['own']:.2f}"]))
    lines += ["\nPeak own memory of each stage, MB:\n", _line(["rows", *stages]), _line(["---:"] * (len(stages) + 1))]
    for one in found:
        lines.append(_line([f"{one['rows']:,}", *(f"{one['peaks'][name] / 1024:,.0f}" for name in stages)]))
    if len(found) > 1:
        first, last = found[0], found[-1]
        rows = last["rows"] - first["rows"]
        growth = {name: (last["peaks"][name] - first["peaks"][name]) * 1024 / rows for name in stages}
        told = ", ".join(f"{name} {value:.0f}" for name, value in growth.items())
        lines.append(f"\nBytes a row by which these peaks grow from the first size to the last: {told}.\n")
    lines += ["\n## Time\n", _line(["rows", *(f"{name}, s" for name in stages), "rows/s to the first step"])]
    lines.append(_line(["---:"] * (len(stages) + 2)))
    for one in found:
        total = sum(one["seconds"][name] for name in STAGES if name != "train")
        cells = [f"{one['seconds'][name]:.1f}" for name in stages]
        lines.append(_line([f"{one['rows']:,}", *cells, f"{one['rows'] / total:,.0f}"]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", type=int, default=SIZES)
    parser.add_argument("--folder", type=Path, help="where tables are written; default: the temporary folder")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is not None:
        print(json.dumps(measure(arguments.only, arguments.only.parent / "cache")))
        return
    found = []
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            file = Path(folder) / "reviews.csv"
            write_rows(file, rows)
            command = [sys.executable, __file__, "--only", str(file)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"{rows:,} rows done", file=sys.stderr)
    print(report(found, f"python {' '.join(['benchmarks/large_data.py', *sys.argv[1:]])}"))


if __name__ == "__main__":
    main()
