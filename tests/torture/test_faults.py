"""Every call by which a save changes files fails or ends the process: the old or the new state is there, whole."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
QUICK = ["file", "folder", "checkpoint"]
ALL = [*QUICK, "new folder", "stage", "token cache", "teacher cache"]

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to build the faults with")


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """A function that runs the driver with the faults before the C library."""
    built = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", built, HERE / "faults.c", "-ldl"], check=True)

    def run(place, *arguments, script="faults_driver.py"):
        environment = os.environ | {
            "LD_PRELOAD": str(built),
            "PYTHONPATH": str(HERE.parent),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, HERE / script, place, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def assert_whole(found):
    assert found["problems"] == []
    assert found["calls"] > 9
    ways = {state for states in found["states"].values() for state in states}
    assert len(ways) > 1, "faults at every place leave the old state here and the new one there"


@needs_compiler
def test_a_save_that_fails_or_is_killed_leaves_the_old_or_the_new_state(faults, tmp_path):
    for found in faults(tmp_path, "EIO,killed before,killed within or after", *QUICK):
        assert_whole(found)


@needs_compiler
@pytest.mark.torture
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scenario", ALL)
def test_every_fault_at_every_call(faults, tmp_path, scenario, record_property):
    (found,) = faults(tmp_path, "all", scenario)
    assert_whole(found)
    record_property("faults", found["faults"])


@needs_compiler
def test_what_is_put_in_place_has_reached_the_disk(faults, tmp_path):
    (calls,) = faults(tmp_path, "trace", "checkpoint")
    unsynced, renamed = {}, []
    for call, path, _, number in calls:
        if call == "write":
            unsynced[number] = path  # by its number: a library may have given it another name by the time it is synced
        elif call == "sync":
            unsynced.pop(number, None)
        else:
            renamed.append([each for each in unsynced.values() if each.startswith(f"{path}/")])
    assert renamed, "a checkpoint is moved into place"
    assert [late for late in renamed if late] == []
    last = max(number for number, (call, *_) in enumerate(calls) if call in ("rename", "exchange"))
    assert any(call == "sync" and path.endswith("/state") for call, path, *_ in calls[last:]), "and so is its name"
