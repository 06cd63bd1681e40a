import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrkd.errors import RecipeError
from hrkd.recipe.yaml_lines import Dumper, read_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12) | st.from_regex(r"[-+.0-9eE_:onxy~]{1,6}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("0o10", "0o10"),
        ("1_000", "1_000"),
        ("5e-5", 5e-5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1:30", "1:30"),
        ("2021-03-04", "2021-03-04"),
        ("'12'", "12"),
        ('"true"', "true"),
        (".inf", ".inf"),
    ],
)
def test_scalars_by_the_core_rules(text, value):
    found = read_yaml(f"key: {text}\n", "a.yaml").data["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text_as_written():
    assert read_yaml("1: a\nno: b\n010: c\n", "a.yaml").data == {"1": "a", "no": "b", "010": "c"}


def test_lines_are_known_for_keys_and_items():
    source = read_yaml("a:\n  b: 1\n\n  c:\n    - x\n    - y\n", "a.yaml")
    assert [source.line_of(path) for path in (("a",), ("a", "b"), ("a", "c"), ("a", "c", 1))] == [1, 2, 4, 6]
    assert source.line_of(("a", "b", "unknown")) == 2
    assert source.line_of(("z",)) is None


def test_a_key_given_twice_is_a_problem_and_the_first_counts():
    source = read_yaml("a: 1\nb: 2\na: 3\n", "a.yaml")
    assert source.data == {"a": 1, "b": 2}
    assert [(p.path, p.line, p.message) for p in source.problems] == [
        (("a",), 3, "stands here again; first on line 1"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!int '3'\n", "the tag !!int is not supported"),
        ("a: !!python/object/apply:os.system [ls]\n", "the tag !!python/object/apply:os.system is not supported"),
        ("a: &x [*x]\n", "contains itself"),
        ("? [a]\n: 1\n", "a key must be plain text"),
    ],
)
def test_other_parts_of_yaml_are_problems(text, said):
    problems = read_yaml(text, "a.yaml").problems
    assert len(problems) == 1
    assert said in problems[0].message


def test_an_alias_may_repeat_a_value():
    source = read_yaml("a: &x {b: 1}\nc: *x\n", "a.yaml")
    assert source.data == {"a": {"b": 1}, "c": {"b": 1}}
    assert source.problems == []


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [\n", "my.yaml:2: not YAML: "),
        ("a: 1\nb: c: d\n", "my.yaml:2: not YAML: mapping values are not allowed here"),
        ("a:\n\t- 1\n", "my.yaml:2: not YAML: "),
        ("a: 1\n---\nb: 2\n", "my.yaml:2: not YAML: "),
        ("a: \x00\n", "my.yaml: not YAML: unacceptable character"),
        ("a: *x\n", "my.yaml:1: not YAML: found undefined alias"),
    ],
)
def test_syntax_errors_name_file_and_line(text, start):
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "my.yaml")
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, st.recursive(SCALARS | TEXTS, lambda below: st.lists(below, max_size=3), max_leaves=4)))
def test_what_is_dumped_is_read_back(data):
    text = yaml.dump(data, Dumper=Dumper, allow_unicode=True)
    source = read_yaml(text, "a.yaml")
    assert (source.data or {}) == data
    assert source.problems == []


def test_an_object_that_occurs_twice_is_written_twice():
    shared = [1]
    assert yaml.dump({"a": shared, "b": shared}, Dumper=Dumper) == "a:\n- 1\nb:\n- 1\n"


@pytest.mark.parametrize("depth", [60, 3000])
@pytest.mark.parametrize("form", ["[]", "{}"])
def test_values_within_each_other_have_an_end(depth, form):
    text = "data: " + (form[0] + ("a: " if form == "{}" else "")) * depth + form[1] * depth
    with pytest.raises(RecipeError, match=r"my\.yaml.*: lists or mappings within each other, more than 50 deep"):
        read_yaml(text, "my.yaml")
    assert read_yaml("data: " + "[" * 40 + "]" * 40, "my.yaml").problems == []


def test_aliases_may_not_repeat_a_text_without_end():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    start = time.monotonic()
    with pytest.raises(RecipeError, match=r"my\.yaml:\d+: more than 100,000 values, those that aliases"):
        read_yaml("\n".join(lines), "my.yaml")
    assert time.monotonic() - start < 10
