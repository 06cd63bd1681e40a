"""`hrkd report` and `hrkd errors` on runs that were made."""

import html
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hrkd.cli import main
from hrkd.data.readers.sources import load_domains
from hrkd.errors import ArtifactError, DataError, RecipeError
from hrkd.report.page.page import run_page
from hrkd.run.answers import read_answers, run_splits
from hrkd.run.commands import compress, train_baseline
from hrkd.run.errors import errors
from hrkd.run.report import recipe_fields_of, report, report_content
from tiny import tiny_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported") / "out"
    compress(tiny_recipe(folder))
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def predictions(run, stage):
    return pd.read_parquet(run / "predictions" / f"{stage}.parquet")


def test_a_run_leaves_its_page_and_what_it_shows(run):
    content = json.loads((run / "report.json").read_text())
    assert content["format"] == "hrkd-report"
    assert content["verdict"][0].startswith("The student keeps")
    assert 10_000 < (run / "report.html").stat().st_size < 500_000


def test_counts_are_those_of_the_predictions(run):
    student, teacher = predictions(run, "student"), predictions(run, "teacher")
    lost = (teacher["predicted"] == teacher["label"]) & (student["predicted"] != student["label"])
    content = report_content(run)
    for name, counts in content["flips"]["counts"].items():
        own = student["domain"] == name
        assert counts["lost"] == (lost & own).sum()
        assert sum(counts[kind] for kind in ("both_right", "lost", "gained", "both_wrong")) == own.sum()
    assert content["cost"]["texts_per_second"]["student"] > 0
    assert {model["title"] for model in content["frontier"]["models"]} >= {"Teacher", "Student (HRKD)"}


def test_the_page_says_what_is_odd_about_the_data(run):
    results = json.loads((run / "results.json").read_text())
    splits = run_splits(run, read_answers(run, results))
    first = splits.train.rows[0]
    rows = {
        "text": [first["text"]] * 2,
        "label": list(splits.labels),
        "domain": [splits.domains[splits.train.domain_ids[0]]] * 2,
    }
    content = report_content(run, replace(splits, train=load_domains(rows)))
    (conflict,) = [each for each in content["data"]["findings"] if each["code"] == "D103"]
    assert conflict["found"] in html.unescape(run_page(content))


def test_where_student_and_teacher_part_on_no_row_the_page_says_so(copy):
    shutil.copy(copy / "predictions" / "teacher.parquet", copy / "predictions" / "student.parquet")
    content = report_content(copy)
    assert content["flips"]["texts"] == []
    assert content["texts_note"] == "Student and teacher are right on the same test rows, and wrong on the same."


def test_averaged_weights_that_are_kept_are_a_row_of_the_learning_curves(copy):
    file = copy / "student" / "training.json"
    record = json.loads(file.read_text())
    record["average"] = {"selection": 0.75, "updates": 1234, "kept": True}
    file.write_text(json.dumps(record))
    page = html.unescape(run_page(report_content(copy)))
    assert "Student: the mean weights of the last 1,234 updates are kept, not an epoch's." in page
    (row,) = [row for row in re.findall("<tr>.*?</tr>", page, re.DOTALL) if "averaged" in row]
    assert re.findall("<t[dh][^>]*>(.*?)</t", row) == ["Student", "averaged", "-", "75.0", "kept"]


def test_the_page_says_what_hrkd_check_adds_to_its_findings(run):
    page = html.unescape(run_page(report_content(run)))
    for code in ("D206", "D109", "D306", "D402"):
        assert f"({code})" in page


def test_tiny_models_are_timed_until_their_speeds_can_be_told_apart_or_not(run):
    results = json.loads((run / "results.json").read_text())
    for name in ("student", "student_without_distillation"):
        middle, low, high = results["times_as_fast"][name]
        assert 0 < low <= middle <= high
    assert 0 <= results["tokens_cut"] < 1


def test_ratios_of_a_level_add_up_to_one(run):
    history = report_content(run)["history"]
    np.testing.assert_allclose(np.sum(history["levels"]["ratio"], axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(np.sum(history["relations"], axis=2), 1, atol=1e-3)
    assert {each["level"] for each in history["ratios"]} == {0, 1}


def test_errors_are_the_wrong_rows_with_their_texts_the_surest_first(run):
    found = errors(run, which="wrong")
    student = predictions(run, "student")
    wrong = student[student["predicted"] != student["label"]]
    assert set(found["id"]) == set(wrong["id"])
    for _, own in found.groupby("domain"):
        assert own["student_confidence"].is_monotonic_decreasing
    assert found["text"].str.len().min() > 0
    row = found.iloc[0]
    said = student.set_index("id").loc[row["id"]]
    assert (row["student"], row["label"], row["domain"]) == (said["predicted"], said["label"], said["domain"])


def test_kinds_are_told_apart(run):
    every = errors(run)
    assert len(errors(run, which="lost")) + len(errors(run, which="gained")) + len(errors(run, which="neither")) == len(
        every
    )
    lost = errors(run, which="lost")
    assert (lost["teacher"] == lost["label"]).all()
    assert (lost["student"] != lost["label"]).all()


def test_errors_of_one_domain_as_a_table(run, tmp_path, capsys):
    domain = json.loads((run / "results.json").read_text())["domains"][1]
    for name in ("e.csv", "e.jsonl.gz", "e.parquet"):
        assert main(["errors", str(run), "--domain", domain, "--limit", "1", "--output", str(tmp_path / name)]) == 0
    written = pd.read_parquet(tmp_path / "e.parquet")
    assert set(written["domain"]) == {domain}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "e.csv"), written, check_dtype=False)
    assert len(pd.read_json(tmp_path / "e.jsonl.gz", lines=True)) == len(written)
    assert "more: --limit" in capsys.readouterr().out


