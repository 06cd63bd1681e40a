import itertools
import math
from functools import partial

import pytest
import torch
from torch.autograd import forward_ad

import oracles
from hrkd.method import losses
from hrkd.method.losses import merge_heads, picked, score_norms, valid_tokens
from hrkd.method.objective import entropy, objective

attention_losses = partial(oracles.means(losses.attention_losses), reductions="masked")
hidden_losses = partial(oracles.means(losses.hidden_losses), reductions="masked")
prediction_losses = partial(oracles.means(losses.prediction_losses), reductions="masked", temperature=1.0)
label_losses, score_product_losses = map(oracles.means, (losses.label_losses, losses.score_product_losses))

IDS = [0, 0, 1, 2, 2]
DOMAINS = torch.tensor(IDS)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask(tokens=4):
    return (torch.arange(tokens) < torch.tensor([4, 2, 3, 1, 4])[:, None]).long()


def pad(tensor, dims, amount=3):
    for dim in dims:
        shape = list(tensor.shape)
        shape[dim] = amount
        tensor = torch.cat([tensor, torch.full(shape, 7.0, dtype=tensor.dtype)], dim=dim)
    return tensor


def test_hidden_losses_equal_the_loops():
    fitted, teacher = random(3, 5, 4, 6), [random(5, 4, 6, seed=s) for s in (1, 2, 3)]
    expected = oracles.hidden_losses(fitted, teacher, mask(), IDS, 3)
    torch.testing.assert_close(hidden_losses(fitted, teacher, mask(), DOMAINS, 3), expected)


def test_attention_losses_equal_the_loops():
    student, teacher = ([random(5, 2, 4, 4, seed=s + i) for i in range(3)] for s in (1, 7))
    expected = oracles.attention_losses(student, teacher, mask(), IDS, 3)
    torch.testing.assert_close(attention_losses(student, teacher, mask(), DOMAINS, 3), expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_prediction_losses_equal_the_loops(temperature):
    student, teacher = random(5, 3), random(5, 3, seed=1)
    expected = oracles.prediction_losses(student, teacher, IDS, 3, temperature)
    torch.testing.assert_close(prediction_losses(student, teacher, DOMAINS, 3, temperature=temperature), expected)


def test_padding_changes_nothing():
    fitted, teacher = random(1, 5, 4, 6), random(5, 4, 6, seed=1)
    scores = [random(5, 2, 4, 4, seed=s) for s in (2, 3)]
    longer = pad(mask(), [1]) * 0
    longer[:, :4] = mask()
    torch.testing.assert_close(
        hidden_losses(pad(fitted, [2]), [pad(teacher, [1])], longer, DOMAINS, 3),
        hidden_losses(fitted, [teacher], mask(), DOMAINS, 3),
    )
    torch.testing.assert_close(
        attention_losses([pad(scores[0], [2, 3])], [pad(scores[1], [2, 3]) * 2], longer, DOMAINS, 3),
        attention_losses([scores[0]], [scores[1] * 2], mask(), DOMAINS, 3),
    )


def test_order_of_examples_changes_nothing():
    order = torch.tensor([4, 2, 0, 1, 3])
    fitted, teacher = random(1, 5, 4, 6), random(5, 4, 6, seed=1)
    torch.testing.assert_close(
        hidden_losses(fitted[:, order], [teacher[order]], mask()[order], DOMAINS[order], 3),
        hidden_losses(fitted, [teacher], mask(), DOMAINS, 3),
    )


def test_student_equal_to_teacher_gives_no_loss_and_no_gradient():
    states, scores = random(2, 5, 4, 6), random(5, 2, 4, 4)
    assert hidden_losses(states, list(states), mask(), DOMAINS, 3).abs().max() == 0
    assert attention_losses([scores], [scores], mask(), DOMAINS, 3).abs().max() == 0
    logits = random(5, 3).requires_grad_()
    prediction_losses(logits, logits.detach(), DOMAINS, 3, temperature=2.0).sum().backward()
    assert logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize(("student_heads", "teacher_heads", "common"), [(2, 6, 2), (4, 6, 2), (3, 4, 1)])
def test_different_head_counts_meet_at_their_common_divisor(student_heads, teacher_heads, common):
    student, teacher = random(5, student_heads, 4, 4), random(5, teacher_heads, 4, 4, seed=1)
    merged = [oracle_merge(student, common), oracle_merge(teacher, common)]
    expected = oracles.attention_losses(merged[:1], merged[1:], mask(), IDS, 3)
    torch.testing.assert_close(attention_losses([student], [teacher], mask(), DOMAINS, 3), expected)
    torch.testing.assert_close(merge_heads(teacher, common), merged[1])


def oracle_merge(scores, heads):
    size = scores.shape[1] // heads
    return torch.stack([sum(scores[:, h * size + i] for i in range(size)) / size for h in range(heads)], dim=1)


def test_public_code_counts_padding_and_cuts_off_low_scores():
    fitted, teacher = random(1, 5, 4, 6), random(5, 4, 6, seed=1)
    everything = torch.ones_like(mask())
    torch.testing.assert_close(
        hidden_losses(fitted, [teacher], mask(), DOMAINS, 3, reductions="public_code"),
        oracles.hidden_losses(fitted, [teacher], everything, IDS, 3),
    )
    student, other = random(5, 2, 4, 4), random(5, 2, 4, 4, seed=1)
    low = student.clone()
    low[0, 0, 0, 0] = -100.0
    zero = student.clone()
    zero[0, 0, 0, 0] = 0.0
    torch.testing.assert_close(
        attention_losses([low], [other], mask(), DOMAINS, 3, reductions="public_code"),
        oracles.attention_losses([zero], [other], everything, IDS, 3),
    )
    logits, target = random(5, 3), random(5, 3, seed=1)
    torch.testing.assert_close(
        prediction_losses(logits, target, DOMAINS, 3, temperature=2.0, reductions="public_code"),
        oracles.prediction_losses(logits, target, IDS, 3, 2.0) / 4 / 3,
    )


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_gives_the_tables_of_single_precision(half):
    student, teacher = ((random(3, 2, 256, 256, seed=s) * 100).to(half) for s in (1, 2))
    valid, ids = torch.ones(3, 256, dtype=torch.long), torch.tensor([0, 1, 1])
    losses = attention_losses([student], [teacher], valid, ids, 2)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, attention_losses([student.float()], [teacher.float()], valid, ids, 2))
    states, target = ((random(1, 3, 256, 4, seed=s) * 1000).to(half) for s in (1, 2))
    losses = hidden_losses(states, list(target), valid, ids, 2)
    torch.testing.assert_close(losses, hidden_losses(states.float(), list(target.float()), valid, ids, 2))
    assert losses.isfinite().all()


