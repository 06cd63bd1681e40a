"""The report of a comparison, from answers that are made up: figures, warnings, tables, picture."""

from dataclasses import replace

import numpy as np
import pytest

from hrkd.comparison.content import Measured, Settings, comparison_content, tidy_rows
from hrkd.comparison.page import comparison_page
from hrkd.comparison.plot import AMOUNTS, plot_comparison
from hrkd.comparison.tables import comparison_markdown, comparison_tables
from hrkd.report.remarks import LINEAR, times_as_fast

DOMAINS = ("books", "dvd")
DOMAIN_IDS = np.repeat([0, 1], [40, 60])
SETTINGS = Settings(("uniform",), ("hrkd", "uniform", "labels"), (0, 1, 2), "fraction", "shared", resamples=500)


def model(method, seed, wrong, kind="distilled", fraction=1.0, **more):
    """A model that gets the first ``wrong`` rows of each domain wrong."""
    correct = np.concatenate([np.arange(40) >= wrong, np.arange(60) >= wrong])
    cost = {"seconds": 10.0 + (seed or 0), "peak_megabytes": 900.0 + (seed or 0), "parameters": 2_000_000, "steps": 50,
            "megabytes": 8.0, "times_as_fast": (1.0, 2.0, 9.0)[seed or 0]}  # fmt: skip
    return Measured(
        "data",
        f"fraction-{fraction}",
        fraction,
        method,
        kind,
        "teacher",
        seed,
        DOMAINS,
        DOMAIN_IDS,
        correct,
        cost,
        **more,
    )


def models(seeds=(0, 1, 2), hrkd=4, uniform=12, labels=20, teacher=2, **more):
    found = [model("teacher", 0, teacher, "teacher", **more)]
    for method, wrong, kind in (
        ("hrkd", hrkd, "distilled"),
        ("uniform", uniform, "distilled"),
        ("labels", labels, "labels"),
    ):
        found += [model(method, seed, wrong + seed, kind, **more) for seed in seeds]
    return found


def content(measured, settings=SETTINGS, failed=(), missing=()):
    return comparison_content(measured, settings, failed=dict(failed), missing=missing, grid={})


def only(found):
    (table,) = found["tables"]
    return table


def test_accuracies_are_means_and_deviations_over_seeds():
    table = only(content(models()))
    assert [row["name"] for row in table["methods"]] == ["teacher", "hrkd", "uniform", "labels"]
    hrkd = table["methods"][1]
    books = hrkd["accuracy"]["books"]
    assert books["values"] == [36 / 40, 35 / 40, 34 / 40]
    assert books["mean"] == pytest.approx(35 / 40)
    assert books["deviation"] == pytest.approx(1 / 40)
    assert hrkd["accuracy"]["mean"]["mean"] == pytest.approx((35 / 40 + 55 / 60) / 2)
    assert hrkd["interval"][0] < hrkd["accuracy"]["mean"]["mean"] < hrkd["interval"][1]
    assert table["methods"][0]["accuracy"]["mean"]["deviation"] is None, "one teacher"
    cost = {"seconds": 11.0, "peak_megabytes": 902.0, "parameters": 2_000_000, "steps": 50}
    assert hrkd["cost"] == cost | {"megabytes": 8.0, "times_as_fast": 2.0}


def test_differences_are_to_the_baseline_over_the_seeds_of_both():
    measured = [each for each in models() if (each.method, each.seed) != ("uniform", 2)]
    hrkd, labels = only(content(measured))["differences"]
    assert (hrkd["method"], labels["method"]) == ("hrkd", "labels")
    assert hrkd["seeds"] == [0, 1]
    assert hrkd["difference"] == pytest.approx((8 / 40 + 8 / 60) / 2)
    assert labels["difference"] < 0
    assert hrkd["p"] == pytest.approx(2**-17), "18 rows differ, all in one direction"
    assert hrkd["p_holm"] == pytest.approx(2 * hrkd["p"])
    assert hrkd["mcnemar"] is None


