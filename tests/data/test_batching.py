from collections import Counter

import numpy as np
import pytest
import torch

from hrkd.data.batching import MultiDomainLoader, length_sorted, tokenize
from hrkd.errors import DataError


def uneven(tiny):
    """Training rows with 30, 20 and 10 examples of the three domains."""
    ids = tiny.train.domain_ids
    rows = np.concatenate([np.flatnonzero(ids == d)[:n] for d, n in enumerate((30, 20, 10))])
    return tiny.train.select(rows)


def test_a_batch_holds_its_rows_padded_to_the_longest(tiny):
    batch = tiny.train.batch([3, 0, 7])
    assert batch.inputs["input_ids"].shape[1] == tiny.train.lengths[[3, 0, 7]].max()
    assert batch.inputs["attention_mask"].sum(dim=1).tolist() == tiny.train.lengths[[3, 0, 7]].tolist()
    for row, index in enumerate((3, 0, 7)):
        expected = tiny.tokenizer(tiny.train.source.rows[index]["text"], truncation=True, max_length=24)["input_ids"]
        assert batch.inputs["input_ids"][row, : len(expected)].tolist() == expected
        assert batch.labels[row] == tiny.train.source.rows[index]["label"]


def test_texts_are_cut_to_the_longest_allowed(tiny):
    short = tokenize(tiny.splits.train, tiny.tokenizer, 8)
    assert short.lengths.max() == 8


def test_every_step_has_a_batch_of_every_domain_in_order(tiny):
    for (batch,) in MultiDomainLoader(uneven(tiny), batch_size=4, seed=0).epoch(0):
        assert batch.domain_ids.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_an_epoch_is_one_pass_over_the_largest_domain_and_leaves_nothing_out(tiny):
    data = uneven(tiny)
    loader = MultiDomainLoader(data, batch_size=5, seed=0)
    seen = Counter(i for (batch,) in loader.epoch(0) for i in batch.indices.tolist())
    assert len(loader) == 6
    assert set(seen) == set(range(len(data)))
    times = [{seen[i] for i in np.flatnonzero(data.domain_ids == d)} for d in range(3)]
    assert times == [{1}, {1, 2}, {3}]


def test_order_is_fixed_by_seed_and_epoch(tiny):
    def order(seed, epoch):
        loader = MultiDomainLoader(uneven(tiny), batch_size=4, seed=seed)
        return [i for (batch,) in loader.epoch(epoch) for i in batch.indices.tolist()]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize(("batch_size", "accumulation"), [(8, 1), (4, 2), (2, 4), (8, 2)])
def test_a_step_has_the_same_rows_however_it_is_cut(tiny, processes, batch_size, accumulation):
    size = batch_size * accumulation
    data = uneven(tiny) if size == 8 else tiny.train
    whole = MultiDomainLoader(data, batch_size=size, seed=0)
    parts = [
        MultiDomainLoader(
            data, batch_size=batch_size, seed=0, accumulation=accumulation, process_index=p, num_processes=processes
        )
        for p in range(processes)
    ]
    assert {len(part) for part in parts} == {len(whole)}
    for (together,), *separate in zip(whole.epoch(0), *(part.epoch(0) for part in parts), strict=True):
        assert {len(batches) for batches in separate} == {accumulation}
        found = torch.cat([batch.indices for batches in separate for batch in batches])
        assert sorted(found.tolist()) == sorted(together.indices.tolist())
        for batches in zip(*separate, strict=True):
            rows = [len(batch.indices) for batch in batches]
            assert sum(rows) == 3 * batch_size
            assert max(rows) - min(rows) <= 1
            counts = torch.bincount(torch.cat([batch.domain_ids for batch in batches]))
            assert counts.tolist() == [batch_size] * 3


def test_an_epoch_can_begin_at_any_step(tiny):
    loader = MultiDomainLoader(uneven(tiny), batch_size=4, seed=0)
    rest = [batch.indices.tolist() for (batch,) in loader.epoch(1)][3:]
    assert [batch.indices.tolist() for (batch,) in loader.epoch(1, start=3)] == rest


def test_more_processes_than_rows_of_a_batch_are_refused(tiny):
    with pytest.raises(DataError, match=r"a batch has 3 rows \(1 of every domain\), and 4 processes .* at least 2"):
        MultiDomainLoader(uneven(tiny), batch_size=1, seed=0, num_processes=4)
    assert len(MultiDomainLoader(uneven(tiny), batch_size=1, seed=0, num_processes=3))


def test_batches_of_a_step_count_together_in_what_a_domain_needs(tiny):
    with pytest.raises(DataError, match=r"a step needs 12 training .* has 10; lower batch_size to at most 3 or"):
        MultiDomainLoader(uneven(tiny), batch_size=4, accumulation=3, seed=0)
    with pytest.raises(DataError, match="lower gradient_accumulation to at most 10, with a batch_size of 1, or"):
        MultiDomainLoader(uneven(tiny), batch_size=1, accumulation=11, seed=0)


def test_a_domain_smaller_than_a_batch_is_an_error_that_names_it(tiny):
    name = tiny.splits.domains[2]
    with pytest.raises(DataError, match=f"{name} has 10; lower batch_size to at most 10"):
        MultiDomainLoader(uneven(tiny), batch_size=11, seed=0)


def test_length_sorted_batches_hold_every_row_once(tiny):
    batches = [tiny.train.batch(rows) for rows in length_sorted(tiny.train.lengths, 7)]
    assert sorted(i for b in batches for i in b.indices.tolist()) == list(range(len(tiny.train)))
    widths = [b.inputs["input_ids"].shape[1] for b in batches]
    assert widths == sorted(widths, reverse=True)


