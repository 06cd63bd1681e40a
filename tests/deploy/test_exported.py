"""Exports that run without torch: they say what the student says, and nothing else is ever put in place."""

import json
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hrkd.deploy.engines.exported as exported_module
import hrkd.deploy.predict as predict_module
from hrkd.cli import main
from hrkd.data.readers.sources import load_domains
from hrkd.data.reading import encode
from hrkd.deploy.checks import Asked
from hrkd.deploy.engines.exported import ExportEngine
from hrkd.deploy.engines.openvino_package import REPORTER, import_quietly
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.export import command, rounding, trimming
from hrkd.deploy.export.check import faults, hold_against, losses
from hrkd.deploy.export.command import export_to
from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.export.reference import Reference
from hrkd.deploy.export.targets import TARGETS, check_target
from hrkd.deploy.export_folder import EXPORT, exported_facts, is_export, read_export
from hrkd.deploy.label_table import predict_file
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError, ModelError, RecipeError
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.static import StaticConfig, StaticForSequenceClassification
from hrkd.models.vocabulary import Vocabulary
from hrkd.report.export_card import write_export_card
from hrkd.run.export import export
from hrkd.run.rows_to_measure import as_model_says
from hrkd.support import processor
from hrkd.support.domain_index import write_domain_index
from hrkd.support.manifest import write_manifest
from slow import slow, slowly
from subwords import subword_model, subwords

TEXTS = ["a good book", "the very good film is not a bad plot song the film is good", "bad", "very bad song"]
DOMAINS = ["books", "music", "kitchen & housewares", "books"]


@pytest.fixture(scope="module")
def labelled(student):
    """Rows whose labels are what the student says, but for one in each domain."""
    texts = [f"{a} {b}" for a in ("good", "bad", "not a", "very") for b in ("book", "film", "plot", "song is bad")]
    domains = [student.domains[i % 3] for i in range(48)]
    columns = {"text": [f"{texts[i // 3]} the" for i in range(48)], "domain": domains}
    columns["label"] = [student.labels[i % 3] for i in range(48)]
    return load_domains(columns)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_it_says_what_the_student_says(exported, student_folder, batch_size):
    ours, theirs = Predictor.from_pretrained(student_folder, device="cpu"), Predictor.from_pretrained(exported)
    asked = {"domain": DOMAINS, "batch_size": batch_size}
    np.testing.assert_allclose(theirs.probabilities(TEXTS, **asked), ours.probabilities(TEXTS, **asked), atol=1e-6)
    assert theirs(TEXTS, domain="music", all_labels=True)[0][0].keys() == {"label", "score"}
    assert theirs.facts == ours.facts
    assert Predictor.from_pretrained(exported, threads=1)("bad", domain="music") == theirs("bad", domain="music")


def test_a_forward_pass_has_no_more_tokens_than_are_quick(exported, monkeypatch):
    predictor = Predictor.from_pretrained(exported, threads=1)
    assert predictor.engine.batch_tokens == 512
    assert Predictor.from_pretrained(exported, threads=3).engine.batch_tokens == 3 * 512
    texts = [("good " * (i % 9 + 1)).strip() for i in range(200)]
    expected, seen, run = predictor.probabilities(texts, domain="music", batch_size=1), [], predictor.engine._run

    def noted(inputs):
        seen.append(inputs["input_ids"].shape)
        return run(inputs)

    monkeypatch.setattr(predictor.engine, "_run", noted)
    monkeypatch.setitem(exported_module.BATCH_TOKENS, "onnx", 40)
    np.testing.assert_allclose(predictor.probabilities(texts, domain="music"), expected, atol=1e-6)
    assert sum(rows for rows, _ in seen) == 200
    assert all(rows * tokens <= 40 for rows, tokens in seen)
    assert max(rows for rows, _ in seen) == 40 // 3
    seen.clear()
    monkeypatch.setitem(exported_module.BATCH_TOKENS, "onnx", 2)
    predictor.probabilities(texts[:9], domain="music")
    assert [rows for rows, _ in seen] == [1] * 9, "a text that is longer goes alone"
    monkeypatch.setattr(predict_module, "PASS_TOKENS", 2)
    seen.clear()
    monkeypatch.setitem(exported_module.BATCH_TOKENS, "onnx", 4000)
    np.testing.assert_allclose(predictor.probabilities(texts[:9], domain="music"), expected[:9], atol=1e-6)
    assert sorted(seen) == [(3, 5), (3, 8), (3, 11)], "lengths that differ more do not go together"
    seen.clear()
    predictor.probabilities(texts, domain="music", batch_size=7)
    assert max(rows for rows, _ in seen) == 7


