"""A run whose models read more of a text than its head."""

import logging
import re

import numpy as np
import pandas as pd
import pytest
from transformers import pipeline

from hrkd.data.reading import encode
from hrkd.data.synthetic.corpus import synthetic_reviews
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.label_table import predict_file
from hrkd.deploy.predict import Predictor
from hrkd.errors import RecipeError
from hrkd.models.open_model import open_model, read_facts
from hrkd.run.commands import compress
from hrkd.run.evaluation import evaluate
from slow import slow
from tiny import tiny_recipe

FAST = {"teacher.training.epochs": 1, "student.training.epochs": 1, "student.baseline": False}
LENGTH = 12


def made(folder, keep, **changes):
    return compress(tiny_recipe(folder, **FAST, **{"data.max_length": LENGTH, "data.keep": keep}, **changes))


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows") / "run"
    return folder, made(folder, "windows")


@pytest.fixture(scope="module")
def texts():
    return synthetic_reviews(domains=2, examples=40, seed=3).dataset


def test_training_goes_by_windows_and_measuring_by_texts(windows):
    folder, results = windows
    predictions = pd.read_parquet(folder / "predictions" / "student.parquet")
    assert results["models"]["student"]["test"]["mean"]["examples"] == len(predictions)
    assert predictions["id"].is_unique
    again = evaluate(folder)
    assert again["mean"]["accuracy"] == results["models"]["student"]["test"]["mean"]["accuracy"]


def test_an_answer_is_the_mean_over_windows(windows, texts):
    folder, _ = windows
    assert read_facts(folder / "student").keep == read_facts(folder / "teacher").keep == "windows"
    model, tokenizer = open_model(folder / "student")
    predictor = Predictor(TorchEngine(model, tokenizer))
    asked, domain = texts.rows["text"][:], model.domains[0]
    found = predictor.probabilities(asked, domain=domain, batch_size=7)
    columns, owners = encode(tokenizer, asked, None, LENGTH, "windows")
    assert len(owners) > 1.5 * len(asked)
    pieces = [tokenizer.decode(ids, skip_special_tokens=True) for ids in columns["input_ids"]]
    alone = predictor.probabilities(pieces, domain=domain)
    expected = [alone[owners == i].mean(axis=0) for i in range(len(asked))]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_student_that_reads_both_ends_can_be_distilled_on_its_own_windows_too(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="hrkd")
    plain = made(tmp_path / "plain", "head_tail")
    more = made(tmp_path / "more", "head_tail", **{"student.own_windows": True})
    long, windows = map(int, re.search(r"student: (\d+) long texts in (\d+) windows", caplog.text).groups())
    assert windows > 2 * long > 0
    rows = sum(plain["train_rows"].values())
    assert more["steps"]["student"] / plain["steps"]["student"] == pytest.approx(1 + windows / rows, rel=0.1)
    models = [each["models"]["teacher"]["test"]["mean"] for each in (plain, more)]
    assert models[0] == models[1]
    assert read_facts(tmp_path / "more" / "student").keep == "head_tail"
    with pytest.raises(RecipeError, match=r"student\.own_windows: data\.keep: windows reads all"):
        made(tmp_path / "both", "windows", **{"student.own_windows": True})


def test_files_and_exports(windows, texts, tmp_path, caplog):
    folder, _ = windows
    asked = texts.rows["text"][:]
    domain = read_facts(folder / "student").domains[0]
    pd.DataFrame({"text": asked}).to_csv(tmp_path / "in.csv", index=False)
    predictor = Predictor.from_pretrained(folder / "student")
    predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv", domain=domain)
    expected = [each["label"] for each in predictor(asked, domain=domain)]
    assert pd.read_csv(tmp_path / "out.csv")["label"].tolist() == expected
    with caplog.at_level(logging.WARNING, logger="hrkd"):
        export_plain(folder / "student", tmp_path / "plain")
    assert "plain classifiers read the beginning alone" in caplog.text


def test_a_tail_is_read_by_the_export_too(tmp_path, texts):
    made(tmp_path / "run", "tail")
    folders = export_plain(tmp_path / "run" / "student", tmp_path / "plain")
    domain, folder = next(iter(folders.items()))
    asked = texts.rows["text"][:]
    ours = Predictor.from_pretrained(tmp_path / "run" / "student")(asked, domain=domain)
    theirs = pipeline("text-classification", str(folder), device="cpu")(asked, truncation=True)
    assert [each["label"] for each in ours] == [each["label"] for each in theirs]
    np.testing.assert_allclose([each["score"] for each in ours], [each["score"] for each in theirs], atol=1e-5)


@slow
def test_distillation_on_windows_without_labels(tmp_path, texts):
    frame = pd.DataFrame({"text": texts.rows["text"][:], "domain": [texts.domains[d] for d in texts.domain_ids]})
    frame.to_csv(tmp_path / "more.csv", index=False)
    results = made(tmp_path / "run", "windows", **{"data.unlabelled": str(tmp_path / "more.csv")})
    assert results["models"]["student"]["test"]["mean"]["accuracy"] > 0
