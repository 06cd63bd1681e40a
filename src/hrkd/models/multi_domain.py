"""One encoder, one classification head per domain (or one for all): teacher and student alike.

The encoder and the heads are those of the family's own ``AutoModelForSequenceClassification``, so that every
head can be written back as a plain classifier with equal logits (:mod:`hrkd.deploy.export.plain`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hrkd.errors import ArtifactError, DataError, ModelError
from hrkd.method.meta_kd import DomainHead
from hrkd.models.families import longest_input, without_use
from hrkd.models.kind import MODEL_TYPE, UNKNOWN
from hrkd.models.plain import family_config, without_bars
from hrkd.models.routing import DomainRouter, mixed_logits, of_domains
from hrkd.models.shape import shape_of
from hrkd.models.trace import EncoderTrace
from hrkd.recipe.schema import Keep
from hrkd.support.messages import suggestion

__all__ = ["MultiDomainClassifier", "MultiDomainConfig", "PlainHead", "level_of"]

HeadMode = Literal["per_domain", "shared"]

PROBLEMS = {"missing_keys": "missing", "unexpected_keys": "surplus", "mismatched_keys": "of another shape"}


class MultiDomainConfig(PreTrainedConfig):  # type: ignore[misc]
    """Configuration of :class:`MultiDomainClassifier`: the encoder's own, the domains, the labels, what it reads.

    Args:
        encoder: The fields of the encoder's own configuration.
        domains: Names; a domain id is an index into them.
        heads: One for each domain, or one for all.
        max_tokens: Longest input, in tokens.
        keep: What is read of a longer text (:func:`hrkd.data.reading.encode`); None: an older model, its head.
        domain_head: Whether a meta-teacher's is there.
        router: ``level`` and ``sharpness`` of a :class:`hrkd.models.routing.DomainRouter`; None: there is none, and
            every text's domain must be known.
        columns: Names in the table that it was made from of ``text``, ``text_pair`` (None: single texts), ``label`` and
            ``domain``; None: not known.
        hrkd_version: Of the package that made it.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        domains: Sequence[str] = (),
        heads: HeadMode = "per_domain",
        max_tokens: int = 128,
        keep: Keep | None = None,
        domain_head: bool = False,
        router: Mapping[str, float] | None = None,
        columns: Mapping[str, str | None] | None = None,
        hrkd_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.encoder = encoder or {}
        self.domains = list(domains)
        self.heads = heads
        self.max_tokens = max_tokens
        self.keep = keep or "head"
        self.domain_head = domain_head
        self.router = None if router is None else dict(router)
        self.columns = None if columns is None else dict(columns)
        self.hrkd_version = hrkd_version
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
            encoder=without_use(encoder.to_dict()),
            domains=domains,
            heads=heads,
            max_tokens=max_tokens,
            id2label=names,
            label2id={name: i for i, name in names.items()},
        )

    def plain_config(self) -> PreTrainedConfig:
        """The encoder's own configuration, with this model's labels: that of a plain classifier."""
        fields = {name: value for name, value in self.encoder.items() if name != "architectures"}
        return family_config(fields, [self.id2label[i] for i in range(len(self.id2label))])


class _Replay(nn.Module):
    """Stands where a classifier's encoder was and returns what the shared encoder computed."""

    outputs: BaseModelOutputWithPooling | None = None

    def forward(self, *_: Any, **__: Any) -> BaseModelOutputWithPooling:
        outputs, self.outputs = self.outputs, None
        assert outputs is not None
        return outputs


def level_of(outputs: Any, level: int) -> Tensor:
    """The states (B, T, H) of a level; of an encoder without layers, whose states are none, its output (B, 1, H)."""
    states = getattr(outputs, "hidden_states", None)
    found: Tensor = outputs.last_hidden_state if states is None else states[level]
    return found


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

    def start_anew(self) -> None:
        """Random weights, drawn as the family draws them."""
        for parameter in self.parameters():
            parameter._is_hf_initialized = False  # type: ignore[attr-defined]  # loaded ones are left alone otherwise
        for module in reversed(list(self.classifier.modules())):  # children first, as transformers does
            self.classifier._init_weights(module)


