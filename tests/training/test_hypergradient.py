import copy

import pytest
import torch
from torch import nn

from hrkd.data.batching import Batch
from hrkd.method.fit_layers import FitLayers
from hrkd.models.trace import choose_attention, set_attention
from hrkd.recipe.schema import MethodConfig
from hrkd.training import hypergradient
from hrkd.training.distill import Distillation
from hrkd.training.hypergradient import directional_derivatives, preconditioned, ratio_gradients
from hrkd.training.live_teacher import LiveTeacher
from hrkd.training.loop import parameter_groups
from hrkd.training.selection import DevAccuracy
from tiny import FAMILIES, batches_of, distil, domain_ids, method_of, ratios_of, tiny_batch, tiny_model

LEVELS = (0, 1, 2)


def distillation(tiny, kind, **options):
    torch.manual_seed(0)
    teacher, student = tiny.model(seed=1), tiny.model(width=8)
    for model in (teacher, student):
        set_attention(model.encoder, kind)
    graph = {"graph": "relational", "graph_heads": 2, "graph_dropout": 0.0, "hierarchy": "none"}
    ratios = ratios_of(3, 3, 16, **graph)
    nn.init.normal_(ratios.graph.readout)
    reader = LiveTeacher(teacher, LEVELS, attention=kind)
    method = method_of({"learning": "meta", "entropy_weight": 0.0, **options})
    return Distillation(student, FitLayers(3, 8, 16), ratios, reader, method, attention=kind)


def two_batches(tiny):
    batches = batches_of(tiny.train)
    return next(batches), next(batches)


def slow_effects(module, support, query, precondition):
    """The table by reverse mode: one backward pass for every entry."""
    student = [p for p in module.student.parameters() if p.requires_grad]
    loss = module.losses(query, module.teacher(query)).prediction.mean()
    direction = precondition(torch.autograd.grad(loss, student, materialize_grads=True))
    effects = torch.zeros(3, 3)
    for k in range(3):
        for d in range(3):
            single = module.losses(support, module.teacher(support)).levels[k, d]
            gradients = torch.autograd.grad(single, student, materialize_grads=True)
            effects[k, d] = sum((g * v).sum() for g, v in zip(gradients, direction, strict=True))
    return effects


def slow_gradients(module, support, query, precondition, *, entropy_weight=0.0, prototypes=None):
    """Gradients of the ratios' parameters from that table."""
    effects = slow_effects(module, support, query, precondition)
    effects = effects / effects.square().mean().sqrt()
    if prototypes is None:
        prototypes = module.prototypes(module.sums(support, module.teacher(support)))
    module.ratios.requires_grad_(True)
    ratios = module.ratios(prototypes).domains
    surrogate = (ratios * (entropy_weight * ratios.log() - effects)).sum()
    return torch.autograd.grad(surrogate, list(module.ratios.parameters()))


def as_it_is(gradients):
    return gradients


