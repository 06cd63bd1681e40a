import copy

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from slow import slow
from tiny import distil


@slow
def test_a_compiled_student_learns_the_same(tiny):
    """Traced and differentiated ahead of time; what a compiler makes of it is the compiler's matter."""
    teacher, student = tiny.model(seed=1), tiny.model(width=8)
    for module in (*teacher.modules(), *student.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    options = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "graph_dropout": 0.0}
    twin, losses = copy.deepcopy(student), []
    for model, backend in ((student, None), (twin, "aot_eager")):
        history = distil(
            teacher, model, tiny.train, tiny.dev, accelerator=Accelerator(cpu=True), compile_backend=backend, **options
        )
        losses.append(history.epochs[0]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for one, other in zip(twin.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    assert "forward" not in vars(twin.encoder), "the model is as it was"
