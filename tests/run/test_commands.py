"""The real commands' functions on a tiny recipe: files, restarts, errors."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hrkd.data.readers.sources import load_domains
from hrkd.data.synthetic.corpus import synthetic_reviews
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError, ModelError, RecipeError, TrainingError
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.recipe.schema import MethodConfig
from hrkd.run.commands import compress, distill, train_baseline, train_teacher
from hrkd.run.describe_data import describe_data
from hrkd.run.evaluation import evaluate
from hrkd.run.results import method_in_words
from tiny import tiny_recipe as recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    shown = []
    results = compress(recipe(folder), show=shown.append)
    return folder, results, shown


def files_of(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


MODEL_FILES = {
    "config.json",
    "manifest.json",
    "model.safetensors",
    "stage.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "training.json",
}


def test_a_run_leaves_exactly_these_files(finished):
    folder, _, _ = finished
    expected = {
        ".lock",
        "recipe.yaml",
        "environment.json",
        "command.json",
        "splits.json",
        "data.json",
        "results.json",
        "results.md",
        "student/README.md",
    }
    expected |= {"report.html", "report.json"}
    expected |= {f"{stage}/{name}" for stage in ("teacher", "student", "baseline") for name in MODEL_FILES}
    expected |= {f"predictions/{stage}.parquet" for stage in ("teacher", "student", "baseline")}
    expected |= {f"metrics/teacher/steps/epoch-00{e}.parquet" for e in range(1, 9)}
    expected |= {f"metrics/baseline/steps/epoch-00{e}.parquet" for e in (1, 2)}
    tables = ("steps", "levels", "hierarchy", "predictions", "relations")
    expected |= {f"metrics/student/{table}/epoch-00{e}.parquet" for table in tables for e in (1, 2)}
    assert files_of(folder) == expected


def test_results_hold_every_model_with_its_size(finished):
    folder, results, shown = finished
    assert json.loads((folder / "results.json").read_text()) == results
    assert set(results["models"]) == {"teacher", "student", "student_best_per_domain", "student_without_distillation"}
    for name in ("teacher", "student", "student_without_distillation"):
        model = results["models"][name]
        assert set(model["test"]["domains"]) == set(results["domains"])
        folder_name = {"student_without_distillation": "baseline"}.get(name, name)
        weights = load_file(folder / folder_name / "model.safetensors")
        learnt = {part: w for part, w in weights.items() if not part.startswith("router.")}  # prototypes are means
        assert model["parameters"] == sum(w.numel() for w in learnt.values())
        assert (len(learnt) < len(weights)) == (name != "teacher")
    assert 0.5 < results["models"]["student"]["test"]["mean"]["agreement"] < 1, "models that differ"
    assert results["models"]["teacher"]["test"]["mean"]["macro_f1"] > 0.5, "both classes are predicted"
    assert results["models"]["student"]["test"]["mean"]["worst_class"]["label"] in results["labels"]
    assert list(results["train_rows"]) == results["domains"]
    assert sum(results["train_rows"].values()) == len(json.loads((folder / "splits.json").read_text())["train"])
    assert results["synthetic"] is True
    *_, kept, worst, size, speed, written, following = map(str, shown)
    assert [kept[:11], worst[:5], size[:5], speed[:6]] == ["The student", "Worst", "Size:", "Speed:"]
    assert "report.html" in written
    assert following.startswith("Next: hrkd ")
    assert len(shown) == 3 + 1 + 6, "sizes before training, results and ratios at the end, then a verdict"
    sums = {level: sum(row["mean"] for row in results["ratios"] if row["level"] == level) for level in (0, 1)}
    assert sums == pytest.approx({0: 1.0, 1: 1.0})


def test_the_student_predicts_by_domain_and_evaluates_as_reported(finished):
    folder, results, _ = finished
    predictor = Predictor.from_pretrained(folder / "student")
    said = predictor(["a good and useful thing ."], domain=results["domains"][0])
    assert said[0]["label"] in results["labels"]
    scores = evaluate(folder)
    for domain, expected in results["models"]["student"]["test"]["domains"].items():
        assert scores["domains"][domain]["accuracy"] == expected["accuracy"]
    assert scores["mean"]["agreement"] is None
    assert evaluate(folder, teacher=folder / "teacher") == results["models"]["student"]["test"]


def test_predictions_are_what_the_scores_are_made_of(finished):
    folder, results, _ = finished
    ids = json.loads((folder / "splits.json").read_text())["test"]
    names = {"teacher": "teacher", "student": "student", "baseline": "student_without_distillation"}
    for stage, model in names.items():
        said = pd.read_parquet(folder / "predictions" / f"{stage}.parquet")
        probabilities = [f"probability_{name}" for name in results["labels"]]
        assert list(said.columns) == ["id", "domain", "label", "predicted", *probabilities]
        assert set(said[probabilities].dtypes) == {np.dtype(np.float32)}
        assert said[probabilities].sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-6)
        assert (said[probabilities].idxmax(axis=1).str.removeprefix("probability_") == said["predicted"]).all()
        assert sorted(said["id"]) == sorted(ids)
        right = (said["label"] == said["predicted"]).groupby(said["domain"]).mean()
        scores = results["models"][model]["test"]["domains"]
        assert right.to_dict() == pytest.approx({name: own["accuracy"] for name, own in scores.items()})
        given = [row[f"probability_{row['label']}"] for _, row in said.iterrows()]
        losses = (-np.log(pd.Series(given, dtype=float))).groupby(said["domain"]).mean()
        assert losses.to_dict() == pytest.approx({name: own["log_loss"] for name, own in scores.items()})


def test_the_student_is_compared_with_the_others_on_the_same_rows(finished):
    folder, results, _ = finished
    said = {name: pd.read_parquet(folder / "predictions" / f"{name}.parquet") for name in ("student", "baseline")}
    right = {name: table["label"] == table["predicted"] for name, table in said.items()}
    paired = results["models"]["student"]["paired"]
    assert {part: set(others) for part, others in paired.items()} == {
        part: {"teacher", "student_without_distillation"} for part in ("dev", "test")
    }
    found = paired["test"]["student_without_distillation"]
    gain = (right["student"].astype(int) - right["baseline"].astype(int)).groupby(said["student"]["domain"]).mean()
    assert found["difference"] == pytest.approx(gain.mean())
    assert found["better"] == (right["student"] & ~right["baseline"]).sum()
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    assert found["interval"][0] < found["interval"][1]
    assert found["examples"] == len(said["student"])
    for text in ((folder / "results.md").read_text(), (folder / "student" / "README.md").read_text()):
        assert "* Distillation " in text
        assert f"points on the same {len(said['student'])} test rows, 95 % interval [" in text
    assert "| Training rows | " in (folder / "results.md").read_text()


def test_what_each_model_cost_is_noted(finished):
    folder, results, _ = finished
    names = ("teacher", "student", "student_without_distillation")
    assert set(results["seconds"]) == set(results["steps"]) == set(results["peak_megabytes"]) == set(names)
    steps = pd.read_parquet(folder / "metrics" / "student" / "steps")["step"]
    assert results["steps"]["student"] == len(steps)
    if Path("/proc/self/status").is_file():
        assert results["peak_megabytes"]["student"] > 50


def test_the_baseline_alone_is_that_of_a_whole_run(finished, tmp_path):
    results = train_baseline(recipe(tmp_path / "run"), teacher_folder=finished[0] / "teacher")
    expected, found = (load_file(each / "baseline" / "model.safetensors") for each in (finished[0], tmp_path / "run"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    name = "student_without_distillation"
    assert set(results["models"]) == {"teacher", name}
    assert results["models"][name]["test"] == finished[1]["models"][name]["test"]
    assert not (tmp_path / "run" / "student").exists()


def test_the_baseline_alone_does_not_replace_the_results_of_a_student(finished):
    before = (finished[0] / "results.json").read_bytes()
    with pytest.raises(ArtifactError, match="holds a finished student"):
        train_baseline(recipe(finished[0]))
    assert (finished[0] / "results.json").read_bytes() == before


def test_a_second_run_takes_up_what_is_finished(finished):
    folder, results, _ = finished
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("model.safetensors")}
    again = compress(recipe(folder))
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert again["models"] == results["models"]


def test_other_settings_in_the_same_folder_are_refused_with_the_field(finished):
    folder, _, _ = finished
    before = {p: p.read_bytes() for p in folder.rglob("*.*") if p.is_file() and p.name != ".lock"}
    with pytest.raises(ArtifactError, match=r"its student was made with .*student.width: 16 then, 12 now") as error:
        compress(recipe(folder, **{"student.width": 12}))
    assert f"hrkd distill --teacher-folder {folder / 'teacher'} takes its teacher" in str(error.value)
    assert {p: p.read_bytes() for p in folder.rglob("*.*") if p.is_file() and p.name != ".lock"} == before


def test_a_student_that_cannot_be_is_refused_before_the_teacher_is_trained(tmp_path):
    for changes, message in (
        ({"student.layers": 9}, "layers"),
        ({"student.heads": None, "student.width": 9}, "width: 9"),
        ({"student.layer_map": [3]}, "layer_map"),
        ({"student.training.batch_size": 500}, "a step needs 500"),
        ({"student.teacher_layers": [9]}, r"student\.teacher_layers"),
        ({"student.width": 64}, "at most the teacher's width"),
        ({"method.domain_weights": {"cars": 2.0}}, "no domain is called .cars.; there are: "),
        ({"student.heads": 4}, "at most the teacher's heads"),
    ):
        with pytest.raises((ModelError, DataError), match=message):
            compress(recipe(tmp_path / "run", **changes))
        assert not (tmp_path / "run").exists()


def test_a_teacher_that_saw_the_test_set_is_refused(finished, tmp_path):
    own = {"teacher": {"fine_tuned": str(finished[0] / "teacher"), "allow_weak": True}}
    base = recipe(tmp_path / "run", **{"data.split_seed": 0}).model_dump(mode="json") | own
    base["data"] |= {"dev": 0.3}
    with pytest.raises(
        ArtifactError, match=r"trained on \d+ of the rows that are dev or test here .* data.splits_file"
    ):
        compress(base)


def test_an_own_teacher_of_other_settings_is_not_taken(finished):
    with pytest.raises(
        ArtifactError, match=r"teacher was made with other settings \(teacher.training.epochs: 8 then, 2"
    ) as error:
        distill(recipe(finished[0], **{"teacher.training.epochs": 2}))
    assert "--teacher-folder" not in str(error.value)


def test_data_in_memory(finished, tmp_path):
    corpus = synthetic_reviews(domains=2, examples=60)
    frame = corpus.dataset.rows.to_pandas()
    frame["label"] = [corpus.dataset.labels[i] for i in frame["label"]]
    frame["domain"] = [corpus.dataset.domains[i] for i in frame["domain"]]
    sections = recipe(tmp_path / "run").model_dump(mode="json", exclude={"data"})
    results = compress(sections | {"data": {"max_length": 24, "keep": "tail"}}, data=load_domains(frame, id="id"))
    assert results["domains"] == finished[1]["domains"]
    config = json.loads((tmp_path / "run" / "student" / "config.json").read_text(encoding="utf-8"))
    assert (config["max_tokens"], config["keep"]) == (24, "tail")
    assert not results["synthetic"]
    scores = evaluate(tmp_path / "run", data=load_domains(frame, id="id"))
    assert scores["mean"]["accuracy"] == results["models"]["student"]["test"]["mean"]["accuracy"]
    assert (tmp_path / "run" / "student" / "model.safetensors").is_file()


def test_overwrite_makes_only_what_changed(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    teacher = (folder / "teacher" / "model.safetensors").read_bytes()
    compress(recipe(folder, **{"student.width": 12, "run.overwrite": True}))
    assert (folder / "teacher" / "model.safetensors").read_bytes() == teacher
    assert MultiDomainClassifier.from_pretrained(folder / "student").encoder.config.hidden_size == 12


def test_stages_one_by_one_give_the_same_student(finished, tmp_path):
    train_teacher(recipe(tmp_path / "a"))
    distill(recipe(tmp_path / "b"), teacher_folder=tmp_path / "a" / "teacher")
    expected = load_file(finished[0] / "student" / "model.safetensors")
    found = load_file(tmp_path / "b" / "student" / "model.safetensors")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_splits_file_of_a_run_repeats_its_split(finished, tmp_path):
    folder = finished[0]
    first = describe_data(recipe(tmp_path / "x"))
    splits_file = str(folder / "splits.json")
    same = describe_data(recipe(tmp_path / "x", **{"data.splits_file": splits_file}))
    assert same == first


def test_data_are_described_whatever_is_wrong_with_the_teacher(tmp_path):
    shown = []
    away = {"data": {"format": "synthetic"}, "teacher": {"model": str(tmp_path / "away")}}
    content = describe_data(away, linear_models=False, show=shown.append)
    assert content["domains"]
    assert f"not known (teacher.model: {tmp_path / 'away'}: no such folder" in shown[-1]
    with pytest.raises(ModelError, match=r"tokenizer: .*away: no such folder"):
        describe_data(away, tmp_path / "away")


def test_a_killed_run_goes_on(finished, tmp_path, monkeypatch):
    import hrkd.training.selection as selection

    original, calls = selection.DevAccuracy.__call__, []

    def killed(self, epoch):
        calls.append(epoch)
        if len(calls) == 8:  # teacher 1 to 6, student 1, then student 2
            raise KeyboardInterrupt
        return original(self, epoch)

    monkeypatch.setattr(selection.DevAccuracy, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        compress(recipe(tmp_path / "run"))
    assert not (tmp_path / "run" / "student").exists()
    monkeypatch.undo()
    results = compress(recipe(tmp_path / "run"))
    assert files_of(tmp_path / "run") == files_of(finished[0])
    assert results["models"] == finished[1]["models"]
    assert_same_stages(tmp_path / "run", finished[0])
    steps = pd.read_parquet(tmp_path / "run" / "metrics" / "student" / "steps")["step"]
    assert sorted(steps) == list(range(1, len(steps) + 1))


def assert_same_stages(folder, expected):
    for stage in ("teacher", "student", "baseline"):
        found, wanted = (load_file(each / stage / "model.safetensors") for each in (folder, expected))
        assert all(torch.equal(found[name], wanted[name]) for name in wanted), stage
        found, wanted = (json.loads((each / stage / "training.json").read_text()) for each in (folder, expected))
        assert found.get("best_per_domain") == wanted.get("best_per_domain")


def test_a_save_that_fails_leaves_nothing_and_is_made_good(finished, tmp_path, monkeypatch):
    original = MultiDomainClassifier.save_pretrained

    def full(self, folder, **options):
        original(self, folder, **options)
        if "student" in str(folder):
            raise OSError("no space left")

    monkeypatch.setattr(MultiDomainClassifier, "save_pretrained", full)
    with pytest.raises(ArtifactError, match=r"run/student: cannot be written: no space left; choose another place"):
        compress(recipe(tmp_path / "run"))
    assert not (tmp_path / "run" / "student").exists()
    monkeypatch.undo()
    for place in ("", "checkpoints"):  # as a kill would leave them
        cut_off = tmp_path / "run" / place / ".hrkd-tmp-0123456789abcdef"
        cut_off.mkdir()
        (cut_off / ".hrkd").write_text(json.dumps({"temporary": cut_off.name, "of": "student", "holds": "new"}))
    compress(recipe(tmp_path / "run"))
    assert files_of(tmp_path / "run") == files_of(finished[0])
    assert_same_stages(tmp_path / "run", finished[0])
    assert [path.name for path in (tmp_path / "run").rglob(".*")] == [".lock"]


def test_how_many_processes_made_a_finished_teacher_is_of_no_matter(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    mark = tmp_path / "run" / "teacher" / "stage.json"
    mark.write_text(mark.read_text().replace('"processes": 1', '"processes": 2'))
    (mark.parent / "manifest.json").unlink()
    assert compress(recipe(tmp_path / "run"))["models"] == finished[1]["models"]


def test_half_precision_gives_nearly_the_same_losses(finished, tmp_path):
    changes = {"run.precision": "bf16", "student.baseline": False}
    results = distill(recipe(tmp_path / "run", **changes), teacher_folder=finished[0] / "teacher")
    assert "student_without_distillation" not in results["models"]
    tables = [pd.read_parquet(folder / "metrics" / "student" / "steps") for folder in (finished[0], tmp_path / "run")]
    full, half = (table["loss"] for table in tables)
    assert not half.equals(full)
    assert half.mean() == pytest.approx(full.mean(), rel=0.03), "the mean, as each precision draws its own dropout"


def test_gradient_accumulation_and_a_tracker(tmp_path):
    changes = {"student.training.gradient_accumulation": 3, "run.trackers": ["tensorboard"], "student.baseline": False}
    results = compress(recipe(tmp_path / "run", **changes))
    events = EventAccumulator(str(next((tmp_path / "run").rglob("events.out.tfevents.*")).parent)).Reload()
    names = set(events.Tags()["scalars"])
    assert {f"student/ratio/level 1/{domain}" for domain in ("books", "films")} <= names
    assert {"student/attention loss/level 1/books", "student/hidden loss/level 0/films"} <= names
    ratios = [events.Scalars(f"student/ratio/level 1/{domain}") for domain in ("books", "films")]
    assert all(abs(one.value + other.value - 1) < 1e-6 for one, other in zip(*ratios, strict=True))
    teacher, student = ([e.step for e in events.Scalars(f"{stage}/loss")] for stage in ("teacher", "student"))
    assert teacher + student == list(range(1, len(teacher) + len(student) + 1)), "no step goes back"
    steps = pd.read_parquet(tmp_path / "run" / "metrics" / "student" / "steps")
    largest = max(results["train_rows"].values())
    assert len(steps) == 2 * -(-largest // (3 * 4)), "two epochs, three batches of 4 a step"
    assert steps["gradient_norm"].notna().all(), "each of which is an update"
    hierarchical = [events.Scalars(f"student/hierarchical ratio/level 1 from {j}/books")[0].value for j in (0, 1)]
    assert sum(hierarchical) == pytest.approx(1)


def test_distilling_without_a_teacher_says_how_to_get_one(tmp_path):
    with pytest.raises(ArtifactError, match="no finished teacher; run hrkd train-teacher first"):
        distill(recipe(tmp_path / "run"))


def test_a_teacher_of_other_data_is_refused(finished, tmp_path):
    with pytest.raises(ArtifactError, match="trained on other data or another split"):
        distill(recipe(tmp_path / "run", **{"data.split_seed": 5}), teacher_folder=finished[0] / "teacher")


def test_a_teacher_no_better_than_chance_stops_the_run(tmp_path):
    weak = {"teacher.allow_weak": False, "teacher.training.learning_rate": 1e-9}
    longer = r"not shown to be better than chance: accuracy .* \(raise teacher.training.epochs; .* teacher.allow_weak"
    with pytest.raises(TrainingError, match=longer):
        compress(recipe(tmp_path / "run", **weak))
    assert not (tmp_path / "run" / "student").exists()
    weights = (tmp_path / "run" / "teacher" / "model.safetensors").read_bytes()
    compress(recipe(tmp_path / "run", **weak | {"teacher.allow_weak": True}))
    assert (tmp_path / "run" / "teacher" / "model.safetensors").read_bytes() == weights


def test_a_teacher_that_is_not_above_the_linear_model_is_told_before_anything_is_distilled(tmp_path, caplog):
    shown = []
    weak = {"teacher.training.learning_rate": 1e-9, "teacher.training.epochs": 1, "evaluation.linear": True}
    train_teacher(recipe(tmp_path / "run", **weak), show=shown.append)
    (told,) = [note for note in shown[-1].notes if "TF-IDF" in note]
    assert re.match(r"The teacher \([\d.]+ %\) is below TF-IDF \+ logistic regression \(.* dev rows", told)
    assert told.endswith("or take a larger encoder (teacher.model).")
    assert told in caplog.text


def test_a_batch_too_large_can_be_mended_in_the_same_folder(tmp_path):
    with pytest.raises(DataError, match=r"a step needs 500 training examples of every domain"):
        compress(recipe(tmp_path / "run", **{"teacher.training.batch_size": 500}))
    train_teacher(recipe(tmp_path / "run"))


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not empty and not a run of hrkd"):
        compress(recipe(tmp_path))
    assert files_of(tmp_path) == {"thesis.txt"}


def test_a_fine_tuned_teacher_of_the_user(finished, tmp_path):
    own = {"teacher": {"fine_tuned": str(finished[0] / "teacher"), "allow_weak": True}}
    base = recipe(tmp_path / "run").model_dump(mode="json") | own
    results = compress(base)
    assert not (tmp_path / "run" / "teacher").exists()
    expected = finished[1]["models"]["teacher"]["test"]
    assert results["models"]["teacher"]["test"]["domains"] == expected["domains"]
    with pytest.raises(RecipeError, match="nothing to train"):
        train_teacher(base)


def test_evaluating_a_model_that_lies_in_no_run_needs_a_recipe(finished, tmp_path):
    model = shutil.copytree(finished[0] / "student", tmp_path / "student")
    with pytest.raises(RecipeError, match="name a recipe"):
        evaluate(model)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_fast_without_a_gpu_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(RecipeError, match=r"run\.fast: bf16 and torch\.compile are for a GPU"):
        compress(recipe(tmp_path / "run", **{"run.fast": True, "run.device": "auto"}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "hierarchical relational knowledge distillation"),
        ({"graph": "random"}, "distillation of the teacher's hidden states, attention and predictions"),
        ({"graph": "uniform", "attention": "none"}, "distillation of the teacher's hidden states and predictions"),
        ({"hidden_weight": 0, "label_weight": 1}, "distillation of the teacher's predictions, beside the labels"),
        (
            {"hidden_weight": 0, "related_weight": 1},
            "distillation of the teacher's predictions, beside those of related domains",
        ),
    ],
)
def test_a_card_says_what_was_done(fields, words):
    assert method_in_words(MethodConfig(**{"preset": "published"} | fields)) == words
