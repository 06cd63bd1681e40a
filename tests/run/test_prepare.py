"""Data as a run has it: read, split, thinned out."""

import pytest

from hrkd.models.scratch import word_tokenizer
from hrkd.run.prepare import prepare_data, share_cut, tokenize_splits
from tiny import tiny_recipe


@pytest.mark.parametrize(
    ("field", "value", "asked"), [("fraction", 0.8, "data.fraction: 0.8"), ("shots", 3, "data.shots: 3")]
)
def test_which_part_of_the_training_rows_is_used_is_told_with_the_field_that_asks_for_it(tmp_path, field, value, asked):
    found = prepare_data(tiny_recipe(tmp_path, **{f"data.{field}": value}).data)
    used, drawn = len(found.splits.train), len(found.drawn.train)
    assert used < drawn
    assert f"{used} of {drawn} training rows are used ({asked})" in found.splits.notes


def test_where_all_training_rows_are_used_nothing_is_told(tmp_path):
    assert not [note for note in prepare_data(tiny_recipe(tmp_path).data).splits.notes if "are used" in note]


def test_the_share_of_tokens_that_are_cut_is_that_of_all_tokens_not_read(tmp_path):
    found = prepare_data(tiny_recipe(tmp_path).data)
    tokenizer = word_tokenizer(found.vocabulary)
    lengths = [len(tokenizer.tokenize(row["text"])) for row in found.splits.train.rows]
    special = tokenizer.num_special_tokens_to_add()
    for longest in (max(lengths) + special + 1, 20, 4):
        train = tokenize_splits(found.splits, tokenizer, longest, "head").train
        lost = sum(max(0, length + special - longest) for length in lengths) / sum(lengths)
        assert share_cut(train, tokenizer, longest, "head") == pytest.approx(lost, abs=1e-4)
    assert lost > 0.5
    assert share_cut(train, tokenizer, 4, "windows") == 0.0
