"""Grid files: what they make of a recipe, what is shared, and what is said of bad ones."""

import json

import pytest

from hrkd.comparison.grid import Grid
from hrkd.comparison.planning import load_grid
from hrkd.errors import RecipeError

RECIPE = {
    "data": {"source": "reviews.csv"},
    "teacher": {"model": "bert-base-uncased"},
    "student": {"layers": 3, "width": 312},
}


def grid(**changes):
    base = {
        "recipe": RECIPE,
        "fractions": [0.1, 1.0],
        "seeds": [0, 1],
        "methods": {
            "hrkd": None,
            "uniform": {"method.graph": "uniform"},
            "labels": {"learns_from": "labels"},
        },
        "baseline": "uniform",
        "output": "runs/x",
    }
    return {name: value for name, value in (base | changes).items() if value is not ...}


def refused(tmp_path, text):
    file = tmp_path / "grid.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as error:
        load_grid(file)
    return str(error.value).replace(str(file), "grid.yaml").splitlines()


class TestCells:
    def test_every_combination_is_a_run_of_its_own(self):
        plan = load_grid(grid())
        assert len(plan.cells) == 2 * 3 * 2
        first = plan.cells[0]
        assert str(first.folder) == "runs/x/cells/data/fraction-0.1/hrkd/seed-0"
        assert [cell.method for cell in plan.cells[:4]] == ["hrkd", "uniform", "labels", "hrkd"]
        assert {(cell.method, cell.verb) for cell in plan.cells} == {
            ("hrkd", "distill"),
            ("uniform", "distill"),
            ("labels", "train-baseline"),
        }

    def test_overrides_of_data_set_method_and_grid_come_together(self):
        overrides = {"data": {"mine": {"data": {"source": "other.csv"}, "student.layers": 4}}}
        (cell,) = (each for each in load_grid(grid(**overrides)).cells if each.name.endswith("0.1/uniform/seed-1"))
        recipe = cell.recipe
        assert cell.name == "cells/mine/fraction-0.1/uniform/seed-1"
        assert (recipe.data.source, recipe.data.fraction) == ("other.csv", 0.1)
        assert (recipe.student.layers, recipe.student.width, recipe.student.baseline) == (4, 312, False)
        assert (recipe.method.graph, recipe.run.seed) == ("uniform", 1)

    def test_without_fractions_the_recipe_says_how_much(self):
        shots = {"data": {"mine": {"data.shots": 16}}}
        plan = load_grid(grid(fractions=..., **shots))
        assert {cell.amount for cell in plan.cells} == {"shots-16"}
        assert {cell.amount for cell in load_grid(grid(fractions=...)).cells} == {"fraction-1.0"}

    def test_shots_in_the_place_of_fractions(self):
        plan = load_grid(
            grid(fractions=..., shots=[1, 8], recipe=RECIPE | {"data": {"source": "x.csv", "fraction": 0.5}})
        )
        assert [cell.amount for cell in plan.cells[::6]] == ["shots-1", "shots-8"]
        assert {(cell.recipe.data.shots, cell.recipe.data.fraction) for cell in plan.cells} == {(1, 1.0), (8, 1.0)}

    @pytest.mark.parametrize("order", [("strict", "lenient"), ("lenient", "strict")])
    def test_a_teacher_may_be_weak_if_one_of_its_pupils_takes_it(self, order):
        methods = {name: {"teacher.allow_weak": name == "lenient"} for name in order}
        plan = load_grid(grid(methods=methods, baseline="strict", fractions=...))
        (teacher,) = plan.teachers
        assert teacher.recipe.teacher.allow_weak
        assert {cell.method: cell.recipe.teacher.allow_weak for cell in plan.cells} == {
            "strict": False,
            "lenient": True,
        }

    def test_a_method_goes_before_a_data_set(self):
        changes = {"data": {"mine": {"student.layers": 4}}, "methods": {"uniform": {"student": {"layers": 5}}}}
        assert {cell.recipe.student.layers for cell in load_grid(grid(**changes)).cells} == {5}

    def test_a_packaged_recipe_and_a_file(self, tmp_path):
        assert load_grid(grid(recipe="demo")).cells[0].recipe.data.format == "synthetic"
        (tmp_path / "mine.yaml").write_text(json.dumps(RECIPE))
        assert load_grid(grid(recipe=str(tmp_path / "mine.yaml"))).cells[0].recipe.data.source == "reviews.csv"

    def test_separate_domains_have_a_cell_and_a_teacher_each(self):
        methods = {"uniform": None, "single": {"separate_domains": ["books", "dvd & vhs"], "learns_from": "labels"}}
        plan = load_grid(grid(methods=methods, fractions=..., seeds=[3]))
        assert [cell.name for cell in plan.cells] == [
            "cells/data/fraction-1.0/uniform/seed-3",
            "cells/data/fraction-1.0/single/books/seed-3",
            "cells/data/fraction-1.0/single/dvd-vhs/seed-3",
        ]
        assert [cell.recipe.data.domains for cell in plan.cells] == [None, ["books"], ["dvd & vhs"]]
        assert [cell.domain for cell in plan.cells] == [None, "books", "dvd & vhs"]
        assert [teacher.recipe.data.domains for teacher in plan.teachers] == [None, ["books"], ["dvd & vhs"]]

    def test_a_separate_domain_twice(self, tmp_path):
        text = "recipe: demo\nmethods:\n  one: {separate_domains: [books, books]}\nbaseline: one\n"
        assert refused(tmp_path, text) == ["grid.yaml:3: methods.one.separate_domains: books stands there twice"]

    def test_fields_of_the_call_go_before_the_grid(self):
        plan = load_grid(grid(), {"output": "runs/y", "jobs": 2})
        assert (str(plan.cells[0].folder).partition("/cells")[0], plan.grid.jobs) == ("runs/y", 2)


