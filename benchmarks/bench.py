"""Measure what distilling costs, as ratios in one run, and print a Markdown record.

    python benchmarks/bench.py [--rows 400] [--repetitions 5] [--amazon sorted_data_acl --tokenizer FOLDER]

Everything is compared on the same rows, with the same models and in the same precision; ways are timed in turns.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from plain_loop import PlainLoop
from setting import STUDENT, TEACHER, Timing, amazon_reviews, bert, interleaved, matrix_product_rate, random_reviews
from torch import nn

from hrkd.data.batching import Batch, MultiDomainLoader, TokenizedDataset
from hrkd.method.build import build_domain_ratios
from hrkd.method.fit import FitLayers
from hrkd.models.layer_map import uniform_layer_map
from hrkd.models.trace import set_attention
from hrkd.training.distill import Distillation, TeacherReader, TeacherSource
from hrkd.training.fine_tune import FineTuning
from hrkd.training.loop import Trainable, parameter_groups
from hrkd.training.teacher_cache import CacheRules, teacher_source

CPU = torch.device("cpu")
LAYER_MAP = uniform_layer_map(STUDENT["layers"], TEACHER["layers"])
STEPS = 6


def optimiser_step(module: nn.Module, optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """What follows the loss in every training."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()


def optimiser_of(module: nn.Module) -> torch.optim.Optimizer:
    """That of the training loop."""
    return torch.optim.AdamW(parameter_groups(module, 0.01), lr=1e-4, fused=True)


def steps(module: Trainable, optimiser: torch.optim.Optimizer, batches: Iterable[Batch]) -> None:
    """Train on some batches."""
    module.train()
    for batch in batches:
        optimiser_step(module, optimiser, module(batch).loss)


def distillation(student: nn.Module, source: TeacherSource, domains: int, *, graph: bool = True) -> Distillation:
    """HRKD, or plain distillation with uniform ratios."""
    parts = {} if graph else {"graph": "uniform", "hierarchy": "none"}
    set_attention(student.encoder, "queries_keys")
    return Distillation(
        student,
        FitLayers(len(LAYER_MAP), STUDENT["width"], TEACHER["width"]),
        build_domain_ratios(len(LAYER_MAP), domains, TEACHER["width"], **parts),
        source,
        attention="queries_keys",
    )


def cached(teacher: nn.Module, data: TokenizedDataset, folder: Path) -> TeacherSource:
    """What the teacher says, from a cache that is built if it is not there."""
    set_attention(teacher.encoder, "queries_keys")
    live = TeacherReader(teacher, LAYER_MAP, attention="queries_keys")
    return teacher_source(live, data, rules=CacheRules(folder), device=CPU)


