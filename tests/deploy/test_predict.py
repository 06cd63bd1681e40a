"""Labels for texts and for tables: equal to the model's own logits, in order, with errors that name the place."""

import logging
import shutil

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from transformers.pipelines.pt_utils import KeyDataset

from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError, ModelError

TEXTS = [
    "good book",
    "the film is not very good a good plot",
    "bad",
    "a very very bad song is a bad song and more of it so",
]
DOMAINS = ["books", "music", "kitchen & housewares", "music"]


@pytest.fixture(scope="module")
def predictor(student, tokenizer):
    return Predictor(TorchEngine(student, tokenizer))


@torch.no_grad()
def one_by_one(predictor, texts, domains, pairs=None):
    rows = []
    for i, (text, domain) in enumerate(zip(texts, domains, strict=True)):
        pair = pairs[i] if pairs else None
        inputs = predictor.engine.tokenizer(text, pair, truncation=True, max_length=12, return_tensors="pt")
        logits = predictor.engine.model(
            **inputs, domain_ids=torch.tensor([predictor.engine.model.domains.index(domain)])
        ).logits
        rows.append(logits.softmax(-1)[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_change_nothing_and_order_stays(predictor, batch_size):
    found = predictor.probabilities(TEXTS, domain=DOMAINS, batch_size=batch_size)
    np.testing.assert_allclose(found, one_by_one(predictor, TEXTS, DOMAINS), atol=1e-5)


def test_answers_have_the_shape_of_a_pipeline(predictor):
    answers = predictor(TEXTS, domain=DOMAINS)
    expected = one_by_one(predictor, TEXTS, DOMAINS)
    assert [a["label"] for a in answers] == [predictor.engine.model.labels[c] for c in expected.argmax(1)]
    assert [a["score"] for a in answers] == pytest.approx(expected.max(1).tolist(), abs=1e-5)
    assert all(type(a["score"]) is float for a in answers)


def test_all_labels_are_ranked(predictor):
    answers = predictor(TEXTS, domain="music", all_labels=True)
    for ranked, best in zip(answers, predictor(TEXTS, domain="music"), strict=True):
        assert ranked[0] == best
        assert {each["label"] for each in ranked} == {"negative", "neutral", "positive"}
        scores = [each["score"] for each in ranked]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1)


def test_one_text_gives_a_list_of_one_and_none_gives_none(predictor):
    assert predictor("good book", domain="books") == predictor(["good book"], domain=["books"])
    assert predictor([], domain="books") == []


def test_the_domain_decides_the_head(predictor):
    found = predictor.probabilities(["good book"] * 3, domain=predictor.engine.model.domains)
    assert np.abs(found[0] - found[1]).max() > 0.01
    assert np.abs(found[1] - found[2]).max() > 0.01


def test_pairs(predictor):
    pairs = ["bad film", "good", "the song is good", "bad"]
    found = predictor.probabilities(TEXTS, domain=DOMAINS, text_pairs=pairs, batch_size=2)
    np.testing.assert_allclose(found, one_by_one(predictor, TEXTS, DOMAINS, pairs), atol=1e-5)
    assert np.abs(found - predictor.probabilities(TEXTS, domain=DOMAINS)).max() > 0.01
    assert predictor("good", domain="books", text_pairs="bad")[0]["score"] > 0


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        (["good", " ", "bad", ""], {"domain": "books"}, "empty or broken: text 2, 4;"),
        (["good", None], {"domain": "books"}, "text 2;"),
        (["good \ud83d"], {"domain": "books"}, "text 1;"),
        (["good"], {"domain": "books", "text_pairs": [" "]}, "text pair 1;"),
        (["good"], {"domain": "boks"}, r"unknown domain 'boks' \(did you mean 'books'\?\). The model knows books, kit"),
        (["good", "bad"], {"domain": ["books"]}, "2 texts but 1 domains"),
        (["good", "bad"], {"domain": "books", "text_pairs": ["bad"]}, "2 texts but 1 text_pairs"),
    ],
)
def test_unusable_input_is_named(predictor, texts, options, words):
    with pytest.raises(DataError, match=words):
        predictor(texts, **options)


INVISIBLE = ["\u200b", "\x01\x02", "\u0301", "\ufeff", "\xad", "\u200b" * 200]


@pytest.mark.parametrize("source", ["student_folder", "exported"])
def test_texts_of_which_the_tokenizer_leaves_nothing_are_refused(source, request):
    found = Predictor.from_pretrained(request.getfixturevalue(source))
    assert found.without_tokens(INVISIBLE) == list(range(len(INVISIBLE)))
    for text in INVISIBLE:
        with pytest.raises(DataError, match=r"no tokens: text 2; the model's tokenizer leaves out all"):
            found(["good", text], domain="books")
        with pytest.raises(DataError, match="no tokens: text pair 1"):
            found(["good", "\u200bbad"], domain="books", text_pairs=[text, "good"])
    odd = ["\U0001f600", "!", "\u4e2d", "\u200b" * 200 + "\u4e2d", "0"]
    assert found.without_tokens(odd) == []
    assert len(found(odd, domain="books")) == len(odd)


