"""A training that is killed at any step ends as one that never was: weights, tables, history and random states."""

import copy
import json
import os
import signal

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from hrkd.data.batching import MultiDomainLoader
from hrkd.errors import ArtifactError
from hrkd.recipe.schema import CacheConfig, RunConfig, TrainingConfig
from hrkd.training.checkpoint import finished_epochs
from hrkd.training.fine_tune import FineTuning
from hrkd.training.loop import EpochScore, train
from hrkd.training.record import Recorder, read_table
from hrkd.training.selection import DevAccuracy
from hrkd.training.session import Session, start_accelerator
from slow import slowly
from tiny import distil

EPOCHS = 2


class KilledError(Exception):
    """In the place of a kill: nothing between it and the test writes anything."""


def fine_tuned(tiny, folder, *, kill_at=(), every=1, precision="no", end_by=None, **options):
    """Fine-tune, killed in the forward pass of the steps ``kill_at``; gives all that is left of it."""
    torch.manual_seed(5)
    module = FineTuning(tiny.model())
    left = sorted(kill_at)
    done = 0

    def step(*_):
        nonlocal done
        done += 1
        if left and done == left[0]:
            if end_by is None:
                raise KilledError
            os.kill(os.getpid(), end_by)

    module.register_forward_pre_hook(step)
    torch.manual_seed(5)
    loader = MultiDomainLoader(tiny.train, batch_size=4, seed=0)
    settings = TrainingConfig(**{"learning_rate": 1e-3, "epochs": EPOCHS, **options})
    rules = RunConfig(checkpoint_minutes=None, checkpoint_steps=every, precision=precision, device="cpu")
    session = Session(
        start_accelerator(rules, trains=True),
        rules,
        checkpoint=folder / "state",
        metrics=folder / "metrics",
    )
    evaluate = DevAccuracy(module.model, tiny.dev)
    recorder = session.recorder(tiny.train.source.domains)
    history = train(module, loader, settings=settings, evaluate=evaluate, session=session, recorder=recorder)
    return left_of(module, history, folder / "metrics")


def left_of(module, history, metrics):
    epochs = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history.epochs]
    tables = {name: read_table(metrics, name) for name in ("steps", "levels", "hierarchy", "relations", "predictions")}
    return {
        "weights": {name: value.clone() for name, value in module.state_dict().items()},
        "random": torch.get_rng_state(),
        "history": {**vars(history), "epochs": epochs},
        "tables": {name: table for name, table in tables.items() if table is not None},
    }


