"""A model without layers: the sum of a text's token vectors, and of hashed pairs of neighbours, before the heads.

It looks numbers up and adds them; of the order of words it knows pairs alone. It is a family as transformers has them,
so that all that is built on one (saving, opening, predicting) works; transformers alone does not know it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from hrkd.models.kind import STATIC
from hrkd.recipe.schema import StudentConfig

__all__ = [
    "StaticConfig",
    "StaticEncoder",
    "StaticForSequenceClassification",
    "is_static",
    "static_config",
]

WIDTH = 16
"""Where a recipe names none."""
MULTIPLIER = 1_000_003
"""Of the first of two ids, in the hash of a pair."""


class StaticConfig(PreTrainedConfig):  # type: ignore[misc]
    """Configuration of :class:`StaticEncoder`.

    Args:
        vocab_size: token ids V.
        hidden_size: width H of the vectors.
        pair_buckets: vectors that pairs of neighbouring tokens share by a hash, 0: pairs are not looked at.
        classifier_dropout: dropout before the head.
        pad_token_id: id of padding, which has no vector.
    """

    model_type = STATIC

    def __init__(
        self,
        vocab_size: int = 30_522,
        hidden_size: int = 64,
        pair_buckets: int = 65_536,
        classifier_dropout: float = 0.1,
        pad_token_id: int | None = 0,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.pair_buckets = pair_buckets
        self.classifier_dropout = classifier_dropout
        super().__init__(pad_token_id=pad_token_id, **kwargs)


class StaticEncoder(PreTrainedModel):  # type: ignore[misc]
    """``(sum_t E[x_t] + sum_t P[hash(x_t, x_{t+1})]) / sqrt(n)`` over the n valid tokens of a text (B, H).

    ``E`` (V, H) and ``P`` (buckets, H). Both stand as ``last_hidden_state`` (B, 1, H) and ``pooler_output`` (B, H).
    """

    config_class = StaticConfig
    base_model_prefix = "bag"
    main_input_name = "input_ids"

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.pairs = nn.Embedding(config.pair_buckets, config.hidden_size) if config.pair_buckets else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of token vectors."""
        return self.tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Another table."""
        self.tokens = value

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Vectors of B texts; shapes: input_ids, attention_mask (B, T)."""
        valid = attention_mask.bool()
        total = _sums(self.tokens, input_ids, valid)
        if self.pairs is not None and input_ids.shape[1] > 1:
            hashed = (input_ids[:, :-1] * MULTIPLIER + input_ids[:, 1:]) % self.pairs.num_embeddings
            total = total + _sums(self.pairs, hashed, valid[:, :-1] & valid[:, 1:])
        pooled = total / valid.sum(dim=1, keepdim=True).clamp_min(1).to(total.dtype).sqrt()
        return BaseModelOutputWithPooling(pooled[:, None], pooled)


def _sums(table: nn.Embedding, ids: Tensor, valid: Tensor) -> Tensor:
    """The sum of the rows of a table of each text's valid ids, (B, T) -> (B, H)."""
    counts = valid.sum(dim=1)
    starts = counts.cumsum(dim=0) - counts
    sums: Tensor = nn.functional.embedding_bag(ids[valid], table.weight, starts, mode="sum")
    return sums


class StaticForSequenceClassification(PreTrainedModel):  # type: ignore[misc]
    """A :class:`StaticEncoder` with one head."""

    config_class = StaticConfig
    base_model_prefix = "bag"

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.bag = StaticEncoder(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Logits (B, C)."""
        outputs = self.bag(input_ids=input_ids, attention_mask=attention_mask)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(outputs.pooler_output)))


AutoConfig.register(STATIC, StaticConfig, exist_ok=True)
AutoModel.register(StaticConfig, StaticEncoder, exist_ok=True)
AutoModelForSequenceClassification.register(StaticConfig, StaticForSequenceClassification, exist_ok=True)


def is_static(model: PreTrainedModel) -> bool:
    """Whether the encoder of a multi-domain model has no layers."""
    return isinstance(model.encoder, StaticEncoder)


def static_config(teacher: PreTrainedModel, padding: int | None, settings: StudentConfig) -> StaticConfig:
    """A configuration for the token ids of a teacher's encoder, of the size that a recipe names."""
    rows, width = teacher.get_input_embeddings().num_embeddings, settings.width or WIDTH
    return StaticConfig(rows, width, settings.pair_buckets, pad_token_id=padding)
