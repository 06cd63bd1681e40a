"""The list of a folder's files: whatever happens to a file, its name is told."""

import pytest

from hrkd.errors import ArtifactError
from hrkd.support.atomic_files import replace_folder
from hrkd.support.manifest import MANIFEST, check_manifest, has_manifest, write_manifest


@pytest.fixture
def folder(tmp_path):
    with replace_folder(tmp_path / "model") as new:
        (new / "weights").write_bytes(bytes(range(200)))
        (new / "below").mkdir()
        (new / "below" / "config.json").write_text("{}")
        (new / "README.md").write_text("card")
        (new / ".hidden").write_text("x")
    return tmp_path / "model"


def test_what_was_written_passes_and_cards_may_be_edited(folder):
    assert has_manifest(folder)
    (folder / "README.md").write_text("another card")
    (folder / ".hidden").unlink()
    (folder / "notes.txt").write_text("mine")
    check_manifest(folder)


def test_every_flipped_bit_is_named(folder):
    content = (folder / "weights").read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / "weights").write_bytes(flipped)
        with pytest.raises(ArtifactError, match=r"weights \(its check sum differs\)"):
            check_manifest(folder)


def test_cut_and_missing_files_are_named(folder):
    (folder / "weights").write_bytes(b"short")
    (folder / "below" / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"below/config.json \(missing\), weights \(5 bytes, not as listed\)"):
        check_manifest(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "hrkd-manifest", "version": 1}'])
def test_a_damaged_list_is_named(folder, content):
    (folder / MANIFEST).write_text(content)
    with pytest.raises(ArtifactError, match=MANIFEST):
        check_manifest(folder)


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + "\n", lambda text: " " + text])
def test_a_list_with_more_or_less_white_space_is_named(folder, change):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(change(text))
    with pytest.raises(ArtifactError, match=r"manifest\.json: the list of the folder's files is not as hrkd writes it"):
        check_manifest(folder)


def test_a_folder_within_that_has_a_list_keeps_its_own(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_text("a")
    write_manifest(tmp_path / "inner")
    write_manifest(tmp_path)
    (tmp_path / "inner" / "a").write_text("b")
    check_manifest(tmp_path)
    with pytest.raises(ArtifactError):
        check_manifest(tmp_path / "inner")


def test_without_a_list_nothing_is_known(tmp_path):
    check_manifest(tmp_path)


def test_a_list_that_cannot_be_read_is_not_taken_for_none(tmp_path):
    for number, make in enumerate((lambda path: path.symlink_to("nowhere"), lambda path: path.mkdir())):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / MANIFEST)
        assert has_manifest(folder)
        with pytest.raises(ArtifactError, match=r"manifest\.json: the list of the folder's files cannot be read"):
            check_manifest(folder)
