import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from hrkd.errors import RecipeError
from hrkd.recipe.loading import load_recipe, packaged_recipe_text, packaged_recipes, recipe_json_schema, recipe_to_yaml
from hrkd.recipe.schema import Recipe, RunConfig

GOOD = {"data": {"source": "reviews.csv"}, "teacher": {"model": "bert"}, "student": {"layers": 3}}


def problems_of(source, overrides=None, **options):
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, overrides, **options)
    return str(caught.value).splitlines()


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a recipe file into the current directory, so that messages name it without a folder."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="my.yaml"):
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write


FINE = """\
data:
  source: reviews.csv
teacher:
  model: bert
  training: {learning_rate: 5e-5}
student:
  layers: 3
run:
  precision: no
"""


class TestReading:
    def test_a_file(self, write):
        recipe = load_recipe(write(FINE))
        assert recipe.data.source == "reviews.csv"
        assert recipe.teacher.training.learning_rate == 5e-5
        assert recipe.run.precision == "no"

    def test_a_path_a_mapping_and_dotted_names_give_the_same(self, write):
        by_path = load_recipe(Path(write(FINE)))
        flat = {"data.source": "reviews.csv", "teacher.model": "bert", "student.layers": 3}
        assert by_path == load_recipe(GOOD) == load_recipe(None, flat) == load_recipe(None, GOOD)

    def test_a_byte_order_mark_is_no_problem(self, write):
        assert load_recipe(write("\ufeff" + FINE)) == load_recipe(GOOD)

    def test_sections_without_content_have_their_defaults(self, write):
        assert load_recipe(write(FINE + "method:\nevaluation:\n")) == load_recipe(GOOD)

    def test_a_packaged_name_goes_before_a_file_of_that_name(self, write):
        write(FINE, "demo")
        assert load_recipe("demo").data.format == "synthetic"
        assert load_recipe("./demo").data.source == load_recipe(Path("demo")).data.source == "reviews.csv"

    def test_a_mapping_is_not_changed(self):
        data = {"data": {"source": "x"}, "teacher": {"model": "b"}, "student": {"layers": 1}}
        copy = json.loads(json.dumps(data))
        load_recipe(data, {"student.layers": 2, "run": {"seed": 1}})
        assert data == copy


class TestOverrides:
    def test_they_replace_values_and_keep_the_rest(self, write):
        recipe = load_recipe(write(FINE), {"student.layers": "4", "teacher": {"training": {"epochs": 1}}})
        assert recipe.student.layers == 4
        assert recipe.teacher.training.epochs == 1
        assert recipe.teacher.training.learning_rate == 5e-5

    def test_null_takes_a_value_back(self, write):
        recipe = load_recipe(write(FINE), {"teacher.model": None, "teacher.fine_tuned": "folder"})
        assert (recipe.teacher.model, recipe.teacher.fine_tuned) == (None, "folder")

    def test_a_mapping_takes_the_place_of_text_and_back(self):
        one = {"data.source": "x", "student.layers": 1, "teacher.fine_tuned": "folder"}
        by_domain = load_recipe(load_dict(one), {"teacher.fine_tuned.books": "b"})
        assert by_domain.teacher.fine_tuned == {"books": "b"}
        back = load_recipe(load_dict(one), {"teacher": {"fine_tuned": {"books": "b"}}, "teacher.fine_tuned": "c"})
        assert back.teacher.fine_tuned == "c"

    def test_names_of_domains_may_hold_dots_in_nested_overrides(self):
        recipe = load_recipe({**GOOD, "teacher": {}}, {"teacher": {"fine_tuned": {"a.b": "x"}}})
        assert recipe.teacher.fine_tuned == {"a.b": "x"}

    def test_the_later_of_two_spellings_counts(self):
        assert load_recipe(GOOD, {"student.layers": 1, "student": {"layers": 2}}).student.layers == 2


def load_dict(flat):
    return load_recipe(None, flat).model_dump(exclude_unset=True)


