"""Tables: what stands in which cell, the orientation, the warnings, and that nothing heavy is imported."""

import io
import subprocess
import sys

import pytest
from rich.console import Console

from hrkd.cli.terminal import WIDTH_OF_FILES, result_console
from hrkd.errors import ArtifactError
from hrkd.report.remarks import LINEAR
from hrkd.report.tables import (
    classes_table,
    data_table,
    ratios_table,
    remarks_of,
    results_markdown,
    results_table,
    scores_table,
    sharing_table,
    sizes_table,
)
from hrkd.training.metrics import score


def figures(accuracy, half=0.02, agreement=None, examples=400):
    interval = None if half is None else [accuracy - half, accuracy + half]
    found = {"examples": examples, "accuracy": accuracy, "accuracy_interval": interval, "agreement": agreement}
    worst = {"label": "refund", "recall": accuracy - 0.1, "examples": 7}
    return found | {"macro_f1": accuracy - 0.05, "macro_f1_interval": interval, "worst_class": worst}


def paired(difference, half=0.03, examples=800):
    interval = [difference - half, difference + half]
    return {"difference": difference, "interval": interval, "confidence": 0.95, "examples": examples}


def scores(*accuracies, half=0.02, agreement=None, names=None):
    names = names or [f"d{i}" for i in range(len(accuracies))]
    worst = min(range(len(names)), key=accuracies.__getitem__)
    return {
        "domains": {name: figures(a) for name, a in zip(names, accuracies, strict=True)},
        "mean": figures(sum(accuracies) / len(accuracies), half, agreement, 400 * len(names)),
        "worst": {"domain": names[worst], "accuracy": accuracies[worst]},
        "confidence": None if half is None else 0.95,
    }


def results(teacher=(0.92, 0.9), student=(0.86, 0.84), baseline=(0.80, 0.79), against=None, **more):
    names = [f"d{i}" for i in range(len(student))]
    large = {"parameters": 109_500_000, "megabytes": 438.0}
    small = {"parameters": 14_500_000, "megabytes": 58.0}
    ours, theirs = scores(*student, agreement=0.913), scores(*teacher)
    models = {
        "teacher": {"title": "Teacher", "dev": theirs, "test": theirs} | large,
        "student": {"title": "Student", "dev": ours, "test": ours, "paired": {"test": against or {}}} | small,
        "student_best_per_domain": {"title": "Best per domain", "test": scores(*student)},
        "student_without_distillation": {"title": "Baseline", "test": scores(*baseline)} | small,
    }
    head = {"format": "hrkd-results", "version": 1, "domains": names, "recipe_name": "reviews", "synthetic": False}
    head["train_rows"] = dict.fromkeys(names, 1500)
    return head | {"models": models} | more


def cells(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if "---" not in line]


def columns_of(table):
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def shown(table, width=200):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_results_show_models_by_domains():
    head, rows, trained, teacher, student, best, _ = cells(results_markdown(results()))
    assert head == [
        "Model",
        "d0",
        "d1",
        "Mean",
        "Macro-F1",
        "Worst domain",
        "Worst class",
        "Agreement with teacher",
        "M parameters",
        "MB",
    ]
    assert rows == ["Test rows", "400", "400", "800", *["-"] * 6]
    assert trained == ["Training rows", "1,500", "1,500", "3,000", *["-"] * 6]
    accuracies = ["92.0", "90.0", "91.0 [89.0, 93.0]", "86.0 [89.0, 93.0]", "90.0 (d1)", "81.0 (refund, 7 rows)"]
    assert teacher == ["Teacher", *accuracies, "-", "109.5", "438.0"]
    accuracies = ["86.0", "84.0", "85.0 [83.0, 87.0]", "80.0 [83.0, 87.0]", "84.0 (d1)", "75.0 (refund, 7 rows)"]
    assert student == ["Student", *accuracies, "91.3", "14.5", "58.0"]
    assert best[-2:] == ["-", "-"]
    notes = results_markdown(results())
    assert "95 % intervals (accuracy and agreement: Wilson; macro-F1: Dirichlet posterior; means: MOVER)" in notes
    assert "Worst class: that with the lowest recall" in notes


