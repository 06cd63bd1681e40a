"""What families of encoders have of their own; all that hrkd knows of them stands here.

transformers tells most: a configuration's sizes by common names, whether attention can be read. A family that is not in
:data:`FAMILIES` works too where nothing else is needed; :mod:`hrkd.models.trial` finds that out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hrkd.errors import ModelError

__all__ = [
    "FOLLOW_HEADS",
    "FOLLOW_WIDTH",
    "NOT_INHERITED",
    "OTHER_FAMILY",
    "PER_LAYER",
    "Family",
    "Parts",
    "attention_dropouts",
    "family_of",
    "has_local_windows",
    "has_raw_scores",
    "layer_list",
    "longest_input",
    "parts_of",
    "without_use",
]

# Fields of a configuration, whatever the family.
FOLLOW_WIDTH = ("embedding_size", "pooler_hidden_size")  # where they are the teacher's width, they become the student's
FOLLOW_HEADS = ("num_key_value_heads",)  # they keep their ratio to the heads
PER_LAYER = ("layer_types", "attention_window")  # an entry for every layer
NOT_INHERITED = frozenset({"architectures", "attention_head_size", "dtype", "head_dim"})  # follow from others
# What a configuration says of using a model, not of the model: code, kernels and files, precision, task, outputs.
OF_USE = frozenset(
    {
        *("auto_map", "attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
        *("transformers_weights", "quantization_config", "dtype", "torch_dtype", "torchscript"),
        *("id2label", "label2id", "num_labels", "problem_type", "function_to_apply", "task_specific_params"),
        *("return_dict", "use_return_dict", "output_attentions", "output_hidden_states"),
        "chunk_size_feed_forward",  # a feed-forward network piece by piece, which only some lengths can be cut into
    }
)
OTHER_FAMILY = "choose an encoder of another family, such as bert, roberta, distilbert, electra, deberta-v2, modernbert"
WINDOWS = ("sliding_window", "attention_window", "local_attention")  # how far a token sees


@dataclass(frozen=True)
class Parts:
    """Names of the parts of a post-norm encoder and of its classification head.

    ``layers`` is the list of layers; ``query`` to ``position_key`` are names within one layer, the others within the
    encoder. ``position_query`` and ``position_key`` project relative positions that are multiplied with keys and with
    queries; ``head_bias`` is a table with a number for every distance and head, which all layers add to their scores;
    ``embedding_projection`` widens embeddings that are narrower than the states. ``dense`` (in the encoder if
    ``pools``, else in the head) and ``out`` are the head's two maps.
    """

    layers: str = "encoder.layer"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    mix: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    read: str = "intermediate.dense"
    write: str = "output.dense"
    layer_norm: str = "output.LayerNorm"
    position_query: str = ""
    position_key: str = ""
    tables: tuple[str, ...] = (
        "embeddings.word_embeddings",
        "embeddings.position_embeddings",
        "embeddings.token_type_embeddings",
    )
    embedding_norm: str = "embeddings.LayerNorm"
    embedding_projection: str = ""
    relative_table: str = ""
    head_bias: str = ""
    relative_norm: str = ""
    pools: bool = False
    dense: str = "classifier.dense"
    out: str = "classifier.out_proj"


@dataclass(frozen=True)
class Family:
    """One family.

    ``parts``, where a narrower student can be derived from a teacher; ``feed_forward`` is the configuration's name of
    that width; ``rotary``: positions are rotations of pairs of a head's components, so that its width must be even.
    """

    parts: Parts | None = None
    feed_forward: str = "intermediate_size"
    rotary: bool = False


BERT = Parts(pools=True, dense="pooler.dense", out="classifier")
ROBERTA = Parts()
ELECTRA = Parts(embedding_projection="embeddings_project")
DISTILBERT = Parts(
    layers="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    mix="attention.out_lin",
    attention_norm="sa_layer_norm",
    read="ffn.lin1",
    write="ffn.lin2",
    layer_norm="output_layer_norm",
    dense="pre_classifier",
    out="classifier",
)
DEBERTA = Parts(
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
    position_query="attention.self.pos_query_proj",
    position_key="attention.self.pos_key_proj",
    embedding_projection="embeddings.embed_proj",
    relative_table="encoder.rel_embeddings",
    relative_norm="encoder.LayerNorm",
    dense="pooler.dense",
    out="classifier",
)
MPNET = Parts(
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    mix="attention.attn.o",
    attention_norm="attention.LayerNorm",
    tables=("embeddings.word_embeddings", "embeddings.position_embeddings"),
    head_bias="encoder.relative_attention_bias",
)
FAMILIES = {
    "bert": Family(BERT),
    "camembert": Family(ROBERTA),
    "deberta-v2": Family(DEBERTA),
    "distilbert": Family(DISTILBERT, feed_forward="hidden_dim"),
    "electra": Family(ELECTRA),
    "esm": Family(rotary=True),
    "eurobert": Family(rotary=True),
    "gte": Family(rotary=True),
    "jina_embeddings_v3": Family(rotary=True),
    "modernbert": Family(rotary=True),
    "mpnet": Family(MPNET),
    "nomic_bert": Family(rotary=True),
    "roberta": Family(ROBERTA),
    "roformer": Family(rotary=True),
    "xlm-roberta": Family(ROBERTA),
}


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a configuration; one with nothing of its own if it is not in the table."""
    return FAMILIES.get(config.model_type, Family())