def test_tokenising_tells_its_progress_and_draws_nothing(tiny, capsys, monkeypatch):
    monkeypatch.setattr("hrkd.data.columns.CHUNK", 7)
    done = []
    again = tokenize(tiny.splits.train, tiny.tokenizer, 24, done.append)
    assert sum(done) == len(again) == len(tiny.train)
    assert set(done[:-1]) == {7}
    assert again.rows[:] == tiny.train.rows[:]
    assert again.lengths.tolist() == [len(ids) for ids in again.rows["input_ids"][:]]
    assert capsys.readouterr() == ("", "")


def test_one_domain_alone_is_a_data_set_with_one_domain(tiny):
    middle = tiny.splits.domains[1]
    alone, rows = tiny.train.alone(middle), np.flatnonzero(tiny.train.domain_ids == 1)
    assert alone.source.domains == (middle,)
    assert alone.source.labels == tiny.splits.labels
    assert alone.source.rows["id"][:] == tiny.train.select(rows).source.rows["id"][:]
    assert not alone.domain_ids.any()
    assert alone.texts.label_ids.tolist() == tiny.train.texts.label_ids[rows].tolist()
    found, expected = (each.inputs["input_ids"] for each in (alone.batch([2, 0]), tiny.train.batch(rows[[2, 0]])))
    assert torch.equal(found, expected)
    with pytest.raises(DataError, match="unknown domain 'sport'"):
        tiny.train.alone("sport")


def test_nothing_to_tokenise_is_an_error(tiny):
    with pytest.raises(DataError, match="no rows"):
        tokenize(tiny.splits.train.select([]), tiny.tokenizer, 24)


def steps_of(data, **options):
    return [batch.indices.numpy() for (batch,) in MultiDomainLoader(data, seed=0, **options).epoch(0)]


def test_rows_of_similar_length_share_a_step_and_none_is_lost(tiny):
    together = steps_of(tiny.train, batch_size=1)
    apart = steps_of(tiny.train, batch_size=1, group_by_length=False)

    def padding(steps):
        return sum((tiny.train.lengths[rows].max() - tiny.train.lengths[rows]).sum() for rows in steps)

    assert padding(together) < 0.8 * padding(apart)
    for steps in (together, apart):
        assert sorted(np.concatenate(steps)) == sorted(np.concatenate(apart))


def test_the_steps_of_a_window_come_in_random_order(tiny):
    longest = [tiny.train.lengths[rows].max() for rows in steps_of(tiny.train, batch_size=2)]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


@pytest.mark.parametrize("batch_size", [2, 5])
def test_sorting_by_length_brings_no_row_into_a_step_twice(tiny, batch_size):
    for rows in steps_of(uneven(tiny), batch_size=batch_size):
        assert len(set(rows)) == len(rows)


@pytest.fixture(scope="module")
def windows(tiny):
    return tokenize(tiny.splits.train, tiny.tokenizer, 8, keep="windows")


def test_a_text_longer_than_a_window_has_several_rows(tiny, windows):
    whole = tokenize(tiny.splits.train, tiny.tokenizer, 512)
    rooms = np.maximum(1, np.ceil((whole.lengths - 2) / 6)).astype(int)
    assert np.bincount(windows.owners).tolist() == rooms.tolist()
    assert windows.has_windows
    assert len(windows) == rooms.sum() > len(windows.texts) == len(tiny.splits.train)
    assert windows.domain_ids.tolist() == tiny.splits.train.domain_ids[windows.owners].tolist()
    assert windows.batch([0, len(windows) - 1]).labels.tolist() == tiny.splits.train.label_ids[[0, -1]].tolist()
    read = [set() for _ in range(len(whole.texts))]
    for owner, ids in zip(windows.owners, windows.rows["input_ids"][:], strict=True):
        read[owner] |= set(ids)
    assert read == [set(ids) for ids in whole.rows["input_ids"][:]]


def test_texts_are_selected_with_all_their_rows(windows):
    chosen = windows.select([5, 2, 5])
    assert chosen.texts.rows["id"][:] == [windows.texts.rows["id"][i] for i in (5, 2, 5)]
    rows = [np.flatnonzero(windows.owners == i) for i in (5, 2, 5)]
    expected = [windows.rows["input_ids"][int(i)] for i in np.concatenate(rows)]
    assert chosen.rows["input_ids"][:] == expected
    assert chosen.lengths.tolist() == list(map(len, expected))
    assert chosen.owners.tolist() == np.repeat([0, 1, 2], list(map(len, rows))).tolist()
    both = windows.followed_by(chosen)
    assert both.owners.tolist() == [*windows.owners, *(chosen.owners + len(windows.texts))]
    assert both.texts.rows["id"][-3:] == chosen.texts.rows["id"][:]


def test_windows_and_heads_are_kept_apart_in_the_cache(tiny, tmp_path):
    for keep in ("windows", "head", "tail", "head_tail"):
        tokens = [tokenize(tiny.splits.train, tiny.tokenizer, 8, cache=tmp_path, keep=keep) for _ in range(2)]
        fresh = tokenize(tiny.splits.train, tiny.tokenizer, 8, keep=keep)
        assert all(each.rows[:] == fresh.rows[:] for each in tokens)
        assert all(each.owners.tolist() == fresh.owners.tolist() for each in tokens)
