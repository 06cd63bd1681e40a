"""The student as an ONNX graph: encoder, heads and the choice among them by ``domain_ids``; no part of training.

Attention becomes one node (``com.microsoft.MultiHeadAttention`` of ONNX Runtime) where the family uses transformers'
attention interface, and else the operations that the family writes. Batch and length are dynamic.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedTokenizerBase
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from hrkd.errors import ModelError
from hrkd.models.families import has_local_windows, has_raw_scores
from hrkd.models.multi_domain import MultiDomainClassifier, PlainHead
from hrkd.models.routing import of_domains
from hrkd.models.static import MULTIPLIER, StaticEncoder, is_static
from hrkd.models.trace import score_terms
from hrkd.support.messages import first_line

__all__ = ["GraphFacts", "write_graph"]

logger = logging.getLogger("hrkd")

OPSET = 20
ONE_NODE, ONE_NODE_WINDOWS = "hrkd_onnx", "hrkd_onnx_windows"
EXAMPLE = (2, 16)
"""Rows and, at most, tokens of the inputs that the graph is traced with: sizes of 1 would be taken for constants."""


@dataclass(frozen=True)
class GraphFacts:
    """Names of the columns of token ids that a graph takes, and what attention is in it."""

    inputs: list[str]
    attention: str


class StudentGraph(nn.Module):
    """What is exported: ``(columns of token ids, domain_ids) -> logits`` (B, C), and ``shares`` (B, D) if it routes.

    Args:
        model: the student.
        domain: the only one whose head is there; None: all, and ``domain_ids`` (B,) chooses.
    """

    def __init__(self, model: MultiDomainClassifier, domain: str | None = None) -> None:
        super().__init__()
        self.model = model
        self.head = None if domain is None or len(model.heads) == 1 else model.domain_id(domain)

    @property
    def chooses(self) -> bool:
        """Whether it asks for the domain of each row."""
        return self.head is None and len(self.model.heads) > 1

    @property
    def routes(self) -> bool:
        """Whether it finds domains by itself, and tells their shares."""
        return self.chooses and self.model.router is not None

    def forward(self, columns: dict[str, Tensor], domain_ids: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, C) of ``columns`` (B, T) of token ids and their mask, and ``domain_ids`` (B,) where it chooses.

        With shares of the domains (B, D) if it routes.
        """
        routes = self.routes
        outputs = self.model.encoder(**columns, output_hidden_states=routes, return_dict=True)
        mask = columns["attention_mask"]
        if not self.chooses:
            return self.model.head_logits(outputs, mask, [self.head or 0])[:, 0]
        assert domain_ids is not None
        if routes:
            return self.model.routed_logits(outputs, mask, domain_ids)
        every = self.model.head_logits(outputs, mask, range(len(self.model.heads)))
        return of_domains(every, domain_ids)


class FoldedBag(nn.Module):
    """A student without layers, whose heads are multiplied into its tables: D x C numbers a piece in the place of H.

    The heads are linear in the sum of vectors, so that the sum may be of what they say of each vector. Routing, which
    looks at the vectors themselves, is lost.
    """

    first: Tensor

    def __init__(self, model: MultiDomainClassifier, domain: str | None = None) -> None:
        super().__init__()
        bag = model.encoder
        assert isinstance(bag, StaticEncoder)
        one = None if domain is None or len(model.heads) == 1 else model.domain_id(domain)
        heads = model.heads if one is None else [model.heads[one]]
        linear = [cast(PlainHead, head).classifier.classifier for head in heads]
        weight = torch.cat([each.weight for each in linear])  # (D * C, H)
        self.bias = nn.Parameter(torch.stack([each.bias for each in linear]))
        self.tokens = nn.Parameter((bag.tokens.weight @ weight.T).detach())
        self.pairs = None if bag.pairs is None else nn.Parameter((bag.pairs.weight @ weight.T).detach())
        self.chooses, self.routes = len(linear) > 1, False
        if self.pairs is not None:
            # Products of ids are too large for OpenVINO, which multiplies in 32 bits: those of first ids are a table.
            self.register_buffer("first", torch.arange(len(self.tokens)) * MULTIPLIER % len(self.pairs))

    def forward(self, columns: dict[str, Tensor], domain_ids: Tensor | None = None) -> Tensor:
        """Logits (B, C) of ``columns`` (B, T) of token ids and their mask, and ``domain_ids`` (B,) where it chooses."""
        ids, valid = columns["input_ids"], columns["attention_mask"].to(self.tokens.dtype)[..., None]
        total = (nn.functional.embedding(ids, self.tokens) * valid).sum(dim=1)
        if self.pairs is not None:
            hashed = (self.first[ids[:, :-1]] + ids[:, 1:]) % len(self.pairs)
            total = total + (nn.functional.embedding(hashed, self.pairs) * valid[:, 1:] * valid[:, :-1]).sum(dim=1)
        every: Tensor = (total / valid.sum(dim=1).clamp_min(1).sqrt()).view(-1, *self.bias.shape) + self.bias
        if not self.chooses:
            return every[:, 0]
        assert domain_ids is not None
        return of_domains(every, domain_ids)


