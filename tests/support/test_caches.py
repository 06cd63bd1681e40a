"""The folder of all caches: what is listed, what is cleared, and what is never touched."""

import json
import os
import time

import pytest
from filelock import FileLock

from hrkd.errors import ArtifactError
from hrkd.report.tables import cache_table
from hrkd.support.caches import cached_folders, clear_cache, note_use, other_folders
from hrkd.support.messages import age_of, bytes_of

DAY = 86_400


def made(folder, name, days=0.0, **index):
    """A cache that was last used so many days ago."""
    path = folder / name
    path.mkdir(parents=True)
    index = {"format": "hrkd-arrow", "version": 1, "kind": name.rpartition("-")[2], "rows": 12, **index}
    (path / "index.json").write_text(json.dumps(index))
    (path / "data.arrow").write_bytes(b"x" * 5000)
    for file in path.iterdir():
        os.utime(file, (time.time() - days * DAY,) * 2)
    return path


@pytest.fixture
def caches(tmp_path):
    """Three sound caches of 0, 3 and 40 days."""
    made(tmp_path, "aab1-rows", 3, of="/home/me/data/tickets.csv")
    made(tmp_path, "aac2-tokens", 0, of="google-bert/bert-base-uncased")
    made(tmp_path, "bcd3-100", 40, kind="teacher", of="runs/two/teacher", precision="fp16")
    return tmp_path


FOREIGN = {
    "mine": (None, "it has no index.json"),
    "torn": ("{", "its index.json cannot be read"),
    "binary": (b"\xff\xfe\x00", "its index.json cannot be read"),
    "list": ("[1, 2]", "its index.json is not one of hrkd"),
    "null": ("null", "its index.json is not one of hrkd"),
    "other": ('{"format": "parquet"}', "its index.json is not one of hrkd"),
    "deep": ("[" * 100_000, "its index.json cannot be read"),
}


@pytest.fixture
def foreign(caches):
    """The same beside folders that are no caches."""
    for name, (content, _) in FOREIGN.items():
        (caches / name).mkdir()
        (caches / name / "precious.txt").write_text("mine")
        if content is not None:
            (caches / name / "index.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    (caches / "folder" / "index.json").mkdir(parents=True)
    (caches / ".bcd3-rows-1a2b3c4d").mkdir()
    outside = caches.parent / f"{caches.name}-outside"
    made(outside, "real-rows")
    (caches / "link").symlink_to(outside / "real-rows", target_is_directory=True)
    (caches / "notes.txt").write_text("a file")
    return caches


def test_caches_are_listed_by_their_last_use_with_what_they_are_of(caches):
    names = [path.name for path, _ in cached_folders(caches)]
    assert names == ["aac2-tokens", "aab1-rows", "bcd3-100"]
    table = cache_table(cached_folders(caches), {}, caches)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["aab1-rows"][:3] == ("rows", "data/tickets.csv", "12")
    assert rows["aac2-tokens"][1] == "google-bert/bert-base-uncased"
    assert rows["bcd3-100"][1] == "two/teacher"
    assert [rows[name][4].partition(", ")[2] for name in names] == ["just now", "3 days ago", "1 month ago"]
    assert [rows[name][0] for name in names] == ["tokens", "rows", "teacher, not complete"]
    assert table.notes[0].startswith("3 caches, ")
    assert "kB." in table.notes[0]


@pytest.mark.parametrize("index", [{}, {"rows": "many", "of": 7, "kind": ["x"]}, {"rows": None, "of": ""}])
def test_an_index_without_its_fields_is_shown_as_far_as_it_tells(tmp_path, index):
    path = made(tmp_path, "old-rows")
    (path / "index.json").write_text(json.dumps({"format": "hrkd-teacher-cache", **index}))
    (row,) = cache_table(cached_folders(tmp_path), {}, tmp_path).rows
    assert (row[0], row[2], row[3]) == ("old-rows", "-", "-")


def test_what_is_no_cache_is_told_and_never_removed(foreign):
    told = {path.name: why for path, why in other_folders(foreign).items()}
    expected = {name: why for name, (_, why) in FOREIGN.items()}
    expected |= {"folder": "its index.json cannot be read", "link": "a link"}
    assert {name: told[name] for name in expected} == expected
    assert told[".bcd3-rows-1a2b3c4d"].startswith("not finished")
    assert len(cached_folders(foreign)) == 3
    notes = cache_table(cached_folders(foreign), other_folders(foreign), foreign).notes
    assert "No cache of hrkd, and left alone: mine (it has no index.json)." in notes
    for name in told:
        with pytest.raises(ArtifactError, match="hrkd leaves it alone; remove it yourself"):
            clear_cache(foreign, name)
    assert len(clear_cache(foreign, "all")) == 3
    assert {path.name for path in foreign.iterdir() if path.is_dir()} == set(told)
    assert all((foreign / name / "precious.txt").is_file() for name in FOREIGN)
    assert (foreign / "link" / "data.arrow").is_file()


def test_a_name_that_begins_only_one_is_enough(caches):
    with pytest.raises(ArtifactError, match="2 caches begin with 'aa': aac2-tokens, aab1-rows; give more of the name"):
        clear_cache(caches, "aa")
    for name in ("", "zz", "..", "aab1-rows/..", "*"):
        with pytest.raises(ArtifactError, match=r"no cache .*; there are aab1-rows, aac2-tokens, bcd3-100"):
            clear_cache(caches, name)
    assert clear_cache(caches, "aab") == [caches / "aab1-rows"]
    made(caches, "bcd3-1000")
    assert clear_cache(caches, "bcd3-100") == [caches / "bcd3-100"], (
        "a whole name is that cache, whatever else begins so"
    )
    assert sorted(path.name for path, _ in cached_folders(caches)) == ["aac2-tokens", "bcd3-1000"]


def test_only_older_ones_are_cleared(caches):
    assert clear_cache(caches, "aab1", older_than=4) == []
    assert clear_cache(caches, "all", older_than=30) == [caches / "bcd3-100"]
    assert clear_cache(caches, "all", older_than=1) == [caches / "aab1-rows"]
    made(caches, "ddd-rows", 50)
    note_use(caches / "ddd-rows")
    assert clear_cache(caches, "all", older_than=1) == [], "it was used just now"


def test_a_cache_at_work_stays_and_the_others_go(caches):
    with (
        FileLock(caches / "aab1.lock"),
        pytest.raises(ArtifactError, match=r"aab1-rows: another .* 2 others were removed"),
    ):
        clear_cache(caches, "all")
    assert [path.name for path, _ in cached_folders(caches)] == ["aab1-rows"]


def test_no_folder_or_a_file_holds_no_caches(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "missing", tmp_path / "file"):
        assert (cached_folders(folder), other_folders(folder)) == ([], {})


def test_ages_and_sizes_in_words():
    ages = {-5: "just now", 59: "just now", 60: "1 minute ago", 7300: "2 hours ago", 3 * DAY: "3 days ago"}
    ages |= {13 * DAY: "1 week ago", 65 * DAY: "2 months ago", 800 * DAY: "2 years ago"}
    assert {seconds: age_of(seconds) for seconds in ages} == ages
    sizes = {0: "0 kB", 12_345: "12 kB", 3_400_000: "3.4 MB", 21_000_000_000: "21.0 GB"}
    assert {size: bytes_of(size) for size in sizes} == sizes
