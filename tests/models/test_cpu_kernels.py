import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from hrkd.models import cpu_kernels as kernels
from hrkd.models.cpu_kernels import compiled_forward, cpu_kernels, use_kernels
from tiny import FAMILIES, domain_ids, tiny_batch, tiny_model

ROWS, HEADS, TOKENS, WIDTH = 4, 3, 7, 5
LENGTHS = [7, 5, 2, 7]
CPU = torch.device("cpu")


BORDERS = ("ONEDNN_FROM", "DRAWN_AGAIN_FROM", "ROW_BY_ROW_FROM")
REAL = {border: getattr(kernels, border) for border in BORDERS}


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    """The kernels of large operands answer, whatever the size."""
    for border in BORDERS:
        monkeypatch.setattr(kernels, border, 1)


@pytest.fixture(params=["large", "small"])
def either(request, monkeypatch):
    """Once as if all operands were large, once as if all were small."""
    if request.param == "small":
        for border in BORDERS:
            monkeypatch.setattr(kernels, border, 1 << 62)


@pytest.fixture
def real(monkeypatch):
    """The sizes from which operands are large, as they are."""
    for border, size in REAL.items():
        monkeypatch.setattr(kernels, border, size)


@pytest.fixture
def answered(monkeypatch):
    """Names of the functions that the kernels answered, in order."""
    names = []

    def noted(answer):
        def call(*args, **kwargs):
            result = answer(*args, **kwargs)
            if result is not None:
                names.append(answer.__name__)
            return result

        return call

    monkeypatch.setattr(kernels, "ANSWERS", {key: noted(answer) for key, answer in kernels.ANSWERS.items()})
    return names


def gradients(function, *inputs):
    """The output of a function, and the gradients of its inputs for a fixed weighting of the output."""
    inputs = [each.clone().requires_grad_() for each in inputs]
    out = function(*inputs)
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    return out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)


def with_kernels(function):
    def call(*args):
        with cpu_kernels(CPU):
            return function(*args)

    return call


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (1, 1, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_maps_and_their_gradients_are_torchs_own(shape, bias, answered):
    torch.manual_seed(0)
    inputs = [torch.randn(*shape), torch.randn(4, 5), *([torch.randn(4)] if bias else [])]
    found = gradients(with_kernels(functional.linear), *inputs)
    assert answered == ["_linear"]
    for one, other in zip(found, gradients(functional.linear, *inputs), strict=True):
        torch.testing.assert_close(one, other)


def test_a_transposed_input_is_no_obstacle(answered):
    x, weight = torch.randn(5, 3, 6).transpose(0, 2), torch.randn(4, 5)
    found = gradients(with_kernels(functional.linear), x, weight)
    assert answered == ["_linear"]
    for one, other in zip(found, gradients(functional.linear, x, weight), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("either")
def test_what_a_linear_map_gives_may_be_changed_in_place():
    """As DeBERTa's first version does with its positions."""
    x, weight = torch.randn(2, 3, 4), torch.randn(5, 4, requires_grad=True)
    with cpu_kernels(CPU):
        result = functional.linear(x, weight)
        result += 1
    result.sum().backward()
    torch.testing.assert_close(result, functional.linear(x, weight) + 1)
    torch.testing.assert_close(weight.grad, x.sum(dim=(0, 1)).expand(5, 4))


def test_dropout_keeps_the_mean_and_its_gradient_has_the_same_holes(answered):
    torch.manual_seed(0)
    x = torch.ones(400, 500)
    out, gradient = gradients(with_kernels(lambda x: functional.dropout(x, 0.1)), x)
    assert answered == ["_dropout"]
    share = float((out == 0).float().mean())
    assert share == pytest.approx(0.1, abs=5 * (0.09 / x.numel()) ** 0.5)
    assert out.mean() == pytest.approx(1, abs=5e-3)
    assert torch.equal(gradient == 0, out == 0)
    assert out.max() == pytest.approx(1 / 0.9, rel=1e-4)


@pytest.mark.parametrize("changed", ["nothing", "result", "input"])
def test_gelu_before_a_linear_map_is_not_kept_unless_it_was_changed_in_place(changed, answered):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 6), torch.randn(8, 6), torch.randn(4, 8)]
    kept, saved = [], []

    def feed_forward(x, inner, outer):
        narrow = functional.linear(x, inner)
        wide = functional.gelu(narrow)
        if changed == "result":
            wide.mul_(3)
        elif changed == "input":
            with torch.no_grad():
                narrow.zero_()
        kept.append(wide)
        return functional.linear(wide, outer)

    with torch.autograd.graph.saved_tensors_hooks(
        lambda each: saved.append(each.data_ptr()) or each, lambda each: each
    ):
        out = with_kernels(feed_forward)(*[each.clone().requires_grad_() for each in inputs])
    assert answered == ["_linear", "_gelu", "_linear"]
    assert (kept[0].data_ptr() in saved) == (changed != "nothing")
    assert out.shape == (2, 3, 4)
    if changed != "input":
        found = gradients(with_kernels(feed_forward), *inputs)
        for one, other in zip(found, gradients(feed_forward, *inputs), strict=True):
            torch.testing.assert_close(one, other)


