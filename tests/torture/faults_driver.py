"""Saves once more for every call by which they change files: with that call failing, or the process ending there.

Run with ``faults.c`` before the C library (LD_PRELOAD): ``python faults_driver.py FOLDER KINDS SCENARIO ...``,
where KINDS are divided by commas, or all. Prints JSON: for each kind of fault the number of calls tried, how often the
old and the new state were found after it, and problems.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hrkd.errors import ArtifactError, HrkdError
from hrkd.support.atomic_files import clear_leftovers, replace_folder, write_json
from hrkd.support.manifest import check_manifest

FAULTS = ctypes.CDLL(None)
KINDS = {
    "ENOSPC": errno.ENOSPC,
    "EDQUOT": errno.EDQUOT,
    "EIO": errno.EIO,
    "EROFS": errno.EROFS,
    "full from there on": -3,
    "killed before": -1,
    "killed within or after": -2,
}
KILLED, TOLD, DONE, TRACEBACK = 99, 3, 0, 4
"""Exit statuses of a trial."""


@dataclass(frozen=True)
class Scenario:
    """``prepare`` makes the old state in a folder, ``act`` the new one; ``look`` says which is there, after a fault."""

    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    look: Callable[[Path], str]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def which(found: object, states: dict[str, object]) -> str:
    return next((name for name, state in states.items() if found == state), f"neither old nor new: {found!r:.300}")


def one_file() -> Scenario:
    def look(place: Path) -> str:
        clear_leftovers(place)
        return which(content(place), {"old": {"a.json": b'{\n  "x": 1\n}\n'}, "new": {"a.json": b'{\n  "x": 2\n}\n'}})

    return Scenario(
        lambda place: write_json(place / "a.json", {"x": 1}), lambda place: write_json(place / "a.json", {"x": 2}), look
    )


def fill(folder: Path, text: str) -> None:
    (folder / "part").mkdir()
    for name in ("a.txt", "b.txt", "part/c.txt"):
        (folder / name).write_text(text * 9, encoding="utf-8")


def folder_with_a_note(*, note: bool) -> Scenario:
    """A folder takes the place of another, in which somebody else has put a file, or of none."""

    def make(place: Path, text: str) -> None:
        with replace_folder(place / "model") as new:
            fill(new, text)

    def prepare(place: Path) -> None:
        if note:
            make(place, "old")
            (place / "model" / "notes.txt").write_text("mine", encoding="utf-8")

    def look(place: Path) -> str:
        clear_leftovers(place)
        found = {name: text for name, text in content(place).items() if "manifest" not in name}
        if (place / "model").is_dir():
            check_manifest(place / "model", needed=True)
        names = ("model/a.txt", "model/b.txt", "model/part/c.txt")
        states: dict[str, object] = {
            text: dict.fromkeys(names, text.encode() * 9) | ({"model/notes.txt": b"mine"} if note else {})
            for text in ("old", "new")
        }
        return which(found, states if note else states | {"old": {}})

    return Scenario(prepare, lambda place: make(place, "new"), look)


def checkpoint() -> Scenario:
    """The third checkpoint of a training: the first goes once the third is found whole."""
    from hrkd.training.checkpoint import load_checkpoint, random_state, save_checkpoint

    def parts(step: int) -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        module = nn.Linear(3, 2)
        nn.init.constant_(module.weight, step)
        optimizer = torch.optim.AdamW(module.parameters())
        return module, optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer)

    def save(place: Path, step: int) -> None:
        history = {"history": {"epochs": []}}
        save_checkpoint(
            place / "state", *parts(step), step=step, progress=history, tensors={}, random_states=[random_state()]
        )

    def prepare(place: Path) -> None:
        for step in (1, 2):
            save(place, step)

    def look(place: Path) -> str:
        clear_leftovers(place / "state")
        module, optimizer, scheduler = parts(0)
        load_checkpoint(place / "state", module, optimizer, scheduler)
        whole = []
        for folder in sorted((place / "state").iterdir()):
            try:
                check_manifest(folder, needed=True)
                whole.append(int(folder.name.removeprefix("step-")))
            except ArtifactError:
                continue
        found = (whole, module.weight[0, 0].item())
        return which(found, {"old": ([1, 2], 2), "new": ([2, 3], 3), "new, and an old one": ([1, 2, 3], 3)})

    return Scenario(prepare, lambda place: save(place, 3), look)


def stage() -> Scenario:
    """The folder of a model with its tokenizer and records, in the place of an older one."""
    from hrkd.models.open_model import open_model
    from tiny import letter_tokenizer, tiny_model

    def make(place: Path, seed: int) -> None:
        with replace_folder(place / "student") as new:
            tiny_model(seed=seed, layers=1, width=8, heads=2, feed_forward=8).save_pretrained(new)
            letter_tokenizer(new)
            write_json(new / "stage.json", {"seed": seed})

    def look(place: Path) -> str:
        clear_leftovers(place)
        model, _ = open_model(place / "student")
        seed = json.loads((place / "student" / "stage.json").read_text(encoding="utf-8"))["seed"]
        expected = tiny_model(seed=seed, layers=1, width=8, heads=2, feed_forward=8).state_dict()
        same = all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
        return {0: "old", 1: "new"}[seed] if same else "weights are neither old nor new"

    return Scenario(lambda place: make(place, 0), lambda place: make(place, 1), look)


def token_cache() -> Scenario:
    """Token ids of texts, kept under their hash; nothing is there before."""
    from hrkd.data.batching import tokenize
    from hrkd.data.synthetic.corpus import synthetic_reviews
    from tiny import tiny_tokenizer

    texts, tokenizer = synthetic_reviews(domains=2, examples=12, seed=0).dataset, tiny_tokenizer()
    expected = tokenize(texts, tokenizer, 16).rows["input_ids"][:]

    def make(place: Path) -> list[list[int]]:
        found: list[list[int]] = tokenize(texts, tokenizer, 16, cache=place).rows["input_ids"][:]
        return found

    def look(place: Path) -> str:
        known = any(path.name == "manifest.json" for path in place.rglob("*") if ".hrkd-tmp" not in str(path))
        return ("new" if known else "old") if make(place) == expected else "other token ids"

    return Scenario(lambda place: None, lambda place: void(make(place)), look)


def void(_: object) -> None:
    """Nothing is given back."""


def teacher_cache() -> Scenario:
    """What a teacher says of four rows; an interrupted build is gone on with."""
    from hrkd.training.teacher_cache.store import CacheFiles, CacheIndex

    index = CacheIndex("f" * 16, rows=4, tokens=8, width=2, small=3, precision="fp32")
    offsets = np.arange(5) * 2
    values = np.arange(16, dtype=np.int32).reshape(4, 4)

    def make(place: Path) -> int:
        files = CacheFiles(place / index.fingerprint, index, offsets)
        missing = files.missing()
        for row in missing:
            files.write(row, values[row], np.full(3, row, dtype=np.float32))
        files.flush()
        return len(missing)

    def look(place: Path) -> str:
        before = (place / index.fingerprint / "index.json").is_file()
        left = make(place)
        files = CacheFiles(place / index.fingerprint, index, offsets)
        same = all((files.read(row)[0] == values[row]).all() for row in range(4))
        return ("new" if before and not left else "old") if same else "other numbers"

    return Scenario(lambda place: None, lambda place: void(make(place)), look)


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "file": one_file,
    "folder": lambda: folder_with_a_note(note=True),
    "new folder": lambda: folder_with_a_note(note=False),
    "checkpoint": checkpoint,
    "stage": stage,
    "token cache": token_cache,
    "teacher cache": teacher_cache,
}


def trial(scenario: Scenario, place: Path, number: int, kind: int) -> tuple[int, int]:
    """The exit status of a save with a fault at call ``number``, and how many calls came."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    scenario.prepare(place)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = DONE
        FAULTS.fault_arm(os.fsencode(place), number, kind)
        try:
            scenario.act(place)
        except HrkdError:
            status = TOLD
        except BaseException:
            traceback.print_exc()
            status = TRACEBACK
        calls = FAULTS.fault_calls()
        FAULTS.fault_disarm()
        os.write(writer, str(calls).encode())
        os._exit(status)
    os.close(writer)
    _, ended = os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        calls = pipe.read()
    return os.waitstatus_to_exitcode(ended), int(calls or 0)


