import copy
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from hrkd.data.batching import MultiDomainLoader
from hrkd.errors import ArtifactError, TrainingError
from hrkd.method.fit_layers import FitLayers
from hrkd.recipe.schema import RunConfig, TrainingConfig
from hrkd.support.manifest import write_manifest
from hrkd.training.culprits import cells_not_finite
from hrkd.training.fine_tune import FineTuning
from hrkd.training.loop import EpochScore, StepOutput, Trainable, parameter_groups, train
from hrkd.training.record import Recorder, StepTables
from hrkd.training.session import Session
from tiny import train_tiny as run
from tiny import weights


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
    for checkpoint in (tmp_path / "state").iterdir():
        (checkpoint / "state.safetensors").write_bytes(b"broken")
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


def test_a_step_has_the_gradients_of_all_its_batches(tiny):
    module, gradients = Still(), []
    module.weight.register_post_accumulate_grad_hook(lambda p: gradients.append(p.grad.item()))
    history = run(tiny, module, epochs=1, gradient_accumulation=3, max_grad_norm=1e9, batch_size=4)
    batches = len(module.seen)
    assert batches == 3 * history.steps > 3
    for start in range(0, batches, 3):
        assert gradients[start + 2] == pytest.approx(sum(module.seen[start : start + 3]), rel=1e-5)


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


class Drifting(FineTuning):
    """Whose ``tensor`` is made not finite by the last update of an epoch, after a loss that was finite."""

    def __init__(self, model, loader_steps, value, epoch=1):
        super().__init__(model)
        self.left, self.value = loader_steps * epoch, value

    def before_update(self, optimizer):
        self.left -= 1
        if self.left == 0:
            first = next(p for name, p in self.named_parameters() if "intermediate" in name)
            first.grad.view(-1)[0] = self.value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("epoch", [1, 2])
def test_weights_that_are_not_finite_after_the_last_update_are_never_kept(tiny, tmp_path, value, epoch):
    steps = len(MultiDomainLoader(tiny.train, batch_size=4, seed=0))
    module, scored = Drifting(tiny.model(), steps, value, epoch), []
    said = rf"not finite after step {8 * epoch} .*intermediate.*lower learning rate than 0.001"
    with pytest.raises(TrainingError, match=said):
        run(tiny, module, epochs=2, score=lambda epoch: scored.append(epoch) or 0.5, checkpoint=tmp_path / "state")
    assert scored == list(range(1, epoch)), "an epoch that is not finite is not looked at"
    assert (tmp_path / "state").exists() == (epoch == 2), "the checkpoint before it stays"


def test_gradients_that_are_not_finite_stop_the_training_at_their_step(tiny):
    class Root(FineTuning):
        def forward(self, batch):
            loss = super().forward(batch).loss
            return StepOutput((loss - loss.detach()).abs().sqrt() + 1)  # finite, and infinitely steep

    with pytest.raises(TrainingError, match="gradients are not finite at step 1; try a lower learning rate"):
        run(tiny, Root(tiny.model()))


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_chooses_no_epoch(tiny, score):
    with pytest.raises(TrainingError, match=r"the score of epoch 1 is (nan|inf|-inf), and chooses no epoch"):
        run(tiny, FineTuning(tiny.model()), score=lambda epoch: score)


class Overflowing(Trainable):
    """Whose scaled gradients overflow in the first ``times`` steps."""

    def __init__(self, times):
        super().__init__()
        self.linear, self.left = nn.Linear(4, 1), times

    def selected(self):
        return self.linear

    def forward(self, batch):
        self.left -= 1
        return StepOutput(self.linear(torch.ones(2, 4)).mean() * (1e36 if self.left >= 0 else 1))


class Loader:
    def __len__(self):
        return 6

    def epoch(self, epoch, *, start):
        class Nothing:
            def to(self, device):
                return self

        return iter([(Nothing(),) for _ in range(start, 6)])


def rates(tmp_path, times):
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu")  # in the place of a GPU's
    settings = TrainingConfig(epochs=1, learning_rate=1.0, warmup=0.0)
    recorder = Recorder(tmp_path, ["books"])
    session = Session(accelerator)
    options = {"settings": settings, "session": session, "recorder": recorder}
    train(Overflowing(times), Loader(), evaluate=lambda epoch: EpochScore(1.0), **options)
    return pd.read_parquet(tmp_path / "steps")["learning_rate"].round(2).tolist()


