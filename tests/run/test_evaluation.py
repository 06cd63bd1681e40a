"""Measuring finished models: all rows that are given, by the model's own length, columns, labels and domains."""

import json
import logging
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from hrkd.cli import main
from hrkd.data.assembly import assemble
from hrkd.data.rows import RawRows
from hrkd.data.synthetic.corpus import synthetic_reviews
from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.predict import Predictor
from hrkd.errors import DataError, ModelError, RecipeError
from hrkd.models.open_model import read_facts
from hrkd.run.commands import compress
from hrkd.run.evaluation import evaluate
from hrkd.run.export import export
from hrkd.run.rows_to_measure import as_model_says
from tiny import tiny_recipe

COLUMNS = {"text": "review", "label": "stars", "domain": "category"}


def frame_of(examples, seed):
    corpus = synthetic_reviews(domains=2, examples=examples, label_noise=0.0, seed=seed).dataset
    frame = corpus.rows.to_pandas()[["text", "label", "domain"]]
    frame["label"] = [corpus.labels[i] for i in frame["label"]]
    frame["domain"] = [corpus.domains[i] for i in frame["domain"]]
    return frame.rename(columns=COLUMNS)


def made_from(folder, frame, **changes):
    frame.to_csv(folder / "made_from.csv", index=False)
    recipe = tiny_recipe(folder / "run").model_dump(mode="json", exclude_unset=True)
    recipe["data"] = {"source": str(folder / "made_from.csv"), **COLUMNS, "max_length": 20, "dev": 0.2, "test": 0.2}
    recipe["data"] |= changes
    recipe["student"]["baseline"] = False
    return compress(recipe)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A run whose data have columns of other names, and new rows that it has not seen."""
    folder = tmp_path_factory.mktemp("single")
    results = made_from(folder, frame_of(100, seed=0))
    frame_of(30, seed=9).to_csv(folder / "new.csv", index=False)
    return folder, results


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    made_from(folder, frame_of(60, seed=1).assign(second="so they say"), text_pair="second")
    return folder


def rows_of(scores):
    return scores["mean"]["examples"]


def test_the_folder_knows_columns_length_and_versions(single, pairs):
    facts = read_facts(single[0] / "run" / "student")
    assert facts.columns == {**COLUMNS, "text_pair": None}
    assert (facts.pairs, facts.max_tokens, facts.one_head) == (False, 20, False)
    assert read_facts(pairs / "run" / "student").columns["text_pair"] == "second"
    assert read_facts(pairs / "run" / "student").pairs is True


def test_every_row_of_a_new_file_is_measured_without_a_flag(single):
    folder, _ = single
    student, new = folder / "run" / "student", folder / "new.csv"
    frame = pd.read_csv(new)
    scores = evaluate(student, {"data": {"source": str(new)}})
    said = [
        each["label"] for each in Predictor.from_pretrained(student)(list(frame.review), domain=list(frame.category))
    ]
    assert rows_of(scores) == len(frame) == 60
    for domain, own in scores["domains"].items():
        chosen = frame.category == domain
        assert own["accuracy"] == pytest.approx((pd.Series(said)[chosen] == frame.stars[chosen]).mean())


def test_the_models_length_rules(single, caplog):
    source = {"source": str(single[0] / "new.csv")}
    student = single[0] / "run" / "student"
    expected = evaluate(student, {"data": source})
    assert "max_length" not in caplog.text
    assert evaluate(student, {"data": source | {"max_length": 64}}) == expected
    assert "data.max_length: 64 plays no part here" in caplog.text


@pytest.mark.parametrize(
    ("change", "split", "expected"),
    [
        ({"part": "test"}, None, 60),
        ({"part": ["train"] * 40 + ["test"] * 20}, None, 20),
        ({"part": ["train"] * 40 + ["test"] * 20}, "train", 40),
        ({"part": ["train"] * 40 + ["test"] * 20}, "all", 60),
        ({"part": "dev"}, None, 60),
        ({}, "all", 60),
        ({}, None, 60),
    ],
)
def test_the_datas_own_parts_are_taken_as_they_are(single, tmp_path, change, split, expected):
    pd.read_csv(single[0] / "new.csv").assign(**change).to_csv(tmp_path / "new.csv", index=False)
    data = {"source": str(tmp_path / "new.csv"), **({"split": "part"} if change else {})}
    assert rows_of(evaluate(single[0] / "run" / "student", {"data": data}, split=split)) == expected


def test_a_part_that_nobody_names_is_told(single, tmp_path):
    pd.read_csv(single[0] / "new.csv").assign(part="train").to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match=r"no rows are called dev \(train 60, dev 0, test 0\)"):
        evaluate(
            single[0] / "run" / "student", {"data": {"source": str(tmp_path / "new.csv"), "split": "part"}}, split="dev"
        )


def test_a_part_that_has_to_be_drawn_is_said_to_be(single, caplog):
    data = {"source": str(single[0] / "new.csv")}
    shown = []
    scores = evaluate(single[0] / "run" / "student", {"data": data}, split="test", show=shown.append)
    assert "test: 6 of 60 rows, drawn as for a training" in caplog.text
    assert rows_of(scores) == 6
    assert "6 of 60 rows" in shown[0].title


def test_some_labels_and_domains_will_do(single, tmp_path):
    frame = pd.read_csv(single[0] / "new.csv")
    label, domain = frame.stars[0], frame.category[0]
    few = frame[(frame.stars == label) & (frame.category == domain)]
    few.to_csv(tmp_path / "few.csv", index=False)
    scores = evaluate(single[0] / "run" / "student", {"data": {"source": str(tmp_path / "few.csv")}})
    assert rows_of(scores) == len(few)
    assert list(scores["domains"]) == [domain]


def test_unknown_labels_and_domains_are_told(single, tmp_path):
    frame, student = pd.read_csv(single[0] / "new.csv"), single[0] / "run" / "student"
    frame.assign(stars=frame.stars.str.upper()).to_csv(tmp_path / "labels.csv", index=False)
    names = read_facts(student).labels
    with pytest.raises(DataError, match=f"'{names[0].upper()}' \\(did you mean '{names[0]}'\\?\\).*--labels"):
        evaluate(student, {"data": {"source": str(tmp_path / "labels.csv")}})
    frame.assign(category="cars").to_csv(tmp_path / "domains.csv", index=False)
    with pytest.raises(DataError, match=r"domains that the model does not know: 'cars'"):
        evaluate(student, {"data": {"source": str(tmp_path / "domains.csv")}})


def test_truth_is_one_name_however_it_is_written():
    rows = [("a", "true", "FALSE"), ("b", "false", "true"), ("c", "True", "true")]
    data = assemble([RawRows(list("abc"), *map(list, zip(*rows, strict=True)))])
    facts = SimpleNamespace(pairs=None, domains=["False", "True"])
    found = as_model_says(data, facts, ["False", "True"])
    assert (found.labels, found.domains) == (("False", "True"), ("False", "True"))
    assert found.label_ids.tolist() == [1, 0, 1]
    assert found.domain_ids.tolist() == [0, 1, 1]


def test_what_is_not_read_is_told(single, tmp_path, caplog):
    shutil.copy(single[0] / "new.csv", tmp_path / "train.csv")
    (tmp_path / "test.tab").touch()
    evaluate(single[0] / "run" / "student", {"data": {"source": str(tmp_path)}})
    assert "not read, as no table of a known kind: test.tab" in caplog.text


def test_labels_that_mean_the_same_are_given_in_the_models_order(single, tmp_path):
    frame, student = pd.read_csv(single[0] / "new.csv"), single[0] / "run" / "student"
    names = read_facts(student).labels
    other = {name: f"{len(names) - i} called {name}" for i, name in enumerate(names)}  # sorted the other way round
    frame.assign(stars=frame.stars.map(other)).to_csv(tmp_path / "new.csv", index=False)
    renamed = evaluate(student, {"data": {"source": str(tmp_path / "new.csv")}}, labels=list(other.values()))
    plain = evaluate(student, {"data": {"source": str(single[0] / "new.csv")}})
    for scores in (*plain["domains"].values(), plain["mean"]):  # a class is called as the data calls it
        scores["worst_class"]["label"] = other[scores["worst_class"]["label"]]
    assert renamed == plain
    with pytest.raises(RecipeError, match=r"--labels: 1 names"):
        evaluate(student, {"data": {"source": str(tmp_path / "new.csv")}}, labels=["a"])
    with pytest.raises(RecipeError, match=f"--labels: {names[0]}, {names[0]}: {names[0]} stands there twice"):
        evaluate(student, {"data": {"source": str(tmp_path / "new.csv")}}, labels=[names[0]] * 2)
    for odd in ("ab", 5, [None, "b"], [b"a", "b"]):
        with pytest.raises(RecipeError, match="labels: expected"):
            evaluate(student, {"data": {"source": str(tmp_path / "new.csv")}}, labels=odd)


def test_the_data_of_the_run_gives_its_test_rows(single):
    folder, results = single
    expected = results["models"]["student"]["test"]["mean"]["accuracy"]
    student = folder / "run" / "student"
    data = {"source": str(folder / "made_from.csv"), "max_length": 20, "dev": 0.2, "test": 0.2}
    for scores in (evaluate(folder / "run"), evaluate(student, {"data": data})):
        assert scores["mean"]["accuracy"] == expected
        assert rows_of(scores) == 40
    assert rows_of(evaluate(student, {"data": data}, split="all")) == 200


def test_train_rows_among_those_that_are_measured_are_told(single, caplog):
    student = single[0] / "run" / "student"
    evaluate(student, {"data": {"source": str(single[0] / "new.csv")}})
    assert "train rows" not in caplog.text
    evaluate(student, {"data": {"source": str(single[0] / "made_from.csv"), "split_seed": 1}})
    assert "120 of 200 rows were train rows of" in caplog.text


def test_data_that_has_changed_since_is_told(single, tmp_path, caplog):
    folder = tmp_path / "copy"
    shutil.copytree(single[0], folder)
    text = (folder / "run" / "recipe.yaml").read_text().replace(str(single[0]), str(folder))
    (folder / "run" / "recipe.yaml").write_text(text)
    frame = pd.read_csv(folder / "made_from.csv")
    frame[:-1].to_csv(folder / "made_from.csv", index=False)
    with caplog.at_level(logging.WARNING):
        evaluate(folder / "run")
    assert "may hold what it has seen" in caplog.text


def test_pairs_for_single_texts_and_the_reverse_are_refused(single, pairs, tmp_path):
    source = {"source": str(single[0] / "new.csv")}
    with pytest.raises(DataError, match="'second' for text_pair"):
        evaluate(pairs / "run" / "student", {"data": source})
    with pytest.raises(RecipeError, match="the model takes single texts"):
        evaluate(single[0] / "run" / "student", {"data": source | {"text_pair": "stars"}})
    assert (
        rows_of(evaluate(pairs / "run" / "student", {"data": {"source": str(pairs / "made_from.csv")}}, split="all"))
        == 120
    )


def test_plain_classifiers_and_exports_are_measured_too(single, tmp_path, caplog):
    data = {"source": str(single[0] / "new.csv"), **COLUMNS}
    export_plain(single[0] / "run" / "student", tmp_path / "plain")
    expected = evaluate(single[0] / "run" / "student", {"data": data})
    for length in ({}, {"max_length": 20}, {"max_length": 64}):  # it reads no more than its tokenizer says
        assert evaluate(tmp_path / "plain", {"data": data | length}) == expected
    assert evaluate(tmp_path / "plain", {"data": data | {"max_length": 8}}) != expected
    domain = next(iter(expected["domains"]))
    alone = evaluate(tmp_path / "plain" / domain, {"data": data | {"domains": [domain]}})
    assert "is the classifier of" not in caplog.text
    evaluate(tmp_path / "plain" / domain, {"data": data})
    assert f"{domain}: is the classifier of {domain}, and measured on rows of " in caplog.text
    assert alone["domains"][domain]["accuracy"] == expected["domains"][domain]["accuracy"]


def test_an_export_to_onnx_is_measured_as_its_student(single, tmp_path):
    export(single[0] / "run", tmp_path / "onnx", "onnx")
    data = {"data": {"source": str(single[0] / "new.csv")}}
    student = single[0] / "run" / "student"
    found = [evaluate(tmp_path / "onnx", data, teacher=student), evaluate(student, data, teacher=tmp_path / "onnx")]
    for metric in ("accuracy", "macro_f1", "agreement", "log_loss"):
        assert found[0]["mean"][metric] == pytest.approx(found[1]["mean"][metric], abs=1e-5)
    assert found[0]["mean"]["agreement"] == 1
    names = ["bad", "fine"]
    (tmp_path / "renamed.csv").write_text("review,stars,category\nso so,fine,books\nwell,bad,books\n")
    renamed = {"data": {"source": str(tmp_path / "renamed.csv")}}
    found = [evaluate(folder, renamed, labels=names) for folder in (student, tmp_path / "onnx")]
    assert found[0]["mean"]["accuracy"] == found[1]["mean"]["accuracy"]


def test_exports_of_a_run_are_checked_on_its_rows_or_say_that_they_are_not(single, tmp_path, caplog):
    shown = []
    export(single[0] / "run", tmp_path / "plain", show=shown.append)
    record = json.loads((tmp_path / "plain" / "checks.json").read_text())
    assert record["checks"]["accuracy"].keys() == set(read_facts(single[0] / "run" / "student").domains)
    assert shown[0].columns == ("Domain", "Texts", "Student", "Export")
    assert shown[0].rows[-1][0] == "Mean"
    assert "## How it was checked" in (tmp_path / "plain" / "README.md").read_text()
    data = single[0] / "made_from.csv"
    data.rename(single[0] / "moved.csv")
    try:
        for form in ("plain", "onnx"):
            caplog.clear()
            export(single[0] / "run", tmp_path / "again" / form, form)
            assert "are not to be had, so that the export is checked on random words alone: " in caplog.text
            assert "made_from.csv" in caplog.text
        for form, options in (
            ("onnx-int8", {}),
            ("onnx", {"vocabulary": 1}),
            ("onnx", {"recipe": single[0] / "run" / "recipe.yaml"}),
        ):
            with pytest.raises(DataError, match=r"made_from\.csv"):
                export(single[0] / "run", tmp_path / "other", form, **options)
    finally:
        (single[0] / "moved.csv").rename(data)


def test_what_a_student_was_trained_on_is_known_of_its_exports(single, tmp_path, caplog):
    folder, results = single
    data = {"data": {"source": str(folder / "made_from.csv"), **COLUMNS, "max_length": 20, "dev": 0.2, "test": 0.2}}
    export_plain(folder / "run" / "student", tmp_path / "plain")
    export(folder / "run", tmp_path / "onnx", "onnx")
    expected = results["models"]["student"]["test"]["mean"]["accuracy"]
    domain = read_facts(folder / "run" / "student").domains[0]
    for place in ("plain", "onnx"):
        scores = evaluate(tmp_path / place, data)
        assert (rows_of(scores), scores["mean"]["accuracy"]) == (40, expected)
    assert rows_of(evaluate(tmp_path / "plain" / domain, data)) == 40
    assert "may have learnt" not in caplog.text
    assert rows_of(evaluate(tmp_path / "plain", data, split="all")) == 200
    data["data"]["split_seed"] = 1
    assert rows_of(evaluate(tmp_path / "plain", data)) == 200
    assert "all 200 rows are measured, and the model may have learnt from some" in caplog.text
    caplog.clear()
    evaluate(folder / "run" / "student", {"data": {"source": str(folder / "new.csv")}})
    assert "may have learnt" not in caplog.text, "the run says what the student has learnt from"


def test_a_model_in_a_run_finds_its_rows(single, tmp_path, monkeypatch, capsys):
    run = single[0] / "run"
    expected = evaluate(run)
    assert evaluate(run / "student") == expected
    monkeypatch.chdir(run)
    assert main(["evaluate", "student", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == expected
    arguments = ["evaluate", "student", "--data.source", str(single[0] / "new.csv")]
    assert main([*arguments, "--json"]) == 0
    assert rows_of(json.loads(capsys.readouterr().out)) == 60
    shutil.copytree(run / "student", tmp_path / "student")
    assert main(["evaluate", str(tmp_path / "student")]) == 2
    assert "lies in no run" in capsys.readouterr().err


def plain_of(single, folder, **fields):
    """The classifier of the first domain, with its data, as of somebody else: its configuration has other fields."""
    student = single[0] / "run" / "student"
    domain = read_facts(student).domains[0]
    export_plain(student, folder)
    plain = folder / domain
    (plain / "manifest.json").unlink()
    config = plain / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))
    return plain, {"data": {"source": str(single[0] / "new.csv"), **COLUMNS, "domains": [domain]}}


def test_outputs_that_have_one_name_are_refused_until_they_get_others(single, tmp_path):
    names = read_facts(single[0] / "run" / "student").labels
    plain, data = plain_of(single, tmp_path / "plain", id2label={"0": names[0], "1": names[0]})
    with pytest.raises(RecipeError, match=f"{names[0]} stands there twice; give each output a name of its own"):
        evaluate(plain, data)
    expected = evaluate(single[0] / "run" / "student", data)
    assert evaluate(plain, data, labels=names)["mean"]["accuracy"] == expected["mean"]["accuracy"]
    with pytest.raises(ModelError, match="its 2 outputs are called"):
        evaluate(single[0] / "run" / "student", data, teacher=plain)


def test_a_plain_classifier_is_asked_about_a_few_texts_first(single, tmp_path):
    plain, data = plain_of(single, tmp_path / "plain", chunk_size_feed_forward=3)  # which fits some lengths alone
    assert evaluate(plain, data)["mean"] == evaluate(single[0] / "run" / "student", data)["mean"]
    file = plain / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"]["the"] = 9999
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=f"{plain}: the tokenizer has 1 token .the. beyond the"):
        evaluate(plain, data)


def test_a_teacher_whose_outputs_are_called_otherwise_is_told(single, tmp_path):
    student = single[0] / "run" / "student"
    plain, data = plain_of(single, tmp_path / "plain", id2label={"0": "LABEL_0", "1": "LABEL_1"})
    with pytest.raises(ModelError, match="its 2 outputs are called LABEL_0, LABEL_1"):
        evaluate(student, data, teacher=plain)
    names = read_facts(student).labels
    assert evaluate(plain, data, labels=names, teacher=plain)["mean"]["agreement"] == 1
    assert (
        evaluate(student, data | {"teacher": {"fine_tuned": str(plain), "labels": names}}, teacher=plain)["mean"][
            "agreement"
        ]
        == 1
    )


def test_agreement_with_another_model(single):
    folder = single[0] / "run"
    data = {"data": {"source": str(single[0] / "new.csv")}}
    assert evaluate(folder / "student", data, teacher=folder / "student")["mean"]["agreement"] == 1
    assert evaluate(folder / "student", data, teacher=folder / "teacher")["mean"]["agreement"] < 1
