"""What ``hrkd check`` finds, from the recipe to the models; the single findings are tested where they are made."""

import json
import random
import re

import pytest

from hrkd.cli import main
from hrkd.recipe.codes import CODES
from hrkd.recipe.loading import load_recipe
from hrkd.run.check import check
from tiny import letter_tokenizer, tiny_plain, tiny_recipe

WORDS = {"good": ["fine", "lovely", "great"], "bad": ["awful", "broken", "poor"]}


@pytest.fixture
def table(tmp_path):
    """A sound table of two domains."""
    draw, lines = random.Random(0), ["text,label,domain"]
    for i in range(400):
        domain, label = ("books", "films")[i % 2], ("good", "bad")[i // 2 % 2]
        words = [draw.choice(WORDS[label]), *(f"{domain[0]}{draw.randrange(50)}" for _ in range(6)), f"n{i}"]
        lines.append(f"{' '.join(words)},{label},{domain}")
    file = tmp_path / "rows.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def teacher(tmp_path):
    """A tiny classifier that can be a teacher."""
    folder = tmp_path / "teacher"
    tiny_plain("bert", layers=2).save_pretrained(folder)
    letter_tokenizer(folder)
    return folder


def recipe_of(table, teacher, tmp_path, **changes):
    base = {
        "data": {"source": str(table), "max_length": 32, "keep": "windows"},
        "teacher": {"model": str(teacher)},
        "student": {"layers": 1},
        "run": {"output": str(tmp_path / "run"), "device": "cpu"},
    }
    return {**base, **{name: {**base.get(name, {}), **value} for name, value in changes.items()}}


def codes(checked, severity=None):
    return [each.code for each in checked.findings if severity in (None, each.severity)]


def test_a_sound_recipe_has_notes_alone_and_nothing_is_written(table, teacher, tmp_path):
    found = check(recipe_of(table, teacher, tmp_path))
    assert codes(found) == ["D403", "D403", "D402", "D902"]
    width = next(each.found for each in found.findings if each.code == "D402")
    assert "an accuracy of 100.0 %, as TF-IDF with logistic regression reaches on dev, has a 95 % interval" in width
    assert re.findall(r"from (\d+\.\d) to 100\.0 % on the 40 rows of (dev|test)", width), "nothing beyond 100 %"
    left = check(recipe_of(table, teacher, tmp_path, data={"ignore": ["D403"]}))
    assert (left.status, codes(left), left.left_out) == (0, ["D402", "D902"], {"D403": 2})
    assert not (tmp_path / "run").exists()


def test_models_are_tried_as_a_run_does(table, teacher, tmp_path):
    found = check(recipe_of(table, teacher, tmp_path, student={"layers": 3}))
    assert codes(found, "error") == ["D005"]
    assert "student.layers" in found.findings[0].found


def test_a_teacher_is_tried_where_the_size_of_its_student_is_not_known_yet(table, teacher, tmp_path):
    quick = recipe_of(table, teacher, tmp_path, student={"layers": None, "times_faster": 2})
    found = check(quick)
    assert (found.status, codes(found, "note")) == (1, ["D402", "D902", "D903"])
    quick["teacher"] = {"fine_tuned": str(teacher)}
    (said,) = [each.found for each in check(quick).findings if each.severity == "error"]
    assert re.search("teacher.fine_tuned: .*its 3 outputs are called", said)


def test_what_a_teacher_of_ones_own_may_have_seen_is_told(table, teacher, tmp_path):
    own = recipe_of(table, teacher, tmp_path, data={"domains": ["books", "films"]})
    own["teacher"] = {"fine_tuned": str(teacher), "labels": ["good", "bad", "fair"]}
    table.write_text(
        table.read_text() + "fine,fair,books\n" * 40 + "\n".join(f"fair n{i},fair,films" for i in range(40))
    )
    found = check(own)
    (told,) = [each.found for each in found.findings if each.code == "D405"]
    assert told.endswith("and dev and test were drawn for this recipe")
    assert "D405" not in codes(check(recipe_of(table, teacher, tmp_path)))


def test_a_checkpoint_that_is_away_leaves_the_teacher_to_be_tried(table, teacher, tmp_path):
    away = recipe_of(table, teacher, tmp_path, student={"layers": None, "checkpoint": "nobody/has-this"})
    assert codes(check(away), "note") == ["D402", "D902", "D903"]
    away["teacher"] = {"fine_tuned": str(teacher)}
    assert codes(check(away), "error") == ["D005"]


def test_models_of_the_hub_are_told_and_not_fetched(table, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    found = check(recipe_of(table, "nobody/has-this", tmp_path))
    assert (found.status, codes(found, "note")) == (1, ["D402", "D902", "D903"])


def test_rows_that_a_run_refuses_are_told_with_what_else_is_found(table, teacher, tmp_path):
    with table.open("a") as file:
        file.write(",good,books\nlovely b1 b2,goood,books\n  ,bad,films\na toy, good ,toys\n")
    found = check(recipe_of(table, teacher, tmp_path))
    assert found.status == 2
    assert codes(found, "error") == ["D201", "D201", "D304"]
    assert {"D102", "D403"} <= set(codes(found, "warning"))
    assert {"D107", "D902"} <= set(codes(found, "note"))
    assert {each.domain for each in found.findings if each.code == "D304"} == {"toys"}


def test_problems_of_files_columns_and_models_are_told_together(table, tmp_path):
    wrong = recipe_of(table, tmp_path / "absent", tmp_path, data={"text": "txt", "domain": "shop"})
    found = check(wrong)
    assert codes(found) == ["D002", "D003"]
    assert "did you mean 'text'" in found.findings[1].found


def test_data_are_looked_at_beside_errors_of_the_recipe(table, teacher, tmp_path):
    found = check({**recipe_of(table, teacher, tmp_path), "student": {"layrs": 1}})
    assert codes(found, "error") == ["D001"]
    assert "D902" in codes(found)


def test_labels_that_have_nothing_to_do_with_texts(table, teacher, tmp_path):
    draw, lines = random.Random(1), table.read_text().splitlines()
    rows = []
    for line in [*lines[1:], *lines[1:], *lines[1:]]:
        text, _, domain = line.split(",")
        rows.append(f"{text} m{len(rows)},{draw.choice(['good', 'bad'])},{domain}")
    table.write_text("\n".join([lines[0], *rows]) + "\n")
    found = check(recipe_of(table, teacher, tmp_path, data={"dev": 0.5}))
    assert "D109" in codes(found)


def test_domains_that_are_one(table, teacher, tmp_path):
    table.write_text(table.read_text().replace(" f", " b"))
    found = check(recipe_of(table, teacher, tmp_path))
    assert "D306" in codes(found)
    assert "books and films" in next(each.found for each in found.findings if each.code == "D306")


def test_a_split_with_copies(table, teacher, tmp_path):
    lines = table.read_text().splitlines()
    parts = ["split", *(("train", "train", "dev", "test")[i // 4 % 4] for i in range(400))]
    rows = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
    first = lines[1]
    table.write_text("\n".join([*rows, f"{first},test"]) + "\n")
    found = check(recipe_of(table, teacher, tmp_path, data={"split": "split"}))
    assert codes(found, "warning")[0] == "D401"


def test_a_generated_corpus_can_be_checked(tmp_path):
    recipe = tiny_recipe(tmp_path / "run")
    found = check(recipe.model_dump(mode="json"))
    assert "error" not in {each.severity for each in found.findings}


def run(*arguments):
    return main([str(each) for each in arguments])


def test_status_json_and_lines_of_the_command(table, teacher, tmp_path, capsys):
    flags = ["--data.source", table, "--data.max_length", 32, "--data.keep", "windows", "--teacher.model", teacher]
    flags += ["--student.layers", 1, "--run.device", "cpu", "--run.output", tmp_path / "run"]
    assert run("check", *flags) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("warnings (")
    assert lines[-1].startswith("next: hrkd compress (with the same flags)")
    assert run("check", *flags, "--data.ignore", "D403", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["left_out"] == {"D403": 2}
    assert [each["code"] for each in content["findings"]] == ["D402", "D902"]
    assert run("check", *flags, "--data.text", "txt", "--json") == 2
    assert json.loads(capsys.readouterr().out)["findings"][0]["code"] == "D003"


def test_an_unknown_code_is_an_error_of_the_recipe(table, teacher, tmp_path, capsys):
    found = check(recipe_of(table, teacher, tmp_path, data={"ignore": ["D41", "D001"]}))
    assert [each.found for each in found.findings if each.code == "D001"] == [
        "data.ignore: no code 'D41'; did you mean D401?; `hrkd explain` lists all",
        f"data.ignore: D001 is an error ({CODES['D001'].title}): a run refuses it whatever is left out; leave it in",
    ]
    assert run("explain", "d103") == 0
    assert "--data.ignore D103" in capsys.readouterr().out
    assert run("explain", "D1033") == 2
    assert "did you mean D103?" in capsys.readouterr().err
    assert run("explain") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CODES)


def test_what_is_left_out_changes_no_model():
    base = {"data": {"source": "a.csv"}, "teacher": {"model": "b"}, "student": {"layers": 1}}
    from hrkd.run.identity import recipe_settings

    one, other = load_recipe(base), load_recipe(base, {"data.ignore": ["D403"]})
    assert recipe_settings(one, "student") == recipe_settings(other, "student")
