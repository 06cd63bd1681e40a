"""A smaller vocabulary: the same ids and logits where all pieces are kept, smaller pieces elsewhere; every kind."""

import copy
from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForSequenceClassification,
    BertTokenizer,
    ByT5Tokenizer,
    PreTrainedTokenizerFast,
)

from hrkd.data.batching import tokenize
from hrkd.data.readers.sources import load_domains
from hrkd.deploy.export.plain import export_plain
from hrkd.errors import ModelError
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.open_model import open_model
from hrkd.models.smaller_tokenizer import pieces_to_keep, smaller_tokenizer
from hrkd.models.trial import try_vocabulary
from hrkd.models.vocabulary import choose_vocabulary, smaller_vocabulary
from hrkd.recipe.schema import Keep
from subwords import BERT, SENTENCES, TOKENIZERS, subword_model, subwords
from tiny import tiny_model

FAMILIES = list(TOKENIZERS)
TEXTS = SENTENCES[:4]
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
every_family = pytest.mark.parametrize("family", FAMILIES)


def counts_of(tokenizer, texts):
    ids = np.concatenate(tokenizer(list(texts))["input_ids"])
    return np.bincount(ids, minlength=max(tokenizer.get_vocab().values()) + 1)


@cache
def pruned(family, at_least=1):
    """Model and tokenizer, then both for the pieces of the first sentences, and these pieces."""
    model, tokenizer = subword_model(family), subwords(family).tokenizer
    vocabulary = smaller_vocabulary(model, tokenizer, counts_of(tokenizer, TEXTS), at_least)
    return model, tokenizer, vocabulary.prune(model), vocabulary


def logits(model, tokenizer, texts, pairs=None):
    cut = {"padding": True, "truncation": True, "max_length": 64, "return_tensors": "pt"}
    domains = torch.arange(len(texts)) % 2
    with torch.no_grad():
        return model(**tokenizer(texts, pairs, **cut), domain_ids=domains).logits


@every_family
def test_texts_of_the_training_have_the_same_ids_and_logits(family):
    model, tokenizer, smaller, vocabulary = pruned(family)
    texts = list(TEXTS)
    for pairs in (None, texts[::-1]):
        old, new = tokenizer(texts, pairs), vocabulary.tokenizer(texts, pairs)
        assert old.keys() == new.keys()
        assert [vocabulary.kept[ids].tolist() for ids in new["input_ids"]] == old["input_ids"]
        expected = logits(model, tokenizer, texts, pairs)
        torch.testing.assert_close(logits(smaller, vocabulary.tokenizer, texts, pairs), expected, atol=1e-6, rtol=0)
    assert len(vocabulary.kept) == len(vocabulary.tokenizer) < vocabulary.before == len(tokenizer)
    rows = [each.encoder.get_input_embeddings().num_embeddings for each in (model, smaller)]
    assert rows == [len(tokenizer) + 1, len(vocabulary.kept)], "the row that is no piece goes too"


@every_family
@settings(max_examples=40)
@given(
    texts=st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), min_size=1, max_size=3),
    n=st.sampled_from([1, 2, 4]),
)
def test_a_text_whose_pieces_are_all_kept_is_split_as_before(family, texts, n):
    model, tokenizer, smaller, vocabulary = pruned(family, n)
    kept = set(vocabulary.kept.tolist())
    known = [text for text in texts if kept.issuperset(tokenizer(text)["input_ids"])]
    for text in known:
        assert vocabulary.kept[vocabulary.tokenizer(text)["input_ids"]].tolist() == tokenizer(text)["input_ids"]
    if known:
        expected = logits(model, tokenizer, known)
        torch.testing.assert_close(logits(smaller, vocabulary.tokenizer, known), expected, atol=1e-6, rtol=0)


