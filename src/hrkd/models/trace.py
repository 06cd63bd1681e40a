"""What is read from an encoder besides its logits: hidden states and attention, for any family.

Raw attention scores are taken through transformers' attention interface: a registered attention function
computes what eager attention computes and hands out the scores where others hand out probabilities, so that
the model's own recording of attentions collects them. No hooks, no state, no code per family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from hrkd.errors import ModelError

__all__ = ["AttentionKind", "EncoderTrace", "choose_attention", "has_raw_scores", "set_attention"]

AttentionKind = Literal["scores", "probabilities", "none"]
RAW_SCORES = "hrkd_raw_scores"


@dataclass(frozen=True)
class EncoderTrace:
    """Outputs of one forward pass over B rows of T tokens.

    ``logits`` (B, C); ``hidden_states`` L + 1 tensors (B, T, H), level 0 first (empty if not asked for);
    ``attention`` L tensors (B, N, T, T) of pre-softmax scores QK'/sqrt(dh) or of probabilities (empty if not
    asked for). Scores of pairs that the layer itself masks (padding keys, outside a local window) are 0.
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...] = ()
    attention: tuple[Tensor, ...] = ()


def raw_score_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Eager attention that returns its pre-softmax scores (B, N, T, T) in the place of probabilities.

    Shapes: query, key, value (B, N, T, dh); attention_mask additive, broadcastable to (B, N, T, T).
    """
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is None:
        logits = scores
    else:
        logits = scores + attention_mask
        scores = scores.masked_fill(attention_mask != 0, 0.0)
    weights = torch.softmax(logits, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), scores


def has_raw_scores(encoder: PreTrainedModel) -> bool:
    """Whether the family computes plain QK'/sqrt(dh) scores that can be read (DeBERTa and MPNet do not)."""
    return bool(encoder._can_set_attn_implementation())


def choose_attention(
    wanted: Literal["auto", "scores", "probabilities", "none"], *encoders: PreTrainedModel
) -> AttentionKind:
    """The kind of attention that all ``encoders`` can give: scores, or probabilities where there are none.

    Raises:
        ModelError: ``wanted`` is "scores" and a family has none.
    """
    without = [e.config.model_type for e in encoders if not has_raw_scores(e)]
    if wanted == "auto":
        return "probabilities" if without else "scores"
    if wanted == "scores" and without:
        raise ModelError(
            f"method.attention: scores: the {without[0]} family has no plain query-key scores (its attention adds "
            "other terms or does not use transformers' attention interface); use auto or probabilities"
        )
    return wanted


def set_attention(encoder: PreTrainedModel, kind: AttentionKind) -> None:
    """Make ``encoder`` compute attention such that ``kind`` can be recorded; outputs stay the same."""
    AttentionInterface.register(RAW_SCORES, raw_score_attention)
    AttentionMaskInterface.register(RAW_SCORES, eager_mask)
    if has_raw_scores(encoder):
        encoder.set_attn_implementation({"scores": RAW_SCORES, "probabilities": "eager", "none": "sdpa"}[kind])
    elif kind == "scores":
        raise ModelError(f"the {encoder.config.model_type} family has no plain query-key scores")
