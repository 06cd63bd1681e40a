"""Quicker kernels for training on a processor, with the mathematics of torch's own.

Linear maps, dropout and attention with dropout take up most of a step's time, and what they keep for the backward pass
most of its memory. Inside :func:`cpu_kernels` the same calls of any model are answered otherwise, each by the size of
its operands alone:

* large linear maps by oneDNN in the place of the BLAS that torch was built with, forward and backward. On processors of
  another maker than the BLAS this can be twice as fast (it uses the widest vectors wherever there are any);
* dropout with 16 random bits a number, drawn by numpy's SFC64 from a seed of torch's generator, so that a run is
  repeated and resumed exactly; the rate is met within 1/131072. A large mask is not kept but drawn again;
* attention with dropout, with the same draws: rows of few pairs all at once; others row by row, each over its own valid
  keys alone, in tables that fit into the processor's cache. torch has fused attention on a processor only without
  dropout;
* GELU is computed again where oneDNN's backward pass needs it, in the place of keeping its wide result.

In bf16, under autocast or not, linear maps are torch's own, since these use the processor's products in bf16. Dropout
is answered with the same draws, and attention is computed in 32-bit where torch's own loses more than it saves.

Everything else, other devices, other precisions, forward-mode derivatives and compiled models are left to torch.
Gradients of gradients are an error. A reentrant checkpoint would compute its part again outside of the context, with
other masks: use the other kind (``use_reentrant=False``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from itertools import accumulate
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["Kernels", "compiled_forward", "cpu_kernels", "use_kernels"]

Kernels = Literal["auto", "torch"]
"""Those of this module or torch's own, by the size of a call; or torch's own everywhere."""
CHOSEN: ContextVar[Kernels] = ContextVar("kernels", default="auto")

# Where the ways cross on one core of an AMD EPYC with AVX-512 (benchmarks/kernel_sizes.py), with a margin for memory.
ONEDNN_FROM = 1 << 27
"""Multiplications of a linear map from which oneDNN answers it: its calls cost 0.2 ms more, forward and backward."""
DRAWN_AGAIN_FROM = 1 << 16
"""Numbers from which dropout's mask is drawn again in the backward pass, not kept."""
ROW_BY_ROW_FROM = 1 << 15
"""Pairs of tokens in all heads of a row from which attention goes row by row, and computes its tables again."""

IN_BF16_FROM = 384
"""Tokens from which torch's attention with gradients is quicker in bf16 than in 32-bit, on a processor with AMX."""

LEVELS = 1 << 16
"""Random numbers that dropout chooses from."""
MADE_BY_GELU = "_hrkd_made_by_gelu"
"""Attribute of a tensor that GELU made."""


def cpu_kernels(device: torch.device) -> AbstractContextManager[object]:
    """A context in which models run with the kernels of this module, if ``device`` is a processor for which there are.

    That is where torch has oneDNN; within ``use_kernels("torch")`` there are none.
    """
    there = device.type == "cpu" and hasattr(torch.ops.mkldnn, "_linear_pointwise") and CHOSEN.get() == "auto"
    return _Kernels() if there else nullcontext()


@contextmanager
def use_kernels(kernels: Kernels) -> Iterator[None]:
    """A context in which :func:`cpu_kernels` gives those that are named here, in this thread."""
    token = CHOSEN.set(kernels)
    try:
        yield
    finally:
        CHOSEN.reset(token)


@contextmanager
def compiled_forward(module: nn.Module, compiled: Callable[..., Any]) -> Iterator[None]:
    """``module`` runs ``compiled`` (such as ``torch.compile(module.forward)``) in the place of its own forward."""
    own = vars(module).get("forward")
    module.forward = compiled
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


class _Kernels(TorchFunctionMode):
    """Answers the calls that :data:`ANSWERS` names, if they are of a kind that is meant here."""

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answer = ANSWERS.get(function)
        if answer is not None and args and _is_meant(args[0], function):
            result = answer(*args, **(kwargs or {}))
            if result is not None:
                return result
        return function(*args, **(kwargs or {}))


