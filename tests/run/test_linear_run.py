"""The linear model of a run: measured on the same rows, kept, told of, and left out where nobody wants it."""

import json

import numpy as np
import pandas as pd
import pytest

from hrkd.cli import main
from hrkd.linear.model import fit_linear
from hrkd.report.remarks import LINEAR
from hrkd.run import linear
from hrkd.run.commands import compress, train_baseline
from hrkd.run.describe_data import describe_data
from hrkd.run.prepare import prepare_data
from tiny import tiny_recipe


def recipe(output, **changes):
    """Models that learn nothing, so that the linear one is better."""
    small = {"teacher.training.epochs": 1, "student.training.epochs": 1, "teacher.training.learning_rate": 1e-7}
    small |= {"student.training.learning_rate": 1e-7, "data.fraction": 0.5, "evaluation.linear": True}
    return tiny_recipe(output, **small | {"student.baseline": False} | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear") / "out"
    return folder, compress(recipe(folder))


def never(*_):
    raise AssertionError("was fitted before")


def test_it_learns_from_the_students_rows_and_is_measured_on_test(finished):
    folder, results = finished
    data = prepare_data(recipe(folder).data)
    model, own = fit_linear(data.splits.train, data.splits.dev), results["models"]["linear"]
    assert (own["title"], own["form"], own["strength"]) == (LINEAR, model.form, model.strength)
    assert own["rows"] == len(data.splits.train) == sum(results["train_rows"].values())
    assert (own["parameters"], own["megabytes"]) == (model.parameters, model.megabytes)
    assert own["texts_per_second"] > 0
    assert results["seconds"]["linear"] > 0
    said = pd.read_parquet(folder / "predictions" / "linear.parquet")
    assert said["id"].tolist() == data.splits.test.rows["id"][:]
    columns = [f"probability_{label}" for label in results["labels"]]
    assert np.allclose(said[columns], model.predict(data.splits.test))
    right = (said["label"] == said["predicted"]).groupby(said["domain"]).mean()
    assert {name: each["accuracy"] for name, each in own["test"]["domains"].items()} == pytest.approx(right.to_dict())
    assert own["test"]["mean"]["accuracy"] > 0.65
    assert own["dev"]["mean"]["macro_f1"] > 0.6


def test_who_is_below_it_is_told_by_the_paired_difference(finished):
    folder, results = finished
    for name in ("teacher", "student"):
        tables = [pd.read_parquet(folder / "predictions" / f"{each}.parquet") for each in (name, "linear")]
        right = [table["label"] == table["predicted"] for table in tables]
        by_domain = (right[0].astype(int) - right[1]).groupby(tables[0]["domain"]).mean()
        own = results["models"][name]["paired"]["test"]["linear"]
        assert own["difference"] == pytest.approx(by_domain.mean())
        assert own["interval"][1] < 0
    text = (folder / "results.md").read_text()
    assert "The teacher (" in text
    assert f"is below {LINEAR} (" in text
    assert "so is its teacher, which is to be mended first." in text
    assert "a second on one core." in text
    card = (folder / "student" / "README.md").read_text()
    assert f"| {LINEAR} |" in card
    assert f"is below {LINEAR}" in card


def test_it_is_fitted_once_for_the_same_rows_in_whatever_run(finished, tmp_path, monkeypatch):
    folder, results = finished
    monkeypatch.setattr(linear, "fit_linear", never)
    assert compress(recipe(folder))["models"] == results["models"]
    other = recipe(tmp_path / "other", **{"run.seed": 3, "student.width": 8})
    alone = train_baseline(other, teacher_folder=folder / "teacher")
    said = [pd.read_parquet(run / "predictions" / "linear.parquet") for run in (folder, tmp_path / "other")]
    assert said[0].equals(said[1])
    name = "student_without_distillation"
    assert set(alone["models"][name]["paired"]["test"]) == {"linear"}
    assert "The student without distillation (" in (tmp_path / "other" / "results.md").read_text()
    with pytest.raises(AssertionError, match="fitted before"):
        compress(recipe(tmp_path / "third", **{"data.fraction": 0.6, "teacher.fine_tuned": None}))


def test_without_it_nothing_is_fitted_and_no_answer_stays(finished, monkeypatch):
    folder, results = finished
    monkeypatch.setattr(linear, "fit_linear", never)
    without = compress(recipe(folder, **{"evaluation.linear": False}))
    assert set(without["models"]) == set(results["models"]) - {"linear"}
    assert "linear" not in without["seconds"]
    assert not (folder / "predictions" / "linear.parquet").exists()
    assert LINEAR not in (folder / "results.md").read_text()


def test_data_shows_what_domains_give_each_other(capsys):
    fields = ["--data.format", "synthetic", "--data.synthetic.domains", "2", "--data.synthetic.examples", "80"]
    assert main(["data", *fields, "--json"]) == 0
    output, shown = capsys.readouterr()
    told = json.loads(output)["linear"]
    assert set(told["accuracy"]) == {"own", "pooled", "crossed"}
    assert all(set(each) == set(told["dev_rows"]) for each in told["accuracy"].values())
    assert "Shared and own" in shown
    assert main(["data", *fields, "--no-linear-models", "--json"]) == 0
    output, shown = capsys.readouterr()
    assert "linear" not in json.loads(output)
    assert "Shared and own" not in shown


def test_data_tells_the_paired_difference():
    shown = []
    found = describe_data(recipe("unused"), show=shown.append)["linear"]
    means = {form: np.mean(list(each.values())) for form, each in found["accuracy"].items()}
    assert found["paired"]["difference"] == pytest.approx(means["crossed"] - means["own"])
    (table,) = (each for each in shown if getattr(each, "title", "") == f"{LINEAR}: accuracy in %")
    assert isinstance(shown[-1], str), "notes come last, where a terminal shows them"
    assert table.rows[-1][0] == "Mean"
    assert any(told.startswith("Domains ") for told in table.notes)