class MultiDomainClassifier(PreTrainedModel):  # type: ignore[misc]
    """Shared encoder with one classification head per domain, or one for all domains.

    ``save_pretrained`` and ``from_pretrained`` work as everywhere in transformers (safetensors, ``id2label``);
    domains and longest input stand in the configuration. A meta-teacher has a ``domain_head``
    (:class:`hrkd.method.meta_kd.DomainHead`), which only training looks at.
    """

    config_class = MultiDomainConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: MultiDomainConfig, plain: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if plain is None:
            plain = AutoModelForSequenceClassification.from_config(config.plain_config(), trust_remote_code=False)
        heads = len(config.domains) if config.heads == "per_domain" else 1
        self.heads = nn.ModuleList(PlainHead(plain) for _ in range(heads))
        self.encoder = plain.base_model
        self.domain_head: DomainHead | None = None
        if config.domain_head:
            self.add_domain_head()
        self.router: DomainRouter | None = None
        if config.router is not None:
            self.add_router(int(config.router["level"]), float(config.router["sharpness"]))
        self._tied_weights_keys = None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the plain classifier has initialised encoder and head in its family's own way."""

    def add_domain_head(self) -> None:
        """A :class:`hrkd.method.meta_kd.DomainHead` with random weights, for training a meta-teacher."""
        self.config.domain_head = True
        self.domain_head = DomainHead(shape_of(self.encoder.config).width, len(self.domains))

    def add_router(self, level: int, sharpness: float) -> None:
        """A :class:`hrkd.models.routing.DomainRouter` that has not met any text."""
        self.config.router = {"level": level, "sharpness": sharpness}
        width = getattr(self.encoder.config, "hidden_size", None) or shape_of(self.encoder.config).width
        self.router = DomainRouter(len(self.domains), width, level, sharpness).to(self.device)

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
        hidden_states: bool | Sequence[int] = False,
        attention: bool = False,
        every_head: bool = False,
        **inputs: Tensor,
    ) -> EncoderTrace:
        """One pass over rows of any domains.

        Shapes: input_ids, attention_mask (B, T); domain_ids (B,), indices into ``domains``, or
        :data:`hrkd.models.kind.UNKNOWN` for texts that the router is to look at; further ``inputs``
        (token_type_ids) as the family's tokenizer gives them. ``hidden_states``: all, none, or those of the given
        levels in their order. What ``attention`` returns is settled by :func:`hrkd.models.trace.set_attention`.
        ``every_head``: what the heads of all domains say of each row, too.

        Raises:
            ModelError: ``every_head`` is asked of a model with one head for all domains; a domain is unknown, and
                there is no router.
        """
        routed = len(self.heads) > 1 and bool((domain_ids == UNKNOWN).any())
        wanted = hidden_states if isinstance(hidden_states, bool) else sorted(set(hidden_states))
        if routed:
            if wanted or attention or every_head:
                raise ModelError("of a text whose domain is to be found there are logits alone; name the domain")
            wanted = [self._router().level]
        outputs = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=wanted,
            output_attentions=attention,
            return_dict=True,
            **inputs,
        )
        if routed:
            logits, shares = self.routed_logits(outputs, attention_mask, domain_ids)
            return EncoderTrace(logits=logits, shares=shares)
        levels = range(len(outputs.hidden_states)) if hidden_states is True else hidden_states or ()
        of_heads = None
        if every_head:
            if len(self.heads) != len(self.domains):
                raise ModelError(
                    "this model has one head for all domains; there is nothing that heads could learn from others"
                )
            of_heads = self.head_logits(outputs, attention_mask, range(len(self.heads)))
        own = None if of_heads is None else of_heads[torch.arange(len(domain_ids), device=of_heads.device), domain_ids]
        return EncoderTrace(
            logits=self._logits(outputs, attention_mask, domain_ids) if own is None else own,
            hidden_states=tuple(outputs.hidden_states[level] for level in levels),
            attention=tuple(outputs.attentions) if attention else (),
            head_logits=of_heads,
        )

    def head_logits(self, outputs: Any, attention_mask: Tensor, heads: Sequence[int]) -> Tensor:
        """What some heads, by number, say of each row of the encoder's outputs, (B, heads, C)."""
        part = BaseModelOutputWithPooling(outputs.last_hidden_state, getattr(outputs, "pooler_output", None))
        said = [cast(PlainHead, self.heads[head])(part, attention_mask) for head in heads]
        return torch.stack(said, dim=1).to(part.last_hidden_state.dtype)

    def _router(self) -> DomainRouter:
        if self.router is None:
            raise ModelError(
                "the domain of a text is not given, and this model has no prototypes to find it by (it was made by an "
                "earlier hrkd, for one domain, or is a teacher); name the domain"
            )
        return self.router

    def shares(self, outputs: Any, attention_mask: Tensor) -> Tensor:
        """How far each text is of each domain, (B, D), by the router."""
        assert self.router is not None
        found: Tensor = self.router(level_of(outputs, self.router.level), attention_mask)
        return found

    def routed_logits(self, outputs: Any, attention_mask: Tensor, domain_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, C) of the known domains' heads, and where a domain is unknown of all heads by their shares (B, D).

        The shares stand behind them.
        """
        shares = self.shares(outputs, attention_mask)
        every = self.head_logits(outputs, attention_mask, range(len(self.heads)))
        known = of_domains(every, domain_ids.clamp_min(0))
        mixed = mixed_logits(every, shares)
        return torch.where((domain_ids == UNKNOWN)[:, None], mixed, known), shares

    def _logits(self, outputs: Any, attention_mask: Tensor, domain_ids: Tensor) -> Tensor:
        last: Tensor = outputs.last_hidden_state
        pooled: Tensor | None = getattr(outputs, "pooler_output", None)
        domains = sorted(set(domain_ids.tolist())) if len(self.heads) > 1 else [0]
        if self.training and torch.is_grad_enabled():
            # Of several processes that train together each has to have a gradient of every head, be it of no row.
            domains = list(range(len(self.heads)))
        if len(domains) == 1:
            alone: Tensor = self.heads[domains[0]](BaseModelOutputWithPooling(last, pooled), attention_mask)
            return alone if len(self.heads) == 1 else alone.to(last.dtype)
        logits = last.new_empty(len(domain_ids), self.config.num_labels)
        for domain in domains:
            rows = (domain_ids == domain).nonzero().squeeze(1)
            part = BaseModelOutputWithPooling(last[rows], None if pooled is None else pooled[rows])
            logits = logits.index_copy(0, rows, self.heads[domain](part, attention_mask[rows]).to(logits.dtype))
        return logits

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> MultiDomainClassifier:
        """As in transformers, except that missing or surplus weights are errors.

        Only safetensors are read, in 32 bits, and no code of the folder is run.

        Raises:
            ArtifactError: the folder's weights are not exactly those of its configuration.
        """
        # A mismatch is let through by transformers in order to be reported below.
        kwargs |= {"output_loading_info": True, "use_safetensors": True, "ignore_mismatched_sizes": True}
        kwargs |= {"dtype": torch.float32, "trust_remote_code": False}
        with without_bars():
            model, info = super().from_pretrained(*args, **kwargs)
        # A weight of another shape comes with both shapes behind its name.
        wrong = {kind: sorted(key if isinstance(key, str) else str(key[0]) for key in info[kind]) for kind in PROBLEMS}
        if any(wrong.values()):
            problems = "; ".join(f"{PROBLEMS[kind]}: {', '.join(keys[:3])}" for kind, keys in wrong.items() if keys)
            raise ArtifactError(
                f"{args[0]}: the weights do not fit the configuration ({problems}); restore the folder or make it anew"
            )
        assert isinstance(model, cls)
        return model

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As in transformers."""
        with without_bars():
            super().save_pretrained(*args, **kwargs)

    @classmethod
    def from_plain(
        cls,
        plain: PreTrainedModel,
        *,
        domains: Sequence[str],
        labels: Sequence[str],
        heads: HeadMode = "per_domain",
        max_tokens: int = 128,
        new_heads: bool = False,
    ) -> MultiDomainClassifier:
        """A multi-domain model around a plain sequence classifier.

        Every head starts as the plain one, or with ``new_heads`` from random weights of its own: with equal heads,
        what the domains disagree about would cancel out in the first gradients that reach the encoder.

        Raises:
            ModelError: the classifier's number of outputs is not the number of labels, or it has too few positions.
        """
        if plain.config.num_labels != len(labels):
            raise ModelError(f"the classifier has {plain.config.num_labels} outputs, the data {len(labels)} labels")
        longest = longest_input(plain.base_model)
        if longest is not None and max_tokens > longest:
            raise ModelError(f"data.max_length: {max_tokens} tokens are asked for, the encoder takes {longest} at most")
        config = MultiDomainConfig.around(
            plain.config, domains=domains, labels=labels, heads=heads, max_tokens=max_tokens
        )
        model = cls(config, plain)
        if new_heads:
            for head in model.heads:
                cast(PlainHead, head).start_anew()
        return model

    def to_plain(self, domain: str) -> PreTrainedModel:
        """The family's plain sequence classifier for one domain, with copied weights and equal logits.

        Raises:
            DataError: unknown ``domain``.
        """
        head = cast(PlainHead, self.heads[self.domain_id(domain) if len(self.heads) > 1 else 0])
        plain = AutoModelForSequenceClassification.from_config(self.config.plain_config(), trust_remote_code=False)
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
        hint = suggestion(domain, self.domains, before="; ")
        raise DataError(f"unknown domain {domain!r}: this model knows {', '.join(self.domains)}{hint}")
