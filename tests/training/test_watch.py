"""A process of a launch that is killed, stopped or fails: the others end, say who it was, and the run can go on."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from hrkd.recipe.loading import recipe_to_yaml
from hrkd.training import watch
from slow import slow, slowly
from tiny import tiny_recipe

TESTS = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
ENOUGH = 10.0
"""Seconds in which all others have to be gone."""
PHASES = ("load", "teacher cache", "step", "evaluation", "save", "export")


def launched(folder, rank, phase, how, recipe, *, processes):
    """A launch with a fault, its standard error in a file."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    arguments = [str(TESTS / "faulty.py"), str(folder), str(rank), phase, how, "compress", str(recipe)]
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [*command, *arguments], env=environment, stderr=(folder / "said").open("w"), stdout=subprocess.DEVNULL
    )


def is_there(process):
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def waited(condition, seconds):
    until = time.time() + seconds
    while time.time() < until:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def struck_and_gone(folder, rank, phase, how, recipe, *, processes):
    """How many seconds after a fault the last of the other processes was gone, and what was said."""
    launcher = launched(folder, rank, phase, how, recipe, processes=processes)
    try:
        assert waited(lambda: (folder / "struck").exists() or launcher.poll() is not None, 240)
        assert (folder / "struck").exists(), (folder / "said").read_text()[-3000:]
        time.sleep(0.05)
        struck = float((folder / "struck").read_text().split()[0])
        all_of_them = {n: int((folder / f"process-{n}").read_text()) for n in range(processes)}
        others = [process for n, process in all_of_them.items() if n != rank]
        waited(lambda: not any(map(is_there, others)), 30)
        seconds = time.time() - struck
    finally:
        for process in (folder / f"process-{n}" for n in range(processes)):
            with suppress(OSError, ValueError):
                os.kill(int(process.read_text()), signal.SIGKILL)
        launcher.terminate()
        launcher.wait(60)
    return seconds, (folder / "said").read_text()


def small_recipe(tmp_path):
    changes = {"teacher.training.epochs": 1, "student.training.epochs": 2, "student.baseline": False}
    changes |= {"data.synthetic.examples": 60, "run.checkpoint_steps": 2}
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_to_yaml(tiny_recipe(tmp_path / "run", **changes)))
    return path


def goes_on(tmp_path, recipe, *, processes):
    again = launched(tmp_path / "again", 0, "", "none", recipe, processes=processes)
    assert again.wait(280) == 0, (tmp_path / "again" / "said").read_text()[-3000:]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["models"]["student"]


WATCHING = """
import sys, time
from hrkd.training import watch

watch.start_watching()
with watch.phase("step"):
    print("begun", flush=True)
    what = sys.stdin.readline().strip()
    if what == "raise":
        raise ValueError("of the test")
    if what == "wait":
        time.sleep(60)
"""


def watching(processes):
    """Processes that watch each other, in a store of this one, once all have begun."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    common |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WATCHING],
            env={**os.environ, **common, "RANK": str(n), "LOCAL_RANK": str(n)},
            **pipes,
        )
        for n in range(processes)
    ]
    assert all(process.stdout.readline() == "begun\n" for process in started)
    time.sleep(1.5)  # each has told what it is at
    return store, started


UNHEARD = 'has not been heard of for 6 s, in phase "step"; this process ends too'


@pytest.mark.parametrize(
    ("how", "rank", "said"),
    [
        ("SIGKILL", 0, f"process 1 of 3 (rank 0) {UNHEARD}"),
        *slowly(("SIGSTOP", 2, f"process 3 of 3 (rank 2) {UNHEARD}")),
        ("raise", 1, 'process 2 of 3 (rank 1) ended (ValueError: of the test), in phase "step"; this process ends too'),
    ],
)
def test_one_that_is_gone_or_fails_ends_the_others_and_one_of_them_says_so(how, rank, said):
    _store, processes = watching(3)
    try:
        for n, process in enumerate(processes):
            process.stdin.write("raise\n" if how == "raise" and n == rank else "wait\n")
            process.stdin.flush()
        struck = time.time()
        if how != "raise":
            processes[rank].send_signal(signal.Signals[how])
        others = [process for n, process in enumerate(processes) if n != rank]
        assert [process.wait(30) for process in others] == [watch.LOST] * 2
        assert time.time() - struck < ENOUGH
    finally:
        for process in processes:
            process.kill()
    told = "".join(process.communicate()[1] for process in others)
    assert told.splitlines() == [said]


@slow
def test_who_is_through_is_not_missed():
    _store, (first, second) = watching(2)
    try:
        second.communicate("go\n", timeout=20)
        assert second.returncode == 0
        time.sleep((watch.PATIENCE + 2) * watch.EVERY)
        assert first.poll() is None
        assert first.communicate("go\n", timeout=20)[1] == ""
        assert first.returncode == 0
    finally:
        first.kill()


def test_one_process_alone_has_no_thread():
    before = threading.active_count()
    watch.start_watching()
    with watch.phase("step"):
        assert threading.active_count() == before


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("phase", "how", "rank"),
    [
        (phase, how, (p + h) % 2)
        for p, phase in enumerate(PHASES)
        for h, how in enumerate(("SIGKILL", "SIGSTOP", "raise"))
    ],
)
def test_a_fault_anywhere_ends_all_others_and_the_run_goes_on(tmp_path, phase, how, rank):
    recipe = small_recipe(tmp_path)
    seconds, said = struck_and_gone(tmp_path / "cut", rank, phase, how, recipe, processes=2)
    (tmp_path / "seconds").write_text(f"{phase}, {how}, rank {rank}: {seconds:.1f} s")
    assert seconds < ENOUGH, said[-3000:]
    assert re.search(rf'process {rank + 1} of 2 \(rank {rank}\) .*, in phase "{phase}', said), said[-3000:]
    goes_on(tmp_path, recipe, processes=2)
