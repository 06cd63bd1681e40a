import copy

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from hrkd.data.batching import MultiDomainLoader
from hrkd.errors import ArtifactError, RecipeError, TrainingError
from hrkd.method.fit_layers import FitLayers
from hrkd.recipe.schema import RunConfig, TrainingConfig
from hrkd.training.fine_tune import FineTuning
from hrkd.training.loop import EpochScore, StepOutput, Trainable, parameter_groups, train
from hrkd.training.session import Session, start_accelerator


def run(tiny, module, *, data=None, epochs=3, score=float, stop_after=None, checkpoint=None, batch_size=4, **options):
    """Train; ``score`` maps the epoch to the dev score; ``stop_after`` kills the training after that epoch."""

    def evaluate(epoch):
        if stop_after is not None and epoch > stop_after:
            raise KeyboardInterrupt
        return EpochScore(score(epoch))

    torch.manual_seed(5)
    loader = MultiDomainLoader(data or tiny.train, batch_size=batch_size, seed=0)
    settings = TrainingConfig(**{"learning_rate": 1e-3, "epochs": epochs, **options})
    session = Session(Accelerator(cpu=True), checkpoint=checkpoint)
    return train(module, loader, settings=settings, evaluate=evaluate, session=session)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_loss_falls_and_every_tensor_moves(tiny):
    module = FineTuning(tiny.model())
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    few = [row for d in range(3) for row in np.flatnonzero(tiny.train.domain_ids == d)[:4]]
    history = run(tiny, module, data=tiny.train.select(few), epochs=40, learning_rate=1e-2)
    assert history.epochs[-1]["loss"] < 0.5 * history.epochs[0]["loss"]
    still = [name for name, p in module.named_parameters() if torch.equal(p, before[name])]
    assert still == []


def test_the_best_epoch_is_kept(tiny):
    module, snapshots = FineTuning(tiny.model()), {}

    def score(epoch):
        snapshots[epoch] = weights(module)
        return {1: 0.5, 2: 0.9, 3: 0.7}[epoch]

    history = run(tiny, module, score=score)
    assert (history.best_epoch, history.best_score) == (2, 0.9)
    assert torch.equal(weights(module), snapshots[2])


def test_resume_after_a_kill_gives_the_same_weights(tiny, tmp_path):
    model = tiny.model()
    straight, killed, resumed = (FineTuning(copy.deepcopy(model)) for _ in range(3))
    expected = run(tiny, straight)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, killed, stop_after=2, checkpoint=tmp_path / "state")
    torch.manual_seed(999)
    history = run(tiny, resumed, checkpoint=tmp_path / "state")
    assert torch.equal(weights(resumed), weights(straight))
    assert [e["loss"] for e in history.epochs] == [e["loss"] for e in expected.epochs]


def test_a_damaged_checkpoint_is_named(tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tiny, FineTuning(tiny.model()), stop_after=1, checkpoint=tmp_path / "state")
    (tmp_path / "state" / "state.safetensors").write_bytes(b"broken")
    with pytest.raises(ArtifactError, match="delete this folder"):
        run(tiny, FineTuning(tiny.model()), checkpoint=tmp_path / "state")


def test_a_loss_that_is_not_finite_stops_the_training(tiny):
    class Broken(FineTuning):
        def forward(self, batch):
            return StepOutput(super().forward(batch).loss * float("nan"))

    with pytest.raises(TrainingError, match="not finite at step 1"):
        run(tiny, Broken(tiny.model()))


class Still(Trainable):
    """One weight whose gradient is the mean label of the batch: what an optimiser step sees can be counted."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen = []

    def selected(self):
        return self

    def forward(self, batch):
        value = batch.indices.float().mean()
        self.seen.append(value.item())
        return StepOutput(self.weight * value)


def test_accumulated_gradients_are_the_mean_of_their_group(tiny):
    module, gradients = Still(), []
    module.weight.register_post_accumulate_grad_hook(lambda p: gradients.append(p.grad.item()))
    run(tiny, module, epochs=1, gradient_accumulation=3, max_grad_norm=1e9, batch_size=7)
    steps = len(module.seen)
    assert steps % 3 != 0, "the last group must be a partial one for this test to say something"
    for start in range(0, steps, 3):
        group = module.seen[start : start + 3]
        assert gradients[start + len(group) - 1] == pytest.approx(sum(group) / len(group), rel=1e-5)


def test_parameter_groups_hold_every_trainable_tensor_once(tiny):
    module = FineTuning(tiny.model())
    groups = parameter_groups(module, 0.01)
    grouped = [id(p) for g in groups for p in g["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.parameters())
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert all(p.ndim <= 1 for p in groups[1]["params"])
    with pytest.raises(TrainingError):
        parameter_groups(module.requires_grad_(False), 0.01)


def test_no_bias_decays_whatever_its_shape():
    fit = FitLayers(2, 3, 5)
    decayed, others = parameter_groups(fit, 0.01)
    assert len(decayed["params"]) == 1
    assert decayed["params"][0] is fit.weight
    assert decayed["weight_decay"] == 0.01
    assert len(others["params"]) == 1
    assert others["params"][0] is fit.bias
    assert others["weight_decay"] == 0.0


def test_a_module_hears_of_every_batch_once_before_it_is_trained_on(tiny):
    class Prepared(FineTuning):
        heard, trained = [], []

        def prepare(self, batch):
            self.heard.append(batch.indices.tolist())

        def forward(self, batch):
            self.trained.append(batch.indices.tolist())
            assert self.trained[-1] in self.heard
            return super().forward(batch)

    run(tiny, Prepared(tiny.model()), epochs=2)
    assert Prepared.heard == Prepared.trained


class Overflowing(Trainable):
    """A loss whose scaled gradients are beyond fp16's scaler in the first three steps."""

    def __init__(self):
        super().__init__()
        self.weights, self.steps = nn.Linear(4, 1), 0

    def selected(self):
        return self.weights

    def forward(self, _):
        self.steps += 1
        return StepOutput(self.weights(torch.ones(2, 4)).mean() * (1e36 if self.steps <= 3 else 1))


def test_an_update_that_the_scaler_leaves_out_does_not_move_the_schedule(tiny, tmp_path):
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu")
    session = Session(accelerator, metrics=tmp_path)
    loader = MultiDomainLoader(tiny.train, batch_size=2, seed=0)
    settings = TrainingConfig(learning_rate=1.0, epochs=1, warmup=0.0)
    recorder = session.recorder(tiny.train.source.domains)
    train(Overflowing(), loader, settings=settings, evaluate=EpochScore, session=session, recorder=recorder)
    rates = pd.read_parquet(tmp_path / "steps").learning_rate.to_numpy()
    assert len(rates) > 5
    updates = np.maximum(np.arange(len(rates)) - 3, 0)
    np.testing.assert_allclose(rates, 1 - updates / len(rates))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_fp16_without_a_gpu_is_refused():
    with pytest.raises(RecipeError, match=r"run\.precision: fp16 is for a GPU"):
        start_accelerator(RunConfig(precision="fp16"))
    assert start_accelerator(RunConfig(device="cpu")).mixed_precision == "no"