def with_linear(wrong, seeds=(0, 1, 2), **more):
    own = model(LINEAR, None, wrong, "linear")
    return [*models(seeds, **more), replace(own, teacher=None, cost={"seconds": 3.0, "parameters": 9})]


def test_the_linear_model_has_one_row_and_is_held_against_every_seed():
    table = only(content(with_linear(wrong=8)))
    assert table["methods"][-1]["name"] == LINEAR
    assert table["methods"][-1]["seeds"] == [None]
    difference = table["differences"][-1]
    assert (difference["method"], difference["baseline"], difference["seeds"]) == (LINEAR, "uniform", [0, 1, 2])
    assert difference["difference"] == pytest.approx((5 / 40 + 5 / 60) / 2), "13 wrong on average, and 8"
    beside = {each["method"]: each for each in table["beside"] if each["kind"] == "linear"}
    assert set(beside) == {"teacher", "hrkd", "uniform", "labels"}
    assert beside["hrkd"]["difference"] == pytest.approx((3 / 40 + 3 / 60) / 2)
    text = comparison_markdown(content(with_linear(wrong=8)))
    assert f"labels (56.2 %) is below {LINEAR} (83.3 %" in text
    assert "* hrkd (" not in text
    assert f"is below {LINEAR}" not in comparison_markdown(content(with_linear(wrong=30)))
    assert next(line for line in text.splitlines() if line.startswith(f"| {LINEAR}")).endswith("| - |")


def test_the_page_begins_with_the_best_method_beside_the_linear_model():
    best = "data, fraction 1.0: hrkd reaches most, 89.6 % (mean over 3 seeds)"
    told = comparison_page(content(with_linear(wrong=8)), "today")
    assert f"{best}; TF-IDF + logistic regression has 83.3 %.<" in told
    assert 'href="#frontier-' in told
    told = comparison_page(content(with_linear(wrong=0)), "today")
    assert f"{best}; TF-IDF + logistic regression has 100.0 %, which is no less.<" in told
    assert f"{best}.<" in comparison_page(content(models()), "today")


def test_how_many_times_as_fast_is_by_the_same_rounds_and_of_the_linear_model_by_its_own_speed():
    results = {"models": {"linear": {"texts_per_second": 500.0}, "student": {}, "static": {}}}
    assert times_as_fast(results, "student") is None
    assert times_as_fast(results, "linear") is None
    results |= {"texts_per_second": {"teacher": 10.0, "student": 70.0}, "times_as_fast": {"student": [7.5, 7.0, 8.0]}}
    assert times_as_fast(results, "student") == 7.5
    assert times_as_fast(results, "linear") == 50.0
    assert times_as_fast(results, "teacher") == 1.0


def test_the_teacher_is_told_to_be_below_the_linear_model_too():
    text = comparison_markdown(content(with_linear(wrong=0, teacher=12)))
    assert f"The teacher (75.0 %) is below {LINEAR} (100.0 %" in text


def test_what_was_still_learning_is_told_with_how_many_seeds():
    found = models()
    early = [replace(each, still_learning=each.method == "hrkd" and each.seed != 1, longer="raise x") for each in found]
    told = comparison_markdown(content(early))
    assert "hrkd was still learning at its end (2 of 3 trainings): raise x." in told
    assert "uniform was still learning" not in told
    assert "still learning" not in comparison_markdown(content(found))


def test_few_seeds_are_those_of_methods_alone():
    told = comparison_markdown(content(with_linear(8, seeds=(0, 1))))
    assert "Fewer than 3 seeds: hrkd, uniform, labels." in told