def test_a_step_that_the_scaler_skips_does_not_move_the_schedule(tmp_path):
    assert rates(tmp_path / "a", 0) == [1.0, 0.83, 0.67, 0.5, 0.33, 0.17]
    assert rates(tmp_path / "b", 3) == [1.0, 1.0, 1.0, 1.0, 0.83, 0.67]


def test_a_training_whose_every_step_is_skipped_has_learnt_nothing(tmp_path):
    with pytest.raises(TrainingError, match="gradients of every step overflowed"):
        rates(tmp_path, 6)


def test_a_checkpoint_that_is_not_finite_is_refused(tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tiny, FineTuning(tiny.model()), stop_after=1, checkpoint=tmp_path / "state")
    checkpoint = max((tmp_path / "state").iterdir())
    file = checkpoint / "state.safetensors"
    state = load_file(file)
    state[next(name for name in state if name.startswith("optimizer."))].view(-1)[0] = float("nan")
    save_file(state, file)
    write_manifest(checkpoint)
    with pytest.raises(ArtifactError, match=r"optimizer\..* is not finite.*delete this folder to start"):
        run(tiny, FineTuning(tiny.model()), checkpoint=tmp_path / "state")


@pytest.mark.parametrize(
    "progress",
    [
        {"history": {"epochs": []}, "position": {}},
        {"history": {"epochs": [{}], "best_epoch": 1, "other": 1}, "position": {}},
        {"history": {"epochs": [{}], "best_epoch": 0, "steps": 4}, "position": {}},
        {"history": {"epochs": [{}], "best_epoch": 1, "steps": 4}},
        [],
        {"history": {"steps": "x"}, "position": {}},
    ],
)
def test_a_damaged_history_is_named(tiny, tmp_path, progress):
    with pytest.raises(KeyboardInterrupt):
        run(tiny, FineTuning(tiny.model()), stop_after=1, checkpoint=tmp_path / "state")
    checkpoint = max((tmp_path / "state").iterdir())
    file = checkpoint / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "progress": progress}))
    write_manifest(checkpoint)
    with pytest.raises(ArtifactError, match="state: the history in this checkpoint is damaged; delete this folder"):
        run(tiny, FineTuning(tiny.model()), checkpoint=tmp_path / "state")


def test_a_row_that_makes_the_loss_no_number_is_named_with_its_domain(tiny):
    class Spoilt(FineTuning):
        bad = 7

        def forward(self, batch):
            loss = super().forward(batch).loss
            return StepOutput(loss * float("nan") if (batch.indices == self.bad).any() else loss)

    source = tiny.train.source
    name, domain = source.rows["id"][7], source.domains[source.rows["domain"][7]]
    with pytest.raises(TrainingError) as error:
        run(tiny, Spoilt(tiny.model()))
    assert f"1 row gives such a loss by itself, of 12: {name} ({domain})" in str(error.value)


def test_what_of_a_step_is_not_finite_is_named_by_level_and_domain():
    nan = float("nan")
    tables = StepTables(
        hidden=torch.tensor([[0.0, 1.0], [nan, 1.0], [0.0, 0.0]]),
        attention=torch.tensor([[0.0, 0.0], [0.0, float("inf")]]),
        prediction=torch.tensor([0.0, nan]),
        ratios=torch.zeros(3, 2),
        hierarchical=torch.zeros(3, 3, 2),
    )
    expected = ["prediction loss in dvd", "hidden loss of level 1 in books", "attention loss of level 2 in dvd"]
    assert cells_not_finite(tables, ("books", "dvd")) == expected
    unlooked = dataclasses.replace(tables, hidden=torch.full((3, 2), nan), attention=torch.full((2, 2), nan))
    assert cells_not_finite(unlooked, ("books", "dvd")) == ["prediction loss in dvd"]