def _is_meant(tensor: Tensor, function: Any) -> bool:
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and (_is_single(tensor) or (function in IN_BF16 and _is_bf16(tensor)))
        and not tensor.is_mkldnn
        and not torch.compiler.is_compiling()
        and torch.autograd.forward_ad._current_level < 0
        and not torch._C._are_functorch_transforms_active()
    )


def _is_single(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def _is_bf16(tensor: Tensor) -> bool:
    if torch.is_autocast_enabled("cpu"):
        return tensor.dtype in (torch.float32, torch.bfloat16) and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return tensor.dtype == torch.bfloat16


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:  # noqa: A002
    if weight.dtype != torch.float32 or input.ndim < 2 or input.numel() * len(weight) < ONEDNN_FROM:
        return None
    made: _MadeByGelu | None = getattr(input, MADE_BY_GELU, None)
    before = made.before if made is not None and made.versions == (made.before._version, input._version) else None
    # As rows: of more dimensions oneDNN's result is a view, which a model may not change in place (as DeBERTa does).
    flat = [None if each is None else each.flatten(0, -2) for each in (input, before)]
    result: Tensor = _Linear.apply(flat[0], weight, bias, flat[1])  # type: ignore[no-untyped-call]
    return result.view(*input.shape[:-1], len(weight))


class _Linear(torch.autograd.Function):
    """``x W' + b`` by oneDNN; shapes (rows, inputs), (outputs, inputs), (outputs,) -> (rows, outputs).

    Where x is the GELU of ``before``, that is kept in its place.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, before: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if before is None else before, weight)
        ctx.with_bias, ctx.with_gelu = bias is not None, before is not None
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        out = gradients[0].contiguous()
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _product(out, weight.mT)
        if ctx.needs_input_grad[1]:
            x = functional.gelu(x) if ctx.with_gelu else x
            left, right = (each.reshape(-1, each.shape[-1]).to_mkldnn() for each in (out, x.contiguous()))
            to_weight, to_bias = torch.ops.aten.mkldnn_linear_backward_weights(left, right, weight, ctx.with_bias)
            to_weight, to_bias = to_weight.to_dense(), to_bias.to_dense() if ctx.with_bias else None
        elif ctx.needs_input_grad[2]:
            to_bias = out.flatten(0, -2).sum(dim=0)
        return to_x, to_weight, to_bias, None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor | None:  # noqa: A002
    if not training or inplace or not 0 < p < 1:
        return None
    if input.numel() < DRAWN_AGAIN_FROM:
        return input * _Drawn(p).keep(input.shape, input.dtype).mul_(_Drawn.scale(p))
    result: Tensor = _Dropout.apply(input, p)  # type: ignore[no-untyped-call]
    return result


class _Dropout(torch.autograd.Function):
    """Some numbers of a tensor become 0, the others larger such that the mean stays."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        drawn = _Drawn(rate)
        ctx.rate, ctx.seed = rate, drawn.seed
        return drawn.keep(x.shape, x.dtype).mul_(x).mul_(_Drawn.scale(rate))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        keep = _Drawn(ctx.rate, ctx.seed).keep(gradients[0].shape, gradients[0].dtype)
        return keep.mul_(gradients[0]).mul_(_Drawn.scale(ctx.rate)), None


class _MadeByGelu(NamedTuple):
    """What a tensor is the GELU of, and the versions of both then: either may be changed in place afterwards."""

    before: Tensor
    versions: tuple[int, int]


def _gelu(input: Tensor, approximate: str = "none") -> Tensor | None:  # noqa: A002
    if approximate != "none" or not input.requires_grad:
        return None
    result = functional.gelu(input)
    setattr(result, MADE_BY_GELU, _MadeByGelu(input, (input._version, result._version)))
    return result


class _Drawn:
    """Random masks, one after the other, with numbers that are dropped with the probability ``rate``.

    The same ``seed`` gives the same masks; default: the next of torch's generator.
    """

    def __init__(self, rate: float, seed: int | None = None) -> None:
        self.least = round(rate * LEVELS) - LEVELS // 2
        self.seed = int(torch.randint(2**62, ())) if seed is None else seed
        self._bits = np.random.SFC64(self.seed)

    @staticmethod
    def scale(rate: float) -> float:
        """What a kept number is multiplied with, so that the mean stays."""
        return LEVELS / (LEVELS - round(rate * LEVELS))

    def keep(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """A mask of ``shape``: 1, or 0 for what is dropped."""
        count = prod(shape)
        drawn = torch.from_numpy(self._numbers(count)[:count]).view(tuple(shape))
        return torch.ge(drawn, self.least, out=torch.empty(tuple(shape), dtype=dtype))

    def keep_rows(self, lengths: Sequence[int], heads: int, tokens: int) -> Tensor:
        """Masks of rows, (heads, tokens, length) each, in one tensor (rows, heads, tokens, tokens).

        They are those of as many calls of :meth:`keep`; what lies beyond a row's length means nothing.
        """
        counts = [heads * tokens * length for length in lengths]
        places = [4 * _words(count) for count in counts]
        drawn, shape = self._numbers(sum(places)), (len(lengths), heads, tokens, tokens)
        if not len(drawn) == sum(counts) == prod(shape):  # padding, or numbers of a word that are left over
            rows, start = np.zeros(shape, dtype=np.int16), 0
            for row, length, count, end in zip(rows, lengths, counts, accumulate(places), strict=True):
                row[:, :, :length] = drawn[start : start + count].reshape(heads, tokens, length)
                start = end
            drawn = rows
        return torch.ge(torch.from_numpy(drawn).view(shape), self.least, out=torch.empty(shape))

    def _numbers(self, count: int) -> np.ndarray:
        """The next ``count`` numbers of 16 bits, or up to 3 more: words have four."""
        return self._bits.random_raw(_words(count)).view(np.int16)


def _words(count: int) -> int:
    return -(-count // 4)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    if query.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu"):
        options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        return _attention_in_bf16(query, key, value, attn_mask, options)
    if not 0 < dropout_p < 1 or is_causal or enable_gqa or query.ndim != 4 or query.shape[2] != key.shape[2]:
        return None
    lengths = _lengths(attn_mask, query.shape[0], query.shape[2])
    if lengths is None:
        return None
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    if query.shape[1] * query.shape[2] ** 2 < ROW_BY_ROW_FROM:
        return _attention_at_once(query, key, value, lengths, dropout_p, factor)
    result: Tensor = _Attention.apply(query, key, value, lengths, dropout_p, factor)  # type: ignore[no-untyped-call]
    return result.transpose(1, 2)


def _attention_in_bf16(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> Tensor | None:
    """Computed in 32-bit, where dropout or gradients are asked for: but for many tokens, both are slower in bf16."""
    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    if not options["dropout_p"] and not (learns and query.shape[-2] < IN_BF16_FROM):
        return None
    with torch.autocast("cpu", enabled=False):
        query, key, value = query.float(), key.float(), value.float()
        if mask is not None and mask.is_floating_point():
            mask = mask.float()
        result = _attention(query, key, value, mask, **options)
        if result is None:
            result = functional.scaled_dot_product_attention(query, key, value, mask, **options)
        return result.to(torch.bfloat16)


def _lengths(mask: Tensor | None, rows: int, tokens: int) -> list[int] | None:
    """Valid tokens of each row, if these come first and all queries see the same keys; else None."""
    if mask is None:
        return [tokens] * rows
    if mask.dtype != torch.bool or mask.shape != (rows, 1, tokens, tokens):
        return None
    keys = mask[:, 0, 0]
    lengths = keys.sum(dim=1)
    first = torch.arange(tokens) < lengths[:, None]
    alike = bool((mask[:, 0] == first[:, None]).all()) and bool((lengths > 0).all())
    return list(map(int, lengths.tolist())) if alike else None


def _attention_at_once(
    query: Tensor, key: Tensor, value: Tensor, lengths: list[int], rate: float, factor: float
) -> Tensor:
    """What :class:`_Attention` computes, for all rows together and with their tables kept; (B, N, T, dv)."""
    _, heads, tokens, _ = query.shape
    scores = (query * factor) @ key.mT
    if min(lengths) < tokens:
        padding = torch.arange(tokens) >= torch.tensor(lengths)[:, None]
        scores = scores + torch.zeros(padding.shape).masked_fill_(padding, -torch.inf)[:, None, None]
    kept = scores.softmax(dim=-1) * _Drawn(rate).keep_rows(lengths, heads, tokens)
    return kept @ (value * _Drawn.scale(rate))


class _Attention(torch.autograd.Function):
    """``dropout(softmax(f Q K')) V`` over each row's first ``lengths[i]`` keys.

    Shapes: (B, N, T, dh), (B, N, T, dh), (B, N, T, dv) -> (B, T, N, dv). No table is kept for the backward pass, which
    computes probabilities again and draws the same masks again.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, lengths: list[int], rate: float, factor: float
    ) -> Tensor:
        rows, heads, tokens, _ = query.shape
        out = value.new_empty(rows, tokens, heads, value.shape[-1])
        drawn = _Drawn(rate)
        for i, n in enumerate(lengths):
            table = _probabilities(query[i], key[i, :, :n], factor)
            out[i] = torch.bmm(table.mul_(drawn.keep(table.shape)), value[i, :, :n]).transpose(0, 1)
        out.mul_(_Drawn.scale(rate))
        ctx.save_for_backward(query, key, value, out)
        ctx.lengths, ctx.rate, ctx.factor, ctx.seed = lengths, rate, factor, drawn.seed
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out = ctx.saved_tensors
        to_query, to_key, to_value = (torch.zeros_like(each.transpose(1, 2)) for each in (query, key, value))
        # sum_j P_ij dP_ij is the product of output and its gradient (Dao et al., NeurIPS 2022, appendix B.2)
        means = (gradients[0] * out).sum(dim=-1).transpose(1, 2)[..., None]
        scaled = (gradients[0] * _Drawn.scale(ctx.rate)).transpose(1, 2)
        drawn = _Drawn(ctx.rate, ctx.seed)
        for i, n in enumerate(ctx.lengths):
            theirs, table = scaled[i], _probabilities(query[i], key[i, :, :n], ctx.factor)
            kept = drawn.keep(table.shape).mul_(table)
            to_value[i, :n] = torch.bmm(kept.mT, theirs).transpose(0, 1)
            to_scores = torch.bmm(theirs, value[i, :, :n].mT).mul_(kept).addcmul_(table, means[i], value=-1)
            to_query[i] = torch.bmm(to_scores, key[i, :, :n]).transpose(0, 1)
            to_key[i, :n] = torch.bmm(to_scores.mT, query[i]).transpose(0, 1)
        to_query.mul_(ctx.factor)
        to_key.mul_(ctx.factor)
        return to_query.transpose(1, 2), to_key.transpose(1, 2), to_value.transpose(1, 2), None, None, None


def _probabilities(query: Tensor, key: Tensor, factor: float) -> Tensor:
    """Those of one row, (N, T, dh), (N, n, dh) -> (N, T, n)."""
    table = torch.bmm(query * factor, key.mT)
    return torch.softmax(table, dim=-1, out=table)


ANSWERS: dict[Any, Callable[..., Tensor | None]] = {
    functional.linear: _linear,
    functional.dropout: _dropout,
    functional.gelu: _gelu,
    functional.scaled_dot_product_attention: _attention,
}
IN_BF16 = frozenset({functional.dropout, functional.scaled_dot_product_attention})
"""What is answered in bf16 too."""