class TestTeachers:
    def test_one_for_all_methods_and_seeds_of_a_fraction(self):
        teachers = load_grid(grid()).teachers
        assert [teacher.recipe.data.fraction for teacher in teachers] == [0.1, 1.0]
        assert {teacher.recipe.run.seed for teacher in teachers} == {0}
        assert all(teacher.verb == "train-teacher" for teacher in teachers)

    def test_one_for_all_fractions_where_it_sees_all_rows(self):
        (teacher,) = load_grid(grid(teacher_sees="all")).teachers
        assert teacher.recipe.data.fraction == 1
        assert "/all/" in teacher.name

    def test_one_per_seed_where_they_are_asked_for(self):
        plan = load_grid(grid(teacher_seeds="own", teacher_sees="all"))
        assert [teacher.recipe.run.seed for teacher in plan.teachers] == [0, 1]
        assert all(cell.teacher.recipe.run.seed == cell.seed for cell in plan.cells)

    def test_another_teacher_section_is_another_teacher(self):
        methods = {"uniform": None, "long": {"teacher.training.epochs": 9}}
        plan = load_grid(grid(methods=methods, fractions=...))
        assert [teacher.recipe.teacher.training.epochs for teacher in plan.teachers] == [3, 9]

    def test_unlabelled_text_is_for_students_and_makes_no_other_teacher(self):
        methods = {"uniform": None, "more": {"data.unlabelled": "more.csv"}}
        plan = load_grid(grid(methods=methods, fractions=...))
        (teacher,) = plan.teachers
        assert teacher.recipe.data.unlabelled is None
        assert {cell.recipe.data.unlabelled for cell in plan.cells} == {None, "more.csv"}

    def test_cells_name_the_folder_of_their_teacher(self):
        cell = load_grid(grid()).cells[0]
        assert cell.recipe.teacher.fine_tuned == f"{cell.teacher.folder}/teacher"
        assert cell.recipe.teacher.model is None

    def test_a_teacher_of_the_user_is_not_trained(self):
        plan = load_grid(grid(recipe=RECIPE | {"teacher": {"fine_tuned": "mine"}}))
        assert plan.teachers == ()
        assert plan.cells[0].recipe.teacher.fine_tuned == "mine"


