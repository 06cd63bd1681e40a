"""Targets: recipes, grids, and the files in which hrkd says what is in a folder."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fuzz.harness import Target, must, scratch
from hrkd.comparison.planning import load_grid
from hrkd.data.readers.sources import load_domains
from hrkd.data.splits.split_files import read_split_ids, save_split_ids, texts_of_file
from hrkd.data.types import Splits
from hrkd.deploy.export_folder import HEAD, exported_facts, facts_of_any, read_export
from hrkd.errors import DataError, HrkdError
from hrkd.models.open_model import ModelFacts
from hrkd.recipe.loading import load_recipe, packaged_recipe_text, recipe_to_yaml
from hrkd.recipe.yaml_lines import Dumper, read_yaml, read_yaml_file
from hrkd.run.command_record import CommandRecord, read_command
from hrkd.run.folder import RunFolder
from hrkd.support.atomic_files import put_manifest
from hrkd.support.caches import cached_folders, other_folders
from hrkd.support.domain_index import domain_folders, write_domain_index
from hrkd.support.manifest import check_manifest, listed_names
from hrkd.support.own_files import remove_own
from hrkd.support.stage_files import digest_of_rows

RECIPE = b"""data: {source: reviews.csv, max_length: 32, domains: [books, dvd]}
teacher: {model: bert, training: {epochs: 2, learning_rate: 5e-5}}
student: {layers: 1, width: 32, training: {epochs: 2}}
method: {preset: published, temperature: 2}
run: {output: runs/x, seed: 3}
"""
GRID = b"""recipe:
  data: {source: reviews.csv}
  teacher: {model: bert}
  student: {layers: 1, training: {epochs: 2}}
data: {a: {data.split_seed: 0}, b: {}}
methods: {one: {}, two: {learns_from: labels, student.width: 8}}
baseline: one
seeds: [0, 1]
fractions: [0.5, 1]
"""
YAML = b"""a: &x {b: 1, 'c d': [1.5, ~, true, "\\x41\\u00e9\\n"]}
? e
: |
  text
  more
f: >-
  folded
