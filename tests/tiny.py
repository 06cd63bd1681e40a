"""Tiny models and tokenizers of all families that the tests cover; random weights, nothing downloaded."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
)

from hrkd.data.batching import MultiDomainLoader
from hrkd.method.build import build_domain_ratios
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.scratch import word_tokenizer
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import MethodConfig, RunConfig, StudentTrainingConfig, TrainingConfig
from hrkd.training.loop import EpochScore, train
from hrkd.training.session import Session
from hrkd.training.trainers import distill_from_models, fine_tune

DOMAINS = ("books", "dvd", "kitchen")
LABELS = ("bad", "fair", "good")
VOCABULARY = 60
FAMILIES = ("bert", "roberta", "distilbert", "electra", "modernbert", "deberta-v2", "mpnet")
PAD = {"roberta": 1, "mpnet": 1}


def tiny_configs(*, layers=3, width=32, heads=4, feed_forward=48):
    """A small configuration of every family, by its transformers name."""
    common = {"vocab_size": VOCABULARY, "num_labels": len(LABELS)}
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
        "max_position_embeddings": 40,
    }
    distil = {"dim": width, "n_layers": layers, "n_heads": heads, "hidden_dim": feed_forward}
    ids = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
    return {
        "bert": BertConfig(**common, **sizes),
        "roberta": RobertaConfig(**common, **sizes),
        "distilbert": DistilBertConfig(**common, **distil, max_position_embeddings=40),
        "electra": ElectraConfig(**common, **sizes, embedding_size=16),
        "modernbert": ModernBertConfig(**common, **sizes, **ids, local_attention=6),
        "deberta-v2": DebertaV2Config(**common, **sizes, **relative),
        "mpnet": MPNetConfig(**common, **sizes),
    }


def tiny_plain(family, *, seed=0, **sizes):
    """A plain sequence classifier of a family, in evaluation mode, all weights random (norms and biases too)."""
    torch.manual_seed(seed)
    plain = AutoModelForSequenceClassification.from_config(tiny_configs(**sizes)[family]).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return plain


def tiny_model(family="bert", *, seed=0, heads_mode="per_domain", max_tokens=32, domains=DOMAINS, **sizes):
    """A multi-domain model of a family; its heads differ."""
    plain = tiny_plain(family, seed=seed, **sizes)
    model = MultiDomainClassifier.from_plain(
        plain, domains=domains, labels=LABELS, heads=heads_mode, max_tokens=max_tokens
    ).eval()
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def tiny_batch(family="bert", *, rows=6, tokens=12, seed=0, vocabulary=VOCABULARY):
    """Random token ids with padding at the end of every second row: input_ids and attention_mask (rows, tokens)."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, vocabulary, (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    mask[1::2, tokens - 4 :] = 0
    return {"input_ids": torch.where(mask.bool(), ids, PAD.get(family, 0)), "attention_mask": mask}


def domain_ids(rows=6, domains=3):
    """Rows spread over the domains in turn, shape (rows,)."""
    return torch.arange(rows) % domains


def letter_tokenizer(folder):
    """A tokenizer of letters, saved in a folder, whose ids are within the vocabulary of the tiny models."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    BertTokenizer(vocab={token: number for number, token in enumerate(tokens)}).save_pretrained(folder)


def tiny_tokenizer(folder=None, words=("book", "film", "pan", "good", "bad", "fair"), *, max_tokens=32):
    """A WordPiece tokenizer that knows ``words`` and single characters; saved to ``folder`` if given."""
    tokenizer = word_tokenizer(words, max_tokens=max_tokens)
    if folder is not None:
        tokenizer.save_pretrained(folder)
    return tokenizer


def tiny_recipe(output, **changes):
    """A recipe of seconds whose teacher, student and baseline differ; ``changes`` have dotted names."""
    base = {
        "data": {
            "format": "synthetic",
            "synthetic": {"domains": 2, "examples": 160, "label_noise": 0.0},
            "max_length": 32,
            "dev": 0.2,
            "test": 0.2,
        },
        "teacher": {
            "scratch": {"layers": 2, "width": 32, "heads": 2, "feed_forward": 32, "vocabulary": 2000},
            "training": {"epochs": 8, "batch_size": 4, "learning_rate": 2e-3},
            "allow_weak": True,
        },
        "student": {
            "layers": 1,
            "width": 16,
            "heads": 2,
            "training": {"epochs": 2, "batch_size": 4, "learning_rate": 5e-4},
        },
        "method": {"preset": "published", "graph_heads": 2},
        "evaluation": {"bootstrap": 50, "linear": False},
        "run": {"output": str(output), "device": "cpu"},
    }
    return load_recipe(base, changes)


def tune(model, train_set, dev_set, **options):
    """``fine_tune``, with the fields of its settings and of its session by their own names."""
    settings = TrainingConfig(**_taken(options, TrainingConfig.model_fields))
    return fine_tune(model, train_set, dev_set, settings=settings, session=_session(options), **options)


def distil(teacher, student, train_set, dev_set, **options):
    """``distill_from_models``, with the fields of method, settings and session by their own names."""
    settings = StudentTrainingConfig(**{"epochs": 3, **_taken(options, StudentTrainingConfig.model_fields)})
    chosen = {"method": method_of(options), "settings": settings, "session": _session(options)}
    return distill_from_models(teacher, student, train_set, dev_set, **chosen, **options)


def method_of(options):
    """The published method, save for the ``options`` that are fields of it; they are taken out."""
    return MethodConfig(**{"preset": "published"} | _taken(options, MethodConfig.model_fields))


def ratios_of(levels, domains, width, *, weights=None, **fields):
    """``build_domain_ratios``, with the fields of the method by their own names; one that is never learnt will do."""
    if fields.get("graph") == "relational":
        fields = {"learning": "joint", **fields}
    method = MethodConfig(**{"preset": "published"} | fields)
    return build_domain_ratios(method, levels=levels, domains=domains, width=width, domain_weights=weights)


def _session(options):
    run = RunConfig(**_taken(options, ("seed", "log_every", "precision")))
    given = _taken(options, Session.__dataclass_fields__)
    return Session(**{"accelerator": Accelerator(), "run": run} | given)


def _taken(options, names):
    return {name: options.pop(name) for name in list(options) if name in names}


def batches_of(data, *, batch_size=4, epoch=0, **options):
    """The batches of an epoch, one for each step."""
    return (batch for (batch,) in MultiDomainLoader(data, batch_size=batch_size, seed=0, **options).epoch(epoch))


def train_tiny(
    tiny, module, *, data=None, epochs=3, score=float, stop_after=None, checkpoint=None, batch_size=4, **options
):
    """Train; ``score`` maps the epoch to the dev score; ``stop_after`` kills the training after that epoch."""

    def evaluate(epoch):
        if stop_after is not None and epoch > stop_after:
            raise KeyboardInterrupt
        return EpochScore(score(epoch))

    torch.manual_seed(5)
    accumulation = options.get("gradient_accumulation", 1)
    loader = MultiDomainLoader(data or tiny.train, batch_size=batch_size, accumulation=accumulation, seed=0)
    settings = TrainingConfig(**{"learning_rate": 1e-3, "epochs": epochs, **options})
    session = Session(Accelerator(cpu=True), checkpoint=checkpoint)
    return train(module, loader, settings=settings, evaluate=evaluate, session=session)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])