def test_one_gelu_may_serve_two_linear_maps():
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 6), torch.randn(8, 6), torch.randn(4, 8), torch.randn(4, 8)]

    def both(x, inner, one, other):
        wide = functional.gelu(functional.linear(x, inner))
        return functional.linear(wide, one) * functional.linear(wide, other)

    for one, other in zip(gradients(with_kernels(both), *inputs), gradients(both, *inputs), strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_of_gradients_are_an_error_not_a_zero():
    x, weight = torch.randn(3, 5), torch.randn(4, 5, requires_grad=True)
    with cpu_kernels(CPU):
        out = functional.linear(x, weight).square().sum()
    (gradient,) = torch.autograd.grad(out, weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.usefixtures("either")
def test_dropout_follows_torchs_seed():
    def drawn(seed):
        torch.manual_seed(seed)
        with cpu_kernels(CPU):
            return [functional.dropout(torch.ones(64), 0.5) for _ in range(2)]

    assert torch.equal(torch.stack(drawn(1)), torch.stack(drawn(1)))
    assert not torch.equal(drawn(1)[0], drawn(1)[1])
    assert not torch.equal(drawn(1)[0], drawn(2)[0])


def test_dropout_does_nothing_outside_of_training():
    x = torch.randn(8)
    with cpu_kernels(CPU):
        assert torch.equal(functional.dropout(x, 0.5, training=False), x)


def attention_inputs():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, ROWS, HEADS, TOKENS, WIDTH)
    valid = torch.arange(TOKENS) < torch.tensor(LENGTHS)[:, None]
    return (query, key, value), valid[:, None, None, :].expand(ROWS, 1, TOKENS, TOKENS)


def attention(mask, rate):
    def call(query, key, value):
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)

    return call