def campaign(name: str, place: Path, kinds: dict[str, int]) -> dict[str, object]:
    """Faults at all calls of a scenario."""
    scenario = SCENARIOS[name]()
    status, calls = trial(scenario, place, 0, 0)
    assert (status, scenario.look(place)) == (DONE, "new"), "without a fault the new state is there"
    found, problems = {}, []
    for title, kind in kinds.items():
        states: Counter[str] = Counter()
        for number in range(1, calls + 1):
            status, _ = trial(scenario, place, number, kind)
            try:
                state = scenario.look(place)
            except Exception as error:
                state = f"{type(error).__name__}: {error}"
            # Who reads a cache cannot know whether another process is about to write that it is in use.
            left = [] if "cache" in name else list(place.rglob(".hrkd-tmp-*"))
            wrong = {
                "state": not state.startswith(("old", "new")),
                "a success without the new state": status == DONE and not state.startswith("new"),
                "status": status not in (DONE, TOLD, KILLED),
                "leftovers": bool(left),
            }
            if any(wrong.values()):
                said = [what for what, holds in wrong.items() if holds]
                problems.append(f"{title} at call {number} of {calls}: {', '.join(said)}; status {status}; {state}")
            states[state if state.startswith(("old", "new")) else "problem"] += 1
        found[title] = dict(states)
    return {"scenario": name, "calls": calls, "faults": calls * len(kinds), "states": found, "problems": problems}


def trace(name: str, place: Path) -> list[list[str]]:
    """The writes, syncs and renames of a save without a fault: call, path, other path."""
    scenario = SCENARIOS[name]()
    place.mkdir(parents=True)
    scenario.prepare(place)
    with (place.parent / "trace").open("w+", encoding="utf-8") as file:
        FAULTS.fault_trace(file.fileno())
        FAULTS.fault_arm(os.fsencode(place), 0, 0)
        scenario.act(place)
        FAULTS.fault_disarm()
        FAULTS.fault_trace(-1)
        file.seek(0)
        return [line.rstrip("\n").split("\t") for line in file]


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, wanted, *names = sys.argv[1:]
    for each in names:
        if wanted == "trace":
            said: object = trace(each, Path(folder) / "traced")
        else:
            kinds = KINDS if wanted == "all" else {kind: KINDS[kind] for kind in wanted.split(",")}
            said = campaign(each, Path(folder) / "place", kinds)
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
