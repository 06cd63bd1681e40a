"""Tables on disk: kept whole or not at all, told apart, and found out when damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from filelock import FileLock

from hrkd.data.arrow_files import as_dataset, kept_table, open_arrow, write_arrow
from hrkd.data.columns import ranks_of
from hrkd.errors import ArtifactError
from hrkd.support.caches import cached_folders
from hrkd.support.manifest import write_manifest

NAME = "abc-rows"


def batches(rows: int = 10, size: int = 4) -> list[pa.RecordBatch]:
    return [pa.record_batch({"n": list(range(start, min(start + size, rows)))}) for start in range(0, rows, size)]


def write(file: Path) -> dict[str, Any]:
    write_arrow(file, batches())
    return {"labels": ["a", "b"]}


def fails(file: Path) -> dict[str, Any]:
    write_arrow(file, batches())
    raise KeyboardInterrupt


def never(file: Path) -> dict[str, Any]:
    raise AssertionError("written although it is there")


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_arrow(tmp_path / "t.arrow", batches())
    table = open_arrow(tmp_path / "t.arrow")
    assert table["n"].to_pylist() == list(range(10))
    assert [len(batch) for batch in table.to_batches()] == [4, 4, 2]
    assert as_dataset(table)[7] == {"n": 7}


def test_no_batches_no_file(tmp_path: Path) -> None:
    write_arrow(tmp_path / "t.arrow", [])
    assert list(tmp_path.iterdir()) == []


def test_an_open_table_is_no_memory_of_the_process(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    write_arrow(tmp_path / "t.arrow", (pa.record_batch({"n": list(range(1000))}) for _ in range(500)))
    table = open_arrow(tmp_path / "t.arrow")
    assert table.nbytes >= 4_000_000
    assert pa.total_allocated_bytes() - before < 100_000


def test_a_kept_table_is_written_once(tmp_path: Path) -> None:
    first, notes = kept_table(tmp_path, NAME, write)
    again, same = kept_table(tmp_path, NAME, never)
    assert again.equals(first)
    assert notes == same
    assert notes["labels"] == ["a", "b"]
    assert (notes["rows"], notes["kind"]) == (10, "rows")


def test_a_table_that_is_used_again_is_no_old_one(tmp_path: Path) -> None:
    kept_table(tmp_path, NAME, lambda file: {**write(file), "of": "data/tickets.csv"})
    for file in (tmp_path / NAME).iterdir():
        os.utime(file, (1_000_000_000, 1_000_000_000))
    ((_, facts),) = cached_folders(tmp_path)
    assert (facts["of"], facts["used"]) == ("data/tickets.csv", 1_000_000_000)
    kept_table(tmp_path, NAME, never)
    assert cached_folders(tmp_path)[0][1]["used"] > 1_700_000_000


def test_without_a_cache_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table, notes = kept_table(None, "-rows", write)
    assert list(tmp_path.iterdir()) == []
    assert table["n"].to_pylist() == list(range(10))
    assert notes == {"labels": ["a", "b"]}


def test_an_interrupted_write_leaves_nothing_that_counts(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        kept_table(tmp_path, NAME, fails)
    assert not (tmp_path / NAME).exists()
    table, _ = kept_table(tmp_path, NAME, write)
    assert len(table) == 10


def test_a_killed_write_is_cleared_away(tmp_path: Path) -> None:
    of_others, mine = ".hrkd-tmp-0123456789abcdef", f".{NAME}-20251128"
    (tmp_path / mine).mkdir()
    for name, of in ((".hrkd-tmp-fedcba9876543210", NAME), (of_others, "other-rows")):
        (tmp_path / name / of).mkdir(parents=True)
        (tmp_path / name / of / "data.arrow").write_bytes(b"half")
        (tmp_path / name / ".hrkd").write_text(json.dumps({"temporary": name, "of": of, "holds": "new"}))
    kept_table(tmp_path, NAME, write)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"abc-rows", "abc.lock", mine, of_others}, "others may be at work in the same folder"


def damaged(folder: Path, change: str) -> str:
    file, index = folder / "data.arrow", folder / "index.json"
    if change == "cut":
        os.truncate(file, file.stat().st_size - 5)
    elif change == "gone":
        file.unlink()
    elif change == "bit":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif change == "other":
        index.write_text(json.dumps(json.loads(index.read_text()) | {"name": "xyz-rows"}))
    elif change == "version":
        index.write_text(json.dumps(json.loads(index.read_text()) | {"version": 0}))
    elif change == "sizeless":
        index.write_text(json.dumps({name: v for name, v in json.loads(index.read_text()).items() if name != "size"}))
    else:
        index.write_text("{")
    if change in ("other", "version", "sizeless", "index"):
        write_manifest(folder)
    with pytest.raises(ArtifactError) as caught:
        kept_table(folder.parent, folder.name, never)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("cut", "data.arrow ("),
        ("gone", "data.arrow (missing)"),
        ("bit", "data.arrow (its check sum differs)"),
        ("other", "not the table that is looked for"),
        ("version", "not the table that is looked for"),
        ("sizeless", "not the table that is looked for"),
        ("index", "index.json: the index of a cache cannot be read"),
    ],
)
def test_damaged_and_foreign_files_are_named(tmp_path: Path, change: str, message: str) -> None:
    kept_table(tmp_path, NAME, write)
    told = damaged(tmp_path / NAME, change)
    assert str(tmp_path / NAME) in told
    assert message in told
    assert ("remove this folder" if change == "index" else f"hrkd cache --clear {NAME}") in told


def test_no_room_is_told(tmp_path: Path) -> None:
    def full(file: Path) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    with pytest.raises(ArtifactError, match="No space left"):
        kept_table(tmp_path, NAME, full)
    assert not (tmp_path / NAME).exists()


def test_no_room_for_temporary_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "Error writing bytes to file. Detail: [errno 28] No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr("hrkd.data.columns.write_arrow", full)
        with pytest.raises(ArtifactError, match=r"texts\.arrow: cannot be written: No space left on device; make"):
            ranks_of([["a"]])
    assert ranks_of([["b", "a"]]).tolist() == [1, 0]
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    for call in (lambda: ranks_of([["a"]]), lambda: kept_table(None, NAME, write)):
        with pytest.raises(ArtifactError, match=r"cannot be written: No such file or directory; make room in .*TMPDIR"):
            call()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"file/cache: cannot be written: .* choose another cache\.folder"):
        kept_table(tmp_path / "file" / "cache", NAME, write)


def test_the_lock_is_given_back(tmp_path: Path) -> None:
    kept_table(tmp_path, NAME, write)
    with FileLock(tmp_path / "abc.lock", timeout=0):
        pass