class TestNeeded:
    def test_sections_that_are_not_needed_may_be_left_out_and_are_empty(self):
        recipe = load_recipe(None, {"data.source": "x"}, needed=("data",))
        assert recipe.data.source == "x"
        assert recipe.teacher.model is recipe.teacher.fine_tuned is recipe.teacher.scratch is None
        assert recipe.student.layers is None

    def test_they_are_checked_where_they_are_given(self):
        assert problems_of({"data": {"source": "x"}, "student": {"layers": 0}}, needed=("data",)) == [
            "student.layers: 0 is not allowed: must be a whole number, at least 1"
        ]

    def test_the_yaml_of_such_a_recipe_leaves_them_out(self, write):
        recipe = load_recipe(None, {"data.source": "x"}, needed=("data",))
        text = recipe_to_yaml(recipe)
        assert "teacher:" not in text
        assert load_recipe(write(text), needed=("data",)) == recipe

    @pytest.mark.parametrize("data", [None, {"max_length": 64}, {"max_length": 64, "keep": "head"}])
    def test_rows_in_memory_are_read_as_those_of_a_file(self, data, write):
        given = {"teacher": {"model": "x"}, "student": {"layers": 2}} | ({} if data is None else {"data": data})
        recipe = load_recipe(given, needed=("teacher", "student"))
        named = load_recipe(given | {"data": {"source": "y", **(data or {})}})
        assert recipe.data == named.data.model_copy(update={"source": None})
        assert recipe.data.format == "auto"
        text = recipe_to_yaml(recipe)
        assert load_recipe(write(text), needed=()).data == recipe.data
        with pytest.raises(RecipeError, match=r"data\.source: missing"):
            load_recipe(write(text))

    def test_what_a_caller_may_have_rows_for_is_checked_all_the_same(self):
        given = {"teacher": {"model": "x"}, "student": {"layers": 2}}
        for data, told in (
            ({"max_length": 2}, "data.max_length: 2 is not allowed"),
            ({"dev": 0.5, "test": 0.5}, "data: dev + test is 1; nothing would be left"),
            ({"format": "fdu_mtl"}, "data.source: missing"),
        ):
            (problem,) = problems_of(given | {"data": data}, needed=("teacher", "student"))
            assert told in problem


BAD = """\
data:
  source: x
  dommains: [a]
  max_length: true
  domains: [1, b]
  sizes: {a: [1, 2], b: few, c: [1, 2, 0]}
teacher:
  training:
    epochs: 0
  fine_tuned: 5
student:
  layers: 2.5
  learning_rate: 5e-5
  layer_map: [1, last]
  training: 5
run:
  precision: fp8
  trackers: tensorboard
  seed:
  overwrite: maybe
zz: 1
"""


