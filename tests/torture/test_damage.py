"""A bit flipped, a file cut, lengthened, lost or taken for another: whatever is read afterwards names it."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hrkd.data.batching import tokenize
from hrkd.data.synthetic.corpus import synthetic_reviews
from hrkd.errors import ArtifactError
from hrkd.models.open_model import open_model
from hrkd.support.atomic_files import replace_folder, write_json
from hrkd.support.manifest import check_manifest, write_manifest
from hrkd.training.checkpoint import load_checkpoint, random_state, save_checkpoint
from hrkd.training.teacher_cache.store import CacheFiles, CacheIndex
from tiny import letter_tokenizer, tiny_model, tiny_tokenizer

QUICK, MANY = 60, 2_500
"""Damages of each kind of folder; with four kinds, ten thousand."""


class Stage:
    """A finished stage: a model, its tokenizer, its record."""

    def __init__(self, place):
        self.folder = place / "student"
        with replace_folder(self.folder) as new:
            tiny_model(layers=1, width=8, heads=2, feed_forward=8).save_pretrained(new)
            letter_tokenizer(new)
            write_json(new / "stage.json", {"seed": 0})

    def read(self):
        check_manifest(self.folder, needed=True)


class Checkpoint:
    """The only checkpoint of a training."""

    def __init__(self, place):
        self.state = place / "state"
        history = {"history": {"epochs": []}}
        save_checkpoint(self.state, *self.parts(), step=1, progress=history, tensors={}, random_states=[random_state()])
        (self.folder,) = self.state.iterdir()

    def parts(self):
        module = nn.Linear(5, 4)
        optimizer = torch.optim.AdamW(module.parameters())
        return module, optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer)

    def read(self):
        load_checkpoint(self.state, *self.parts())


class Tokens:
    """Token ids in the cache."""

    def __init__(self, place):
        self.place, self.tokenizer = place, tiny_tokenizer()
        self.texts = synthetic_reviews(domains=2, examples=12, seed=0).dataset
        self.read()
        (self.folder,) = (path for path in place.iterdir() if path.is_dir())

    def read(self):
        tokenize(self.texts, self.tokenizer, 16, cache=self.place)


class Answers:
    """What a teacher says of rows, in the cache; every row is read."""

    def __init__(self, place):
        self.index = CacheIndex("f" * 16, rows=4, tokens=8, width=4, small=3, precision="fp32")
        self.folder, self.offsets = place / self.index.fingerprint, np.arange(5) * 2
        files = CacheFiles(self.folder, self.index, self.offsets)
        for row in range(4):
            files.write(row, np.arange(8, dtype=np.int32) * row, np.full(3, row, dtype=np.float32))
        files.flush()

    def read(self):
        files = CacheFiles(self.folder, self.index, self.offsets)
        for row in range(4):
            files.read(row)


def damage(files: list[Path], draw: random.Random) -> tuple[str, set[str]]:
    """Do one thing to one or two of the files; what it was, and their names."""
    file = draw.choice(files)
    content = bytearray(file.read_bytes())
    what = draw.choice(["bit"] * 6 + ["cut", "longer", "lost", "swapped"])
    if what == "bit":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
    elif what == "cut":
        file.write_bytes(content[: draw.randrange(len(content))])
    elif what == "longer":
        file.write_bytes(content + draw.randbytes(draw.randrange(1, 9)))
    elif what == "lost" and not (file.name == "manifest.json" and (file.parent / "values.bin").exists()):
        file.unlink()  # of numbers of a teacher, each row has a sum of its own, and older ones have no manifest
    else:
        other = draw.choice([each for each in files if each != file])
        file.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return what, {file.name, other.name}
    return what, {file.name}


def damages(kind, place, count, seed):
    """Do ``count`` things to a folder, one after the other, each mended again; what was not named."""
    made = kind(place)
    files = sorted(path for path in made.folder.rglob("*") if path.is_file() and path.stat().st_size)
    whole = {file: file.read_bytes() for file in files}
    draw, unnamed = random.Random(seed), []
    for number in range(count):
        what, names = damage(files, draw)
        try:
            made.read()
        except ArtifactError as error:
            # What is damaged in the manifest may be taken for a damage of the file that it speaks of.
            known = {made.folder.name} if "manifest.json" in names else names
            rows = re.search(r"row \d+ of this teacher cache is damaged", str(error))
            if not rows and not any(name in str(error) for name in known):
                unnamed.append(f"{number}: {what} of {names}: {error}")
        except Exception as error:
            unnamed.append(f"{number}: {what} of {names}: {type(error).__name__}: {error}")
        else:
            unnamed.append(f"{number}: {what} of {names}: nothing was said")
        for file, content in whole.items():
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)
    made.read()
    return unnamed


KINDS = [Stage, Checkpoint, Tokens, Answers]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named(kind, tmp_path):
    assert damages(kind, tmp_path, QUICK, seed=1) == []


@pytest.mark.torture
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_damages_are_named(kind, tmp_path):
    assert damages(kind, tmp_path, MANY, seed=0) == []


def test_a_damaged_model_is_not_opened(tmp_path):
    stage = Stage(tmp_path)
    open_model(stage.folder)
    file = stage.folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.safetensors \(its check sum differs\)"):
        open_model(stage.folder)


def test_a_name_that_no_file_can_have_is_missing(tmp_path):
    stage = Stage(tmp_path)
    manifest = stage.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("stage.json", "s" * 300))
    with pytest.raises(ArtifactError, match=r"s{20}"):
        stage.read()


def test_a_state_of_another_optimiser_is_named(tmp_path):
    made = Checkpoint(tmp_path)
    module, optimizer, scheduler = made.parts()
    module(torch.ones(1, 5)).sum().backward()
    optimizer.step()
    save_checkpoint(
        made.state, module, optimizer, scheduler, step=2, progress={}, tensors={}, random_states=[random_state()]
    )
    last = made.state / "step-000000002"
    state = load_file(last / "state.safetensors")
    save_file(
        {name: value for name, value in state.items() if not name.endswith("0.exp_avg")}, last / "state.safetensors"
    )
    write_manifest(last)
    with pytest.raises(ArtifactError, match="state of tensor 0 is not that of AdamW"):
        made.read()
