"""Runs whose teacher is a classifier per domain: what they leave, restarts, what takes them up."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from grids import run_here, tiny_grid
from hrkd.comparison.command import compare
from hrkd.data.synthetic.corpus import synthetic_reviews, vocabulary
from hrkd.errors import ArtifactError, DataError, ModelError, RecipeError
from hrkd.models.domain_teachers import RoutedTeacher
from hrkd.models.loading import load_fine_tuned
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.report.remarks import LINEAR, on_endings
from hrkd.run.commands import compress, distill, train_baseline, train_teacher
from hrkd.run.evaluation import evaluate
from hrkd.run.teacher import _of_all_domains
from hrkd.training.record import ending_of
from slow import slow
from tiny import tiny_plain, tiny_recipe, tiny_tokenizer

DOMAINS = ("books", "films")
PER_DOMAIN = {"teacher.encoders": "per_domain", "teacher.training.epochs": 3}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A pre-trained encoder that knows the words of the generated corpus."""
    folder = tmp_path_factory.mktemp("encoder")
    size = len(tiny_tokenizer(folder, vocabulary()))
    plain = tiny_plain("bert", layers=2, width=16, heads=2)
    plain.resize_token_embeddings(size)
    plain.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def recipe(encoder):
    teacher = {"teacher.scratch": None, "teacher.model": encoder, "student.layers": 1, "student.width": 16}
    return partial(tiny_recipe, **teacher, **{"student.training.epochs": 1})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp("run") / "out"
    shown = []
    results = compress(recipe(folder, **PER_DOMAIN), show=shown.append)
    return folder, results, shown


def frame():
    corpus = synthetic_reviews(domains=2, examples=160, label_noise=0.0)
    table = corpus.dataset.rows.to_pandas()
    table["label"] = [corpus.dataset.labels[i] for i in table["label"]]
    table["domain"] = [corpus.dataset.domains[i] for i in table["domain"]]
    return table


def same_weights(one, other):
    found, expected = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_each_domain_has_a_model_folder_of_its_own(finished):
    folder, results, shown = finished
    teacher = folder / "teacher"
    assert {path.name for path in teacher.iterdir()} == {
        *DOMAINS,
        "stage.json",
        "training.json",
        "domains.json",
        "manifest.json",
    }
    for domain in DOMAINS:
        assert MultiDomainClassifier.from_pretrained(teacher / domain).domains == (domain,)
        assert len(list((folder / "metrics" / "teacher" / domain / "steps").iterdir())) == 3
    assert not (folder / "checkpoints").exists()
    record = json.loads((teacher / "training.json").read_text())
    parts = {domain: json.loads((teacher / domain / "training.json").read_text()) for domain in DOMAINS}
    assert [epoch["domain"] for epoch in record["epochs"]] == ["books"] * 3 + ["films"] * 3
    assert record["steps"] == sum(part["steps"] for part in parts.values())
    assert record["best_score"] == {domain: part["best_score"] for domain, part in parts.items()}
    assert results["steps"]["teacher"] == record["steps"]
    assert results["seconds"]["teacher"] == pytest.approx(sum(epoch["seconds"] for epoch in record["epochs"]), abs=0.1)
    weights = [load_file(teacher / domain / "model.safetensors") for domain in DOMAINS]
    sizes = [tensor.numel() for part in weights for tensor in part.values()]
    assert results["models"]["teacher"]["parameters"] == sum(sizes)
    verdict = 6 + results["teacher_at_chance"]  # which is told first
    assert len(shown) == 3 + 1 + verdict, "sizes before training, results and ratios at the end, then a verdict"


@pytest.mark.parametrize("domain", DOMAINS)
def test_each_is_the_teacher_of_a_run_on_its_domain_alone(finished, recipe, tmp_path, domain):
    table = frame()
    own = set(table["id"][table["domain"] == domain])
    table.to_csv(tmp_path / "all.csv", index=False)
    ids = json.loads((finished[0] / "splits.json").read_text())
    kept = {part: [each for each in ids[part] if each in own] for part in ("train", "dev", "test")}
    (tmp_path / "splits.json").write_text(json.dumps(ids | kept))
    data = {"format": "auto", "source": str(tmp_path / "all.csv"), "id": "id", "domains": [domain]}
    changes = {f"data.{name}": value for name, value in data.items()} | {"teacher.training.epochs": 3}
    alone = train_teacher(recipe(tmp_path / "run", **changes, **{"data.splits_file": str(tmp_path / "splits.json")}))
    assert same_weights(finished[0] / "teacher" / domain, alone)


