"""Folders of models from anywhere: what is opened, and the one error for whatever is not."""

import builtins
import json
import shutil
import sys
from contextlib import suppress

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from hrkd.errors import ArtifactError, HrkdError, ModelError
from hrkd.models.folder import fetch, glance, look_into
from hrkd.models.loading import load_fine_tuned, read_config
from hrkd.models.open_model import open_model, read_facts
from hrkd.models.plain import load_plain_classifier
from hrkd.models.tokenizers import check_fits, load_tokenizer
from hrkd.support.manifest import write_manifest
from tiny import DOMAINS, LABELS, letter_tokenizer, tiny_batch, tiny_model, tiny_plain

OPTIONS = {"domains": DOMAINS, "labels": LABELS, "max_tokens": 32}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A plain classifier and a model of hrkd, in folders that no test changes."""
    root = tmp_path_factory.mktemp("models")
    plain = tiny_plain("bert")
    plain.config.id2label = dict(enumerate(LABELS))
    plain.save_pretrained(root / "plain")
    tiny_model().save_pretrained(root / "own")
    for name in ("plain", "own"):
        letter_tokenizer(root / name)
    return root


@pytest.fixture
def plain(kept, tmp_path):
    return shutil.copytree(kept / "plain", tmp_path / "model")


@pytest.fixture
def own(kept, tmp_path):
    return shutil.copytree(kept / "own", tmp_path / "own")


def edit(folder, name="config.json", **fields):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def weights_of(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def sharded(folder, names=("a.safetensors", "b.safetensors")):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {key: names[number % 2] for number, key in enumerate(state)}
    for name in names:
        if (folder / name).parent == folder:
            part = {key: tensor for key, tensor in state.items() if places[key] == name}
            save_file(part, folder / name, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def bare(folder):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 123\n"
BROKEN = {
    "a list": (lambda f: (f / "config.json").write_text("[1]"), "expected an object of JSON, found a list"),
    "cut": (lambda f: (f / "config.json").write_text('{"a":'), "no JSON"),
    "deep": (lambda f: (f / "config.json").write_text("[" * 100_000), "no JSON"),
    "utf-16": (lambda f: (f / "config.json").write_text("{}", encoding="utf-16"), "no JSON"),
    "link": (
        lambda f: [(f / "config.json").unlink(), (f / "config.json").symlink_to("config.json")],
        r"config\.json: no file that can be read",
    ),
    "no family": (lambda f: edit(f, model_type=None), "names no family"),
    "family of wrong type": (lambda f: edit(f, model_type=["bert"]), "names no family"),
    "unknown family": (lambda f: edit(f, model_type="evil"), r"the model \(evil\) is of no family that transformers"),
    "code": (
        lambda f: edit(f, model_type="evil", auto_map={"AutoConfig": "own.Config"}),
        r"the model \(evil\) brings code of its own \(auto_map in config\.json\), which hrkd does not run; choose an",
    ),
    "size in words": (lambda f: edit(f, hidden_size="abc"), "its configuration cannot be read .*hidden_size.*expected"),
    "no size": (lambda f: edit(f, hidden_size=None), "its configuration cannot be read .*hidden_size"),
    "negative": (lambda f: edit(f, num_hidden_layers=-1), "sizes of an encoder are 1 or more.* num_hidden_layers: -1"),
    "heads": (lambda f: edit(f, num_attention_heads=5), "no model can be made of its config"),
    "many layers": (lambda f: edit(f, num_hidden_layers=10**9), "asks for 1,000,000,000 layers, the weights are"),
    "terabytes": (lambda f: edit(f, vocab_size=10**12), "asks for 32,000,000,.* parameters, the weights hold"),
    "positions": (lambda f: edit(f, max_position_embeddings=10**11), "parameters, the weights hold"),
    "quantised": (
        lambda f: edit(f, quantization_config={"quant_method": "x"}),
        "quantised .*take the model in 32 or 16",
    ),
    "kernel": (
        lambda f: edit(f, attn_implementation={"": "kernels-community/evil"}),
        "asks for attention by code of the hub",
    ),
    "adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "holds an adapter .*merge_and_unload"),
    "adapter alone": (bare, "holds an adapter"),
    "pickle": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        r"no model\.safetensors, found pytorch_model\.bin; weights are read from safetensors alone",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors is missing"),
    "pointer": (
        lambda f: (f / "model.safetensors").write_bytes(LFS),
        r"model\.safetensors is a pointer of Git LFS, not the file itself; fetch it \(git lfs pull\)",
    ),
    "configuration that is a pointer": (
        lambda f: (f / "config.json").write_bytes(LFS),
        r"config\.json is a pointer of Git LFS",
    ),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "is damaged: no whole safetensors"),
    "no tensors": (lambda f: save_file({}, f / "model.safetensors"), "its weights are empty"),
    "cut weights": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
        "is damaged: no whole safetensors",
    ),
    "bytes": (
        lambda f: weights_of(f, lambda s: s.update({k: v.to(torch.int8) for k, v in s.items()})),
        r"its weights are quantised: .*weight \(I8\)",
    ),
    "shard that is a pickle": (lambda f: sharded(f, ("a.bin", "b.safetensors")), r"index\.json: names a\.bin; weights"),
    "shard elsewhere": (
        lambda f: sharded(f, ("../a.safetensors", "b.safetensors")),
        r"names files outside its folder \(\.\./a\.safetensors\)",
    ),
    "shard missing": (
        lambda f: [sharded(f), (f / "b.safetensors").unlink()],
        r"weights are missing: b\.safetensors, named by",
    ),
    "index": (
        lambda f: [sharded(f), (f / "model.safetensors.index.json").write_text("[]")],
        "does not say which file holds which weight",
    ),
    "nan": (
        lambda f: weights_of(f, lambda s: s["bert.encoder.layer.1.output.dense.weight"].view(-1)[:1].fill_(torch.nan)),
        r"weights that are no numbers: bert\.encoder\.layer\.1\.output\.dense\.weight holds NaN",
    ),
    "inf": (
        lambda f: weights_of(f, lambda s: s["bert.embeddings.LayerNorm.bias"][:1].fill_(torch.inf)),
        r"bert\.embeddings\.LayerNorm\.bias holds infinite numbers",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_opened_is_one_error_for_teachers_and_encoders_alike(plain, case):
    damage, said = BROKEN[case]
    damage(plain)
    for load in (
        lambda: load_fine_tuned(str(plain), **OPTIONS),
        lambda: load_plain_classifier(plain, LABELS, fine_tuned=False),
    ):
        with pytest.raises(ModelError, match=said) as caught:
            load()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 700


NAMES = {
    "gap": ({"0": "bad", "2": "good"}, "found the numbers 0, 2"),
    "number": (3, "found 3"),
    "nothing": ({}, r"found \{\}"),
    "no names": ({"0": ["bad"], "1": "fair", "2": "good"}, "where a name is expected"),
    "more": (
        dict(enumerate([*LABELS, "great"])),
        "its head has 3 outputs, and config.json .* names 4: bad, fair, good",
    ),
    "fewer": ({"0": "bad", "1": "good"}, "its head has 3 outputs, and config.json .* names 2: bad, good"),
    "twice": (dict(enumerate(["bad", "bad", "good"])), "its 3 outputs are called bad, bad, good"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_of_outputs_that_are_none(plain, case):
    """An encoder that gets a new head does not need them."""
    names, said = NAMES[case]
    edit(plain, id2label=names)
    with pytest.raises(ModelError, match=said):
        load_fine_tuned(str(plain), **OPTIONS)
    assert load_plain_classifier(plain, ("no", "yes"), fine_tuned=False).config.id2label == {0: "no", 1: "yes"}


@pytest.mark.parametrize("names", [["good", "bad", "fair"], {"2": "fair", "0": "good", "1": "bad"}])
def test_names_of_outputs_in_any_form(plain, names):
    edit(plain, id2label=names)
    with torch.no_grad():
        expected = tiny_plain("bert")(**tiny_batch()).logits[:, [1, 2, 0]]
        found = load_fine_tuned(str(plain), **OPTIONS)(**tiny_batch(), domain_ids=torch.zeros(6, dtype=torch.long))
    assert torch.allclose(found.logits, expected, atol=1e-5)


def test_names_of_outputs_may_be_numbers(plain):
    edit(plain, id2label={"0": 3, "1": 1, "2": 2})
    assert load_fine_tuned(str(plain), domains=DOMAINS, labels=("1", "2", "3"), max_tokens=32).labels == ("1", "2", "3")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_and_any_number_of_files_are_computed_in_32_bits(plain, own, kind):
    for folder in (plain, own):
        weights_of(folder, lambda state: state.update({name: each.to(kind) for name, each in state.items()}))
        edit(folder, dtype=str(kind).removeprefix("torch."))
        sharded(folder)
    models = load_plain_classifier(plain, LABELS, fine_tuned=True), open_model(own)[0]
    assert {parameter.dtype for model in models for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("task", ["multi_label_classification", "regression"])
def test_a_classifier_of_another_task_is_told_and_its_task_not_taken(plain, caplog, task):
    edit(plain, problem_type=task)
    for _ in range(2):
        teacher = load_fine_tuned(str(plain), **OPTIONS)
    assert [f"was trained for {task}" in record.message for record in caplog.records] == [True], "once"
    assert teacher.encoder.config.problem_type == "single_label_classification"
    assert "problem_type" not in teacher.config.encoder


# --- code of a folder

EVIL = "import pathlib\npathlib.Path(__file__).with_name('RAN').touch()\nraise SystemExit('it ran')\n"


@pytest.fixture
def answers_yes(monkeypatch):
    """Somebody who says yes to whatever is asked."""
    asked = []
    monkeypatch.setattr(builtins, "input", lambda *prompt: asked.append(prompt) or "y")
    before = set(sys.modules)
    yield asked
    assert not [name for name in set(sys.modules) - before if name.startswith("transformers_modules")]


@pytest.mark.parametrize("family", ["evil", "bert"])
def test_code_of_a_folder_never_runs_and_nobody_is_asked(plain, own, answers_yes, family):
    classes = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer")
    auto_map = {name: ["own.Own", "own.Own"] if name == "AutoTokenizer" else "own.Own" for name in classes}
    for folder in (plain, own):
        (folder / "own.py").write_text(EVIL)
        edit(folder, "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Own")
    edit(plain, model_type=family, auto_map=auto_map)
    encoder = json.loads((own / "config.json").read_text())["encoder"]
    edit(own, auto_map=auto_map, encoder=encoder | {"model_type": family, "auto_map": auto_map})
    for call in (
        lambda: load_fine_tuned(str(plain), **OPTIONS),
        lambda: load_plain_classifier(plain, LABELS, fine_tuned=False),
        lambda: read_config(str(plain), LABELS),
        lambda: load_fine_tuned(str(own), **OPTIONS),
        lambda: open_model(own),
        lambda: read_config(str(own)),
    ):
        with suppress(HrkdError) if family == "bert" else pytest.raises(HrkdError) as caught:
            call()
        if family == "evil":  # of a known family transformers' own code may be used
            assert "brings code of its own (auto_map in" in str(caught.value)
    for folder in (plain, own):
        with pytest.raises(ModelError, match=r"the tokenizer brings code of its own \(auto_map in tokenizer_config"):
            load_tokenizer(folder)
    assert answers_yes == []
    assert not list(plain.parent.rglob("RAN"))


def test_a_family_that_transformers_has_is_opened_by_its_own_code_and_that_is_told(plain, answers_yes, caplog):
    edit(plain, auto_map={"AutoModelForSequenceClassification": "own.Own"})
    config = load_plain_classifier(plain, LABELS, fine_tuned=True).config
    assert (
        "brings code of its own (auto_map in config.json), which hrkd does not run; transformers' own bert"
        in caplog.text
    )
    assert not hasattr(config, "auto_map")
    assert answers_yes == []


def test_a_tokenizer_forgets_where_its_code_is(plain, answers_yes, tmp_path):
    edit(plain, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", None]})
    load_tokenizer(plain).save_pretrained(tmp_path / "again")
    assert "auto_map" not in (tmp_path / "again" / "tokenizer_config.json").read_text()


# --- models of hrkd

OWN = {
    "encoder": ("bert", "encoder: expected its configuration, found 'bert'"),
    "domains": (3, "names no domains or labels"),
    "domains twice": (["a", "a", "b"], "names no domains or labels, or one twice"),
    "id2label": (["a", "b"], "names no domains or labels"),
    "heads": ("each", "heads, keep or max_tokens are no longer what was written"),
    "max_tokens": (True, "heads, keep or max_tokens are no longer what was written"),
    "keep": ("middle", "keep or max_tokens are no longer what was written"),
    "max_tokens beyond": (10**6, "max_tokens: 1000000, the encoder takes 40"),
    "columns": ({"text": 1, "text_pair": None, "label": "l", "domain": "d"}, "columns, heads, keep or max_tokens"),
}


@pytest.mark.parametrize("case", OWN)
def test_fields_of_an_own_model_that_are_no_longer_right(own, case):
    value, said = OWN[case]
    edit(own, **{case.split()[0]: value})
    for load in (lambda: open_model(own), lambda: load_fine_tuned(str(own), **OPTIONS)):
        with pytest.raises(ArtifactError, match=said):
            load()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hidden_size": "abc"}, "its configuration cannot be read .*hidden_size"),
        ({"model_type": 3}, "names no family"),
        ({"num_hidden_layers": -2}, "sizes of an encoder are 1 or more"),
        ({"num_hidden_layers": 10**9}, "asks for 1,000,000,000 layers"),
        ({"vocab_size": 10**12}, "parameters, the weights hold"),
        ({"quantization_config": {"a": 1}}, "quantised"),
        ({"_attn_implementation": "kernels-community/evil"}, "by code of the hub"),
    ],
)
def test_encoders_of_an_own_model_that_are_no_longer_right(own, fields, said):
    edit(own, encoder=json.loads((own / "config.json").read_text())["encoder"] | fields)
    with pytest.raises(ArtifactError, match=said):
        open_model(own)


def test_weights_and_outputs_of_an_own_model_are_numbers(own):
    name = "encoder.encoder.layer.1.intermediate.dense.weight"
    kept = (own / "model.safetensors").read_bytes()
    weights_of(own, lambda state: state[name].view(-1)[:1].fill_(torch.nan))
    with pytest.raises(ArtifactError, match=rf"{name} holds NaN; restore the folder"):
        open_model(own)
    (own / "model.safetensors").write_bytes(kept)
    weights_of(own, lambda state: state["heads.2.classifier.classifier.bias"].fill_(3e38))
    weights_of(own, lambda state: state["heads.2.classifier.classifier.weight"].fill_(3e38))
    with pytest.raises(ArtifactError, match="its outputs are NaN or infinite, though all its weights are numbers"):
        open_model(own)


def test_an_own_tokenizer_has_no_ids_beyond_its_encoder(own):
    vocabulary = json.loads((own / "tokenizer.json").read_text())
    vocabulary["model"]["vocab"]["a"] = 9999
    (own / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(ArtifactError, match=r"the tokenizer has 1 token \(a\) beyond the 60 of the encoder"):
        open_model(own)


def test_a_changed_file_of_an_export_or_an_own_folder_is_named(plain, own):
    for folder in (plain, own):
        write_manifest(folder)
        look_into(folder)
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[-3] ^= 1
        (folder / "model.safetensors").write_bytes(content)
    for load in (
        lambda: load_plain_classifier(plain, LABELS, fine_tuned=True),
        lambda: read_config(str(plain)),
        lambda: load_tokenizer(plain),
        lambda: read_facts(own),
        lambda: open_model(own),
    ):
        with pytest.raises(ArtifactError, match=r"model\.safetensors \(its check sum differs\)"):
            load()


def test_an_own_model_is_no_plain_encoder(own):
    with pytest.raises(ModelError, match=r"hrkd wrote this model, .*teacher\.fine_tuned, and hrkd export"):
        read_config(str(own), LABELS)


# --- names


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


def test_a_name_that_is_neither_folder_nor_known_is_told_at_once(offline, tmp_path):
    (tmp_path / "two" / "teacher").mkdir(parents=True)
    for source in ("two/teachr", "bert", "a b"):
        hint = r" \(did you mean two/teacher\?\)" if source == "two/teachr" else ""
        for look in (fetch, glance, load_tokenizer):
            with pytest.raises(ModelError, match=rf"^{source}: no such folder{hint}; .* HF_HUB_OFFLINE is set"):
                look(source)


def test_names_that_were_fetched_before_need_no_hub(offline, tmp_path, kept):
    place = tmp_path / "hub" / "models--owner--name"
    shutil.copytree(kept / "plain", place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    assert load_fine_tuned("owner/name", **OPTIONS).labels == LABELS
    assert load_tokenizer("owner/name")("abc")["input_ids"]


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "teacher").mkdir()
    for source, said in (
        (tmp_path / "loop", "a link that leads to no folder"),
        (tmp_path / "teachr", r"no such folder \(did you mean .*teacher\?\)"),
        ("x" * 5000, "no folder that can be read"),
        ("~nobody-of-this-name/x", "no folder that can be read"),
    ):
        with pytest.raises(ModelError, match=said):
            glance(source)


# --- tokenizers


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pad_token": None}, "the tokenizer has no padding token"),
        ({"pad_token": "<new>"}, r"the tokenizer has 1 token \(<new>\) beyond the 60"),
    ],
)
def test_tokenizers_that_do_not_fit(plain, fields, said):
    vocabulary = json.loads((plain / "tokenizer.json").read_text())
    vocabulary["model"]["vocab"] |= {f"<{i}>": i for i in range(57, 60)}  # no row of the table is left
    (plain / "tokenizer.json").write_text(json.dumps(vocabulary))
    edit(plain, "tokenizer_config.json", **fields)
    with pytest.raises(ModelError, match=f"^here: {said}"):
        check_fits(load_tokenizer(plain), tiny_plain("bert").config, pairs=False, where="here")


@pytest.mark.parametrize("length", ["x", -1, 0, True, float("nan")])
def test_a_length_of_a_tokenizer_that_is_none(plain, length):
    edit(plain, "tokenizer_config.json", model_max_length=length)
    with pytest.raises(ModelError, match="model_max_length: expected a number of tokens from 1, found"):
        load_tokenizer(plain)


def test_a_vocabulary_that_git_has_not_fetched(plain):
    (plain / "tokenizer.json").write_bytes(LFS)
    with pytest.raises(ModelError, match=r"tokenizer\.json is a pointer of Git LFS"):
        load_tokenizer(plain)
