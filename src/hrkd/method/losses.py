"""The losses of a level and a domain, as tables without weights: sums that become means once all rows are in them.

``reductions="masked"`` averages over valid tokens only. ``reductions="public_code"`` follows the paper's public
code: padding counts in every mean, attention scores of -100 or less become 0, soft cross-entropy is
averaged over classes too and has no factor t squared. Half precision is widened first, so that tables have at least
single precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hrkd.method.sums import Sums, domain_sums, example_sums, stacked

__all__ = [
    "Reductions",
    "attention_losses",
    "hidden_losses",
    "label_losses",
    "merge_heads",
    "picked",
    "prediction_losses",
    "score_norms",
    "score_product_losses",
    "valid_tokens",
    "widened",
]

Reductions = Literal["masked", "public_code"]
Factors: TypeAlias = tuple[Tensor, Tensor]
"""Queries, divided by the root of the heads' width, and keys."""
PUBLIC_CODE_THRESHOLD = -100.0
WORTH_PICKING = 0.9
"""Share of valid tokens up to which a copy of these alone costs less than the others' products."""
NUMBERS_IN_CACHE = 1 << 18
"""Of a processor core's second-level cache, a megabyte."""


def hidden_losses(
    fitted_states: Iterable[Tensor],
    teacher_states: Sequence[Tensor],
    mask_BT: Tensor,
    domain_ids_B: Tensor,
    num_domains: int,
    *,
    reductions: Reductions,
    row_weights: Tensor | None = None,
) -> Sums:
    """Mean squared error between fitted student states and teacher states (TinyBERT, eq. 8 and 9), (K, D).

    Shapes: fitted and teacher states K tensors (B, T, H) each, the latter those of the layer map; mask (B, T);
    domain ids (B,); row weights (B,), factors of each row's error. Each entry averages over the domain's tokens and the
    width. Fitted states that are made as they are asked for need the memory of one.
    """
    weight_BT = (mask_BT if reductions == "masked" else torch.ones_like(mask_BT)).float()
    tokens_B = weight_BT.sum(dim=1)
    rows = []
    for fitted_BTH, teacher_BTH in zip(fitted_states, teacher_states, strict=True):
        error_BT: Tensor = _MeanSquare.apply(widened(fitted_BTH) - widened(teacher_BTH))  # type: ignore[no-untyped-call]
        error_B = (error_BT * weight_BT).sum(dim=1) / tokens_B.clamp_min(1)
        rows.append(domain_sums(error_B, tokens_B, domain_ids_B, num_domains, row_weights))
    return stacked(rows)


def valid_tokens(mask_BT: Tensor) -> Tensor | None:
    """Numbers of the valid tokens of (B x T) in their order, (n,), where leaving the others out pays; else None.

    That is on a processor, where more than a tenth is padding.
    """
    if mask_BT.device.type != "cpu":
        return None
    valid = mask_BT.flatten().nonzero().squeeze(1)
    return valid if len(valid) < WORTH_PICKING * mask_BT.numel() else None


def picked(tensor_BT: Tensor, tokens: Tensor) -> Tensor:
    """Those of the tokens (B, T, ...) as rows of one token each, (n, 1, ...)."""
    return tensor_BT.flatten(0, 1).index_select(0, tokens)[:, None]