def test_results_of_older_versions_are_shown_without_what_they_lack():
    old = results()
    del old["train_rows"], old["models"]["student"]["paired"]
    for model in old["models"].values():
        for own in (*model["test"]["domains"].values(), model["test"]["mean"]):
            for name in ("macro_f1", "macro_f1_interval", "worst_class"):
                own.pop(name, None)
    head, rows, teacher, *_ = cells(results_markdown(old))
    assert head[3:] == ["Mean", "Worst domain", "Agreement with teacher", "M parameters", "MB"]
    assert (rows[0], teacher[0]) == ("Test rows", "Teacher")
    assert remarks_of(old) == [
        "Whether distillation helped is not told: these results, of an older version, hold no paired differences."
    ]
    table = scores_table(old["models"]["student"]["test"], "x")
    assert table.columns == ("Domain", "Rows", "Accuracy", "Agreement")


def test_a_smaller_vocabulary_is_told_once_for_models_of_the_same():
    made, kept = results(), {"at_least": 1, "pieces": 17454, "of": 30522, "parameters_before": 20_000_000}
    made["models"]["student"]["vocabulary"] = kept
    sentence = (
        "17,454 of the teacher's 30,522 pieces (those that the training texts need at least once, and characters for "
        "other words); 14.5 M parameters, 20.0 M with all."
    )
    assert f"Vocabulary (Student): {sentence}" in remarks_of(made)
    other = {**made["models"]["student"], "title": "Other"}
    made["models"]["student_without_distillation"] = other
    assert f"Vocabulary (Student, Other): {sentence}" in remarks_of(made)
    other["vocabulary"] = kept | {"at_least": 2}
    assert f"Vocabulary (Other): {sentence.replace('once', 'twice')}" in remarks_of(made)


def test_a_domain_without_rows_is_no_number():
    some = results()
    for model in some["models"].values():
        del model["test"]["domains"]["d1"]
        model["test"]["worst"] = {"domain": "d0", "accuracy": 0.86}
    some["domains"].append("d2")
    rows = cells(results_markdown(some))
    assert rows[1][:5] == ["Test rows", "400", "-", "-", "400"]
    assert rows[4][:4] == ["Student", "86.0", "-", "-"]


def test_many_domains_stand_in_rows():
    many = [0.9 - i / 100 for i in range(9)]
    rows = cells(results_markdown(results(many, many, many)))
    assert rows[0] == ["Model", "Test rows", "Training rows", "Teacher", "Student", "Best per domain", "Baseline"]
    assert rows[1] == ["d0", "400", "1,500", "90.0", "90.0", "90.0", "90.0"]
    assert rows[10][:4] == ["Mean", "3,600", "13,500", "86.0 [84.0, 88.0]"]
    assert len(rows) == 1 + 9 + 7


def test_terminal_and_markdown_hold_the_same_cells():
    text = shown(results_table(results()))
    for row in cells(results_markdown(results())):
        for cell in row:
            assert cell in text


def test_only_models_measured_on_the_split_are_shown():
    rows = [row[0] for row in cells(results_markdown(results(), "dev"))]
    assert rows == ["Model", "Dev rows", "Training rows", "Teacher", "Student"]
    with pytest.raises(ArtifactError, match="no model has figures for the split 'train'"):
        results_table(results(), "train")


def test_other_files_are_refused():
    with pytest.raises(ArtifactError, match="found format 'other', version 1"):
        results_markdown(results(format="other"))
    with pytest.raises(ArtifactError, match="version 2"):
        remarks_of(results(version=2))


def test_without_intervals_the_mean_stands_alone():
    plain = results()
    for model in plain["models"].values():
        model["test"] = scores(0.9, 0.8, half=None)
    assert cells(results_markdown(plain))[3][3] == "85.0"
    assert "In brackets" not in results_markdown(plain)
    assert cells(results_markdown(plain))[0][3] == "Mean"


def test_names_are_no_markup():
    odd = results(recipe_name="[red]a|b[/red]")
    odd["models"]["teacher"]["title"] = "[bold]T|1"
    assert "[bold]T|1" in shown(results_table(odd))
    assert "[red]" in shown(results_table(odd))
    assert "[bold]T\\|1" in results_markdown(odd)


