"""Texts split word by word: the same ids as the tokenizer's, or none."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from hrkd.deploy.engines import words
from hrkd.deploy.engines.words import words_of
from subwords import TOKENIZERS, subwords

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_letters, *string.digits, *string.punctuation]
PIECES += [f"##{letter}" for letter in string.ascii_lowercase + string.digits]
PIECES += ["good", "##ness", "book", "##s", "The"]


def tokenizer_of(*, lowercase):
    found = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return found


NAMED = ["good", "goodness", "Books", "THE", "don't", "(x)", "a\tb", "9.5", "[SEP]", "[sep]", "x" * 120]
WORDS = st.sampled_from(NAMED)
TEXTS = st.one_of(st.text(), st.text(st.characters(max_codepoint=127)), st.lists(WORDS).map(" ".join))


@pytest.mark.parametrize("lowercase", [True, False])
@given(text=TEXTS)
@example(text="a\x00b \x7f c\r\nd")
@example(text="I\u0307stanbul \u212a \u0130 \u03a3\u03a3 e\u0301")
@example(text="a\u00a0b\u3000c\u2028d\u200be\u00adf \u4e2dg\u6587")
@example(text="a\x85b \x9fc")
def test_they_are_the_tokenizers(lowercase, text):
    tokenizer = tokenizer_of(lowercase=lowercase)
    split = words_of(tokenizer)
    for _ in range(2):  # also where all words are known
        found = split(text)
        if found is None:
            assert not text.isprintable() or "[" in text
        else:
            assert found == tokenizer.encode(text, add_special_tokens=False).ids


def test_plain_texts_are_for_it():
    split = words_of(tokenizer_of(lowercase=True))
    assert split("A good book, [really] good: 9.5!\n") is not None
    assert split("Un caf\u00e9 \u4e2d\u6587, na\u00efve") is not None
    assert split("") == []


@pytest.mark.parametrize("family", sorted(set(TOKENIZERS) - {"bert", "distilbert", "electra", "mpnet"}))
def test_tokenizers_of_other_kinds_are_left_alone(family):
    assert words_of(subwords(family).tokenizer.backend_tokenizer) is None


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(words, "MOST", 5)
    tokenizer = tokenizer_of(lowercase=True)
    split = words_of(tokenizer)
    for number in range(40):
        text = f"word{number} good book{number}"
        assert split(text) == tokenizer.encode(text, add_special_tokens=False).ids
