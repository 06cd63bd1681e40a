import pytest
import torch

from hrkd.errors import ArtifactError, ModelError
from hrkd.models.domain_teachers import AveragedTeacher, RoutedTeacher, combined
from hrkd.models.loading import load_fine_tuned
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.tokenizers import check_same_tokenizer, load_tokenizer
from hrkd.models.trace import set_attention
from hrkd.support.domain_index import write_domain_index
from tiny import (
    DOMAINS,
    FAMILIES,
    LABELS,
    domain_ids,
    letter_tokenizer,
    tiny_batch,
    tiny_model,
    tiny_plain,
    tiny_tokenizer,
)

OPTIONS = {"domains": DOMAINS, "labels": LABELS, "max_tokens": 32}


def run(model, family="bert", **options):
    with torch.no_grad():
        return model(**tiny_batch(family), domain_ids=domain_ids(), **options)


def saved_plain(folder, family="bert", *, names=LABELS, seed=0, **sizes):
    plain = tiny_plain(family, seed=seed, **sizes)
    plain.config.id2label = dict(enumerate(names))
    plain.config.label2id = {name: i for i, name in enumerate(names)}
    plain.save_pretrained(folder)
    tiny_tokenizer(folder)
    return plain


def saved_own(folder, **options):
    model = tiny_model(**options)
    model.save_pretrained(folder)
    letter_tokenizer(folder)
    return model


def saved_parts(tmp_path, **sizes):
    for number, domain in enumerate(DOMAINS):
        saved_plain(tmp_path / domain, seed=number, **sizes)
    return {domain: str(tmp_path / domain) for domain in DOMAINS}


@pytest.mark.parametrize("mode", ["per_domain", "shared"])
def test_own_folder_comes_back(tmp_path, mode):
    model = saved_own(tmp_path, heads_mode=mode)
    teacher = load_fine_tuned(str(tmp_path), **OPTIONS)
    assert torch.allclose(run(teacher).logits, run(model).logits, atol=1e-6)
    assert not teacher.training


def test_domains_are_brought_to_the_datas_order(tmp_path):
    model = saved_own(tmp_path)
    teacher = load_fine_tuned(str(tmp_path), domains=("kitchen", "books"), labels=LABELS, max_tokens=20)
    assert (teacher.domains, len(teacher.heads), teacher.config.max_tokens) == (("kitchen", "books"), 2, 20)
    batch = tiny_batch()
    with torch.no_grad():
        ours = teacher(**batch, domain_ids=torch.tensor([0, 1] * 3)).logits
        theirs = model(**batch, domain_ids=torch.tensor([2, 0] * 3)).logits
    assert torch.allclose(ours, theirs, atol=1e-6)
    again = tmp_path / "again"
    teacher.save_pretrained(again)
    assert MultiDomainClassifier.from_pretrained(again).domains == ("kitchen", "books")


def test_domains_that_the_teacher_does_not_know_are_an_error(tmp_path):
    saved_own(tmp_path)
    with pytest.raises(ModelError, match="does not know the domains music, toys of the data"):
        load_fine_tuned(str(tmp_path), domains=("books", "music", "toys"), labels=LABELS, max_tokens=32)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_classifier_serves_all_domains_in_the_datas_order_of_labels(tmp_path, family):
    plain = saved_plain(tmp_path, family, names=("good", "bad", "fair"))
    teacher = load_fine_tuned(str(tmp_path), **OPTIONS)
    with torch.no_grad():
        expected = plain(**tiny_batch(family)).logits[:, [1, 2, 0]]
    assert torch.allclose(run(teacher, family).logits, expected, atol=1e-5)
    assert (teacher.labels, teacher.config.heads) == (LABELS, "shared")


def test_labels_of_an_own_teacher_are_reordered_in_every_head(tmp_path):
    model = saved_own(tmp_path)
    teacher = load_fine_tuned(str(tmp_path), domains=DOMAINS, labels=("good", "bad", "fair"), max_tokens=32)
    assert torch.allclose(run(teacher).logits, run(model).logits[:, [2, 0, 1]], atol=1e-6)
    assert teacher.labels == ("good", "bad", "fair")


