"""When a training ends, and the average of its second half."""

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError

from hrkd.data.batching import MultiDomainLoader
from hrkd.recipe.schema import TrainingConfig
from hrkd.training.ending import AVERAGE, ended_by, is_over, planned_epochs, still_learning
from hrkd.training.evaluate import predict_logits
from hrkd.training.fine_tune import FineTuning
from hrkd.training.loop import EpochScore, train
from hrkd.training.selection import DevAccuracy
from hrkd.training.session import Session
from tiny import train_tiny as run
from tiny import weights


@pytest.mark.parametrize(
    ("epochs", "min_steps", "steps_of_epoch", "expected"),
    [(3, 0, 10, 3), (3, 30, 10, 3), (3, 31, 10, 4), (3, 500, 7, 72), (3, 500, 10_000, 3), (1, 1, 1, 1)],
)
def test_few_rows_get_many_epochs(epochs, min_steps, steps_of_epoch, expected):
    assert planned_epochs(TrainingConfig(epochs=epochs, min_steps=min_steps), steps_of_epoch) == expected


@pytest.mark.parametrize(
    ("epochs", "max_steps", "steps_of_epoch", "expected"),
    [(3, None, 10_000, 3), (3, 30, 10, 3), (3, 29, 10, 2), (3, 9, 10, 1), (3, 10_000, 10, 3)],
)
def test_many_rows_get_few_epochs(epochs, max_steps, steps_of_epoch, expected):
    assert planned_epochs(TrainingConfig(epochs=epochs, max_steps=max_steps), steps_of_epoch) == expected


def test_a_floor_goes_before_a_limit():
    settings = TrainingConfig(epochs=3, min_steps=95, max_steps=95)
    assert planned_epochs(settings, 10) == 10
    with pytest.raises(ValidationError, match="max_steps: 5 is less than min_steps"):
        TrainingConfig(min_steps=6, max_steps=5)


@pytest.mark.parametrize(
    ("done", "best", "patience", "over"),
    [(1, 1, 1, False), (2, 1, 1, True), (3, 1, 3, False), (4, 1, 3, True), (9, 1, None, False), (10, 10, None, True)],
)
def test_patience_counts_epochs_since_the_best(done, best, patience, over):
    assert is_over(TrainingConfig(epochs=10, patience=patience), 7, done, best) is over


@pytest.mark.parametrize(("done", "over"), [(4, False), (29, False), (30, True), (100, True)])
def test_patience_ends_nothing_before_the_least_steps_are_done(done, over):
    settings = TrainingConfig(epochs=100, min_steps=300, patience=3)
    assert is_over(settings, 10, done, best_epoch=1) is over


@pytest.mark.parametrize(
    ("steps_of_epoch", "epochs", "field"),
    [
        (100, 3, "epochs"),
        (100, 2, "patience"),
        (10, 30, "min_steps"),
        (12_000, 2, "max_steps"),
        (12_000, 1, "patience"),
    ],
)
def test_what_ends_a_training_is_the_field_that_lets_it_go_on(steps_of_epoch, epochs, field):
    settings = TrainingConfig(epochs=3, min_steps=300, max_steps=30_000, patience=1)
    assert ended_by(settings, steps_of_epoch, epochs) == field
    if field == "patience":
        return
    longer = settings.model_copy(update={field: 2 * getattr(settings, field)})
    assert planned_epochs(longer, steps_of_epoch) > epochs
    others = {"epochs", "min_steps", "max_steps"} - {field}
    if field != "epochs":
        assert all(
            planned_epochs(settings.model_copy(update={name: 2 * getattr(settings, name)}), steps_of_epoch) == epochs
            for name in others
        )


def test_a_training_ends_when_dev_no_longer_rises(tiny, caplog):
    scores = {1: 0.5, 2: 0.8, 3: 0.7, 4: 0.75, 5: 0.9}
    with caplog.at_level(logging.INFO, logger="hrkd"):
        history = run(tiny, FineTuning(tiny.model()), epochs=5, score=scores.__getitem__, patience=2)
    assert (len(history.epochs), history.best_epoch) == (4, 2)
    assert "ends after epoch 4 of 5, as dev has not risen since epoch 2 (patience: 2)" in caplog.text
    assert history.still_learning == ""


