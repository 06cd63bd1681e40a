"""The model card: metadata that the Hub's own library reads back, and sentences that are true."""

import pytest
from huggingface_hub import ModelCard

from hrkd.report.model_card import write_model_card
from hrkd.training.intervals import paired_difference
from hrkd.training.metrics import score

DOMAINS = ["books", "kitchen: & more"]
LABELS = ["negative", "positive"]


@pytest.fixture
def results():
    labels, domain_ids = [0, 1] * 10, [0] * 8 + [1] * 12
    teacher, student = [0, 1] * 9 + [0, 0], [0, 1] * 8 + [0, 1, 1, 0]
    options = {"domains": DOMAINS, "num_labels": 2, "label_names": LABELS, "bootstrap": 50}
    models = {
        "teacher": {"title": "Teacher", "parameters": 109_000_000, "megabytes": 436.0}
        | {"test": score(teacher, labels, domain_ids, **options).to_dict()},
        "student": {"title": "Student", "parameters": 14_500_000, "megabytes": 58.0}
        | {"test": score(student, labels, domain_ids, teacher_predictions=teacher, **options).to_dict()},
    }
    models["student"]["paired"] = {"test": {"teacher": paired_difference([0, 1], [1, 0], [0, 1], 0.95).to_dict()}}
    head = {"format": "hrkd-results", "version": 1, "labels": LABELS, "domains": DOMAINS, "recipe_name": "reviews"}
    return head | {
        "seed": 3,
        "split_seed": 4,
        "synthetic": False,
        "models": models,
        "train_rows": dict.fromkeys(DOMAINS, 1000),
    }


def write(folder, results, **options):
    options = {
        "base_model": "google-bert/bert-base-uncased",
        "labels": LABELS,
        "domains": DOMAINS,
        "keep": "head",
    } | options
    options.setdefault("method", "distillation")
    return ModelCard.load(write_model_card(folder, results=results, **options))


def test_metadata_can_be_read_back(results, tmp_path):
    data = write(tmp_path, results, license="apache-2.0", language="en").data
    assert (data.library_name, data.pipeline_tag) == ("hrkd", "text-classification")
    assert (data.base_model, data.license, data.language) == ("google-bert/bert-base-uncased", "apache-2.0", "en")
    assert "knowledge-distillation" in data.tags
    found = {(r.dataset_config, r.metric_type): r.metric_value for r in data.eval_results}
    student = results["models"]["student"]["test"]["domains"]
    assert found == {
        (domain, hub): round(student[domain][own], 4)
        for domain in DOMAINS
        for own, hub in (("accuracy", "accuracy"), ("macro_f1", "f1"))
    }
    assert all(r.dataset_split == "test" and r.dataset_name == "reviews" for r in data.eval_results)


def test_tables_hold_teacher_and_student_by_domain(results, tmp_path):
    text = write(tmp_path, results).text
    assert "| Domain | Test rows | Teacher | Student | Macro-F1 | Worst class | Agreement |" in text
    assert "| books | 8 | 100.0 [67.6, 100.0] | 100.0 [67.6, 100.0] | 100.0 [" in text
    assert "| kitchen: & more | 12 | 91.7 [64.6, 98.5] | 83.3 [55.2, 95.3] | 83.3 [" in text
    assert "| 83.3 (negative, 6 rows) | 91.7 |" in text
    assert "| Mean | 20 | 95.8 [" in text
    assert "In brackets: 95 % intervals (accuracy and agreement: Wilson;" in text
    assert (
        "* The student keeps 95.7 % of the teacher's accuracy: 91.7 of 95.8 % (+0.0 points on the same 2 test" in text
    )
    assert "| Student | 14.5 | 58.0 |" in text
    assert "(training seed 3, split seed 4, 2,000 labelled training rows, 20 test rows)." in text
    del results["train_rows"], results["models"]["student"]["paired"]
    assert "(training seed 3, split seed 4, 20 test rows)." in write(tmp_path, results).text


