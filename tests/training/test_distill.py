import copy
import json
from contextlib import nullcontext
from dataclasses import replace

import pandas as pd
import pytest
import torch
from accelerate import Accelerator

from hrkd.data.batching import Batch
from hrkd.errors import DataError, ModelError, TrainingError
from hrkd.method import losses
from hrkd.method.fit_layers import FitLayers
from hrkd.method.ratios import Ratios
from hrkd.models.dropout import without_dropout
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.trace import choose_attention, set_attention
from hrkd.recipe.schema import CacheConfig, MethodConfig
from hrkd.support.caches import cached_folders
from hrkd.training.distill import Distillation
from hrkd.training.live_teacher import LiveTeacher
from hrkd.training.loop import parameter_groups
from hrkd.training.selection import last_epoch
from tiny import FAMILIES, batches_of, distil, domain_ids, method_of, ratios_of, tiny_batch, tiny_model, tune


def distillation(tiny, teacher, student, layer_map=(0, 1, 2), **options):
    for model in (teacher, student):
        set_attention(model.encoder, "scores")
    teacher_width, width = teacher.encoder.config.hidden_size, student.encoder.config.hidden_size
    levels = len(layer_map)
    ratios = ratios_of(levels, 3, teacher_width, graph_heads=2, graph_width="hidden")
    fit = FitLayers(levels, width, teacher_width, basis=options.pop("basis", None))
    reader = LiveTeacher(teacher, layer_map, attention="scores")
    return Distillation(student, fit, ratios, reader, method_of(options), **options)


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
    return batches_of(tiny.train)


def test_padding_changes_nothing(tiny):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8)).eval()
    batch = next(iter_batches(tiny))
    longer = copy.deepcopy(batch)
    for name, fill in (("input_ids", 0), ("attention_mask", 0), ("token_type_ids", 0)):
        if name in longer.inputs:
            longer.inputs[name] = torch.nn.functional.pad(longer.inputs[name], (0, 5), value=fill)
    torch.testing.assert_close(module(longer).loss, module(batch).loss, rtol=1e-5, atol=1e-5)


