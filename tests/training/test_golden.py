"""The loss curves of a small distillation, as they were: what is made faster must not make them different."""

import pandas as pd
import pytest
from accelerate import Accelerator
from torch import nn

from hrkd.recipe.schema import CacheConfig
from tiny import distil, tune

WITHOUT_DROPOUT = [
    4.938664, 4.978784, 4.977377, 4.911838, 4.897526, 4.828886, 4.801668, 4.763567,
    4.722407, 4.685433, 4.712945, 4.644500, 4.650167, 4.631185, 4.610598, 4.596448,
]  # fmt: skip
WITH_DROPOUT = [
    4.9538, 5.0419, 5.0210, 4.9732, 4.9471, 4.8819, 4.8557, 4.8104,
    4.7956, 4.7305, 4.7777, 4.6997, 4.7038, 4.6791, 4.6797, 4.6689,
]  # fmt: skip


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("dropout", "curve"), [(False, WITHOUT_DROPOUT), (True, WITH_DROPOUT)], ids=["still", "dropout"]
)
def test_the_losses_of_a_fixed_run_stay_the_same(tiny, tmp_path, cached, dropout, curve):
    teacher, student = tiny.model(seed=1), tiny.model(width=8)
    if not dropout:
        for module in (*teacher.modules(), *student.modules()):
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    options = {"learning_rate": 1e-3, "batch_size": 4, "group_by_length": False, "accelerator": Accelerator(cpu=True)}
    tune(teacher, tiny.train, tiny.dev, epochs=1, **options)
    options |= {"graph_width": "hidden"} if dropout else {"graph_width": "hidden", "graph_dropout": 0.0}
    rules = CacheConfig(folder=tmp_path / "cache", precision="fp32") if cached else None
    distil(teacher, student, tiny.train, tiny.dev, epochs=2, metrics=tmp_path / "metrics", cache=rules, **options)
    losses = pd.read_parquet(tmp_path / "metrics" / "steps").sort_values("step")["loss"].tolist()
    assert losses == pytest.approx(curve, rel=1e-3 if dropout else 1e-5), (
        f"a change of a curve is told in the CHANGELOG: {losses}"
    )
