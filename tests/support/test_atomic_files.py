import errno
import json
import os
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import (
    CannotWriteError,
    check_can_be_written,
    clear_leftovers,
    read_record,
    replace_file,
    replace_folder,
    write_json,
    write_text,
    writing,
)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_is_replaced_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old")
    with replace_file(path) as new:
        new.write_text("né")
        assert path.read_text() == "old"
    assert path.read_text() == "né"
    assert list(path.parent.iterdir()) == [path]


def test_rights_are_those_that_the_user_gives_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "folder" / "file.txt", "x")
        with replace_folder(tmp_path / "model") as new:
            (new / "weights").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "folder" / "file.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750


def fill(path):
    with replace_file(path) as new:
        new.write_text("half")
        raise KeyboardInterrupt


def test_an_interrupted_write_leaves_the_older_file_alone(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt):
        fill(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def killed(monkeypatch, at, work):
    """What ``work`` leaves behind when its process is killed at its ``at``-th renaming or removal."""
    from hrkd.support import atomic_files

    calls = []

    def dies(*_, **__):
        raise SystemExit

    with monkeypatch.context() as patch:
        rename = type(atomic_files.Path()).rename

        def counted(self, target):
            calls.append(target)
            if len(calls) > at:
                raise SystemExit
            return rename(self, target)

        patch.setattr(atomic_files.Path, "rename", counted)
        patch.setattr(atomic_files, "_remove_temporary", dies)
        with pytest.raises(SystemExit):
            work()


@pytest.mark.parametrize(("exchanges", "renames"), [(True, 1), (False, 4)])
def test_what_a_killed_process_left_is_cleared_and_what_it_moved_aside_comes_back(
    tmp_path, monkeypatch, exchanges, renames
):
    if not exchanges:
        monkeypatch.setattr("hrkd.support.atomic_files._exchange", lambda one, other: False)
    for content in ("first", "second"):

        def work(content=content):
            with replace_folder(tmp_path / "model") as new:
                (new / "config.json").write_text(content)

        if content == "first":
            work()
            (tmp_path / "model" / "notes").write_text("mine")
    for renamed in range(renames + 1):
        killed(monkeypatch, renamed, work)
        assert len(list(tmp_path.glob(".hrkd-tmp-*"))) > 0
        clear_leftovers(tmp_path)
        assert names(tmp_path) == ["model", "model/config.json", "model/manifest.json", "model/notes"]
        assert (tmp_path / "model" / "config.json").read_text() == ("second" if renamed == renames else "first")


MINE = (".notes-20251128", ".student-abcd1234", ".hrkd-tmp-", ".hrkd-tmp-0123456789abcdef", ".teacher-old-abcd1234")


def test_hidden_files_and_folders_of_others_stay_whatever_their_names(tmp_path):
    for name in MINE:
        (tmp_path / name / "student").mkdir(parents=True)
        (tmp_path / f"{name}-file").touch()
    copy = tmp_path / ".hrkd-tmp-fedcba9876543210"  # a mark that names another folder proves nothing
    copy.mkdir()
    (copy / ".hrkd").write_text(json.dumps({"temporary": ".hrkd-tmp-0", "of": "student", "holds": "new"}))
    before = names(tmp_path)
    clear_leftovers(tmp_path)
    assert names(tmp_path) == before


def test_leftovers_of_other_names_are_left_to_whom_they_belong(tmp_path, monkeypatch):
    killed(monkeypatch, 0, lambda: fill(tmp_path / "mine.csv"))
    before = names(tmp_path)
    clear_leftovers(tmp_path, lambda name: name == "results.json")
    assert names(tmp_path) == before
    clear_leftovers(tmp_path, lambda name: name == "mine.csv")
    assert names(tmp_path) == []


def model(folder, *files):
    with replace_folder(folder) as new:
        for name in files:
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text("hrkd")


def test_what_others_put_into_a_folder_is_in_its_successor(tmp_path):
    folder, outside = tmp_path / "model", tmp_path / "outside"
    model(folder, "config.json", "vocab.txt", "1/weights")
    outside.mkdir()
    (outside / "config.json").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    (folder / "tokenizer.json").write_text("mine")
    (folder / "1" / "plot.svg").write_text("mine")
    (folder / "link").symlink_to(outside)
    model(folder, "config.json", "tokenizer.json")
    assert (folder / "tokenizer.json").read_text() == "hrkd"
    kept = ("notes.txt", "tokenizer.json.before", "1/plot.svg", "link/config.json")
    assert {name: (folder / name).read_text() for name in kept} == dict.fromkeys(kept, "mine")
    assert not (folder / "vocab.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "outside"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_folder_does_not_take_the_place_of_a_file_or_a_link(tmp_path, kind):
    target, folder = tmp_path / "other", tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("mine")
    folder.write_text("mine") if kind == "file" else folder.symlink_to(target)
    with pytest.raises(CannotWriteError, match=f"model: is a {kind}"):
        model(folder, "config.json")
    assert (target / "config.json").read_text() == "mine"
    assert folder.read_text() == "mine" if kind == "file" else folder.is_symlink()


def test_a_link_to_a_file_stays_one(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "there" / "file.json")
    write_json(link, [1])
    assert link.is_symlink()
    assert json.loads((tmp_path / "there" / "file.json").read_text()) == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has /dev/full")
def test_streams_are_written_to_and_never_replaced(tmp_path, capfd):
    write_json(Path("/dev/stdout"), {"a": 1})
    assert json.loads(capfd.readouterr().out) == {"a": 1}
    with pytest.raises(CannotWriteError, match="/dev/full: cannot be written: No space left on device; make room"):
        write_json(Path("/dev/full"), {"a": 1})
    assert not Path("/dev/full").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="pipes as files")
def test_what_goes_into_a_pipe_is_not_held_in_memory(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.DEVNULL)
    with replace_file(tmp_path / "pipe") as new:
        with new.open("wb") as file:
            file.truncate(50_000_000)
        tracemalloc.start()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.wait(20) == 0
    assert most < 5_000_000


RUST = Exception("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "x"), "No space left on device; make room there"),
        (OSError(errno.EROFS, "x"), "Read-only file system; choose a place that you may write to"),
        (OSError("disk on fire"), "disk on fire; choose another place"),
        (RUST, "No space left on device; make room there"),
    ],
)
def test_what_the_system_says_against_it_is_one_clear_error_and_the_older_is_kept(tmp_path, error, said):
    write_text(tmp_path / "file", "old")
    model(tmp_path / "model", "config.json")
    before = names(tmp_path)
    for target, replace in ((tmp_path / "file", replace_file), (tmp_path / "model", replace_folder)):
        with pytest.raises(CannotWriteError) as caught, replace(target):
            raise error
        assert str(caught.value).startswith(f"{target}: cannot be written: {said}")
    with pytest.raises(CannotWriteError) as caught, replace_folder(tmp_path / "model") as new, writing(new / "inner"):
        raise error
    assert str(caught.value).startswith(f"{tmp_path / 'model'}: cannot be written: {said}")
    assert names(tmp_path) == before


