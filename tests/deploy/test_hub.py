"""Uploading an export: only what hrkd wrote, only when asked for, and what goes wrong in one sentence."""

import fnmatch
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import LocalTokenNotFoundError

from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.hub import push_to_hub
from hrkd.errors import HrkdError
from hrkd.run.export import export


@pytest.fixture
def hub():
    """A stand-in of the Hub's client, which refuses calls that the client does not know."""
    api = create_autospec(HfApi, instance=True)
    api.upload_folder.return_value = SimpleNamespace(repo_url="https://hub/me/reviews")
    api.list_repo_files.return_value = []
    return api


@pytest.fixture
def repository(hub, tmp_path):
    """A folder that the stand-in takes for the repository: what is uploaded lies there, what goes is removed."""
    place = tmp_path / "repository"
    place.mkdir()

    def files():
        return [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]

    def download(_, file, *, local_dir):
        (Path(local_dir) / file).parent.mkdir(parents=True, exist_ok=True)
        return shutil.copy(place / file, Path(local_dir) / file)

    def upload(*, folder_path, delete_patterns, **_):
        new = uploaded(hub)
        for file in files():
            if any(fnmatch.fnmatch(file, pattern) for pattern in delete_patterns):
                (place / file).unlink()
        for file in new:
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder_path / file, place / file)
        return SimpleNamespace(repo_url="https://hub/me/reviews")

    hub.list_repo_files.side_effect = lambda _: files()
    hub.hf_hub_download.side_effect = download
    hub.upload_folder.side_effect = upload
    return place


def uploaded(api):
    """Names of the files that the client would take."""
    options = api.upload_folder.call_args.kwargs
    folder = options["folder_path"]
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return {path for path in paths if any(fnmatch.fnmatch(path, pattern) for pattern in options["allow_patterns"])}


def test_what_hrkd_wrote_goes_and_what_others_put_there_stays(student_folder, tmp_path, hub):
    export(student_folder, tmp_path / "out", "onnx")
    (tmp_path / "out" / "secret.txt").write_text("mine")
    (tmp_path / "out" / "notes").mkdir()
    (tmp_path / "out" / "notes" / "more.txt").write_text("mine")
    assert push_to_hub(tmp_path / "out", "me/reviews", api=hub) == "https://hub/me/reviews"
    hub.create_repo.assert_called_once_with("me/reviews", private=True, exist_ok=True)
    names = {"README.md", "export.json", "manifest.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"}
    assert uploaded(hub) == names


def test_plain_folders_go_with_all_that_they_need(student_folder, tmp_path, hub):
    export_plain(student_folder, tmp_path / "out")
    push_to_hub(tmp_path / "out", "me/reviews", api=hub)
    found = uploaded(hub)
    assert {"domains.json", "books/model.safetensors", "books/config.json", "music/tokenizer.json"} <= found


def test_files_of_another_form_go_and_what_others_put_there_stays(student_folder, tmp_path, hub):
    export(student_folder, tmp_path / "out", "onnx")
    push_to_hub(tmp_path / "out", "me/reviews", api=hub)
    patterns = hub.upload_folder.call_args.kwargs["delete_patterns"]
    there = ["model.xml", "model.bin", "domains.json", "notes.md", "more/model.bin", "LICENSE", ".gitattributes"]
    gone = {name for name in there if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}
    assert gone == {"model.xml", "model.bin", "domains.json"}


def test_what_an_earlier_upload_of_another_form_left_goes(student_folder, tmp_path, hub, repository):
    def there():
        return {path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()}

    own = {"LICENSE", "books/notes.md", "data/manifest.json", "data/model.safetensors"}
    for name in own:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("[]")
    export(student_folder, tmp_path / "plain")
    push_to_hub(tmp_path / "plain", "me/reviews", api=hub)
    assert {"books/model.safetensors", "music/tokenizer_config.json", "domains.json"} < there()
    export(student_folder, tmp_path / "onnx", "onnx")
    push_to_hub(tmp_path / "onnx", "me/reviews", api=hub)
    graph = {"README.md", "export.json", "manifest.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"}
    assert there() == own | graph
    export_plain(student_folder, tmp_path / "again")
    push_to_hub(tmp_path / "again", "me/reviews", api=hub)
    assert "model.onnx" not in there()
    assert "tokenizer_config.json" not in there()
    assert "books/model.safetensors" in there()


