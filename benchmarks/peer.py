"""Measure epochs beside a released peer, TextBrewer, and print a Markdown record.

    python benchmarks/peer.py [--rows 64] [--turns 3]

The same teacher, student and rows of random words for both; one thread, processor seconds, each epoch in a process of
its own, in turns. TextBrewer (extra ``peer``) matches hidden states and attention of four layers, and logits; its user
writes the order of the batches: rows as they come, padded to the longest of 32, or all to 128 tokens.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from bench import LAYER_MAP, machine, our_epoch
from setting import MAX_TOKENS, STUDENT, TEACHER, Timing, plain_bert, random_reviews
from torch.utils.data import DataLoader

from hrkd.data.batching import TokenizedDataset

NEEDED = "benchmarks/peer.py needs TextBrewer; install the extra: pip install -c constraints.txt -e '.[peer]'"
ROWS_IN_A_STEP = 32
WAYS = {
    "TextBrewer, lengths as they come": "come",
    "TextBrewer, padded to 128": "padded",
    "hrkd, first epoch (cache filled)": "ours",
    "hrkd, later epoch": "ours",
    "hrkd, first epoch, cache.compute: bf16": "low",
}
GOALS = {
    "hrkd, first epoch (cache filled)": 0.7,
    "hrkd, later epoch": 0.25,
    "hrkd, first epoch, cache.compute: bf16": 0.7,
}


def peer_epoch(data: TokenizedDataset, folder: Path, pad_to: int | None) -> float:
    """Processor seconds of an epoch of TextBrewer's general distiller."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    logging.getLogger("Distillation").setLevel(logging.WARNING)
    teacher, student = (plain_bert(sizes, seed=seed) for seed, sizes in enumerate((TEACHER, STUDENT)))
    for model in (teacher, student):
        model.set_attn_implementation("eager")
        model.config.output_hidden_states = model.config.output_attentions = True
    matches = [
        {"layer_T": theirs, "layer_S": ours, "feature": "hidden", "loss": "hidden_mse", "weight": 1,
         "proj": ["linear", STUDENT["width"], TEACHER["width"]]}
        for ours, theirs in list(enumerate(LAYER_MAP))[1:]
    ] + [
        {"layer_T": theirs - 1, "layer_S": ours - 1, "feature": "attention", "loss": "attention_mse", "weight": 1}
        for ours, theirs in list(enumerate(LAYER_MAP))[1:]
    ]  # fmt: skip

    def adaptor(batch: dict[str, torch.Tensor], outputs: object) -> dict[str, object]:
        return {
            "logits": outputs.logits,
            "hidden": outputs.hidden_states,
            "attention": outputs.attentions,
            "inputs_mask": batch["attention_mask"],
        }

    distiller = GeneralDistiller(
        TrainingConfig(device="cpu", output_dir=str(folder / "peer")),
        DistillationConfig(temperature=1, intermediate_matches=matches),
        teacher, student, adaptor, adaptor,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        range(len(data)), ROWS_IN_A_STEP, shuffle=True, generator=generator,
        collate_fn=lambda rows: data.batch(rows, pad_to=pad_to).inputs,
    )  # fmt: skip
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)
    start = time.process_time()
    with distiller:
        distiller.train(optimiser, loader, num_epochs=1, max_grad_norm=1.0)
    return time.process_time() - start


def only(way: str, rows: int, folder: Path) -> None:
    """One epoch, told as JSON: processor seconds, models and data made before."""
    torch.set_num_threads(1)
    data = random_reviews(rows)
    if way in ("ours", "low"):
        compute = "bf16" if way == "low" else "fp32"
        seconds, _ = our_epoch(data, folder / "cache", clock=time.process_time, compute=compute)
    else:
        seconds = peer_epoch(data, folder, MAX_TOKENS if way == "padded" else None)
    print(json.dumps(seconds))


def alone(way: str, rows: int, folder: Path) -> float:
    """Processor seconds of an epoch in a process of its own."""
    command = [sys.executable, __file__, "--only", way, "--rows", str(rows), "--folder", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def record(rows: int, turns: int) -> None:
    """Measure, and print what was found."""
    torch.set_num_threads(1)
    data = random_reviews(rows)
    print(f"# Epochs beside TextBrewer\n\n    {' '.join(['python', *sys.argv])}\n")
    print(f"* {machine()}; transformers {version('transformers')}, TextBrewer {version('textbrewer')}")
    print(f"* teacher {TEACHER}, student {STUDENT}, random weights, 32-bit; {ROWS_IN_A_STEP} rows a step")
    print(f"* {len(data)} rows of random words, at most {MAX_TOKENS} tokens, {data.lengths.mean():.0f} in the mean")
    print("* TextBrewer: hidden states and attention of four layers, logits; hrkd: HRKD as published, which has the")
    print("  embeddings' level too\n")
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(turns):
        folder = Path(tempfile.mkdtemp())
        try:
            for name, way in WAYS.items():
                found[name].append(alone(way, rows, folder))
        finally:
            shutil.rmtree(folder)
    times = {name: Timing(tuple(seconds)) for name, seconds in found.items()}
    reference = min(timing.median for name, timing in times.items() if name not in GOALS)
    print("| epoch | processor time | ratio to TextBrewer (its quicker way) | goal |\n|---|---:|---:|---:|")
    for name, timing in times.items():
        goal = f"at most {GOALS[name]}" if name in GOALS else ""
        print(f"| {name} | {timing} | {timing.median / reference:.2f} | {goal} |")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64, help="of each of four domains")
    parser.add_argument("--turns", type=int, default=3, help="of every epoch")
    parser.add_argument("--only", choices=sorted(set(WAYS.values())), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if importlib.util.find_spec("textbrewer") is None:
        sys.exit(NEEDED)
    if arguments.only:
        only(arguments.only, arguments.rows, arguments.folder)
    else:
        record(arguments.rows, arguments.turns)


if __name__ == "__main__":
    main()