@every_family
@settings(max_examples=40)
@given(text=st.text(max_size=30) | st.lists(st.sampled_from(WORDS), max_size=6).map("".join))
def test_no_text_has_an_id_that_is_not_there(family, text):
    _, tokenizer, _, vocabulary = pruned(family, 2)
    ids = vocabulary.tokenizer(text)["input_ids"]
    assert all(0 <= i < len(vocabulary.kept) for i in ids)
    special = [
        i for i in tokenizer(text)["input_ids"] if i in tokenizer.all_special_ids and i != tokenizer.unk_token_id
    ]
    kept = vocabulary.kept[ids].tolist()
    assert [i for i in kept if i in tokenizer.all_special_ids and i != tokenizer.unk_token_id] == special


@every_family
def test_a_word_that_nobody_has_seen_is_spelt(family):
    _, tokenizer, _, vocabulary = pruned(family)
    word = "thunderousness" if family != "xlm-roberta" else "thunderous"
    before, after = tokenizer.tokenize(word), vocabulary.tokenizer.tokenize(word)
    assert len(after) > len(before)
    assert tokenizer.unk_token not in after
    assert "".join(after).replace("##", "").strip("▁Ġ") == word


@every_family
def test_it_is_kept_in_a_folder_and_exported(family, tmp_path):
    _, _, smaller, vocabulary = pruned(family)
    smaller.save_pretrained(tmp_path / "student")
    vocabulary.tokenizer.save_pretrained(tmp_path / "student")
    model, tokenizer = open_model(tmp_path / "student")
    assert tokenizer.get_vocab() == vocabulary.tokenizer.get_vocab()
    odd = [*SENTENCES, "Wörter 中文 \U0001f600 zebra", "(a)  b"]
    assert tokenizer(odd)["input_ids"] == vocabulary.tokenizer(odd)["input_ids"]
    assert torch.equal(logits(model, tokenizer, odd), logits(smaller, vocabulary.tokenizer, odd))
    assert set(export_plain(tmp_path / "student", tmp_path / "plain")) == {"books", "dvd"}


@every_family
def test_special_tokens_have_new_ids_everywhere(family):
    model, tokenizer, smaller, vocabulary = pruned(family)
    for name in ("pad", "cls", "sep", "mask", "unk"):
        assert getattr(vocabulary.tokenizer, f"{name}_token") == getattr(tokenizer, f"{name}_token")
        old, new = (getattr(each, f"{name}_token_id") for each in (tokenizer, vocabulary.tokenizer))
        assert (new is None) if old is None else vocabulary.kept[new] == old
    fields = smaller.config.encoder
    assert fields["pad_token_id"] == vocabulary.tokenizer.pad_token_id
    table = smaller.encoder.get_input_embeddings()
    assert table.padding_idx == (
        None if model.encoder.get_input_embeddings().padding_idx is None else vocabulary.tokenizer.pad_token_id
    )
    written = f"one {tokenizer.sep_token} two {tokenizer.mask_token or ''}"
    assert [
        i for i in vocabulary.kept[vocabulary.tokenizer(written)["input_ids"]] if i in tokenizer.all_special_ids
    ] == [i for i in tokenizer(written)["input_ids"] if i in tokenizer.all_special_ids]


@every_family
def test_every_family_passes_the_trial(family):
    try_vocabulary(subwords(family).config, subwords(family).tokenizer)


def test_a_piece_that_is_needed_too_seldom_goes_and_characters_stay():
    tokenizer = subwords("bert").tokenizer
    counts, ids = counts_of(tokenizer, TEXTS), tokenizer.get_vocab()
    once, twice = (set(pieces_to_keep(tokenizer, counts, n)) for n in (1, 2))
    assert twice < once
    rare = {piece for piece, i in ids.items() if counts[i] == 1 and len(piece.removeprefix("##")) > 1}
    assert rare
    assert not {ids[piece] for piece in rare} & twice
    for letter in {piece.removeprefix("##") for piece, i in ids.items() if counts[i]}:
        if len(letter) == 1:
            assert {ids[form] for form in (letter, f"##{letter}") if form in ids} <= twice