@pytest.mark.usefixtures("either")
def test_attention_is_torchs_own_at_padding_too(answered):
    inputs, mask = attention_inputs()
    found = gradients(with_kernels(attention(mask, 1e-9)), *inputs)  # a rate that drops nothing
    assert answered == ["_attention"]
    for one, other in zip(found, gradients(attention(mask, 0.0), *inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("either")
def test_attention_drops_probabilities_as_drawn():
    rate = 0.4
    inputs, mask = attention_inputs()
    torch.manual_seed(3)
    drawn = kernels._Drawn(rate)
    kept = torch.zeros(ROWS, HEADS, TOKENS, TOKENS)
    for i, n in enumerate(LENGTHS):
        kept[i, :, :, :n] = drawn.keep((HEADS, TOKENS, n))

    def slow(query, key, value):
        scores = (query @ key.mT / WIDTH**0.5).masked_fill(~mask, -torch.inf)
        return scores.softmax(dim=-1) * kept / (1 - rate) @ value

    torch.manual_seed(3)
    found = gradients(with_kernels(attention(mask, rate)), *inputs)
    for one, other in zip(found, gradients(slow, *inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["holes", "causal", "window", "eval"])
def test_other_attention_is_left_to_torch(kind, answered):
    inputs, mask = attention_inputs()
    mask, options = mask.clone(), {"dropout_p": 0.1}
    if kind == "holes":
        mask[..., 0] = False
    elif kind == "causal":
        mask, options["is_causal"] = None, True
    elif kind == "window":
        mask[:, :, 0, -1] = ~mask[:, :, 0, -1]
    else:
        options["dropout_p"] = 0.0
    with cpu_kernels(CPU):
        functional.scaled_dot_product_attention(*inputs, attn_mask=mask, **options)
    assert answered == []


def in_bf16(function):
    def call(*args):
        with torch.autocast("cpu", torch.bfloat16):
            return function(*args)

    return call


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("given", ["autocast", "bf16"])
def test_attention_in_bf16_drops_the_same_and_is_nearly_the_same(given, answered):
    inputs, mask = attention_inputs()
    inputs = [each.bfloat16().float() for each in inputs]
    call = with_kernels(attention(mask, 0.4))
    torch.manual_seed(3)
    expected = gradients(call, *inputs)
    torch.manual_seed(3)
    found = (
        gradients(in_bf16(call), *inputs) if given == "autocast" else gradients(call, *(x.bfloat16() for x in inputs))
    )
    assert answered == ["_attention"] * 2
    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found, expected, strict=True):
        assert torch.linalg.vector_norm(one - other) < 0.01 * torch.linalg.vector_norm(other)


@pytest.mark.parametrize("mask", ["none", "padding", "biases"])
def test_attention_that_learns_in_bf16_is_computed_in_single_precision_for_few_tokens(mask, answered, monkeypatch):
    inputs, padding = attention_inputs()
    biases = torch.randn(ROWS, HEADS, TOKENS, TOKENS).bfloat16()
    call = with_kernels(attention({"none": None, "padding": padding, "biases": biases.float()}[mask], 0.0))
    expected = call(*(x.bfloat16().float() for x in inputs)).bfloat16()
    inputs = [x.bfloat16().requires_grad_() for x in inputs]
    assert torch.equal(in_bf16(call)(*inputs), expected)
    assert answered == ["_attention"]
    with torch.no_grad():
        assert not torch.equal(in_bf16(call)(*inputs), expected), "torch's own, which rounds more"
    monkeypatch.setattr(kernels, "IN_BF16_FROM", TOKENS)
    in_bf16(call)(*inputs)
    assert answered == ["_attention"]


@pytest.mark.usefixtures("either")
def test_dropout_in_bf16_drops_the_same_in_the_precision_of_its_input(answered):
    def dropped(x, call):
        torch.manual_seed(3)
        return gradients(with_kernels(call(lambda x: functional.dropout(x, 0.4))), x)

    x = torch.randn(5, 7).bfloat16()
    expected = dropped(x.float(), lambda call: call)
    for found in (dropped(x, lambda call: call), dropped(x, in_bf16), dropped(x.float(), in_bf16)):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.float(), other, atol=0, rtol=0.01)
    assert found[0].dtype == torch.float32
    assert answered == ["_dropout"] * 4


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_a_step_in_bf16_is_repeated_exactly_and_near_that_in_single_precision(family):
    def step(call):
        torch.manual_seed(3)
        with cpu_kernels(CPU):
            loss = call(lambda: model(**tiny_batch(family), domain_ids=domain_ids()).logits)().float().square().sum()
        return torch.cat([each.flatten() for each in torch.autograd.grad(loss, parameters, materialize_grads=True)])

    model = tiny_model(family).train()
    parameters = list(model.parameters())
    expected, found = step(lambda call: call), step(in_bf16)
    assert torch.equal(found, step(in_bf16))
    assert functional.cosine_similarity(found, expected, dim=0) > 0.99


def test_other_precisions_and_forward_derivatives_are_left_to_torch(answered):
    x, weight = torch.randn(3, 5), torch.randn(4, 5)
    with cpu_kernels(CPU):
        functional.linear(x.double(), weight.double())
        functional.dropout(x.double(), 0.5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            functional.linear(x, weight)
        with torch.autocast("cpu", dtype=torch.float16):
            functional.dropout(x, 0.5)
        _, tangent = torch.func.jvp(lambda w: functional.linear(x, w), (weight,), (weight,))
    assert answered == []
    torch.testing.assert_close(tangent, x @ weight.T)


def test_calls_by_keyword_are_left_to_torch(answered):
    x, weight = torch.randn(3, 5), torch.randn(4, 5)
    with cpu_kernels(CPU):
        torch.testing.assert_close(functional.linear(input=x, weight=weight), x @ weight.T)
    assert answered == []


def test_a_bias_learns_beside_a_frozen_weight():
    x, weight, bias = torch.randn(2, 3, 5), torch.randn(4, 5), torch.zeros(4, requires_grad=True)
    with cpu_kernels(CPU):
        functional.linear(x, weight, bias).sum().backward()
    assert bias.grad.tolist() == [6.0] * 4


def test_a_models_own_forward_is_put_back():
    module = torch.nn.Linear(2, 2)
    module.forward = own = module.forward
    with compiled_forward(module, lambda x: x + 1):
        assert module(torch.zeros(1)).item() == 1
    assert module.forward is own


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"modernbert", "deberta-v2", "mpnet"}))
def test_attention_of_the_families_is_answered_while_they_train(family, answered):
    model, batch = tiny_model(family).train(), tiny_batch(family)
    with cpu_kernels(CPU):
        model(**batch, domain_ids=domain_ids())
    assert answered.count("_attention") == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_without_dropout_says_the_same(family, answered):
    model, batch = tiny_model(family).train(), tiny_batch(family)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    twin = copy.deepcopy(model)
    with cpu_kernels(CPU):
        found = model(**batch, domain_ids=domain_ids()).logits
    expected = twin(**batch, domain_ids=domain_ids()).logits
    assert "_linear" in answered
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for logits in (found, expected):
        logits.square().sum().backward()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("outputs", [255, 256])
