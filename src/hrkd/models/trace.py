"""What is read from an encoder besides its logits: hidden states and attention, for any family.

Attention is taken through transformers' attention interface: a registered attention function computes what eager
attention computes and hands out what is to be compared (scores, or probabilities before dropout), so that the model's
own recording of attentions collects it. No hooks and no code per family; a mark on a layer's modules says whether its
attention is wanted.

Families without the interface (DeBERTa) record their probabilities after dropout. While probabilities are
compared their attention dropout is off; :func:`set_attention` with any other kind puts the configuration's rate back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask

from hrkd.errors import ModelError
from hrkd.models.families import attention_dropouts, has_local_windows, has_raw_scores, layer_list

__all__ = [
    "AttentionKind",
    "EncoderTrace",
    "QueriesKeys",
    "choose_attention",
    "score_terms",
    "set_attention",
]

AttentionKind = Literal["scores", "queries_keys", "probabilities", "none"]
RAW_SCORES = "hrkd_raw_scores"
QUERIES_KEYS = "hrkd_queries_keys"
PROBABILITIES = "hrkd_probabilities"
RECORDED = "hrkd_recorded"
"""Attribute of a layer's modules: whether its attention is wanted (default: yes)."""

# Tensors that models pass on to every attention function and that change no score.
HARMLESS_TENSORS = {"position_ids", "cache_position"}
# Further terms of the score: refused even where they are plain numbers.
SCORE_TERMS = {"bias", "position_bias", "relative_position_bias", "s_aux", "score_mod", "softcap"}


class QueriesKeys(NamedTuple):
    """What the scores of a layer are products of: queries, divided by sqrt(dh), and keys, (B, N, T, dh) each."""

    queries: Tensor
    keys: Tensor


@dataclass(frozen=True)
class EncoderTrace:
    """Outputs of one forward pass over B rows of T tokens.

    ``logits`` (B, C); ``hidden_states`` L + 1 tensors (B, T, H), level 0 first, or those of the levels asked for;
    ``attention`` L tensors, or those of the layers asked for: (B, N, T, T) of pre-softmax scores QK'/sqrt(dh) or of
    probabilities, or :class:`QueriesKeys`.
    Pairs that the layer itself masks (padding keys, outside a local window) have score -inf and probability 0.
    ``score_norms``, where they are known: for each of ``attention`` that holds queries and keys, (B,), see
    :func:`hrkd.method.losses.score_norms`. ``head_logits`` (B, D, C), where they are asked for: what the head of every
    domain says of each row, whatever its own domain. ``shares`` (B, D) of the domains, where one is to be found.
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...] = ()
    attention: tuple[Tensor | QueriesKeys, ...] = ()
    score_norms: tuple[Tensor, ...] = ()
    head_logits: Tensor | None = None
    shares: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in the order of the fields."""
        attention = (each if isinstance(each, QueriesKeys) else (each,) for each in self.attention)
        heads = () if self.head_logits is None else (self.head_logits,)
        return (self.logits, *self.hidden_states, *chain.from_iterable(attention), *self.score_norms, *heads)

    def map(self, function: Callable[..., Tensor], *others: EncoderTrace) -> EncoderTrace:
        """The trace of what ``function`` makes of each tensor, and of those in its place in ``others``."""

        def both(first: Tensor | QueriesKeys, *rest: Tensor | QueriesKeys) -> Tensor | QueriesKeys:
            if isinstance(first, QueriesKeys):
                return QueriesKeys(*map(function, first, *rest))
            return function(first, *rest)

        traces = (self, *others)
        return EncoderTrace(
            function(*(trace.logits for trace in traces)),
            tuple(map(function, *(trace.hidden_states for trace in traces))),
            tuple(map(both, *(trace.attention for trace in traces))),
            tuple(map(function, *(trace.score_norms for trace in traces))),
            None if self.head_logits is None else function(*(cast(Tensor, trace.head_logits) for trace in traces)),
        )


def raw_score_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """Eager attention that returns its pre-softmax scores (B, N, T, T) in the place of probabilities.

    Shapes: query, key, value (B, N, T, dh); attention_mask additive, broadcastable to (B, N, T, T). Masked pairs
    have score -inf. In half precision the scores of all other pairs are finite: they saturate.

    Raises:
        ModelError: fewer key heads than query heads, or scores with further terms.
    """
    if not _is_recorded(module):
        return _fused(module, query, key, value, attention_mask, scaling, dropout, others), None
    scores = _scores(query, key, scaling, others)
    attended, _ = _attend(module, scores, value, attention_mask, dropout)
    if attention_mask is not None:
        scores = scores.masked_fill(attention_mask != 0, -torch.inf)
    return attended, scores


def query_key_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, QueriesKeys | None]:
    """Fused attention that returns what its scores are products of.

    No score is kept, so that memory does not grow with T^2. Shapes and errors: see :func:`raw_score_attention`.
    """
    _check_comparable(query, key, others)
    attended = _fused(module, query, key, value, attention_mask, scaling, dropout, others)
    if not _is_recorded(module):
        return attended, None
    return attended, QueriesKeys(query * _scale(query, scaling), key)


def probability_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """Eager attention that returns its probabilities (B, N, T, T) as they are before dropout.

    Shapes and errors: see :func:`raw_score_attention`.
    """
    if not _is_recorded(module):
        return _fused(module, query, key, value, attention_mask, scaling, dropout, others), None
    return _attend(module, _scores(query, key, scaling, others), value, attention_mask, dropout)