def test_leaving_padding_out_changes_neither_losses_nor_gradients(tiny, monkeypatch):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8)).eval()
    module.row_weights = torch.linspace(0.5, 2, len(tiny.train))
    batch, found = next(iter_batches(tiny)), []
    assert batch.mask.float().mean() < 1
    for share in (0.0, 1.1):
        monkeypatch.setattr(losses, "WORTH_PICKING", share)
        tables = module.losses(batch, module.teacher(batch))
        (tables.hidden * torch.rand(tables.hidden.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
        found.append([tables.hidden.detach(), *(p.grad for p in module.parameters() if p.grad is not None)])
        module.zero_grad()
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


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
    tune(teacher, tiny.train, tiny.dev, epochs=1, learning_rate=1e-3, batch_size=4, accelerator=Accelerator(cpu=True))
    options = {"epochs": 8, "learning_rate": 3e-3, "batch_size": 4, "accelerator": Accelerator(cpu=True)}
    history = distil(teacher, student, tiny.train, tiny.dev, metrics=tmp_path, **options)
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
    history = distil(teacher, student, tiny.train, tiny.dev, **options)
    assert history.epochs[1]["loss"] < history.epochs[0]["loss"]


def test_the_same_seed_gives_the_same_student(tiny):
    states = []
    for _ in range(2):
        student = tiny.model(width=8)
        distil(tiny.model(seed=1), student, tiny.train, tiny.dev, epochs=1, batch_size=4, seed=3)
        states.append(student.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("dropout", [False, True])
def test_without_dropout_a_student_equal_to_its_teacher_has_nothing_to_learn(tiny, dropout):
    teacher = tiny.model()
    student = copy.deepcopy(teacher)
    alone = {"prediction_weight": 0, "graph": "uniform", "hierarchy": "none", "evaluate": last_epoch}
    few = {"epochs": 1, "learning_rate": 1e-9, "student_dropout": dropout, "basis": torch.eye(16)}
    history = distil(teacher, student, tiny.train, tiny.dev, **alone, **few)
    assert (history.epochs[0]["loss"] < 1e-6) is not dropout
    assert student.encoder.config.hidden_dropout_prob == 0.1
    assert {module.p for module in student.modules() if isinstance(module, torch.nn.Dropout)} == {0.1}


def test_models_of_other_domains_or_labels_are_errors(tiny):
    from hrkd.models.scratch import new_teacher

    options = {"layers": 1, "width": 8, "heads": 2, "feed_forward": 8}
    common = {"vocabulary_size": len(tiny.tokenizer), "heads": "shared", "max_tokens": 32}
    other = new_teacher(options, domains=("x", "y", "z"), labels=tiny.splits.labels, **common)
    with pytest.raises(DataError, match="the model serves the domains x, y, z"):
        distil(other, tiny.model(), tiny.train, tiny.dev)
    other = new_teacher(options, domains=tiny.splits.domains, labels=("bad", "good"), **common)
    with pytest.raises(ModelError, match="differ in labels"):
        distil(other, tiny.model(), tiny.train, tiny.dev)


def family_distillation(family, teacher, student, wanted, **options):
    kind = choose_attention(wanted, teacher.encoder, student.encoder)
    for model in (teacher, student):
        set_attention(model.encoder, kind)
    layers = [model.encoder.config.num_hidden_layers for model in (student, teacher)]
    widths = [model.encoder.config.hidden_size for model in (student, teacher)]
    levels = resolve_layer_map("uniform", *layers)
    ratios = ratios_of(len(levels), 3, widths[1], graph_heads=2)
    reader = LiveTeacher(teacher, levels, attention=kind)
    module = Distillation(
        student, FitLayers(len(levels), *widths, **options), ratios, reader, MethodConfig(preset="published")
    )
    batch = Batch(tiny_batch(family), domain_ids(), torch.zeros(6, dtype=torch.long), torch.arange(6))
    return module.train(), batch


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_distilled(family):
    teacher, student = tiny_model(family, layers=2, seed=1), tiny_model(family, layers=1, width=16, feed_forward=24)
    module, batch = family_distillation(family, teacher, student, "auto")
    loss = module(batch).loss
    loss.backward()
    assert loss.isfinite()
    for part in (module.student, module.fit):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_probabilities_are_compared_without_dropout(family):
    teacher = tiny_model(family, layers=1)
    student = copy.deepcopy(teacher)
    rates = []
    for name, module in student.named_modules():
        if isinstance(module, torch.nn.Dropout):
            if name.endswith("self.dropout"):
                rates.append(module.p)
            else:
                module.p = 0.0  # that of states may change the attention
    module, batch = family_distillation(family, teacher, student, "probabilities", basis=torch.eye(32))
    tables = module.losses(batch, module.teacher(batch))
    assert rates == [0.1]
    assert student.training
    assert tables.attention.abs().max() < 1e-12
    assert tables.hidden[0].abs().max() < 1e-10


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_tables_are_in_single_precision_under_autocast(tiny, half):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8)).eval()
    batch = tiny.train.batch(range(12))
    expected = module(batch)
    with torch.autocast("cpu", half):
        assert {scores.dtype for scores in module.teacher(batch).attention} == {half}
        tables = module.losses(batch, module.teacher(batch))
        output = module(batch)
    for name, table in [*vars(tables).items(), *vars(output.tables).items()]:
        assert table is None or table.dtype == torch.float32, name
    torch.testing.assert_close(output.tables.hidden, expected.tables.hidden, rtol=0.05, atol=0.01)
    torch.testing.assert_close(output.loss, expected.loss, rtol=0.05, atol=0.01)


def test_ratios_learn_when_asked(tiny):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), learning="joint")
    groups = parameter_groups(module, 0.01)
    optimiser = torch.optim.SGD([p for group in groups for p in group["params"]], lr=1e6)
    trained = {id(p) for group in optimiser.param_groups for p in group["params"]}
    before = {name: p.detach().clone() for name, p in module.ratios.named_parameters()}
    module(next(iter_batches(tiny))).loss.backward()
    optimiser.step()
    assert len(before) == 8
    for name, parameter in module.ratios.named_parameters():
        assert id(parameter) in trained, name
        for level in (1, 2):
            assert parameter.grad[level].abs().max() > 0, (name, level)
            assert not torch.equal(parameter[level], before[name][level]), (name, level)


