"""Copies of training texts with other words in the place of some."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from hrkd.errors import RecipeError
from hrkd.models.augment import (
    CANDIDATES,
    SHARE,
    MaskedWords,
    Neighbours,
    augmented,
    masked_language_model,
    whole_words,
)
from hrkd.recipe.loading import load_recipe
from hrkd.run.commands import compress
from slow import slow
from tiny import tiny_recipe


@pytest.fixture(scope="module")
def words(tiny):
    return whole_words(tiny.tokenizer)[0]


@pytest.fixture(scope="module")
def neighbours(words):
    torch.manual_seed(0)
    return Neighbours(torch.randn(len(words), 8), words)


def masked_lm(tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **sizes)).eval()


def test_words_of_letters_are_told_from_other_pieces(tiny, words):
    begins, goes_on = whole_words(tiny.tokenizer)
    told = {token: (begins[i], goes_on[i]) for token, i in tiny.tokenizer.get_vocab().items()}
    assert told["good"] == (True, False)
    assert told["##a"] == (False, True)
    assert told["[CLS]"] == told["."] == (False, False)


def test_a_byte_level_vocabulary_marks_the_first_piece():
    class Spaced:
        all_special_ids = (0,)

        def __len__(self):
            return 7

        def convert_ids_to_tokens(self, ids):
            return ["<s>", "\u0120good", "ness", ",", "\u0120...", "\u0120bad", "\u01202x"]

    begins, goes_on = whole_words(Spaced())
    assert begins.tolist() == [False, True, False, False, False, True, False]
    assert goes_on.tolist() == [False, False, True, False, False, False, False]


def test_neighbours_are_the_nearest_by_cosine(words):
    torch.manual_seed(0)
    table = torch.randn(len(words), 8)
    ids = np.flatnonzero(words)
    row = [2, int(ids[3]), int(ids[9]), 3]
    (found,) = Neighbours(table, words)([row], [np.array([1, 2])])
    for word, near in zip(row[1:3], found, strict=True):
        likeness = {i: float(torch.cosine_similarity(table[word], table[i], dim=0)) for i in ids.tolist() if i != word}
        assert near.tolist() == sorted(likeness, key=likeness.__getitem__, reverse=True)[:CANDIDATES]


def test_words_of_a_masked_language_model_are_its_most_likely_ones(tiny, words):
    model = masked_lm(tiny.tokenizer)
    rows = [tiny.tokenizer(text)["input_ids"] for text in ("good book", "the story was bad and long", "fine")]
    places = [np.array([1]), np.array([3, 5]), np.zeros(0, dtype=np.int64)]
    found = MaskedWords(model, tiny.tokenizer, words)(rows, places)
    for row, at, choice in zip(rows, places, found, strict=True):
        masked = torch.tensor([row])
        masked[0, torch.from_numpy(at)] = tiny.tokenizer.mask_token_id
        logits = model(masked).logits[0]
        logits[:, torch.from_numpy(~words)] = -torch.inf
        for place, choices in zip(at, choice, strict=True):
            assert choices.tolist() == logits[place].topk(CANDIDATES).indices.tolist()


def test_a_tokenizer_may_have_tokens_that_its_model_does_not_know(tiny, words):
    """Special ones, which no text needs."""
    rows, places = [tiny.tokenizer("good book")["input_ids"]], [np.array([1])]
    expected = MaskedWords(masked_lm(tiny.tokenizer), tiny.tokenizer, words)(rows, places)
    more = MaskedWords(masked_lm(tiny.tokenizer), tiny.tokenizer, np.append(words, False))(rows, places)
    assert more[0].tolist() == expected[0].tolist()


def test_only_words_change_and_about_the_share_of_them(tiny, words, neighbours):
    begins, goes_on = whole_words(tiny.tokenizer)
    made = augmented(tiny.train, tiny.tokenizer, neighbours, 3, seed=1)
    assert len(made) == len(made.texts) == 3 * len(tiny.train)
    assert (made.label_ids_or_none == -1).all()
    assert made.domain_ids.tolist() == tiny.train.domain_ids.tolist() * 3
    changed = possible = 0
    for i in range(len(made)):
        new, old = (
            np.array(rows["input_ids"][j]) for rows, j in ((made.rows, i), (tiny.train.rows, i % len(tiny.train)))
        )
        alone = begins[old] & ~np.append(goes_on[old][1:], False)
        assert (new == old)[~alone].all()
        assert words[new[alone]].all()
        changed, possible = changed + (new != old).sum(), possible + alone.sum()
    assert abs(changed / possible - SHARE) < 0.03
    assert made.rows["attention_mask"][:] == tiny.train.rows["attention_mask"][:] * 3


def test_the_draw_depends_on_the_seed_alone_and_is_kept(tiny, neighbours, tmp_path):
    first = augmented(tiny.train, tiny.tokenizer, neighbours, 1, seed=1, cache=tmp_path)
    again = augmented(tiny.train, tiny.tokenizer, neighbours, 1, seed=1)
    other = augmented(tiny.train, tiny.tokenizer, neighbours, 1, seed=2, cache=tmp_path)
    assert first.rows["input_ids"][:] == again.rows["input_ids"][:]
    assert first.rows["input_ids"][:] != other.rows["input_ids"][:]
    assert len(list(tmp_path.glob("*-augmented"))) == 2

    def never(rows, places):
        raise AssertionError("made twice")

    never.mark = neighbours.mark
    kept = augmented(tiny.train, tiny.tokenizer, never, 1, seed=1, cache=tmp_path)
    assert kept.rows["input_ids"][:] == first.rows["input_ids"][:]


def test_whether_a_folder_has_a_masked_language_head(tiny, tmp_path):
    model = masked_lm(tiny.tokenizer)
    model.save_pretrained(tmp_path / "with")
    BertModel(model.config).save_pretrained(tmp_path / "without")
    assert masked_language_model(str(tmp_path / "without")) is None
    found = masked_language_model(str(tmp_path / "with"))
    assert torch.equal(found(torch.tensor([[5, 6]])).logits, model(torch.tensor([[5, 6]])).logits)


@slow
def test_a_run_distils_on_copies_and_nobody_else_sees_them(tmp_path):
    fast = {"teacher.training.epochs": 1, "student.training.epochs": 1, "data.synthetic.examples": 80}
    plain = compress(tiny_recipe(tmp_path / "plain", **fast))
    more = compress(tiny_recipe(tmp_path / "more", **fast, **{"student.augment": 2}))
    for name in ("teacher", "student_without_distillation"):
        assert plain["models"][name]["test"]["mean"] == more["models"][name]["test"]["mean"]
    steps = {name: results["models"]["student"]["test"]["mean"] for name, results in (("p", plain), ("m", more))}
    assert steps["p"] != steps["m"]


def test_the_number_of_copies_is_not_negative():
    with pytest.raises(RecipeError, match=r"student\.augment"):
        load_recipe("demo", {"student.augment": -1})
