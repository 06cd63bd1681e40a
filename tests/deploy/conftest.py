"""A tiny multi-domain student with its tokenizer, in memory and in a folder."""

from functools import partial

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertTokenizer

from hrkd.deploy.export.command import export_to
from hrkd.models.multi_domain import MultiDomainClassifier

WORDS = ["a", "bad", "book", "film", "good", "is", "not", "plot", "song", "the", "very"]
MAX_TOKENS = 12


@pytest.fixture(scope="session")
def tokenizer():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)})


DOMAINS = ["books", "kitchen & housewares", "music"]


def make_student(tokenizer, *, domains=DOMAINS, **options):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=MAX_TOKENS, num_labels=3,
    )  # fmt: skip
    plain = AutoModelForSequenceClassification.from_config(config)
    model = MultiDomainClassifier.from_plain(
        plain,
        domains=domains,
        labels=["negative", "neutral", "positive"],
        max_tokens=MAX_TOKENS,
        **options,
    )
    for parameter in model.parameters():  # large, so that texts, domains and labels differ clearly
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


@pytest.fixture(scope="session")
def new_student(tokenizer):
    """A function that makes one, of other domains for example."""
    return partial(make_student, tokenizer)


@pytest.fixture(scope="session")
def student(tokenizer):
    return make_student(tokenizer)


@pytest.fixture(scope="session")
def student_folder(student, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "student"
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def shared_head_folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "student"
    make_student(tokenizer, heads="shared").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def exported(student_folder, tmp_path_factory):
    """The student as an ONNX graph."""
    folder = tmp_path_factory.mktemp("onnx") / "export"
    export_to(student_folder, folder, "onnx")
    return folder
