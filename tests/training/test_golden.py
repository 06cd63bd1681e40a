"""The loss curve of one small distillation, as it was: what is made faster must not make it different."""

import pandas as pd
import pytest
from accelerate import Accelerator

from hrkd.training.runs import distill_from_models, fine_tune
from hrkd.training.teacher_cache import CacheRules

CURVE = [
    5.0056, 5.0248, 5.0174, 4.9631, 4.9432, 4.8660, 4.8524, 4.8026,
    4.7807, 4.7094, 4.7551, 4.7052, 4.7091, 4.6668, 4.6571, 4.6487,
]  # fmt: skip


@pytest.mark.parametrize("cached", [False, True])
def test_the_losses_of_a_fixed_run_stay_the_same(tiny, tmp_path, cached):
    teacher, student = tiny.model(seed=1), tiny.model(width=8)
    options = {"learning_rate": 1e-3, "batch_size": 4, "accelerator": Accelerator(cpu=True)}
    fine_tune(teacher, tiny.train, tiny.dev, epochs=1, **options)
    rules = CacheRules(tmp_path / "cache", precision="fp32") if cached else None
    distill_from_models(
        teacher, student, tiny.train, tiny.dev, epochs=2, metrics=tmp_path / "metrics", cache=rules, **options
    )
    losses = pd.read_parquet(tmp_path / "metrics" / "steps").sort_values("step")["loss"].tolist()
    assert losses == pytest.approx(CURVE, rel=1e-3), f"a change of the CURVE is told in the CHANGELOG: {losses}"
