"""What pages count and draw, against slow versions and facts that must hold."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkd.report.page.aggregate import (
    KINDS,
    POINTS,
    calibration,
    confusion_change,
    flips,
    history,
    level_tables,
    ratio_history,
)
from hrkd.report.page.svg import Canvas, Scale, shortened, ticks

answers = st.integers(1, 60).flatmap(
    lambda rows: st.tuples(*(st.lists(st.integers(0, 3), min_size=rows, max_size=rows) for _ in range(3)))
)


@given(answers)
def test_flips_and_confusions_are_those_of_a_loop(said):
    labels, teacher, student = map(np.array, said)
    kinds = {(True, True): "both_right", (True, False): "lost", (False, True): "gained", (False, False): "both_wrong"}
    counts, change = dict.fromkeys(KINDS, 0), np.zeros((4, 4), dtype=int)
    for label, one, other in zip(*said, strict=True):
        counts[kinds[one == label, other == label]] += 1
        change[label, other] += 1
        change[label, one] -= 1
    found = flips(labels, teacher, student)
    assert {name: found[name] for name in KINDS} == counts
    assert found["differ"] == sum(one != other for one, other in zip(teacher, student, strict=True))
    np.testing.assert_array_equal(confusion_change(labels, teacher, student, 4), change)


def test_a_model_that_is_as_often_right_as_it_says_has_no_calibration_error():
    labels = np.array([0] * 3 + [1])
    assert calibration(labels, np.tile([0.75, 0.25], (4, 1)))["error"] == 0


def test_calibration_is_that_of_a_loop():
    draw = np.random.default_rng(0)
    probabilities, labels = draw.dirichlet(np.ones(3), 200), draw.integers(0, 3, 200)
    bins = {}
    for row, label in zip(probabilities, labels, strict=True):
        place = min(9, int((row.max() - 1 / 3) / (2 / 3) * 10))
        bins.setdefault(place, []).append((row.max(), row.argmax() == label))
    error = sum(abs(sum(c for c, _ in own) - sum(r for _, r in own)) for own in bins.values()) / 200
    found = calibration(labels, probabilities)
    assert found["error"] == pytest.approx(error)
    assert [each["rows"] for each in found["bins"]] == [len(bins[place]) for place in sorted(bins)]


@given(st.integers(1, 5000))
def test_a_curve_keeps_its_ends_and_does_not_grow(steps):
    values = np.linspace(0, 1, steps)
    found = history(np.arange(1, steps + 1), values)
    assert len(found["steps"]) == len(found["raw"]) == len(found["mean"]) == min(steps, POINTS)
    assert (found["steps"][0], found["steps"][-1]) == (1, steps)
    assert found["raw"][-1] == pytest.approx(values[-1])


def levels_table(steps=4, domains=("b", "a")):
    rows = [
        {"step": step, "level": level, "domain": name, "hidden": 1.0 + d, "attention": np.nan if level == 0 else 2.0,
         "ratio": 0.25 + 0.5 * d}
        for step in range(1, steps + 1)
        for level in range(2)
        for d, name in enumerate(domains)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(domain=lambda table: pd.Categorical(table["domain"], categories=domains))


def test_level_tables_have_levels_in_rows_and_domains_in_their_order():
    found = level_tables(levels_table(), ["b", "a"])
    assert found["ratio"] == [[0.25, 0.75], [0.25, 0.75]]
    assert found["loss"] == [[1, 2], [3, 4]]
    assert found["product"] == [[0.25, 1.5], [0.75, 3.0]]


def test_curves_of_ratios_are_sorted_by_level_and_domain():
    found = ratio_history(levels_table(), ["b", "a"])
    assert [(each["level"], each["domain"]) for each in found] == [(0, "b"), (0, "a"), (1, "b"), (1, "a")]
    assert set(found[0]["raw"]) == {0.25}


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3))
def test_ticks_lie_within_their_range_and_are_few(low, span):
    found = ticks(low, low + span)
    assert len(found) <= 6
    assert all(low - 1e-6 * span - 1e-9 <= value <= low + span + 1e-6 * span + 1e-9 for value in found)


def test_a_scale_goes_from_end_to_end_and_no_further():
    scale = Scale(1, 100, 10, 20, log=True)
    assert (scale(1), scale(10), scale(100), scale(1e6)) == (10, 15, 20, 20)


def test_texts_of_a_picture_are_escaped():
    canvas = Canvas(100, 100, "<title>")
    canvas.text(0, 0, "<script>\x1b")
    canvas.mark(1, 1, 0, tip="</svg>&")
    drawn = str(canvas)
    assert "<script" not in drawn
    assert "\x1b" not in drawn
    assert drawn.count("</svg>") == 1


def test_a_name_is_shortened_to_what_is_asked():
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abc", 4) == "abc"
