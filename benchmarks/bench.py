"""Measure what distilling costs, as ratios in one run, and print a Markdown record.

    python benchmarks/bench.py [--rows 400] [--repetitions 5] [--amazon sorted_data_acl --tokenizer FOLDER]

Everything is compared on the same rows, with the same models and in the same precision; ways are timed in turns.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from plain_loop import PlainLoop
from setting import STUDENT, TEACHER, Timing, amazon_reviews, bert, interleaved, matrix_product_rate, random_reviews
from torch import nn
from torch.profiler import ProfilerActivity, profile

from hrkd.data.batching import Batch, MultiDomainLoader, TokenizedDataset
from hrkd.method.build import build_domain_ratios
from hrkd.method.fit_layers import FitLayers
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.layer_map import uniform_layer_map
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.trace import set_attention
from hrkd.recipe.schema import CacheConfig, MethodConfig
from hrkd.support.allocator import STEPS_BETWEEN, give_back, keep_freed_memory, peak_megabytes
from hrkd.training.distill import Distillation
from hrkd.training.fine_tune import FineTuning
from hrkd.training.live_teacher import LiveTeacher, TeacherSource
from hrkd.training.loop import Trainable, parameter_groups
from hrkd.training.prefetch import ahead
from hrkd.training.teacher_cache.source import Compute, teacher_source
from hrkd.training.teacher_cache.store import Precision

CPU = torch.device("cpu")
KINDS = {
    "linear maps": {"mkldnn::_linear_pointwise", "aten::mkldnn_linear_backward_weights", "aten::to_mkldnn"},
    "products of attention and its loss": {"aten::bmm"},
    "attention besides": {"_Attention", "_AttentionBackward", "aten::_softmax", "aten::ge", "aten::addcmul_"},
    "copies": {"aten::copy_", "aten::cat", "aten::clone"},
    "element by element": {
        "aten::mul",
        "aten::mul_",
        "aten::add",
        "aten::add_",
        "aten::sub",
        "aten::sub_",
        "aten::div",
    },
    "GELU": {"aten::gelu", "aten::gelu_backward"},
    "layer norms": {"aten::native_layer_norm", "aten::native_layer_norm_backward"},
    "optimiser": {"aten::_fused_adamw_", "Optimizer.step#AdamW.step", "Optimizer.zero_grad#AdamW.zero_grad"},
}
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
    """Train on some batches, as the training loop does."""
    module.train()
    for step, batch in enumerate(ahead(prepared(module, batches)), 1):
        with cpu_kernels(CPU):
            loss = module(batch).loss
        optimiser_step(module, optimiser, loss)
        if step % STEPS_BETWEEN == 0:
            give_back()


def prepared(module: Trainable, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Batches that the module has heard of."""
    for batch in batches:
        module.prepare(batch)
        yield batch


def distillation(
    student: nn.Module, source: TeacherSource, domains: int, *, graph: bool = True, levels: int = len(LAYER_MAP)
) -> Distillation:
    """HRKD, or plain distillation with uniform ratios."""
    method = (
        MethodConfig(preset="published")
        if graph
        else MethodConfig(preset="published", graph="uniform", hierarchy="none")
    )
    set_attention(student.encoder, "queries_keys")
    return Distillation(
        student,
        FitLayers(levels, STUDENT["width"], TEACHER["width"]),
        build_domain_ratios(method, levels=levels, domains=domains, width=TEACHER["width"]),
        source,
        method,
        attention="queries_keys",
    )


def cached(
    teacher: MultiDomainClassifier,
    data: TokenizedDataset,
    folder: Path,
    precision: Precision = "fp16",
    compute: Compute = "fp32",
) -> TeacherSource:
    """What the teacher says, from a cache that is built if it is not there."""
    live = LiveTeacher(teacher, LAYER_MAP, attention="queries_keys")
    return teacher_source(
        live, data, rules=CacheConfig(folder=folder, precision=precision, compute=compute), device=CPU
    )


def _batches(loader: MultiDomainLoader) -> Iterator[Batch]:
    """Those of an epoch, one for each step."""
    return (batch for (batch,) in loader.epoch(0))


def chosen_batches(data: TokenizedDataset) -> tuple[TokenizedDataset, list[Batch]]:
    """Batches of an epoch, evenly spread over the lengths that occur, and the rows that they need."""
    every = sorted(_batches(MultiDomainLoader(data, batch_size=8, seed=0)), key=lambda batch: batch.mask.shape[1])
    middles = (np.arange(STEPS) + 0.5) * len(every) / STEPS
    rows = [every[int(place)].indices.numpy() for place in middles]
    part = data.select(np.concatenate(rows))
    ends = np.cumsum([0, *map(len, rows)])
    return part, [part.batch(np.arange(first, end)) for first, end in pairwise(ends)]


def step_modules(data: TokenizedDataset, cache: Path) -> dict[str, Trainable]:
    """What is compared step by step: fine-tuning, plain distillation, HRKD, both with the teacher cached."""
    names = data.source.domains
    source = cached(bert(TEACHER, names), data, cache)
    return {
        "fine-tuning": FineTuning(bert(STUDENT, names)),
        "plain distillation": distillation(bert(STUDENT, names), source, len(names), graph=False),
        "HRKD": distillation(bert(STUDENT, names), source, len(names)),
    }