def test_intended_use_data_and_speed_are_told(results, tmp_path):
    text = write(tmp_path, results).text
    assert "which of the labels above a text of one of the domains above has. Where a wrong" in text
    assert "not known to hrkd" in text
    assert "| Rows | books | kitchen: & more | All |" in text
    assert "| Train | 1,000 | 1,000 | 2,000 |" in text
    assert "| Test | 8 | 12 | 20 |" in text
    assert "hrkd benchmark path/to/this/folder" in text
    assert "Texts a second" not in text
    assert "ratios" not in text
    results["texts_per_second"] = {"student": 1470.3, "teacher": 27.1}
    results["ratios"] = [{"level": 0, "domain": name, "mean": 0.5, "std": None} for name in DOMAINS]
    card = write(tmp_path, results, pairs=True, language="en")
    assert "| Teacher | 27 |\n| Student | 1,470 |" in card.text
    assert "## Domain ratios, last epoch of the student\n\n| Level | books | kitchen: & more |" in card.text
    assert "which of the labels above a pair of texts of one of" in card.text
    assert "in the language of its training texts (en). Where" in card.text
    assert "not known to hrkd" not in card.text
    headings = [line for line in card.text.splitlines() if line.startswith("## ")]
    assert [heading.split()[1] for heading in headings] == [
        "Use", "Intended", "Results", "Size", "Speed", "Data", "Domain", "Limits"
    ]  # fmt: skip
    assert "\n\n\n" not in card.text


def test_a_synthetic_corpus_is_said_at_once(results, tmp_path):
    assert "synthetic" not in write(tmp_path, results).text
    for card in (write(tmp_path, results | {"synthetic": True}), write(tmp_path, None, synthetic=True)):
        limits = card.text.partition("## Limits")[2].strip().splitlines()
        assert "synthetic" in limits[0]


def test_without_results_nothing_is_claimed(tmp_path):
    card = write(tmp_path / "student", None, max_tokens=64)
    assert card.data.eval_results is None
    assert "has not been measured" in card.text
    assert "## Size" not in card.text
    assert "beyond 64 tokens" in card.text
    assert card.text.strip().startswith("# student")


def test_a_local_base_model_is_no_link_and_gives_no_path_away(tmp_path):
    (tmp_path / "secret" / "my-bert").mkdir(parents=True)
    for base_model in (str(tmp_path / "secret" / "my-bert"), "/home/somebody/secret/my-bert"):
        card = write(tmp_path, None, base_model=base_model)
        assert card.data.base_model is None
        assert "`my-bert` (a local model)" in card.text
        assert "secret" not in card.content
    assert write(tmp_path, None, base_model=None).data.base_model is None


def test_usage_snippets_compile_and_quote_the_domain(tmp_path):
    text = write(tmp_path, None, domains=['the "books"\'s', "b"], method="something else").text
    snippets = [part.partition("```")[0] for part in text.split("```python")[1:]]
    assert len(snippets) == 3
    for snippet in snippets:
        compile(snippet, "card", "exec")
    assert "Made with something else." in text


def test_a_student_without_layers_is_not_said_to_have_a_plain_form(results, tmp_path):
    assert "export_plain" in write(tmp_path, results).content
    results["models"]["student"]["kind"] = "static"
    text = write(tmp_path, results).content
    assert "export_plain" not in text
    assert "hrkd export path/to/this/folder path/to/export --to onnx\n" in text


def test_names_that_look_like_a_template_stay_as_they_are(tmp_path):
    text = write(tmp_path, None, domains=["{{ name }}", "{% if x %}"], labels=["<b>", "&"]).text
    assert "* Domains: `{{ name }}`, `{% if x %}`" in text
    assert "* Labels: `<b>`, `&`" in text


def test_an_earlier_card_is_replaced(results, tmp_path):
    write(tmp_path, None)
    write(tmp_path, results)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert "not been measured" not in (tmp_path / "README.md").read_text()
