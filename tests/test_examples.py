"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from hrkd.comparison.planning import load_grid

EXAMPLES = Path(__file__).parent.parent / "examples"


CLUSTERS = {"label_with_ray.py", "label_with_spark.py"}
"""Run by tests/deploy/test_clusters.py."""


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


def test_messy_reviews(tmp_path):
    run("messy_reviews.py", tmp_path / "reviews.csv", 100)
    table = pd.read_csv(tmp_path / "reviews.csv")
    assert table["shop_section"].value_counts().to_dict() == {"books": 61, "films": 30, "kitchen": 10}
    assert (table["review_text"].str.strip() == "").sum() == 4
    assert (table["rating"] == "5 sters").sum() == 1


def test_every_example_is_run_here():
    names = {"live_objects.py", "domain_ratios.py", "messy_reviews.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == names | CLUSTERS


@pytest.mark.parametrize(("grid", "cells", "teachers"), [("compare_demo.yaml", 9, 1), ("compare_amazon.yaml", 84, 8)])
def test_example_grids_make_runs_that_are_checked(grid, cells, teachers):
    plan = load_grid(EXAMPLES / grid)
    assert len(plan.cells) == cells
    assert len(plan.teachers) == teachers


def test_every_example_grid_is_checked_here():
    assert {path.name for path in EXAMPLES.glob("*.yaml")} == {"compare_demo.yaml", "compare_amazon.yaml"}