HELPED = "the student reaches 85.0 %, the same model trained without distillation 79.5 %"
OTHER = "student_without_distillation"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"against": {OTHER: paired(0.055)}},
            f"Distillation helped here: {HELPED} (+5.5 points on the same 800 test rows, 95 % interval [+2.5, +8.5]).",
        ),
        (
            {"against": {OTHER: paired(0.0, half=0.66, examples=2)}, "baseline": (0.86, 0.84)},
            "Distillation did not help measurably here: the student reaches 85.0 %, the same model trained without "
            "distillation 85.0 % (+0.0 points on the same 2 test rows, 95 % interval [-66.0, +66.0], which holds 0: "
            "these rows do not tell which of the two is better).",
        ),
        (
            {"against": {OTHER: paired(-0.05, examples=1)}, "baseline": (0.9, 0.9)},
            "Distillation hurt here: the student reaches 85.0 %, the same model trained without distillation 90.0 % "
            "(-5.0 points on the same 1 test row, 95 % interval [-8.0, -2.0]).",
        ),
        (
            {"against": {"teacher": paired(-0.06)}},
            "The student keeps 93.4 % of the teacher's accuracy: 85.0 of 91.0 % (-6.0 points on the same 800 test "
            "rows, 95 % interval [-9.0, -3.0]).",
        ),
        (
            {"against": {"teacher": paired(0.01)}, "teacher": (0.85, 0.83)},
            "The student keeps 101.2 % of the teacher's accuracy: 85.0 of 84.0 % (+1.0 points on the same 800 test "
            "rows, 95 % interval [-2.0, +4.0], which holds 0: these rows do not tell which of the two is better).",
        ),
        (
            {"against": {"teacher": paired(0.055)}, "teacher": (0.80, 0.79)},
            "The teacher (79.5 %) is below the student (85.0 %): it may be trained too little or too long (+5.5 points "
            "on the same 800 test rows, 95 % interval [+2.5, +8.5]).",
        ),
        (
            {"against": {"teacher": paired(0.0)}, "teacher": (0.0, 0.0), "student": (0.0, 0.0)},
            "The student is held against the teacher: 0.0 of 0.0 % (+0.0 points on the same 800 test rows",
        ),
        (
            {"student": (0.92, 0.79)},
            "The student is 6.5 points below its mean in the domain d1 (79.0 % [77.0, 81.0] of 400 rows).",
        ),
        ({"synthetic": True}, "The corpus is synthetic"),
    ],
)
def test_each_remark(change, words):
    made = results(**change)
    found = [told for told in remarks_of(made) if "older version" not in told]
    assert len(found) == 1
    assert found[0].startswith(words)
    assert f"* {found[0]}" in results_markdown(made)
    assert words[:20] in shown(results_table(made))


def test_the_worst_domain_is_no_remark_where_its_rows_leave_it_open():
    made = results(student=(0.92, 0.79))
    own = made["models"]["student"]["test"]["domains"]["d1"]
    own |= {"examples": 10, "accuracy_interval": [0.5, 0.95]}
    assert not any("below its mean" in told for told in remarks_of(made))
    own["accuracy_interval"] = None
    assert any("(79.0 % of 10 rows)" in told for told in remarks_of(made))


def test_scores_of_one_model():
    own = scores(0.9, 0.8, agreement=0.95)
    for each in (*own["domains"].values(), own["mean"]):
        each |= {"macro_f1": 0.7, "macro_f1_interval": None, "agreement_interval": [0.9, 0.99]}
    table = scores_table(own, "runs/demo on test")
    assert table.columns == ("Domain", "Rows", "Accuracy", "Macro-F1", "Agreement", "Worst class")
    first, _, mean = table.rows
    assert first == ("d0", "400", "90.0 [88.0, 92.0]", "70.0", "-", "80.0 (refund, 7 rows)")
    assert mean == ("Mean", "800", "85.0 [83.0, 87.0]", "70.0", "95.0 [90.0, 99.0]", "75.0 (refund, 7 rows)")
    for each in (*own["domains"].values(), own["mean"]):
        each |= {"log_loss": 0.4567}
    assert scores_table(own, "").columns[-2] == "Log loss (nats)"
    assert scores_table(own, "").rows[0][-2] == "0.457"
    assert "Worst domain: d1 (80.0 % of 400 rows)." in shown(table)
    assert "In brackets: 95 % intervals" in shown(table)