def test_one_head_for_all_domains_and_the_old_model_stay():
    model, tokenizer = subword_model("bert", mode="shared"), subwords("bert").tokenizer
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    vocabulary = smaller_vocabulary(model, tokenizer, counts_of(tokenizer, TEXTS))
    texts = list(TEXTS)
    expected = logits(model, tokenizer, texts)
    torch.testing.assert_close(logits(vocabulary.prune(model), vocabulary.tokenizer, texts), expected)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_ids_up_to_the_padding_stay_where_positions_are_counted_from_it():
    """Though nothing needs the pieces before it."""
    tokenizer, config = subwords("roberta").tokenizer, copy.deepcopy(subwords("roberta").config)
    config.pad_token_id = 9
    plain = AutoModelForSequenceClassification.from_config(config)
    model = MultiDomainClassifier.from_plain(plain, domains=["books"], labels=["bad", "fair", "good"], max_tokens=60)
    vocabulary = smaller_vocabulary(model, tokenizer, np.zeros(len(tokenizer)))
    assert vocabulary.kept[:10].tolist() == list(range(10))
    assert vocabulary.prune(model).encoder.embeddings.position_embeddings.padding_idx == 9


def test_the_rarest_piece_of_unigram_stays_since_the_unknown_is_measured_by_it():
    pieces = [("<pad>", 0.0), ("<unk>", 0.0), ("ab", -15.0), ("cd", -15.0), ("bcd", -3.0), ("yy", -12.0), ("zz", -20.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")
    assert tokenizer.tokenize("abcd") == ["ab", "cd"]
    counts = np.array([0, 0, 1, 1, 1, 0, 0])
    kept = pieces_to_keep(tokenizer, counts, 1)
    assert kept.tolist() == [0, 1, 2, 3, 4, 6]
    config = subwords("bert").config
    assert smaller_tokenizer(tokenizer, kept, config).tokenize("abcd") == ["ab", "cd"]
    without = smaller_tokenizer(tokenizer, kept[:-1], config)
    assert without.tokenize("abcd") != ["ab", "cd"], "which is why"


def test_bpe_keeps_what_a_piece_is_merged_from():
    tokenizer = subwords("roberta").tokenizer
    counts, ids = np.zeros(len(tokenizer), dtype=int), tokenizer.get_vocab()
    counts[ids["Ġwatch"]] = 1
    kept = pieces_to_keep(tokenizer, counts, 1)
    smaller = smaller_tokenizer(tokenizer, kept, subwords("roberta").config)
    assert smaller.tokenize(" watch") == ["Ġwatch"]
    assert len(kept) < 256 + 5 + 8


def test_a_special_token_without_a_row_stays_without_one():
    model = tiny_model()  # of 60 rows
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate((*BERT, *"abcdefg"))})
    tokenizer.add_tokens([f"word{i}" for i in range(60 - len(tokenizer))])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<rare>"]})
    vocabulary = smaller_vocabulary(model, tokenizer, counts_of(tokenizer, ["a b"]))
    assert vocabulary.kept[-1] == tokenizer.convert_tokens_to_ids("<rare>") == 60
    assert vocabulary.prune(model).encoder.get_input_embeddings().num_embeddings == len(vocabulary.kept) - 1