def test_pairs_that_either_layer_masks_do_not_count():
    student, teacher = (random(5, 2, 4, 4, seed=s) for s in (1, 2))
    outside = torch.zeros(4, 4, dtype=torch.bool)
    outside[0, 3] = outside[3, 0] = True
    keys = (~mask().bool())[:, None, None, :].expand(-1, 2, 4, -1)
    windowed = student.masked_fill(outside, -torch.inf).masked_fill(keys, -torch.inf).requires_grad_()
    losses = attention_losses([windowed], [teacher.masked_fill(keys, -torch.inf)], mask(), DOMAINS, 3)
    squares = [[], [], []]
    for b, domain in enumerate(IDS):
        for q, k in ((q, k) for q in range(4) for k in range(4)):
            if mask()[b, q] and mask()[b, k] and not outside[q, k]:
                squares[domain] += [(student[b, n, q, k] - teacher[b, n, q, k]) ** 2 for n in range(2)]
    torch.testing.assert_close(losses[0], torch.stack([sum(of) / len(of) for of in squares]))
    losses.sum().backward()
    assert windowed.grad.isfinite().all()
    assert (windowed.grad[..., outside] == 0).all()
    zeros = student.masked_fill(outside, 0.0).masked_fill(keys, 0.0)
    torch.testing.assert_close(
        attention_losses([windowed], [teacher], mask(), DOMAINS, 3, reductions="public_code"),
        oracles.attention_losses([zeros], [teacher], torch.ones_like(mask()), IDS, 3),
    )


def test_objective_is_ratios_times_losses_plus_prediction():
    ratios, losses, prediction = torch.tensor([[0.25, 0.75]]), torch.tensor([[4.0, 8.0]]), torch.tensor([1.0, 3.0])
    assert objective(ratios, losses, prediction, hidden_weight=2.0, prediction_weight=0.5).item() == 2 * 7 + 0.5 * 2


@pytest.mark.parametrize(("student_width", "teacher_width"), [(1, 2), (5, 3)], ids=["less than T", "more than T"])
@pytest.mark.parametrize(("student_heads", "teacher_heads"), [(2, 2), (2, 4), (4, 6)])
def test_losses_of_queries_and_keys_are_those_of_their_scores(
    student_heads, teacher_heads, student_width, teacher_width
):
    factors = [random(2, 5, student_heads, 4, student_width, seed=s).requires_grad_() for s in (1, 2)]
    student = [tuple(each) for each in factors]
    teacher = [tuple(random(2, 5, teacher_heads, 4, teacher_width, seed=s)) for s in (3, 4)]
    scores = [[queries @ keys.mT for queries, keys in side] for side in (student, teacher)]
    expected = attention_losses(*scores, mask(), DOMAINS, 3)
    found = score_product_losses(student, teacher, mask(), DOMAINS, 3)
    torch.testing.assert_close(found, expected)
    weights = random(2, 3, seed=9)
    gradients = [torch.autograd.grad((table * weights).sum(), factors) for table in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    norms = [score_norms(pair, mask()) for pair in teacher]
    with_norms = score_product_losses(student, teacher, mask(), DOMAINS, 3, teacher_norms=norms)
    torch.testing.assert_close(with_norms, expected)
    again = score_product_losses(student, student, mask(), DOMAINS, 3)
    torch.testing.assert_close(again, torch.zeros_like(again))


@pytest.mark.parametrize("numbers", [1, 200, 10**6], ids=["a row at a time", "two rows", "all at once"])
def test_losses_of_queries_and_keys_are_the_same_in_parts_of_any_size(monkeypatch, numbers):
    """Whatever stands at padding, which need not come last."""
    monkeypatch.setattr(losses, "NUMBERS_IN_CACHE", numbers)
    holes = mask()
    holes[0] = torch.tensor([0, 1, 0, 1])
    factors = random(2, 5, 2, 4, 3).requires_grad_()
    teacher = random(2, 5, 2, 4, 5, seed=1)
    expected = attention_losses([factors[0] @ factors[1].mT], [teacher[0] @ teacher[1].mT], holes, DOMAINS, 3)
    found = score_product_losses([tuple(factors)], [tuple(teacher)], holes, DOMAINS, 3)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((table * random(1, 3, seed=9)).sum(), factors)[0] for table in (found, expected)]
    torch.testing.assert_close(*gradients)
    assert not gradients[0][:, holes[:, None, :].expand(-1, 2, -1) == 0].any()