def test_from_pretrained_is_the_same_model_and_quiet(predictor, student_folder, caplog):
    with caplog.at_level(logging.WARNING):
        loaded = Predictor.from_pretrained(student_folder, device="cpu")
    np.testing.assert_allclose(
        loaded.probabilities(TEXTS, domain=DOMAINS), predictor.probabilities(TEXTS, domain=DOMAINS), atol=1e-6
    )
    assert not loaded.engine.model.training
    assert not caplog.records


def test_a_run_after_its_first_stage_has_no_student_yet(student, tmp_path):
    student.save_pretrained(tmp_path / "levels")
    with pytest.raises(ArtifactError, match=r"student is not finished yet \(finished: levels\); the command that"):
        Predictor.from_pretrained(tmp_path)


def test_other_folders_are_refused(student, student_folder, tokenizer, tmp_path):
    with pytest.raises(ArtifactError, match="no such folder"):
        Predictor.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(
        ArtifactError, match=r"config.json is missing; this is the folder of a run; its student is .*student"
    ):
        Predictor.from_pretrained(student_folder.parent)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ArtifactError, match=r"config.json is missing; found notes.txt"):
        Predictor.from_pretrained(tmp_path)
    student.to_plain("books").save_pretrained(tmp_path / "plain")
    with pytest.raises(
        ArtifactError, match=r"a plain bert model \(BertForSequenceClassification\); use it with transf"
    ):
        Predictor.from_pretrained(tmp_path / "plain")
    plain = export_plain(student_folder, tmp_path / "export")["music"]
    assert plain.parent == tmp_path / "export"
    with pytest.raises(
        ArtifactError, match=r"an export of plain classifiers, one for each domain; use them with trans"
    ):
        Predictor.from_pretrained(tmp_path / "export")
    student.save_pretrained(tmp_path / "bare")
    with pytest.raises(ArtifactError, match="tokenizer is missing"):
        Predictor.from_pretrained(tmp_path / "bare")


