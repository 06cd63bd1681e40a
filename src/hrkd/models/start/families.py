"""Where the families that a narrower student can be derived from keep their parts."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedConfig

from hrkd.errors import ModelError

__all__ = ["Family", "family_of"]


@dataclass(frozen=True)
class Family:
    """Names of the parts of a post-norm encoder and of its classification head.

    ``layers`` is the list of layers; ``query`` to ``position_key`` are names within one layer, the others within the
    encoder. ``position_query`` and ``position_key`` project relative positions that are multiplied with keys and with
    queries; ``embedding_projection`` widens embeddings that are narrower than the states. ``dense`` (in the encoder if
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
    relative_norm: str = ""
    pools: bool = False
    dense: str = "classifier.dense"
    out: str = "classifier.out_proj"


BERT = Family(pools=True, dense="pooler.dense", out="classifier")
ROBERTA = Family()
ELECTRA = Family(embedding_projection="embeddings_project")
DISTILBERT = Family(
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
DEBERTA = Family(
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
FAMILIES = {
    "bert": BERT,
    "camembert": ROBERTA,
    "deberta-v2": DEBERTA,
    "distilbert": DISTILBERT,
    "electra": ELECTRA,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
}


def family_of(config: PreTrainedConfig) -> Family:
    """The anatomy of a configuration's family.

    Raises:
        ModelError: a narrower student cannot be derived from this family; the message names the starts that can.
    """
    convolution = getattr(config, "conv_kernel_size", 0)
    family = FAMILIES.get(config.model_type)
    if family is None or convolution:
        which = f"{config.model_type} with a convolution layer" if family else config.model_type
        raise ModelError(
            f"student.start: principal_components is not available for {which} (it is for {', '.join(FAMILIES)}); "
            "possible are teacher_layers (with the teacher's width, heads and feed_forward), a small encoder named in "
            "student.checkpoint, and random"
        )
    return family