class TestErrors:
    def test_problems_of_the_grid_come_together_with_their_lines(self, tmp_path):
        lines = refused(
            tmp_path,
            "recipe: demo\nseeds: [0, x]\nfractions: [0]\nmethod: {}\nmethods:\n  uniform:\n    learns_from: hope\n"
            "baseline: uniform\njobs: 0\n",
        )
        assert lines == [
            "grid.yaml:2: seeds, item 2: 'x' is not allowed: must be a whole number, at least 0 and at most 4294967295",
            "grid.yaml:3: fractions, item 1: 0 is not allowed: must be a number, above 0 and at most 1",
            "grid.yaml:4: method: unknown field; did you mean 'methods'?",
            "grid.yaml:7: methods.uniform.learns_from: 'hope' is not allowed: must be one of teacher, labels",
            "grid.yaml:9: jobs: 0 is not allowed: must be a whole number, at least 1",
        ]

    def test_fields_that_are_missing(self, tmp_path):
        lines = refused(tmp_path, "methods: [hrkd]\n")
        assert lines == [
            "grid.yaml:1: methods: ['hrkd'] is not allowed: "
            "must be a mapping (name: recipe fields (name: value) and learns_from and separate_domains), "
            "not empty",
            "grid.yaml: recipe: missing; must be text or recipe fields (name: value)",
            "grid.yaml: baseline: missing; must be text or a list (each text), not empty",
        ]

    def test_contradictions_of_the_grid(self, tmp_path):
        lines = refused(
            tmp_path,
            "recipe: demo\nseeds: [1, 1]\nmethods:\n  teacher:\n  uniform: {run.seed: 3, data: {split_seed: 1}}\n"
            "  a/b:\nbaseline: unifrom\n",
        )
        assert lines == [
            "grid.yaml:2: seeds: 1 stands there twice",
            "grid.yaml:3: methods: 'a/b' is no name; use up to 64 letters, digits, dots, dashes and underscores",
            "grid.yaml:3: methods: teacher is what the tables call the teacher; choose another name",
            "grid.yaml:3: methods: uniform sets run.seed; the grid's field seeds says it",
            "grid.yaml:3: methods: uniform sets data.split_seed; "
            "all methods share their rows; set it in the field data",
            "grid.yaml:7: baseline: no method is called 'unifrom'; did you mean uniform?",
        ]

    def test_fractions_and_shots(self, tmp_path):
        text = "recipe: demo\nmethods: {one: }\nbaseline: one\nfractions: [0.5]\nshots: [4]\n"
        assert refused(tmp_path, text) == ["grid.yaml:5: shots: fractions and shots exclude each other; keep one"]
        text = "recipe: demo\nmethods: {one: }\nbaseline: one\nshots: [4]\ndata: {a: {data.fraction: 0.5}}\n"
        assert refused(tmp_path, text) == [
            "grid.yaml:5: data: a sets data.fraction; the grid's field shots says how many rows"
        ]

    def test_every_baseline_must_be_there(self, tmp_path):
        methods = "recipe: demo\nmethods:\n  uniform: {method.graph: uniform}\n  hrkd:\n"
        assert refused(tmp_path, methods + "baseline: [uniform, hrk]\n") == [
            "grid.yaml:5: baseline: no method is called 'hrk'; did you mean hrkd?"
        ]
        assert refused(tmp_path, methods + "baseline: [hrkd, hrkd]\n") == [
            "grid.yaml:5: baseline: hrkd stands there twice"
        ]
        (tmp_path / "grid.yaml").write_text(methods + "baseline: [uniform, hrkd]\n")
        assert load_grid(tmp_path / "grid.yaml").grid.baselines == ("uniform", "hrkd")

    def test_a_method_given_twice(self, tmp_path):
        lines = refused(tmp_path, "recipe: demo\nmethods:\n  uniform:\n  uniform:\nbaseline: uniform\n")
        assert lines == ["grid.yaml:4: methods.uniform: stands here again; first on line 3"]

    def test_problems_of_recipes_stand_at_the_line_that_makes_them_once(self, tmp_path):
        lines = refused(
            tmp_path,
            "recipe: demo\ndata:\n  mine:\n    data.dev: 2\nmethods:\n  uniform:\n    method.graph: unifrom\n"
            "  hrkd:\n    student:\n      layrs: 2\nbaseline: uniform\n",
        )
        assert lines == [
            "grid.yaml:4: data.mine.data.dev: 2 is not allowed: must be a number, above 0 and below 1",
            "grid.yaml:7: methods.uniform.method.graph: 'unifrom' is not allowed: must be one of published, "
            "relational, contrast, random, uniform",
            "grid.yaml:10: methods.hrkd.student.layrs: unknown field; did you mean 'layers'?",
        ]

    def test_problems_of_an_inline_recipe_have_the_lines_of_the_grid(self, tmp_path):
        recipe = "recipe:\n  data: {format: synthetic}\n  teacher: {model: bert}\n  student:\n    layers: 0\n"
        assert refused(tmp_path, recipe + "methods: {uniform: }\nbaseline: uniform\n") == [
            "grid.yaml:5: student.layers: 0 is not allowed: must be a whole number, at least 1"
        ]

    def test_contradictions_of_a_cell_name_it(self, tmp_path):
        lines = refused(tmp_path, "recipe: demo\nmethods:\n  uniform: {student.width: 30}\nbaseline: uniform\n")
        assert len(lines) == 1
        assert lines[0].endswith("width 30 cannot be divided among 4 heads (data data, method uniform)")

    def test_files_that_are_no_grid(self, tmp_path):
        with pytest.raises(RecipeError, match=r"nowhere.yaml: no such grid file; docs/how-to/compare"):
            load_grid(tmp_path / "nowhere.yaml")
        assert refused(tmp_path, "- 1\n") == [
            "grid.yaml: expected the fields of a grid, such as recipe, methods and baseline"
        ]
        with pytest.raises(RecipeError, match=r"--jobs: 0 is not allowed"):
            load_grid(grid(), {"jobs": 0})


def test_the_schema_has_every_field_with_its_meaning():
    schema = Grid.model_json_schema()
    assert all("description" in field for field in schema["properties"].values())
    assert {"recipe", "methods", "baseline", "teacher_sees"} <= set(schema["properties"])


def test_seeds_are_those_that_generators_take():
    with pytest.raises(RecipeError, match=r"seeds, item 2: 4294967296 is not allowed"):
        load_grid(grid(seeds=[0, 2**32]))
