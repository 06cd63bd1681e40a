"""Token ids on disk: the same as in memory, made once, by what decides them."""

import os
from unittest.mock import MagicMock, Mock

import datasets
import numpy as np
import pytest
import torch

from hrkd.data.batching import MultiDomainLoader, tokenize
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import ArtifactError
from hrkd.models.scratch import word_tokenizer
from hrkd.run.prepare import tokenize_splits


class Counting:
    """A tokenizer that counts the texts it is given."""

    def __init__(self, tokenizer):
        self.tokenizer, self.texts = tokenizer, 0

    def __call__(self, texts, *arguments, **options):
        self.texts += len(texts)
        return self.tokenizer(texts, *arguments, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


def test_ids_are_those_of_the_tokenizer(tiny, monkeypatch):
    texts = tiny.splits.train.rows["text"][:]
    expected = tiny.tokenizer(texts, truncation=True, max_length=24)
    for size in (3, 1000):
        monkeypatch.setattr("hrkd.data.columns.CHUNK", size)
        data = tokenize(tiny.splits.train, tiny.tokenizer, 24)
        assert {name: data.rows[name][:] for name in data.rows.column_names} == dict(expected)
        assert data.lengths.tolist() == [len(ids) for ids in expected["input_ids"]]
        assert data.lengths.dtype == np.int64


def test_batches_from_the_cache_are_the_same(tiny, tmp_path):
    fresh = tokenize(tiny.splits.train, tiny.tokenizer, 24)
    kept = [tokenize(tiny.splits.train, tiny.tokenizer, 24, cache=tmp_path) for _ in range(2)]
    for data in kept:
        loaders = (MultiDomainLoader(each, batch_size=4, seed=3) for each in (fresh, data))
        for (one,), (other,) in zip(*(loader.epoch(1) for loader in loaders), strict=True):
            assert one.inputs.keys() == other.inputs.keys()
            assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
            assert one.indices.tolist() == other.indices.tolist()
            assert one.labels.tolist() == other.labels.tolist()


def test_texts_are_tokenised_once(tiny, tmp_path):
    tokenizer, progress = Counting(tiny.tokenizer), MagicMock()
    tokenize_splits(tiny.splits, tokenizer, 24, "head", cache=tmp_path)
    rows = sum(len(part) for _, part in tiny.splits)
    assert tokenizer.texts == rows
    tokenize_splits(tiny.splits, tokenizer, 24, "head", cache=tmp_path, progress=progress)
    assert tokenizer.texts == rows
    done = progress.bar.return_value.__enter__.return_value.advance.call_args_list
    assert sum(call.args[0] for call in done) == rows, "progress is told nevertheless"


def test_other_texts_tokenizers_and_lengths_are_tokenised_anew(tiny, tmp_path):
    other = word_tokenizer(["good", "bad"], max_tokens=32)
    cased = word_tokenizer(["good", "bad"], max_tokens=32)
    cased.backend_tokenizer.normalizer.lowercase = False
    tokenize(tiny.splits.train, tiny.tokenizer, 24, cache=tmp_path)
    tokenize(tiny.splits.train, tiny.tokenizer, 8, cache=tmp_path)
    tokenize(tiny.splits.dev, tiny.tokenizer, 24, cache=tmp_path)
    tokenize(tiny.splits.train, other, 24, cache=tmp_path)
    tokenize(tiny.splits.train, cased, 24, cache=tmp_path)
    assert len(list(tmp_path.glob("*-tokens"))) == 5


def test_earlier_calls_of_a_tokenizer_do_not_count(tiny, tmp_path):
    tokenizer = word_tokenizer(["good"], max_tokens=32)
    tokenize(tiny.splits.dev, tokenizer, 24, cache=tmp_path)
    tokenizer(["good good"], truncation=True, max_length=3, padding="max_length")
    tokenize(tiny.splits.dev, tokenizer, 24, cache=tmp_path)
    assert len(list(tmp_path.glob("*-tokens"))) == 1


def test_second_texts_count(tiny, tmp_path):
    def pairs(second):
        columns = {"text": ["good", "bad"], "text_pair": second, "label": [0, 1], "domain": [0, 0]}
        return MultiDomainDataset(datasets.Dataset.from_dict(columns), ("n", "p"), ("x",))

    one = tokenize(pairs(["a", "b"]), tiny.tokenizer, 24, cache=tmp_path)
    other = tokenize(pairs(["b", "a"]), tiny.tokenizer, 24, cache=tmp_path)
    assert one.rows["input_ids"][:] != other.rows["input_ids"][:]


def test_a_tokenizer_that_cannot_be_told_from_others_is_not_kept(tiny, tmp_path):
    slow = Mock(wraps=tiny.tokenizer, is_fast=False)
    assert len(tokenize(tiny.splits.dev, slow, 24, cache=tmp_path)) == len(tiny.splits.dev)
    assert list(tmp_path.iterdir()) == []


def test_damaged_ids_are_named(tiny, tmp_path):
    tokenize(tiny.splits.dev, tiny.tokenizer, 24, cache=tmp_path)
    (file,) = tmp_path.glob("*-tokens/data.arrow")
    os.truncate(file, 100)
    with pytest.raises(ArtifactError, match=r"data\.arrow \(100 bytes.*hrkd cache --clear"):
        tokenize(tiny.splits.dev, tiny.tokenizer, 24, cache=tmp_path)


def test_tokenising_that_stops_under_way_leaves_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("hrkd.data.columns.CHUNK", 7)
    done = []

    def stop(rows):
        done.append(rows)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize(tiny.splits.train, tiny.tokenizer, 24, stop, cache=tmp_path)
    assert list(tmp_path.glob("*-tokens")) == []
    assert len(tokenize(tiny.splits.train, tiny.tokenizer, 24, cache=tmp_path)) == len(tiny.splits.train)


def test_without_a_cache_nothing_is_left_anywhere(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HRKD_CACHE", str(tmp_path / "cache"))
    data = tokenize(tiny.splits.dev, tiny.tokenizer, 24)
    assert list(tmp_path.iterdir()) == []
    assert len(data.batch([0, 3]).labels) == 2