def test_real_scores_of_a_few_rows_of_some_labels_and_domains_are_shown():
    found = score([0, 0], [0, 0], [1, 1], domains=["a", "b"], num_labels=3, label_names=["x", "y", "z"]).to_dict()
    table = scores_table(found, "new.csv")
    assert [row[0] for row in table.rows] == ["b", "Mean"]
    assert table.rows[0][1:3] == ("2", "100.0 [34.2, 100.0]")
    assert table.rows[0][-1] == "100.0 (x, 2 rows)"
    assert "nan" not in table.to_markdown().lower()


def test_results_need_no_recipe_name():
    assert results_markdown(results(recipe_name=None)).startswith("## Accuracy on the test set, in %\n")
    assert results_markdown(results()).startswith("## reviews: accuracy on the test set, in %\n")


def test_sizes():
    rows = [
        {"title": "Teacher", "layers": 12, "parameters": 110_000_000, "megabytes": 440.0, "digest": "x"},
        {"title": "Student", "layers": 4, "parameters": 14_500_000, "megabytes": 58.0},
    ]
    rows[1] |= {"times_smaller": 7.586, "imitates": "3, 6, 9, 12"}
    head, teacher, student = columns_of(sizes_table(rows).to_rich())
    assert head == ["Model", "Layers", "M parameters", "MB", "Times smaller", "Imitates layers"]
    assert teacher == ["Teacher", "12", "110.0", "440.0", "-", "-"]
    assert student == ["Student", "4", "14.5", "58.0", "7.6", "3, 6, 9, 12"]
    assert "Imitates" in shown(sizes_table(rows))


def test_tables_fit_sixty_places_and_break_no_short_word():
    names = [f"domain {i}" for i in range(60)]
    rows = [
        {"title": "Teacher", "layers": 12, "width": 768, "heads": 12, "feed_forward": 3072, "parameters": 110_000_000},
        {"title": "Student", "layers": 4, "width": 312, "heads": 12, "feed_forward": 1200, "parameters": 14_500_000},
    ]
    more = {"parameters_without_embeddings": 86e6, "megabytes": 440.0, "times_smaller": 7.6, "imitates": "3, 6, 9, 12"}
    counts = {f"label:a rather long label number {i}": 20 for i in range(60)}
    data = [{"domain": name, "split": "train", "rows": 1200, **counts} for name in names]
    many = results() | {"domains": names, "train_rows": dict.fromkeys(names, 100)}
    for model in many["models"].values():
        model |= {part: scores(*[0.8] * 60, names=names) for part in ("dev", "test") if part in model}
    many["models"]["student"]["test"]["mean"]["worst_class"]["label"] = "a rather long label number 7"
    tables = [sizes_table([row | more for row in rows]), data_table(data), classes_table(data), results_table(many)]
    for table in tables:
        lines = shown(table, 60).splitlines()
        assert max(map(len, lines)) <= 60, table.title
    sizes = shown(tables[0], 60)
    assert all(
        word in sizes for word in ("Model", "Teacher", "Student", "Layers", "parameters", "embeddings", "Imitates")
    )


def test_files_do_not_follow_the_width_of_a_terminal(monkeypatch, capsys):
    found = {}
    for width in ("60", "300"):
        monkeypatch.setenv("COLUMNS", width)
        result_console().print(results_table(results()))
        found[width] = capsys.readouterr().out, results_markdown(results())
    assert found["60"] == found["300"]
    assert 60 < max(map(len, found["60"][0].splitlines())) <= WIDTH_OF_FILES


def test_tiny_models_do_not_become_zero():
    assert columns_of(sizes_table([{"title": "T", "parameters": 5_400, "megabytes": 0.02}]).to_rich())[1][1:3] == [
        "0.005",
        "0.020",
    ]


def test_data():
    row = {"domain": "books", "split": "train", "rows": 1600, "label:neg": 800, "label:pos": 800, "words_median": 120.0}
    row |= {"truncated": 0.25, "words_p95": 300.0, "tokens_p95": None}
    head, line = columns_of(data_table([row]).to_rich())
    assert head == ["Domain", "Split", "Rows", "neg", "pos", "Words (median)", "Cut, %"]
    assert line == ["books", "train", "1,600", "800", "800", "120", "25.0"]
    assert "1,600" in shown(data_table([row]))


