"""``student.vocabulary`` by the real commands: what is kept, measured, told, taken up and refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import hrkd.training.selection as selection
from hrkd.cli import main
from hrkd.data.readers.sources import load_domains
from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, ModelError
from hrkd.models.open_model import open_model
from hrkd.models.tokenizers import load_tokenizer
from hrkd.recipe.loading import recipe_to_yaml
from hrkd.report.tables import remarks_of
from hrkd.run.commands import compress, distill, train_baseline, train_teacher
from hrkd.run.evaluation import evaluate
from hrkd.run.identity import model_settings
from hrkd.run.prepare import prepare_data
from slow import slow
from tiny import tiny_recipe

FEW = {"student.vocabulary": 3, "student.training.learning_rate": 5e-3}
BASE = {"format": "hrkd-results", "version": 1, "domains": ["books", "films"]}


def recipe(folder, **changes):
    return tiny_recipe(folder, **FEW | changes)


def record(folder, stage):
    return json.loads((folder / stage / "training.json").read_text())


def weights(folder, stage):
    return load_file(folder / stage / "model.safetensors")


def train_texts(folder):
    return [row["text"] for row in prepare_data(recipe(folder).data).splits.train.rows]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return train_teacher(recipe(tmp_path_factory.mktemp("teacher") / "run"))


@pytest.fixture(scope="module")
def finished(teacher, tmp_path_factory):
    """The command itself."""
    folder = tmp_path_factory.mktemp("pruned") / "run"
    file = folder.with_name("recipe.yaml")
    file.write_text(recipe_to_yaml(recipe(folder)))
    assert main(["distill", str(file), "--teacher-folder", str(teacher)]) == 0
    return folder, json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("stage", ["student", "baseline"])
def test_the_model_has_the_pieces_that_its_texts_need(finished, teacher, stage):
    folder, _ = finished
    model, tokenizer = open_model(folder / stage)
    teachers, ids = load_tokenizer(teacher), np.concatenate
    counts = np.bincount(ids(teachers(train_texts(folder), truncation=True, max_length=32)["input_ids"]))
    needed = {piece for piece, i in teachers.get_vocab().items() if i < len(counts) and counts[i] >= 3}
    seldom = {piece for piece, i in teachers.get_vocab().items() if i < len(counts) and counts[i] < 3}
    kept = set(tokenizer.get_vocab())
    assert needed <= kept
    assert len(seldom) > 20
    assert all(
        len(piece.removeprefix("##")) == 1 for piece in seldom & kept if piece not in teachers.all_special_tokens
    )
    assert model.encoder.get_input_embeddings().num_embeddings == len(tokenizer) < len(teachers)
    told = record(folder, stage)["vocabulary"]
    rows = len(teachers) - len(tokenizer)
    assert (told["pieces"], told["of"], told["at_least"]) == (len(tokenizer), len(teachers), 3)
    assert told["parameters_before"] == model.num_parameters() + 16 * rows


def test_results_are_those_of_the_pruned_model(finished, teacher):
    folder, results = finished
    model = results["models"]["student"]
    assert model["parameters"] == open_model(folder / "student")[0].num_parameters()
    found = evaluate(folder, teacher=teacher)
    assert found["domains"].keys() == model["test"]["domains"].keys()
    for metric in ("accuracy", "agreement", "log_loss", "macro_f1"):
        assert found["mean"][metric] == pytest.approx(model["test"]["mean"][metric]), metric
    assert 0.5 < found["mean"]["accuracy"] < 1, "or nothing was asked"
    best = max(epoch["dev/books"] / 2 + epoch["dev/films"] / 2 for epoch in record(folder, "student")["epochs"])
    assert model["dev"]["mean"]["accuracy"] == pytest.approx(best), "epochs are chosen by what it will say"
    said = pd.read_parquet(folder / "predictions" / "student.parquet")
    texts = {row["id"]: row["text"] for row in _test_rows(folder)}
    answers = Predictor.from_pretrained(folder / "student", device="cpu").probabilities(
        [texts[i] for i in said["id"]], domain=said["domain"].tolist()
    )
    np.testing.assert_allclose(answers[:, 1], said["probability_positive"], atol=1e-5)


def test_best_epochs_per_domain_are_those_of_the_pruned_model(teacher, tmp_path):
    """With one epoch, they are the model's own answers."""
    distill(recipe(tmp_path / "run", **{"student.training.epochs": 1}), teacher_folder=teacher)
    models = json.loads((tmp_path / "run" / "results.json").read_text())["models"]
    figures = [models[name]["test"]["mean"] for name in ("student", "student_best_per_domain")]
    assert figures[0]["accuracy"] == figures[1]["accuracy"]
    assert figures[0]["agreement"] == figures[1]["agreement"]


