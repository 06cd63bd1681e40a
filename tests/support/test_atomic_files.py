import os

import pytest

from hrkd.support.atomic_files import clear_leftovers, replace_file, replace_folder, write_text


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


def test_what_a_killed_process_left_is_cleared_and_what_it_moved_aside_comes_back(tmp_path):
    for name in (".student-abc_1234", ".teacher-old-abcd1234/teacher", ".student-old-abcd1234/student", "student"):
        (tmp_path / name).mkdir(parents=True)
    for name in (".recipe.yaml-abcd1234", ".keep", "notes-abcd1234"):
        (tmp_path / name).touch()
    (tmp_path / ".teacher-old-abcd1234" / "teacher" / "weights").touch()
    clear_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".keep", "notes-abcd1234", "student", "teacher"]
    assert (tmp_path / "teacher" / "weights").exists()