def test_damaged_folders_are_refused(student_folder, tmp_path):
    for name, damage, words in (
        ("cut", lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "is damaged"),
        ("lost", lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        ("json", lambda folder: (folder / "config.json").write_text("{"), "config.json: no JSON"),
    ):
        shutil.copytree(student_folder, tmp_path / name)
        damage(tmp_path / name)
        with pytest.raises(ArtifactError, match=words):
            Predictor.from_pretrained(tmp_path / name)


FRAME = pd.DataFrame({"text": TEXTS, "domain": DOMAINS})


@pytest.mark.parametrize(
    "texts",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        FRAME["text"],
        FRAME["text"][::-1][::-1],
        (text for text in TEXTS),
        [{"text": text} for text in TEXTS],
        datasets.Dataset.from_pandas(FRAME)["text"],
        KeyDataset(datasets.Dataset.from_pandas(FRAME), "text"),
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_all_that_holds_texts_is_taken(predictor, texts):
    assert predictor(texts, domain=FRAME["domain"]) == predictor(TEXTS, domain=DOMAINS)


def test_one_mapping_is_one_text_as_for_pipelines(predictor):
    assert predictor({"text": "good"}, domain="books") == predictor("good", domain="books")
    pair = predictor("good", domain="books", text_pairs="bad")
    assert predictor({"text": "good", "text_pair": "bad"}, domain="books") == pair
    assert predictor([{"text": "good", "text_pair": "bad"}], domain="books") == pair


def test_numbers_are_texts_as_when_a_table_is_loaded(predictor):
    assert predictor([1000, "good"], domain="books") == predictor(["1000", "good"], domain="books")


@pytest.mark.parametrize("domain", [1, 1.0, "1", "1.0", " 1 ", np.float32(1), np.int64(1), [1.0], np.array([1])])
def test_numbers_name_domains_as_in_a_table(new_student, tokenizer, domain):
    numbered = Predictor(TorchEngine(new_student(domains=["1", "10", "2"]), tokenizer))
    assert numbered(["good"], domain=domain) == numbered(["good"], domain="1")
    with pytest.raises(DataError, match=r"unknown domain 3\.0"):
        numbered(["good"], domain=3.0)


@pytest.mark.parametrize("domain", [True, "true", "TRUE", "True", torch.tensor([True]), [np.True_]])
def test_truth_is_one_domain_however_it_is_written(new_student, tokenizer, domain):
    for names in (["False", "True"], ["false", "true"]):
        of_truth = Predictor(TorchEngine(new_student(domains=names), tokenizer))
        assert of_truth(["good"], domain=domain) == of_truth(["good"], domain=names[1])
    both = Predictor(TorchEngine(new_student(domains=["TRUE", "True"]), tokenizer))
    assert both(["good"], domain="TRUE") == both(["good"], domain=" TRUE ")
    with pytest.raises(DataError, match="unknown domain 'true'"):
        both(["good"], domain="true")


TAKEN = "texts: expected a text, several texts, or mappings"


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        (None, {}, f"{TAKEN}.*; got None"),
        (3, {}, rf"{TAKEN}.*; got 3 \(int\)"),
        (b"good", {}, rf"{TAKEN}.*; got b'good' \(bytes\)"),
        ({"good", "bad"}, {}, f"{TAKEN}.*; got"),
        (np.array([["good"], ["bad"]]), {}, f"{TAKEN}.*; got"),
        (FRAME, {}, r"texts: got a DataFrame \('text', 'domain'\); give one column: texts=table\['text'\]"),
        (datasets.Dataset.from_pandas(FRAME), {}, r"texts: got a Dataset \('text', 'domain'\); give one column"),
        (FRAME.to_dict("list"), {}, r"texts: got a mapping of columns \('text', 'domain'\)"),
        ([{"txt": "good"}], {}, r"texts: expected mappings with 'text' .*; not so: text 1 \('txt'\)"),
        ([{"text": "good", "label": 1}], {}, r"not so: text 1 \('text', 'label'\)"),
        (["good", ["good", "bad"]], {}, r"expected a string for each text, got something else: text 2 \(\["),
        (["good", b"bad"], {}, r"got something else: text 2 \(b'bad' \(bytes\)\)"),
        ([("good", "bad")], {}, "got something else: text 1"),
        (["good", float("nan"), pd.NA], {}, "empty or broken: text 2, 3;"),
        (["good"], {"domain": None}, "domain: missing; name the domain of the texts"),
        (
            ["good"],
            {"domain": [None]},
            r"domain: expected names, got something else for text 1 \(None\)",
        ),
        (["good"], {"domain": ["books", "music"]}, "1 text but 2 domains"),
        (["good"], {"domain": b"books"}, "domain: expected the name of a domain, or one for each text; got"),
        (["good"], {"domain": 1}, "unknown domain 1. The model knows"),
        (["good"], {"domain": {"a": "books"}}, "domain: got a mapping of columns"),
        (["good"], {"text_pairs": 3}, "text_pairs: expected a text or several; got 3"),
        (["good"], {"batch_size": 0}, "batch_size: expected a whole number from 1, got 0"),
        (["good"], {"batch_size": -1}, "batch_size: expected a whole number"),
        (["good"], {"batch_size": 2.5}, "batch_size: expected a whole number"),
        (["good"], {"batch_size": True}, "batch_size: expected a whole number"),
        ([{"text": "a", "text_pair": "b"}], {"text_pairs": ["b"]}, "text_pairs: the texts bring second texts"),
        ([{"text": "a", "text_pair": "b"}, "c"], {}, "empty or broken: text pair 2"),
    ],
)
def test_other_values_are_errors_that_name_argument_and_place(predictor, texts, options, words):
    with pytest.raises(DataError, match=words):
        predictor(texts, **{"domain": "books"} | options)


def with_columns(new_student, tokenizer, **columns):
    model = new_student()
    model.config.columns = {"text": "text", "text_pair": None, "label": "label", "domain": "domain"} | columns
    return Predictor(TorchEngine(model, tokenizer))


def test_a_model_of_pairs_wants_pairs_and_one_of_single_texts_none(new_student, tokenizer):
    pairs, single = (with_columns(new_student, tokenizer, text_pair=pair) for pair in ("second", None))
    with pytest.raises(DataError, match="text_pairs: missing; the model was made from pairs of texts"):
        pairs(["good"], domain="books")
    with pytest.raises(DataError, match="text_pairs: the model was made from single texts; leave"):
        single(["good"], domain="books", text_pairs=["bad"])
    assert pairs(["good"], domain="books", text_pairs=["bad"])
    assert pairs([], domain="books") == []


def test_one_head_needs_no_domain(new_student, tokenizer):
    shared = Predictor(TorchEngine(new_student(heads="shared"), tokenizer))
    assert shared(TEXTS) == shared(TEXTS, domain=DOMAINS) == shared(TEXTS, domain="music")
    with pytest.raises(DataError, match="unknown domain 'musik'"):
        shared(TEXTS, domain="musik")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_errors(new_student, tokenizer, value):
    model = new_student()
    with torch.no_grad():
        next(model.heads[1].parameters()).fill_(value)
    broken = Predictor(TorchEngine(model, tokenizer))
    assert broken(["good"], domain="books")[0]["score"] > 0
    with pytest.raises(ArtifactError, match=r"answers are not finite \(for 1 of 2 texts: 2\)"):
        broken(["good", "bad"], domain=["books", "kitchen & housewares"])


def test_an_unknown_device_is_named(student_folder):
    for device in ("nonsense", "cuda:77"):
        with pytest.raises(ModelError, match=f"device: '{device}' cannot be used .*; try 'cpu'"):
            Predictor.from_pretrained(student_folder, device=device)
