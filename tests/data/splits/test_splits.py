import hashlib
import json
import os
import subprocess
import sys
from collections import Counter

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrkd.data.splits.draws import allocate, text_keys
from hrkd.data.splits.split import PAPER_SIZES, save_split_ids, split_domains
from hrkd.data.splits.split_files import seen_texts
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import ArtifactError, DataError, RecipeError

LABELS = ("negative", "positive")


def build(rows, labels=LABELS, domains=None):
    """A data set from (domain, label, text[, split]) tuples; ids number the rows of each domain."""
    domains = tuple(sorted({row[0] for row in rows})) if domains is None else domains
    numbers = Counter()
    columns = {"id": [], "text": [], "label": [], "domain": []}
    for domain, label, text, *_ in rows:
        columns["id"].append(f"{domain}#{numbers[domain]}")
        columns["text"].append(text)
        columns["label"].append(labels.index(label))
        columns["domain"].append(domains.index(domain))
        numbers[domain] += 1
    if rows and len(rows[0]) == 4:
        columns["split"] = [row[3] for row in rows]
    return MultiDomainDataset(datasets.Dataset.from_dict(columns), labels, domains)


def plain(domain, count, split=None, share=0.5, start=0):
    """Rows with different texts; the first ``share`` of every ten rows is negative."""
    rows = [(domain, LABELS[n % 10 >= 10 * share], f"{domain} review number {n}") for n in range(start, start + count)]
    return rows if split is None else [(*row, split) for row in rows]


def ids(splits):
    return {name: list(part.rows["id"]) for name, part in splits}


def assert_no_text_on_two_sides(splits):
    keys = [set(found.tolist()) for found in text_keys(*(part for _, part in splits))]
    assert sum(map(len, keys)) == len(set.union(*keys))


def test_shares_are_met_per_domain_and_label():
    splits = split_domains(build(plain("a", 100, share=0.3) + plain("b", 55)), dev=0.1, test=0.2)

    assert splits.test.count() == {
        ("a", "negative"): 6,
        ("a", "positive"): 14,
        ("b", "negative"): 6,
        ("b", "positive"): 5,
    }
    assert splits.dev.count() == {
        ("a", "negative"): 3,
        ("a", "positive"): 7,
        ("b", "negative"): 3,
        ("b", "positive"): 3,
    }
    assert len(splits.train) == 155 - 31 - 16
    assert splits.notes == ()


def test_parts_keep_source_order_and_drop_the_split_column():
    dataset = build(plain("a", 40, "train") + plain("a", 10, "test", start=40))

    splits = split_domains(dataset)

    for _, part in splits:
        numbers = [int(name.split("#")[1]) for name in part.rows["id"]]
        assert numbers == sorted(numbers)
        assert "split" not in part.rows.column_names


def test_seed_changes_the_draw_and_nothing_else_does():
    dataset = build(plain("a", 60))

    assert ids(split_domains(dataset, seed=1)) == ids(split_domains(dataset, seed=1))
    assert ids(split_domains(dataset, seed=1)) != ids(split_domains(dataset, seed=2))


def test_a_domain_is_split_alike_whatever_the_others():
    a, b, c = plain("a", 50), plain("b", 40), plain("c", 30)
    alone = split_domains(build(a))
    together = split_domains(build(c + a + b))
    shuffled = split_domains(build(b[::-1] + a + c))

    assert ids(alone) == {name: [row for row in found if row.startswith("a#")] for name, found in ids(together).items()}
    assert {name: part.of_domain("a").rows["id"][:] for name, part in shuffled} == ids(alone)


def test_own_row_order_does_not_change_the_draw():
    rows = plain("a", 50)
    texts = [set(part.rows["text"]) for _, part in split_domains(build(rows))]

    assert [set(part.rows["text"]) for _, part in split_domains(build(rows[::-1]))] == texts


