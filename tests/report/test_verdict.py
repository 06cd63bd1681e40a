"""What a run comes to, in sentences."""

from hrkd.report.remarks import points
from hrkd.report.verdict import next_command, verdict


def results(teacher=0.9, student=0.88, linear=0.8, **more):
    def model(mean, worst):
        domains = {"books": {"accuracy": mean + 0.02, "examples": 50}, "tea": {"accuracy": worst, "examples": 5}}
        scores = {"mean": {"accuracy": mean}, "domains": domains, "worst": {"domain": "tea", "accuracy": worst}}
        return {"test": scores, "megabytes": 10 * mean}

    models = {"teacher": model(teacher, 0.8), "student": model(student, 0.6), "linear": model(linear, 0.7)}
    return {"models": models, "train_rows": {"books": 400, "tea": 21}} | more


def test_what_is_kept_and_how_few_rows_the_worst_domain_has():
    kept, worst, size = verdict(results())
    assert kept.startswith("The student keeps 97.8 % of its teacher's accuracy: 88.0 of 90.0 % on test")
    assert worst == "Worst domain: tea, 60.0 % of 5 test rows; 21 training rows (-20.0 points to the teacher)."
    assert size.startswith("Size: ")


def test_that_the_worst_domain_may_be_no_worse_is_said_where_its_interval_reaches_the_best():
    found = results()
    small = found["models"]["student"]["test"]["domains"]["tea"]
    small["accuracy_interval"] = [0.2, 0.95]
    assert "; by chance it may be no worse than the others (20.0 to 95.0 %)" in verdict(found)[1]
    small["accuracy_interval"] = [0.5, 0.7]
    assert "by chance" not in verdict(found)[1]


def test_of_a_teacher_at_chance_that_stands_first():
    found = results(teacher_at_chance=True)
    assert verdict(found)[0].startswith("The teacher is not shown to be better")
    assert next_command(found, "runs/a") == "hrkd check runs/a/recipe.yaml"


def test_the_next_command_is_to_export_where_the_student_is_good_enough():
    assert next_command(results(student=0.895), "runs/a").startswith("hrkd export runs/a")
    assert next_command(results(student=0.7), "runs/a") == "hrkd errors runs/a"


def test_a_student_without_layers_is_exported_to_the_form_that_is_tested_for_it():
    found = results(student=0.895)
    found["models"]["student"]["kind"] = "static"
    assert next_command(found, "runs/a").endswith("--to onnx")


def test_speeds_that_repeated_measures_do_not_tell_apart_are_about_the_same():
    speeds = {"texts_per_second": {"student": 1197.0, "teacher": 1060.0}}

    def told(**times):
        return next(line for line in verdict(results(**speeds, **times)) if line.startswith("Speed"))

    assert "(1.1 times; in PyTorch)" in told()
    assert "(1.1 times; in PyTorch)" in told(times_as_fast={"student": [1.13, 1.08, 1.2]})
    assert "(about the same; in PyTorch)" in told(times_as_fast={"student": [1.13, 0.7, 1.6]})
    assert "(about the same; in PyTorch)" in told(times_as_fast={"student": [1.03, 1.01, 1.04]})


def test_a_student_that_is_not_above_the_linear_model_is_told_so():
    what = "what to do: hrkd explain D902."
    assert verdict(results(linear=0.88))[1] == (
        f"It is not above TF-IDF + logistic regression, which takes seconds (+0.0 points); {what}"
    )
    assert not any("not above" in line for line in verdict(results(linear=0.87)))
    assert verdict(results(linear=0.91))[2] == "Nor is its teacher (-1.0 points), which is to be mended first."
    assert verdict(results(teacher=0.8, linear=0.87))[1] == (
        f"Its teacher is not above TF-IDF + logistic regression (-7.0 points), which is to be mended first; {what}"
    )


def test_a_difference_reads_the_same_whichever_way_it_was_computed():
    """As one of means over domains here, and of paired rows in a remark."""
    for ours, its in ((0.8445, 0.879), (0.8455, 0.879), (0.879, 0.8445)):
        paired = sum([ours - its] * 3) / 3 - 3e-17
        assert points(ours - its) == points(paired) == points(-round(its - ours, 6))
