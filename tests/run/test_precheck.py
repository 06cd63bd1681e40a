"""What is refused before a teacher is trained, or asked."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from hrkd.errors import ModelError
from hrkd.recipe.loading import load_recipe
from hrkd.run.check import check
from hrkd.run.commands import compress, distill, train_teacher
from hrkd.run.first_look import check_named
from slow import slow
from tiny import tiny_recipe, tiny_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}

LABELS = {0: "negative", 1: "positive"}


def saved(folder, family, **more):
    tokenizer = tiny_tokenizer(folder)
    fields = SIZES | {"vocab_size": len(tokenizer), "pad_token_id": 0, "id2label": LABELS} | more
    AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **fields)).save_pretrained(folder)
    return str(folder)


def recipe(tmp_path, field, folder, **more):
    base = tiny_recipe(tmp_path / "run").model_dump(mode="json")
    base["teacher"] = {field: folder, "allow_weak": True, "training": {"epochs": 1, "batch_size": 4}}
    base["student"] |= {"width": None} | more.pop("student", {})
    return base | more


@pytest.mark.parametrize("field", ["model", "fine_tuned"])
@pytest.mark.parametrize(
    ("family", "more", "said"),
    [
        ("llama", {}, "failed at classifying by the encoder's states alone"),
        ("big_bird", {}, r"reading attention \(probabilities\).*; set method\.attention: none"),
        ("bert", {"vocab_size": 9}, r"the tokenizer has \d+ tokens \(.* and \d+ more\) beyond the 9 of the encoder"),
    ],
)
def test_what_cannot_teach_is_told_at_once(tmp_path, field, family, more, said):
    base = recipe(tmp_path, field, saved(tmp_path / "model", family, **more))
    with pytest.raises(ModelError, match=rf"^teacher\.{field}: .*{said}"):
        compress(base)
    assert not (tmp_path / "run").exists()


def test_how_a_finished_teacher_would_be_trained_is_of_no_matter(tmp_path):
    """Its default batch of 8 is more than these domains have."""
    few = {"data": {"format": "synthetic", "synthetic": {"domains": 2, "examples": 80}, "shots": 2}}
    base = recipe(tmp_path, "fine_tuned", saved(tmp_path / "model", "bert"), **few)
    base["teacher"] = {"fine_tuned": base["teacher"]["fine_tuned"], "allow_weak": True}
    assert check(base | {"method": {"preset": "published", "graph_heads": 2}}).status < 2
    base["student"]["training"] |= {"batch_size": 5}
    assert "D304" in [each.code for each in check(base).findings]


@slow
def test_a_teacher_alone_is_checked_with_the_attention_of_the_recipe(tmp_path):
    base = recipe(tmp_path, "model", saved(tmp_path / "model", "big_bird"))
    with pytest.raises(ModelError, match=r"set method\.attention: none"):
        train_teacher(base)
    train_teacher(base | {"method": {"attention": "none"}})
    results = distill(base | {"method": {"attention": "none", "graph_heads": 2}})
    assert results["models"]["student"]["parameters"] < results["models"]["teacher"]["parameters"]


def test_a_family_that_nobody_named_goes_end_to_end(tmp_path):
    base = recipe(tmp_path, "model", saved(tmp_path / "model", "mpnet"), student={"heads": 2})
    assert compress(base)["models"]["student"]["test"]


def test_a_checkpoint_of_another_family_is_checked_too(tmp_path):
    teacher, student = saved(tmp_path / "model", "bert"), saved(tmp_path / "small", "big_bird")
    base = recipe(tmp_path, "model", teacher)
    base["student"] = {"checkpoint": student}
    with pytest.raises(ModelError, match=r"^student\.checkpoint: .*big_bird .*set method\.attention: none"):
        compress(base)
    assert not (tmp_path / "run").exists()


def damaged(folder, name, value):
    state = load_file(f"{folder}/model.safetensors")
    next(tensor for key, tensor in state.items() if name in key).view(-1)[:1].fill_(value)
    save_file(state, f"{folder}/model.safetensors", metadata={"format": "pt"})


def refused(tmp_path, base, said):
    """By a message, before anything is made."""
    with pytest.raises(ModelError, match=said):
        compress(base)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", ["teacher.model", "teacher.fine_tuned", "student.checkpoint"])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("layer.1.output.dense.weight", float("nan"), r"layer\.1\.output\.dense\.weight holds NaN"),
        ("layer.1.output.dense.weight", 1e30, "its outputs are NaN or infinite, though all its weights are numbers"),
    ],
)
def test_every_model_that_a_recipe_names_is_opened_and_asked_first(tmp_path, field, name, value, said):
    good, bad = saved(tmp_path / "good", "bert"), saved(tmp_path / "bad", "bert")
    damaged(bad, name, value)
    base = recipe(tmp_path, field.partition(".")[2] if field.startswith("teacher") else "model", bad)
    if field == "student.checkpoint":
        base["teacher"]["model"], base["student"] = good, {"checkpoint": bad}
    refused(tmp_path, base, rf"^{field}: .*bad: .*{said}")


def test_labels_of_a_teacher_are_told_beside_those_that_were_given(tmp_path):
    folder = saved(tmp_path / "model", "bert", id2label={0: "no", 1: "yes"})
    base = recipe(tmp_path, "fine_tuned", folder)
    refused(tmp_path, base, r"its 2 outputs are called no, yes; the labels of the data are negative, positive\. If")
    base["teacher"]["labels"] = ["positive"]
    refused(
        tmp_path,
        base,
        r"teacher\.labels gives 1 name: positive; its 2 outputs are called no, yes; the labels of the data are "
        r"negative, positive\. Give each label of the data once",
    )


def test_what_is_known_of_models_without_opening_them_is_told_at_a_glance(tmp_path):
    folder = Path(saved(tmp_path / "model", "bert"))
    (folder / "adapter_config.json").write_text("{}")
    settings = load_recipe(recipe(tmp_path, "fine_tuned", str(folder)))
    with pytest.raises(ModelError, match=r"^teacher\.fine_tuned: .* holds an adapter"):
        check_named(settings, "teacher")