@pytest.mark.parametrize("learning", ["fixed", "joint", "meta"])
def test_ratios_of_ones_own_are_used_and_trained_only_if_asked(tiny, learning):
    ratios = ratios_of(3, 3, 16, hierarchy="none", graph_heads=1)
    before = copy.deepcopy(ratios.state_dict())
    calls = []
    ratios.register_forward_hook(lambda *_: calls.append(1))
    student = tiny.model(width=8)
    options = {"ratios": ratios, "learning": learning, "meta_interval": 2, "epochs": 1, "batch_size": 4}
    distil(tiny.model(seed=1), student, tiny.train, tiny.dev, **options)
    assert calls
    changed = {name for name, tensor in ratios.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == (set() if learning == "fixed" else set(before))
    assert not student.training


def test_joint_learning_moves_weight_to_what_is_easiest(tiny):
    """Why it is an ablation: see docs/method.md."""
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), learning="joint", entropy_weight=0.0)
    module.ratios = ratios_of(3, 3, 16, graph="relational", graph_dropout=0.0, hierarchy="none")
    batch = next(iter_batches(tiny))
    optimiser = torch.optim.Adam(module.ratios.parameters(), lr=0.01)
    for _ in range(100):
        optimiser.zero_grad()
        output = module.eval()(batch)
        output.loss.backward()
        optimiser.step()
    tables = output.tables
    levels = torch.cat([tables.hidden[:1], tables.hidden[1:] + tables.attention])
    assert torch.equal(tables.ratios.argmax(dim=1), levels.argmin(dim=1))
    assert tables.ratios.max(dim=1).values.min() > 0.5


def test_entropy_holds_back_joint_learning(tiny):
    """With a weight w of the entropy, ratios end at softmax(-losses / w)."""
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), learning="joint", entropy_weight=0.5).eval()
    module.ratios = ratios_of(3, 3, 16, graph="relational", graph_dropout=0.0, hierarchy="none")
    batch = next(iter_batches(tiny))
    optimiser = torch.optim.Adam(module.ratios.parameters(), lr=0.01)
    for _ in range(200):
        optimiser.zero_grad()
        output = module(batch)
        output.loss.backward()
        optimiser.step()
    tables = output.tables
    levels = torch.cat([tables.hidden[:1], tables.hidden[1:] + tables.attention])
    torch.testing.assert_close(tables.ratios, (-levels / 0.5).softmax(dim=1), rtol=0, atol=0.01)


@pytest.mark.parametrize("kind", ["scores", "queries_keys"])
def test_relative_losses_know_no_unit(tiny, kind):
    """A teacher whose states are ten times as large, and its fitted student too: the same shares."""
    found = []
    for factor in (1, 10):
        torch.manual_seed(0)
        module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), relative=True).eval()
        module.attention = module.teacher.attention = kind
        for model in (module.student, module.teacher.teacher):
            set_attention(model.encoder, kind)
        said = module.teacher
        module.teacher = lambda batch, said=said, factor=factor: replace(
            said(batch), hidden_states=tuple(factor * each for each in said(batch).hidden_states)
        )
        with torch.no_grad():
            module.fit.weight.mul_(factor)
        batches = list(iter_batches(tiny))
        tables = [module(batch).tables for batch in batches[:2]]
        found.append(torch.stack([torch.cat([table.hidden, table.attention]) for table in tables]))
        levels = module.teacher(batches[0]).hidden_states
        valid = batches[0].mask.bool()
        expected = torch.stack([each[valid].var(dim=0, correction=0).mean() for each in levels])
        torch.testing.assert_close(module.loss_units[0], expected)
    torch.testing.assert_close(found[0], found[1])