def test_min_steps_make_the_schedule_and_the_epochs_longer(tiny, caplog):
    caplog.set_level("INFO", logger="hrkd.training")
    history = run(tiny, FineTuning(tiny.model()), epochs=1)
    steps = history.steps
    assert "min_steps asks" not in caplog.text
    run(tiny, FineTuning(tiny.model()), epochs=3, max_steps=2 * steps + 1)
    assert f"2 epochs, not 3: training.max_steps allows {2 * steps + 1} steps" in caplog.text
    longer = run(tiny, FineTuning(tiny.model()), epochs=1, min_steps=2 * steps + 1)
    assert f"3 epochs, not 1: training.min_steps asks for {2 * steps + 1} steps" in caplog.text
    assert longer.steps == 3 * steps
    alike = run(tiny, FineTuning(tiny.model()), epochs=3)
    assert [e["loss"] for e in longer.epochs] == [e["loss"] for e in alike.epochs]


class Watched(FineTuning):
    """Notes the weights after each update, which are those that the next step sees."""

    def __init__(self, model):
        super().__init__(model)
        self.seen = []

    def forward(self, batch):
        self.seen.append(weights(self.model))
        return super().forward(batch)


def averaged(tiny, **options):
    scored = {}
    module = Watched(tiny.model())

    def score(epoch):
        scored[epoch] = weights(module.model)
        return {AVERAGE: options["average"]}.get(epoch, 0.5 + epoch / 100)

    history = run(tiny, module, epochs=2, score=score, average_weights=True)
    return module, history, scored


@pytest.mark.parametrize(("average", "kept"), [(0.9, True), (0.52, True), (0.1, False)])
def test_the_average_is_that_of_the_second_half_and_kept_where_it_is_no_worse(tiny, average, kept):
    module, history, scored = averaged(tiny, average=average)
    after = [*module.seen[1:], scored[2]]
    half = len(after) // 2
    expected = torch.stack(after[half:]).double().mean(dim=0).float()
    torch.testing.assert_close(scored[AVERAGE], expected, rtol=1e-5, atol=1e-6)
    assert history.average["updates"] == len(after) - half
    assert (history.average["kept"], history.average["selection"]) == (kept, average)
    assert torch.equal(weights(module.model), scored[AVERAGE if kept else 2])
    assert history.best_score == max(0.52, average)
    assert history.best_epoch == 2


def test_the_average_is_in_the_checkpoint(tiny, tmp_path):
    model = tiny.model()
    straight, killed, resumed = (FineTuning(copy.deepcopy(model)) for _ in range(3))

    def high(epoch):
        return 1.0 if epoch == AVERAGE else 0.5

    expected = run(tiny, straight, epochs=4, average_weights=True, score=high)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, killed, epochs=4, average_weights=True, score=high, stop_after=3, checkpoint=tmp_path / "state")
    history = run(tiny, resumed, epochs=4, average_weights=True, score=high, checkpoint=tmp_path / "state")
    assert torch.equal(weights(resumed), weights(straight))
    assert history.average == expected.average


def test_an_interrupt_while_the_average_is_scored_loses_no_epoch(tiny, tmp_path):
    model = tiny.model()
    straight, killed, resumed = (FineTuning(copy.deepcopy(model)) for _ in range(3))

    def interrupted(epoch):
        if epoch == AVERAGE:
            raise KeyboardInterrupt
        return 0.5

    expected = run(tiny, straight, epochs=2, average_weights=True, score=lambda _: 0.5)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, killed, epochs=2, average_weights=True, score=interrupted, checkpoint=tmp_path / "state")
    left = max((tmp_path / "state").glob("step-*"))
    assert int(left.name.removeprefix("step-")) == expected.steps
    history = run(tiny, resumed, epochs=2, average_weights=True, score=lambda _: 0.5, checkpoint=tmp_path / "state")
    assert torch.equal(weights(resumed), weights(straight))
    assert history.average == expected.average


