"""A short campaign, the same every time: some inputs to every target, and tables that are read back as they were."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from fuzz.campaign import shape_of
from fuzz.harness import FaultError, Seen, Target, examine, limit, no_hangs, scratch
from fuzz.mutation import Mutator
from fuzz.readers import drained
from fuzz.targets import TARGETS
from hrkd.data.readers.tables import read_table
from hrkd.errors import DataError, HrkdError
from hrkd.recipe.schema import DataConfig
from hrkd.support.folder_names import fault_of_name, folder_names
from hrkd.support.json_text import MOST_LEVELS, parse_json

INPUTS = 100
"""For a target of share 1; of a slow one fewer, of a quick one more."""
SHORT = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_sound_is_read(name):
    target, read = TARGETS[name], 0
    for data in target.seed_list():
        with suppress(HrkdError):
            target.run(data)
            read += 1
    assert read


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_shows_a_fault(name):
    target, seen, faults = TARGETS[name], Seen(), {}
    mutator = Mutator(target, seed=20261130)
    with no_hangs():
        for data in islice(iter(mutator), max(20, round(INPUTS * target.share))):
            limit()
            try:
                if examine(target, data, seen):
                    mutator.keep(data)
            except FaultError as error:
                faults[shape_of(error)] = f"{error}: {data[:200]!r}"
    assert faults == {}
    assert len(seen.answers) > 1, "all inputs have one answer"


def _bad(data: bytes) -> str:
    if data.startswith(b"crash"):
        raise KeyError(data)
    if data.startswith(b"silent"):
        raise DataError("something is wrong")
    if data.startswith(b"long"):
        raise DataError("t.csv: " + "x" * 100_000)
    if data.startswith(b"large"):
        bytearray(200 << 20)[:: 1 << 12] = b"x" * (200 << 8)
    if data.startswith(b"slow"):
        sum(range(3_000_000))
    return "fine"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"crash", "KeyError"),
        (b"silent", "names no file"),
        (b"long", r"an error of [\d,]+ characters"),
        (b"large", "MiB for 5 bytes"),
        (b"slow", " s for 4 bytes"),
    ],
)
def test_each_kind_of_fault_is_found(data, said, monkeypatch):
    if data == b"slow":
        monkeypatch.setattr("fuzz.harness.SECONDS", 0.02)
    if data == b"long":
        monkeypatch.setattr("fuzz.harness.LONGEST_MESSAGE", 1000)
    target = Target("bad", _bad, list, names=("t.csv",))
    assert examine(target, b"fine", Seen())
    with pytest.raises(FaultError, match=said):
        examine(target, data, Seen())


def test_a_mutator_gives_the_same_inputs_again():
    first, second = (list(islice(iter(Mutator(TARGETS["csv"], 3)), 50)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 40


# --- tables with any text in them are read back as they were


FIELDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ROWS = st.lists(st.tuples(FIELDS, FIELDS, FIELDS), min_size=1, max_size=8)
HEADER = ["text", "label", "domain"]


def _values(name: str, data: bytes) -> list[list[str]]:
    file = scratch("round") / name
    file.write_bytes(data)
    part = read_table(file)
    assert drained(part) == part.rows
    return [list(row) for row in zip(*(part.read(i) for i in range(3)), strict=True)]


@seed(1)
@SHORT
@given(ROWS)
def test_any_text_in_csv(rows):
    sink = io.StringIO(newline="")
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerows([HEADER, *rows])
    if any(set(row) == set(HEADER) for row in rows):
        return
    assert _values("t.csv", sink.getvalue().encode()) == list(map(list, rows))


@seed(2)
@SHORT
@given(ROWS)
def test_any_text_in_tsv(rows):
    rows = [[field.replace("\t", " ").replace("\n", " ").rstrip("\r") for field in row] for row in rows]
    text = "".join("\t".join(row) + "\n" for row in [HEADER, *rows])
    assert _values("t.tsv", text.encode()) == rows


@seed(3)
@SHORT
@given(ROWS, st.booleans())
def test_any_text_in_json_lines(rows, ascii_only):
    lines = [json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=ascii_only) for row in rows]
    assert _values("t.jsonl", "\n".join(lines).encode()) == list(map(list, rows))


@seed(4)
@SHORT
@given(ROWS)
def test_any_text_in_parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(zip(HEADER, map(list, zip(*rows, strict=True)), strict=True))), sink)
    assert _values("t.parquet", sink.getvalue().to_pybytes()) == list(map(list, rows))


# --- small parts that others lean on


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=4), below, max_size=4),
    max_leaves=6,
)


@seed(5)
@SHORT
@given(JSON, st.sampled_from([0, 1, MOST_LEVELS - 9, MOST_LEVELS, MOST_LEVELS + 1, 500, 5000]))
def test_json_is_read_as_python_reads_it_up_to_a_depth(value, depth):
    text = "[" * depth + json.dumps(value, ensure_ascii=False) + "]" * depth
    own = json.dumps(value).count("[") + json.dumps(value).count("{")
    if depth + own <= MOST_LEVELS:
        assert parse_json(text) == json.loads(text)
    elif depth > MOST_LEVELS:
        with pytest.raises(ValueError, match=f"more than {MOST_LEVELS} deep"):
            parse_json(text)


@pytest.mark.parametrize("text", ['["' + "[" * 300 + '"]', '["' + '\\"[' * 300 + '"]', '"' + '\\"' * 100_000])
def test_brackets_in_strings_do_not_count(text):
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    if expected is not None:
        assert parse_json(text) == expected
    else:
        with pytest.raises(ValueError, match="Unterminated string"):
            parse_json(text)


@seed(6)
@SHORT
@given(st.lists(st.text(max_size=20), min_size=1, max_size=6, unique=True))
def test_folders_of_domains_are_safe_by_all_rules(domains):
    names = [domain.encode(errors="replace").decode() for domain in domains]
    for name in folder_names(names).values():
        assert fault_of_name(name) is None


def test_defaults_of_columns_are_those_of_the_tables_here():
    defaults = DataConfig.model_construct()
    assert [defaults.text, defaults.label, defaults.domain] == HEADER
