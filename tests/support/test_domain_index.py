import json

import pytest

from hrkd.errors import ArtifactError
from hrkd.support.domain_index import read_domain_index, write_domain_index

NAMES = {"books": "books", "home & garden": "home-garden"}


@pytest.fixture
def folder(tmp_path):
    for name in NAMES.values():
        (tmp_path / name).mkdir()
    write_domain_index(tmp_path, NAMES, "plain")
    return tmp_path


def rewrite(folder, **changes):
    index = json.loads((folder / "domains.json").read_text()) | changes
    (folder / "domains.json").write_text(json.dumps({name: value for name, value in index.items() if value}))


def test_what_is_written_is_read(folder):
    index = read_domain_index(folder)
    assert index.holds == "plain"
    assert index.folders == {domain: folder / name for domain, name in NAMES.items()}


@pytest.mark.parametrize(("earlier", "holds"), [("hrkd-teachers", "teachers"), ("hrkd-export", "plain")])
def test_two_earlier_formats_are_read(folder, earlier, holds):
    rewrite(folder, format=earlier, holds=None)
    assert read_domain_index(folder).holds == holds


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "another program\'s"}'])
def test_a_file_of_others_is_no_index(folder, content):
    (folder / "domains.json").write_text(content)
    assert read_domain_index(folder) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "hrkd-domains version 2, where version 1 is read; open it with the hrkd that wrote it"),
        ({"domains": None}, "does not say which folder is whose; restore"),
        ({"holds": "cats"}, "does not say which folder is whose; restore"),
        ({"domains": {"books": "elsewhere"}}, "there is no .*elsewhere; restore the folder"),
    ],
)
def test_an_index_that_cannot_be_followed_is_an_error(folder, changes, said):
    rewrite(folder, **changes)
    with pytest.raises(ArtifactError, match=said):
        read_domain_index(folder)
