"""What callers from Python give that is no path, recipe, data or switch: one error that names argument and value."""

import re

import pytest

import hrkd
from hrkd.deploy.label_table import predict_file
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, HrkdError
from hrkd.support.arguments import path_of

NO_PATHS = [5, b"x", [], {"a": 1}, object()]


@pytest.fixture(scope="module")
def student(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "student"
    tiny.model().save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


def told(call, said):
    with pytest.raises(HrkdError) as error:
        call()
    assert re.match(said, str(error.value)), error.value
    return str(error.value)


@pytest.mark.parametrize("value", [None, "", "  ", *NO_PATHS])
def test_a_path_is_named_with_what_was_got(value):
    got = "None" if value is None else re.escape(type(value).__name__)
    with pytest.raises(ArtifactError, match=rf"^folder: expected the path of a folder, got .*{got}"):
        path_of("folder", value)


def test_a_home_that_is_nobodys():
    with pytest.raises(ArtifactError, match="folder: ~nobody-of-this-name/x: "):
        path_of("folder", "~nobody-of-this-name/x")


CALLS = {
    "folder: expected": [hrkd.Predictor.from_pretrained, hrkd.evaluate],
    "student_folder: expected": [lambda value: hrkd.export_plain(value, "out")],
    "output_folder: expected": [lambda value: hrkd.export_plain("student", value)],
    "grid: expected": [hrkd.load_grid, hrkd.compare],
    "recipe: expected|no recipe": [
        hrkd.load_recipe,
        hrkd.compress,
        hrkd.train_teacher,
        hrkd.distill,
        hrkd.describe_data,
    ],
    "source: expected the folder or hub name": [hrkd.load_tokenizer],
}


@pytest.mark.parametrize("value", [None, 5, b"x", [1]], ids=repr)
@pytest.mark.parametrize(("said", "calls"), CALLS.items(), ids=CALLS)
def test_every_public_function_says_what_it_takes(said, calls, value):
    for call in calls:
        told(lambda call=call: call(value), said)


def test_what_else_an_evaluation_takes(student):
    for name in ("recipe", "teacher", "data"):
        for value in (5, [1], b"x"):
            told(
                lambda name=name, value=value: hrkd.evaluate(student, **{"data": None, name: value}),
                f"{name}: expected",
            )
    told(
        lambda: hrkd.evaluate(student, data={"text": ["a"]}),
        "data: expected rows as load_domains makes them of it, got",
    )
    told(lambda: hrkd.compress("demo", data={"text": ["a"]}), "data: expected rows as load_domains makes them")
    told(lambda: hrkd.load_recipe("demo", [1]), "overrides: expected a mapping of fields")
    told(
        lambda: hrkd.load_fine_tuned(5, domains=("a",), labels=("x", "y"), max_tokens=8), "teacher.fine_tuned: expected"
    )


@pytest.mark.parametrize("device", ["meta", "nothing", 5.5, "cuda:99"])
def test_a_device_that_computes_nothing(student, device):
    told(lambda: Predictor.from_pretrained(student, device=device), "device: ")


def test_switches_and_names_of_a_prediction(student, tmp_path, tiny):
    predictor, domain = Predictor.from_pretrained(student, device="cpu"), tiny.splits.domains[0]
    (tmp_path / "in.csv").write_text("text\na good read\n")
    wrong = {"prefix": [None, 5], "all_labels": ["no", None, 1]}
    for name, values in wrong.items():
        for value in values:
            options = {"domain": domain, name: value}
            told(
                lambda options=options: predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv", **options),
                f"{name}: expected ",
            )
    assert not (tmp_path / "out.csv").exists()
    told(lambda: predictor("a text", domain=domain, all_labels="no"), "all_labels: expected True or False")
    told(lambda: hrkd.export_plain(student, tmp_path / "plain", overwrite="no"), "overwrite: expected True or False")
    told(lambda: hrkd.compare("x", overwrite="no"), "overwrite: expected True or False")
