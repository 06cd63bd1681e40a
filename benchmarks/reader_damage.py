"""Do the readers that other trainers' checkpoints rest on notice damage?

    python benchmarks/reader_damage.py

One number of a file is changed in one bit, and the file is cut in half. hrkd's own folders get the same, and more, in
tests/torture/test_damage.py.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import safetensors
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch import Tensor

NUMBERS = torch.arange(4096, dtype=torch.float32)
CHANGED = 2000


def with_torch(folder: Path) -> tuple[Path, Callable[[], Tensor]]:
    """torch.save and torch.load."""
    file = folder / "numbers.pt"
    torch.save(NUMBERS, file)
    return file, lambda: torch.load(file)


def with_safetensors(folder: Path) -> tuple[Path, Callable[[], Tensor]]:
    """safetensors, as transformers and accelerate write weights."""
    file = folder / "numbers.safetensors"
    save_file({"numbers": NUMBERS}, file)
    return file, lambda: load_file(file)["numbers"]


def with_dcp(folder: Path) -> tuple[Path, Callable[[], Tensor]]:
    """torch.distributed.checkpoint, as torchtitan writes."""
    dcp.save({"numbers": NUMBERS}, checkpoint_id=folder, no_dist=True)

    def load() -> Tensor:
        found = {"numbers": torch.zeros_like(NUMBERS)}
        dcp.load(found, checkpoint_id=folder, no_dist=True)
        return found["numbers"]

    return next(folder.glob("*.distcp")), load


def change_a_bit(file: Path) -> None:
    """The highest bit but one of the exponent of one number."""
    content = bytearray(file.read_bytes())
    place = content.index(NUMBERS[CHANGED : CHANGED + 4].numpy().tobytes())
    content[place + 3] ^= 0x40
    file.write_bytes(content)


def cut(file: Path) -> None:
    """The second half is gone."""
    os.truncate(file, file.stat().st_size // 2)


def told(load: Callable[[], Tensor]) -> str:
    """What the reader makes of it."""
    try:
        found = load()
    except BaseException as error:  # dcp's own is no Exception
        return f"an error ({type(error).__name__})"
    return "the same numbers" if torch.equal(found, NUMBERS) else f"read; {NUMBERS[CHANGED]:g} is {found[CHANGED]:g}"


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable()
    print(f"torch {torch.__version__}, safetensors {safetensors.__version__}\n")
    print("| reader | a bit is changed | cut in half |\n|---|---|---|")
    for name, write in (
        ("torch.load", with_torch),
        ("safetensors", with_safetensors),
        ("torch.distributed.checkpoint", with_dcp),
    ):
        cells = []
        for damage in (change_a_bit, cut):
            with tempfile.TemporaryDirectory() as folder:
                file, load = write(Path(folder))
                damage(file)
                cells.append(told(load))
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