def test_hidden_losses_of_valid_tokens_alone_equal_those_of_all():
    fitted, teacher, weights = random(2, 5, 4, 6), random(2, 5, 4, 6, seed=1), random(5, seed=2).square()
    tokens = valid_tokens(mask())
    rows = tokens // 4
    expected = hidden_losses(fitted, teacher, mask(), DOMAINS, 3, row_weights=weights)
    sides = ([picked(level, tokens) for level in side] for side in (fitted, teacher))
    found = hidden_losses(*sides, picked(mask(), tokens), DOMAINS[rows], 3, row_weights=weights[rows])
    torch.testing.assert_close(found, expected)
    assert valid_tokens(torch.ones(5, 4, dtype=torch.long)) is None, "nothing is to be left out"


@pytest.mark.parametrize("teacher_heads", [2, 4])
def test_forward_derivatives_are_those_of_reverse_mode(teacher_heads):
    fitted, teacher = random(1, 5, 4, 6), [random(5, 4, 6, seed=1)]
    factors, theirs = random(2, 5, 2, 4, 3, seed=2), [tuple(random(2, 5, teacher_heads, 4, 3, seed=3))]

    def tables(fitted, queries, keys):
        products = score_product_losses([(queries, keys)], theirs, mask(), DOMAINS, 3)
        return torch.cat([hidden_losses(fitted, teacher, mask(), DOMAINS, 3), products])

    points = (fitted, *factors)
    directions = tuple(random(*point.shape, seed=7 + n) for n, point in enumerate(points))
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for level, domain in itertools.product(range(2), range(3)):
        leaves = [point.clone().requires_grad_() for point in points]
        by = torch.autograd.grad(tables(*leaves)[level, domain], leaves, materialize_grads=True)
        expected[level, domain] = sum((one * along).sum() for one, along in zip(by, directions, strict=True))
    with torch.no_grad(), forward_ad.dual_level():
        duals = [forward_ad.make_dual(point, along) for point, along in zip(points, directions, strict=True)]
        found = forward_ad.unpack_dual(tables(*duals)).tangent
        torch.testing.assert_close(found, expected)


def test_label_losses_are_means_over_the_rows_of_a_domain():
    logits, labels, weights = random(5, 3), torch.tensor([2, -1, 0, 1, -1]), torch.tensor([1.0, 1.0, 3.0, 1.0, 1.0])
    domains = torch.tensor([0, 0, 0, 1, 2])
    each = {row: -math.log(logits[row].exp()[labels[row]] / logits[row].exp().sum()) for row in (0, 2, 3)}
    found = label_losses(logits, labels, domains, 3)
    assert found.tolist() == pytest.approx([(each[0] + each[2]) / 3, each[3], 0])
    found = label_losses(logits, labels, domains, 3, row_weights=weights)
    assert found.tolist() == pytest.approx([(each[0] + 3 * each[2]) / 3, each[3], 0])


def test_a_weight_of_zero_looks_at_no_level():
    nothing = torch.full((1, 2), torch.nan)
    assert objective(nothing, nothing, torch.tensor([1.0, 3.0]), hidden_weight=0.0, prediction_weight=1.0).item() == 2


def test_entropy_is_that_of_all_levels_together():
    ratios = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(entropy(ratios), torch.tensor(4.0).log())
    assert entropy(torch.ones(2, 1)) == 0


def test_the_entropy_weight_is_the_temperature_of_the_ratios_that_are_best():
    effects, weight = random(2, 4), 0.7
    best = (effects / weight).softmax(dim=1)

    def worth(ratios):
        return (ratios * effects).sum() + weight * entropy(ratios)

    others = (random(50, 2, 4, seed=1) * 3).softmax(dim=2)
    assert all(worth(best) > worth(other) for other in [*others, *(0.99 * best + 0.01 * others)])
