"""A run with text without labels: who is trained on it, who is not, what is told."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from hrkd.cli import main
from hrkd.data.readers.sources import load_domains
from hrkd.data.synthetic.corpus import synthetic_reviews
from hrkd.errors import ArtifactError, DataError, TrainingError
from hrkd.recipe.loading import recipe_to_yaml
from hrkd.run.commands import compress, distill
from hrkd.run.describe_data import describe_data
from hrkd.run.evaluation import evaluate
from slow import slow
from tiny import batches_of, tiny_recipe, tune

FAST = {"teacher.training.epochs": 2, "student.training.epochs": 2, "data.synthetic.examples": 100}


def recipe(folder: Path, **changes: object):
    return tiny_recipe(folder, **FAST, **changes)


def weights(folder: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(folder / stage / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def steps(folder: Path, stage: str) -> int:
    return len(pd.read_parquet(folder / "metrics" / stage / "steps"))


@pytest.fixture(scope="module")
def more(tmp_path_factory) -> Path:
    """300 new reviews of books and 50 of films, one of them twice, and ten books of the labelled corpus."""
    rows = {}
    for seed, examples in ((0, 100), (7, 300)):  # the corpus of the recipe, and another one
        corpus = synthetic_reviews(domains=2, examples=examples, seed=seed, label_noise=0.0).dataset
        rows[seed] = pd.DataFrame(
            {"text": corpus.rows["text"][:], "domain": [corpus.domains[d] for d in corpus.domain_ids]}
        )
    new = pd.concat([rows[7][:300], rows[7][300:350], rows[7][300:301], rows[0][:10]])
    path = tmp_path_factory.mktemp("more") / "more.csv"
    new.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def without(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("without") / "out"
    compress(recipe(folder))
    return folder


@pytest.fixture(scope="module")
def with_more(tmp_path_factory, without: Path, more: Path) -> Path:
    """The command itself, on the teacher of the other run."""
    folder = tmp_path_factory.mktemp("with") / "out"
    file = folder.with_name("recipe.yaml")
    file.write_text(recipe_to_yaml(recipe(folder, **{"data.unlabelled": str(more)})))
    assert main(["distill", str(file), "--teacher-folder", str(without / "teacher")]) == 0
    return folder


def test_the_student_learns_from_the_rows_and_the_baseline_does_not(without: Path, with_more: Path) -> None:
    train = len(json.loads((without / "splits.json").read_text())["train"]) // 2
    assert steps(without, "student") == steps(without, "baseline") == 2 * -(-train // 4)
    assert steps(with_more, "student") == 2 * -(-(train + 300) // 4), "two passes over books"
    assert steps(with_more, "baseline") == steps(without, "baseline")
    assert same(weights(with_more, "baseline"), weights(without, "baseline"))
    assert not same(weights(with_more, "student"), weights(without, "student"))


def test_every_row_of_the_largest_domain_is_seen_once_an_epoch(without: Path, more: Path, tmp_path: Path, monkeypatch):
    seen: list[int] = []

    def note(teacher, student, train_set, dev_set, **options):
        for batch in batches_of(train_set):
            seen.extend(batch.indices[batch.domain_ids == 0].tolist())
            assert ((batch.labels >= 0) == (batch.indices < len(train_set) - 350)).all()
        assert sorted(set(seen)) == [n for n, d in enumerate(train_set.domain_ids) if d == 0]
        assert len(seen) - len(set(seen)) < 4, "only the last step is filled up"
        raise KeyboardInterrupt

    monkeypatch.setattr("hrkd.run.student.distill_from_models", note)
    with pytest.raises(KeyboardInterrupt):
        distill(recipe(tmp_path / "run", **{"data.unlabelled": str(more)}), teacher_folder=without / "teacher")


def test_the_run_tells_what_is_used_and_left_out(with_more: Path) -> None:
    told = json.loads((with_more / "data.json").read_text())
    rows = {(part["domain"], part["split"]): part["rows"] for part in told["parts"]}
    assert (rows["books", "unlabelled"], rows["films", "unlabelled"]) == (300, 50)
    assert {(each["domain"], each["why"].split(" in ")[0]) for each in told["left_out"]} == {
        ("books", "text also"),
        ("films", "repeated"),
    }
    assert sum(each["rows"] for each in told["left_out"]) == 11
    notes = json.loads((with_more / "results.json").read_text())["notes"]
    assert "unlabelled: 350 rows of 361 used for distillation" in notes


def test_the_data_command_shows_them(more: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_to_yaml(recipe(tmp_path / "run", **{"data.unlabelled": str(more)})))
    assert main(["data", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "Left out" in shown
    cells = [[word for word in line.split() if word not in "│┃|"] for line in shown.splitlines()]
    assert ["books", "unlabelled", "300"] in [row[:3] for row in cells]
    assert "unlabelled: 1 row left out: repeated (films 1)" in shown


def test_other_text_makes_another_student_but_no_other_teacher(without: Path, more: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"its student was made with other settings \(data\.unlabelled: not set then"
    ):
        compress(recipe(without, **{"data.unlabelled": str(more)}))


def test_text_in_memory_and_few_shots(without: Path, with_more: Path, more: Path, tmp_path: Path) -> None:
    found = load_domains(pd.read_csv(more).rename(columns={"text": "review"}), text="review", label=None)
    told = describe_data(recipe(tmp_path), data=None, unlabelled=found)
    assert {p["domain"]: p["rows"] for p in told["parts"] if p["split"] == "unlabelled"} == {"books": 300, "films": 50}
    few = describe_data(recipe(tmp_path, **{"data.shots": 5}), unlabelled=found)
    rows = {(p["domain"], p["split"]): p["rows"] for p in few["parts"]}
    assert rows["books", "train"] == 10
    assert rows["books", "unlabelled"] > 300, "what few shots leave of train is new text again"
    distill(recipe(tmp_path / "run"), teacher_folder=without / "teacher", unlabelled=found)
    assert same(weights(tmp_path / "run", "student"), weights(with_more, "student"))


@slow
@pytest.mark.parametrize("change", [{"method.label_weight": 1.0}, {"method.expertise": True}])
def test_what_reads_labels_goes_on_without(without: Path, with_more: Path, more: Path, tmp_path: Path, change) -> None:
    distill(recipe(tmp_path, **{"data.unlabelled": str(more)}, **change), teacher_folder=without / "teacher")
    assert steps(tmp_path, "student") == steps(with_more, "student")
    assert not same(weights(tmp_path, "student"), weights(with_more, "student"))


def test_measuring_a_run_does_not_look_at_the_text(with_more: Path, tmp_path: Path) -> None:
    changed = recipe(with_more, **{"data.unlabelled": str(tmp_path / "gone.csv")})
    with pytest.raises(DataError, match=r"data\.unlabelled: .*gone\.csv: no such file"):
        describe_data(changed)
    results = json.loads((with_more / "results.json").read_text())
    measured = results["models"]["student"]["test"]["mean"]
    assert evaluate(with_more, changed)["mean"] == measured | {"agreement": None, "agreement_interval": None}


def test_fine_tuning_refuses_rows_without_labels(tiny) -> None:
    both = tiny.train.followed_by(tiny.unlabelled("one", "two"))
    assert both.batch([len(both) - 1, 0]).labels.tolist() == [-1, tiny.train.texts.label_ids[0]]
    assert torch.equal(both.batch([0, 1]).inputs["input_ids"], tiny.train.batch([0, 1]).inputs["input_ids"])
    for train_set, dev_set in ((both, tiny.dev), (tiny.train, both)):
        with pytest.raises(TrainingError, match="2 rows without a label where labels are read"):
            tune(tiny.model(), train_set, dev_set)