def test_cores_are_those_that_this_process_may_use(exported, monkeypatch):
    monkeypatch.setattr(processor.sys, "platform", "linux")
    monkeypatch.setattr(processor.os, "sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    assert processor.usable_cores() == 3
    assert Predictor.from_pretrained(exported).engine.batch_tokens == 3 * 512


def test_rows_of_a_domain_that_the_student_does_not_know_are_named(student_folder, student, tmp_path):
    rows = {"text": ["good", "bad", "a book"], "domain": ["boks", "music", "books"], "label": list(student.labels)}
    with pytest.raises(DataError, match=r"rows: unknown domain 'boks' \(did you mean 'books'\?\). The model knows"):
        export_to(student_folder, tmp_path / "out", "onnx", rows=load_domains(rows))


def test_what_lies_in_the_folder(exported):
    assert sorted(path.name for path in exported.iterdir()) == [
        EXPORT, "manifest.json", "model.onnx", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    record = json.loads((exported / EXPORT).read_text())
    assert record["target"] == "onnx"
    assert record["settings"] == {"attention": "one node"}
    assert record["checks"]["largest_difference"] < 1e-5
    assert record["made_from"]["versions"]["torch"] == torch.__version__
    content = (exported / "model.onnx").read_bytes()
    assert b"site-packages" not in content, "no paths of the machine that made it"
    assert b".py" not in content


WITHOUT = """
import importlib.abc, sys

class Nowhere(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "datasets", "sklearn", "scipy"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Nowhere())
from hrkd.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_what_any_export_says_of_itself(exported, tmp_path):
    record = json.loads((exported / EXPORT).read_text())
    assert exported_facts(exported) == {"folder": str(exported), **record}
    (tmp_path / "b").mkdir()
    write_domain_index(tmp_path, {"books": "b"}, "plain")
    (tmp_path / "checks.json").write_text('{"checks": {"texts": 4}}')
    plain = exported_facts(tmp_path)
    assert (plain["target"], plain["folders"]) == ("plain", {"books": str(tmp_path / "b")})
    assert plain["checks"] == {"texts": 4}


def test_predicting_needs_neither_torch_nor_transformers(exported, student_folder, tmp_path):
    table = tmp_path / "in.csv"
    table.write_text("text,domain\ngood book,books\nvery bad song,music\n")
    output = tmp_path / "out.csv"
    for arguments in (
        [str(exported), "a good book", "--domain", "books"],
        [str(exported), "--input", str(table), "--output", str(output)],
    ):
        command = [sys.executable, "-c", WITHOUT, "predict", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    predict_file(Predictor.from_pretrained(student_folder, device="cpu"), table, tmp_path / "theirs.csv")
    assert output.read_text() == (tmp_path / "theirs.csv").read_text()


def test_the_command_without_rows(student_folder, tmp_path, capsys):
    assert main(["export", str(student_folder), str(tmp_path / "out"), "--to", "onnx"]) == 0
    assert "Checked on random words" in " ".join(capsys.readouterr().out.split())


def test_a_graph_of_one_domain_asks_for_none(student_folder, tmp_path):
    export_to(student_folder, tmp_path / "music", "onnx", domain="music")
    alone = Predictor.from_pretrained(tmp_path / "music")
    ours = Predictor.from_pretrained(student_folder, device="cpu")
    np.testing.assert_allclose(alone.probabilities(TEXTS), ours.probabilities(TEXTS, domain="music"), atol=1e-6)
    assert alone.facts.domains == ["music"]
    with pytest.raises(DataError, match="unknown domain 'books'"):
        alone(TEXTS, domain="books")
    with pytest.raises(DataError, match=r"unknown domain 'musik'.*did you mean 'music'"):
        export_to(student_folder, tmp_path / "other", "onnx", domain="musik")


def test_one_head_for_all_domains(shared_head_folder, tmp_path):
    export_to(shared_head_folder, tmp_path / "shared", "onnx")
    found = Predictor.from_pretrained(tmp_path / "shared").probabilities(TEXTS)
    ours = Predictor.from_pretrained(shared_head_folder, device="cpu")
    np.testing.assert_allclose(found, ours.probabilities(TEXTS), atol=1e-6)


@pytest.mark.parametrize("family", ["deberta-v2", *slowly("albert", "modernbert", "mpnet", "roberta")])
def test_other_families(family, tmp_path):
    subword_model(family).save_pretrained(tmp_path / "student")
    subwords(family).tokenizer.save_pretrained(tmp_path / "student")
    record = export_to(tmp_path / "student", tmp_path / "out", "onnx")
    assert record.settings["attention"] == ("operations" if family in ("deberta-v2", "mpnet") else "one node")
    ours = Predictor.from_pretrained(tmp_path / "student", device="cpu")
    texts = ["The plot of this book was gripping.", "no", "it is a long story " * 30]
    np.testing.assert_allclose(
        Predictor.from_pretrained(tmp_path / "out").probabilities(texts, domain="dvd"),
        ours.probabilities(texts, domain="dvd"),
        atol=1e-6,
    )


def test_a_student_without_layers(tokenizer, tmp_path, caplog):
    torch.manual_seed(0)
    plain = StaticForSequenceClassification(StaticConfig(len(tokenizer), 8, 65_521, num_labels=2))
    model = MultiDomainClassifier.from_plain(plain, domains=["a", "b"], labels=["n", "p"], new_heads=True)
    model.save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    assert export_to(tmp_path / "student", tmp_path / "out", "onnx").settings == {"attention": "none"}
    rows = load_domains({"text": TEXTS * 2, "domain": ["a", "b"] * 4, "label": ["n", "p", "p", "n"] * 2})
    assert "finds no domains" not in caplog.text
    checks = export_to(tmp_path / "student", tmp_path / "openvino", "openvino", rows=rows, allowance=50).checks
    assert checks["largest_difference"] < 0.05, "pairs of ids are hashed as in torch"
    found = Predictor.from_pretrained(tmp_path / "out").probabilities(TEXTS, domain="b")
    ours = Predictor.from_pretrained(tmp_path / "student", device="cpu")
    np.testing.assert_allclose(found, ours.probabilities(TEXTS, domain="b"), atol=1e-6)
    model.add_router(0, 4.0)
    model.save_pretrained(tmp_path / "routing")
    tokenizer.save_pretrained(tmp_path / "routing")
    export_to(tmp_path / "routing", tmp_path / "lost", "onnx")
    assert "the export finds no domains by itself (auto), as its student does" in caplog.text
    with pytest.raises(DataError, match="or an export of a student without layers, which leaves them out"):
        Predictor.from_pretrained(tmp_path / "lost")("good", domain="auto")


WORDS = st.sampled_from(
    ["a", "bad", "book", "film", "good", "is", "not", "plot", "unheard", "(", "über", "The", "[SEP]", "[sep]", "a\x01b"]
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)


@settings(max_examples=60)
@given(
    texts=st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=4),
    keep=st.sampled_from(["head", "tail", "head_tail", "windows"]),
    pairs=st.booleans(),
    longest=st.integers(6, 20),
)
def test_texts_become_the_same_ids(exported, tokenizer, texts, keep, pairs, longest):
    """Those of the tokenizers library are those that transformers gives."""
    engine = ExportEngine(exported)
    columns = {"text": "text", "text_pair": "answer" if pairs else None, "label": "label", "domain": "domain"}
    facts = replace(engine.record.facts, keep=keep, max_tokens=longest, columns=columns)
    engine.record = replace(engine.record, facts=facts)
    first, second = [a for a, _ in texts], [b for _, b in texts] if pairs else None
    found, owners = engine.encode(first, second)
    expected, expected_owners = encode(tokenizer, first, second, longest, keep)
    assert owners.tolist() == expected_owners.tolist()
    assert {name: list(map(list, rows)) for name, rows in found.items()} == {name: expected[name] for name in found}
    assert "input_ids" in found
    assert pairs <= (set(found) == set(expected)), "of pairs, which text a token is of"


@slow
@pytest.mark.parametrize(("to", "close"), [("onnx-int8", 0.1), ("openvino", 0.02)])
@pytest.mark.parametrize("family", ["albert", "deberta-v2", "roberta"])
def test_other_families_in_fewer_bits(family, to, close, tmp_path):
    subword_model(family).save_pretrained(tmp_path / "student")
    subwords(family).tokenizer.save_pretrained(tmp_path / "student")
    ours = Predictor.from_pretrained(tmp_path / "student", device="cpu")
    texts, domains = [f"The plot of book {n} was gripping." for n in range(8)] * 2, ours.facts.domains
    rows = {"text": texts, "domain": [domains[i // 8 % len(domains)] for i in range(16)]}
    rows["label"] = [ours.facts.labels[i % len(ours.facts.labels)] for i in range(16)]
    rows = as_model_says(load_domains(rows), ours.facts, ours.facts.labels)
    checks = export_to(tmp_path / "student", tmp_path / "out", to, rows=rows, allowance=100).checks
    assert checks["largest_difference"] < close * max(1, checks["largest_logit"])


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deployment.md"


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("keep", ["head", "tail", "head_tail", "windows"])
def test_the_scripts_without_hrkd_read_what_the_student_reads(exported, tmp_path, capsys, keep, side):
    """Those of the page and of the card, on a text that is longer than the student reads, and on a short one."""
    folder = tmp_path / "export"
    shutil.copytree(exported, folder)
    record = json.loads((folder / EXPORT).read_text())
    record["facts"]["keep"], record["truncation_side"] = keep, side
    (folder / EXPORT).write_text(json.dumps(record))
    write_manifest(folder)
    predictor = Predictor.from_pretrained(folder)
    write_export_card(folder, record | {"checks": record["checks"]}, folder, what="a graph")
    of_page = re.search(r"```python\n(.*?)```", PAGE.read_text().partition("## Without hrkd")[2], re.DOTALL)[1]
    of_card = re.findall(r"```python\n(import json.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(of_card) == (keep != "windows")
    for script in (of_page, *of_card):
        for text in TEXTS[:2]:
            changed = script.replace('"deployed/', f'"{folder}/').replace("path/to/this/folder", str(folder))
            changed = changed.replace("Too heavy for daily use.", text).replace("Some text.", text)
            changed = changed.replace('"kitchen"', '"music"').replace("'books'", "'music'")
            found: dict = {}
            if keep == "windows" and text == TEXTS[1]:
                with pytest.raises(SystemExit, match="in several windows"):
                    exec(changed, found)
                continue
            exec(changed, found)
            expected = predictor.logits(Asked([text], None, [2]))[0][0]
            np.testing.assert_allclose(
                found["session"].run(["logits"], found["inputs"])[0][0], expected, atol=1e-5, err_msg=changed
            )
    assert capsys.readouterr().out


def broken(file, output, settings):
    """As :func:`rounding.quantise`, with weights that were lost."""
    import onnx

    graph = onnx.load(str(file))
    for weight in graph.graph.initializer:
        if len(weight.dims) == 2:
            weight.raw_data = bytes(len(weight.raw_data))
    onnx.save(graph, str(output))


class TestRounded:
    def own_labels(self, student_folder, rows):
        """The rows with the labels that the student gives: it is right about all of them."""
        ours = Predictor.from_pretrained(student_folder, device="cpu")
        texts, domains = list(rows.rows["text"][:]), [rows.domains[i] for i in rows.domain_ids]
        labels = [each["label"] for each in ours(texts, domain=domains)]
        given = load_domains({"text": texts, "domain": domains, "label": labels})
        return as_model_says(given, ours.facts, ours.facts.labels)

    def test_one_that_is_as_good_is_written(self, student_folder, labelled, tmp_path):
        rows = self.own_labels(student_folder, labelled)
        record = export_to(student_folder, tmp_path / "int8", "onnx-int8", rows=rows, allowance=20)
        assert record.checks["allowance"] == 20
        bits = 7 if record.settings["reduced"] else 8
        assert record.checks["tried"] == [f"attention as one node, weights of {bits} bits, a scale for each linear map"]
        assert 0 < record.checks["largest_difference"] < 0.1 * record.checks["largest_logit"]
        whole = sum(own["export"] for own in record.checks["accuracy"].values()) / 3
        assert whole >= 0.8
        assert Predictor.from_pretrained(tmp_path / "int8")("bad", domain="music")

    def test_its_card_says_the_size_that_is_there(self, student_folder, labelled, tmp_path):
        rows, shown = self.own_labels(student_folder, labelled), []
        export(student_folder, tmp_path / "int8", "onnx-int8", data=rows, allowance=20, show=shown.append)
        files = [path for path in (tmp_path / "int8").iterdir() if path.name not in ("README.md", "manifest.json")]
        size = f"{sum(path.stat().st_size for path in files) / 1e6:.3f} MB without card and manifest"
        assert size in (tmp_path / "int8" / "README.md").read_text()
        assert size in shown[0].notes[0]

    def test_others_are_tried_where_the_first_is_not(self, student_folder, labelled, tmp_path, monkeypatch):
        right, calls = rounding.quantise, []

        def first_is_broken(file, output, settings):
            calls.append(settings)
            (broken if len(calls) == 1 else right)(file, output, settings)

        monkeypatch.setattr(rounding, "quantise", first_is_broken)
        rows = self.own_labels(student_folder, labelled)
        record = export_to(student_folder, tmp_path / "int8", "onnx-int8", rows=rows, allowance=20)
        assert len(calls) == 2
        assert "lost" in record.checks["tried"][0]
        assert record.settings["per_channel"] is True

    def test_none_is_written_where_all_lose_too_much(self, student_folder, labelled, tmp_path, monkeypatch):
        rows = self.own_labels(student_folder, labelled)
        export_to(student_folder, tmp_path / "int8", "onnx-int8", rows=rows, allowance=20)
        before = {path.name: path.read_bytes() for path in (tmp_path / "int8").iterdir()}
        monkeypatch.setattr(rounding, "quantise", broken)
        with pytest.raises(
            ArtifactError,
            match=r"(?s)nothing was written.*points lost on the mean.*\nExport it in 32 bits \(",
        ) as error:
            export_to(student_folder, tmp_path / "int8", "onnx-int8", rows=rows, overwrite=True)
        assert str(error.value).count("a scale for each") >= 4, "every way that was tried is named"
        assert "True" not in str(error.value)
        assert "pieces" not in str(error.value), "what was not asked for is no advice"
        assert {path.name: path.read_bytes() for path in (tmp_path / "int8").iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["int8"]

    def test_rows_are_needed(self, student_folder, labelled, tmp_path):
        with pytest.raises(DataError, match="expected the labels "):
            export_to(student_folder, tmp_path / "int8", "onnx-int8", rows=replace(labelled, labels=("a", "b", "c")))
        with pytest.raises(DataError, match="on labelled rows; name a recipe"):
            export_to(student_folder, tmp_path / "int8", "onnx-int8")
        assert not (tmp_path / "int8").exists()

    def test_what_is_said_of_the_check_must_be_sound(self, student_folder, labelled, tmp_path):
        rows = self.own_labels(student_folder, labelled)
        for wrong in (float("nan"), -1, float("inf"), True):
            with pytest.raises(DataError, match="--allowance: expected points from 0"):
                export_to(student_folder, tmp_path / "int8", "onnx-int8", rows=rows, allowance=wrong)
        with pytest.raises(DataError, match="--vocabulary: expected a whole number from 1, got 0"):
            export_to(student_folder, tmp_path / "int8", "onnx", rows=rows, calibration=rows, vocabulary=0)
        some = rows.select(np.flatnonzero(rows.domain_ids > 0))
        with pytest.raises(DataError, match="none of books, so that their heads cannot be checked"):
            export_to(student_folder, tmp_path / "int8", "onnx-int8", rows=some)
        assert list(tmp_path.iterdir()) == []

    def test_a_warning_where_sums_of_8_bits_can_overflow(self, student_folder, labelled, tmp_path, monkeypatch, caplog):
        rows = self.own_labels(student_folder, labelled)
        monkeypatch.setattr(rounding, "IN_8_BITS", {"processor"})  # a word of any machine's facts
        export_to(student_folder, tmp_path / "int8", "onnx-int8", rows=rows, allowance=20)
        assert "can overflow" not in caplog.text
        monkeypatch.setattr(rounding, "IN_8_BITS", set())
        monkeypatch.setattr(processor, "CPU_FACTS", tmp_path / "nowhere")
        Predictor.from_pretrained(tmp_path / "int8")
        assert "can overflow" not in caplog.text, "where nothing is known of the processor"
        (tmp_path / "cpuinfo").write_text("processor : 0\n")
        monkeypatch.setattr(processor, "CPU_FACTS", tmp_path / "cpuinfo")
        Predictor.from_pretrained(tmp_path / "int8")
        assert "its 8-bit sums can overflow on this processor" in caplog.text

    def test_processors_without_8_bit_products_get_7_bits(self, tmp_path, monkeypatch):
        facts = tmp_path / "cpuinfo"
        monkeypatch.setattr(processor, "CPU_FACTS", facts)
        assert not rounding.multiplies_in_8_bits(), "not known"
        for flags, can in (("fpu avx2 avx512f", False), ("fpu avx2 avx512_vnni", True), ("fp asimddp", True)):
            facts.write_text(f"processor : 0\nflags : {flags}\n")
            assert rounding.multiplies_in_8_bits() is can
        assert all(each.reduced for each in rounding.settings_to_try(12, reduced=True))
        assert not next(rounding.settings_to_try(12, reduced=False)).reduced

    @slow
    @pytest.mark.parametrize("to", ["openvino", "openvino-int8"])
    def test_openvino(self, student_folder, labelled, tmp_path, to, capsys):
        rows = self.own_labels(student_folder, labelled)
        record = export_to(student_folder, tmp_path / to, to, rows=rows, calibration=rows, allowance=30)
        assert capsys.readouterr().out == "", "no bars of what makes it"
        assert (tmp_path / to / "model.bin").is_file()
        assert record.checks["accuracy"].keys() == set(rows.domains)
        share = record.checks["largest_difference"] / record.checks["largest_logit"]
        assert 0 < share < (0.1 if to == "openvino-int8" else 0.02)
        assert Predictor.from_pretrained(tmp_path / to)("bad", domain="music")


class TestVocabulary:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("words") / "student"
        subword_model("bert").save_pretrained(folder)
        subwords("bert").tokenizer.save_pretrained(folder)
        return folder

    def rows(self, folder, texts):
        ours = Predictor.from_pretrained(folder, device="cpu")
        domains = [ours.facts.domains[i % 2] for i in range(len(texts))]
        labels = [each["label"] for each in ours(texts, domain=domains)]
        given = load_domains({"text": texts, "domain": domains, "label": labels})
        return as_model_says(given, ours.facts, ours.facts.labels)

    def test_texts_of_kept_pieces_are_answered_as_before(self, folder, tmp_path):
        rows = self.rows(folder, [f"the plot of book {n} was gripping" for n in range(12)])
        record = export_to(folder, tmp_path / "out", "onnx", rows=rows, calibration=rows, vocabulary=1)
        assert record.settings["pieces"] < record.settings["pieces_before"]
        assert record.checks["largest_difference"] < 1e-5
        assert record.checks["allowance"] == 0.5
        texts = list(rows.rows["text"][:])
        np.testing.assert_allclose(
            Predictor.from_pretrained(tmp_path / "out").probabilities(texts, domain="dvd"),
            Predictor.from_pretrained(folder, device="cpu").probabilities(texts, domain="dvd"),
            atol=1e-6,
        )
        export_to(folder, tmp_path / "whole", "onnx")
        sizes = [(tmp_path / name / "model.onnx").stat().st_size for name in ("out", "whole")]
        assert sizes[0] < sizes[1]
        assert Predictor.from_pretrained(tmp_path / "out")("entirely other words", domain="dvd")

    def test_all_rows_of_texts_are_compared_and_none_is_told(self, folder, monkeypatch, caplog):
        rows = self.rows(folder, ["the plot of this book was gripping and the film was unreadable"] * 3)
        odd = self.rows(folder, [f"the {word}" for word in ("kettle", "café", "headphones", "watch")])
        engine = TorchEngine.open(folder, device="cpu")
        engine.model.config.keep, engine.model.config.max_tokens = "windows", 6
        seen, right = [], TorchEngine.logits

        def noted(self, columns, domain_ids):
            seen.append(len(columns["input_ids"]))
            return right(self, columns, domain_ids)

        monkeypatch.setattr(TorchEngine, "logits", noted)
        trimming.trimmed(engine, rows, 1)
        assert len(seen) == 6
        assert min(seen) > 1
        assert "none of them shows" not in caplog.text
        seen.clear()
        trimming.trimmed(engine, odd, 4)
        assert seen == []
        assert "all of 4 training texts have pieces that are not kept" in caplog.text

    def test_what_it_needs(self, folder, student_folder, tmp_path):
        rows = self.rows(folder, [f"the plot of book {n} was gripping" for n in range(4)])
        with pytest.raises(DataError, match="on labelled rows"):
            export_to(folder, tmp_path / "out", "onnx", vocabulary=1)
        with pytest.raises(DataError, match="needs training texts"):
            export_to(folder, tmp_path / "out", "onnx", rows=rows, vocabulary=1)
        with pytest.raises(RecipeError, match="--vocabulary: not for a plain export"):
            export(student_folder, tmp_path / "out", vocabulary=1)

    def test_a_smaller_student_that_says_something_else_is_not_written(self, folder, tmp_path, monkeypatch):
        right = Vocabulary.prune

        def wrong(self, model):
            smaller = right(self, model)
            with torch.no_grad():
                smaller.encoder.get_input_embeddings().weight.copy_(torch.randn(len(self.kept), 16))
            return smaller

        monkeypatch.setattr(Vocabulary, "prune", wrong)
        rows = self.rows(folder, [f"the plot of book {n} was gripping" for n in range(12)])
        with pytest.raises(ArtifactError, match="pieces are all kept is answered otherwise"):
            export_to(folder, tmp_path / "out", "onnx", rows=rows, calibration=rows, vocabulary=1)
        assert not (tmp_path / "out").exists()


def checks(difference=0.0, **lost):
    """Of each domain 1,000 texts, of which ``lost`` says how many points are lost: none gained, or none lost."""
    accuracy = {
        name: {
            "texts": 1000, "student": 0.9, "export": 0.9 - points / 100, "lost": max(0, round(10 * points)),
            "gained": max(0, round(-10 * points)), "p": 2 * 0.5 ** abs(round(10 * points)),
        }
        for name, points in lost.items()
    }  # fmt: skip
    finite = difference is not None and np.isfinite(difference)
    return {"largest_difference": difference, "largest_logit": 10.0, "finite": bool(finite), "accuracy": accuracy}


@pytest.mark.parametrize(
    ("found", "exact", "words"),
    [
        (checks(9e-4), True, []),
        (checks(2e-3), True, ["logits differ by 0.002 (at most 0.001 expected)"]),
        (checks(float("nan")), True, ["its logits are not finite"]),
        (checks(float("nan")), False, ["its logits are not finite"]),
        (checks(None) | {"finite": True}, True, ["logits are of other rows (at most 0.001 expected)"]),
        (checks(None, books=0.1) | {"finite": True}, False, []),
        (checks(0.0) | {"routed": checks(2e-3)}, True, ["logits differ by 0.002 (at most 0.001 expected)"]),
        (checks(0.0) | {"routed": checks(2.0) | {"texts": 100, "other_answers": 5}}, False, []),
        (checks(0.0) | {"routed": checks(2.0) | {"texts": 100, "other_answers": 6}}, False, [
            "6 of 100 texts of unknown domains are answered otherwise"
        ]),
        (checks(3.0, books=0.5, music=0.5), False, []),
        (checks(3.0, books=-2, music=0.5), False, []),
        (checks(3.0, books=0.5, music=1.0), False, [
            "0.75 points lost on the mean over domains (allowed: 0.5)",
            "1.00 on music (of 1,000 texts 10 lost, 0 gained), p = 0.002",
        ]),
        (checks(3.0, books=2.0, music=1.0), False, [
            "1.50 points lost on the mean over domains (allowed: 0.5)",
            "2.00 on books (of 1,000 texts 20 lost, 0 gained), p = 1.9e-06, and 1 more domain",
        ]),
        (checks(3.0, books=-2, music=1.0), False, ["1.00 on music (of 1,000 texts 10 lost, 0 gained), p = 0.002"]),
    ],
)  # fmt: skip
def test_what_fails_a_check(found, exact, words):
    assert faults(found, exact=exact, allowance=0.5) == words


def answered(exported, lost, gained, texts=250):
    """What a check finds of two domains, where the student is right about all but ``gained`` texts of the first."""
    predictor = Predictor.from_pretrained(exported)
    asked = Asked(["good"] * texts + ["bad"] * 600, None, [0] * texts + [1] * 600)
    logits, owners = predictor.logits(asked)
    labels, student = logits.argmax(axis=1), logits.copy()
    student[:gained] = np.roll(logits[:gained], 1, axis=1)
    labels[texts - lost : texts] = (labels[texts - lost : texts] + 1) % 3
    student[texts - lost : texts] = np.roll(logits[texts - lost : texts], 1, axis=1)
    return hold_against(Reference(asked, student, owners, labels, ("books", "music")), predictor)


def test_a_domain_fails_only_where_more_is_lost_than_chance_explains(exported):
    """Two answers of 250 are more than the allowance, and nothing that speaks of other texts."""
    found = answered(exported, lost=2, gained=0)
    own = found["accuracy"]["books"]
    assert (own["lost"], own["gained"], own["p"], own["student"]) == (2, 0, 0.5, 1.0)
    assert faults(found, exact=False, allowance=0.5) == []
    assert losses(found) == ("0.40 points lost on the mean over domains, 0.80 on books (of 250 texts 2 lost, 0 gained)")
    assert faults(found, exact=False, allowance=0.3) == [
        "0.40 points lost on the mean over domains (allowed: 0.3)",
        "0.80 on books (of 250 texts 2 lost, 0 gained), p = 0.5",
    ], "whatever chance explains, the mean rules"
    found = answered(exported, lost=14, gained=2)
    assert faults(found, exact=False, allowance=3) == ["4.80 on books (of 250 texts 14 lost, 2 gained), p = 0.0042"]
    assert faults(found, exact=False, allowance=5) == []


def test_other_rows_are_a_fault(exported):
    """An export that makes other rows of a text is not held against them one by one."""
    asked = Asked(["good", "bad"], None, [0, 0])
    predictor = Predictor.from_pretrained(exported)
    logits = predictor.logits(asked)[0]
    windows = logits[[0, 0, 1]], np.array([0, 0, 1])
    labels = logits.argmax(axis=1)
    found = hold_against(Reference(asked, *windows, labels, ("books",)), predictor)
    assert found["largest_difference"] is None
    expected = {"texts": 2, "student": 1.0, "export": 1.0, "lost": 0, "gained": 0, "p": 1.0}
    assert found["accuracy"] == {"books": expected}
    assert faults(found, exact=True, allowance=0.5) != []
    assert faults(found, exact=False, allowance=0.5) == []


class TestRefusals:
    def test_no_student(self, tmp_path, exported):
        with pytest.raises(ArtifactError, match="no such folder"):
            export_to(tmp_path / "nowhere", tmp_path / "out", "onnx")
        with pytest.raises(ArtifactError, match="no hrkd model"):
            export_to(exported, tmp_path / "out", "onnx")
        assert not (tmp_path / "out").exists()

    def test_a_place_that_is_taken(self, student_folder, exported, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(ArtifactError, match="is a file; name a folder"):
            export_to(student_folder, tmp_path / "file", "onnx")
        with pytest.raises(ArtifactError, match="not empty and no earlier export"):
            export_to(student_folder, tmp_path, "onnx")
        with pytest.raises(ArtifactError, match=r"holds an earlier export \(onnx\); replace it with overwrite"):
            export_to(student_folder, exported, "onnx")

    def test_what_another_put_there_stays(self, student_folder, exported, tmp_path):
        shutil.copytree(exported, tmp_path / "out")
        (tmp_path / "out" / "notes.txt").write_text("mine")
        export_to(student_folder, tmp_path / "out", "onnx", overwrite=True)
        assert (tmp_path / "out" / "notes.txt").read_text() == "mine"

    def test_a_package_that_is_missing_is_named_with_the_extra(self, student_folder, tmp_path, monkeypatch):
        monkeypatch.setattr("hrkd.deploy.export.targets.find_spec", lambda name: None)
        with pytest.raises(ModelError, match=r"needs onnx, onnxscript, onnxruntime, not .*pip install 'hrkd\[onnx\]'"):
            export_to(student_folder, tmp_path / "out", "onnx")
        with pytest.raises(RecipeError, match="there is no 'tflite'; possible are plain, onnx"):
            check_target("tflite")
        assert set(TARGETS) == {"plain", "onnx", "onnx-int8", "openvino", "openvino-int8"}

    def test_a_tokenizer_without_a_fast_form(self, student, tmp_path, monkeypatch):
        engine = command.TorchEngine(student, subwords("bert").tokenizer)
        monkeypatch.setattr(type(engine.tokenizer), "is_fast", False)
        with pytest.raises(ModelError, match="has no fast form"):
            command._check_tokenizer(engine, tmp_path)

    @pytest.mark.parametrize(
        ("to", "step"),
        [
            ("onnx-int8", "hrkd.deploy.export.rounding.quantise"),
            ("plain", "hrkd.models.multi_domain.MultiDomainClassifier.to_plain"),
            *slowly(
                ("onnx", "torch.onnx.ONNXProgram.save"),
                ("onnx-int8", "torch.onnx.ONNXProgram.save"),
                ("openvino", "hrkd.deploy.export.openvino_ir.write_graph"),
                ("openvino", "hrkd.deploy.export.openvino_ir.write"),
                ("openvino-int8", "hrkd.deploy.export.openvino_ir.write"),
            ),
        ],
    )
    def test_a_disk_that_is_full(self, student_folder, labelled, tmp_path, monkeypatch, to, step):
        """From one step on no file may have more than some bytes."""
        made, soft_and_hard = resolve_name(step), resource.getrlimit(resource.RLIMIT_FSIZE)

        def limited(*arguments, **options):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, soft_and_hard[1]))
            return made(*arguments, **options)

        monkeypatch.setattr(step, limited)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)  # halves of it would be read by whoever comes next
        rows = {"rows": labelled, "calibration": labelled, "allowance": 99}
        make = export_plain if to == "plain" else partial(export_to, to=to, **rows)
        try:
            with pytest.raises(ArtifactError, match=r"out: cannot be written: File too large; make room there"):
                make(student_folder, tmp_path / "out")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, soft_and_hard)
        assert list(tmp_path.iterdir()) == []


class TestDamage:
    @pytest.fixture
    def folder(self, exported, tmp_path):
        return shutil.copytree(exported, tmp_path / "export")

    def test_another_byte(self, folder):
        content = bytearray((folder / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "model.onnx").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"model.onnx \(.*make the export anew"):
            Predictor.from_pretrained(folder)

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("model.onnx", b"nothing", "ONNX Runtime cannot open it"),
            ("tokenizer.json", b"{}", "no tokenizer that can be read"),
            (EXPORT, b"{", "the record of an export cannot be read"),
            (EXPORT, b"{}", "the record of an export is damaged: it lacks target"),
        ],
    )
    def test_files_that_hold_something_else(self, folder, name, content, words):
        (folder / name).write_bytes(content)
        write_manifest(folder)
        with pytest.raises(ArtifactError, match=words):
            Predictor.from_pretrained(folder)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"version": 2}, "version 2, where hrkd-export version 1 is read"),
            ({"facts": {"domains": ["a"]}}, "its facts are no longer what was written"),
            ({"inputs": ["input_ids", "foo"]}, "its facts are no longer what was written"),
            ({"target": "onnx-int4"}, "its facts are no longer what was written"),
            ({"padding": {"input_ids": "0"}}, "its facts are no longer what was written"),
            ({"model": "../model.onnx"}, "is missing"),
            ({"model": "other.onnx"}, "other.onnx is missing"),
        ],
    )
    def test_a_record_that_says_something_else(self, folder, change, words):
        record = json.loads((folder / EXPORT).read_text())
        (folder / EXPORT).write_text(json.dumps(record | change))
        write_manifest(folder)
        with pytest.raises(ArtifactError, match=words):
            read_export(folder)

    @pytest.mark.parametrize(
        "change", [{"keep": "x"}, {"columns": {}}, {"max_tokens": "9"}, {"labels": ["a", "a"]}, {"one_head": 1}]
    )
    def test_facts_that_are_none(self, folder, change):
        record = json.loads((folder / EXPORT).read_text())
        record["facts"] |= change
        (folder / EXPORT).write_text(json.dumps(record))
        write_manifest(folder)
        with pytest.raises(ArtifactError, match="its facts are no longer what was written"):
            read_export(folder)

    def test_a_graph_that_fails(self, folder):
        record = json.loads((folder / EXPORT).read_text())
        record["inputs"].remove("token_type_ids")
        record["facts"]["domains"] += ["more"]
        (folder / EXPORT).write_text(json.dumps(record))
        write_manifest(folder)
        with pytest.raises(ArtifactError, match="its graph fails"):
            Predictor.from_pretrained(folder)("good", domain="more")

    def test_devices_and_threads(self, folder, student_folder):
        with pytest.raises(ModelError, match=r"'cuda' cannot be used: .* is an export, for the processor"):
            Predictor.from_pretrained(folder, device="cuda")
        with pytest.raises(ModelError, match="is a model of hrkd, for which torch decides"):
            Predictor.from_pretrained(student_folder, threads=1)

    def test_only_an_export_is_one(self, folder, tmp_path):
        assert is_export(folder)
        assert not any(map(is_export, (tmp_path, tmp_path / "nowhere", "x" * 5000, "a\0b")))


def test_nothing_is_reported_to_the_makers_of_openvino():
    """In a process of its own: what one import has done, another cannot undo."""
    code = (
        "import sys; from hrkd.deploy.engines.openvino_package import import_quietly\n"
        "openvino, nncf = import_quietly('openvino'), import_quietly('nncf')\n"
        "from openvino.tools.ovc import telemetry\n"
        "from nncf.telemetry import telemetry as other\n"
        "print(type(telemetry).__module__, type(other).__name__, 'openvino_telemetry' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "MagicMock", "False"]
    with pytest.raises(ModelError, match=r"nothing_of_that_name is not installed; pip install 'hrkd\[openvino\]'"):
        import_quietly("nothing_of_that_name")
    assert REPORTER not in sys.modules or sys.modules[REPORTER] is not None


def test_only_a_student_is_exported(student_folder, exported, tmp_path, capsys):
    plain = export(student_folder, tmp_path / "plain")
    for folder, what in ((exported, r"an export \(onnx\)"), (plain, "a plain export")):
        with pytest.raises(ArtifactError, match=rf"{folder}: is {what}; give the student that it was made from"):
            export(folder, tmp_path / "again", "onnx")
        assert main(["export", str(folder), str(tmp_path / "again"), "--to", "onnx"]) == 2
        assert "give the student that it was made from" in capsys.readouterr().err


def test_predict_takes_the_folder_of_a_run(student_folder, tmp_path, capsys):
    shutil.copytree(student_folder, tmp_path / "run" / "student")
    (tmp_path / "run" / "recipe.yaml").touch()
    for folder in (tmp_path / "run", tmp_path / "run" / "student"):
        assert main(["predict", str(folder), "--domain", "books", "good"]) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one == other
