"""Plain classifiers: usable without hrkd, with the student's logits; folders that are whole or not there."""

import copy
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertTokenizer, pipeline

from hrkd.data.readers.sources import load_domains
from hrkd.deploy.export.command import export_to
from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError, HrkdError, RecipeError
from hrkd.models.loading import load_fine_tuned
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.run.rows_to_measure import as_model_says
from hrkd.support.domain_index import domain_folders
from hrkd.support.folder_names import folder_names

TEXT = "the very good book is not a bad plot song the film is good"

WITHOUT_HRKD = """
import importlib.abc, json, sys

class Nowhere(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hrkd":
            raise ImportError("hrkd is not installed here")

sys.meta_path.insert(0, Nowhere())
try:
    import hrkd
except ImportError:
    pass
else:
    raise SystemExit("hrkd can be imported")
from transformers import pipeline
text, *folders = sys.argv[1:]
options = dict(truncation=True, top_k=None, function_to_apply="none")
answers = [pipeline("text-classification", folder, device=-1)([text], **options)[0] for folder in folders]
print(json.dumps([{each["label"]: each["score"] for each in answer} for answer in answers]))
"""


@torch.no_grad()
def logits_of(model, tokenizer, domain):
    inputs = tokenizer([TEXT], truncation=True, max_length=12, return_tensors="pt")
    return model(**inputs, domain_ids=torch.tensor([model.domain_id(domain)])).logits[0].numpy()


def test_pipelines_without_hrkd_give_the_students_logits(student, tokenizer, student_folder, tmp_path):
    folders = export_plain(student_folder, tmp_path / "plain")
    assert list(folders) == ["books", "kitchen & housewares", "music"]
    command = [sys.executable, "-I", "-c", WITHOUT_HRKD, TEXT, *map(str, folders.values())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    for domain, answer in zip(folders, json.loads(done.stdout.splitlines()[-1]), strict=True):
        found = [answer[label] for label in student.labels]
        np.testing.assert_allclose(found, logits_of(student, tokenizer, domain), atol=1e-5)


def test_what_lies_in_the_folders(student_folder, tmp_path, capsys):
    folders = export_plain(student_folder, tmp_path / "plain")
    assert capsys.readouterr() == ("", ""), "no bars of transformers"
    index = json.loads((tmp_path / "plain" / "domains.json").read_text())
    assert index["domains"] == {"books": "books", "kitchen & housewares": "kitchen-housewares", "music": "music"}
    assert sorted(p.name for p in (tmp_path / "plain").iterdir()) == sorted(
        ["checks.json", "domains.json", "manifest.json", *index["domains"].values()]
    )
    assert [p.name for p in tmp_path.iterdir()] == ["plain"]
    config = json.loads((folders["music"] / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert "hrkd" not in (folders["music"] / "config.json").read_text()
    assert AutoTokenizer.from_pretrained(folders["music"]).model_max_length == 12


def test_one_head_is_one_folder_to_which_every_domain_leads(shared_head_folder, tmp_path):
    output = tmp_path / "plain"
    for _ in range(2):
        folders = export_plain(shared_head_folder, output, overwrite=True)
        assert set(folders.values()) == {output / "all-domains"}
        assert len(folders) == 3
        assert len(list(output.rglob("model.safetensors"))) == 1, "links are not followed"
        names = {"all-domains", "books", "kitchen-housewares", "music", "checks.json", "domains.json", "manifest.json"}
        assert {path.name for path in output.iterdir()} == names
        assert (output / "music" / "config.json").samefile(output / "all-domains" / "config.json")
    teacher = load_fine_tuned(
        str(output), domains=list(folders), labels=["negative", "neutral", "positive"], max_tokens=12
    )
    assert len(teacher.heads) == 1


TASKS = {
    "problem_type": "multi_label_classification",
    "function_to_apply": "none",
    "task_specific_params": {"text-classification": {"function_to_apply": "sigmoid"}},
    "return_dict": False,
    "output_hidden_states": True,
    "auto_map": {"AutoModelForSequenceClassification": "own.Model"},
}


def test_what_says_how_to_use_another_model_is_not_passed_on(student_folder, tmp_path):
    """A student of an earlier version, whose encoder's configuration still holds its teacher's task."""
    shutil.copytree(student_folder, tmp_path / "student")
    path = tmp_path / "student" / "config.json"
    config = json.loads(path.read_text())
    config["encoder"] |= TASKS
    path.write_text(json.dumps(config))
    folder = export_plain(tmp_path / "student", tmp_path / "plain")["books"]
    written = json.loads((folder / "config.json").read_text())
    assert written["problem_type"] == "single_label_classification"
    assert set(TASKS) & set(written) == {"problem_type"}
    ours = Predictor.from_pretrained(student_folder, device="cpu")(TEXT, domain="books", all_labels=True)[0]
    theirs = pipeline("text-classification", str(folder), device="cpu")([TEXT], truncation=True, top_k=None)[0]
    for one, other in zip(ours, theirs, strict=True):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_a_pipeline_that_says_something_else_stops_the_export(student_folder, tmp_path, monkeypatch):
    right = MultiDomainClassifier.to_plain

    def wrong(self, domain):
        plain = right(self, domain)
        plain.config.problem_type = "multi_label_classification"
        return plain

    monkeypatch.setattr(MultiDomainClassifier, "to_plain", wrong)
    with pytest.raises(ArtifactError, match=r"books: the exported classifier's probabilities differ"):
        export_plain(student_folder, tmp_path / "plain")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["disk", "tokenizer"])
def test_what_cannot_be_written_leaves_the_earlier_export(student_folder, tokenizer, tmp_path, monkeypatch, what):
    export_plain(student_folder, tmp_path / "plain")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(*_, **__):
        raise (
            OSError(28, "No space left on device")
            if what == "disk"
            else Exception("No space left on device (os error 28)")
        )

    monkeypatch.setattr(type(tokenizer), "save_pretrained", full)
    with pytest.raises(HrkdError, match="No space left on device"):
        export_plain(student_folder, tmp_path / "plain", overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("distilbert", {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}),
        ("roberta", {"pad_token_id": 0, "type_vocab_size": 1}),
        ("deberta-v2", {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}),
    ],
)
def test_other_families_are_exported_with_equal_logits(tokenizer, tmp_path, family, options):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    plain = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(family, **sizes | options, vocab_size=16, max_position_embeddings=20, num_labels=2)
    )
    model = MultiDomainClassifier.from_plain(plain, domains=["a", "b"], labels=["no", "yes"], max_tokens=12).eval()
    for parameter in model.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(tmp_path / "student")
    other = copy.deepcopy(tokenizer)
    other.model_input_names = ["input_ids", "attention_mask"]
    other.save_pretrained(tmp_path / "student")
    folders = export_plain(tmp_path / "student", tmp_path / "plain")
    for domain, folder in folders.items():
        loaded = AutoModelForSequenceClassification.from_pretrained(folder)
        with torch.no_grad():
            found = loaded(**other([TEXT], truncation=True, max_length=12, return_tensors="pt")).logits[0].numpy()
        np.testing.assert_allclose(found, logits_of(model, other, domain), atol=1e-5)