def step_times(modules: dict[str, Trainable], batches: list[Batch], repetitions: int) -> dict[str, Timing]:
    """Seconds of the same steps."""
    ways = {}
    for name, module in modules.items():
        optimiser = optimiser_of(module)
        ways[name] = lambda module=module, optimiser=optimiser: steps(module, optimiser, batches)
    return interleaved(ways, repetitions)


def profile_of(module: Trainable, batches: list[Batch]) -> dict[str, float]:
    """Share of a step's time by kind of operation."""
    optimiser = optimiser_of(module)
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        steps(module, optimiser, batches)
    shares: Counter[str] = Counter()
    for event in watched.key_averages():
        kind = next((kind for kind, names in KINDS.items() if event.key in names), "other")
        shares[kind] += event.self_cpu_time_total
    return {kind: time / shares.total() for kind, time in shares.most_common()}


def operations(batches: list[Batch]) -> dict[str, float]:
    """Floating-point operations of the products of forward and backward passes over ``batches``."""
    width, inner, layers = STUDENT["width"], STUDENT["feed_forward"], STUDENT["layers"]
    tokens = sum(batch.mask.numel() for batch in batches)
    pairs = sum(batch.mask.shape[1] * batch.mask.numel() for batch in batches)
    student = 6 * tokens * layers * (4 * width**2 + 2 * width * inner) + 6 * 2 * pairs * layers * width
    return {"student": student, "fit layers": 6 * tokens * (layers + 1) * width * TEACHER["width"]}


def plain_setting(data: TokenizedDataset) -> PlainLoop:
    """The plain loop, with the graph that hrkd has."""
    names = data.source.domains
    teacher, student = bert(TEACHER, names), bert(STUDENT, names, seed=1)
    fit = nn.ModuleList(nn.Linear(STUDENT["width"], TEACHER["width"]) for _ in LAYER_MAP)
    ratios = build_domain_ratios(
        MethodConfig(preset="published"), levels=len(LAYER_MAP), domains=len(names), width=TEACHER["width"]
    )
    return PlainLoop(teacher, student, fit, ratios, LAYER_MAP)


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
    loop = plain_setting(data)
    trained = nn.ModuleList([loop.student, loop.fit])
    optimiser = optimiser_of(trained)
    loop.student.train()
    loader = MultiDomainLoader(data, batch_size=8, seed=0, group_by_length=False)
    start = time.perf_counter()
    for batch in _batches(loader):
        optimiser_step(trained, optimiser, loop(batch))
    return time.perf_counter() - start, len(loader)


def our_epoch(
    data: TokenizedDataset,
    cache: Path,
    *,
    clock: Callable[[], float] = time.perf_counter,
    compute: Compute = "fp32",
) -> tuple[float, int]:
    """Seconds and steps of an epoch of hrkd; the cache is built if it is not there. The teacher stays, as in a run."""
    keep_freed_memory()
    names = data.source.domains
    teacher = bert(TEACHER, names)
    start = clock()
    source = cached(teacher, data, cache, compute=compute)
    module = distillation(bert(STUDENT, names, seed=1), source, len(names))
    loader = MultiDomainLoader(data, batch_size=8, seed=0)
    steps(module, optimiser_of(module), _batches(loader))
    return clock() - start, len(loader)


def loss_differences(data: TokenizedDataset, cache: Path) -> tuple[float, dict[str, tuple[float, float]]]:
    """Loss of the plain loop on a batch without dropout; and by the cache's precision, ours relative to it, and GB."""
    rows = next(_batches(MultiDomainLoader(data, batch_size=8, seed=0))).indices.numpy()
    part = data.select(rows)
    batch, loop, found = part.batch(np.arange(len(rows))), plain_setting(data), {}
    with torch.no_grad():
        expected = float(loop.eval()(batch))
        for precision, compute in (("fp16", "fp32"), ("bf16", "fp32"), ("fp32", "fp32"), ("fp16", "bf16")):
            source = cached(loop.teacher, part, cache, precision, compute)
            with cpu_kernels(CPU):
                loss = float(ours_like(loop, source).eval()(batch).loss)
            name = precision if compute == "fp32" else f"{precision}, computed in {compute}"
            found[name] = (abs(loss - expected) / expected, source.files.index.bytes / part.lengths.sum())
    return expected, found


def imports() -> dict[str, Timing]:
    """Seconds that a new process needs to import torch, hrkd, both; and to show the command's help."""
    commands = {
        "import torch": ["-c", "import torch"],
        "import hrkd": ["-c", "import hrkd"],
        "import torch, hrkd": ["-c", "import torch, hrkd"],
        "hrkd --help": ["-m", "hrkd", "--help"],
    }
    ways = {
        name: lambda command=command: subprocess.run([sys.executable, *command], check=True, capture_output=True)
        for name, command in commands.items()
    }
    return interleaved(ways, 7)


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
    print(json.dumps({"seconds": seconds, "steps": count, "gigabytes": (peak_megabytes() or math.nan) / 1000}))