def test_hash_seed_does_not_change_the_draw():
    code = """
import datasets
from hrkd.data.splits.split import split_domains
from hrkd.data.splits.split_files import seen_texts
from hrkd.data.types import MultiDomainDataset
numbers = range(40)
columns = {"id": list(map(str, numbers)), "text": [f"text {n // 2}" for n in numbers]}
columns |= {"label": [n % 2 for n in numbers], "domain": [n % 4 // 2 for n in numbers]}
dataset = MultiDomainDataset(datasets.Dataset.from_dict(columns), ("n", "p"), ("x", "y"))
print([part.rows["id"][:] for _, part in split_domains(dataset)])
"""
    out = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(out) == 1
    assert out.pop().count("'") == 80


def test_repeated_texts_stay_together_in_all_spellings():
    rows = plain("a", 60)
    rows += [("a", "negative", f" Same   TEXT {n // 3}\n") for n in range(30)]
    rows += [("a", "positive", f"same text {n}") for n in range(10)]

    splits = split_domains(build(rows), dev=0.2, test=0.2)

    assert_no_text_on_two_sides(splits)
    assert [len(part) for _, part in splits] == [60, 20, 20]
    assert splits.notes == ("30 repeated texts were kept on the side of their twin",)


def test_one_repeated_text_reads_well():
    rows = [*plain("a", 30), ("a", "negative", "A review NUMBER 3")]

    assert split_domains(build(rows)).notes == ("1 repeated text was kept on the side of their twin",)


def test_texts_of_two_domains_stay_together():
    shared = [
        (domain, label, f"both {n}") for n in range(12) for domain, label in (("a", "negative"), ("b", "positive"))
    ]

    splits = split_domains(build(plain("a", 40) + plain("b", 40) + shared), dev=0.25, test=0.25)

    assert_no_text_on_two_sides(splits)
    assert Counter(splits.test.domain_ids.tolist()) == {0: 13, 1: 13}
    both = [name for name, part in splits for text in part.rows["text"] if text.startswith("both")]
    assert len(set(both)) > 1


def test_pairs_are_the_unit():
    texts = [f"premise {n // 4}" for n in range(80)]
    pairs = [f"hypothesis {n % 4}" for n in range(80)]
    rows = {"id": [str(n) for n in range(80)], "text": texts, "text_pair": pairs}
    rows |= {"label": [n % 2 for n in range(80)], "domain": [0] * 80}
    splits = split_domains(MultiDomainDataset(datasets.Dataset.from_dict(rows), LABELS, ("a",)))

    assert splits.notes == ()
    assert set(splits.test.rows["text"]) & set(splits.train.rows["text"])
    assert_no_text_on_two_sides(splits)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_draw_keeps_every_row_once_and_texts_together(data):
    texts = st.integers(0, 25)
    some = data.draw(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(LABELS), texts), max_size=40))
    rows = plain("a", 30) + plain("b", 30) + [(d, y, f"text {n}") for d, y, n in some]

    splits = split_domains(build(rows), seed=data.draw(st.integers(0, 3)), dev=0.2, test=0.2)

    assert sorted(row for found in ids(splits).values() for row in found) == sorted(build(rows).rows["id"])
    assert_no_text_on_two_sides(splits)


# Exact sizes


def test_sizes_are_exact_despite_repeated_texts():
    rows = plain("a", 20) + [("a", LABELS[n % 2], f"copy {n // 4}") for n in range(40)]
    rows += plain("b", 30)

    splits = split_domains(build(rows), sizes={"a": (41, 9, 7), "b": (10, 10, 10)})

    assert [Counter(part.domain_ids.tolist()) for _, part in splits] == [{0: 41, 1: 10}, {0: 9, 1: 10}, {0: 7, 1: 10}]
    assert_no_text_on_two_sides(splits)
    assert "a: 3 rows not used, as sizes ask for fewer" in splits.notes


def test_sizes_are_exact_where_only_one_packing_exists():
    rows = [("a", LABELS[n % 2], "three") for n in range(3)]
    rows += [("a", LABELS[n % 2], f"two {n // 2}") for n in range(4)] + [("a", "negative", "one")]

    splits = split_domains(build(rows), sizes={"a": (4, 3, 1)})

    assert [len(part) for _, part in splits] == [4, 3, 1]
    assert splits.dev.rows["text"][0] == "three"