def test_units_are_measured_anew_where_a_step_is_made_in_parts(tiny, monkeypatch):
    """Else they would be the zeros that they were before it."""
    whole, calls = Distillation.sums, []

    def counted(module, batch, teacher):
        found = whole(module, batch, teacher)
        calls.append(len(batch.labels))
        return found

    def fails_once(module, batch):
        output = forward(module, batch)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("out of memory")
        return output

    forward = Distillation.forward
    monkeypatch.setattr(Distillation, "sums", counted)
    monkeypatch.setattr(Distillation, "forward", fails_once)
    history = distil(tiny.model(seed=1), tiny.model(width=8), tiny.train, tiny.dev, epochs=1, relative=True)
    assert calls[1] < calls[0]
    assert history.epochs[0]["loss"] > 0


def test_what_is_looked_at_first_has_the_dropout_of_the_steps(tiny):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), student_dropout=True).train()
    batches, seen = list(iter_batches(tiny))[:2], []
    whole = module.sums

    def noted(batch, teacher):
        found = whole(batch, teacher)
        seen.append(found["hidden"].total.detach())
        return found

    module.sums = noted
    module.begin_update(batches)
    for batch in batches:
        module(batch)
    looked, stepped = seen[:2], seen[2:]
    assert all(torch.equal(one, other) for one, other in zip(looked, stepped, strict=True))
    module.begin_update(batches)
    assert not torch.equal(seen[-1], looked[-1]), "or there would be none"


@pytest.mark.parametrize("dropout", [False, True])
def test_a_graph_draws_anew_in_every_update_of_several_batches(tiny, dropout):
    """Also where the student draws nothing."""
    method = {"graph": "random", "hierarchy": "none", "student_dropout": dropout}
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), **method).train()
    batches, ratios = list(iter_batches(tiny))[:2], []
    with without_dropout(module.student) if not dropout else nullcontext():
        for _ in range(3):
            module.begin_update(batches)
            looked = [module(batch).tables.ratios for batch in batches]
            assert torch.equal(*looked), "and all batches of an update have the same"
            ratios.append(looked[0])
    assert not torch.equal(ratios[0], ratios[1])
    assert not torch.equal(ratios[1], ratios[2])


def test_a_student_that_gives_the_mean_everywhere_has_a_relative_loss_of_one(tiny):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), relative=True).eval()
    batch = next(iter_batches(tiny))
    valid = batch.mask.bool()
    with torch.no_grad():
        module.fit.weight.zero_()
        for bias, level in zip(module.fit.bias, module.teacher(batch).hidden_states, strict=True):
            bias.copy_(level[valid].mean(dim=0))
    tokens = torch.stack([valid[batch.domain_ids == d].sum() for d in range(3)])
    hidden = module(batch).tables.hidden
    torch.testing.assert_close((hidden * tokens).sum(dim=1) / tokens.sum(), torch.ones(3))


def test_without_weight_no_level_is_looked_at(tiny, tmp_path):
    student, states = tiny.model(width=8), []
    student.encoder.register_forward_hook(lambda _, __, out: states.append(out.hidden_states))
    options = {"hidden_weight": 0.0, "epochs": 2, "batch_size": 4, "cache": CacheConfig(folder=tmp_path)}
    history = distil(tiny.model(seed=1), student, tiny.train, tiny.dev, **options)
    assert history.epochs[1]["loss"] < history.epochs[0]["loss"]
    assert set(states) == {None}
    ((folder, _),) = cached_folders(tmp_path)
    assert json.loads((folder / "index.json").read_text())["width"] == 0, "logits alone"


def test_without_weight_the_objective_is_the_prediction_loss(tiny):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), hidden_weight=0.0, prediction_weight=2.0)
    output = module.eval()(next(iter_batches(tiny)))
    torch.testing.assert_close(output.loss, 2 * output.tables.prediction.mean())
    assert output.tables.hidden.isnan().all()
    output.loss.backward()
    assert all(p.grad is not None for p in module.student.heads.parameters())
    assert all(p.grad is None for p in (*module.fit.parameters(), *module.ratios.parameters()))