def test_names_given_by_hand_match_outputs_without_names(tmp_path):
    plain = saved_plain(tmp_path, names=("LABEL_0", "LABEL_1", "LABEL_2"))
    with pytest.raises(ModelError) as caught:
        load_fine_tuned(str(tmp_path), **OPTIONS)
    for part in ("LABEL_0, LABEL_1, LABEL_2", "bad, fair, good", "give teacher.labels"):
        assert part in str(caught.value)
    teacher = load_fine_tuned(str(tmp_path), **OPTIONS, teacher_labels=["fair", "bad", "good"])
    with torch.no_grad():
        expected = plain(**tiny_batch()).logits[:, [1, 0, 2]]
    assert torch.allclose(run(teacher).logits, expected, atol=1e-5)


@pytest.mark.parametrize("given", [None, ["bad", "good"]])
def test_number_of_outputs_must_agree(tmp_path, given):
    saved_plain(tmp_path)
    with pytest.raises(ModelError, match="its 3 outputs"):
        load_fine_tuned(str(tmp_path), domains=DOMAINS, labels=("bad", "good"), max_tokens=32, teacher_labels=given)


def test_encoder_that_was_never_fine_tuned_is_an_error(tmp_path):
    tiny_plain("bert").bert.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no fine-tuned classifier: 2 weights.*teacher\.model"):
        load_fine_tuned(str(tmp_path), **OPTIONS)


def test_damaged_own_folder_is_an_error(tmp_path):
    saved_own(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ArtifactError, match=r"model\.safetensors is damaged: .*; restore the folder"):
        load_fine_tuned(str(tmp_path), **OPTIONS)


def test_own_model_of_the_hub_is_fetched_whole(tmp_path, monkeypatch):
    model = saved_own(tmp_path / "fetched")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tmp_path / "fetched"))
    teacher = load_fine_tuned("somebody/student", **OPTIONS)
    assert torch.allclose(run(teacher).logits, run(model).logits, atol=1e-6)


