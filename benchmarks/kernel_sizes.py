"""Measure the package's kernels against torch's own over sizes, as ratios in one run, and print a Markdown record.

    OMP_NUM_THREADS=1 python benchmarks/kernel_sizes.py [--repetitions 5]

Times are those of the processor in one thread, so that other work on the machine disturbs little; ways take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from unittest.mock import patch

import torch
from bench import machine
from setting import MAX_TOKENS, bert, interleaved
from torch import Tensor
from torch.nn import functional

from hrkd.data.batching import Batch
from hrkd.models import cpu_kernels
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.training.fine_tune import FineTuning
from hrkd.training.loop import parameter_groups

CPU = torch.device("cpu")
DOMAINS = ("a", "b", "c", "d")
VOCABULARY = 2000
MODELS = [(32, 1, 4, 64), (64, 2, 4, 128), (128, 2, 2, 512), (192, 3, 12, 768), (312, 4, 12, 1200), (768, 1, 12, 3072)]
"""Width, layers, heads, feed-forward width; the first two are the demo's student and teacher."""
LINEAR = [(8, 32, 2), (512, 32, 32), (1536, 64, 64), (1024, 128, 128), (512, 192, 192), (4096, 128, 128),
          (1536, 192, 192), (512, 312, 1200), (1536, 312, 1200), (512, 768, 768)]  # fmt: skip
DROPOUT = [256, 4096, 32768, 131072, 1048576]
ATTENTION = [(32, 4, 16, 8), (32, 4, 48, 8), (8, 4, 48, 16), (32, 12, 48, 26), (32, 2, 128, 64), (8, 12, 64, 26),
             (32, 4, 128, 16), (8, 12, 128, 64)]  # fmt: skip
AT_LEAST = 0.02
"""Seconds of one measurement."""
BORDERS = {"ONEDNN_FROM": "linear", "DRAWN_AGAIN_FROM": "dropout", "ROW_BY_ROW_FROM": "attention"}


@contextmanager
def all_as(size: str):
    """Every call is answered as if its operands were "small" or "large"."""
    with patch.multiple(cpu_kernels, **dict.fromkeys(BORDERS, 1 if size == "large" else 1 << 62)):
        yield


def ratios(ways: dict[str, Callable[[], object]], repetitions: int) -> tuple[float, dict[str, float]]:
    """Milliseconds of the way "torch", and the times of the others as multiples of it."""
    ways["torch"]()
    start = time.process_time()
    ways["torch"]()
    count = max(1, round(AT_LEAST / max(time.process_time() - start, 1e-6)))
    repeated = {name: lambda way=way: [way() for _ in range(count)] for name, way in ways.items()}
    times = {
        name: statistics.median(timing.seconds)
        for name, timing in interleaved(repeated, repetitions, time.process_time).items()
    }
    base = times.pop("torch")
    return base / count * 1e3, {name: seconds / base for name, seconds in times.items()}