def test_sizes_are_stratified():
    splits = split_domains(build(plain("a", 200, share=0.2)), sizes={"a": (100, 50, 25)})

    assert [part.count()["a", "negative"] for _, part in splits] == [20, 10, 5]


def test_paper_sizes():
    domains = list(PAPER_SIZES)
    rows = [(d, LABELS[n % 2], f"{d} {max(n, 100)}") for d in domains for n in range(2000)]

    splits = split_domains(build(rows), sizes="paper")

    for name, sizes in PAPER_SIZES.items():
        assert tuple(len(part.of_domain(name)) for _, part in splits) == sizes
    assert_no_text_on_two_sides(splits)


def test_paper_sizes_of_one_domain_are_those_it_has_in_the_whole():
    rows = [(d, LABELS[n % 2], f"{d} {n}") for d in PAPER_SIZES for n in range(2000)]
    whole, alone = (
        split_domains(build([row for row in rows if row[0] in names]), sizes="paper")
        for names in (PAPER_SIZES, ["dvd"])
    )
    for (_, one), (_, other) in zip(whole, alone, strict=True):
        assert sorted(one.of_domain("dvd").rows["text"]) == sorted(other.rows["text"])


def test_paper_sizes_want_the_papers_domains():
    with pytest.raises(RecipeError, match="books, dvd, electronics, kitchen, but the data has a, b"):
        split_domains(build(plain("a", 30) + plain("b", 30)), sizes="paper")
    with pytest.raises(RecipeError, match="books, dvd, electronics, kitchen, but the data has books, toys"):
        split_domains(build(plain("books", 30) + plain("toys", 30)), sizes="paper")


def test_sizes_larger_than_the_domain():
    with pytest.raises(RecipeError, match=r"a: 20 \+ 8 \+ 4 = 32 of 30 rows"):
        split_domains(build(plain("a", 30)), sizes={"a": (20, 8, 4)})


