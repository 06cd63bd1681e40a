"""Weights do not depend on Python's hash seed, which differs from process to process."""

import json
import os
import subprocess
import sys

from slow import slow
from tiny import tiny_recipe

RUN = """
import hashlib, json, sys
from hrkd.run.commands import compress

compress(json.loads(sys.argv[1]))
folder = json.loads(sys.argv[1])["run"]["output"]
print(hashlib.sha256(open(folder + "/student/model.safetensors", "rb").read()).hexdigest())
"""


def student(folder, hash_seed):
    recipe = tiny_recipe(folder, **{"student.baseline": False}).model_dump(mode="json")
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(recipe)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


@slow
def test_the_student_is_the_same_under_any_hash_seed(tmp_path):
    assert student(tmp_path / "one", 1) == student(tmp_path / "two", 2)