class TestProblems:
    def test_all_at_once_each_with_its_line(self, write):
        number = "must be a whole number, at least 1"
        trackers = "one of aim, clearml, comet_ml, dvclive, mlflow, swanlab, tensorboard, trackio, wandb, all"
        three = f"must be a list of 3 (each {number.removeprefix('must be ')})"
        assert problems_of(write(BAD)) == [
            "my.yaml:3: data.dommains: unknown field; did you mean 'domains'?",
            "my.yaml:4: data.max_length: true is not allowed: must be a whole number, at least 8",
            "my.yaml:5: data.domains, item 1: 1 is not allowed: must be text; put it in quotes",
            f"my.yaml:6: data.sizes.a: [1, 2] is not allowed: {three}",
            f"my.yaml:6: data.sizes.b: 'few' is not allowed: {three}",
            f"my.yaml:6: data.sizes.c, item 3: 0 is not allowed: {number}",
            f"my.yaml:9: teacher.training.epochs: 0 is not allowed: {number}",
            "my.yaml:10: teacher.fine_tuned: 5 is not allowed: must be text or a mapping (name: text)",
            f"my.yaml:12: student.layers: 2.5 is not allowed: {number}",
            "my.yaml:13: student.learning_rate: unknown field; "
            "did you mean teacher.training.learning_rate or student.training.learning_rate?",
            f"my.yaml:14: student.layer_map, item 2: 'last' is not allowed: {number}",
            "my.yaml:15: student.training: 5 is not allowed: must be a section with the fields epochs, min_steps, "
            "max_steps, patience, average_weights, learning_rate, batch_size, weight_decay, warmup, "
            "max_grad_norm, gradient_accumulation, group_by_length",
            "my.yaml:17: run.precision: 'fp8' is not allowed: must be one of no, bf16, fp16",
            f"my.yaml:18: run.trackers: 'tensorboard' is not allowed: must be a list (each {trackers})",
            "my.yaml:19: run.seed: no value: must be a whole number, at least 0 and at most 4294967295",
            "my.yaml:20: run.overwrite: 'maybe' is not allowed: must be true or false",
            "my.yaml:21: zz: unknown field; the fields here are cache, data, evaluation, method, run, student, teacher",
        ]

    def test_overrides_are_named_as_flags_and_come_last(self, write):
        path = write(FINE.replace("layers: 3", "layers: 0"))
        assert problems_of(path, {"run.seed": "x", "method": {"hierachy": "mean"}}) == [
            "my.yaml:7: student.layers: 0 is not allowed: must be a whole number, at least 1",
            "--method.hierachy: unknown field; did you mean 'hierarchy'?",
            "--run.seed: 'x' is not allowed: must be a whole number, at least 0 and at most 4294967295",
        ]

    def test_an_override_that_mends_a_line_silences_it(self, write):
        assert load_recipe(write(FINE.replace("layers: 3", "layers: 0")), {"student.layers": 2}).student.layers == 2

    def test_items_of_a_list_given_by_an_override(self):
        assert problems_of(GOOD, {"student.layer_map": ["1", "x", "3"]}) == [
            "--student.layer_map, item 2: 'x' is not allowed: must be a whole number, at least 1"
        ]

    def test_contradictions_stand_at_their_section_or_field(self, write):
        text = FINE.replace("layers: 3", "layers: 3\n  times_smaller: 4").replace(
            "  source: reviews.csv\n", "  dev: 0.2\n"
        )
        assert problems_of(write(text)) == [
            "my.yaml:1: data.source: missing; name a file, a folder or a hub data set (or set format: synthetic)",
            "my.yaml:6: student: times_smaller chooses the size; leave out layers",
        ]

    @pytest.mark.parametrize(
        ("weights", "place", "problem"),
        [("{books: 0}", ".books", "above 0"), ("{}", "", "not empty"), ("{books: much}", ".books", "a number")],
    )
    def test_weights_of_domains_are_positive_numbers_by_name(self, write, weights, place, problem):
        (found,) = problems_of(write(FINE + f"method:\n  domain_weights: {weights}\n"))
        assert f"method.domain_weights{place}: " in found
        assert problem in found

    def test_a_contradiction_between_sections_stands_at_its_field(self, write):
        text = FINE + "method:\n  stages: two\n  level_epochs: 10\n"
        line = text.splitlines().index("  level_epochs: 10") + 1
        (problem,) = problems_of(write(text))
        assert problem.startswith(
            f"my.yaml:{line}: method.level_epochs: 10 of 10 epochs (student.training.epochs) leave"
        )

    def test_all_contradictions_of_a_section_are_told_each_at_its_place(self, write):
        text = """\
data:
  splits_file: splits.json
  sizes: paper
  shots: 4
  fraction: 0.5
teacher:
  model: bert
  fine_tuned: folder
  scratch: {layers: 2}
student:
  checkpoint: tiny
  layers: 2
  start: random
  teacher_layers: [1, 2, 3]
"""
        assert problems_of(write(text)) == [
            "my.yaml:1: data.source: missing; name a file, a folder or a hub data set (or set format: synthetic)",
            "my.yaml:1: data: shots and fraction exclude each other; keep one",
            "my.yaml:2: data.splits_file: says which rows are train, dev and test; leave sizes out",
            "my.yaml:6: teacher: give exactly one of model, fine_tuned, scratch "
            "(found model and fine_tuned and scratch)",
            "my.yaml:9: teacher.scratch: expected exactly feed_forward, heads, layers, vocabulary, width; found layers",
            "my.yaml:10: student: checkpoint fixes the size; leave out layers",
            "my.yaml:13: student.start: random contradicts checkpoint; leave one of them out",
            "my.yaml:14: student.teacher_layers: names 3 teacher layers for 2 student layers",
            "my.yaml:14: student.teacher_layers: the student starts from its checkpoint, not from the teacher; "
            "leave one of them out",
        ]

    def test_an_unknown_tracker_names_the_known_ones(self):
        (line,) = problems_of(GOOD, {"run.trackers": ["tensorboard", "tensorbord"]})
        assert line.startswith("--run.trackers, item 2: 'tensorbord' is not allowed: must be one of aim, clearml")

    def test_missing_sections_say_what_they_need(self, write):
        lines = problems_of(write("data: {source: x}\n"))
        assert lines == [
            "my.yaml: teacher: give exactly one of model, fine_tuned, scratch (found none of them)",
            "my.yaml: student: no size: give layers (and width ...), times_smaller, times_faster, milliseconds, "
            "or checkpoint",
        ]

    def test_a_key_given_twice_is_reported_with_everything_else(self, write):
        text = FINE.replace("layers: 3", "layers: 3\n  layers: 4\n  heads: none")
        assert problems_of(write(text)) == [
            "my.yaml:8: student.layers: stands here again; first on line 7",
            "my.yaml:9: student.heads: 'none' is not allowed: must be a whole number, at least 1",
        ]
        assert problems_of(write(FINE + "run: {}\n")) == ["my.yaml:10: run: stands here again; first on line 8"]

    def test_long_values_are_cut(self):
        (line,) = problems_of(GOOD, {"student.layers": "x" * 500})
        assert len(line) < 150

    def test_a_mapping_without_a_file(self):
        assert (
            problems_of({**GOOD, "student": {"layer": 2}})[0] == "student.layer: unknown field; did you mean 'layers'?"
        )

    @pytest.mark.parametrize("data", [{1: 2}, {"data": {"source": "x", "sizes": {3: [1]}}}])
    def test_keys_of_other_types_give_a_message_too(self, data):
        assert problems_of({**GOOD, **data})