def test_a_step_that_does_not_fit_into_memory_is_made_in_parts_with_the_same_result(tiny, caplog):
    class Narrow(FineTuning):
        room = 12

        def forward(self, batch):
            if len(batch.labels) > self.room:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(batch)

    model = tiny.model()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    wide, narrow = FineTuning(copy.deepcopy(model)), Narrow(copy.deepcopy(model))
    narrow.room = 4
    expected, found = run(tiny, wide, epochs=1), run(tiny, narrow, epochs=1)
    # Where a gradient is nothing but rounding, Adam makes steps of it all the same.
    torch.testing.assert_close(weights(narrow), weights(wide), atol=1e-4, rtol=0)
    assert (weights(wide) - weights(FineTuning(model))).abs().max() > 3e-3
    assert found.epochs[0]["loss"] == pytest.approx(expected.epochs[0]["loss"], abs=1e-6)
    assert caplog.text.count("does not fit into memory") == 2
    assert "made in 4 parts from here on" in caplog.text


def test_where_one_row_does_not_fit_it_is_said_what_to_lower(tiny):
    class Full(FineTuning):
        def forward(self, batch):
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )

    with pytest.raises(
        TrainingError, match=r"step 1 of 12 rows and \d+ tokens does not fit.*lower training\.batch_size"
    ):
        run(tiny, Full(tiny.model()))


@pytest.mark.parametrize("where", ["optimiser", "average", "evaluation", "before"])
def test_memory_that_no_smaller_batch_would_free_is_told_with_what_would(tiny, monkeypatch, where):
    def full(*_, **__):
        raise torch.OutOfMemoryError("out of memory")

    if where == "optimiser":
        monkeypatch.setattr(torch.optim.AdamW, "step", full)
    if where == "average":
        monkeypatch.setattr("hrkd.training.loop.SecondHalf.add", full)
    said = {
        "optimiser": "what the optimiser keeps of every weight does not fit .* at step 1 .*take a smaller model",
        "average": "what the optimiser keeps of every weight does not fit .* at step 1 .*take a smaller model",
        "evaluation": r"evaluating does not fit into memory .*lower evaluation\.batch_size",
        "before": r"what goes before the update of step 1 does not fit .*lower training\.batch_size",
    }[where]
    module = FineTuning(tiny.model())
    if where == "before":  # as of meta learning
        module.before_update = full
    options = {"evaluation": {"score": full}, "average": {"average_weights": True}}.get(where, {})
    with pytest.raises(TrainingError, match=said):
        run(tiny, module, epochs=1, **options)


@pytest.mark.parametrize("number", [int, np.float32])
def test_scores_of_a_callers_own_numbers_are_kept_in_a_checkpoint(tiny, tmp_path, number):
    with pytest.raises(KeyboardInterrupt):
        run(tiny, FineTuning(tiny.model()), score=number, stop_after=1, checkpoint=tmp_path / "state")
    assert run(tiny, FineTuning(tiny.model()), score=number, checkpoint=tmp_path / "state").best_epoch == 3


def test_collapsed_ratios_are_told_once(tiny, tmp_path, caplog):
    class Collapsed(FineTuning):
        def forward(self, batch):
            ratios = torch.tensor([[0.4, 0.3, 0.3], [0.01, 0.98, 0.01]])
            tables = StepTables(ratios, ratios[1:], ratios[0], ratios, torch.zeros(2, 2, 3))
            return StepOutput(super().forward(batch).loss, tables)

    session = Session(Accelerator(cpu=True), metrics=tmp_path)
    loader = MultiDomainLoader(tiny.train, batch_size=4, seed=0)
    train(
        Collapsed(tiny.model()),
        loader,
        settings=TrainingConfig(epochs=2),
        evaluate=lambda _: EpochScore(1.0),
        session=session,
        recorder=session.recorder(tiny.train.source.domains),
    )
    told = [record.message for record in caplog.records if "collapsed" in record.message]
    assert len(told) == 1
    assert f"at level 1 {tiny.train.source.domains[1]} has 98 %" in told[0]


def test_a_checkpoint_within_an_epoch_holds_no_number_that_is_not_finite(tiny, tmp_path):
    class Spoiling(FineTuning):
        steps = 0

        def before_update(self, optimizer):
            self.steps += 1
            if self.steps == 3:
                next(self.parameters()).grad.fill_(float("nan"))

    session = Session(Accelerator(cpu=True), RunConfig(checkpoint_steps=1), checkpoint=tmp_path)
    loader = MultiDomainLoader(tiny.train, batch_size=4, seed=0)
    with pytest.raises(TrainingError, match="tensors are not finite after step 3"):
        train(
            Spoiling(tiny.model()), loader, settings=TrainingConfig(epochs=2),
            evaluate=lambda _: EpochScore(1.0), session=session,
        )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000001", "step-000000002"]