def test_labels_are_part_of_the_prediction_loss(tiny):
    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8), label_weight=0.5).eval()
    batch = next(iter_batches(tiny))
    batch = replace(batch, labels=batch.labels.index_fill(0, torch.tensor([0]), -1))
    logits, said = module.student(**batch.inputs, domain_ids=batch.domain_ids).logits, module.teacher(batch).logits
    expected = []
    for domain in range(3):
        rows = [row for row in range(len(batch.labels)) if batch.domain_ids[row] == domain]
        soft = torch.stack([-(said[row].softmax(0) * logits[row].log_softmax(0)).sum() for row in rows]).mean()
        known = [row for row in rows if batch.labels[row] >= 0]
        hard = torch.stack([-logits[row].log_softmax(0)[batch.labels[row]] for row in known]).sum()
        expected.append(soft + 0.5 * hard / len(rows))
    torch.testing.assert_close(module(batch).tables.prediction, torch.stack(expected))
    torch.testing.assert_close(sum(module.prediction_losses([batch])), torch.stack(expected))


def test_a_label_weight_without_a_label_is_refused(tiny):
    bare = tiny.unlabelled("one", "two", "three")
    with pytest.raises(TrainingError, match="label_weight: no row of the training set has a label"):
        distil(tiny.model(seed=1), tiny.model(width=8), bare, tiny.dev, label_weight=1.0)


def test_two_calls_are_two_stages(tiny, caplog):
    caplog.set_level("INFO", logger="hrkd.training")
    teacher, student = tiny.model(seed=1), tiny.model(width=8)
    options = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "weight_decay": 0.0}
    start = copy.deepcopy(student)
    levels = distil(teacher, student, tiny.train, tiny.dev, prediction_weight=0.0, evaluate=last_epoch, **options)
    assert "loss" in caplog.text
    assert "dev" not in caplog.text
    assert levels.best_epoch == 2
    assert [set(entry) for entry in levels.epochs] == [{"epoch", "loss", "selection", "seconds"}] * 2, "no dev scores"
    assert levels.epochs[1]["loss"] < levels.epochs[0]["loss"]
    assert same(student.heads, start.heads)
    assert not same(student.encoder, start.encoder)
    first = copy.deepcopy(student)
    second = {"hidden_weight": 0.0, "graph": "uniform", "learning": "fixed"}
    logits = distil(teacher, student, tiny.train, tiny.dev, **second, **options)
    assert f"dev/{tiny.dev.source.domains[0]}" in logits.epochs[0]
    assert not same(student.heads, first.heads)


def test_the_last_epoch_is_the_one_that_is_kept(tiny):
    teacher, kept = tiny.model(seed=1), []
    for epochs, evaluate in ((1, last_epoch), (3, last_epoch), (3, None)):
        student = tiny.model(width=8)
        options = {"epochs": epochs, "batch_size": 4, "learning_rate": 1e-9}
        history = distil(teacher, student, tiny.train, tiny.dev, evaluate=evaluate, **options)
        kept.append(history.best_epoch)
    assert kept == [1, 3, 1], "the dev score never rises here"


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"graph": "relational"}, "the relational graph starts at uniform ratios"),
        ({"graph": "uniform", "learning": "meta"}, "graph: uniform has nothing to be learnt"),
        (
            {"preset": "recommended", "learning": "meta"},
            r"graph: uniform \(of preset: recommended\) has nothing to be learnt",
        ),
        ({"hidden_weight": 0.0, "learning": "joint"}, "whose hidden_weight is 0"),
        ({"hidden_weight": 0.0, "prediction_weight": 0.0}, "nothing would be distilled"),
        ({"prediction_weight": 0.0, "label_weight": 1.0}, "label_weight: is part of the prediction loss"),
        ({"hidden_weight": 0.0, "domain_weights": {"books": 2.0}}, "domain_weights: weigh the levels' losses"),
    ],
)
def test_choices_that_rule_each_other_out_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        MethodConfig(**{"preset": "published"} | choices)