class TestUnreadable:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "my.yaml: empty; `hrkd recipe demo` prints a complete recipe to start from"),
            ("# nothing\n", "my.yaml: empty; `hrkd recipe demo` prints a complete recipe to start from"),
            ("- a\n", "my.yaml: expected sections such as data, teacher and student, found ['a']"),
            ("words\n", "my.yaml: expected sections such as data, teacher and student, found 'words'"),
            ("!!python/object:os.system {}\n", "my.yaml: the tag !!python/object:os.system is not supported"),
            ("data: {\n", "my.yaml:2: not YAML: "),
        ],
    )
    def test_files_that_are_no_recipe(self, write, text, said):
        (line,) = problems_of(write(text))
        assert line.startswith(said)

    def test_not_utf8(self, write):
        Path("my.yaml").write_bytes(b"data: \xff")
        assert problems_of("my.yaml") == ["my.yaml: not UTF-8 text (byte 7); save it as UTF-8"]

    def test_missing_files_name_what_there_is(self, write):
        assert problems_of("dmo.yaml") == [
            "dmo.yaml: no such recipe file; packaged recipes: amazon_reviews, demo, fdu_mtl, mnli; did you mean demo?"
        ]
        assert problems_of("zzz") == ["zzz: no such recipe file; packaged recipes: amazon_reviews, demo, fdu_mtl, mnli"]

    def test_a_folder(self, tmp_path):
        assert problems_of(tmp_path) == [f"{tmp_path}: a folder, not a recipe file"]

    @pytest.mark.parametrize("name", ["my reviews.csv", "a.TSV.gz", "b.jsonl", "c.parquet"])
    def test_a_table_gets_its_recipe_from_init(self, write, name):
        write("text,label\nfine: indeed,1\n", name)
        command = f"hrkd init '{name}'" if " " in name else f"hrkd init {name}"
        assert problems_of(name) == [f"{name}: a table, not a recipe file; `{command}` writes a recipe for it"]

    def test_nothing_at_all(self):
        assert problems_of(None) == [
            "no recipe: name a file, a packaged recipe (amazon_reviews, demo, fdu_mtl, mnli) or set fields"
        ]

    def test_an_empty_file_with_overrides_is_a_start(self, write):
        assert load_recipe(write("# flags only\n"), GOOD) == load_recipe(GOOD)


class TestPackaged:
    def test_names(self):
        assert packaged_recipes() == ("amazon_reviews", "demo", "fdu_mtl", "mnli")

    @pytest.mark.parametrize("name", packaged_recipes())
    def test_each_is_valid_and_says_what_it_is(self, name):
        first, *rest = packaged_recipe_text(name).splitlines()
        assert first.startswith("# ")
        assert first.endswith(".")
        assert max(map(len, [first, *rest])) <= 120
        recipe = load_recipe(name)
        assert recipe.run.output == Path("runs", name)
        assert recipe.student.baseline

    def test_research_recipes_have_the_sizes_and_the_training_of_the_paper(self):
        amazon, mnli = load_recipe("amazon_reviews"), load_recipe("mnli")
        assert (amazon.data.format, amazon.data.sizes, amazon.data.max_length) == ("amazon_reviews", "paper", 128)
        assert (mnli.data.dev, mnli.data.dev_rows) == (0.1, "random")
        for recipe in (amazon, mnli):
            assert (recipe.teacher.training.epochs, recipe.teacher.training.learning_rate) == (3, 5e-5)
            assert recipe.student.training.epochs == 10
            assert recipe.student.heads == 12

    def test_an_unknown_name(self):
        with pytest.raises(RecipeError, match=r"no packaged recipe 'dmo'; .* did you mean demo"):
            packaged_recipe_text("dmo")


