"""One encoder, one classification head per domain (or one for all): teacher and student alike.

The encoder and the heads are those of the family's own ``AutoModelForSequenceClassification``, so that every
head can be written back as a plain classifier with equal logits (:mod:`hrkd.deploy.export`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hrkd.errors import ArtifactError, DataError, ModelError
from hrkd.models.trace import EncoderTrace

__all__ = ["MultiDomainClassifier", "MultiDomainConfig", "PlainHead", "load_plain_classifier"]

HeadMode = Literal["per_domain", "shared"]


class MultiDomainConfig(PreTrainedConfig):  # type: ignore[misc]
    """Configuration of :class:`MultiDomainClassifier`: the encoder's own, the domains, the labels."""

    model_type = "hrkd_multi_domain"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        domains: Sequence[str] = (),
        heads: HeadMode = "per_domain",
        max_tokens: int = 128,
        **kwargs: Any,
    ) -> None:
        self.encoder = encoder or {}
        self.domains = list(domains)
        self.heads = heads
        self.max_tokens = max_tokens
        super().__init__(**kwargs)

    @classmethod
    def around(
        cls,
        encoder: PreTrainedConfig,
        *,
        domains: Sequence[str],
        labels: Sequence[str],
        heads: HeadMode = "per_domain",
        max_tokens: int = 128,
    ) -> MultiDomainConfig:
        """A configuration around the encoder's."""
        names = dict(enumerate(labels))
        return cls(
            encoder=encoder.to_dict(),
            domains=domains,
            heads=heads,
            max_tokens=max_tokens,
            id2label=names,
            label2id={name: i for i, name in names.items()},
        )

    def plain_config(self) -> PreTrainedConfig:
        """The encoder's own configuration, with this model's labels: that of a plain classifier."""
        fields = {k: v for k, v in self.encoder.items() if k not in ("id2label", "label2id", "num_labels", "architectures")}
        config = AutoConfig.for_model(**fields)
        config.id2label, config.label2id = dict(self.id2label), dict(self.label2id)
        return config


class _Replay(nn.Module):
    """Stands where a classifier's encoder was and returns what the shared encoder computed."""

    outputs: BaseModelOutputWithPooling | None = None

    def forward(self, *_: Any, **__: Any) -> BaseModelOutputWithPooling:
        outputs, self.outputs = self.outputs, None
        assert outputs is not None
        return outputs


class PlainHead(nn.Module):
    """A family's sequence-classification head: its classifier with the encoder taken out.

    Running the classifier's own ``forward`` on replayed encoder outputs covers every family's head (pooling,
    dropout, projections) with no code of our own.
    """

    def __init__(self, classifier: PreTrainedModel) -> None:
        super().__init__()
        self.classifier = copy.copy(classifier)
        self.classifier._modules = dict(classifier._modules)
        setattr(self.classifier, classifier.base_model_prefix, _Replay())
        self.classifier = copy.deepcopy(self.classifier)

    def forward(self, outputs: BaseModelOutputWithPooling, attention_mask: Tensor) -> Tensor:
        """Logits (B, C) from the encoder's outputs for these B rows."""
        getattr(self.classifier, self.classifier.base_model_prefix).outputs = outputs
        logits: Tensor = self.classifier(attention_mask=attention_mask, return_dict=True).logits
        return logits


