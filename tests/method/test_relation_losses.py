import math

import pytest
import torch

import oracles
from hrkd.method import relation_losses as relations

relation_losses = oracles.means(relations.relation_losses)

MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
DOMAINS = torch.tensor([0, 1, 0])


def factors(heads, width, seed, tokens=5):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(3, heads, tokens, width, generator=generator, dtype=torch.float64) for _ in range(2))


def slow(student, teacher, mask, domains, count, heads):
    """The equations, token by token."""
    totals, tokens = [0.0] * count, [0] * count
    for b in range(len(mask)):
        valid = [t for t in range(mask.shape[1]) if mask[b, t]]
        for kind in (0, 1):
            vectors = []
            for factor in (student, teacher):
                of_row = factor[kind][b]
                scale = math.sqrt(of_row.shape[-1]) if kind == 0 else 1.0
                flat = torch.cat([of_row[n] for n in range(of_row.shape[0])], dim=-1) * scale
                vectors.append(flat.reshape(flat.shape[0], heads, -1))
            for head in range(heads):
                for t in valid:
                    rows = []
                    for each in vectors:
                        d = each.shape[-1]
                        scores = torch.stack([each[t, head] @ each[u, head] / math.sqrt(d) for u in valid])
                        rows.append(scores.softmax(dim=0))
                    ours, theirs = rows
                    totals[domains[b]] += float((theirs * (theirs / ours).log()).sum()) / (2 * heads)
        tokens[domains[b]] += len(valid)
    return torch.tensor([total / n if n else 0.0 for total, n in zip(totals, tokens, strict=True)])


@pytest.mark.parametrize(("mine", "heads"), [((2, 4), 2), ((4, 2), 4), ((1, 8), 2), ((3, 4), 4)])
def test_the_equations(mine, heads):
    student, teacher = factors(*mine, seed=1), factors(4, 6, seed=2)
    found = relation_losses([student], [teacher], MASK, DOMAINS, 3, heads=heads)
    torch.testing.assert_close(found[0].float(), slow(student, teacher, MASK, DOMAINS.tolist(), 3, heads))
    assert found[0, 2] == 0


def test_the_heads_that_both_allow_are_taken():
    student, teacher = factors(3, 4, seed=1), factors(8, 3, seed=2)
    found, expected = (relation_losses([student], [teacher], MASK, DOMAINS, 2, heads=h) for h in (None, 4))
    assert torch.equal(found, expected)


def test_the_same_model_has_no_loss_however_its_heads_are_cut():
    queries, keys = factors(4, 6, seed=3)
    flat = [each.transpose(1, 2).reshape(3, 5, 24) for each in (queries, keys)]
    other = tuple(each.reshape(3, 5, 2, 12).transpose(1, 2) for each in flat)
    other = (other[0] * math.sqrt(6 / 12), other[1])
    found = relation_losses([other], [(queries, keys)], MASK, DOMAINS, 2)
    torch.testing.assert_close(found, torch.zeros_like(found))


def test_padding_changes_nothing():
    student, teacher = factors(2, 4, seed=1), factors(4, 6, seed=2)
    longer = [tuple(torch.cat([e, torch.full_like(e[:, :, :2], 9.0)], dim=2) for e in f) for f in (student, teacher)]
    mask = torch.cat([MASK, torch.zeros(3, 2, dtype=MASK.dtype)], dim=1)
    found = relation_losses([longer[0]], [longer[1]], mask, DOMAINS, 2)
    torch.testing.assert_close(found, relation_losses([student], [teacher], MASK, DOMAINS, 2))


def test_gradients_are_finite_at_padding_and_factors_count():
    student = tuple(each.float().requires_grad_() for each in factors(2, 4, seed=1))
    teacher = factors(4, 6, seed=2)
    weights = torch.tensor([2.0, 1.0, 0.0])
    relation_losses([student], [teacher], MASK, DOMAINS, 2, row_weights=weights).sum().backward()
    assert all(each.grad.isfinite().all() for each in student)
    assert student[0].grad[1, :, 3:].abs().max() == 0, "padding of the row is not looked at"
    assert student[0].grad[2].abs().max() == 0
