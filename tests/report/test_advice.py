"""What to do about a model that is not good enough."""

import pytest

from hrkd.report.advice import advice_of


def told(name, *, ended_by=None, cut=0.0, seconds=("teacher", "student")):
    models = {name: {"training": {"ended_by": ended_by}}}
    return advice_of({"models": models, "seconds": dict.fromkeys(seconds, 1.0), "tokens_cut": cut}, name)


@pytest.mark.parametrize("field", ["epochs", "min_steps", "max_steps", "patience"])
@pytest.mark.parametrize("name", ["teacher", "student", "student_without_distillation"])
def test_the_field_that_ended_a_training_is_named(name, field):
    section = "teacher" if name == "teacher" else "student"
    assert f"longer (raise {section}.training.{field})" in told(name, ended_by=field)


def test_reading_more_is_advised_where_tokens_are_cut():
    assert told("student", cut=0.05).startswith("distil it longer")
    assert told("student", cut=0.4).startswith(
        "let it read more of each text (data.max_length; 40 % of their tokens are not read), distil it longer"
    )


def test_a_teacher_that_was_not_trained_here_is_not_to_be_trained_longer():
    assert told("teacher", seconds=["student"]) == (
        "take a better classifier (teacher.fine_tuned), or let one be trained (teacher.model)"
    )