def test_what_cannot_be_asked_for_is_told(run, tmp_path):
    with pytest.raises(RecipeError, match=r"which: 'loost' is none of .* did you mean 'lost'"):
        errors(run, which="loost")
    with pytest.raises(RecipeError, match="knows no 'nowhere'"):
        errors(run, domain="nowhere")
    with pytest.raises(ArtifactError, match="not the folder of a run"):
        errors("x" * 300)
    with pytest.raises(ArtifactError, match="not the folder of a run"):
        errors(tmp_path)
    with pytest.raises(RecipeError, match="with output"):
        report(run, run)


def test_an_unfinished_run_has_no_report(copy):
    (copy / "results.json").unlink()
    with pytest.raises(ArtifactError, match="not finished"):
        report(copy)


def test_damaged_answers_are_named(copy):
    path = copy / "predictions" / "student.parquet"
    table = pd.read_parquet(path)
    table.iloc[::-1].to_parquet(path)
    with pytest.raises(ArtifactError, match=r"student\.parquet is of other rows than teacher\.parquet"):
        report(copy)
    path.write_bytes(b"no table")
    with pytest.raises(ArtifactError, match=r"student\.parquet: cannot be read"):
        report(copy)


def test_where_texts_have_changed_the_page_says_so_and_errors_refuse(copy):
    recipe = (copy / "recipe.yaml").read_text()
    (copy / "recipe.yaml").write_text(recipe.replace("examples: 160", "examples: 150"))
    content = report(copy)
    assert content["flips"]["texts"] == []
    assert "the data have changed" in content["texts_note"]
    with pytest.raises(DataError, match="the data have changed"):
        errors(copy)


def test_a_run_without_distillation_is_reported_too(run, tmp_path):
    folder = tmp_path / "labels"
    train_baseline(tiny_recipe(folder), teacher_folder=run)
    content = json.loads((folder / "report.json").read_text())
    assert content["verdict"][0].startswith("The student without distillation")
    assert content["history"]["levels"] is None
    assert len(errors(folder)) > 0


def test_several_runs_stand_side_by_side(run, copy, tmp_path):
    assert main(["report", str(run), str(copy), "--output", str(tmp_path / "both.html")]) == 0
    assert set(json.loads((tmp_path / "both.json").read_text())["runs"]) == {"out", "copy"}


def test_speeds_of_a_benchmark_are_shown(copy):
    row = {"per_second": 10.0, "latencies": [1.0, 2.0, 3.0], "megabytes": 1.0, "parameters": None}
    timed = [row | {"folder": str(copy / stage), "what": "torch"} for stage in ("student", "baseline")]
    found = {"models": timed, "texts": 5, "threads": 1, "batch_size": 8}
    before = [model["title"] for model in report_content(copy)["frontier"]["models"]]
    (copy / "benchmark.json").write_text(json.dumps(found))
    models = report_content(copy)["frontier"]["models"]
    assert [model["title"] for model in models] == before, "in no rows of their own"
    named = {"Student (HRKD)": 10.0, "Same student without distillation": 10.0}
    assert {model["title"]: model["per_second"] for model in models if model.get("per_second")} == named


def test_a_stage_that_is_made_anew_takes_the_old_page_with_it(copy):
    compress(tiny_recipe(copy, **{"run.overwrite": True, "student.training.epochs": 1, "student.baseline": False}))
    page = json.loads((copy / "report.json").read_text())
    assert len(page["stages"]["Student"]["epochs"]) == 1


def test_a_stage_that_is_made_anew_takes_the_speeds_of_the_old_one_with_it(copy):
    (copy / "benchmark.json").write_text("{}")
    compress(tiny_recipe(copy, **{"run.overwrite": True, "student.training.epochs": 1}))
    assert not (copy / "benchmark.json").exists()


def test_answers_of_a_baseline_that_the_run_no_longer_has_are_removed(copy):
    """They are of other test rows, which no page could show beside the new ones."""
    changes = {"student.baseline": False, "data.split_seed": 5, "student.training.epochs": 1}
    compress(tiny_recipe(copy, **{"run.overwrite": True, **changes}))
    assert not (copy / "predictions" / "baseline.parquet").exists()
    assert len(errors(copy)) > 0


def test_what_differs_from_the_defaults_of_the_preset(run):
    fields = {each["field"]: each for each in report_content(run)["recipe"]}
    assert fields["student.training.learning_rate"]["default"] == "5e-05", "of the published preset"
    assert fields["student.layers"]["differs"]
    assert not fields["data.keep"]["differs"]
    recommended = {"method.preset": "recommended"}
    fields = {each["field"]: each for each in recipe_fields_of(tiny_recipe(run, **recommended))}
    assert fields["student.training.learning_rate"]["default"] == "auto"
    layers = {"student.layers": None, "student.width": None, "student.heads": None}
    recipe = tiny_recipe(run, **recommended, **layers, **{"student.kind": "static"})
    static = {each["field"]: each for each in recipe_fields_of(recipe)}
    assert static["student.training.min_steps"]["default"] == "0", "it has none of the recommended trainings"
    assert static["student.kind"]["differs"]