def _fused(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None,
    dropout: float,
    others: dict[str, Any],
) -> Tensor:
    """What fused attention attends to, (B, T, N, dh)."""
    others = {name: other for name, other in others.items() if name != "output_attentions"}  # it is answered here
    attended: Tensor = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
    )[0]
    return attended


def _is_recorded(module: nn.Module) -> bool:
    return getattr(module, RECORDED, True)


def _scores(query: Tensor, key: Tensor, scaling: float | None, others: dict[str, Any]) -> Tensor:
    _check_comparable(query, key, others)
    # The factor comes first: a product of long half-precision vectors may overflow before it is scaled.
    scores = (query * _scale(query, scaling)) @ key.transpose(-1, -2)
    if scores.dtype != torch.float16:
        return scores
    limits = torch.finfo(scores.dtype)
    return scores.clamp(limits.min, limits.max)


def _scale(query: Tensor, scaling: float | None) -> float:
    return float(query.shape[-1] ** -0.5) if scaling is None else scaling


def _check_comparable(query: Tensor, key: Tensor, others: dict[str, Any]) -> None:
    if key.shape[1] != query.shape[1]:
        raise ModelError(
            f"attention with {query.shape[1]} query heads and {key.shape[1]} key heads (grouped-query attention) "
            "cannot be compared; use method.attention: none"
        )
    if terms := score_terms(others):
        raise ModelError(
            f"the attention scores have further terms ({', '.join(terms)}) that cannot be compared; "
            "use method.attention: none"
        )


def score_terms(others: Mapping[str, Any]) -> list[str]:
    """Names of what a family hands to its attention function, ``others``, that are further terms of the scores."""
    return sorted(
        name
        for name, value in others.items()
        if value is not None and (name in SCORE_TERMS or (isinstance(value, Tensor) and name not in HARMLESS_TENSORS))
    )


def _attend(
    module: nn.Module, scores: Tensor, value: Tensor, attention_mask: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """Attended values (B, T, N, dh) and probabilities before dropout (B, N, T, T)."""
    logits = scores.float() if attention_mask is None else scores.float() + attention_mask
    probabilities = logits.softmax(dim=-1).to(value.dtype)
    weights = nn.functional.dropout(probabilities, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), probabilities


FUNCTIONS = {
    RAW_SCORES: (raw_score_attention, eager_mask),
    QUERIES_KEYS: (query_key_attention, sdpa_mask),
    PROBABILITIES: (probability_attention, eager_mask),
}
IMPLEMENTATIONS: dict[AttentionKind, str] = {
    "scores": RAW_SCORES,
    "queries_keys": QUERIES_KEYS,
    "probabilities": PROBABILITIES,
    "none": "sdpa",
}


def choose_attention(
    wanted: Literal["auto", "scores", "probabilities", "none"], *encoders: PreTrainedModel, factored: bool = False
) -> AttentionKind:
    """The kind of attention that all ``encoders`` can give: scores, or probabilities where there are none.

    With ``factored``, queries and keys in the place of scores, unless an encoder has local windows.

    Raises:
        ModelError: ``wanted`` is "scores" and a family has none.
    """
    without = [e.config.model_type for e in encoders if not has_raw_scores(e)]
    if wanted == "auto":
        wanted = "probabilities" if without else "scores"
    if wanted == "scores" and without:
        raise ModelError(
            f"method.attention: scores: the {without[0]} family has no plain query-key scores (its attention adds "
            "other terms or does not use transformers' attention interface); use auto or probabilities"
        )
    if wanted == "scores" and factored and not any(map(has_local_windows, encoders)):
        return "queries_keys"
    return wanted


def set_attention(encoder: PreTrainedModel, kind: AttentionKind, *, layers: Sequence[int] | None = None) -> None:
    """Make ``encoder`` compute attention such that ``kind`` can be recorded; outputs stay the same in evaluation mode.

    ``layers`` (from 0) are those whose attention is wanted, the others keep fused attention; default: all. Families
    without the attention interface record all of them.

    Outputs stay the same in training mode too, with one exception: where a family without the attention interface is to
    give "probabilities", its attention dropout is off, because it records what dropout returns. Any other kind gives it
    the configuration's rate again.

    Raises:
        ModelError: the family cannot give ``kind``.
    """
    if has_raw_scores(encoder):
        if kind == "none" and encoder.config._attn_implementation not in FUNCTIONS:
            return  # the model's own choice stays
        for name, (function, mask) in FUNCTIONS.items():
            AttentionInterface.register(name, function)
            AttentionMaskInterface.register(name, mask)
        encoder.set_attn_implementation(IMPLEMENTATIONS[kind])
        _, modules = layer_list(encoder) or ("", ())
        for number, layer in enumerate(modules):
            for module in layer.modules():
                setattr(module, RECORDED, layers is None or number in layers)
        return
    if kind in ("scores", "queries_keys"):
        raise ModelError(f"the {encoder.config.model_type} family has no plain query-key scores")
    dropouts = attention_dropouts(encoder)
    if kind == "probabilities" and not dropouts:
        raise ModelError(
            f"the attention dropout of the {encoder.config.model_type} family was not found, so its probabilities "
            "cannot be compared; use method.attention: none"
        )
    for dropout in dropouts:
        dropout.p = 0.0 if kind == "probabilities" else encoder.config.attention_probs_dropout_prob