def test_domains_count_as_their_weights_say(tiny, tmp_path):
    teacher, (first, *others) = tiny.model(seed=1), tiny.train.source.domains
    options = {"graph": "uniform", "epochs": 1, "batch_size": 4, "metrics": tmp_path}
    distil(teacher, tiny.model(width=8), tiny.train, tiny.dev, domain_weights={first: 2 * len(others)}, **options)
    ratios = pd.read_parquet(tmp_path / "levels").groupby("domain", observed=True)["ratio"].agg(["min", "max"])
    assert ratios.loc[first].tolist() == pytest.approx([2 / 3, 2 / 3])
    with pytest.raises(DataError, match=r"domain_weights: no domain is called 'cars'; there are: "):
        distil(teacher, tiny.model(width=8), tiny.train, tiny.dev, domain_weights={"cars": 2.0}, **options)


def test_models_are_put_back_after_a_failure(tiny):
    teacher, student = tiny.model(seed=1), tiny.model(width=8)
    with pytest.raises(TrainingError, match="not finite"):
        distil(teacher, student, tiny.train, tiny.dev, batch_size=4, learning_rate=1e30, warmup=0.0)
    for model in (teacher, student):
        assert model.encoder.config._attn_implementation == "sdpa"
        assert not model.training


def test_public_code_reductions_train_over_padding_to_the_longest_input(tiny):
    lengths = {"public_code": set(), "masked": set()}
    for reductions, seen in lengths.items():
        teacher = tiny.model(seed=1)
        hook = {"with_kwargs": True}
        teacher.register_forward_pre_hook(lambda _, __, k, seen=seen: seen.add(k["input_ids"].shape[1]), **hook)
        options = {"epochs": 1, "batch_size": 4, "reductions": reductions}
        distil(teacher, tiny.model(width=8), tiny.train, tiny.dev, **options)
    assert lengths["public_code"] == {32}
    assert max(lengths["masked"]) <= 24


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reader_is_shortened_only_where_that_changes_nothing(family):
    teacher, batch = (
        tiny_model(family, layers=3),
        Batch(tiny_batch(family), domain_ids(), torch.zeros(6), torch.arange(6)),
    )
    kind = choose_attention("auto", teacher.encoder)
    short = LiveTeacher(teacher, (0, 2, 1), attention=kind).without_logits(batch)
    if short is None:
        assert family == "modernbert", "a norm after the last layer"
    else:
        expected = LiveTeacher(teacher, (0, 2, 1), attention=kind)(batch)
        found = short(batch)
        for one, other in zip(found.hidden_states, expected.hidden_states, strict=True):
            torch.testing.assert_close(one, other)
        assert len(found.attention) == 2
    assert LiveTeacher(teacher, (0, 1, 3), attention=kind).without_logits(batch) is None


def test_prototypes_move_as_a_bias_corrected_average(tiny):
    seen = []

    class Watched(torch.nn.Module):
        def forward(self, prototypes):
            seen.append(prototypes)
            return Ratios(torch.full(prototypes.shape[:2], 1 / 3), torch.zeros(3, 3, 3))

    module = distillation(tiny, tiny.model(seed=1), tiny.model(width=8).eval(), prototype_momentum=0.8)
    module.student.eval()
    module.ratios = Watched()
    module.train()
    module.student.eval()
    batches = [batch for batch, _ in zip(iter_batches(tiny), range(3), strict=False)]
    own = [module.prototypes(module.sums(batch, module.teacher(batch))) for batch in batches]
    for batch in batches:
        module(batch)
    expected = (0.8**2 * own[0] + 0.8 * own[1] + own[2]) / (0.8**2 + 0.8 + 1)
    torch.testing.assert_close(seen[0], own[0])
    torch.testing.assert_close(seen[2], expected)
    torch.testing.assert_close(module.steady(own[0]), expected)
    module.eval()
    module(batches[0])
    torch.testing.assert_close(seen[3], own[0])
    torch.testing.assert_close(module.steady(own[0]), expected, msg="measuring moves nothing")
