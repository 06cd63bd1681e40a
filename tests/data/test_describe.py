import json

import datasets
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from hrkd.data.describe import Lengths, Overlap, describe
from hrkd.data.types import MultiDomainDataset, Splits

LABELS = ("negative", "positive")
DOMAINS = ("books", "films")


def build(rows, pairs=None):
    """A part from (domain, label, text) tuples."""
    columns = {
        "id": [str(n) for n in range(len(rows))],
        "text": [row[2] for row in rows],
        "label": [LABELS.index(row[1]) for row in rows],
        "domain": [DOMAINS.index(row[0]) for row in rows],
    }
    kinds = {name: datasets.Value("int64" if name in ("label", "domain") else "string") for name in columns}
    if pairs is not None:
        columns["text_pair"], kinds["text_pair"] = pairs, datasets.Value("string")
    return MultiDomainDataset(datasets.Dataset.from_dict(columns, datasets.Features(kinds)), LABELS, DOMAINS)


def part_of(description, domain, split):
    return next(part for part in description.parts if (part.domain, part.split) == (domain, split))


@pytest.fixture(scope="module")
def tokenizer():
    words = Tokenizer(WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=6)


@pytest.fixture(scope="module")
def splits():
    train = [("books", "negative", " ".join("w" * n)) for n in range(1, 21)]
    train += [("books", "positive", "W  w"), ("books", "negative", "fine"), ("films", "positive", "seen before")]
    dev = [("books", "negative", "dull"), ("films", "positive", "seen before"), ("films", "negative", "other")]
    test = [("books", "positive", "Dull "), ("books", "positive", "dull"), ("films", "positive", "a b c . d")]
    return Splits(build(train), build(dev), build(test), notes=("a note",))


def test_every_split_of_every_domain_is_there(splits):
    description = describe(splits)

    assert [(part.domain, part.split) for part in description.parts] == [
        (domain, split) for split in ("train", "dev", "test") for domain in DOMAINS
    ]
    assert (description.labels, description.domains, description.notes) == (LABELS, DOMAINS, ("a note",))


def test_rows_labels_and_balance(splits):
    part = part_of(describe(splits), "books", "train")

    assert part.rows == 22
    assert part.labels == {"negative": 21, "positive": 1}
    assert part.balance == pytest.approx(1 / 21)
    assert part_of(describe(splits), "films", "dev").balance == 1
    assert part_of(describe(splits), "films", "test").balance == 0


def test_words():
    rows = [("books", "negative", " ".join(["word"] * n)) for n in range(1, 22)] + [("films", "positive", "x")]
    part = build(rows)

    description = describe(Splits(part, part, part))

    assert part_of(description, "books", "dev").words == Lengths(median=11, mean=11, p95=20, max=21)
    assert part_of(description, "books", "dev").tokens is None
    assert description.max_length is None


def test_tokens_and_what_is_cut_off(splits, tokenizer):
    part = part_of(describe(splits, tokenizer, max_length=12), "books", "train")

    # Texts of 1 to 20, 2 and 1 tokens, each with [CLS] and [SEP]: 11 to 20 words are too long, by 1 to 10.
    assert part.tokens.lengths.max == 22
    assert part.tokens.lengths.mean == pytest.approx((210 + 3) / 22 + 2)
    assert part.tokens.truncated == pytest.approx(10 / 22)
    assert part.tokens.lost == pytest.approx(55 / (213 + 44))


def test_tokens_of_pairs(tokenizer):
    part = build([("books", "negative", "a b"), ("films", "positive", "a")], pairs=["c d e", "b"])

    description = describe(Splits(part, part, part), tokenizer)

    assert part_of(description, "books", "train").words.max == 5
    assert part_of(description, "books", "train").tokens.lengths.max == 8
    assert part_of(description, "films", "train").tokens.lengths.max == 5


