"""Weights do not depend on Python's hash seed, which differs from process to process."""

import json
import os
import subprocess
import sys

RUN = """
import hashlib, json, sys
from hrkd.pipeline import compress

compress(json.loads(sys.argv[1]))
folder = json.loads(sys.argv[1])["run"]["output"]
print(hashlib.sha256(open(folder + "/student/model.safetensors", "rb").read()).hexdigest())
"""


def student(folder, hash_seed):
    recipe = {
        "data": {"format": "synthetic", "synthetic": {"domains": 3, "examples": 60}, "max_length": 24},
        "teacher": {
            "scratch": {"layers": 1, "width": 16, "heads": 2, "feed_forward": 16, "vocabulary": 2000},
            "training": {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3},
            "allow_weak": True,
        },
        "student": {
            "layers": 1,
            "width": 8,
            "baseline": False,
            "training": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3},
        },
        "run": {"output": str(folder), "device": "cpu"},
    }
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


def test_the_student_is_the_same_under_any_hash_seed(tmp_path):
    assert student(tmp_path / "one", 1) == student(tmp_path / "two", 2)