def rows_of(predictor, texts):
    """Each text in each domain, with the labels that the student gives: it is right about all of them."""
    domains = predictor.facts.domains
    rows = {"text": texts * len(domains), "domain": [name for name in domains for _ in texts]}
    rows["label"] = [each["label"] for each in predictor(rows["text"], domain=rows["domain"])]
    return as_model_says(load_domains(rows), predictor.facts, predictor.facts.labels)


@pytest.mark.parametrize("keep", ["head", "tail", "head_tail", "windows"])
def test_what_is_lost_of_long_texts_decides(new_student, tokenizer, tmp_path, keep):
    """Plain classifiers read the head or the tail alone; with rows, what that costs a student of both is known."""
    model = new_student()
    model.config.keep = keep
    with torch.no_grad():  # what it says follows from the words alone, so that labels differ
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "position" in name or "token_type" in name:
                parameter.zero_()
            elif "LayerNorm" in name:
                parameter.fill_(1)
    model.save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    words = ["good", "bad", "not", "very", "film", "song", "the", "plot"]
    texts = [" ".join(np.random.default_rng(i).choice(words, 40)) for i in range(20)] + ["good book", "bad"]
    rows = rows_of(Predictor.from_pretrained(tmp_path / "student", device="cpu"), texts)
    loses = keep in ("head_tail", "windows")
    if loses:
        reads = {"head_tail": "beginning and end", "windows": "all, in windows,"}[keep]
        with pytest.raises(
            ArtifactError,
            match=rf"(?s)plain: nothing was written: .* points lost on .*The student reads {reads} of texts longer "
            r"than 12 tokens, plain classifiers the beginning alone.*--to onnx.*--allowance",
        ):
            export_plain(tmp_path / "student", tmp_path / "plain", rows=rows)
        assert [path.name for path in tmp_path.iterdir()] == ["student"]
    export_plain(tmp_path / "student", tmp_path / "plain", rows=rows, allowance=100 if loses else 0.5)
    record = json.loads((tmp_path / "plain" / "checks.json").read_text())
    assert record["target"] == "plain"
    assert record["settings"] == {"keep": "tail" if keep == "tail" else "head", "keep_of_student": keep}
    accuracy = record["checks"]["accuracy"]
    assert all(own["student"] == 1 and own["texts"] == len(texts) for own in accuracy.values())
    assert (min(own["export"] for own in accuracy.values()) < 1) is loses
    if not loses:
        assert record["checks"]["largest_difference"] < 1e-4
    with pytest.raises(DataError, match="--allowance: expected points from 0, got -1"):
        export_plain(tmp_path / "student", tmp_path / "plain", allowance=-1, overwrite=True)