def test_missing_folder_and_empty_folder_are_errors(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        load_fine_tuned(str(tmp_path / "nothing"), **OPTIONS)
    with pytest.raises(ModelError, match=r"config\.json"):
        load_fine_tuned(str(tmp_path), **OPTIONS)


def test_pickled_classifier_is_refused(tmp_path):
    plain = tiny_plain("bert")
    plain.config.id2label = dict(enumerate(LABELS))
    plain.config.save_pretrained(tmp_path)
    torch.save(plain.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_fine_tuned(str(tmp_path), **OPTIONS)


def test_longer_texts_than_positions_are_an_error(tmp_path):
    saved_own(tmp_path)
    with pytest.raises(ModelError, match=r"data\.max_length: 64 tokens"):
        load_fine_tuned(str(tmp_path), domains=DOMAINS, labels=LABELS, max_tokens=64)


def test_a_folder_of_plain_classifiers_is_a_teacher_too(tmp_path):
    write_domain_index(tmp_path, {domain: domain for domain in saved_parts(tmp_path)}, "plain")
    teacher = load_fine_tuned(str(tmp_path), **OPTIONS)
    assert isinstance(teacher, RoutedTeacher)
    assert torch.allclose(run(teacher).logits[1], tiny_plain("bert", seed=1)(**tiny_batch()).logits[1], atol=1e-5)


def test_routed_rows_go_through_the_classifier_of_their_domain(tmp_path):
    teacher = load_fine_tuned(saved_parts(tmp_path), **OPTIONS)
    assert isinstance(teacher, RoutedTeacher)
    assert (teacher.domains, teacher.labels) == (DOMAINS, LABELS)
    for encoder in teacher.encoders:
        set_attention(encoder, "scores")
    trace = run(teacher, hidden_states=True, attention=True)
    batch = tiny_batch()
    for row, number in enumerate(domain_ids().tolist()):
        plain = tiny_plain("bert", seed=number)
        with torch.no_grad():
            expected = plain(**batch, output_hidden_states=True)
        assert torch.allclose(trace.logits[row], expected.logits[row], atol=1e-5)
        assert torch.allclose(trace.hidden_states[3][row], expected.hidden_states[3][row], atol=1e-5)
    assert [scores.shape for scores in trace.attention] == [(6, 4, 12, 12)] * 3
    assert run(teacher).hidden_states == ()


def test_routed_teacher_takes_further_inputs_and_batches_of_one_domain(tmp_path):
    teacher = load_fine_tuned(saved_parts(tmp_path), **OPTIONS)
    batch = tiny_batch() | {"token_type_ids": torch.ones(6, 12, dtype=torch.long)}
    with torch.no_grad():
        logits = teacher(**batch, domain_ids=torch.ones(6, dtype=torch.long)).logits
        expected = tiny_plain("bert", seed=1)(**batch).logits
    assert torch.allclose(logits, expected, atol=1e-5)


@torch.no_grad()
def test_averaged_teacher_gives_the_mean_of_all_probabilities(tmp_path):
    teacher = load_fine_tuned(saved_parts(tmp_path), **OPTIONS, combine="average")
    assert isinstance(teacher, AveragedTeacher)
    probabilities = run(teacher).logits.softmax(dim=1)
    plains, batch = [tiny_plain("bert", seed=number) for number in range(3)], tiny_batch()
    for row in range(6):
        one = {name: tensor[row : row + 1] for name, tensor in batch.items()}
        for label in range(len(LABELS)):
            mean = sum(plain(**one).logits.softmax(dim=1)[0, label].item() for plain in plains) / 3
            assert probabilities[row, label].item() == pytest.approx(mean, abs=1e-5)
    assert run(teacher, hidden_states=()).hidden_states == ()


@pytest.mark.parametrize("asked", [{"hidden_states": True}, {"hidden_states": (0, 2)}, {"attention": True}])
def test_averaged_teacher_has_no_states(asked):
    teacher = combined({domain: tiny_model(domains=(domain,)) for domain in DOMAINS}, "average")
    with pytest.raises(ModelError, match=r"no single state of a level to imitate; set method\.hidden_weight: 0"):
        run(teacher, **asked)


def test_an_average_needs_several_classifiers(tmp_path):
    saved_plain(tmp_path)
    with pytest.raises(ModelError, match=r"teacher\.combine: average: there is one classifier"):
        load_fine_tuned(str(tmp_path), **OPTIONS, combine="average")
    with pytest.raises(ModelError, match=r"teacher\.combine: average: there is one classifier"):
        combined({"books": tiny_model(domains=("books",))}, "average")


def test_routes_must_be_those_of_the_data(tmp_path):
    spec = saved_parts(tmp_path)
    spec["music"] = spec.pop("dvd")
    with pytest.raises(ModelError, match="no folder for dvd; not in the data: music"):
        load_fine_tuned(spec, **OPTIONS)


def test_routed_encoders_must_have_one_size(tmp_path):
    spec = saved_parts(tmp_path)
    saved_plain(tmp_path / "dvd", width=16)
    with pytest.raises(ModelError, match="dvd: 3 layers, width 16, 4 heads"):
        load_fine_tuned(spec, **OPTIONS)


def test_routed_teachers_must_share_the_tokenizer(tmp_path):
    spec = saved_parts(tmp_path)
    tiny_tokenizer(tmp_path / "kitchen", words=("pot",))
    with pytest.raises(ModelError, match="kitchen do not use the same tokenizer"):
        load_fine_tuned(spec, **OPTIONS)


def test_tokenizers_are_compared_by_ids_not_by_files(tmp_path):
    ours = tiny_tokenizer(tmp_path)
    check_same_tokenizer(ours, str(tmp_path))
    cased = tiny_tokenizer()
    cased.backend_tokenizer.normalizer = None
    with pytest.raises(ModelError, match=r"they split .* differently"):
        check_same_tokenizer(ours, cased)
    with pytest.raises(ModelError, match="different tokenizers are not supported"):
        check_same_tokenizer(str(tmp_path), tiny_tokenizer(words=("film", "book")))


def test_tokenizer_of_an_own_folder_is_found(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    saved = tiny_tokenizer(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.get_vocab() == saved.get_vocab()
    assert loaded("Good film, bad pan!")["input_ids"] == saved("Good film, bad pan!")["input_ids"]


def test_folders_without_a_usable_tokenizer_are_errors(tmp_path):
    tiny_plain("bert").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"no tokenizer that can be loaded|no vocabulary"):
        load_tokenizer(tmp_path)
    with pytest.raises(ModelError, match="no such folder"):
        load_tokenizer(tmp_path / "nothing")