def data_rows(classes, name="class {}"):
    rows = []
    for split, count in (("train", 1200), ("dev", 30), ("test", 30)):
        for domain in ("books", "kitchen and housewares"):
            row = {"domain": domain, "split": split, "rows": count * classes}
            row |= {f"label:{name.format(n)}": count + n for n in range(classes)}
            row |= {"balance": 1.0, "words_median": 120.0, "tokens_median": 140.0, "tokens_p95": 300.0}
            rows.append(row | {"truncated": 0.25, "repeated": 3, "conflicting": 0})
    return rows


@pytest.mark.parametrize("width", [40, 60, 80, 160])
@pytest.mark.parametrize("classes", [2, 5, 6, 60, 400])
def test_every_cell_of_the_data_can_be_read_at_any_width(width, classes):
    rows = data_rows(classes)
    table, more = data_table(rows), classes_table(rows)
    text = shown(table, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for column, *cells in zip(table.columns, *table.rows, strict=True):
        for word in " ".join([column, *cells]).split():
            assert word in words
    assert (more is None) == (classes <= 5)


def test_many_classes_are_told_by_their_extremes_and_a_list():
    rows = data_rows(60)
    table = data_table(rows)
    assert table.columns[:6] == ("Domain", "Split", "Rows", "Classes", "Rarest", "Most frequent")
    assert table.rows[0][:6] == ("books", "train", "72,000", "60", "class 0 1,200", "class 59 1,259")
    listed = classes_table(rows)
    assert listed.columns == ("Class", "train", "dev", "test")
    assert listed.rows[0] == ("class 59", "2,518", "178", "178")
    assert len(listed.rows) == 20
    assert listed.notes == ("and 40 more, none with more rows.",)


def test_equal_classes_and_text_without_labels():
    rows = [{"domain": "x", "split": "train", "rows": 12} | {f"label:{n}": 2 * (n < 4) for n in range(6)}]
    rows.append({"domain": "x", "split": "unlabelled", "rows": 9} | {f"label:{n}": None for n in range(6)})
    table = data_table(rows)
    assert table.columns == ("Domain", "Split", "Rows", "Classes", "Rarest", "Most frequent")
    assert table.rows == (("x", "train", "12", "4", "4 0", "0 2"), ("x", "unlabelled", "9", "-", "-", "-"))
    rows = [{"domain": "x", "split": "train", "rows": 12} | {f"label:{n}": 2 for n in range(6)}]
    assert data_table(rows).rows == (("x", "train", "12", "6", "0 2", "0 2"),)


@pytest.mark.parametrize("width", [30, 60])
def test_names_longer_than_the_terminal_are_broken_not_cut(width):
    rows = data_rows(8, "a_name_of_more_than_sixty_places_that_nobody_would_want_to_read_{}")
    for table in (data_table(rows), classes_table(rows)):
        text = shown(table, width)
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width


def test_tables_import_neither_torch_nor_transformers():
    code = "import sys, hrkd.report.tables; print([m for m in ('torch', 'transformers', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_on_a_narrow_terminal_domains_stand_in_rows_and_nothing_is_cut():
    wide, narrow = (shown(results_table(results()), width) for width in (200, 80))
    assert "…" not in narrow
    for cell in (["84.0", "[82.0,", "86.0]"][0], "Baseline", "d0", "d1"):
        assert cell in narrow
    assert len(wide.splitlines()) < len(narrow.splitlines())
    assert max(map(len, narrow.splitlines())) <= 80


def test_ratios_stand_by_level_and_domain_where_there_are_any():
    assert ratios_table(results()) is None
    assert ratios_table(results(ratios=None)) is None
    values = {(0, "d0"): (0.4, 0.01), (0, "d1"): (0.6, 0.01), (1, "d0"): (0.25, 0.1), (1, "d1"): (0.75, 0.1)}
    entries = [
        {"level": level, "domain": name, "mean": mean, "std": std} for (level, name), (mean, std) in values.items()
    ]
    table = ratios_table(results(ratios=entries[::-1]))
    assert cells(table.to_markdown()) == [
        ["Level", "d0", "d1"],
        ["0", "0.400 ± 0.010", "0.600 ± 0.010"],
        ["1", "0.250 ± 0.100", "0.750 ± 0.100"],
    ]
    assert "0.500" in table.notes[0]


def with_linear(own, against, **more):
    """Results with a linear model of accuracy ``own``; ``against``: differences of other models to it."""
    made = results(against={"linear": paired(against["student"])} if "student" in against else None, **more)
    head = {"title": LINEAR, "form": "crossed", "strength": 3.0, "rows": 2990, "texts_per_second": 2871.2}
    made["models"]["linear"] = head | {"parameters": 1000, "megabytes": 0.02, "test": scores(own, own), "dev": None}
    made["seconds"] = {"linear": 4.26}
    for name in set(against) - {"student"}:
        made["models"][name]["paired"] = {"test": {"linear": paired(against[name])}}
    return made


def below(made):
    return [told for told in remarks_of(made) if "below TF-IDF" in told or "not above TF-IDF" in told]


def test_who_is_below_the_linear_model_is_told_what_to_do():
    assert below(with_linear(0.90, {"student": -0.05, "teacher": 0.01})) == [
        "The student (85.0 %) is below TF-IDF + logistic regression (90.0 %; -5.0 points on the same 800 test rows, "
        "95 % interval [-8.0, -2.0]): distil it longer "
        "(raise student.training.epochs, or student.training.min_steps where that asks for more) or on more text "
        "(data.unlabelled), or make it larger."
    ]
    cut = with_linear(0.90, {"student": -0.05, "teacher": 0.01}) | {"tokens_cut": 0.32}
    more_text = (
        "): let it read more of each text (data.max_length; 32 % of their tokens are not read), distil it longer"
    )
    assert more_text in below(cut)[0]
    assert "read more" not in below(cut | {"tokens_cut": 0.04})[0]
    teacher, student = below(with_linear(0.95, {"student": -0.1, "teacher": -0.04}))
    assert teacher.startswith("The teacher (91.0 %) is below")
    assert teacher.endswith(": take a better classifier (teacher.fine_tuned), or let one be trained (teacher.model).")
    assert student.endswith(": so is its teacher, which is to be mended first.")


def test_a_difference_that_the_rows_leave_open_is_told_as_such():
    (told,) = below(with_linear(0.86, {"student": -0.01, "teacher": 0.05}))
    assert told.startswith("The student (85.0 %) is not above TF-IDF + logistic regression (86.0 %; -1.0 points")
    assert "which holds 0" in told
    assert "): distil it longer" in told
    assert below(with_linear(0.84, {"student": 0.01, "teacher": 0.05})) == []
    assert below(with_linear(0.86, {})) == [], "results of an older version"


def test_without_a_student_the_baseline_is_held_against_the_linear_model():
    made = with_linear(0.9, {"student_without_distillation": -0.1})
    assert below(made) == []
    del made["models"]["student"]
    (told,) = below(made)
    assert told.startswith("The student without distillation (79.5 %) is below")


def test_the_table_says_what_the_linear_model_is():
    made = with_linear(0.90, {})
    table = results_table(made)
    assert [row[0] for row in table.rows][-1] == LINEAR
    assert (
        "TF-IDF + logistic regression: words and pairs of words of the whole texts, one model of all domains, with "
        "features of each domain besides, C = 3, as is best on dev; 2,990 rows of train, trained in 4.3 s; 2,871 texts "
        "a second on one core." in table.notes
    )
    assert not any("one core" in note for note in results_table(results()).notes)


def test_what_domains_give_each_other():
    accuracy = {form: {"a": base, "b": base + 0.1} for form, base in (("own", 0.7), ("pooled", 0.6), ("crossed", 0.75))}
    found = {"train_rows": {"a": 1000, "b": 20}, "dev_rows": {"a": 40, "b": 50}, "is_part": True, "accuracy": accuracy}
    helped = sharing_table(found | {"paired": paired(0.05, examples=90)})
    assert helped.columns == ("Domain", "Training rows", "Dev rows", "Own rows alone", "All pooled", "Shared and own")
    assert helped.rows[0] == ("a", "1,000", "40", "70.0", "60.0", "75.0")
    assert helped.rows[-1] == ("Mean", "1,020", "90", "75.0", "65.0", "80.0")
    assert "Some rows of each domain only" in helped.notes[0]
    assert helped.notes[1] == (
        "Domains help each other here: a linear model of all, with features of each, reaches 80.0 %, one for each "
        "domain 75.0 % (+5.0 points on the same 90 dev rows, 95 % interval [+2.0, +8.0])."
    )
    open_ = sharing_table(found | {"paired": paired(0.01), "is_part": False})
    assert open_.notes[1].startswith("Domains are not shown to help each other here:")
    assert "Some rows" not in open_.notes[0]
