import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hrkd.errors import ModelError
from hrkd.models.layer_map import uniform_layer_map
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import resolve_shape
from hrkd.models.start.build import build_student
from hrkd.models.start.calibrate import calibrate_norms
from hrkd.models.start.principal import valid_states
from hrkd.models.trace import set_attention
from tiny import FAMILIES, LABELS, domain_ids, tiny_batch, tiny_configs, tiny_model

NARROWED = [family for family in FAMILIES if family != "modernbert"]


def batches(family, count=4):
    return [tiny_batch(family, seed=seed, rows=8) for seed in range(count)]


def narrowed(teacher, family="bert", *, seed=0, rows=None, **sizes):
    shape = resolve_shape(teacher.encoder.config, **sizes)
    return build_student(
        teacher,
        shape,
        start="principal_components",
        layer_map=uniform_layer_map(shape.layers, 3),
        batches=rows or batches(family),
        seed=seed,
    )


def traced(model, family, **options):
    with torch.no_grad():
        return model(**tiny_batch(family, seed=77), domain_ids=domain_ids(), hidden_states=True, **options)


@pytest.mark.parametrize("family", NARROWED)
def test_nothing_is_lost_at_full_size(family):
    teacher = tiny_model(family)
    started = narrowed(teacher, family)
    assert torch.equal(started.basis, torch.eye(32))
    before, after = traced(teacher, family), traced(started.model, family)
    assert torch.allclose(after.logits, before.logits, atol=1e-5)
    for state, expected in zip(after.hidden_states, before.hidden_states, strict=True):
        assert torch.allclose(state, expected, atol=1e-4)


@pytest.mark.parametrize("family", NARROWED)
def test_a_permutation_of_the_residual_axis_changes_no_output(family, monkeypatch):
    order = torch.randperm(32, generator=torch.Generator().manual_seed(3))
    permutation = torch.eye(32, dtype=torch.float64)[:, order]
    monkeypatch.setattr("hrkd.models.start.initialise.principal_components", lambda *_: permutation)
    teacher = tiny_model(family)
    started = narrowed(teacher, family)
    before, after = traced(teacher, family), traced(started.model, family)
    assert torch.allclose(after.logits, before.logits, atol=1e-5)
    valid = tiny_batch(family, seed=77)["attention_mask"].bool()
    for state, expected in zip(after.hidden_states, before.hidden_states, strict=True):
        assert torch.allclose(state[valid], expected[valid][:, order], atol=1e-4)
        assert (state[valid] - expected[valid]).abs().max() > 0.1


@pytest.mark.parametrize("family", NARROWED)
def test_wider_feed_forward_changes_no_output_and_can_learn(family):
    teacher = tiny_model(family)
    model = narrowed(teacher, family, feed_forward=80).model
    assert torch.allclose(traced(model, family).logits, traced(teacher, family).logits, atol=1e-5)
    model.train()(**tiny_batch(family), domain_ids=domain_ids()).logits.square().sum().backward()
    still = [
        name
        for name, parameter in model.encoder.named_parameters()
        if "pos" not in name and parameter.ndim == 2 and 80 in parameter.shape and parameter.grad.abs().sum() == 0
    ]
    assert still == []


@pytest.mark.parametrize("family", NARROWED)
def test_no_weight_of_a_narrow_student_is_random(family):
    teacher = tiny_model(family)
    first, second = (narrowed(teacher, family, seed=seed, layers=2, width=24).model.state_dict() for seed in (0, 1))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert all(torch.isfinite(tensor).all() for tensor in first.values())


@pytest.mark.parametrize("family", NARROWED)
def test_narrow_student_starts_near_the_teacher(family):
    teacher = tiny_model(family)
    started = narrowed(teacher, family, width=24, layers=3)
    shape = resolve_shape(teacher.encoder.config, width=24)
    random = build_student(teacher, shape, start="random", layer_map=(0, 1, 2, 3), seed=0)
    expected = traced(teacher, family).hidden_states
    valid = tiny_batch(family, seed=77)["attention_mask"].bool()

    def explained(model):
        shares = []
        for state, target in zip(traced(model, family).hidden_states, expected, strict=True):
            target = target[valid]
            left = (state[valid] @ started.basis.mT - target).square().sum()
            shares.append(float(1 - left / (target - target.mean(0)).square().sum()))
        return shares

    assert min(explained(started.model)) > 0.6
    assert max(explained(random.model)) < 0.2