@pytest.mark.parametrize("kind", ["scores", "queries_keys", "none"])
def test_one_forward_pass_gives_what_reverse_mode_gives_entry_by_entry(tiny, kind):
    module = distillation(tiny, kind).eval()
    support, query = two_batches(tiny)
    expected = slow_effects(module, support, query, as_it_is)
    named = dict(module.student.named_parameters())
    loss = sum(module.prediction_losses([query])).mean()
    direction = dict(zip(named, torch.autograd.grad(loss, named.values(), materialize_grads=True), strict=True))
    effects, _ = hypergradient._effects(module, [support], direction)
    torch.testing.assert_close(effects, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    found = ratio_gradients(module, [support], [query], torch.optim.SGD(module.student.parameters()))
    expected = slow_gradients(module, support, query, as_it_is)
    assert len(found) == len(expected)
    for one, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_ratios_have_their_entropy_and_are_those_of_the_moving_average(tiny, momentum):
    module = distillation(tiny, "queries_keys", entropy_weight=0.7, prototype_momentum=momentum).eval()
    support, query = two_batches(tiny)
    steady = None
    if momentum:
        module.prototype_average.normal_()
        module.prototype_steps.fill_(3)
        steady = module.prototype_average / (1 - 0.8**3)
    found = ratio_gradients(module, [support], [query], torch.optim.SGD(module.student.parameters()))
    expected = slow_gradients(module, support, query, as_it_is, entropy_weight=0.7, prototypes=steady)
    for one, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_the_direction_is_that_of_the_optimiser(tiny):
    module = distillation(tiny, "queries_keys").eval()
    support, query = two_batches(tiny)
    optimiser = torch.optim.AdamW(module.student.parameters(), lr=1e-3, betas=(0.9, 0.98))
    for _ in range(3):
        module(support).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    def adam(gradients):
        roots = []
        for parameter in module.student.parameters():
            state = optimiser.state.get(parameter, {})
            seen = "exp_avg_sq" in state
            roots.append((state["exp_avg_sq"] / (1 - 0.98**3)).sqrt() + 1e-8 if seen else torch.ones(()))
        return [gradient / root for gradient, root in zip(gradients, roots, strict=True)]

    found = ratio_gradients(module, [support], [query], optimiser)
    for one, other in zip(found.values(), slow_gradients(module, support, query, adam), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_forward_derivatives(family):
    teacher, student = tiny_model(family, layers=2, seed=1), tiny_model(family, layers=2, width=16, feed_forward=24)
    kind = choose_attention("auto", teacher.encoder, student.encoder, factored=True)
    set_attention(student.encoder, kind)
    reader = LiveTeacher(teacher, LEVELS, attention=kind)
    ratios = ratios_of(3, 3, 32, graph="relational", graph_dropout=0.0, hierarchy="none")
    nn.init.normal_(ratios.graph.readout)
    module = Distillation(
        student, FitLayers(3, 16, 32), ratios, reader, MethodConfig(preset="published", learning="meta"), attention=kind
    ).train()
    support, query = (
        Batch(tiny_batch(family, seed=seed), domain_ids(), torch.zeros(6, dtype=torch.long), torch.arange(6))
        for seed in (0, 1)
    )
    found = ratio_gradients(module, [support], [query], torch.optim.SGD(student.parameters()))
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert found["graph.readout"].abs().max() > 0


def test_a_parameter_that_was_never_updated_keeps_its_gradient():
    module, gradient = nn.Linear(2, 1), torch.ones(1, 2)
    found = preconditioned({"weight": gradient}, module, torch.optim.Adam(module.parameters()))
    assert found["weight"] is gradient


def test_a_step_along_the_gradients_lowers_the_query_loss_of_the_next_student(tiny):
    """What it is for: the loss on the query after a student's step, as a function of the ratios, goes down."""
    module = distillation(tiny, "queries_keys").eval()
    support, query = two_batches(tiny)

    def query_loss_after_a_step():
        student = copy.deepcopy(module)
        optimiser = torch.optim.SGD(student.student.parameters(), lr=1e-3)
        tables = student.losses(support, student.teacher(support))
        prototypes = student.prototypes(student.sums(support, student.teacher(support)))
        (student.ratios(prototypes).domains.detach() * tables.levels).sum().backward()
        optimiser.step()
        with torch.no_grad():
            return student.losses(query, student.teacher(query)).prediction.mean().double().item()

    before = query_loss_after_a_step()
    gradients = ratio_gradients(module, [support], [query], torch.optim.SGD(module.student.parameters()))
    with torch.no_grad():
        for name, parameter in module.ratios.named_parameters():
            parameter -= 0.3 * gradients[name] / max(1e-12, float(gradients[name].norm()))
    assert query_loss_after_a_step() < before


def test_the_student_is_left_as_it_is(tiny):
    module = distillation(tiny, "queries_keys").train()
    before, drawn = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    ratio_gradients(module, *([each] for each in two_batches(tiny)), torch.optim.SGD(module.student.parameters()))
    assert module.student.training
    assert torch.equal(torch.get_rng_state(), drawn), "no dropout is drawn"
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in module.parameters())


def test_derivatives_of_a_table_along_a_direction():
    at, along = {"x": torch.tensor([2.0, 3.0])}, {"x": torch.tensor([1.0, -1.0])}
    values, found = directional_derivatives(
        lambda named: {"f": torch.stack([named["x"].prod(), named["x"][0] ** 2])}, at, along
    )
    torch.testing.assert_close(values["f"], torch.tensor([6.0, 4.0]))
    torch.testing.assert_close(found["f"], torch.tensor([3.0 - 2.0, 4.0]))


def test_meta_learning_has_a_learning_rate_of_its_own_and_no_share_in_clipping(tiny):
    module = distillation(tiny, "queries_keys", ratio_learning_rate=0.5)
    groups = parameter_groups(module, 0.01)
    assert groups[-1]["lr"] == 0.5
    own = {id(p) for p in module.ratios.parameters()}
    assert {id(p) for p in groups[-1]["params"]} == own
    assert not own & {id(p) for group in groups[:-1] for p in group["params"]}
    assert all(not p.requires_grad for p in module.ratios.parameters())


def looked_at(module, monkeypatch):
    """Pairs of batches that a module's meta learning looks at, as they come."""
    looked = []

    def noted(_, support, query, __):
        looked.append((support, query))
        return {name: torch.zeros_like(p) for name, p in module.ratios.named_parameters()}

    monkeypatch.setattr("hrkd.training.distill.ratio_gradients", noted)
    return looked


def updates(module, batches):
    for batch in batches:
        module.begin_update([batch])
        module(batch)
        module.before_update(None)


def test_meta_learning_looks_every_few_updates_from_the_batch_before_to_this_one(tiny, monkeypatch):
    module = distillation(tiny, "queries_keys", meta_interval=3).train()
    looked, batches = looked_at(module, monkeypatch), [two_batches(tiny)[n % 2] for n in range(7)]
    updates(module, batches)
    assert len(looked) == 2
    for at, (support, query) in zip((2, 5), looked, strict=True):
        assert support == (batches[at - 1],)
        assert query == (batches[at],)


def test_short_epochs_are_counted_together(tiny, monkeypatch):
    module = distillation(tiny, "queries_keys", meta_interval=5).train()
    looked, batches = looked_at(module, monkeypatch), two_batches(tiny)
    for _ in range(6):
        module.begin_epoch()
        updates(module, batches)
    assert looked == [tuple((each,) for each in batches)] * 2, (
        "after 6 and after 12 of the updates: the first of an epoch has no batch before it"
    )


def test_a_run_with_meta_learning_goes_on_as_if_never_stopped(tiny, tmp_path):
    def run(folder, stop):
        student = tiny.model(width=8)
        ratios = ratios_of(3, 3, 16, graph="relational", graph_heads=2)
        seen = []

        class Watch:
            @staticmethod
            def update(epoch, _):
                seen.append(epoch)
                if stop and len(seen) == 2:
                    raise KeyboardInterrupt

        options = {"learning": "meta", "meta_interval": 2, "epochs": 3, "batch_size": 4, "learning_rate": 1e-3}
        distil(
            tiny.model(seed=1),
            student,
            tiny.train,
            tiny.dev,
            ratios=ratios,
            checkpoint=folder,
            evaluate=DevAccuracy(student, tiny.dev, best_per_domain=Watch()),
            **options,
        )
        return [*student.parameters(), *ratios.parameters()]

    whole = run(tmp_path / "whole", stop=False)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop=True)
    for one, other in zip(run(tmp_path / "cut", stop=False), whole, strict=True):
        torch.testing.assert_close(one, other)