def test_sizes_that_repeated_texts_forbid():
    rows = [("a", LABELS[n // 2 % 2], f"text {n // 2}") for n in range(20)]

    with pytest.raises(DataError, match=r"repeated texts stay on one side.*a: \(13, 3, 4\) wanted"):
        split_domains(build(rows), sizes={"a": (13, 3, 4)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": {"a": (1, 2)}}, "train, dev and test sizes"),
        ({"sizes": {"a": (5, 0, 2)}}, "train, dev and test sizes"),
        ({"sizes": "papers"}, "expected paper"),
        ({"sizes": {"a": (5, 2, 2)}, "dev_rows": "last"}, "exclude each other"),
        ({"dev_rows": "first"}, "expected random or last, found 'first'"),
        ({"dev": 0.5, "test": 0.5}, "sum below 1, found 0.5 and 0.5"),
        ({"dev": 0.0}, "over 0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(RecipeError, match=message):
        split_domains(build(plain("a", 30)), **arguments)


def test_sizes_contradict_a_given_split():
    with pytest.raises(RecipeError, match="already says"):
        split_domains(build(plain("a", 30, "train") + plain("a", 10, "test", start=30)), sizes={"a": (5, 5, 5)})


# Given splits


def test_given_parts_are_used_as_they_are():
    rows = plain("a", 20, "train") + plain("a", 10, "dev", start=20) + plain("a", 14, "test", start=30)

    splits = split_domains(build(rows))

    assert [len(part) for _, part in splits] == [20, 10, 14]
    assert splits.notes == ()


def test_missing_dev_is_drawn_from_train():
    rows = plain("a", 50, "train") + plain("a", 10, "test", start=50)
    rows += plain("b", 30, "train") + plain("b", 10, "test", start=30)

    splits = split_domains(build(rows), dev=0.2)

    assert [len(part) for _, part in splits] == [64, 16, 20]
    assert set(ids(splits)["test"]) == {f"a#{n}" for n in range(50, 60)} | {f"b#{n}" for n in range(30, 40)}
    assert splits.notes == ("dev: none given for all domains, drawn from train",)


def test_missing_test_is_drawn_from_train_and_null_counts_as_train():
    rows = plain("a", 50) + plain("b", 40)
    given = [(*row, "dev" if n % 5 == 0 else ("train" if n % 2 else None)) for n, row in enumerate(rows)]

    splits = split_domains(build(given), test=0.25)

    assert [len(part) for _, part in splits] == [54, 18, 18]
    assert splits.notes[0] == "test: none given for all domains, drawn from train"


def test_a_domain_without_any_value_is_split_by_itself():
    rows = plain("a", 20, "train") + plain("a", 10, "dev", start=20) + plain("a", 10, "test", start=30)
    rows += [(*row, None) for row in plain("b", 40)]

    splits = split_domains(build(rows), dev=0.25, test=0.25)

    assert [Counter(part.domain_ids.tolist()) for _, part in splits] == [{0: 20, 1: 20}, {0: 10, 1: 10}, {0: 10, 1: 10}]
    assert splits.notes == ("dev: none given for b, drawn from train", "test: none given for b, drawn from train")


def test_train_and_dev_rows_that_are_in_test_are_removed():
    rows = plain("a", 30, "train") + plain("a", 10, "dev", start=30) + plain("a", 10, "test", start=40)
    rows += plain("b", 30, "train") + plain("b", 10, "dev", start=30) + plain("b", 10, "test", start=40)
    rows += [("a", "negative", "B  review number 41", "train"), ("a", "negative", "a review number 41", "dev")]
    rows += [("b", "negative", "b review number 32", "train"), ("b", "negative", "b review number 42", "train")]

    splits = split_domains(build(rows))

    assert splits.notes == (
        "1 row removed from dev: text also in test (a 1)",
        "2 rows removed from train: text also in test (a 1, b 1)",
        "1 row removed from train: text also in dev (b 1)",
    )
    assert [len(part) for _, part in splits] == [60, 20, 20]
    assert_no_text_on_two_sides(splits)


def test_leaks_are_removed_before_dev_is_drawn():
    rows = plain("a", 40, "train") + plain("a", 10, "test", start=0)

    splits = split_domains(build(rows), dev=0.2)

    assert [len(part) for _, part in splits] == [24, 6, 10]
    assert_no_text_on_two_sides(splits)


def test_unknown_split_name():
    with pytest.raises(DataError, match=r"unknown split in 1 row: 'validation' \(a#20\)"):
        split_domains(build([*plain("a", 20, "train"), ("a", "negative", "x", "validation")]))


# The last rows as dev


def test_last_rows_become_dev():
    rows = plain("a", 28, "train") + plain("a", 10, "test", start=28)

    splits = split_domains(build(rows), dev=0.2, dev_rows="last")

    assert ids(splits)["dev"] == [f"a#{n}" for n in range(22, 28)]
    assert ids(splits)["train"] == [f"a#{n}" for n in range(22)]


def test_last_rows_leave_repeated_texts_in_train():
    rows = [*plain("a", 18, "train"), ("a", "positive", "a review number 2", "train")]
    rows += [("a", "negative", "a review number 18", "train"), ("a", "positive", "a review number 18", "train")]
    rows += plain("a", 10, "test", start=50)

    splits = split_domains(build(rows), dev=0.2, dev_rows="last")

    assert ids(splits)["dev"] == ["a#17", "a#19", "a#20"]
    assert "1 row at the end of a domain stayed in train: text also stands earlier" in splits.notes
    assert_no_text_on_two_sides(splits)


def test_last_rows_after_a_random_test():
    splits = split_domains(build(plain("a", 50)), dev=0.1, test=0.2, dev_rows="last")

    assert [len(part) for _, part in splits] == [35, 5, 10]
    numbers = [[int(name.split("#")[1]) for name in found] for found in ids(splits).values()]
    assert max(numbers[0]) < min(numbers[1])


def test_last_rows_of_a_source_sorted_by_label():
    rows = sorted(plain("a", 40) + plain("b", 40), key=lambda row: (row[0], row[1]))

    with pytest.raises(DataError, match="sorted by label; set dev_rows to random"):
        split_domains(build(rows), dev_rows="last")


# Ids in a file


def test_saved_ids_give_the_same_split(tmp_path):
    dataset = build(plain("a", 30) + plain("b", 30) + [("a", "negative", "b review number 1")])
    splits = split_domains(dataset, seed=3)
    path = tmp_path / "new" / "splits.json"

    save_split_ids(splits, path)
    again = split_domains(dataset, seed=4, splits_file=path)

    assert ids(again) == ids(splits)
    assert again.notes == ()
    content = json.loads(path.read_text())
    assert (content["format"], content["version"]) == ("hrkd-splits", 2)
    assert [file.name for file in path.parent.iterdir()] == ["splits.json"]


def test_file_overrides_the_split_column_and_names_what_it_leaves_out(tmp_path):
    dataset = build(plain("a", 20, "test") + plain("a", 10, "train", start=20))
    path = write(tmp_path, train=range(10), dev=range(10, 18), test=range(20, 30))

    splits = split_domains(dataset, splits_file=path)

    assert [len(part) for _, part in splits] == [10, 8, 10]
    assert splits.notes[1:] == ("2 rows left out: not listed in splits.json",)
    assert splits.notes[0].startswith("splits.json: of version 1, with ids alone, so that it cannot be checked")
    assert "(a#0 is a place in a file:" in splits.notes[0]


def test_file_that_puts_a_text_on_two_sides(tmp_path):
    dataset = build([*plain("a", 30), ("a", "negative", "a review number 25")])
    path = write(tmp_path, train=[*range(10), 30], dev=range(10, 20), test=range(20, 30))

    splits = split_domains(dataset, splits_file=path)

    assert splits.notes[1:] == ("1 row removed from train: text also in test (a 1)",)
    assert_no_text_on_two_sides(splits)


def texts_of(splits):
    return {name: sorted(part.rows["text"]) for name, part in splits}


@pytest.fixture
def saved(tmp_path):
    """The rows of a data set, its split, and the file of that split."""
    rows = plain("a", 30) + plain("b", 30) + [("a", "negative", "b review number 1")]
    splits = split_domains(build(rows), seed=3)
    save_split_ids(splits, tmp_path / "splits.json")
    return rows, splits, tmp_path / "splits.json"


MOVED = "splits.json: rows are told by their texts, as ids stand for other texts than when it was written"


@pytest.mark.parametrize("order", [lambda rows: rows[::-1], lambda rows: sorted(rows, key=lambda row: row[2][::-1])])
def test_rows_that_were_sorted_anew_are_told_by_their_texts(saved, order):
    rows, splits, path = saved
    again = split_domains(build(order(rows)), splits_file=path)
    assert texts_of(again) == texts_of(splits)
    assert again.notes == (MOVED,)


def test_a_row_more_at_the_top_is_left_out_and_the_others_stay_where_they_were(saved):
    rows, splits, path = saved
    again = split_domains(build([("a", "positive", "new"), *rows]), splits_file=path)
    assert texts_of(again) == texts_of(splits)
    assert again.notes == (MOVED, "1 row left out: not listed in splits.json")


def test_case_and_white_space_make_no_other_text(saved):
    rows, splits, path = saved
    again = split_domains(build([(d, y, f" {t.upper()} ") for d, y, t in rows]), splits_file=path)
    assert ids(again) == ids(splits)
    assert again.notes == ()


def test_other_texts_under_the_same_ids_are_refused(saved):
    rows, _, path = saved
    changed = [(d, y, f"other {t}" if n < 3 else t) for n, (d, y, t) in enumerate(rows)]
    with pytest.raises(
        DataError, match=r"3 of 61 ids have another text in the data: 'a#\d+', 'a#\d+', 'a#\d+'; 3 texts that it lists"
    ):
        split_domains(build(changed), splits_file=path)


def test_rows_that_are_gone_are_refused(saved):
    rows, _, path = saved
    with pytest.raises(DataError, match="1 of 61 ids are not in the data: 'b#29'; 1 text that it lists"):
        split_domains(build(rows[:59] + rows[60:]), splits_file=path)


@pytest.mark.parametrize(("label", "message"), [("positive", None), ("negative", "1 text .* stand in several rows")])
def test_a_copy_more_of_a_listed_text(saved, label, message):
    """One of the same label and domain is as good as the other; of another label, it cannot be told which is meant."""
    rows, splits, path = saved
    data = build([("b", label, "b review number 9"), *rows])
    if message is None:
        assert texts_of(split_domains(data, splits_file=path)) == texts_of(splits)
    else:
        with pytest.raises(DataError, match=message):
            split_domains(data, splits_file=path)


def test_texts_that_a_run_was_trained_on(saved, tmp_path):
    rows, splits, path = saved
    new = build([("c", "negative", "unknown"), *((d, y, t.upper()) for d, y, t in rows[::-1])])
    seen = seen_texts(path, new)
    assert sorted(t.lower() for t in new.select(seen).rows["text"]) == texts_of(splits)["train"]
    assert seen_texts(write(tmp_path, train=[0], dev=[1], test=[2]), new) is None


def test_pairs_are_told_by_both_texts(tmp_path):
    first, second = (
        MultiDomainDataset(
            datasets.Dataset.from_dict(
                {
                    "id": [f"r#{n}" for n in range(30)],
                    "text": ["the same"] * 30,
                    "text_pair": [f"hypothesis {n}" for n in order],
                    "label": [n % 2 for n in order],
                    "domain": [0] * 30,
                }
            ),
            LABELS,
            ("a",),
        )
        for order in (range(30), range(29, -1, -1))
    )
    save_split_ids(split_domains(first), tmp_path / "splits.json")
    again = split_domains(second, splits_file=tmp_path / "splits.json")
    for name, part in split_domains(first):
        assert sorted(part.rows["text_pair"]) == sorted(dict(again)[name].rows["text_pair"])


def write(folder, **parts):
    content = {"format": "hrkd-splits", "version": 1}
    content |= {name: [f"a#{n}" if isinstance(n, int) else n for n in found] for name, found in parts.items()}
    path = folder / "splits.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": [*range(10), 100, 101]}, r"2 of 32 ids are not in the data: 'a#100', 'a#101'"),
        ({"dev": [*range(10, 20), 3]}, "ids listed more than once: 'a#3'"),
        ({"train": "a#1"}, "list of ids .* under train"),
        ({"dev": [None], "test": {}}, "list of ids .* under dev and test"),
        ({"version": 3}, '"version": 2 '),
        ({"version": 2}, "hash .* under texts"),
        ({"version": 2, "texts": {"a#1": "x"}}, "hash .* under texts"),
        ({"version": 2, "texts": {"a#0": "0" * 16}}, r"no hash of the text \(under texts\) for 'a#1'"),
        ({"format": "other"}, '"format": "hrkd-splits"'),
    ],
)
def test_unusable_ids(tmp_path, change, message):
    path = write(tmp_path, train=range(10), dev=range(10, 20), test=range(20, 30))
    content = json.loads(path.read_text())
    for name, value in change.items():
        listed = name in ("train", "dev") and isinstance(value, list)
        content[name] = [f"a#{n}" if isinstance(n, int) else n for n in value] if listed else value
    path.write_text(json.dumps(content))

    with pytest.raises(DataError, match=message) as caught:
        split_domains(build(plain("a", 30)), splits_file=path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"[1, 2", b"\xff\xfe", b"[]", None])
def test_files_that_are_no_splits_file(tmp_path, content):
    path = tmp_path / "splits.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(DataError, match=r"splits\.json: (not a|cannot read)"):
        split_domains(build(plain("a", 30)), splits_file=path)


def test_many_unknown_ids_are_summed_up(tmp_path):
    path = write(tmp_path, train=range(100, 120), dev=range(10), test=range(10, 20))

    with pytest.raises(DataError, match="'a#104', and 15 more"):
        split_domains(build(plain("a", 30)), splits_file=path)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ArtifactError, match=r"splits.json: cannot be written: File exists"):
        save_split_ids(split_domains(build(plain("a", 30))), tmp_path / "file" / "splits.json")


