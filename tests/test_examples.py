"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

from hrkd.grid_plan import load_grid

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_live_objects(tmp_path):
    said = run("live_objects.py", tmp_path / "student", "--examples", 40, "--epochs", 1)
    assert "best epoch 1" in said
    assert "'label':" in said
    assert (tmp_path / "student" / "model.safetensors").is_file()


def test_domain_ratios():
    assert "objective:" in run("domain_ratios.py")


def test_every_example_is_run_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"live_objects.py", "domain_ratios.py"}


def test_the_example_grid_makes_runs_that_are_checked():
    plan = load_grid(EXAMPLES / "compare_demo.yaml")
    assert len(plan.cells) == 9
    assert len(plan.teachers) == 1