def test_errors_about_other_files_and_of_other_kinds_pass(tmp_path):
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "a" / "file"):
        (tmp_path / "b" / "source").read_text()
    with pytest.raises(ZeroDivisionError), replace_file(tmp_path / "file"):
        _ = 1 / 0
    assert names(tmp_path) == ["a"]


def test_whether_a_place_can_be_written_is_seen_without_writing(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    check_can_be_written(tmp_path / "new" / "deep" / "x.json")
    check_can_be_written(tmp_path / "new", is_folder=True)
    for path, is_folder, said in (
        (tmp_path / "file", True, "is a file; name a folder"),
        (tmp_path / "file" / "x", True, "is a file; choose another place"),
        (tmp_path / "file" / "x.json", False, "is a file; choose another place"),
        (tmp_path, False, "is a folder; name a file"),
        (tmp_path / "nowhere", True, "which is not there"),
    ):
        with pytest.raises(CannotWriteError, match=said):
            check_can_be_written(path, is_folder=is_folder)
    assert names(tmp_path) == ["file", "nowhere"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "is no mapping"),
        ("{}", "lacks steps, epochs"),
        ('{"steps": "x", "epochs": []}', "has another steps than hrkd wrote"),
        ("{", "cannot be read"),
        (None, "is missing"),
    ],
)
def test_a_damaged_record_is_named_with_what_to_do(tmp_path, content, said):
    path = tmp_path / "training.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ArtifactError, match=f"training.json: the record .*{said}.*; restore it"):
        read_record(path, what="the record of a training", advice="restore it", needs={"steps": int, "epochs": list})


def test_files_have_the_rights_that_the_umask_says(tmp_path):
    """Whatever the library that wrote them makes of it."""
    before = os.umask(0o027)
    try:
        with replace_folder(tmp_path / "model") as new:
            (new / "inner").mkdir()
            for place in (new, new / "inner"):
                save_file({"x": torch.zeros(2)}, place / "model.safetensors")
                (place / "model.safetensors").chmod(0o600)
                (place / "config.json").write_text("{}")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}
    assert len(files) == 5