def test_several_baselines_have_a_table_each_and_one_correction():
    found = content(models(), replace(SETTINGS, baselines=("uniform", "labels")))
    differences = only(found)["differences"]
    pairs = [("hrkd", "uniform"), ("labels", "uniform"), ("hrkd", "labels")]
    assert [(each["method"], each["baseline"]) for each in differences] == pairs, "two baselines are compared once"
    between = differences[2]
    assert between["difference"] == pytest.approx((16 / 40 + 16 / 60) / 2)
    assert between["p_holm"] == pytest.approx(3 * min(each["p"] for each in differences))
    titles = [table.title for table in comparison_tables(found)]
    assert titles[1:3] == [f"data, fraction 1.0: difference to {name}, in points" for name in ("uniform", "labels")]


def test_holm_counts_all_comparisons_of_the_report():
    both = [*models(fraction=0.5), *models(hrkd=11)]
    found = [each for table in content(both)["tables"] for each in table["differences"]]
    assert len(found) == 4
    smallest = min(found, key=lambda each: each["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, 4 * smallest["p"]))


def test_one_seed_brings_mcnemar_and_a_warning():
    report = comparison_markdown(content(models(seeds=(0,)), SETTINGS))
    assert "16 : 0, p < 0.001" in report
    assert "Fewer than 3 seeds: hrkd, uniform, labels" in report


def test_warnings():
    plain = comparison_markdown(content(models()))
    helped = "Distillation helped here: hrkd reaches 89.6 %, labels, which learns from labels alone, 56.2 %"
    assert f"{helped} (+33.3 points on the same 100 test rows, 95 % interval [" in plain
    assert "is below" not in plain
    assert "Fewer" not in plain
    assert "No method learns from labels alone" not in plain
    alone = comparison_markdown(content([each for each in models() if each.method != "labels"]))
    assert "No method learns from labels alone" in alone
    bad = comparison_markdown(content(models(hrkd=21, teacher=30, synthetic=True)))
    unsettled = (
        "Distillation did not help measurably here: hrkd reaches 54.2 %, labels, which learns from labels alone,"
    )
    assert f"{unsettled} 56.2 % (-2.1 points on the same 100 test rows, 95 % interval [" in bad
    assert "], which holds 0: these rows do not tell which of the two is better)." in bad
    assert "The teacher (37.5 %) is below hrkd" in bad
    assert "The corpus is synthetic" in bad


def verdicts_on(report):
    """What is said of distillation, by method and what it is held against."""
    lines = [line.removeprefix("* ") for line in report.splitlines() if line.startswith("* Distillation ")]
    return {(line.split(": ")[1].split()[0], line.split("%, ")[1].split(",")[0]): line.split()[1:3] for line in lines}


def test_a_student_is_held_against_the_labels_of_its_own_teacher():
    other = [
        replace(model("labels_of_other", seed, 4 + seed, "labels"), teacher="teacher of other") for seed in (0, 1, 2)
    ]
    settings = replace(SETTINGS, methods=(*SETTINGS.methods, "labels_of_other"))
    found = verdicts_on(comparison_markdown(content([*models(), *other], settings)))
    assert set(found) == {("hrkd", "labels"), ("uniform", "labels")}
    alone = [each for each in [*models(), *other] if each.method != "labels"]
    found = verdicts_on(comparison_markdown(content(alone, settings)))
    assert found["hrkd", "labels_of_other"] == ["did", "not"], "there is no nearer one; the same answers"
    assert found["uniform", "labels_of_other"] == ["hurt", "here:"]


def test_distillation_is_held_against_labels_over_the_seeds_of_both():
    _, _, hrkd, _, _, *labels = models(seeds=(0, 1), hrkd=8)
    perfect = replace(labels[0], correct=np.ones_like(labels[0].correct))
    measured = [hrkd, perfect, labels[1]]
    assert verdicts_on(comparison_markdown(content(measured))) == {("hrkd", "labels"): ["helped", "here:"]}
    measured = [replace(hrkd, seed=2), perfect, replace(labels[1], correct=perfect.correct)]
    found = only(content(measured))["beside"]
    assert [each["accuracies"] for each in found if each["kind"] == "labels"] == [[pytest.approx(0.8125), 1.0]]
    assert verdicts_on(comparison_markdown(content(measured))) == {("hrkd", "labels"): ["hurt", "here:"]}, (
        "no common seed"
    )


def few_rows(method, seed, right, kind="distilled"):
    """A model of as many rows as ``right`` has, in one domain."""
    correct = np.array(right, dtype=bool)
    return replace(
        model(method, seed, 0, kind), domains=("books",), domain_ids=np.zeros(len(correct), int), correct=correct
    )


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_few_test_rows_settle_nothing_and_break_nothing(rows, seeds):
    answers = {
        "hrkd": ([1] * rows, "distilled"),
        "uniform": ([0] * rows, "distilled"),
        "labels": ([0] * rows, "labels"),
    }
    measured = [few_rows("teacher", 0, [0] * rows, "teacher")]
    measured += [few_rows(name, seed, right, kind) for name, (right, kind) in answers.items() for seed in seeds]
    found = content(measured)
    report = comparison_markdown(found)
    assert "nan" not in report.lower()
    assert f"accuracy in %, {rows} test row" in report
    assert verdicts_on(report) == {("hrkd", "labels"): ["did", "not"], ("uniform", "labels"): ["did", "not"]}
    assert "is below" not in report
    for row in only(found)["methods"]:
        low, high = row["interval"]
        assert 0 <= low < high <= 1
    _, differences, _ = comparison_tables(found)
    assert all(row[-1].startswith("no evidence") for row in differences.rows)
    same = only(found)["differences"][1]
    assert (same["method"], same["difference"], same["p"], same["p_holm"]) == ("labels", 0, 1, 1), "ties, not NaN"
    assert same["interval"][0] < 0 < same["interval"][1]


def test_rows_stand_beside_the_accuracies():
    trained = {"books": 1200, "dvd": 90}
    table, *_ = comparison_tables(content(models()))
    assert table.rows[0] == ("Test rows", "40", "60", "100", "-")
    assert table.rows[1][0] == "teacher"
    table, *_ = comparison_tables(content([replace(each, train_rows=trained) for each in models()]))
    assert table.rows[1] == ("Training rows", "1,200", "90", "1,290", "-")


def test_a_domain_without_test_rows_is_no_number():
    more = [replace(each, domains=("books", "dvd", "empty")) for each in models()]
    table, *_ = comparison_tables(content(more))
    books, dvd = (row for row in (table.rows[1], table.rows[2]))
    assert (books[3], dvd[3]) == ("-", "-")
    assert table.rows[0] == ("Test rows", "40", "60", "0", "100", "-")
    assert table.rows[2][4] == comparison_tables(content(models()))[0].rows[2][3], "the mean is of the others"


def test_many_domains_stand_in_rows_of_the_report():
    names = tuple(f"d{i}" for i in range(60))
    wide = [replace(each, domains=names, domain_ids=np.arange(100) % 60) for each in models()]
    table, *_ = comparison_tables(content(wide))
    assert table.columns == ("Method", "Test rows", "teacher", "hrkd", "uniform", "labels")
    assert len(table.rows) == 60 + 2


def test_reports_of_older_versions_are_still_shown():
    old = content(models())
    for table in old["tables"]:
        for name in ("rows", "train_rows", "beside"):
            del table[name]
    report = comparison_markdown(old)
    assert "| hrkd | 87.5 ± 2.5 |" in report
    assert "Distillation" not in report


def test_what_a_teacher_of_the_user_has_seen_is_not_told():
    own = [replace(each, seed=None) if each.kind == "teacher" else each for each in models()]
    report = comparison_markdown(content(own))
    assert "teacher trained on" not in report
    assert "The teacher was fine-tuned elsewhere: on which rows is not known here." in report
    plain = comparison_markdown(content(models()))
    assert "teacher trained on the same training rows as the student" in plain
    assert "elsewhere" not in plain


def test_verdicts():
    _, differences, _ = comparison_tables(content(models(uniform=4)))
    verdicts = {row[0]: row[-1] for row in differences.rows}
    assert verdicts == {"hrkd": "no evidence of a difference", "labels": "worse"}
    rows = {row[0]: row for row in differences.rows}
    assert rows["hrkd"][1:5] == ("+0.0", rows["hrkd"][2], "1.000", "1.000")
    assert rows["hrkd"][2].startswith("[-"), "the same answers, and width"
    _, differences, _ = comparison_tables(content(models(hrkd=4)))
    assert {row[0]: row[-1] for row in differences.rows} == {"hrkd": "better", "labels": "worse"}


def test_an_interval_without_zero_is_not_enough_where_p_is_corrected_away():
    found = content(models())
    (difference, _) = only(found)["differences"]
    difference |= {"interval": [0.01, 0.03], "difference": 0.02, "p": 0.03, "p_holm": 0.06, "exact": False}
    _, table, _ = comparison_tables(found)
    assert table.rows[0][-1] == "no evidence after correction"
    assert table.rows[0][3] == "0.030 *"
    assert table.notes[0].startswith("p with *: estimated from 500 random sign changes")


def test_what_is_missing_is_told():
    measured = [each for each in models() if each.method != "labels"]
    failed = {"cells/data/fraction-1.0/labels/seed-0": "a weak\nteacher"}
    report = comparison_markdown(content(measured, failed=failed, missing=["cells/data/fraction-1.0/labels/seed-1"]))
    assert "| labels | missing | missing | missing | 0 |" in report
    assert "Missing: labels, seeds 0, 1, 2." in report
    assert "* cells/data/fraction-1.0/labels/seed-0: a weak teacher" in report
    assert "* cells/data/fraction-1.0/labels/seed-1: not finished" in report


def test_tidy_rows_are_one_per_model_and_domain():
    rows = list(tidy_rows(models()))
    assert len(rows) == 10 * 2
    wanted = {"data": "data", "fraction": 1.0, "method": "hrkd", "seed": 1, "domain": "dvd", "accuracy": 55 / 60}
    assert wanted in rows


@pytest.mark.parametrize(
    ("amounts", "axis"),
    [
        ([{"fraction": 1.0}], None),
        ([{"fraction": 0.1}, {"fraction": 1.0}], "share of the training rows"),
        ([{"fraction": None, "shots": 2}, {"fraction": None, "shots": 8}], "training rows of each domain and label"),
        ([{"fraction": 0.1}, {"fraction": None, "shots": 8}], None),
    ],
)
def test_the_picture_is_drawn(tmp_path, amounts, axis):
    measured = [replace(each, amount=str(amount), **amount) for amount in amounts for each in models()]
    plot_comparison(content(measured), tmp_path / "compare.svg")
    text = (tmp_path / "compare.svg").read_text()
    assert "<svg" in text
    assert [name for name in AMOUNTS.values() if name in text] == ([] if axis is None else [axis])


def test_ratios_are_means_over_seeds():
    measured = models(seeds=(0, 1))
    assert len(comparison_tables(content(measured))) == 3
    given = {0: ((0.4, 0.1), (0.6, 0.1)), 1: ((0.6, 0.3), (0.4, 0.3))}
    with_ratios = [
        replace(
            each,
            ratios=[
                {"level": 1, "domain": name, "mean": mean, "std": std}
                for name, (mean, std) in zip(DOMAINS, given[each.seed], strict=True)
            ],
        )
        if each.method == "hrkd"
        else each
        for each in measured
    ]
    found = content(with_ratios)
    (books, _) = only(found)["methods"][1]["ratios"]
    assert books["values"] == [0.4, 0.6]
    (*_, table) = comparison_tables(found)
    assert table.rows == (("hrkd, level 1", "0.500 ± 0.200", "0.500 ± 0.200"),)
    for each in with_ratios:
        for entry in each.ratios or ():
            entry["std"] = None  # a single step was logged
    (*_, single) = comparison_tables(content(with_ratios))
    assert single.rows == (("hrkd, level 1", "0.500", "0.500"),)
    assert "0.500" in table.notes[0]