def _test_rows(folder):
    return prepare_data(recipe(folder).data).splits.test.rows


def test_it_is_told_in_table_and_card(finished):
    folder, results = finished
    told = results["models"]["student"]["vocabulary"]
    sentence = (
        f"Vocabulary (Student (HRKD), Same student without distillation): {told['pieces']} of the teacher's "
        f"{told['of']} pieces (those that the training texts need at least 3 times, and characters for other words); "
    )
    assert any(remark.startswith(sentence) for remark in remarks_of(results))
    assert sentence in (folder / "results.md").read_text()
    assert sentence in (folder / "student" / "README.md").read_text()


def test_it_is_exported(finished, tmp_path):
    folder, _ = finished
    assert set(export_plain(folder / "student", tmp_path / "plain")) == {"books", "films"}


def test_with_all_that_is_needed_once_nothing_changes_but_the_size(teacher, tmp_path):
    whole, once = (
        distill(recipe(tmp_path / name, **{"student.vocabulary": n, "student.baseline": False}), teacher_folder=teacher)
        for name, n in (("whole", "all"), ("once", 1))
    )
    assert "vocabulary" not in whole["models"]["student"]
    assert once["models"]["student"]["parameters"] < whole["models"]["student"]["parameters"]
    models = [open_model(tmp_path / name / "student") for name in ("whole", "once")]
    texts = train_texts(tmp_path)[:40]
    found = []
    for model, tokenizer in models:
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            found.append(model(**inputs, domain_ids=torch.arange(40) % 2).logits)
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)
    steps = [pd.read_parquet(tmp_path / name / "metrics" / "student" / "steps") for name in ("whole", "once")]
    pd.testing.assert_frame_equal(*steps)


