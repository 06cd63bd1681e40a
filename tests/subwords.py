"""Small tokenizers of all kinds, trained on a few sentences, with models of their families; nothing downloaded."""

from __future__ import annotations

import json
from functools import cache
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AlbertTokenizer,
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    CamembertConfig,
    CamembertTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    MPNetTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

from hrkd.models.multi_domain import MultiDomainClassifier

SENTENCES = (
    "The book was readable, well written and a pleasure; rewriting it would be a waste of writers and readers.",
    "Unreadable! The worst reading of the year, and the writing reads like a manual of a broken kettle.",
    "A kettle that boils quickly: boiling water took 2.5 minutes, boiled milk 3 (it boiled over, overboiling).",
    "The film's filming is filmic, its filmmaker unfilmable; we were watching a watch, watched by watchers.",
    "Café owners naïvely played the player again and again, replaying playful plays in 1984 and 2021.",
    "Sound, sounds, sounding: the headphones' soundness is unsound, yet the unsounded bass is thunderous.",
    "cooking cook cooker cookers overcooked undercooked recooking cookbook books bookish bookshop bookshelf",
)
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
SIZE = 260


class Subwords(NamedTuple):
    """A tokenizer, and a configuration of its family with a row more than it has pieces."""

    tokenizer: object
    config: object


def _wordpiece(special, unknown="[UNK]"):
    tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=list(special), show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer.get_vocab()


def _unigram(special, unknown):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=SIZE, special_tokens=list(special), unk_token=unknown, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return [tuple(piece) for piece in json.loads(tokenizer.to_str())["model"]["vocab"]]


def _bytes(special):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE + 256,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def _roberta():
    rules = json.loads(_bytes(ROBERTA).to_str())["model"]
    return RobertaTokenizer(vocab=rules["vocab"], merges=[tuple(merge) for merge in rules["merges"]])


def _modernbert():
    """As the family's own: a generic class, special tokens behind all pieces, added tokens that are no special ones."""
    backend = _bytes(["<|odd|>"])
    backend.add_tokens(["    ", "  "])
    backend.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    ids = {name: backend.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=list(ids.items())
    )
    names = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in names.items()},
    )


def _sentencepiece_bpe():
    """BPE of characters with bytes for those that it does not know, as Llama's and Gemma's."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    fallback = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE + 256, special_tokens=["<pad>", "<s>", "</s>", "<unk>", *fallback], show_progress=False
    )
    backend.train_from_iterator(SENTENCES, trainer)
    rules = backend.to_str()
    told = json.loads(rules)
    told["added_tokens"] = told["added_tokens"][:4]
    backend = Tokenizer.from_str(json.dumps(told))
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names)


TOKENIZERS = {
    "bert": lambda: BertTokenizer(vocab=_wordpiece(BERT)),
    "distilbert": lambda: BertTokenizer(vocab=_wordpiece(BERT), model_input_names=["input_ids", "attention_mask"]),
    "electra": lambda: BertTokenizer(vocab=_wordpiece(BERT)),
    "mpnet": lambda: MPNetTokenizer(vocab=_wordpiece(("<s>", "<pad>", "</s>", "[UNK]", "<mask>"))),
    "xlm-roberta": lambda: XLMRobertaTokenizer(vocab=_unigram(ROBERTA, "<unk>")),
    "camembert": lambda: CamembertTokenizer(
        vocab=_unigram(("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"), "<unk>")
    ),
    "albert": lambda: AlbertTokenizer(vocab=_unigram(("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"), "<unk>")),
    "deberta-v2": lambda: DebertaV2Tokenizer(
        vocab=_unigram(("[PAD]", "[CLS]", "[SEP]", "[UNK]"), "[UNK]"), unk_id=3, bos_token="[CLS]", eos_token="[SEP]"
    ),
    "roberta": _roberta,
    "modernbert": _modernbert,
    "sentencepiece-bpe": _sentencepiece_bpe,
}
CONFIGS = {
    "bert": BertConfig,
    "distilbert": DistilBertConfig,
    "electra": ElectraConfig,
    "mpnet": MPNetConfig,
    "xlm-roberta": XLMRobertaConfig,
    "camembert": CamembertConfig,
    "albert": AlbertConfig,
    "deberta-v2": DebertaV2Config,
    "roberta": RobertaConfig,
    "modernbert": ModernBertConfig,
    "sentencepiece-bpe": ModernBertConfig,
}


@cache
def subwords(family):
    """A trained tokenizer and a configuration for it."""
    tokenizer = TOKENIZERS[family]()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    if family == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    if family in ("electra", "albert"):
        sizes["embedding_size"] = 8
    names = ("pad_token_id", "cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id")
    ids = {name: value for name in names if (value := getattr(tokenizer, name, None)) is not None}
    config = CONFIGS[family](vocab_size=len(tokenizer) + 1, max_position_embeddings=80, num_labels=3, **sizes, **ids)
    return Subwords(tokenizer, config)


def subword_model(family, *, mode="per_domain", domains=("books", "dvd")):
    """A classifier with random weights for the family's tokenizer; its heads differ."""
    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_config(subwords(family).config)
    labels = ("bad", "fair", "good")
    model = MultiDomainClassifier.from_plain(
        plain, domains=domains, labels=labels, heads=mode, max_tokens=64, new_heads=True
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model
