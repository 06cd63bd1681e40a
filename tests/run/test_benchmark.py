"""`hrkd benchmark`: what it times, what it says, and what it refuses."""

import json
import time

import numpy as np
import pytest

from hrkd.cli import main
from hrkd.data.readers.sources import load_domains
from hrkd.deploy.benchmark import measure
from hrkd.deploy.export.command import export_to
from hrkd.deploy.export.plain import export_plain
from hrkd.errors import ArtifactError, DataError
from hrkd.models.open_model import read_facts
from hrkd.recipe.loading import load_recipe, recipe_to_yaml
from hrkd.report.remarks import LINEAR
from hrkd.report.tables import benchmark_table
from hrkd.run.benchmark import benchmark
from hrkd.run.commands import compress
from tiny import tiny_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "run"
    compress(
        tiny_recipe(folder, **{"teacher.training.epochs": 1, "student.training.epochs": 1, "student.baseline": False})
    )
    export_to(folder / "student", folder.parent / "onnx", "onnx")
    return folder


def test_models_take_turns_on_the_same_texts():
    asked = []
    models = {name: lambda places, name=name: asked.append((name, list(places))) for name in ("a", "b")}
    found = measure(models, 5, rounds=2, singles=2)
    warm_up = [("a", [0]), ("a", [4]), ("b", [0]), ("b", [4])]
    one_round = [(name, places) for name in ("a", "b") for places in ([0], [4], [0, 1, 2, 3, 4])]
    assert asked == warm_up + 2 * one_round
    for name in models:
        models[name] = lambda places: time.sleep(0.08 if list(places) == [4] else 0.001)
    for speed in measure(models, 5, rounds=1, singles=3).values():
        assert speed.latencies[0] < 20
        assert 20 < speed.one_at_a_time < 1000 / 27, "the mean of texts, not their median"
    for speed in found.values():
        assert len(speed.rounds) == 2
        assert speed.latencies == tuple(sorted(speed.latencies))
        assert speed.per_second == np.median(speed.rounds)


def test_a_run_and_its_export_side_by_side(run, capsys):
    command = ["benchmark", str(run), str(run.parent / "onnx"), "--texts", "6", "--rounds", "2", "--json"]
    assert main(command) == 0
    output, shown = capsys.readouterr()
    found = json.loads(output)
    names = [str(run / "teacher"), str(run / "student"), str(run.parent / "onnx"), LINEAR]
    assert [row["name"] for row in found["models"]] == names
    assert (found["threads"], found["texts"], found["rounds"]) == (1, 6, 2)
    teacher, student, onnx, linear = found["models"]
    assert teacher["parameters"] > student["parameters"]
    assert teacher["megabytes"] > student["megabytes"]
    assert (onnx["what"], onnx["parameters"]) == ("onnx", student["parameters"])
    assert all(row["one_at_a_time"] > 0 for row in found["models"])
    assert "start_seconds" not in linear
    assert all(row["start_seconds"] > 0 and row["per_second"] > 0 for row in found["models"][:3])
    assert "run/student" in shown
    assert "(1.0x)" in shown


def test_ratios_are_to_the_first():
    common = {
        "latencies": (4.0, 5.0, 6.0),
        "per_second": 10.0,
        "one_at_a_time": 5.0,
        "megabytes": 90.0,
        "parameters": 22e6,
        "folder": "a/b",
    }
    small = common | {
        "latencies": (1.0, 2.0, 3.0),
        "per_second": 50.0,
        "one_at_a_time": 15.0,
        "megabytes": 9.0,
        "name": "x/small",
    }
    found = {"models": [common | {"name": "x/large"}, small], "batch_size": 32, "threads": 1, "texts": 1, "rounds": 3}
    rows = benchmark_table(found | {"words_median": 10.0}).rows
    assert rows[1][:1] == ("x/small",)
    assert [rows[1][column] for column in (2, 4, 5, 6)] == ["9.0 (10.0x)", "50 (5.0x)", "15 (3.0x)", "1.00 (4.0x)"]


def test_texts_that_no_predictor_takes_are_left_out(run):
    domains = read_facts(run / "student").domains
    data = load_domains({
        "text": ["\u200b" * (i + 1) if i % 4 == 0 else f"film {i}" for i in range(400)],
        "label": [("negative", "positive")[i // 2 % 2] for i in range(400)],
        "domain": [domains[i % 5 % len(domains)] for i in range(400)],
    })  # fmt: skip
    found = benchmark([run / "student"], data=data, texts=40, rounds=1)
    assert 15 < found["texts"] < 40


def test_what_is_refused(run, tmp_path, capsys):
    for arguments, words in (
        ([], "name at least one folder"),
        ([str(tmp_path / "nowhere")], "no such folder"),
        ([str(run), "--threads", "0"], "--threads: expected a whole number from 1, got 0"),
        ([str(run.parent / "onnx")], "lies in no run, so that its texts are not known; name a recipe"),
    ):
        assert main(["benchmark", *arguments]) == 2
        assert words in capsys.readouterr().err
    export_plain(run / "student", tmp_path / "plain")
    assert main(["benchmark", str(run), str(tmp_path / "plain")]) == 2
    assert "no hrkd model but an export of plain classifiers" in capsys.readouterr().err
    with pytest.raises(DataError, match="rounds: expected a whole number"):
        benchmark([run], rounds=1.5)
    with pytest.raises(ArtifactError, match="no such folder"):
        benchmark([tmp_path / "nowhere"])
    other = load_recipe(run / "recipe.yaml", {"data.synthetic.domains": 5, "run.output": str(tmp_path / "other")})
    (tmp_path / "other.yaml").write_text(recipe_to_yaml(other))
    with pytest.raises(DataError, match="does not know"):
        benchmark([run / "student"], tmp_path / "other.yaml")
