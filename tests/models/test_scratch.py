import pytest
import torch
from transformers import AutoTokenizer

from hrkd.errors import ModelError
from hrkd.models.scratch import new_teacher, word_tokenizer
from hrkd.models.shape import StudentShape, shape_of

SCRATCH = {"layers": 2, "width": 16, "heads": 2, "feed_forward": 24, "vocabulary": 99}


def make(**changes):
    options = {"vocabulary_size": 50, "domains": ("a", "b"), "labels": ("x", "y"), "max_tokens": 12}
    return new_teacher(SCRATCH | changes, **options)


def test_new_teacher_has_the_shape_asked_for():
    model = make()
    assert shape_of(model.encoder.config) == StudentShape(2, 16, 2, 24)
    assert (model.domains, model.labels, model.config.max_tokens) == (("a", "b"), ("x", "y"), 12)
    ids = torch.full((2, 12), 49)
    assert model(ids, torch.ones_like(ids), torch.tensor([0, 1])).logits.shape == (2, 2)


def test_new_teacher_follows_torchs_seed():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(make().encoder.embeddings.word_embeddings.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_heads_must_divide_the_width():
    with pytest.raises(ModelError, match=r"heads: 3 does not divide width: 16"):
        make(heads=3)


def test_words_are_whole_and_others_are_spelt():
    tokenizer = word_tokenizer(["Film", "good", "don't"], max_tokens=16)
    assert tokenizer.tokenize("GOOD film") == ["good", "film"]
    assert tokenizer.tokenize("fad") == ["f", "##a", "##d"]
    assert tokenizer.tokenize("don't!") == ["don", "'", "t", "!"]
    assert tokenizer("good")["input_ids"][0] == tokenizer.cls_token_id
    assert (tokenizer.pad_token_id, tokenizer.model_max_length) == (0, 16)
    assert tokenizer.unk_token_id not in tokenizer("Any text: 3/4 of (it)?")["input_ids"]


def test_ids_follow_the_order_of_the_words():
    vocabulary = word_tokenizer(["b2", "a1", "b2"]).get_vocab()
    assert vocabulary["b2"] + 1 == vocabulary["a1"] == 6
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))


def test_saved_tokenizer_comes_back_the_same(tmp_path):
    tokenizer = word_tokenizer(["good", "film", "na\u00efve"], max_tokens=16)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "A naive, GOOD film / caf\u00e9"
    assert again(text, "bad film").data == tokenizer(text, "bad film").data
    assert again.model_max_length == 16