def test_a_folder_of_them_is_opened_as_one_teacher(finished):
    folder, results, _ = finished
    assert not same_weights(folder / "teacher" / "books", folder / "teacher" / "films")
    teacher = load_fine_tuned(str(folder / "teacher"), domains=DOMAINS[::-1], labels=results["labels"], max_tokens=32)
    assert isinstance(teacher, RoutedTeacher)
    assert [each.domains for each in teacher.classifiers] == [("films",), ("books",)]
    (folder_of_films := folder / "teacher" / "films").rename(folder / "elsewhere")
    try:
        with pytest.raises(ArtifactError, match=r"domains.json: there is no .*films; restore the folder"):
            load_fine_tuned(str(folder / "teacher"), domains=DOMAINS, labels=results["labels"], max_tokens=32)
    finally:
        (folder / "elsewhere").rename(folder_of_films)
    with pytest.raises(ModelError, match="does not know the domains music of the data; it knows books, films"):
        load_fine_tuned(str(folder / "teacher"), domains=("music",), labels=results["labels"], max_tokens=32)


@pytest.fixture
def dev_scores(monkeypatch):
    """(domains, epoch) of every look at a dev set; with ``stop_after`` of them the run is killed instead."""
    import hrkd.training.selection as selection

    class Seen(list):
        stop_after = None

    original, seen = selection.DevAccuracy.__call__, Seen()

    def look(self, epoch):
        if len(seen) == seen.stop_after:
            raise KeyboardInterrupt
        seen.append((self.model.domains, epoch))
        return original(self, epoch)

    monkeypatch.setattr(selection.DevAccuracy, "__call__", look)
    return seen


@pytest.mark.parametrize("epochs", [2, 3, 4])
def test_a_killed_run_goes_on_with_the_domain_under_way(finished, recipe, tmp_path, dev_scores, epochs):
    """Killed after ``epochs``: under way with the first domain, between both, under way with the second."""
    run, whole = tmp_path / "run", [((domain,), epoch) for domain in DOMAINS for epoch in (1, 2, 3)]
    dev_scores.stop_after = epochs
    with pytest.raises(KeyboardInterrupt):
        train_teacher(recipe(run, **PER_DOMAIN))
    assert dev_scores == whole[:epochs]
    assert (run / "teacher" / "books").exists() == (epochs >= 3)
    with pytest.raises(ArtifactError, match=r"the teacher of this run is not finished yet; to go on: hrkd resume"):
        distill(recipe(run, **PER_DOMAIN))
    for changes, said in (
        (PER_DOMAIN | {"teacher.training.batch_size": 2}, "teacher.training.batch_size: 4 then, 2 now"),
        ({"teacher.training.epochs": 3}, "teacher.encoders: per_domain then, shared now"),
    ):
        with pytest.raises(ArtifactError, match=said):
            train_teacher(recipe(run, **changes))
    if epochs == 3:
        cut_off = run / "teacher" / ".hrkd-tmp-0123456789abcdef"  # as a kill while it was saved would leave it
        cut_off.mkdir()
        (cut_off / ".hrkd").write_text(json.dumps({"temporary": cut_off.name, "of": "films", "holds": "new"}))
    dev_scores.clear()
    dev_scores.stop_after = None
    train_teacher(recipe(run, **PER_DOMAIN))
    assert dev_scores == whole[epochs:]
    assert not (run / "checkpoints").exists()
    for name in ("teacher", "metrics/teacher"):
        found, expected = (
            {p.relative_to(each / name) for p in (each / name).rglob("*")} for each in (run, finished[0])
        )
        assert found == expected
    assert all(same_weights(run / "teacher" / domain, finished[0] / "teacher" / domain) for domain in DOMAINS)