g: *x
# remark
"""
YAML_WORDS = (
    *(
        b"&a ",
        b"*a",
        b"!!str ",
        b"!x ",
        b"!<x> ",
        b"? ",
        b"- ",
        b": ",
        b"|\n",
        b">\n",
        b"%YAML 1.2\n---\n",
        b"%TAG ! x\n",
    ),
    *(b"---\n", b"...\n", b"<<: ", b'"\\', b'"\\x', b'"\\u', b'"\\U', b'"\\UFFFFFFFF"', b"{a: 1}", b"[1, 2]", b"\n  "),
    *(b"'", b"#", b"@", b"`", b"%", b"\t", b"\xc2\x85", b"\xe2\x80\xa9", b"0x1", b"1_0", b"1e5", b".nan", b".inf"),
)
FIELDS = (
    *(b"data:", b"teacher:", b"student:", b"method:", b"run:", b"cache:", b"evaluation:", b"data.source: x", b"null"),
    *(b"layers: ", b"width: ", b"preset: ", b"fine_tuned: ", b"checkpoint: ", b"sizes: {books: [1, 2, 3]}", b"-1"),
    *(
        b"9999999999",
        b"1e-320",
        b"0.1",
        b"true",
        b"{}",
        b"[]",
        b"[a, a]",
        b"stages: two",
        b"shots: 5",
        b"unlabelled: x",
    ),
)


def _yaml(data: bytes) -> str:
    file = scratch("yaml") / "t.yaml"
    file.write_bytes(data)
    source = read_yaml_file(file, "recipe file")
    text = yaml.dump(source.data, Dumper=Dumper, allow_unicode=True)
    again = read_yaml(text, "t.yaml")
    must(again.data == source.data and not again.problems, f"read back as something else: {text[:200]}")
    json.dumps(source.data, ensure_ascii=False).encode()
    return f"{type(source.data).__name__} {min(source.values, 50)} {[p.message[:20] for p in source.problems[:3]]}"


def _recipe(data: bytes) -> str:
    file = scratch("recipe") / "t.yaml"
    file.write_bytes(data)
    recipe = load_recipe(file)
    text = recipe_to_yaml(recipe)
    must(
        load_recipe(yaml.load(text, yaml.BaseLoader) and read_yaml(text, "t.yaml").data) == recipe, "written otherwise"
    )
    json.dumps(recipe.model_dump(mode="json"), ensure_ascii=False).encode()
    return f"{recipe.data.format} {recipe.student.kind} {recipe.method.preset}"


def _grid(data: bytes) -> str:
    file = scratch("grid") / "t.yaml"
    file.write_bytes(data)
    plan = load_grid(file)
    for cell in plan.cells[:50]:
        must(".." not in Path(cell.name).parts and not Path(cell.name).is_absolute(), f"a run in {cell.name}")
    return f"{min(len(plan.cells), 50)} cells, {len(plan.teachers)} teachers"


def _in_folder(name: str, file: str, read: Callable[[Path], Any], **others: bytes) -> Callable[[bytes], str]:
    """Puts the bytes into a file of a folder, beside other files, and reads the folder."""

    @cache
    def prepared(place: Path) -> Path:
        for other, content in others.items():
            (place / other).write_bytes(content)
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        return place

    def run(data: bytes) -> str:
        folder = prepared(scratch(f"record-{name}"))
        (folder / file).write_bytes(data)
        return str(read(folder))[:60]

    return run


OUTSIDE = "outside.txt"


def _manifest_folder(place: Path) -> Path:
    folder = place / "model"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "part").mkdir(parents=True)
    (place / OUTSIDE).write_text("x")
    (folder / "config.json").write_text("{}")
    (folder / "part" / "a.txt").write_text("a")
    (folder / "mine.txt").write_text("of somebody else")
    return folder


@cache
def _manifests() -> list[bytes]:
    folder = _manifest_folder(scratch("manifest-seed"))
    put_manifest(folder, ["config.json", "part/a.txt"])
    sound = (folder / "manifest.json").read_bytes()
    content = json.loads(sound)
    outside = {
        "../outside.txt": {"bytes": 1, "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
    }
    return [sound, json.dumps(content | {"files": outside}).encode(), json.dumps(content | {"files": {}}).encode()]


def _manifest(data: bytes) -> str:
    place = scratch("manifest")
    folder = _manifest_folder(place)
    (folder / "manifest.json").write_bytes(data)
    names = listed_names(folder)
    try:
        check_manifest(folder)
        must(names is not None, "taken for whole, though its list cannot be read")
        for name in names or ():
            must(folder in (folder / name).resolve().parents, f"a file outside of the folder counts as its own: {name}")
    finally:
        remove_own(folder)
        must((place / OUTSIDE).is_file(), "removed a file outside of the folder")
        listed = names is not None and "mine.txt" in names
        must(listed or (folder / "mine.txt").is_file(), "removed what is not listed")
    return f"{len(names or ())} files"


SETTINGS = {
    "version": 2,
    "data": "0123",
    "teacher_weights": ["ab"],
    "processes": 1,
    "max_length": 32,
    "seed": 0,
    "teacher": {"model": "bert"},
    "student": {"layers": 1},
    "method": {"graph": "uniform"},
    "cache": {},
    "precision": "no",
    "versions": {"torch": "2.6"},
    "parts": ["books", "dvd"],
}


def _stage(folder: Path) -> str:
    run = RunFolder(folder)
    files = run.stage("student")
    found = [files.is_finished, files.is_begun, files.is_under_way, files.made_with, digest_of_rows(files.model)]
    files.check_recorded()
    changes = run.changes("student", copy.deepcopy(SETTINGS))
    files.check_whole()
    if not changes:
        run.check({"student": SETTINGS})
    return f"{found[:3]} {len(changes)}"


def _stage_target(data: bytes) -> str:
    folder = scratch("stage")
    (folder / "student").mkdir(exist_ok=True)
    for name in ("recipe.yaml", "environment.json", "student/model.safetensors"):
        (folder / name).touch()
    (folder / "student" / "stage.json").write_bytes(data)
    return _stage(folder)


def _indexed(data: bytes) -> str:
    folder = scratch("index")
    for name in ("books", "dvd"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "domains.json").write_bytes(data)
    found = domain_folders(folder) or {}
    for place in found.values():
        must(folder in Path(place).resolve().parents, f"the folder of a domain outside of the index's: {place}")
    with suppress(HrkdError):
        facts_of_any(folder)
    return f"{len(found)} folders"


@cache
def _index_seed() -> list[bytes]:
    folder = scratch("index-seed")
    write_domain_index(folder, {"books": "books", "dvd": "dvd"}, "teachers", data="01")
    return [
        (folder / "domains.json").read_bytes(),
        b'{"format": "hrkd-export", "version": 1, "domains": {"a": "books"}}',
    ]


FACTS = ModelFacts(
    ["books", "dvd"], ["n", "p"], 12, False, {"text": "text", "text_pair": None, "label": "l", "domain": "d"}
)
EXPORT = {
    **HEAD,
    "target": "onnx",
    "model": "model.onnx",
    "inputs": ["input_ids", "attention_mask"],
    "padding": {"input_ids": 0},
    "truncation_side": "right",
    "facts": asdict(FACTS),
    "made_from": {},
    "settings": {},
    "checks": {},
}


def _export(folder: Path) -> str:
    record = read_export(folder)
    must(Path(record.model).name == record.model, f"a model outside of the folder: {record.model}")
    exported_facts(folder)
    return f"{record.facts.one_head} {len(record.inputs)}"


@cache
def _rows() -> Any:
    columns = {"text": ["a", "b", "c", "d"] * 3, "label": ["n", "p"] * 6, "domain": ["books"] * 6 + ["dvd"] * 6}
    return load_domains(columns)


@cache
def _splits() -> list[bytes]:
    file = scratch("splits-seed") / "splits.json"
    rows = _rows()
    save_split_ids(Splits(rows.select([0, 1, 2, 3]), rows.select([4, 5, 6]), rows.select([7, 8])), file)
    return [file.read_bytes()]


def _split_file(folder: Path) -> str:
    texts_of_file(folder / "splits.json")
    found, notes = read_split_ids(folder / "splits.json", _rows())
    places = [int(i) for part in found.values() for i in part]
    must(len(set(places)) == len(places), "a row in two parts")
    return f"{len(places)} {len(notes)}"


def _cache_index(folder: Path) -> str:
    try:
        return f"{len(cached_folders(folder))} {len(other_folders(folder))}"
    except DataError as error:
        return str(error)[:10]


def _jsons(content: Any) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(content).encode()]


COMMAND = CommandRecord("compress", "/", {"teacher_folder": "x"}, ())
INDEX = {"format": "hrkd-arrow", "version": 1, "kind": "rows", "name": "x-rows", "rows": 3, "of": "x.csv", "size": 3}

TARGETS = [
    Target("yaml", _yaml, lambda: [b"a: &x {b: 1}\nc: *x\n", YAML], YAML_WORDS, ("t.yaml",), 1),
    Target(
        "recipe",
        _recipe,
        lambda: [RECIPE, packaged_recipe_text("demo").encode()],
        (*FIELDS, *YAML_WORDS),
        ("t.yaml",),
        1,
    ),
    Target("grid", _grid, lambda: [GRID], (*FIELDS, *YAML_WORDS, b"methods:", b"seeds: [0, 1, 2]"), ("t.yaml",), 0.5),
    Target("manifest", _manifest, _manifests, (b"../", b"manifest.json"), ("manifest",), 2, form="json"),
    Target("stage", _stage_target, _jsons(SETTINGS), (), ("stage.json", "stage"), 1, form="json"),
    Target("index", _indexed, _index_seed, (b"../", b"books"), ("index",), 3, form="json"),
    Target(
        "export-record",
        _in_folder("export", "export.json", _export, **{"model.onnx": b"x"}),
        _jsons(EXPORT),
        (),
        ("record-export",),
        3,
        form="json",
    ),
    Target(
        "command",
        _in_folder("command", "command.json", read_command),
        _jsons(asdict(COMMAND)),
        (),
        ("command",),
        3,
        form="json",
    ),
    Target("splits", _in_folder("splits", "splits.json", _split_file), _splits, (), ("splits.json",), 1, form="json"),
    Target(
        "cache-index",
        _in_folder("cache", "x-rows/index.json", _cache_index),
        _jsons(INDEX),
        (),
        ("cache",),
        2,
        form="json",
    ),
]