def record(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure, and print what was found."""
    keep_freed_memory()
    data = rows_of(arguments)
    source = "Amazon Reviews" if arguments.amazon else "random words"
    print(f"# Speed\n\n    {' '.join(['python', *sys.argv])}\n")
    print(f"* {machine()}")
    print(f"* teacher {TEACHER}, student {STUDENT}, random weights, float32")
    print(f"* {source}: {len(data):,} rows of 4 domains, at most 128 tokens, {data.lengths.mean():.0f} in the mean")
    tell_steps(data, folder / "steps", arguments.repetitions)
    if arguments.turns:
        tell_epochs(arguments, folder)
    tell_losses(data, folder / "loss")
    tell_imports()


def tell_steps(data: TokenizedDataset, cache: Path, repetitions: int) -> None:
    """Step times, their floor, and where the time goes."""
    part, batches = chosen_batches(data)
    modules = step_modules(part, cache)
    times = step_times(modules, batches, repetitions)
    base, plain, ours = (times[name].median for name in ("fine-tuning", "plain distillation", "HRKD"))
    with cpu_kernels(CPU):
        rate = matrix_product_rate()
    needed = operations(batches)
    floor, fit = needed["student"] / rate, needed["fit layers"] / rate
    valid = sum(int(batch.mask.sum()) for batch in batches) / sum(batch.mask.numel() for batch in batches)
    print(f"\n## A step ({STEPS} steps of 32 rows, {valid:.0%} of the tokens valid; median [least, most] of "
          f"{repetitions} turns)\n")  # fmt: skip
    print("| way | time | ratio to fine-tuning |\n|---|---:|---:|")
    for name, timing in times.items():
        print(f"| {name} | {timing} | {timing.median / base:.2f} |")
    print(f"\n* HRKD / fine-tuning: {ours / base:.2f} (goal: at most 1.4)")
    print(f"* HRKD / plain distillation: {ours / plain:.3f} (goal: at most 1.03)")
    print(
        f"* products run at {rate / 1e9:.0f} GFLOP/s ({matrix_product_rate() / 1e9:.0f} without the package's kernels)"
    )
    print(f"* lower bounds: the student's own products take {floor:.2f} s of the {base:.2f} s of fine-tuning, the fit")
    print(f"  layers' {fit:.2f} s more; with nothing but the fit layers the ratio would be {1 + fit / base:.2f}")
    print("\n| kind of operation | fine-tuning | HRKD |\n|---|---:|---:|")
    one, other = (profile_of(modules[name], batches) for name in ("fine-tuning", "HRKD"))
    for kind in other:
        print(f"| {kind} | {one.get(kind, 0):.0%} | {other[kind]:.0%} |")
    sys.stdout.flush()


def tell_epochs(arguments: argparse.Namespace, folder: Path) -> None:
    """Epochs against the plain loop, in turns."""
    epochs = {"plain loop": [], "first epoch": [], "later epoch": []}
    for turn in range(arguments.turns):
        cache = folder / f"epoch-{turn}"
        epochs["plain loop"].append(alone("plain", arguments, cache))
        epochs["first epoch"].append(alone("ours", arguments, cache))
        epochs["later epoch"].append(alone("ours", arguments, cache))
        shutil.rmtree(cache)
    print(f"\n## An epoch, each in a process of its own ({arguments.turns} turns)\n")
    print("| way | steps | time | most memory, GB | plain loop / this: time | memory |\n|---|---:|---:|---:|---:|---:|")
    reference = epochs["plain loop"]
    for name, runs in epochs.items():
        seconds = Timing(tuple(run["seconds"] for run in runs))
        memory = max(run["gigabytes"] for run in runs)
        faster = Timing(tuple(run["seconds"] for run in reference)).median / seconds.median
        smaller = max(run["gigabytes"] for run in reference) / memory
        print(f"| {name} | {runs[0]['steps']} | {seconds} | {memory:.2f} | {faster:.1f} | {smaller:.1f} |")
    print("\n* goals: later epochs 8 times faster, the first 1.5 times; half the memory", flush=True)


def tell_losses(data: TokenizedDataset, cache: Path) -> None:
    """What the cache's precision costs."""
    loss, differences = loss_differences(data, cache)
    print(f"\n## The cache's precision: one batch without dropout, loss of the plain loop {loss:.4f}\n")
    print("| precision | bytes a token | relative difference of the loss |\n|---|---:|---:|")
    for precision, (difference, size) in differences.items():
        print(f"| {precision} | {size:,.0f} | {difference:.1e} |")


def tell_imports() -> None:
    """What starting costs."""
    times = imports()
    print("\n## Start-up (median [least, most] of 7 turns)\n")
    print("| | time | ratio to import torch |\n|---|---:|---:|")
    for name, timing in times.items():
        print(f"| {name} | {timing} | {timing.median / times['import torch'].median:.2f} |")


def machine() -> str:
    """Processor, torch and threads."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores, {name}; torch {torch.__version__}, {torch.get_num_threads()} threads"


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