def write_graph(
    model: MultiDomainClassifier,
    tokenizer: PreTrainedTokenizerBase,
    file: Path,
    *,
    domain: str | None = None,
    one_node: bool = True,
) -> GraphFacts:
    """Write a student's graph in 32 bits.

    Args:
        model: the student, in evaluation mode.
        tokenizer: its own.
        file: to write.
        domain: see :class:`StudentGraph`.
        one_node: attention as the node that ONNX Runtime alone knows, where the family allows it.

    Raises:
        ModelError: the family's operations cannot be exported; says which.
    """
    pairs = (model.config.columns or {}).get("text_pair") is not None
    given = tokenizer("a", "a" if pairs else None)
    names = [name for name in tokenizer.model_input_names if name in given]
    has_attention = not is_static(model)
    tries = [True, False] if one_node and has_attention and has_raw_scores(model.encoder) else [False]
    for as_node in tries:
        try:
            program = _exported(model, names, tokenizer.pad_token_id, domain, as_node)
        except Exception as error:
            if as_node:
                logger.info("attention is written out: it is no single node here (%s)", _cause_of(error))
                continue
            raise ModelError(
                f"the {model.encoder.config.model_type} family cannot be exported to ONNX ({_cause_of(error)}); "
                "export it with --to plain, or use hrkd predict with the student itself"
            ) from error
        _without_notes(program.model)
        program.save(file, external_data=False)
        return GraphFacts(names, "one node" if as_node else "operations" if has_attention else "none")
    raise AssertionError


def _cause_of(error: Exception) -> str:
    """What was met first: the exporter wraps it in advice on itself."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error)}"


def _exported(
    model: MultiDomainClassifier, names: Sequence[str], padding: int | None, domain: str | None, as_node: bool
) -> torch.onnx.ONNXProgram:
    graph = FoldedBag(model, domain) if is_static(model) else StudentGraph(model, domain)
    inputs: dict[str, Any] = {"columns": _example(model, names, padding)}
    dynamic = torch.export.Dim.DYNAMIC
    shapes: dict[str, Any] = {"columns": {name: {0: dynamic, 1: dynamic} for name in names}}
    if graph.chooses:
        inputs["domain_ids"], shapes["domain_ids"] = torch.tensor([0, 1]), {0: dynamic}
    with _attention_as_node(model, as_node), _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            (),
            kwargs=inputs,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=[*names, *(["domain_ids"] if graph.chooses else [])],
            output_names=["logits", "shares"] if graph.routes else ["logits"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return program


def _example(model: MultiDomainClassifier, names: Sequence[str], padding: int | None) -> dict[str, Tensor]:
    rows, tokens = EXAMPLE[0], min(EXAMPLE[1], model.config.max_tokens)
    ids = torch.arange(rows * tokens).reshape(rows, tokens) % (model.encoder.config.vocab_size - 1) + 1
    mask = torch.ones(rows, tokens, dtype=torch.long)
    mask[1, tokens // 2 :] = 0
    ids[mask == 0] = padding or 0
    made = {"input_ids": ids, "attention_mask": mask}
    return {name: made.get(name, torch.zeros(rows, tokens, dtype=torch.long)) for name in names}


def _node_attention(
    module: nn.Module,  # noqa: ARG001  # as transformers calls attention functions
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,  # noqa: ARG001  # of training
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as one node. Shapes: query, key, value (B, N, T, dh); mask (B, T) of valid tokens, or additive."""
    if terms := score_terms(others):
        raise ModelError(f"the attention scores have further terms ({', '.join(terms)})")
    rows, heads, tokens, width = query.shape
    if key.shape[1] != heads:
        key, value = (each.repeat_interleave(heads // key.shape[1], dim=1) for each in (key, value))
    together = [each.transpose(1, 2).reshape(rows, tokens, heads * width) for each in (query, key, value)]
    valid, added = None, None
    if attention_mask is not None:
        valid, added = (attention_mask.int(), None) if attention_mask.dim() == 2 else (None, attention_mask)
    attributes: dict[str, Any] = {"num_heads": heads}
    if scaling is not None:
        attributes["scale"] = float(scaling)
    found = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (*together, None, valid, added),
        attributes,
        dtype=query.dtype,
        shape=(rows, tokens, heads * width),
        version=1,
    )
    return found.view(rows, tokens, heads, width), None


def _valid_tokens(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> Tensor | None:
    """The mask of a layer that sees all tokens: which of them are no padding, (B, T)."""
    return attention_mask


for _name, _mask in ((ONE_NODE, _valid_tokens), (ONE_NODE_WINDOWS, eager_mask)):
    AttentionInterface.register(_name, _node_attention)
    AttentionMaskInterface.register(_name, _mask)


@contextmanager
def _attention_as_node(model: MultiDomainClassifier, one_node: bool) -> Iterator[None]:
    """For an export: attention as one node, or as it is written out."""
    if not has_raw_scores(model.encoder):
        yield
        return
    before = model.encoder.config._attn_implementation
    name = "eager" if not one_node else ONE_NODE_WINDOWS if has_local_windows(model.encoder) else ONE_NODE
    model.encoder.set_attn_implementation(name)
    try:
        yield
    finally:
        model.encoder.set_attn_implementation(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on its own steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _without_notes(model: Any) -> None:
    """Take out what says where in the source each node came from: paths of this machine, and bytes."""
    model.metadata_props.clear()
    model.doc_string = model.graph.doc_string = None
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