def random_batch(rows: int, tokens: int) -> Batch:
    """Rows of similar length, as the loader puts them together: from three quarters of ``tokens`` on."""
    torch.manual_seed(0)
    lengths = torch.randint(3 * tokens // 4, tokens + 1, (rows,))
    lengths[0] = tokens
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    ids = torch.randint(5, VOCABULARY, (rows, tokens)) * mask
    places = torch.arange(rows)
    return Batch({"input_ids": ids, "attention_mask": mask}, places * len(DOMAINS) // rows, places % 2, places)


def fine_tuning_step(
    model: tuple[int, int, int, int], rows: int, tokens: int
) -> tuple[MultiDomainClassifier, Callable[..., None]]:
    """A model of these sizes, and a step of its fine-tuning, in bf16 where that is asked for (``bf16=True``)."""
    names = ("width", "layers", "heads", "feed_forward")
    sizes = dict(zip(names, model, strict=True))
    classifier = bert(sizes, DOMAINS, vocabulary=VOCABULARY, tokens=max(tokens, MAX_TOKENS))
    module = FineTuning(classifier).train()
    optimiser = torch.optim.AdamW(parameter_groups(module, 0.01), lr=1e-5, fused=True)
    batch = random_batch(rows, tokens)

    def step(*, bf16: bool = False) -> None:
        with cpu_kernels.cpu_kernels(CPU), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = module(batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return classifier, step


def step_ratio(model: tuple[int, int, int, int], rows: int, tokens: int, repetitions: int) -> tuple[float, float]:
    """Milliseconds of a step of fine-tuning with torch's own kernels, and what those of the package take of it."""
    _, step = fine_tuning_step(model, rows, tokens)

    def of_torch() -> None:
        with cpu_kernels.use_kernels("torch"):
            step()

    time_of_torch, found = ratios({"torch": of_torch, "package": step}, repetitions)
    return time_of_torch, found["package"]


def call_ratios(function: Callable[..., Tensor], inputs: list[Tensor], repetitions: int) -> tuple[float, float, float]:
    """Milliseconds of a call with its gradients by torch, and what the package's two ways take of it."""
    weights = torch.randn_like(function(*inputs))

    def call() -> None:
        with cpu_kernels.cpu_kernels(CPU):
            out = function(*inputs)
        torch.autograd.grad(out, inputs, weights)

    def of_torch() -> None:
        with cpu_kernels.use_kernels("torch"):
            call()

    def of(size: str) -> Callable[[], None]:
        def way() -> None:
            with all_as(size):
                call()

        return way

    base, found = ratios({"torch": of_torch, "small": of("small"), "large": of("large")}, repetitions)
    return base, found["small"], found["large"]


def tell_calls(repetitions: int) -> None:
    """Each kind of call on both sides of its border."""
    print("\n## A call and its gradients\n")
    print("Small: linear maps by torch, masks and tables kept. Large: oneDNN, masks drawn again, attention row by row.")
    print("Size: of the border. The way that the package takes is marked.\n")
    print("| call | size | torch, ms | small / torch | large / torch |\n|---|---:|---:|---:|---:|")

    def row(kind: str, title: str, size: int, function: Callable[..., Tensor], *inputs: Tensor) -> None:
        base, *found = call_ratios(function, [each.requires_grad_() for each in inputs], repetitions)
        border = next(getattr(cpu_kernels, name) for name, of in BORDERS.items() if of == kind)
        small, large = (
            f"**{each:.2f}**" if taken else f"{each:.2f}"
            for each, taken in zip(found, (size < border, size >= border), strict=True)
        )
        print(f"| {kind} {title} | {size / border:.3g} x border | {base:.3g} | {small} | {large} |", flush=True)

    for rows, into, out in LINEAR:
        operands = torch.randn(rows, into), torch.randn(out, into), torch.randn(out)
        row("linear", f"{rows} x {into} -> {out}", rows * into * out, functional.linear, *operands)
    for count in DROPOUT:
        row("dropout", f"{count:,}", count, lambda x: functional.dropout(x, 0.1), torch.randn(count))
    for rows, heads, tokens, width in ATTENTION:
        mask = random_batch(rows, tokens).mask.bool()[:, None, None].expand(rows, 1, tokens, tokens)
        operands = (torch.randn(rows, tokens, heads, width).transpose(1, 2) for _ in range(3))
        title = f"{rows} rows, {heads} heads of {width}, {tokens} tokens"
        row("attention", title, heads * tokens**2, lambda *qkv, mask=mask: functional.scaled_dot_product_attention(
            *qkv, attn_mask=mask, dropout_p=0.1), *operands)  # fmt: skip


def tell_steps(repetitions: int) -> None:
    """Steps over models and batches."""
    print("\n## A step of fine-tuning\n")
    print("Models: width x layers x heads x feed-forward width; the first two are the demo's.\n")
    print("| model | rows | tokens | torch, ms | package / torch |\n|---|---:|---:|---:|---:|")
    found = []
    for model in MODELS:
        for rows in (8, 32):
            for tokens in (16, 48, 128):
                base, ratio = step_ratio(model, rows, tokens, repetitions)
                found.append(ratio)
                print(f"| {' x '.join(map(str, model))} | {rows} | {tokens} | {base:.1f} | {ratio:.2f} |", flush=True)
    print(f"\n* package / torch: {min(found):.2f} to {max(found):.2f}, {statistics.median(found):.2f} in the middle "
          "(goal: at most 1.5)")  # fmt: skip


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    print(f"# Kernels over sizes\n\n    {' '.join(['python', *sys.argv])}\n")
    print(f"* {machine()}; load {os.getloadavg()[0]:.1f} at the start")
    print("* the processor's time in the median of the turns; random weights, float32, dropout 0.1, AdamW, clipping")
    tell_steps(arguments.repetitions)
    tell_calls(arguments.repetitions)


if __name__ == "__main__":
    main()