def step_times(data: TokenizedDataset, cache: Path, repetitions: int) -> tuple[dict[str, Timing], list[Batch]]:
    """Seconds of the same steps: fine-tuning, plain distillation, HRKD, both with the teacher cached."""
    names = data.source.domains
    teacher = bert(TEACHER, names)
    source = cached(teacher, data, cache)
    loader = MultiDomainLoader(data, batch_size=8, seed=0)
    every = list(loader.epoch(0))
    batches = every[:: max(1, len(every) // STEPS)][:STEPS]
    modules: dict[str, Trainable] = {
        "fine-tuning": FineTuning(bert(STUDENT, names)),
        "plain distillation": distillation(bert(STUDENT, names), source, len(names), graph=False),
        "HRKD": distillation(bert(STUDENT, names), source, len(names)),
    }
    ways = {}
    for name, module in modules.items():
        optimiser = optimiser_of(module)
        ways[name] = lambda module=module, optimiser=optimiser: steps(module, optimiser, batches)
    return interleaved(ways, repetitions), batches


def operations(batches: list[Batch]) -> dict[str, float]:
    """Floating-point operations of the products of forward and backward passes over ``batches``."""
    width, inner, layers = STUDENT["width"], STUDENT["feed_forward"], STUDENT["layers"]
    tokens = sum(batch.inputs["input_ids"].numel() for batch in batches)
    pairs = sum(batch.inputs["input_ids"].shape[1] * batch.inputs["input_ids"].numel() for batch in batches)
    student = 6 * tokens * layers * (4 * width**2 + 2 * width * inner) + 6 * 2 * pairs * layers * width
    return {"student": student, "fit layers": 6 * tokens * (layers + 1) * width * TEACHER["width"]}


def plain_setting(data: TokenizedDataset) -> tuple[PlainLoop, nn.Module]:
    """The plain loop, and the parts that ours shares with it."""
    names = data.source.domains
    teacher, student = bert(TEACHER, names), bert(STUDENT, names, seed=1)
    fit = nn.ModuleList(nn.Linear(STUDENT["width"], TEACHER["width"]) for _ in LAYER_MAP)
    ratios = build_domain_ratios(len(LAYER_MAP), len(names), TEACHER["width"])
    return PlainLoop(teacher, student, fit, ratios, LAYER_MAP), teacher


def ours_like(plain: PlainLoop, source: TeacherSource) -> Distillation:
    """Our module with the plain loop's weights."""
    module = distillation(copy.deepcopy(plain.student), source, len(plain.student.domains))
    module.ratios.load_state_dict(plain.ratios.state_dict())
    with torch.no_grad():
        for level, linear in enumerate(plain.fit):
            module.fit.weight[level], module.fit.bias[level] = linear.weight, linear.bias
    return module


def plain_epoch(data: TokenizedDataset) -> tuple[float, int]:
    """Seconds and steps of an epoch of the plain loop."""
    loop, _ = plain_setting(data)
    trained = nn.ModuleList([loop.student, loop.fit])
    optimiser = optimiser_of(trained)
    loop.student.train()
    loader = MultiDomainLoader(data, batch_size=8, seed=0, group_by_length=False)
    start = time.perf_counter()
    for batch in loader.epoch(0):
        optimiser_step(trained, optimiser, loop(batch))
    return time.perf_counter() - start, len(loader)


def our_epoch(data: TokenizedDataset, cache: Path) -> tuple[float, int]:
    """Seconds and steps of an epoch of hrkd; the cache is built if it is not there."""
    loop, teacher = plain_setting(data)
    start = time.perf_counter()
    source = cached(teacher, data, cache)
    module = ours_like(loop, source)
    loader = MultiDomainLoader(data, batch_size=8, seed=0)
    steps(module, optimiser_of(module), loader.epoch(0))
    return time.perf_counter() - start, len(loader)


def loss_difference(data: TokenizedDataset, cache: Path) -> tuple[float, float]:
    """Loss of the plain loop on a batch, and the relative difference of ours, without dropout."""
    loop, teacher = plain_setting(data)
    batch = next(iter(MultiDomainLoader(data, batch_size=8, seed=0).epoch(0)))
    with torch.no_grad():
        expected = loop.eval()(batch)
        found = ours_like(loop, cached(teacher, data, cache)).eval()(batch).loss
    return float(expected), float((found - expected).abs() / expected)


def alone(way: str, arguments: argparse.Namespace, cache: Path) -> dict[str, float]:
    """Run one epoch in a process of its own: seconds, steps, most memory."""
    command = [sys.executable, __file__, "--only", way, "--cache", str(cache), "--rows", str(arguments.rows)]
    if arguments.amazon is not None:
        command += ["--amazon", str(arguments.amazon), "--tokenizer", str(arguments.tokenizer)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(arguments: argparse.Namespace) -> TokenizedDataset:
    """The data set of this run."""
    if arguments.amazon is not None:
        return amazon_reviews(arguments.amazon, arguments.tokenizer, arguments.rows)
    return random_reviews(arguments.rows)


def only(arguments: argparse.Namespace) -> None:
    """One epoch, told as JSON."""
    data = rows_of(arguments)
    seconds, count = plain_epoch(data) if arguments.only == "plain" else our_epoch(data, arguments.cache)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"seconds": seconds, "steps": count, "gigabytes": memory}))