def test_a_plain_export_has_a_card(student_folder, shared_head_folder, tmp_path):
    export(student_folder, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-classification")
    assert 'model="path/to/this/folder/books"' in card.text
    assert "kitchen & housewares" in card.text
    assert "{{" not in card.text
    export(student_folder, tmp_path / "out", overwrite=True)
    export(shared_head_folder, tmp_path / "one")
    assert 'model="path/to/this/folder/all-domains"' in ModelCard.load(tmp_path / "one" / "README.md").text


def test_nothing_is_uploaded_unless_it_is_asked_for(student_folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("hrkd.run.export.push_to_hub", lambda folder, name: asked.append(name))
    monkeypatch.setattr("hrkd.run.export.check_hub", lambda name: None)
    export(student_folder, tmp_path / "out")
    assert asked == []
    export(student_folder, tmp_path / "out", overwrite=True, push_to="me/reviews")
    assert asked == ["me/reviews"]


def test_what_goes_wrong_is_one_sentence(student_folder, tmp_path, hub):
    with pytest.raises(HrkdError, match="'no name/of/one' is no name of a repository"):
        export(student_folder, tmp_path / "out", push_to="no name/of/one")
    assert not (tmp_path / "out").exists(), "told before anything is made"
    export_plain(student_folder, tmp_path / "out")
    hub.create_repo.side_effect = OSError("no route")
    with pytest.raises(HrkdError, match=r"me/reviews: the Hub cannot be reached \(no route\).* upload .*out, which is"):
        push_to_hub(tmp_path / "out", "me/reviews", api=hub)
    with pytest.raises(HrkdError, match=r"me/reviews: .*, then upload .*, which is finished"):  # by the real transport
        push_to_hub(tmp_path / "out", "me/reviews", api=HfApi(endpoint="http://127.0.0.1:9", token="none"))


def test_a_card_that_cannot_be_read_is_left_out(student_folder, tmp_path, caplog):
    shutil.copytree(student_folder, tmp_path / "student")
    (tmp_path / "student" / "README.md").write_text("---\nlicense: [mit\n---\n\n## Results\n\nGood.\n")
    export(tmp_path / "student", tmp_path / "out", "onnx")
    assert "left out of the export's card" in caplog.text
    assert "Good." not in (tmp_path / "out" / "README.md").read_text()


def test_the_card_of_an_export(student_folder, tmp_path):
    metadata = "license: mit\nlanguage: en\nmetrics:\n- accuracy\ntags:\n- old\n"
    told = "# Mine\n\n## Use\n\nso\n\n## Intended use\n\nfor books\n\n## Results\n\nGood ones.\n"
    (student_folder / "README.md").write_text(f"---\n{metadata}---\n\n{told}")
    export(student_folder, tmp_path / "out", "onnx")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.language, card.data.library_name) == ("mit", "en", "onnx")
    assert "metrics" not in card.data.to_dict(), "figures of the student are not the export's"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.tags == ["hrkd", "knowledge-distillation", "multi-domain", "onnx"]
    assert "kitchen & housewares" in card.text
    assert "## Intended use\n\nfor books\n\n## Results\n\nGood ones." in card.text
    assert "`hrkd benchmark path/to/the/student path/to/this/folder`" in card.text
    assert "## Use\n\nso" not in card.text, "what is said of the student's own folder is not of this one"
    assert "logits differ by" in card.text
    assert str(tmp_path) not in card.text
    (student_folder / "README.md").unlink()


def test_the_lines_of_the_card_run(student_folder, tmp_path, capsys):
    """The block that needs no hrkd, with the folder's name put in."""
    export(student_folder, tmp_path / "out", "onnx")
    blocks = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1:]
    for block in blocks:
        exec(block.split("```")[0].replace("path/to/this/folder", str(tmp_path / "out")), {})
    assert capsys.readouterr().out.strip() in ("negative", "neutral", "positive")


def test_what_keeps_one_from_the_hub_is_told_before_anything_is_made(student_folder, tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("hrkd.deploy.hub.HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9", token="none"))
    with pytest.raises(HrkdError, match=r"me/reviews: the Hub cannot be reached .*see to the network. Nothing was exp"):
        export(student_folder, tmp_path / "out", push_to="me/reviews")
    hub = create_autospec(HfApi, instance=True)
    hub.whoami.side_effect = LocalTokenNotFoundError("no token")
    monkeypatch.setattr("hrkd.deploy.hub.HfApi", lambda: hub)
    with pytest.raises(HrkdError, match="nobody is logged in here; log in"):
        export(student_folder, tmp_path / "out", push_to="me/reviews")
    assert not (tmp_path / "out").exists()