def test_settings_may_change_while_nothing_is_kept(recipe, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hrkd.training.loop._Training.run_epoch", killed)
    for changes in (PER_DOMAIN, PER_DOMAIN | {"teacher.training.batch_size": 2}):
        with pytest.raises(KeyboardInterrupt):
            train_teacher(recipe(tmp_path / "run", **changes))


def test_whose_training_was_over_too_early_is_told_with_the_domain():
    ended = {"best_epoch": 2, "best_score": 0.8, "steps": 3, "epochs": [{"seconds": 1.0}, {"seconds": 1.0}]}
    records = {"books": ended | {"still_learning": "dev rose"}, "films": ended | {"still_learning": ""}}
    models = [{"title": "Teacher", "training": ending_of(_of_all_domains(records))}]
    (told,) = on_endings(models)
    assert told.startswith("Teacher was still learning at its end: books: dev rose; raise training.epochs, or")
    alike = {domain: record | {"ended_by": "min_steps"} for domain, record in records.items()}
    (told,) = on_endings([{"title": "Teacher", "training": ending_of(_of_all_domains(alike))}])
    assert told.endswith("; raise training.min_steps.")
    assert on_endings([{"title": "Teacher", "training": ending_of(_of_all_domains({"films": records["films"]}))}]) == []


@slow
def test_later_commands_take_it_up(finished, recipe, tmp_path):
    folder, results, _ = finished
    name = "student_without_distillation"
    assert evaluate(folder, teacher=folder / "teacher") == results["models"]["student"]["test"]
    found = distill(recipe(tmp_path / "student", **PER_DOMAIN), teacher_folder=folder / "teacher")
    assert found["models"]["student"]["test"] == results["models"]["student"]["test"]
    own = {"teacher": {"fine_tuned": str(folder / "teacher"), "allow_weak": True}}
    alone = train_baseline(recipe(tmp_path / "baseline", **PER_DOMAIN).model_dump(mode="json") | own)
    assert alone["models"][name]["test"] == results["models"][name]["test"]
    record = json.loads((tmp_path / "baseline" / "baseline" / "stage.json").read_text())
    assert set(record["teacher_weights"][0]) == set(DOMAINS), "other weights in the same folder are told apart"
    parts = {"teacher": {"fine_tuned": {domain: str(folder / "teacher" / domain) for domain in DOMAINS}}}
    other = recipe(tmp_path / "other", **{"data.dev": 0.4}).model_dump(mode="json") | parts
    with pytest.raises(ArtifactError, match=r"trained on \d+ of the rows that are dev or test here"):
        distill(other)


def test_what_cannot_be_is_refused_before_anything_is_trained(recipe, tmp_path):
    for changes, message in (
        ({"student.layers": 9}, "layers"),
        ({"teacher.training.batch_size": 500}, "a step needs 500"),
    ):
        with pytest.raises((ModelError, DataError), match=message):
            compress(recipe(tmp_path / "run", **PER_DOMAIN, **changes))
        assert not (tmp_path / "run").exists()


@slow
def test_averaged_teachers_teach_without_states(finished, recipe, tmp_path):
    average = PER_DOMAIN | {"teacher.combine": "average"}
    with pytest.raises(RecipeError, match=r"^--teacher\.combine: average: averaged teachers have no single state"):
        recipe(tmp_path / "run", **average)
    average["method.hidden_weight"] = 0
    results = distill(recipe(tmp_path / "run", **average), teacher_folder=finished[0] / "teacher")
    distill(
        recipe(tmp_path / "routed", **average | {"teacher.combine": "route"}), teacher_folder=finished[0] / "teacher"
    )
    students = [load_file(tmp_path / run / "student" / "model.safetensors") for run in ("run", "routed")]
    assert not all(torch.equal(students[0][name], students[1][name]) for name in students[0])
    again = evaluate(tmp_path / "run", teacher=finished[0] / "teacher")
    assert again == results["models"]["student"]["test"]
    with pytest.raises(ArtifactError, match=r"teacher\.combine: average then, not set now"):
        distill(
            recipe(tmp_path / "run", **average | {"teacher.combine": "route"}), teacher_folder=finished[0] / "teacher"
        )


def test_a_grid_with_single_domain_teachers_and_a_shared_one(tmp_path, monkeypatch):
    names = run_here(monkeypatch)
    own = {"teacher.encoders": "per_domain"}
    methods = {
        "own": own,
        "mean": own | {"teacher.combine": "average", "method.hidden_weight": 0},
        "shared": {},
        "labels": {"learns_from": "labels"},
    }
    content = compare(tiny_grid(tmp_path, methods=methods, baseline="shared", seeds=[0]))
    assert content["failed"] == []
    assert sum(name.startswith("teachers/") for name in names) == 2
    (table,) = content["tables"]
    rows = {row["name"]: row for row in table["methods"]}
    assert set(rows) == {"teacher of own", "teacher of mean", "teacher", *methods, LINEAR}
    own, shared = rows["teacher of own"], rows["teacher"]
    assert own["cost"]["parameters"] > 1.9 * shared["cost"]["parameters"]
    assert own["cost"]["steps"] == 2 * shared["cost"]["steps"]