def test_a_training_that_ends_before_its_second_half_has_no_average(tiny):
    scores = {1: 0.9, 2: 0.1, 3: 0.1}
    history = run(tiny, FineTuning(tiny.model()), epochs=6, patience=1, average_weights=True, score=scores.__getitem__)
    assert (len(history.epochs), history.average) == (2, None)


@pytest.mark.parametrize(
    ("scores", "error", "words"),
    [
        ([0.6, 0.7], 0.02, "dev rose from 60.0 to 70.0 % in the last of 2 epochs"),
        ([0.6, 0.61], 0.02, ""),
        ([0.7, 0.6, 0.71], 0.02, ""),
        ([0.7], 0.02, ""),
        ([1.0, 2.0], 0.0, ""),
        (
            [0.5, 0.52, 0.54, 0.56, 0.58, 0.6, 0.61, 0.63],
            0.02,
            "dev rose from 60.0 to 63.0 % in the last 2 of 8 epochs",
        ),
        ([0.5, 0.52, 0.54, 0.56, 0.63, 0.6, 0.61, 0.63], 0.02, ""),
    ],
)
def test_whether_a_training_was_still_learning(scores, error, words):
    epochs = [{"selection": score, "standard_error": error} for score in scores]
    assert still_learning(epochs) == words


def test_that_is_told(tiny, caplog):
    model = tiny.model()
    dev = DevAccuracy(model, tiny.dev)
    few = tiny.train.select([row for d in range(3) for row in np.flatnonzero(tiny.train.texts.domain_ids == d)[:8]])
    accuracies = iter([0.5, 0.55, 0.8])

    def evaluate(epoch):
        return replace(dev(epoch), selection=next(accuracies), standard_error=0.02)

    loader = MultiDomainLoader(few, batch_size=4, seed=0)
    with caplog.at_level(logging.WARNING, logger="hrkd"):
        history = train(
            FineTuning(model),
            loader,
            settings=TrainingConfig(),
            evaluate=evaluate,
            session=Session(Accelerator(cpu=True)),
        )
    assert history.still_learning == "dev rose from 55.0 to 80.0 % in the last of 3 epochs"
    assert "was still learning at its end: dev rose from 55.0 to 80.0 %" in caplog.text
    assert "in the last of 3 epochs; raise training.epochs\n" in caplog.text
    assert history.ended_by == "epochs"


def test_the_standard_error_of_the_mean_over_domains(tiny):
    model = tiny.model()
    score = DevAccuracy(model, tiny.dev)(1)
    variances = []
    for d, name in enumerate(tiny.dev.texts.domains):
        p, n = score.details[f"dev/{name}"], (tiny.dev.texts.domain_ids == d).sum()
        variances.append(p * (1 - p) / n)
    assert score.standard_error == pytest.approx((sum(variances) ** 0.5) / len(variances))


@pytest.mark.parametrize(("losses", "best"), [((0.5, 0.3, 0.4), 2), ((0.3, 0.3, 0.3), 1), ((0.1, 0.2, 0.3), 1)])
def test_of_equal_accuracies_the_lower_loss_is_kept(tiny, losses, best):
    module = FineTuning(tiny.model())

    def evaluate(epoch):
        return EpochScore(1.0, loss=losses[epoch - 1])

    loader = MultiDomainLoader(tiny.train, batch_size=4, seed=0)
    session = Session(Accelerator(cpu=True))
    history = train(module, loader, settings=TrainingConfig(), evaluate=evaluate, session=session)
    assert (history.best_epoch, history.best_loss) == (best, losses[best - 1])


def test_the_dev_loss_is_the_mean_over_domains_of_the_cross_entropy(tiny):
    model = tiny.model()
    logits, labels = torch.from_numpy(predict_logits(model, tiny.dev)), torch.from_numpy(tiny.dev.texts.label_ids)
    ids = torch.from_numpy(tiny.dev.texts.domain_ids)
    own = [torch.nn.functional.cross_entropy(logits[ids == d], labels[ids == d]) for d in range(len(model.domains))]
    assert DevAccuracy(model, tiny.dev)(1).loss == pytest.approx(float(sum(own) / len(own)), rel=1e-5)