def test_an_earlier_export_of_any_form_is_replaced_when_told(student_folder, exported, tmp_path):
    shutil.copytree(exported, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"holds an earlier export \(onnx\); replace it with overwrite"):
        export_plain(student_folder, tmp_path / "out")
    export_plain(student_folder, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "model.onnx").exists()
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    with pytest.raises(ArtifactError, match=r"holds an earlier export \(plain\)"):
        export_to(student_folder, tmp_path / "out", "onnx")
    export_to(student_folder, tmp_path / "out", "onnx", overwrite=True)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.onnx", "notes.txt"} < left
    assert not left & {"domains.json", "books", "checks.json"}
    with pytest.raises(RecipeError, match=r"--to plain: several folders, which .*export_plain makes"):
        export_to(student_folder, tmp_path / "out", "plain", overwrite=True)


def test_only_an_earlier_export_is_replaced_and_only_when_told(student_folder, tmp_path):
    output = tmp_path / "plain"
    export_plain(student_folder, output)
    (output / "old.txt").write_text("x")
    with pytest.raises(ArtifactError, match=r"holds an earlier export \(plain\); replace it with overwrite"):
        export_plain(student_folder, output)
    (output / "books" / "old.txt").write_text("x")
    (output / "books" / "model.safetensors").write_bytes(b"broken")
    export_plain(student_folder, output, overwrite=True)
    assert (output / "old.txt").read_text() == (output / "books" / "old.txt").read_text() == "x", "it is not hrkd's"
    assert (output / "books" / "model.safetensors").stat().st_size > 10
    assert not list(output.rglob("*.before"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    with pytest.raises(ArtifactError, match="not empty and no earlier export"):
        export_plain(student_folder, mine, overwrite=True)
    with pytest.raises(ArtifactError, match="is a file"):
        export_plain(student_folder, mine / "thesis.txt", overwrite=True)
    (tmp_path / "empty").mkdir()
    export_plain(student_folder, tmp_path / "empty")
    assert (tmp_path / "empty" / "domains.json").is_file()


def test_other_logits_stop_the_export_and_leave_nothing(student_folder, tmp_path, monkeypatch):
    right = MultiDomainClassifier.to_plain

    def wrong(self, domain):
        plain = right(self, domain)
        if domain == "music":
            plain.classifier.bias.data += 1e-3
        return plain

    monkeypatch.setattr(MultiDomainClassifier, "to_plain", wrong)
    with pytest.raises(ArtifactError, match=r"music: the exported classifier's logits differ .* by 0.001"):
        export_plain(student_folder, tmp_path / "plain")
    assert list(tmp_path.iterdir()) == []


def test_other_tokens_stop_the_export(student_folder, tokenizer, tmp_path, monkeypatch):
    save = type(tokenizer).save_pretrained
    other = BertTokenizer(vocab={token: 15 - i for token, i in tokenizer.get_vocab().items()})
    monkeypatch.setattr(BertTokenizer, "save_pretrained", lambda self, folder: save(other, folder))
    with pytest.raises(ArtifactError, match="books: the exported tokenizer gives other token ids"):
        export_plain(student_folder, tmp_path / "plain")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_student_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such folder"):
        export_plain(tmp_path / "nowhere", tmp_path / "plain")
    assert list(tmp_path.iterdir()) == []


def test_folder_names_are_safe_and_different():
    names = folder_names(
        ["a/b", "a b", "A-B", "..", "", "con", "Küche", "x" * 300, "../../etc", "a.b", "日本", ".hidden"]
    )
    assert names["a/b"] == "a-b"
    assert names["a b"] == "a-b-2"
    assert names["A-B"] == "A-B-3"
    assert names[".."] == "domain"
    assert names["con"] == "domain-con"
    assert names["Küche"] == "Küche"
    assert names["../../etc"] == "etc"
    assert names["日本"] == "日本"
    assert names[".hidden"] == "hidden"
    assert len({name.casefold() for name in names.values()}) == len(names)
    assert all(name and len(name.encode()) <= 90 and "/" not in name for name in names.values())


def test_numbered_names_do_not_meet_names_that_look_numbered():
    assert list(folder_names(["a", "a-2", "a!"]).values()) == ["a", "a-2", "a-3"]


@pytest.mark.parametrize("heads", ["per_domain", "shared"])
def test_domains_called_as_files_of_an_export(new_student, tokenizer, tmp_path, heads):
    domains = ["domains.json", "manifest.json", "Domains.JSON", "domain-domains.json", "README.md"]
    new_student(domains=domains, heads=heads).save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    folders = export_plain(tmp_path / "student", tmp_path / "plain")
    assert {domain: str(folder) for domain, folder in folders.items()} == domain_folders(tmp_path / "plain")
    assert all((folder / "config.json").is_file() for folder in folders.values())
    names = list(folder_names(domains).values())
    assert names == [
        *("domain-domains.json", "domain-manifest.json", "domain-Domains.JSON-2", "domain-domains.json-3"),
        "domain-README.md",
    ]