def test_a_linear_map_is_the_same_on_both_sides_of_its_border(outputs, answered):
    torch.manual_seed(0)
    inputs = [torch.randn(32, 128, 128), torch.randn(outputs, 128), torch.randn(outputs)]
    found = gradients(with_kernels(functional.linear), *inputs)
    assert answered == (["_linear"] if outputs == 256 else [])
    for one, other in zip(found, gradients(functional.linear, *inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-4)


def of_large_and_small(monkeypatch, function, *inputs):
    """What a function gives, with its gradients, twice with large kernels and once with small ones; the same seed."""
    found = []
    for border in (1, 1, 1 << 62):
        for name in BORDERS:
            monkeypatch.setattr(kernels, name, border)
        torch.manual_seed(5)
        found.append(gradients(with_kernels(function), *inputs))
    return found


@pytest.mark.parametrize("shape", [(1,), (7, 3), (2, 5, 9), (1 << 16,), ((1 << 16) - 1,)])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_of_any_size_drops_the_same(shape, rate, monkeypatch):
    first, again, small = of_large_and_small(monkeypatch, lambda x: functional.dropout(x, rate), torch.randn(shape))
    for one, other, third in zip(first, again, small, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, third)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), heads=st.integers(1, 3), widths=st.sampled_from([1, 4])
)
def test_attention_of_any_size_drops_the_same(lengths, heads, widths):
    torch.manual_seed(0)
    tokens = max(lengths) + (widths == 4)  # with a column that is padding in all rows, or without
    inputs = torch.randn(3, len(lengths), heads, tokens, widths).unbind()
    valid = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    mask = valid[:, None, None, :].expand(len(lengths), 1, tokens, tokens)
    with pytest.MonkeyPatch.context() as patch:
        first, again, small = of_large_and_small(patch, attention(mask, 0.3), *inputs)
    for one, other, third in zip(first, again, small, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, third, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("tokens", [90, 91])
def test_attention_drops_as_often_on_both_sides_of_its_border(tokens):
    torch.manual_seed(0)
    query, value = torch.zeros(8, 4, tokens, 8), torch.ones(8, 4, tokens, 8)
    with cpu_kernels(CPU):
        rows = [functional.scaled_dot_product_attention(query, query, value, dropout_p=0.2)[..., 0] for _ in range(2)]
    assert not torch.equal(*rows)
    kept = torch.stack(rows) * 0.8  # share of the keys that each query kept
    assert kept.mean() == pytest.approx(0.8, abs=5 * (0.16 / (kept.numel() * tokens)) ** 0.5)
    assert kept.var() == pytest.approx(0.16 / tokens, rel=0.1)


@pytest.mark.usefixtures("either")
def test_a_step_of_a_model_with_dropout_is_repeated_exactly():
    def step():
        torch.manual_seed(3)
        with cpu_kernels(CPU):
            loss = model(**tiny_batch(), domain_ids=domain_ids()).logits.square().sum()
        return torch.autograd.grad(loss, parameters)

    model = tiny_model().train()
    parameters = list(model.parameters())
    assert all(map(torch.equal, step(), step()))


def test_torchs_own_kernels_can_be_asked_for(answered):
    x, weight = torch.randn(3, 5), torch.randn(4, 5)
    with use_kernels("torch"), cpu_kernels(CPU):
        functional.dropout(functional.linear(x, weight), 0.5)
    assert answered == []
    with cpu_kernels(CPU):
        functional.linear(x, weight)
    assert answered == ["_linear"]
