"""The real command, killed at moments drawn at random, and given again until it comes to its end."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from hrkd.recipe.loading import recipe_to_yaml
from tiny import tiny_recipe

KILLS = 10
"""Of each precision, in as many runs as it takes."""
TIMES = {"seconds", "texts_per_second", "times_as_fast", "peak_megabytes", "steps_per_second", "model_card"}
"""Fields and columns that say how long something took, or how much memory; or are a sum over a text that does."""


def recipe(folder, precision):
    changes = {"run.checkpoint_steps": 2, "cache.folder": str(folder / "cache"), "run.precision": precision}
    changes |= {"teacher.training.epochs": 3, "method.learning": "meta", "method.graph": "relational"}
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe_to_yaml(tiny_recipe(folder / "run", **changes)))


def ends_after(folder, seconds):
    """Start the command, and kill it after so long; whether it came to its end before."""
    command = [sys.executable, "-m", "hrkd", "compress", str(folder / "recipe.yaml")]
    with (folder / "told.txt").open("a") as told:
        running = subprocess.Popen(command, stdout=told, stderr=told, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            status = running.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            return False
    assert status == 0, (folder / "told.txt").read_text()[-3000:]
    return True


def without_times(found):
    if isinstance(found, dict):
        return {name: without_times(value) for name, value in found.items() if name not in TIMES}
    return [without_times(each) for each in found] if isinstance(found, list) else found


def left_by(folder):
    """What a run leaves, but for what says how long it took: weights, tables, scores, by the file's place."""
    run, found = folder / "run", {}
    for file in sorted(run.rglob("*")):
        place = file.relative_to(run)
        if file.suffix == ".safetensors":
            found[place] = file.read_bytes()
        elif file.suffix == ".parquet":
            frame = pd.read_parquet(file)
            found[place] = frame.drop(columns=TIMES & set(frame.columns))
        elif file.name in ("results.json", "training.json", "splits.json"):
            text = file.read_text().replace(str(folder), "FOLDER")
            found[place] = without_times(json.loads(text))
        elif file.is_file():
            found[place] = None
    return found


@pytest.mark.torture
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_command_killed_at_any_moment_comes_to_the_same_end(tmp_path, precision):
    whole = tmp_path / "whole"
    recipe(whole, precision)
    start = time.monotonic()
    assert ends_after(whole, 600)
    longest = time.monotonic() - start
    expected = left_by(whole)
    draw, kills, runs = random.Random(precision), 0, 0
    while kills < KILLS:
        killed = tmp_path / f"killed-{(runs := runs + 1)}"
        recipe(killed, precision)
        while not ends_after(killed, draw.uniform(0.3, 1.0) * longest if kills < KILLS else 600):
            kills += 1
        found = left_by(killed)
        assert found.keys() == expected.keys()
        for place, content in expected.items():
            if isinstance(content, pd.DataFrame):
                pd.testing.assert_frame_equal(found[place], content)
            else:
                assert found[place] == content, place
        assert "Traceback" not in (killed / "told.txt").read_text()
    print(f"{kills} kills of {runs} runs, each of {longest:.0f} seconds")  # noqa: T201
