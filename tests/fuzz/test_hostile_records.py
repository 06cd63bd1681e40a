"""Recipes, grids and the records of hrkd's own folders, as somebody would write them who means harm."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from fuzz.deploying import _service
from fuzz.harness import CONSTANT, measured
from fuzz.models import STEP, _checkpoint, _resumed, _student, _trained
from fuzz.records import EXPORT
from hrkd.comparison.planning import load_grid
from hrkd.deploy.export_folder import read_export
from hrkd.deploy.journal import journal_of
from hrkd.errors import ArtifactError, DataError, HrkdError, ModelError, RecipeError
from hrkd.models.facts import facts_of
from hrkd.models.folder import look_into
from hrkd.models.open_model import read_facts
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.yaml_lines import read_yaml, read_yaml_file
from hrkd.run.command_record import CommandRecord, read_command
from hrkd.run.folder import RunFolder
from hrkd.support.atomic_files import clear_leftovers, put_manifest, read_json
from hrkd.support.domain_index import read_domain_index
from hrkd.support.folder_names import fault_of_name, folder_names
from hrkd.support.manifest import check_manifest, write_manifest
from hrkd.support.messages import brief, first_of, misspelt, names_of, repeated_in, suggestion
from hrkd.support.own_files import remove_own

DEEP = {"within each other": "[" * 5000 + "]" * 5000, "cut": "[" * 5000, "objects": '{"a":' * 3000 + "1" + "}" * 3000}
OUTSIDE = (
    *(
        "../x.safetensors",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a//b",
        "C:\\x.safetensors",
        "C:x.safetensors",
        "..\\x",
        "\\\\h\\s",
    ),
    *("a:b.safetensors", "CON", "con.safetensors", "nul", "COM1.txt", "com\u00b9", "x.", "x ", "x/../../y", "a\0b"),
    *("a\nb", "\ud800", "x" * 300, "a/CON/b", "a*", "/".join(["x" * 200] * 20)),
)
"""Names that lead out of a folder by the rules of POSIX or of Windows, or that one of them has not."""


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_are_not_of_the_folder(name):
    assert fault_of_name(name)


@pytest.mark.parametrize(
    "name", ["a", "config.json", "part/a.txt", "Bücher", "a b", ".hidden", "x..y", "console", "a-b_c.1"]
)
def test_names_of_the_folder(name):
    assert fault_of_name(name) is None


def test_domains_that_are_called_like_devices_get_other_folders():
    domains = ["CON", "nul.txt", "com1", "com\u00b9", "a.", "a ", "..", "C:\\x", "conin$", ""]
    names = folder_names(domains)
    assert len({name.casefold() for name in names.values()}) == len(domains)
    assert [fault_of_name(name) for name in names.values()] == [None] * len(domains)


# --- stages


@pytest.mark.parametrize("part", [*OUTSIDE, "a/b", 3, ["a"], None])
def test_a_stage_whose_parts_lie_elsewhere(tmp_path, part):
    files = RunFolder(tmp_path / "run").stage("student")
    others = [tmp_path / place for place in ("x", "run/x", "run/checkpoints/x", "run/metrics/x")]
    kept = [folder / below for folder in others for below in ("step-000000001/state.json", "steps/epoch-001.parquet")]
    for file in (*kept, files.model / "model.safetensors"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (files.model / "stage.json").write_text(json.dumps({"parts": [part]}))
    with pytest.raises(ArtifactError, match=r"student/stage\.json: names the parts .*, which hrkd writes nowhere"):
        files.check_whole()
    assert not files.is_under_way
    files.remove()
    assert not files.model.exists()
    assert all(file.is_file() for file in kept)


# --- manifests and indices


def _listing(folder: Path, name: str) -> None:
    (folder / "config.json").write_text("{}")
    write_manifest(folder)
    check_manifest(folder)
    content = json.loads((folder / "manifest.json").read_text())
    content["files"][name] = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_that_lists_what_is_elsewhere(tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "x.safetensors").write_text("x")
    _listing(folder, name)
    with pytest.raises(ArtifactError, match=r"model/manifest\.json: lists .*, which hrkd writes nowhere"):
        check_manifest(folder)
    remove_own(folder)
    assert (tmp_path / "x.safetensors").is_file()
    assert folder.is_dir(), "of a list like that nothing counts but the names that hrkd gives"


def test_links_are_not_followed_when_a_folder_is_removed(tmp_path):
    folder, other = tmp_path / "model", tmp_path / "mine"
    folder.mkdir()
    other.mkdir()
    (other / "a.txt").write_text("mine")
    (folder / "part").symlink_to(other)
    (folder / "hard.txt").hardlink_to(other / "a.txt")
    (folder / "loop").symlink_to(".")
    put_manifest(folder, ["hard.txt"])
    content = json.loads((folder / "manifest.json").read_text())
    content["files"]["part/a.txt"] = content["files"]["hard.txt"]
    (folder / "manifest.json").write_text(json.dumps(content, indent=2) + "\n")
    remove_own(folder, parts=["part", "../mine"])
    assert (other / "a.txt").read_text() == "mine"
    assert not (folder / "hard.txt").exists()


@pytest.mark.parametrize("name", [*OUTSIDE, 1, None, ["a"]])
def test_an_index_of_domains_that_names_what_is_elsewhere(tmp_path, name):
    (tmp_path / "domains.json").write_text(
        json.dumps({"format": "hrkd-domains", "version": 1, "holds": "teachers", "domains": {"a": name}})
    )
    with pytest.raises(ArtifactError, match=r"domains\.json: no folder in it is called"):
        read_domain_index(tmp_path)


@pytest.mark.parametrize("kind", [[], {}, 1, None, "other", True])
def test_an_index_of_another_format_is_none(tmp_path, kind):
    (tmp_path / "domains.json").write_text(json.dumps({"format": kind}))
    assert read_domain_index(tmp_path) is None


@pytest.mark.parametrize("name", [*OUTSIDE, "sub/model.onnx"])
def test_an_export_whose_model_is_elsewhere(tmp_path, name):
    (tmp_path / "export.json").write_text(json.dumps(EXPORT | {"model": name}))
    with pytest.raises(ArtifactError, match="is missing"):
        read_export(tmp_path)


@pytest.mark.parametrize("inputs", [[[]], [{}], [1], [None, "input_ids"], []])
def test_an_export_whose_inputs_are_none(tmp_path, inputs):
    (tmp_path / "model.onnx").touch()
    (tmp_path / "export.json").write_text(json.dumps(EXPORT | {"inputs": inputs}))
    with pytest.raises(ArtifactError, match=r"export\.json: its facts are no longer what was written"):
        read_export(tmp_path)


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name.endswith(".safetensors")])
def test_weights_that_lie_elsewhere(tmp_path, name):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    index = {"metadata": {}, "weight_map": {"a": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"index\.json: names files outside its folder"):
        look_into(tmp_path)


# --- deep JSON


def _written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder


READERS = {
    "manifest.json": check_manifest,
    "domains.json": read_domain_index,
    "export.json": read_export,
    "command.json": read_command,
    "config.json": look_into,
    "stage.json": lambda folder: read_json(folder / "stage.json", what="the record of a stage"),
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("name", READERS)
def test_values_within_each_other_in_records(tmp_path, name, text):
    with pytest.raises(HrkdError, match=name.replace(".", r"\.")) as caught:
        READERS[name](_written(tmp_path, name, text))
    assert "more than 100 deep" in str(caught.value)


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_values_within_each_other_in_what_an_interruption_leaves(tmp_path, text):
    journal = tmp_path / ".out.csv.hrkd-journal"
    journal.write_text(text[:4000] + "\n")
    with pytest.raises(DataError, match="no journal of hrkd predict"), journal_of(tmp_path / "out.csv", "k"):
        pass
    journal.unlink()
    with journal_of(tmp_path / "out.csv", "k") as kept:
        kept.next(1, 1)
        kept.add(np.ones((1, 1)))
        with journal.open("a") as file:
            file.write(text + "\n")
        kept.file.seek(0)
        kept.file.readline()
        kept.reading = True
        assert kept.next(1, 1) is not None
        assert kept.next(1, 1) is None
    leftover = tmp_path / ".hrkd-tmp-0"
    leftover.mkdir()
    _written(leftover, ".hrkd", text)
    clear_leftovers(tmp_path)
    assert leftover.is_dir()
    _written(tmp_path, "domains.json", text)
    remove_own(tmp_path / "nothing")
    remove_own(tmp_path)


# --- commands


@pytest.mark.parametrize(
    "change",
    [
        {"directory": "x" * 5000},
        {"directory": "a\0b"},
        {"directory": "\ud800"},
        {"in_memory": [1, None]},
        {"arguments": {"teacher_folder": 1}},
        {"verb": "compare", "arguments": {}},
        {"verb": "compare", "arguments": {"grid": {"output": 1}, "overwrite": True}},
    ],
)
def test_a_command_that_cannot_be_given_again(tmp_path, change):
    record = asdict(CommandRecord("compress", str(tmp_path), {"teacher_folder": None}))
    (tmp_path / "command.json").write_text(json.dumps(record))
    assert read_command(tmp_path).verb == "compress"
    (tmp_path / "command.json").write_text(json.dumps(record | change))
    with pytest.raises(ArtifactError, match=tmp_path.name):
        read_command(tmp_path)


# --- YAML


@pytest.mark.parametrize(
    "text",
    [
        'a: "\\UFFFFFFFF"',
        'a: "\\U00110000"',
        "%YAML 1." + "9" * 5000 + "\n---\na: 1",
        "%YAML " + "9" * 5000 + ".1\n---\na: 1",
    ],
)
def test_numbers_in_yaml_that_name_nothing(text):
    with pytest.raises(RecipeError, match=r"^my\.yaml: not YAML: "):
        read_yaml(text, "my.yaml")


@pytest.mark.parametrize(("text", "path"), [('a: "x\\ud800"', ("a",)), ('b: {"\\udfff": 1}', ("b",))])
def test_halves_of_surrogate_pairs_in_yaml(text, path):
    (problem,) = read_yaml(text, "my.yaml").problems
    assert problem.path == path
    assert "half of a surrogate pair" in problem.message


@pytest.mark.parametrize("text", ["1e999", "-1e999", "9" * 400])
def test_numbers_that_are_too_large_stay_texts(text):
    assert read_yaml(f"a: {text}", "my.yaml").data == {"a": text}
    with pytest.raises(RecipeError, match=rf"student\.training\.learning_rate: '?{text[:20]}"):
        load_recipe({"student": {"training": {"learning_rate": text}}})


def test_what_is_no_recipe_by_its_size(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("- a\n" * 100_000)
    found, seconds, _ = measured(lambda: load_recipe(file))
    assert "my.yaml: more than 262,144 bytes, so no recipe file" in str(found)
    assert seconds < 1
    with pytest.raises(RecipeError, match="more than 262,144 bytes"):
        read_yaml_file(Path("/dev/zero"), "recipe file")


def test_a_thousand_problems_are_told_in_part(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("student:\n" + "".join(f"  layers{i}: 1\n" for i in range(3000)))
    found, seconds, _ = measured(lambda: load_recipe(file))
    lines = str(found).splitlines()
    assert len(lines) == 51
    assert lines[-1].startswith("and ")
    assert seconds < 20


GRID = {
    "recipe": {"data": {"source": "x.csv"}, "teacher": {"model": "bert"}, "student": {"layers": 1}},
    "methods": {"a": {}},
    "baseline": "a",
}


def test_grids_that_make_millions_of_runs():
    many = list(range(80_000))
    found, seconds, memory = measured(lambda: load_grid(GRID | {"seeds": many}))
    assert "methods: with data, seeds and fractions or shots, 80,000 runs; at most 10,000 are made" in str(found)
    assert seconds < 10
    names = {f"m{i}": {} for i in range(100)}
    wide = {"data": names, "methods": names, "seeds": many[:100], "shots": many[1:101], "baseline": "m0"}
    found, seconds, memory = measured(lambda: load_grid(GRID | wide))
    assert "100,000,000 runs" in str(found)
    assert seconds < 10
    assert memory < CONSTANT
    assert len(load_grid(GRID | {"seeds": many[:20]}).cells) == 20


# --- models and checkpoints


@pytest.mark.parametrize(
    "change", [{"domains": ["a", "\ud800"]}, {"domains": ["a", " "]}, {"id2label": {"0": "\udfff"}}]
)
def test_names_that_no_text_holds_in_a_model(tmp_path, change):
    fields = json.loads((_student() / "config.json").read_text())
    for file in _student().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert read_facts(tmp_path).domains == fields["domains"]
    (tmp_path / "config.json").write_text(json.dumps(fields | change))
    with pytest.raises(ArtifactError, match=r"config\.json: names no domains or labels"):
        facts_of(tmp_path)


def _other(state: dict, change: str) -> None:
    version, numbers, gauss = state["random"][0]["python"]
    if change == "random numbers":
        state["random"][0]["python"] = [version, [10**30, *numbers[1:]], gauss]
    elif change == "negative numbers":
        state["random"][0]["numpy"][1] = [-1] * 624
    elif change == "rates":
        state["scheduler"]["base_lrs"] = ["x"]
    elif change == "decay":
        state["param_groups"][0]["lr"] = "a"
    elif change == "progress":
        state["progress"] = []
    elif change == "epochs":
        state["progress"]["history"]["epochs"] = [1]
    else:
        state["progress"]["history"]["best_epoch"] = "1"


@pytest.mark.parametrize(
    "change", ["random numbers", "negative numbers", "rates", "decay", "progress", "epochs", "best epoch"]
)
def test_a_checkpoint_that_was_changed(tmp_path, change):
    shutil.copytree(_checkpoint(), tmp_path, dirs_exist_ok=True)
    assert _resumed(tmp_path)
    state = json.loads((tmp_path / STEP / "state.json").read_text())
    _other(state, change)
    (tmp_path / STEP / "state.json").write_text(json.dumps(state))
    with pytest.raises(ArtifactError, match=f"{tmp_path.name}.*: the .* delete this folder to start the training anew"):
        _resumed(tmp_path)


def test_a_checkpoint_does_not_change_what_objects_do(tmp_path):
    shutil.copytree(_checkpoint(), tmp_path, dirs_exist_ok=True)
    state = json.loads((tmp_path / STEP / "state.json").read_text())
    state["scheduler"] |= {"step": 1, "get_last_lr": 2}
    rate = state["param_groups"][0]["lr"]
    state["param_groups"][0] |= {"more": 3, "capturable": True, "maximize": True, "params": [7]}
    (tmp_path / STEP / "state.json").write_text(json.dumps(state))
    assert _resumed(tmp_path)
    (group,) = _trained()[1].param_groups
    assert group["initial_lr"] == 0.1
    assert group["lr"] < rate, "the checkpoint's, and a step on"
    assert not group["capturable"]
    assert not group["maximize"]
    assert "more" not in group


class PanicException(BaseException):
    """As libraries in Rust raise it: no Exception."""


def test_a_panic_of_a_library_is_an_error_of_the_folder():
    from hrkd.models.probe import opening

    with (
        pytest.raises(ModelError, match=r"x: cannot be loaded \(PanicException: index out of bounds\); restore it"),
        opening("x", "cannot be loaded", "restore it"),
    ):
        raise PanicException("index out of bounds")
    with pytest.raises(KeyboardInterrupt), opening("x", "cannot be loaded", "restore it"):
        raise KeyboardInterrupt


# --- questions


def _asked(body: bytes) -> tuple[int, str, float, int]:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(min(len(body), 90_000)).encode())]
    (status, said), seconds, memory = measured(lambda: _service().ask(body, headers))
    return status, json.loads(said)["detail"], seconds, memory


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"texts": [' + b"1," * 400_000 + b'1], "domain": "dvd"}', "texts[0]: expected a string, got 1"),
        (b'{"texts": [' + b'"",' * 400_000 + b'""], "domain": "dvd"}', "400,001 are more than the 5 of a question"),
        (b'{"texts": "a", ' + b",".join(b'"x%d": 1' % i for i in range(200_000)) + b"}", "unknown field 'x0'"),
        (b'{"texts": "a", "domain": "' + b"x" * 1_000_000 + b'"}', "unknown domain 'xxx"),
    ],
)
def test_questions_of_a_megabyte_take_no_more_than_ten(body, said):
    status, detail, seconds, memory = _asked(body)
    assert status == 422
    assert said in detail
    assert len(detail) < 2000
    assert seconds < 5
    assert memory < 10 * len(body) + CONSTANT


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"texts": ' + b"9" * 5000 + b"}", "the body is no JSON that can be read (Exceeds the limit (4300 digits)"),
        (b"[" * 100_000, "too deep within each other"),
        (b"\xff", "the body is not UTF-8"),
    ],
)
def test_bodies_that_python_cannot_read(body, said):
    assert _asked(body)[0] == 422
    assert said in _asked(body)[1]


@pytest.mark.parametrize("length", [b"9" * 5000, b"1" * 19, b"-1", b"1e3", b"\xb2", b""])
def test_lengths_that_are_none(length):
    status, said = _service().ask(b"{}", [(b"content-type", b"application/json"), (b"content-length", length)])
    assert status == 413
    assert b"the body has more than" in said


# --- messages


@pytest.mark.parametrize("error", [HrkdError, DataError, RecipeError, ArtifactError, ModelError])
def test_errors_end_whatever_they_quote(error):
    assert str(error("t.csv: " + "x" * 8_000)) == "t.csv: " + "x" * 8_000
    said = str(error("t.csv: " + "x" * 1_000_000 + "; write it again"))
    assert said.startswith("t.csv: xxx")
    assert "(1,000,023 characters)" in said
    assert said.endswith("xxx; write it again")
    assert len(said) < 9_000


def test_messages_stay_short_whatever_they_name():
    long = "x" * 1_000_000
    assert len(brief(long)) < 400
    assert brief("short") == "short"
    assert "(1,000,000 characters)" in brief(long)
    assert first_of([long] * 9).endswith("and 4 more")
    assert len(first_of([long] * 9)) < 2000
    assert names_of(["a", "b"]) == "a, b"
    assert names_of([long] * 100_000).endswith("and 99,970 more")
    assert len(names_of([long] * 100_000)) < 5000
    assert repeated_in([3, 1, 3, 2, 1]) == [3, 1]


def test_a_suggestion_among_millions_takes_no_time():
    known = [f"column {i}" for i in range(1_000_000)]
    (one, several), seconds, _ = measured(
        lambda: (suggestion("colunm 7", known), misspelt([f"colunm {i}" for i in range(100_000)], known))
    )
    assert one == "did you mean 'column 7'?"
    assert several.endswith("and 99,995 more")
    assert seconds < 5
    assert suggestion("x" * 1_000_000, ["x" * 999_999]) == ""
