import pytest

from hrkd.files import replace_file, write_text


def test_a_file_is_replaced_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old")
    with replace_file(path) as new:
        new.write_text("né")
        assert path.read_text() == "old"
    assert path.read_text() == "né"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


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