def test_repeated_texts(splits):
    description = describe(splits)
    books = [part_of(description, "books", split) for split in ("train", "dev", "test")]

    assert [part.repeated for part in books] == [1, 0, 1]
    assert [part.conflicting for part in books] == [2, 0, 0]
    assert description.overlaps == (
        Overlap("books", "dev", "books", "test", 1),
        Overlap("books", "test", "books", "dev", 2),
        Overlap("films", "dev", "films", "train", 1),
        Overlap("films", "train", "films", "dev", 1),
    )


def test_texts_of_two_domains():
    rows = [("books", "negative", "both"), ("books", "negative", "both"), ("films", "positive", "both")]
    other = build([("books", "negative", "x"), ("films", "positive", "y")])

    description = describe(Splits(build(rows), other, other))

    assert part_of(description, "books", "train").in_other_domains == 2
    assert part_of(description, "films", "train").in_other_domains == 1
    assert Overlap("books", "train", "films", "train", 2) in description.overlaps


def test_rows_are_flat_and_alike(splits, tokenizer):
    rows = describe(splits, tokenizer, max_length=12).rows()

    assert len(rows) == 6
    assert all(list(row) == list(rows[0]) for row in rows)
    assert all(isinstance(value, str | int | float) for row in rows for value in row.values())
    assert {name: rows[0][name] for name in ("domain", "split", "rows", "label:negative", "words_max", "repeated")} == {
        "domain": "books",
        "split": "train",
        "rows": 22,
        "label:negative": 21,
        "words_max": 20,
        "repeated": 1,
    }
    assert rows[0]["truncated"] == pytest.approx(10 / 22)
    assert rows[0]["tokens_max"] == 22
    assert "tokens_max" not in describe(splits).rows()[0]


def test_description_is_plain_data(splits, tokenizer):
    description = describe(splits, tokenizer)
    content = json.loads(json.dumps(description.to_dict()))

    assert content["parts"][0]["tokens"]["lengths"]["max"] == 22
    assert content["parts"][0]["balance"] == pytest.approx(1 / 21)
    assert content["overlaps"][0]["other_split"] == "test"
    assert content["max_length"] == 128


def test_a_part_without_rows(tokenizer):
    full = build([("books", "negative", "x"), ("films", "positive", "y")])
    description = describe(Splits(full, build([("books", "negative", "z")]), full), tokenizer)
    part = part_of(description, "films", "dev")

    assert (part.rows, part.words, part.tokens, part.balance) == (0, None, None, 0)
    assert description.rows()[3]["tokens_median"] is None
    assert list(description.rows()[3]) == list(description.rows()[0])


def test_what_inputs_of_several_lengths_hold(tokenizer):
    texts = [" ".join("w" * n) for n in (1, 4, 10, 100)]
    part = build([("books", "negative", text) for text in texts])
    tokenizer.model_max_length = 64
    try:
        found = describe(Splits(part, part, part), tokenizer, max_length=6).reading
    finally:
        tokenizer.model_max_length = 6
    assert [each.max_length for each in found] == [6, 64]
    assert [each.whole for each in found] == [0.5, 0.75]
    assert [each.read for each in found] == pytest.approx([(1 + 4 + 4 + 4) / 115, (1 + 4 + 10 + 62) / 115])
    assert [each.read_in_windows for each in found] == [1, 1]
    assert [each.windows for each in found] == [(1 + 1 + 3 + 25) / 4, (1 + 1 + 1 + 2) / 4]
    assert describe(Splits(part, part, part)).reading == ()


def test_windows_of_pairs_read_half_an_input_of_the_shorter_text(tokenizer):
    part = build([("books", "negative", " ".join("w" * 8))], pairs=[" ".join("w" * 5)])
    [found] = describe(Splits(part, part, part), tokenizer, max_length=6).reading  # three of which are special
    assert found.windows == 4, "two tokens of the longer text in each, one of the shorter one"
    assert (found.read, found.read_in_windows) == pytest.approx((3 / 13, 9 / 13))