def test_wider_students_start_nearer():
    teacher, errors = tiny_model(), []
    for width in (8, 16, 24, 32):
        started = narrowed(teacher, width=width)
        last = traced(started.model, "bert").hidden_states[-1] @ started.basis.mT
        errors.append(float((last - traced(teacher, "bert").hidden_states[-1]).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6


def test_scores_keep_the_teachers_size():
    teacher = tiny_model()
    started = narrowed(teacher, width=24)
    for model in (teacher, started.model):
        set_attention(model.encoder, "scores")
    for scores, expected in zip(
        traced(started.model, "bert", attention=True).attention,
        traced(teacher, "bert", attention=True).attention,
        strict=True,
    ):
        seen = expected.isfinite()
        both = torch.stack([scores[seen], expected[seen]])
        assert torch.corrcoef(both)[0, 1] > 0.5
        assert 0.5 < scores[seen].std() / expected[seen].std() < 1.5


def test_fewer_heads_stand_for_neighbours():
    teacher = tiny_model()
    with torch.no_grad():  # heads 0 and 1 look at the same, and so do 2 and 3; what they say stays their own
        for layer in teacher.encoder.encoder.layer:
            for part in (layer.attention.self.query, layer.attention.self.key):
                for tensor in (part.weight, part.bias):
                    by_head = tensor.view(4, 8, -1)
                    by_head[[1, 3]] = by_head[[0, 2]]
    started = narrowed(teacher, heads=2)
    assert torch.allclose(traced(started.model, "bert").logits, traced(teacher, "bert").logits, atol=1e-5)


def test_fewer_heads_have_the_mean_scores_that_the_attention_loss_compares_them_with():
    teacher = tiny_model()
    started = narrowed(teacher, heads=2)
    for model in (teacher, started.model):
        set_attention(model.encoder, "scores")
    of_student, of_teacher = (traced(model, "bert", attention=True).attention for model in (started.model, teacher))
    expected = of_teacher[0].unflatten(1, (2, 2)).mean(2)
    seen = expected.isfinite()
    assert torch.allclose(of_student[0][seen], expected[seen], atol=1e-5)


def test_narrower_feed_forward_keeps_the_neurons_that_matter():
    teacher = tiny_model()
    with torch.no_grad():
        for layer in teacher.encoder.encoder.layer:
            layer.output.dense.weight[:, ::2] = 0
    started = narrowed(teacher, feed_forward=24)
    assert torch.allclose(traced(started.model, "bert").logits, traced(teacher, "bert").logits, atol=1e-5)


def test_calibration_is_the_least_squares_fit():
    teacher = tiny_model().encoder
    student = narrowed(tiny_model(), width=16, layers=1).model.encoder
    rows, basis = batches("bert"), torch.eye(32, dtype=torch.float64)[:, :16]
    norms = {1: "encoder.layer.0.output.LayerNorm"}
    calibrate_norms(student, teacher, rows, layer_map=(0, 3), norms=norms, basis=basis)

    @torch.no_grad()
    def error():
        pairs = [(valid_states(student, b, [1])[0], valid_states(teacher, b, [3])[0][:, :16]) for b in rows]
        return torch.cat([state - target for state, target in pairs]).double().square().mean(0)

    best, norm = error(), student.get_submodule(norms[1])
    for parameter in (norm.weight, norm.bias):
        for change in (-0.05, 0.05):
            with torch.no_grad():
                parameter.add_(change)
            assert (error() > best).all()
            with torch.no_grad():
                parameter.sub_(change)


def test_deberta_with_keys_shared_by_content_and_position():
    config = tiny_configs()["deberta-v2"]
    config.share_att_key, config.norm_rel_ebd, config.position_biased_input = True, "layer_norm", False
    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_config(config)
    teacher = MultiDomainClassifier.from_plain(plain, domains=("a", "b", "c"), labels=LABELS, max_tokens=32).eval()
    started = narrowed(teacher, "deberta-v2")
    assert torch.allclose(traced(started.model, "deberta-v2").logits, traced(teacher, "deberta-v2").logits, atol=1e-5)
    assert torch.isfinite(traced(narrowed(teacher, "deberta-v2", width=16).model, "deberta-v2").logits).all()


def test_biases_of_heads_go_with_the_heads_that_all_layers_keep():
    teacher = tiny_model("mpnet")
    with torch.no_grad():  # two of four heads say nothing, in one layer by far the loudest of the others
        for layer in teacher.encoder.encoder.layer:
            layer.attention.attn.o.weight.view(32, 4, 8)[:, [0, 2]] = 0
        teacher.encoder.encoder.layer[0].attention.attn.o.weight.view(32, 4, 8)[:, 3] *= 20
    started = narrowed(teacher, "mpnet", heads=2)
    table = teacher.encoder.encoder.relative_attention_bias.weight
    assert torch.equal(started.model.encoder.encoder.relative_attention_bias.weight, table[:, [1, 3]])
    assert torch.allclose(traced(started.model, "mpnet").logits, traced(teacher, "mpnet").logits, atol=1e-4)


@pytest.mark.parametrize("family", ["modernbert"])
def test_other_families_name_the_starts_that_are_possible(family):
    with pytest.raises(ModelError, match=r"not available for modernbert.*teacher_layers.*checkpoint.*random"):
        narrowed(tiny_model(family), family, width=16)


def test_width_of_the_embedding_table_is_refused_where_it_drops_the_projection():
    with pytest.raises(ModelError, match=r"student\.width: 16 is the width of the teacher's embedding table"):
        narrowed(tiny_model("electra"), "electra", width=16)


def test_wider_students_are_refused():
    with pytest.raises(ModelError, match=r"at most the teacher's width.*width 32.*width 64"):
        narrowed(tiny_model(), width=64)
