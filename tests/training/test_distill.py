import copy

import pandas as pd
import pytest
import torch
from accelerate import Accelerator

from hrkd.errors import DataError, ModelError
from hrkd.method.build import build_domain_ratios
from hrkd.method.fit import FitLayers
from hrkd.models.trace import set_attention
from hrkd.training.distill import Distillation, TeacherReader
from hrkd.training.runs import distill_from_models, fine_tune


def distillation(tiny, teacher, student, layer_map=(0, 1, 2), **options):
    for model in (teacher, student):
        set_attention(model.encoder, "scores")
    teacher_width, width = teacher.encoder.config.hidden_size, student.encoder.config.hidden_size
    levels = len(layer_map)
    ratios = build_domain_ratios(levels, 3, teacher_width, graph_heads=2)
    fit = FitLayers(levels, width, teacher_width, basis=options.pop("basis", None))
    return Distillation(student, fit, ratios, TeacherReader(teacher, layer_map, attention=True), **options)


def test_student_equal_to_teacher_has_no_loss(tiny):
    teacher = tiny.model()
    module = distillation(tiny, teacher, copy.deepcopy(teacher), basis=torch.eye(16)).eval()
    batch = tiny.train.batch(range(12))
    tables = module.losses(batch, module.teacher(batch))
    assert tables.levels.abs().max() < 1e-10
    entropy = torch.distributions.Categorical(logits=module.teacher(batch).logits).entropy()
    expected = torch.stack([entropy[batch.domain_ids == d].mean() for d in range(3) if (batch.domain_ids == d).any()])
    torch.testing.assert_close(tables.prediction[tables.prediction > 0], expected)


def test_the_loss_is_ratios_times_tables_plus_prediction(tiny):
    module = distillation(
        tiny, tiny.model(seed=1), tiny.model(width=8), hidden_weight=0.5, prediction_weight=2.0
    ).eval()
    batch = next(iter_batches(tiny))
    output = module(batch)
    tables = output.tables
    levels = torch.cat([tables.hidden[:1], tables.hidden[1:] + tables.attention])
    expected = 0.5 * (tables.ratios * levels).sum() + 2.0 * tables.prediction.mean()
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(tables.ratios.sum(dim=1), torch.ones(3))


def iter_batches(tiny):
    from hrkd.data.batching import MultiDomainLoader

    return MultiDomainLoader(tiny.train, batch_size=4, seed=0).epoch(0)


def test_padding_changes_nothing(tiny):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8)).eval()
    batch = next(iter_batches(tiny))
    longer = copy.deepcopy(batch)
    for name, fill in (("input_ids", 0), ("attention_mask", 0), ("token_type_ids", 0)):
        if name in longer.inputs:
            longer.inputs[name] = torch.nn.functional.pad(longer.inputs[name], (0, 5), value=fill)
    torch.testing.assert_close(module(longer).loss, module(batch).loss, rtol=1e-5, atol=1e-5)


def test_gradient_reaches_student_and_fit_layers_and_nothing_else(tiny):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8))
    module(next(iter_batches(tiny))).loss.backward()
    without = [
        n for n, p in module.named_parameters() if p.requires_grad and (p.grad is None or p.grad.abs().max() == 0)
    ]
    assert without == []
    assert all(not p.requires_grad for p in module.ratios.parameters())
    assert all(not p.requires_grad for p in module.teacher.teacher.parameters())


def test_ratio_gradient_is_a_switch(tiny):
    gradients = []
    for switch in (False, True):
        module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), ratio_gradient=switch).eval()
        torch.manual_seed(0)
        for p in module.ratios.parameters():
            torch.nn.init.normal_(p)
        torch.manual_seed(0)
        torch.nn.init.normal_(module.fit.weight)
        module(next(iter_batches(tiny))).loss.backward()
        gradients.append(module.fit.weight.grad)
    assert not torch.allclose(*gradients)


def test_distilling_brings_the_student_to_the_teacher(tiny, tmp_path):
    teacher, student = tiny.model(seed=1), tiny.model(width=8)
    fine_tune(
        teacher, tiny.train, tiny.dev, epochs=1, learning_rate=1e-3, batch_size=4, accelerator=Accelerator(cpu=True)
    )
    options = {"epochs": 4, "learning_rate": 3e-3, "batch_size": 4, "accelerator": Accelerator(cpu=True)}
    history = distill_from_models(teacher, student, tiny.train, tiny.dev, metrics=tmp_path, **options)
    losses = [epoch["loss"] for epoch in history.epochs]
    assert losses[-1] < 0.7 * losses[0]
    steps = pd.read_parquet(tmp_path / "steps")
    assert steps["step"].tolist() == list(range(1, len(steps) + 1))
    levels = pd.read_parquet(tmp_path / "levels")
    assert set(levels["level"]) == {0, 1, 2}
    assert set(levels["domain"]) == set(tiny.splits.domains)
    sums = levels.groupby(["step", "level"])["ratio"].sum()
    assert sums.sub(1).abs().max() < 1e-5
    assert levels.loc[levels["level"] == 0, "attention"].isna().all()
    hierarchy = pd.read_parquet(tmp_path / "hierarchy")
    assert (hierarchy["from_level"] <= hierarchy["level"]).all()
    assert hierarchy.groupby(["step", "level", "domain"], observed=True)["ratio"].sum().sub(1).abs().max() < 1e-5


def test_a_student_with_other_heads_than_its_teacher_is_distilled(tiny):
    teacher, student = tiny.model(heads=4, seed=1), tiny.model(width=8, heads=2)
    options = {"epochs": 2, "learning_rate": 3e-3, "batch_size": 4}
    history = distill_from_models(teacher, student, tiny.train, tiny.dev, **options)
    assert history.epochs[1]["loss"] < history.epochs[0]["loss"]


def test_the_same_seed_gives_the_same_student(tiny):
    states = []
    for _ in range(2):
        student = tiny.model(width=8)
        distill_from_models(tiny.model(seed=1), student, tiny.train, tiny.dev, epochs=1, batch_size=4, seed=3)
        states.append(student.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_models_of_other_domains_or_labels_are_errors(tiny):
    from hrkd.models.scratch import new_teacher

    options = {"layers": 1, "width": 8, "heads": 2, "feed_forward": 8}
    common = {"vocabulary_size": len(tiny.tokenizer), "heads": "shared", "max_tokens": 32}
    other = new_teacher(options, domains=("x", "y", "z"), labels=tiny.splits.labels, **common)
    with pytest.raises(DataError, match="the model serves the domains x, y, z"):
        distill_from_models(other, tiny.model(), tiny.train, tiny.dev)
    other = new_teacher(options, domains=tiny.splits.domains, labels=("bad", "good"), **common)
    with pytest.raises(ModelError, match="differ in labels"):
        distill_from_models(other, tiny.model(), tiny.train, tiny.dev)