class MultiDomainClassifier(PreTrainedModel):  # type: ignore[misc]
    """Shared encoder with one classification head per domain, or one for all domains.

    ``save_pretrained`` and ``from_pretrained`` work as everywhere in transformers (safetensors, ``id2label``);
    domains and longest input stand in the configuration.
    """

    config_class = MultiDomainConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: MultiDomainConfig, plain: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if plain is None:
            plain = AutoModelForSequenceClassification.from_config(config.plain_config())
        heads = len(config.domains) if config.heads == "per_domain" else 1
        self.heads = nn.ModuleList(PlainHead(plain) for _ in range(heads))
        self.encoder = plain.base_model
        self._tied_weights_keys = None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the plain classifier has initialised encoder and head in its family's own way."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Domain names; a domain id is an index into them."""
        return tuple(self.config.domains)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names; a logit's column is an index into them."""
        return tuple(self.config.id2label[i] for i in range(len(self.config.id2label)))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        domain_ids: Tensor,
        *,
        hidden_states: bool = False,
        attention: bool = False,
        **inputs: Tensor,
    ) -> EncoderTrace:
        """One pass over rows of any domains.

        Shapes: input_ids, attention_mask (B, T); domain_ids (B,), indices into ``domains``; further ``inputs``
        (token_type_ids) as the family's tokenizer gives them. What ``attention`` returns is settled by
        :func:`hrkd.models.trace.set_attention`.
        """
        outputs = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=hidden_states,
            output_attentions=attention,
            return_dict=True,
            **inputs,
        )
        return EncoderTrace(
            logits=self._logits(outputs, attention_mask, domain_ids),
            hidden_states=tuple(outputs.hidden_states) if hidden_states else (),
            attention=tuple(outputs.attentions) if attention else (),
        )

    def _logits(self, outputs: Any, attention_mask: Tensor, domain_ids: Tensor) -> Tensor:
        last, pooled = outputs.last_hidden_state, getattr(outputs, "pooler_output", None)
        if len(self.heads) == 1:
            return self.heads[0](BaseModelOutputWithPooling(last, pooled), attention_mask)
        logits = last.new_empty(len(domain_ids), self.config.num_labels)
        for domain in domain_ids.unique().tolist():
            rows = (domain_ids == domain).nonzero().squeeze(1)
            part = BaseModelOutputWithPooling(last[rows], None if pooled is None else pooled[rows])
            logits = logits.index_copy(0, rows, self.heads[domain](part, attention_mask[rows]).to(logits.dtype))
        return logits

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> MultiDomainClassifier:
        """As in transformers, except that missing or surplus weights are errors.

        Raises:
            ArtifactError: the folder's weights are not exactly those of its configuration.
        """
        kwargs["output_loading_info"] = True
        model, info = super().from_pretrained(*args, **kwargs)
        wrong = {k: sorted(map(str, info[k])) for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]}
        if wrong:
            problems = "; ".join(f"{kind.replace('_', ' ')}: {', '.join(keys[:3])}" for kind, keys in wrong.items())
            raise ArtifactError(f"{args[0]}: the weights do not fit the configuration ({problems}); restore the folder or make it anew")
        return model

    @classmethod
    def from_plain(
        cls,
        plain: PreTrainedModel,
        *,
        domains: Sequence[str],
        labels: Sequence[str],
        heads: HeadMode = "per_domain",
        max_tokens: int = 128,
    ) -> MultiDomainClassifier:
        """A multi-domain model around a plain sequence classifier; every head starts as the plain one.

        Raises:
            ModelError: the classifier's number of outputs is not the number of labels.
        """
        if plain.config.num_labels != len(labels):
            raise ModelError(f"the classifier has {plain.config.num_labels} outputs, the data {len(labels)} labels")
        config = MultiDomainConfig.around(plain.config, domains=domains, labels=labels, heads=heads, max_tokens=max_tokens)
        return cls(config, plain)

    def to_plain(self, domain: str) -> PreTrainedModel:
        """The family's plain sequence classifier for one domain, with copied weights and equal logits.

        Raises:
            DataError: unknown ``domain``.
        """
        head = self.heads[self.domain_id(domain) if len(self.heads) > 1 else 0]
        plain = AutoModelForSequenceClassification.from_config(self.config.plain_config())
        prefix = plain.base_model_prefix
        state = {f"{prefix}.{k}": v for k, v in self.encoder.state_dict().items()}
        plain.load_state_dict(state | head.classifier.state_dict())
        return plain.to(self.encoder.dtype).eval()

    def domain_id(self, domain: str) -> int:
        """Index of a domain name.

        Raises:
            DataError: unknown name; the nearest one is named.
        """
        if domain in self.domains:
            return self.domains.index(domain)
        import difflib

        near = difflib.get_close_matches(domain, self.domains, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"unknown domain {domain!r}: this model knows {', '.join(self.domains)}{hint}")


def load_plain_classifier(source: str | Path, labels: Sequence[str], *, fine_tuned: bool) -> PreTrainedModel:
    """A family's sequence classifier from a folder or hub name.

    With ``fine_tuned`` every weight must come from the source; without, the head (and a pooler) may start anew.

    Raises:
        ModelError: nothing that transformers can load, an encoder-less or incomplete checkpoint.
    """
    names = {} if fine_tuned else {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            source, output_loading_info=True, dtype=torch.float32, ignore_mismatched_sizes=not fine_tuned, **names
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{source}: no model that AutoModelForSequenceClassification loads: {str(error).splitlines()[0]}") from error
    prefix = model.base_model_prefix + "."
    missing = sorted(k for k in info["missing_keys"] if fine_tuned or (k.startswith(prefix) and ".pooler." not in k))
    if missing:
        what = "a fine-tuned classifier" if fine_tuned else "a complete encoder"
        raise ModelError(
            f"{source}: not {what}: {len(missing)} weights are missing ({', '.join(missing[:3])}); "
            + ("fine-tune it first, or name it as teacher.model" if fine_tuned else "check the checkpoint")
        )
    return model
