"""Targets: folders of models and checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from fuzz.harness import Target, must, scratch
from hrkd.models.facts import facts_of
from hrkd.models.folder import glance, look_into
from hrkd.models.open_model import open_model, own_config, read_facts
from hrkd.models.plain import load_plain_classifier
from hrkd.models.tokenizers import load_tokenizer
from hrkd.support.manifest import write_manifest
from hrkd.support.stage_files import checkpoint_name
from hrkd.training.checkpoint import finished_epochs, load_checkpoint, random_state, save_checkpoint
from hrkd.training.loop import history_of
from tiny import letter_tokenizer, tiny_model, tiny_plain

STEP = checkpoint_name(3)
SIZES = {"layers": 1, "width": 8, "heads": 2, "feed_forward": 8}


@cache
def _student() -> Path:
    """The folder of a tiny student of hrkd."""
    folder = scratch("student")
    tiny_model(**SIZES).save_pretrained(folder)
    letter_tokenizer(folder)
    return folder


@cache
def _plain() -> Path:
    """The folder of a tiny plain classifier, its weights in two files with an index."""
    folder = scratch("plain")
    tiny_plain("bert", **SIZES).save_pretrained(folder, max_shard_size="1KB")
    letter_tokenizer(folder)
    return folder


def _changed(name: str, origin: Callable[[], Path], file: str, read: Callable[[Path], Any]) -> Callable[[bytes], str]:
    """A copy of a folder in which one file is what the bytes are."""

    @cache
    def copy() -> Path:
        folder = scratch("models") / name
        shutil.copytree(origin(), folder)
        return folder

    def run(data: bytes) -> str:
        folder = copy()
        (folder / file).write_bytes(data)
        return str(read(folder))[:60]

    return run


def _of(origin: Callable[[], Path], file: str) -> Callable[[], list[bytes]]:
    return lambda: [(origin() / file).read_bytes()]


def _facts(folder: Path) -> str:
    facts = read_facts(folder)
    must(facts == facts_of(folder), "two readers say different things")
    json.dumps(facts.labels + facts.domains, ensure_ascii=False).encode()
    return f"{len(facts.domains)} {len(facts.labels)} {facts.one_head} {facts.keep} {facts.routes}"


def _own(folder: Path) -> str:
    return f"{own_config(folder).num_labels}"


def _opened(folder: Path) -> str:
    model, tokenizer = open_model(folder)
    return f"{len(model.domains)} {len(tokenizer) > 5}"


def _looked(folder: Path) -> str:
    found = look_into(folder)
    glance(folder)
    return f"{found.tensors > 3} {found.elements > 100} {found.is_own}"


def _labels(folder: Path) -> str:
    facts = facts_of(folder)
    json.dumps(facts.labels, ensure_ascii=False).encode()
    return f"{len(facts.labels)}"


def _tokens(folder: Path) -> str:
    tokenizer = load_tokenizer(folder)
    return f"{len(tokenizer) > 10} {len(tokenizer('a good book')['input_ids']) > 3}"


def _classifier(folder: Path) -> str:
    return f"{load_plain_classifier(folder, ['a'], fine_tuned=True).config.num_labels}"


@cache
def _trained() -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for _ in range(2):
        module(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        scheduler.step()
    return module, optimizer, scheduler


@cache
def _checkpoint() -> Path:
    folder = scratch("checkpoint") / "student"
    history = {"epochs": [{"epoch": 1, "loss": 0.5, "seconds": 1.0, "selection": 0.5}], "best_epoch": 1, "steps": 2}
    progress = {"history": history, "position": {"steps": 1, "loss": 0.5, "seconds": 0.1}, "record": []}
    state, kept = random_state(), {"a": torch.ones(2)}
    save_checkpoint(folder, *_trained(), step=3, progress=progress, tensors=kept, random_states=[state])
    return folder


def _resumed(folder: Path) -> str:
    """Go on from a checkpoint whose list of files was written anew, by somebody who knows how."""
    write_manifest(folder / STEP)
    module, optimizer, scheduler = _trained()
    progress, kept = load_checkpoint(folder, module, optimizer, scheduler)
    history, position = history_of(progress, folder)
    must(finished_epochs(folder) == len(history.epochs), "epochs are counted otherwise")
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler.step()
    return f"{len(history.epochs)} {len(kept)} {position.steps > 0} {scheduler.get_last_lr()[0] > 0}"


@cache
def _weights() -> list[bytes]:
    tensors = {"a.weight": torch.ones(2, 3), "b": torch.zeros(0), "c.bias": torch.ones(1, dtype=torch.float16)}
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return [
        (_student() / "model.safetensors").read_bytes(),
        save(tensors, metadata={"format": "pt"}),
        len(header).to_bytes(8, "little") + header + b"\0\0\0\0",
    ]


HEADER = (
    b'"dtype":"F32"',
    b'"shape":[',
    b'"data_offsets":[0,4]',
    b"F8_E4M3",
    b"BF16",
    b"__metadata__",
    b"18446744073709551615",
)
FIELDS = (
    b"model_type",
    b"bert",
    b"hidden_size",
    b"id2label",
    b"quantization_config",
    b"auto_map",
    b"domains",
    b"router",
)


TARGETS = [
    Target(
        "config",
        _changed("config", _student, "config.json", _facts),
        _of(_student, "config.json"),
        FIELDS,
        ("config",),
        2,
        "json",
    ),
    Target(
        "own-config",
        _changed("own", _student, "config.json", _own),
        _of(_student, "config.json"),
        FIELDS,
        ("own",),
        0.2,
        "json",
    ),
    Target(
        "open-model",
        _changed("open", _student, "config.json", _opened),
        _of(_student, "config.json"),
        FIELDS,
        ("open",),
        0.02,
        "json",
    ),
    Target(
        "plain-config",
        _changed("plain", _plain, "config.json", _labels),
        _of(_plain, "config.json"),
        FIELDS,
        ("plain",),
        0.2,
        "json",
    ),
    Target(
        "plain-model",
        _changed("classifier", _plain, "config.json", _classifier),
        _of(_plain, "config.json"),
        FIELDS,
        ("classifier",),
        0.02,
        "json",
    ),
    Target(
        "weights",
        _changed("weights", _student, "model.safetensors", _looked),
        _weights,
        HEADER,
        ("weights",),
        2,
        "bytes",
    ),
    Target(
        "shards",
        _changed("shards", _plain, "model.safetensors.index.json", _looked),
        _of(_plain, "model.safetensors.index.json"),
        (b".safetensors",),
        ("shards",),
        2,
        "json",
    ),
    Target(
        "tokenizer",
        _changed("tokenizer", _student, "tokenizer.json", _tokens),
        _of(_student, "tokenizer.json"),
        (),
        ("tokenizer",),
        0.05,
        "json",
    ),
    Target(
        "tokenizer-config",
        _changed("tconfig", _student, "tokenizer_config.json", _tokens),
        _of(_student, "tokenizer_config.json"),
        (),
        ("tconfig",),
        0.05,
        "json",
    ),
    Target(
        "checkpoint",
        _changed("checkpoint", _checkpoint, f"{STEP}/state.json", _resumed),
        _of(_checkpoint, f"{STEP}/state.json"),
        (),
        ("checkpoint",),
        0.3,
        "json",
    ),
    Target(
        "checkpoint-tensors",
        _changed("ctensors", _checkpoint, f"{STEP}/state.safetensors", _resumed),
        _of(_checkpoint, f"{STEP}/state.safetensors"),
        HEADER,
        ("ctensors",),
        0.5,
        "bytes",
    ),
]
