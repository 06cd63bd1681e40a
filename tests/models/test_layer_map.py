from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkd.errors import ModelError
from hrkd.models.layer_map import resolve_layer_map, uniform_layer_map


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (4, 12, (0, 3, 6, 9, 12)),
        (2, 6, (0, 3, 6)),
        (6, 6, (0, 1, 2, 3, 4, 5, 6)),
        (1, 12, (0, 12)),
        (4, 6, (0, 2, 3, 5, 6)),  # 1.5, 3, 4.5, 6: halves are rounded up
        (3, 4, (0, 1, 3, 4)),
    ],
)
def test_uniform_map_spreads_the_layers(student, teacher, expected):
    assert uniform_layer_map(student, teacher) == expected
    assert resolve_layer_map("uniform", student, teacher) == expected


@given(st.integers(1, 40).flatmap(lambda teacher: st.tuples(st.integers(1, teacher), st.just(teacher))))
def test_uniform_map_rises_from_the_embeddings_to_the_last_layer(sizes):
    levels = uniform_layer_map(*sizes)
    assert (levels[0], levels[-1]) == (0, sizes[1])
    assert all(earlier < later for earlier, later in pairwise(levels))


def test_explicit_map_gets_level_zero():
    assert resolve_layer_map([1, 4, 4], 3, 6) == (0, 1, 4, 4)


def test_deeper_student_needs_an_explicit_map():
    with pytest.raises(ModelError, match="student has 3 layers, the teacher 2"):
        resolve_layer_map("uniform", 3, 2)
    assert resolve_layer_map([1, 1, 2], 3, 2) == (0, 1, 1, 2)


def test_all_problems_of_a_map_are_reported_together():
    with pytest.raises(ModelError) as caught:
        resolve_layer_map([4, 0, 9], 2, 6)
    message = str(caught.value)
    assert "student.layer_map: [4, 0, 9]" in message
    assert "3 entries, the student 2 layers" in message
    assert "[0, 9] is not between 1 and 6" in message
    assert "goes back" in message


def test_messages_name_the_field():
    with pytest.raises(ModelError, match=r"student\.teacher_layers: \[9\]"):
        resolve_layer_map([9], 1, 6, field="student.teacher_layers")