def assert_same(found, expected):
    """Bit for bit."""
    assert found["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        assert torch.equal(found["weights"][name], value), name
    assert torch.equal(found["random"], expected["random"])
    assert found["history"] == expected["history"]
    assert found["tables"].keys() == expected["tables"].keys()
    for name, table in expected["tables"].items():
        for column in table:
            np.testing.assert_array_equal(found["tables"][name][column].to_numpy(), table[column].to_numpy(), name)


def steps_of(tiny):
    return EPOCHS * len(MultiDomainLoader(tiny.train, batch_size=4, seed=0))


def test_a_kill_in_the_middle_of_an_epoch_changes_nothing(tiny, tmp_path):
    expected = fine_tuned(tiny, tmp_path / "whole", every=3)
    for step in (1, steps_of(tiny) // 2 + 2, steps_of(tiny)):
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(KilledError):
            fine_tuned(tiny, folder, kill_at=[step], every=3)
        assert_same(fine_tuned(tiny, folder, every=3), expected)


@pytest.mark.torture
@pytest.mark.parametrize("every", [1, 3])
def test_a_kill_at_any_step_changes_nothing(tiny, tmp_path, every):
    expected = fine_tuned(tiny, tmp_path / "whole", every=every)
    for step in range(1, steps_of(tiny) + 1):
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(KilledError):
            fine_tuned(tiny, folder, kill_at=[step], every=every)
        assert_same(fine_tuned(tiny, folder, every=every), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16"},
        {"gradient_accumulation": 3},
        *slowly({"average_weights": True}, {"group_by_length": False}, {"patience": 1, "epochs": 3}),
    ],
    ids=lambda options: "-".join(options),
)
def test_killed_twice_in_one_epoch(tiny, tmp_path, options):
    expected = fine_tuned(tiny, tmp_path / "whole", every=2, **options)
    for later in (1, 4):
        folder = tmp_path / f"killed-{later}"
        for kill_at in (4, later):
            with pytest.raises(KilledError):
                fine_tuned(tiny, folder, kill_at=[kill_at], every=2, **options)
        assert_same(fine_tuned(tiny, folder, every=2, **options), expected)


METHODS = {
    "joint": {"learning": "joint", "prototype_momentum": 0.9},
    "meta": {"learning": "meta", "meta_interval": 2},
    "relative": {"relative": True},
    "gradient": {"ratio_gradient": True, "learning": "joint"},
    "predictions": {"hidden_weight": 0, "graph": "uniform"},
}


def distilled(tiny, folder, *, kill_at=None, every=2, cache=None, **method):
    student = tiny.model(width=8)
    done = 0

    def step(*_):
        nonlocal done
        done += student.training
        if done == kill_at:
            raise KilledError

    student.register_forward_pre_hook(step)
    torch.manual_seed(3)
    history = distil(
        tiny.model(seed=1),
        student,
        tiny.train,
        tiny.dev,
        run=RunConfig(checkpoint_minutes=None, checkpoint_steps=every),
        checkpoint=folder / "state",
        metrics=folder / "metrics",
        epochs=EPOCHS,
        batch_size=4,
        learning_rate=1e-3,
        cache=cache,
        **method,
    )
    return left_of(student, history, folder / "metrics")


@pytest.mark.parametrize("cached", [False, *slowly(True)], ids=["live", "cached"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_distillation_goes_on_within_an_epoch(tiny, tmp_path, method, cached):
    cache = CacheConfig(folder=tmp_path / "cache") if cached else None
    expected = distilled(tiny, tmp_path / "whole", cache=cache, **method)
    steps = steps_of(tiny)
    for step in (2, steps // 2 + 2):
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(KilledError):
            distilled(tiny, folder, kill_at=step, cache=cache, **method)
        assert_same(distilled(tiny, folder, cache=cache, **method), expected)


@pytest.mark.parametrize("end_by", [signal.SIGINT, signal.SIGTERM])
def test_who_is_asked_to_end_finishes_the_step_and_saves(tiny, tmp_path, end_by):
    expected = fine_tuned(tiny, tmp_path / "whole", every=None)

    def ended(*_):
        raise KeyboardInterrupt

    before = {each: signal.signal(each, ended) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(KeyboardInterrupt):
            fine_tuned(tiny, tmp_path / "asked", every=None, kill_at=[3], end_by=end_by)
        assert all(signal.getsignal(each) is ended for each in before)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert [path.name for path in (tmp_path / "asked" / "state").iterdir()] == ["step-000000003"]
    assert finished_epochs(tmp_path / "asked" / "state") == 0
    assert_same(fine_tuned(tiny, tmp_path / "asked", every=None), expected)


def test_an_interrupted_evaluation_loses_no_step(tiny, tmp_path):
    def run(evaluate, seen):
        torch.manual_seed(5)
        module = FineTuning(tiny.model())
        module.register_forward_pre_hook(lambda *_: seen.append(1))
        loader = MultiDomainLoader(tiny.train, batch_size=4, seed=0)
        session = Session(Accelerator(cpu=True), checkpoint=tmp_path / "state")
        train(module, loader, settings=TrainingConfig(epochs=1), evaluate=evaluate, session=session)

    def interrupted(_):
        torch.rand(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, [])
    seen = []
    run(lambda _: EpochScore(1.0), seen)
    assert seen == [], "all steps of the epoch were done before"


def damage(checkpoint):
    file = checkpoint / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tiny, tmp_path, caplog):
    expected = fine_tuned(tiny, tmp_path / "whole", every=2)
    with pytest.raises(KilledError):
        fine_tuned(tiny, tmp_path / "cut", every=2, kill_at=[7])
    before, last = sorted((tmp_path / "cut" / "state").iterdir())
    assert [before.name, last.name] == ["step-000000004", "step-000000006"]
    damage(last)
    found = fine_tuned(tiny, tmp_path / "cut", every=2)
    assert "step-000000006" in caplog.text
    assert "going on from step-000000004" in caplog.text
    assert_same(found, expected)


def test_two_damaged_checkpoints_are_an_error(tiny, tmp_path):
    with pytest.raises(KilledError):
        fine_tuned(tiny, tmp_path, every=2, kill_at=[7])
    for checkpoint in (tmp_path / "state").iterdir():
        damage(checkpoint)
    with pytest.raises(ArtifactError, match=r"step-000000004: damaged.*delete this folder"):
        fine_tuned(tiny, tmp_path, every=2)


def test_a_damaged_checkpoint_does_not_outlive_a_whole_one(tiny, tmp_path):
    with pytest.raises(KilledError):
        fine_tuned(tiny, tmp_path, every=2, kill_at=[7])
    damage(tmp_path / "state" / "step-000000006")
    with pytest.raises(KilledError):
        fine_tuned(tiny, tmp_path, every=1, kill_at=[2])
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["step-000000004", "step-000000005"]


def test_what_others_put_beside_checkpoints_stays(tiny, tmp_path):
    (tmp_path / "state" / "step-000000001").mkdir(parents=True)
    (tmp_path / "state" / "step-000000001" / "notes.txt").write_text("mine")
    fine_tuned(tiny, tmp_path, every=2)
    assert (tmp_path / "state" / "step-000000001" / "notes.txt").read_text() == "mine"


def test_a_checkpoint_holds_what_the_tables_of_the_epoch_lack(tiny, tmp_path):
    with pytest.raises(KilledError):
        distilled(tiny, tmp_path, kill_at=4, every=1)
    last = max((tmp_path / "state").iterdir())
    state = load_file(last / "state.safetensors")
    progress = json.loads((last / "state.json").read_text())["progress"]
    assert state["kept.record.steps"].tolist() == [1, 2, 3]
    assert [row["step"] for row in progress["record"]] == [1, 2, 3]
    assert progress["position"]["steps"] == 3


def test_recorder_gives_back_what_it_held(tmp_path):
    recorder = Recorder(tmp_path, ("books", "dvd"))
    recorder.add(1, {"loss": 0.1}, None)
    steps, tensors = recorder.state()
    other = Recorder(tmp_path, ("books", "dvd"))
    other.restore(copy.deepcopy(steps), tensors)
    assert (other.state()[0], tensors) == (steps, {})