def without_use(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration that make the model; what says how to use one is not passed on to others."""
    return {name: value for name, value in fields.items() if name not in OF_USE}


def parts_of(config: PreTrainedConfig) -> Parts:
    """The names of the parts of a configuration's family.

    Raises:
        ModelError: a narrower student cannot be derived from this family; the message names the starts that can.
    """
    parts, convolution = family_of(config).parts, getattr(config, "conv_kernel_size", 0)
    if parts is None or convolution:
        which = f"{config.model_type} with a convolution layer" if parts else config.model_type
        known = ", ".join(name for name, family in FAMILIES.items() if family.parts)
        raise ModelError(
            f"student.start: principal_components is not available for {which} (it is for {known}); possible are "
            "teacher_layers (with the teacher's width, heads and feed_forward), a small encoder named in "
            "student.checkpoint, and random"
        )
    return parts


def layer_list(encoder: PreTrainedModel) -> tuple[str, nn.ModuleList] | None:
    """Name and list of the encoder's layers; None where it has no list as long as its configuration tells (ALBERT)."""
    layers = encoder.config.num_hidden_layers
    lists = ((name, each) for name, each in encoder.named_modules() if isinstance(each, nn.ModuleList))
    return next(((name, each) for name, each in lists if len(each) == layers), None)


def longest_input(encoder: nn.Module) -> int | None:
    """Most tokens that the encoder's table of positions allows; None without such a table (relative, rotary)."""
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, nn.Embedding):
        return None
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


def has_raw_scores(encoder: PreTrainedModel) -> bool:
    """Whether the family computes plain QK'/sqrt(dh) scores that can be read (DeBERTa does not)."""
    return bool(encoder._can_set_attn_implementation())


def has_local_windows(encoder: PreTrainedModel) -> bool:
    """Whether layers mask pairs of tokens that are far apart, so that not every product of query and key counts."""
    config = encoder.config
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    return any(getattr(config, name, None) for name in WINDOWS)


def attention_dropouts(encoder: PreTrainedModel) -> list[nn.Dropout]:
    """The dropout of each layer's probabilities, in families without transformers' attention interface.

    It is the child ``dropout`` of the layer's self-attention module, whose class is named ``...SelfAttention``; dropout
    of states, of relative positions and in the output block has other parents or names.
    """
    attentions = [module for module in encoder.modules() if type(module).__name__.endswith("SelfAttention")]
    children = [getattr(module, "dropout", None) for module in attentions]
    return [child for child in children if isinstance(child, nn.Dropout)]