class _MeanSquare(torch.autograd.Function):
    """Mean of the squares of the last axis, (B, T, H) -> (B, T), for a tensor that nobody else reads.

    Backwards it becomes its own gradient in place, since a fresh table of this size costs more than what is computed.
    A second backward pass over the same graph is an error of autograd's.
    """

    @staticmethod
    def forward(ctx: Any, difference_BTH: Tensor) -> Tensor:
        ctx.save_for_backward(difference_BTH)
        ctx.save_for_forward(difference_BTH)
        norm_BT: Tensor = torch.linalg.vector_norm(difference_BTH, dim=-1)
        return norm_BT.square() / difference_BTH.shape[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (difference_BTH,) = ctx.saved_tensors
        gradient: Tensor = difference_BTH.mul_((2 / difference_BTH.shape[-1]) * gradients[0][..., None])
        return gradient

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (difference_BTH,) = ctx.saved_tensors
        tangent: Tensor = (2 / difference_BTH.shape[-1]) * (difference_BTH * tangents[0]).sum(dim=-1)
        return tangent


def merge_heads(attention_BNTT: Tensor, heads: int) -> Tensor:
    """Mean over groups of adjacent heads, (B, N, T, T) -> (B, heads, T, T); ``heads`` divides N."""
    if attention_BNTT.shape[1] == heads:
        return attention_BNTT
    rows, _, *pairs = attention_BNTT.shape
    return attention_BNTT.reshape(rows, heads, -1, *pairs).mean(dim=2)


def attention_losses(
    student_attention: Sequence[Tensor],
    teacher_attention: Sequence[Tensor],
    mask_BT: Tensor,
    domain_ids_B: Tensor,
    num_domains: int,
    *,
    reductions: Reductions,
    row_weights: Tensor | None = None,
) -> Sums:
    """Mean squared error between student and teacher attention (TinyBERT, eq. 7), (L, D).

    Shapes: L tensors (B, N, T, T) each, of pre-softmax scores (or probabilities); mask (B, T); domain ids
    (B,); row weights (B,), factors of each row's error. Each entry averages over the heads and over the domain's
    query-key pairs that are valid for student and teacher: neither token is padding, and neither layer masks the pair
    (score -inf, as outside a local window). Probabilities have no such mark: a pair outside a window has probability 0
    and is compared as such.

    Where student and teacher differ in heads, adjacent heads are averaged down to the greatest common divisor of
    both counts.
    """
    token_BT = mask_BT.bool() if reductions == "masked" else torch.ones_like(mask_BT, dtype=torch.bool)
    pair_BNTT = (token_BT[:, :, None] & token_BT[:, None, :])[:, None]
    rows = []
    for student, teacher in zip(student_attention, teacher_attention, strict=True):
        heads = gcd(student.shape[1], teacher.shape[1])
        student, teacher = merge_heads(widened(student), heads), merge_heads(widened(teacher), heads)
        if reductions == "public_code":
            student, teacher = _cut_off(student), _cut_off(teacher)
        valid = pair_BNTT & ~student.isneginf() & ~teacher.isneginf()
        error = (student - teacher).masked_fill(~valid, 0.0).square()
        pairs_B = valid.sum(dim=(1, 2, 3))
        error_B = error.sum(dim=(1, 2, 3)) / pairs_B.clamp_min(1)
        rows.append(domain_sums(error_B, pairs_B, domain_ids_B, num_domains, row_weights))
    return stacked(rows)


def score_product_losses(
    student_factors: Sequence[Factors],
    teacher_factors: Sequence[Factors],
    mask_BT: Tensor,
    domain_ids_B: Tensor,
    num_domains: int,
    *,
    teacher_norms: Sequence[Tensor] = (),
    row_weights: Tensor | None = None,
) -> Sums:
    """:func:`attention_losses` of scores given as queries and keys, (L, D), for layers that see all valid tokens.

    Shapes: L pairs of scaled queries and keys, (B, N, T, dh) each; mask (B, T); domain ids (B,); where they are known,
    L :func:`score_norms` (B,) of the teacher's factors; row weights (B,).

    With queries Q and keys K of student s and teacher t the squared norm of the difference of the scores is
    ``|Qs Ks' - Qt Kt'|^2 = <Qs'Qs, Ks'Ks> - 2 <Qs'Qt, Ks'Kt> + <Qt'Qt, Kt'Kt>``: products of the heads' widths in the
    place of T x T tables. Rows of padding are set to zero on one side of each product and so count nowhere.
    """
    pairs_B = mask_BT.sum(dim=1).square()
    rows = []
    for level, (student, teacher) in enumerate(zip(student_factors, teacher_factors, strict=True)):
        heads = gcd(student[0].shape[1], teacher[0].shape[1])
        known = teacher_norms and heads == teacher[0].shape[1]
        student, teacher = _merge_factors(student, heads), _merge_factors(teacher, heads)
        norms_B = teacher_norms[level] if known else score_norms(teacher, mask_BT)
        difference_B = _ScoreDifference.apply(*map(widened, student), *teacher, mask_BT)[0]  # type: ignore[no-untyped-call]
        error_B = (difference_B + norms_B) / (heads * pairs_B).clamp_min(1)
        rows.append(domain_sums(error_B, pairs_B, domain_ids_B, num_domains, row_weights))
    return stacked(rows)


@torch.no_grad()
def score_norms(factors: Factors, mask_BT: Tensor) -> Tensor:
    """Squared norm of the scores of each row's valid pairs, summed over heads: <Q'Q, K'K>, without gradients.

    Shapes: queries and keys (B, N, T, dh), mask (B, T) -> (B,).
    """
    queries, keys = (widened(each) * _valid(mask_BT) for each in factors)
    with torch.autocast(mask_BT.device.type, enabled=False):
        return _inner(queries.mT @ queries, keys.mT @ keys)


class _ScoreDifference(torch.autograd.Function):
    """``<Qs'Qs, Ks'Ks> - 2 <Qs'Qt, Ks'Kt>`` of each row, (B,), and half its derivatives by Qs and Ks, (2, B, N, T, dh).

    The derivative by the student's queries is ``2 (Qs Ks'Ks - Qt Kt'Ks)``; by its keys it is the same with Q and K
    changed over. They are made at once, of a few rows at a time, while these lie in the processor's cache.
    """

    @staticmethod
    def forward(
        queries: Tensor, keys: Tensor, teacher_queries: Tensor, teacher_keys: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        rows, heads, tokens, own = queries.shape
        width = own + teacher_queries.shape[-1]
        valid = _valid(mask_BT)
        difference_B = queries.new_empty(rows)
        # Tokens before heads, as the maps that made queries and keys have them; zeros at padding.
        halves = queries.new_empty(2, rows, tokens, heads, own).transpose(2, 3)
        for part, length in _parts(mask_BT, 2 * heads * width):
            # Both models' numbers side by side: one product gives the student's own table and the common one.
            both = queries.new_empty(2, len(mask_BT[part]), heads, length, width)
            for side, mine, theirs in zip(both, (queries, keys), (teacher_queries, teacher_keys), strict=True):
                torch.mul(mine[part, :, :length], valid[part, :, :length], out=side[..., :own])
                side[..., own:] = theirs[part, :, :length]
            flat = both.flatten(0, 2)
            tables = (flat[..., :own].mT @ flat).view(*both.shape[:3], own, width)
            difference_B[part] = _inner(*tables[..., :own]) - 2 * _inner(*tables[..., own:])
            # By queries Qs Ks'Ks - Qt Kt'Ks, by keys the same with both changed over: one product, with the other's
            # tables.
            tables[..., own:].neg_()
            by_both = (flat @ tables.flip(0).flatten(0, 2).mT).view(*both.shape[:4], own)
            torch.mul(by_both, valid[part, :, :length], out=halves[:, part, :, :length])
            halves[:, part, :, length:] = 0
        return difference_B, halves

    @staticmethod
    def setup_context(ctx: Any, _: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_queries, by_keys = ctx.saved_tensors[0] * (2 * gradients[0])[:, None, None, None]
        return by_queries, by_keys, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, None]:
        halves = ctx.saved_tensors[0]
        tangent_B = halves.new_zeros(halves.shape[1])
        for half, tangent in zip(halves, tangents[:2], strict=True):
            if tangent is not None:
                tangent_B = tangent_B + 2 * _inner(half, tangent)
        return tangent_B, None


def _parts(mask_BT: Tensor, numbers: int) -> list[tuple[slice, int]]:
    """A batch in parts: rows, and up to where any of them has tokens; ``numbers`` of a token.

    On a processor a part has about as many numbers as its cache holds; elsewhere all is one part.
    """
    rows, tokens = mask_BT.shape
    if mask_BT.device.type != "cpu":
        return [(slice(0, rows), tokens)]
    ends = (mask_BT.bool() * torch.arange(1, tokens + 1)).amax(dim=1).tolist()
    size = max(1, NUMBERS_IN_CACHE // (numbers * tokens))
    return [(slice(first, first + size), max(ends[first : first + size])) for first in range(0, rows, size)]


def _valid(mask_BT: Tensor) -> Tensor:
    return mask_BT.float()[:, None, :, None]


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """Inner products of the tables of each row, summed over heads, (B, N, u, v) -> (B,)."""
    return (one * other).sum(dim=(1, 2, 3))


def _merge_factors(factors: Factors, heads: int) -> Factors:
    """Factors of the mean over groups of adjacent heads, (B, N, T, dh) -> (B, heads, T, N / heads * dh)."""
    rows, count, tokens, _ = factors[0].shape
    if count == heads:
        return factors
    queries, keys = map(widened, factors)
    group = count // heads

    def merged(each: Tensor) -> Tensor:
        return each.reshape(rows, heads, group, tokens, -1).transpose(2, 3).flatten(start_dim=3)

    # The product of merged factors is a sum over the group; of the two, one takes the division that makes it a mean.
    return merged(queries) / group, merged(keys)


def _cut_off(scores: Tensor) -> Tensor:
    # Its only handling of padding: masked scores are large and negative, and so may be a valid one.
    return torch.where(scores <= PUBLIC_CODE_THRESHOLD, torch.zeros_like(scores), scores)


def widened(tensor: Tensor) -> Tensor:
    """In single precision, if it is not in a higher one."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def prediction_losses(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    domain_ids_B: Tensor,
    num_domains: int,
    *,
    temperature: float,
    reductions: Reductions,
    row_weights: Tensor | None = None,
) -> Sums:
    """Soft cross-entropy between the teacher's and the student's class distributions, (D,).

    ``-t^2 sum_c softmax(teacher / t) log softmax(student / t)``, mean over the domain's examples (TinyBERT,
    eq. 10; the factor t^2, Hinton et al. 2015, keeps gradients comparable over temperatures). Public code:
    no factor, and a mean over classes. ``row_weights`` (B,) are factors of each example's loss.
    """
    target_BC = (widened(teacher_logits_BC) / temperature).softmax(dim=-1)
    entropy_BC = -target_BC * (widened(student_logits_BC) / temperature).log_softmax(dim=-1)
    masked = reductions == "masked"
    loss_B = entropy_BC.sum(dim=-1) * temperature**2 if masked else entropy_BC.mean(dim=-1)
    return example_sums(loss_B, domain_ids_B, num_domains, row_weights)


def label_losses(
    logits_BC: Tensor, labels_B: Tensor, domain_ids_B: Tensor, num_domains: int, *, row_weights: Tensor | None = None
) -> Sums:
    """Cross-entropy with the labels, mean over the domain's examples, (D,); one without a label has no loss.

    Shapes: logits (B, C), labels (B,), below 0 where there is none; domain ids (B,); ``row_weights`` (B,) are factors
    of each example's loss. Beside the teacher's predictions it is the second term of Hinton et al. 2015.
    """
    loss_B = torch.nn.functional.cross_entropy(widened(logits_BC), labels_B.clamp_min(0), reduction="none")
    return example_sums(loss_B * (labels_B >= 0), domain_ids_B, num_domains, row_weights)