# Parts that are no use


def test_domains_that_are_empty_on_one_side():
    rows = plain("a", 20, "train") + plain("a", 10, "dev", start=20) + plain("a", 10, "test", start=30)
    rows += plain("b", 20, "train") + plain("b", 10, "dev", start=20)

    with pytest.raises(DataError, match="b has none in test; add examples"):
        split_domains(build(rows))


@pytest.mark.parametrize("count", [1, 2])
def test_domains_too_small_to_split(count):
    with pytest.raises(DataError, match="b has none in train"):
        split_domains(build(plain("a", 20) + plain("b", count)))


def test_three_rows_are_enough():
    splits = split_domains(build(plain("a", 20) + plain("b", 3)))

    assert [len(part.of_domain("b")) for _, part in splits] == [1, 1, 1]


def test_a_domain_of_copies_cannot_be_split():
    with pytest.raises(DataError, match=r"b has none in dev.*copies of one text"):
        split_domains(build(plain("a", 20) + [("b", "negative", "spam")] * 30))


def test_label_that_train_lacks():
    labels = (*LABELS, "neutral")
    rows = plain("a", 20, "train") + plain("a", 10, "dev", start=20) + plain("a", 10, "test", start=30)
    rows += [("a", "neutral", "so so", "test"), ("a", "neutral", "meh", "test")]

    with pytest.raises(DataError, match=r"unknown label in the test split: 'neutral' \(a, 2 rows\).*drop these rows"):
        split_domains(build(rows, labels))