class TestWriting:
    @pytest.mark.parametrize("name", packaged_recipes())
    def test_every_field_is_written_and_read_back(self, name, write):
        recipe = load_recipe(name)
        text = recipe_to_yaml(recipe)
        assert load_recipe(write(text)) == recipe
        for section, model in recipe:
            assert f"{section}:" in text
            assert all(f"{field}:" in text for field in type(model).model_fields)

    def test_text_that_looks_like_something_else_survives(self, write):
        recipe = load_recipe(GOOD, {"data": {"source": "1e5", "text": "no", "domains": ["null", "007", "a: b", "é"]}})
        assert load_recipe(write(recipe_to_yaml(recipe))) == recipe

    def test_sizes_survive(self, write):
        recipe = load_recipe(GOOD, {"data.sizes": {"books": [8, 1, 1]}})
        assert load_recipe(write(recipe_to_yaml(recipe))).data.sizes == {"books": (8, 1, 1)}


def test_the_trackers_are_those_of_accelerate():
    from accelerate.utils import LoggerType

    known = get_args(get_args(RunConfig.model_fields["trackers"].annotation)[0])
    assert set(known) == {kind.value for kind in LoggerType}


def test_the_schema_describes_every_field():
    schema = recipe_json_schema()
    json.dumps(schema)
    assert set(schema["properties"]) == set(Recipe.model_fields)
    for name, definition in schema["$defs"].items():
        assert definition["additionalProperties"] is False
        assert all(field["description"] for field in definition["properties"].values()), name


def test_every_section_has_a_first_line_for_the_help():
    for info in Recipe.model_fields.values():
        assert issubclass(info.annotation, BaseModel)
        assert info.annotation.__doc__


@pytest.mark.parametrize("name", ["x" * 256, "folder/" + "é" * 128, "nul\0name"])
@pytest.mark.parametrize(
    "field",
    ["data.source", "data.unlabelled", "data.splits_file", "teacher.fine_tuned", "cache.folder", "run.output"],
)
def test_names_that_no_file_can_have(name, field):
    with pytest.raises(RecipeError, match=rf"{field}: .* is not allowed: a name (of 256 bytes|with a NUL)"):
        load_recipe("demo", {field: name, "teacher.scratch": None})


@pytest.mark.parametrize(
    ("field", "value"), [("expertise", True), ("transfer_weight", 1), ("domain_weights", {"books": 2})]
)
def test_what_a_static_student_has_not_is_not_asked_of_it(field, value):
    teacher = {"model": "x", "meta_kd": True}
    recipe = {"data": {"format": "synthetic"}, "teacher": teacher, "student": {"kind": "static"}}
    with pytest.raises(RecipeError, match=f"method.{field}: is about levels, and a static student has none"):
        load_recipe(recipe, {"method": {field: value}})


SIZES = {"layers": 2, "width": 32, "heads": 4, "feed_forward": 64}


@pytest.mark.parametrize(
    ("said", "asked", "left"),
    [
        (SIZES, {"times_faster": 2}, {"heads": 4, "times_faster": 2}),
        (SIZES, {"milliseconds": 2}, {"heads": 4, "milliseconds": 2}),
        (SIZES, {"times_faster": 2, "heads": 2}, {"heads": 2, "times_faster": 2}),
        (SIZES, {"times_smaller": 2}, {"times_smaller": 2}),
        (SIZES, {"checkpoint": "x"}, {"checkpoint": "x"}),
        (SIZES, {"layers": 3}, SIZES | {"layers": 3}),
        ({"times_smaller": 4}, {"layers": 3}, {"layers": 3}),
        ({"times_smaller": 4}, {"times_faster": 3}, {"times_faster": 3}),
        ({"times_faster": 4}, {"heads": 2}, {"times_faster": 4, "heads": 2}),
        ({"checkpoint": "x"}, {"times_faster": 3}, {"times_faster": 3}),
    ],
)
def test_a_size_that_is_asked_for_goes_before_those_of_the_recipe(said, asked, left, caplog):
    recipe = {"data": {"format": "synthetic"}, "teacher": {"model": "x"}, "student": said}
    student = load_recipe(recipe, {"student": asked}).student
    names = (*SIZES, "times_smaller", "times_faster", "milliseconds", "checkpoint")
    assert {name: value for name in names if (value := getattr(student, name)) is not None} == left
    assert ("another size is asked for" in caplog.text) == bool(set(said) - set(left))


def test_sizes_that_are_asked_for_together_are_refused_as_ever():
    recipe = {"data": {"format": "synthetic"}, "teacher": {"model": "x"}, "student": SIZES}
    with pytest.raises(RecipeError, match="times_smaller chooses the size; leave out"):
        load_recipe(recipe, {"student.times_smaller": 4, "student.layers": 1})