def test_a_killed_run_goes_on(finished, teacher, tmp_path, monkeypatch):
    folder, results = finished
    original = selection.DevAccuracy.__call__

    def killed(self, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return original(self, epoch)

    monkeypatch.setattr(selection.DevAccuracy, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        distill(recipe(tmp_path / "run"), teacher_folder=teacher)
    monkeypatch.undo()
    again = distill(recipe(tmp_path / "run"), teacher_folder=teacher)
    assert again["models"] == results["models"]
    for stage in ("student", "baseline"):
        one, other = weights(folder, stage), weights(tmp_path / "run", stage)
        assert all(torch.equal(one[name], other[name]) for name in one)
    made = (tmp_path / "run" / "student" / "model.safetensors").stat().st_mtime_ns
    assert distill(recipe(tmp_path / "run"), teacher_folder=teacher)["models"] == results["models"]
    assert (tmp_path / "run" / "student" / "model.safetensors").stat().st_mtime_ns == made, "taken up"
    with pytest.raises(ArtifactError, match=r"student\.vocabulary: 3 then, all now"):
        distill(recipe(tmp_path / "run", **{"student.vocabulary": "all"}), teacher_folder=teacher)


def test_the_field_is_in_records_of_the_models_that_it_decides_alone(tmp_path):
    rows = {"data": "abc", "unlabelled": None, "processes": 1}
    stages = ("teacher", "levels", "student", "baseline")
    set_, unset = (
        {stage: model_settings(recipe(tmp_path, **{"student.vocabulary": value}), stage, **rows) for stage in stages}
        for value in (2, "all")
    )
    assert [stage for stage in stages if set_[stage] != unset[stage]] == ["student", "baseline"]
    assert "vocabulary" not in unset["student"]["student"]


def test_two_stages_keep_all_pieces_between_them(teacher, tmp_path):
    distill(recipe(tmp_path / "run", **{"method.stages": "two", "student.baseline": False}), teacher_folder=teacher)
    tables = {
        stage: open_model(tmp_path / "run" / stage)[0].encoder.get_input_embeddings().num_embeddings
        for stage in ("levels", "student")
    }
    assert tables["student"] < tables["levels"] == len(load_tokenizer(teacher))


@slow
def test_text_without_labels_counts_for_the_student_alone(teacher, tmp_path):
    teachers, changes = load_tokenizer(teacher), {"student.vocabulary": 1, "student.training.epochs": 1}
    ids = {i for text in teachers(train_texts(tmp_path), truncation=True, max_length=32)["input_ids"] for i in text}
    new = [piece for piece, i in teachers.get_vocab().items() if i not in ids and piece.isalpha() and len(piece) > 1][
        :9
    ]
    assert len(new) == 9
    more = load_domains({"text": [" ".join(new), "none"], "domain": ["books", "films"]}, label=None)
    results = distill(recipe(tmp_path / "run", **changes), teacher_folder=teacher, unlabelled=more)["models"]
    told = {name: results[name]["vocabulary"]["pieces"] for name in ("student", "student_without_distillation")}
    has = [set(open_model(tmp_path / "run" / stage)[1].get_vocab()) for stage in ("student", "baseline")]
    assert set(new) <= has[0] - has[1]
    assert told == {"student": len(has[0]), "student_without_distillation": len(has[1])}
    assert sum(remark.startswith("Vocabulary (") for remark in remarks_of({**BASE, "models": results})) == 2
    alone = train_baseline(recipe(tmp_path / "alone", **changes), teacher_folder=teacher)["models"]
    assert alone["student_without_distillation"]["vocabulary"] == results["student_without_distillation"]["vocabulary"]


def test_pieces_of_own_windows_are_those_of_the_whole_texts(teacher, tmp_path):
    """Of which the heads alone are read otherwise, and by the student that learns from labels."""
    changes = {"student.vocabulary": 1, "student.training.epochs": 1, "data.max_length": 12}
    distill(recipe(tmp_path / "run", **changes, **{"student.own_windows": True}), teacher_folder=teacher)
    teachers = load_tokenizer(teacher)
    ids = {i for text in teachers(train_texts(tmp_path))["input_ids"] for i in text}
    needed = set(teachers.convert_ids_to_tokens(sorted(ids)))
    heads = {i for text in teachers(train_texts(tmp_path), truncation=True, max_length=12)["input_ids"] for i in text}
    assert len(heads) < len(ids)
    assert needed <= set(open_model(tmp_path / "run" / "student")[1].get_vocab())
    assert not needed <= set(open_model(tmp_path / "run" / "baseline")[1].get_vocab())


@pytest.mark.parametrize("static", [False, True])
def test_a_tokenizer_that_cannot_be_made_smaller_is_told_before_any_training(tmp_path, static):
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "good": 2, "bad": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "model"
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>").save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertForSequenceClassification(BertConfig(vocab_size=4, pad_token_id=1, **sizes)).save_pretrained(folder)
    base = recipe(tmp_path / "run").model_dump(mode="json")
    base["teacher"] = {"model": str(folder), "allow_weak": True}
    if static:
        base["student"] = {"kind": "static", "pair_buckets": 0, "vocabulary": 3}
    with pytest.raises(ModelError, match=r"^student\.vocabulary: .* the kind WordLevel, .*; leave the field out"):
        compress(base)
    assert not (tmp_path / "run").exists()