def test_labels_that_one_domain_has_on_one_side_are_noted():
    rows = [
        row
        for d in "ab"
        for part, start in (("train", 0), ("dev", 20), ("test", 40))
        for row in plain(d, 20, part, start=start)
    ]
    labels = (*LABELS, "neutral")
    rows += [("a", "neutral", "so so", "train"), ("b", "neutral", "meh", "test")]

    splits = split_domains(build(rows, labels))

    assert splits.notes == (
        "labels in train that this domain's dev lacks: 'neutral' (a)",
        "labels in test that this domain's train lacks: 'neutral' (b, 1 row)",
        "labels in train that this domain's test lacks: 'neutral' (a)",
    )


def test_train_with_a_single_label():
    rows = [("a", "positive", f"text {n}") for n in range(30)]

    with pytest.raises(DataError, match="all of train has the label 'positive'"):
        split_domains(build(rows))


def test_rare_labels_stay_in_train():
    labels = tuple("abcdefgh")
    rows = [("x", label, f"text {label}") for label in labels] + [("x", "a", f"more {n}") for n in range(20)]

    splits = split_domains(build(rows, labels), test=0.2)

    assert {label for _, label in splits.train.count()} == set(labels)


# Proportional allocation


@given(
    weights=st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(sum),
    share=st.floats(0, 1),
)
def test_allocation_is_whole_and_near_the_proportion(weights, share):
    total = int(share * sum(weights))
    counts = allocate(total, np.array(weights), np.array(weights))

    assert counts.sum() == total
    assert (np.abs(counts - total * np.array(weights) / sum(weights)) < 1).all()


def test_allocation_respects_limits_and_prefers_the_first():
    assert allocate(3, np.array([5, 5]), np.array([5, 5])).tolist() == [2, 1]
    assert allocate(6, np.array([9, 1, 1]), np.array([4, 1, 1])).tolist() == [4, 1, 1]


# What was drawn yesterday


def test_draws_stay_what_they_were():
    """Splits of earlier versions: a change here is a change of everybody's splits."""
    texts = [f"Text {n // (2 - n % 2)} \u00e9 {chr(300 + n % 50)}" for n in range(300)]
    rows = [(d, LABELS[n % 3 % 2], f"{d if n % 7 else 'any'} {text}") for n, text in enumerate(texts) for d in "ab"]
    dataset = build(rows)
    draws = [
        split_domains(dataset, seed=5, dev=0.15, test=0.2),
        split_domains(dataset, seed=5, dev=0.15, dev_rows="last"),
        split_domains(dataset, seed=6, sizes={"a": (150, 50, 60), "b": (200, 40, 40)}),
    ]
    found = [hashlib.sha256(json.dumps(ids(splits)).encode()).hexdigest()[:12] for splits in draws]

    assert found == ["883da93061be", "5076b48c012e", "209b771cde6c"]