def record(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure, and print what was found."""
    data = rows_of(arguments)
    source = "Amazon Reviews" if arguments.amazon else "random words"
    lengths = data.lengths
    print(f"# Speed\n\n    {' '.join(['python', *sys.argv])}\n")
    print(
        f"* {os.cpu_count()} cores, {platform.machine()}; torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    print(f"* teacher {TEACHER}, student {STUDENT}, random weights, float32")
    print(f"* {source}: {len(data):,} rows of 4 domains, at most 128 tokens, {lengths.mean():.0f} in the mean\n")

    times, batches = step_times(data, folder / "steps", arguments.repetitions)
    base, plain, ours = (times[name].median for name in ("fine-tuning", "plain distillation", "HRKD"))
    rate, needed = matrix_product_rate(), operations(batches)
    print(f"## A step ({STEPS} steps, median [least, most] of {arguments.repetitions} turns)\n")
    print("| way | time | ratio to fine-tuning |\n|---|---:|---:|")
    for name, timing in times.items():
        print(f"| {name} | {timing} | {timing.median / base:.2f} |")
    print(f"\n* HRKD / fine-tuning: {ours / base:.2f} (goal: at most 1.4)")
    print(f"* HRKD / plain distillation: {ours / plain:.3f} (goal: at most 1.03)")
    floor, fit = needed["student"] / rate, needed["fit layers"] / rate
    print(f"* products run at {rate / 1e9:.0f} GFLOP/s: the student's own take {floor:.2f} s of {base:.2f} s,")
    print(f"  the fit layers' {fit:.2f} s more, so that the ratio cannot be below {1 + fit / base:.2f}\n", flush=True)

    if not arguments.turns:
        return
    epochs = {"plain loop": [], "first epoch": [], "later epoch": []}
    for turn in range(arguments.turns):
        cache = folder / f"epoch-{turn}"
        epochs["plain loop"].append(alone("plain", arguments, cache))
        epochs["first epoch"].append(alone("ours", arguments, cache))
        epochs["later epoch"].append(alone("ours", arguments, cache))
    print(f"## An epoch, each in a process of its own ({arguments.turns} turns)\n")
    print("| way | steps | time | most memory, GB | plain loop / this: time | memory |\n|---|---:|---:|---:|---:|---:|")
    reference = epochs["plain loop"]
    for name, runs in epochs.items():
        seconds = Timing(tuple(run["seconds"] for run in runs))
        memory = max(run["gigabytes"] for run in runs)
        faster = Timing(tuple(run["seconds"] for run in reference)).median / seconds.median
        smaller = max(run["gigabytes"] for run in reference) / memory
        print(f"| {name} | {runs[0]['steps']} | {seconds} | {memory:.2f} | {faster:.1f} | {smaller:.1f} |")
    loss, difference = loss_difference(data, folder / "loss")
    print("\n* goals: later epochs 8 times faster, the first 1.5 times; half the memory")
    print(f"* loss of one batch without dropout: {loss:.4f}; ours differs by {difference:.1e} of it (cache in fp16)")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=160, help="of every domain")
    parser.add_argument("--repetitions", type=int, default=5, help="turns of the step times")
    parser.add_argument("--turns", type=int, default=2, help="turns of the epochs")
    parser.add_argument("--amazon", type=Path, help="folder sorted_data_acl; default: random words of similar lengths")
    parser.add_argument("--tokenizer", type=Path, help="folder with BERT's tokenizer, for --amazon")
    parser.add_argument("--only", choices=["plain", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        only(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        record(arguments, Path(folder))


if __name__ == "__main__":
    main()
