import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hrkd.data.cutting import mean_by_owner, unread, window_counts, windows_of
from hrkd.data.reading import encode, mean_of_windows
from hrkd.errors import DataError

WORDS = [f"w{i}" for i in range(60)]


@pytest.fixture(scope="module")
def tokenizer():
    vocabulary = {name: i for i, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names)


def text(start, count):
    return " ".join(WORDS[start : start + count])


def words(tokenizer, columns, row):
    return tokenizer.convert_ids_to_tokens(columns["input_ids"][row])


@pytest.mark.parametrize("keep", ["head", "tail", "head_tail", "windows"])
def test_short_texts_are_as_the_tokenizer_gives_them(tokenizer, keep):
    texts = [text(0, 8), text(3, 1), "", text(5, 6)]
    columns, owners = encode(tokenizer, texts, None, 10, keep)
    assert columns == dict(tokenizer(texts))
    assert owners.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("head", [WORDS[:8]]),
        ("tail", [WORDS[12:20]]),
        ("head_tail", [WORDS[:4] + WORDS[16:20]]),
        ("windows", [WORDS[:8], WORDS[6:14], WORDS[12:20]]),
    ],
)
def test_what_is_kept_of_a_long_text(tokenizer, keep, expected):
    columns, owners = encode(tokenizer, [text(30, 2), text(0, 20), text(40, 9)], None, 10, keep)
    mine = [i for i, owner in enumerate(owners) if owner == 1]
    assert [words(tokenizer, columns, i) for i in mine] == [["[CLS]", *each, "[SEP]"] for each in expected]
    assert owners.tolist() == sorted(owners)
    assert set(columns) == set(tokenizer("w1"))
    assert all(len(ids) <= 10 for ids in columns["input_ids"])
    lengths = list(map(len, columns["input_ids"]))
    assert all(list(map(len, values)) == lengths for values in columns.values())


def test_an_odd_room_gives_the_head_one_more(tokenizer):
    columns, _ = encode(tokenizer, [text(0, 20)], None, 9, "head_tail")
    assert words(tokenizer, columns, 0)[1:-1] == WORDS[:4] + WORDS[17:20]


@pytest.mark.parametrize("lengths", [(3, 30), (30, 3), (20, 21), (21, 20), (20, 20), (4, 5), (9, 2)])
@pytest.mark.parametrize("room", [11, 12])
def test_of_pairs_as_much_is_kept_as_the_tokenizer_would(tokenizer, lengths, room):
    first, second = text(0, lengths[0]), text(30, lengths[1])
    for side, keep in (("right", "head"), ("left", "tail")):
        tokenizer.truncation_side = side
        expected = tokenizer([first], [second], truncation=True, max_length=room)
        tokenizer.truncation_side = "right"
        columns, _ = encode(tokenizer, [first], [second], room, keep)
        assert columns["input_ids"] == expected["input_ids"]
        assert columns["token_type_ids"] == expected["token_type_ids"]


@pytest.mark.parametrize("lengths", [(3,), (8,), (21,), (3, 4), (3, 30), (30, 3), (20, 21), (20, 20), (9, 2)])
@pytest.mark.parametrize("keep", ["head", "tail", "head_tail", "windows"])
@pytest.mark.parametrize("room", [8, 9])
def test_what_is_not_read_is_counted_as_it_is_cut(tokenizer, lengths, keep, room):
    texts = [[text(start, count)] for start, count in zip((0, 30), lengths, strict=False)]
    special = tokenizer.num_special_tokens_to_add(pair=len(texts) == 2)
    columns, owners = encode(tokenizer, texts[0], texts[1] if len(texts) == 2 else None, room + special, keep)
    read = {i for ids in columns["input_ids"] for i in ids} - {2, 3}
    asked = np.array([lengths])
    assert unread(asked, room, keep).tolist() == [sum(lengths) - len(read)]
    if keep == "windows":
        assert window_counts(asked, room).tolist() == [len(owners)]


def test_windows_of_a_pair_go_over_the_longer_text(tokenizer):
    columns, owners = encode(tokenizer, [text(0, 3)], [text(10, 20)], 13, "windows")
    rows = [words(tokenizer, columns, i) for i in range(len(owners))]
    assert all(row[:5] == ["[CLS]", *WORDS[:3], "[SEP]"] for row in rows)
    assert [row[5:-1] for row in rows] == [WORDS[10:17], WORDS[17 - 1 : 23], WORDS[23:30]]


@pytest.mark.parametrize(("length", "room"), [(1, 1), (7, 7), (8, 7), (20, 7), (21, 7), (22, 7), (500, 126), (5, 1)])
def test_windows_cover_all_with_the_fewest(length, room):
    windows = windows_of(length, room)
    assert len(windows) == max(1, -(-length // room))
    assert {i for window in windows for i in range(length)[window]} == set(range(length))
    assert all(len(range(length)[window]) == min(length, room) for window in windows)


def test_no_room_for_text_is_an_error(tokenizer):
    with pytest.raises(DataError, match="max_length: 2 tokens leave no room for text beside 2 special ones"):
        encode(tokenizer, [text(0, 20)], None, 2, "tail")


def test_a_tokenizer_that_cannot_tell_texts_apart_is_refused_for_pairs(tokenizer, monkeypatch):
    from transformers import BatchEncoding

    monkeypatch.setattr(BatchEncoding, "is_fast", property(lambda _: False))
    with pytest.raises(DataError, match=r"data\.keep: of pairs the head alone"):
        encode(tokenizer, [text(0, 20)], [text(0, 20)], 12, "windows")


def test_the_mean_of_windows_is_that_of_their_probabilities():
    logits = np.array([[1.0, 2.0], [5.0, -5.0], [-80.0, 80.0], [0.0, 0.0]], dtype=np.float32)
    found = mean_of_windows(logits, np.array([0, 1, 1, 2]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[[0, 2]], logits[[0, 3]])
    np.testing.assert_allclose(
        np.exp(found[1]), [(1 / (1 + np.exp(-10))) / 2, (1 + 1 / (1 + np.exp(10))) / 2], rtol=1e-5
    )
    assert np.isfinite(mean_of_windows(np.array([[200.0, -200.0]] * 2, dtype=np.float32), np.array([0, 0]))).all()
    np.testing.assert_array_equal(
        mean_by_owner(np.array([[1.0], [2.0], [4.0], [6.0]]), np.array([0, 1, 1, 1])), [[1], [4]]
    )