def test_other_tokenizers_are_refused():
    config = subwords("bert").config
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "<pad>": 2}, unk_token="<unk>"))
    with pytest.raises(
        ModelError, match=r"^student.vocabulary: .* of the kind WordLevel, none of WordPiece, Unigram, BPE"
    ):
        try_vocabulary(config, PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>"))
    with pytest.raises(ModelError, match=r"ByT5Tokenizer\) has no fast form .*; leave the field out"):
        try_vocabulary(config, ByT5Tokenizer())


def test_pieces_are_counted_as_the_texts_are_cut(tiny):
    model = tiny.model()
    whole = choose_vocabulary(model, tiny.tokenizer, tiny.train, 24)
    short = tokenize(tiny.splits.train, tiny.tokenizer, 6)
    assert len(choose_vocabulary(model, tiny.tokenizer, short, 6).kept) < len(whole.kept)
    expected = np.bincount(np.concatenate(tiny.train.rows["input_ids"][:]), minlength=len(tiny.tokenizer))
    assert tiny.train.piece_counts(len(tiny.tokenizer)).tolist() == expected.tolist()
    some = tiny.train.select([5, 3])
    assert some.piece_counts(len(tiny.tokenizer)).sum() == some.lengths.sum()


def test_a_model_that_is_not_pruned_yet_says_what_it_will(tiny):
    model = tiny.model()
    vocabulary = choose_vocabulary(model, tiny.tokenizer, tiny.train, 24, 3)
    own = tokenize(tiny.splits.dev, vocabulary.tokenizer, 24)
    rows = list(range(6))
    before, after = vocabulary.in_old_ids(own).select(rows).batch(rows), own.batch(rows)
    assert not torch.equal(before.inputs["input_ids"], after.inputs["input_ids"])
    assert not torch.equal(before.inputs["input_ids"], tiny.dev.batch(rows).inputs["input_ids"]), "some are split anew"
    with torch.no_grad():
        expected = vocabulary.prune(model)(**after.inputs, domain_ids=after.domain_ids).logits
        found = model.eval()(**before.inputs, domain_ids=before.domain_ids).logits
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@every_family
@settings(max_examples=25)
@given(
    rows=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join), min_size=2, max_size=6),
    length=st.integers(6, 24),
    pairs=st.booleans(),
    keep=st.sampled_from(get_args(Keep)),
)
def test_texts_that_are_cut_within_a_word_are_split_as_before(family, rows, length, pairs, keep):
    """Though the rest of the word, which decides how its beginning is split, is not read."""
    tokenizer, columns = subwords(family).tokenizer, {"text": rows, "domain": ["books"] * len(rows)}
    if pairs:
        columns["text_pair"] = rows[::-1]
    source = load_domains(columns, label=None, text_pair="text_pair" if pairs else None)
    texts = tokenize(source, tokenizer, length, keep=keep)
    vocabulary = choose_vocabulary(subword_model(family), tokenizer, texts, length, keep=keep)
    again = tokenize(source, vocabulary.tokenizer, length, keep=keep)
    assert [vocabulary.kept[ids].tolist() for ids in again.rows["input_ids"]] == texts.rows["input_ids"][:]


@pytest.mark.parametrize("keep", [keep for keep in get_args(Keep) if keep != "head"])
@pytest.mark.parametrize("pairs", [False, True])
def test_a_piece_counts_as_often_as_it_stands_in_the_texts(keep, pairs):
    """Not once for what is read of a text and again for the whole of it, nor once a window."""
    tokenizer, rows = subwords("bert").tokenizer, [" ".join(SENTENCES[:3]), SENTENCES[3]]
    columns = {"text": rows, "domain": ["books"] * len(rows)}
    if pairs:
        columns["text_pair"] = rows[::-1]
    source = load_domains(columns, label=None, text_pair="text_pair" if pairs else None)
    texts, model = tokenize(source, tokenizer, 9, keep=keep), subword_model("bert")
    counts = counts_of(tokenizer, rows) * (1 + pairs)  # in pairs each text stands twice
    found = choose_vocabulary(model, tokenizer, texts, 9, 2 + pairs, keep=keep)
    assert found.kept.tolist() == smaller_vocabulary(model, tokenizer, counts, 2 + pairs).kept.tolist()
    assert len(found.kept) < len(choose_vocabulary(model, tokenizer, texts, 9, keep=keep).kept)
