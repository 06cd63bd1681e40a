import pytest
import torch

from hrkd.errors import ModelError
from hrkd.models.domain_teachers import RoutedTeacher
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import StudentShape, resolve_shape, shape_of
from hrkd.models.start.build import build_student, student_from_checkpoint
from tiny import DOMAINS, FAMILIES, LABELS, domain_ids, tiny_batch, tiny_model, tiny_plain, tiny_tokenizer


def logits(model, family="bert"):
    with torch.no_grad():
        return model(**tiny_batch(family), domain_ids=domain_ids()).logits


def build(teacher, start="auto", *, layer_map=(0, 1, 2, 3), **options):
    sizes = {name: options.pop(name) for name in ("layers", "width", "heads", "feed_forward") if name in options}
    encoder = teacher.encoders[0] if isinstance(teacher, RoutedTeacher) else teacher.encoder
    options.setdefault("batches", [tiny_batch(seed=seed) for seed in range(3)])
    return build_student(teacher, resolve_shape(encoder.config, **sizes), start=start, layer_map=layer_map, **options)


@pytest.mark.parametrize("mode", ["per_domain", "shared"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_teacher_layers_give_the_teacher(family, mode):
    teacher = tiny_model(family, heads_mode=mode)
    started = build(teacher, "teacher_layers", batches=None)
    assert torch.allclose(logits(started.model, family), logits(teacher, family), atol=1e-6)
    assert started.model.config.heads == mode
    assert torch.equal(started.basis, torch.eye(32))


@pytest.mark.parametrize("family", FAMILIES)
def test_chosen_layers_are_copied(family):
    teacher = tiny_model(family)
    model = build(teacher, layers=2, layer_map=(0, 2, 3), teacher_layers=[1, 3]).model
    old, new = teacher.encoder.state_dict(), model.encoder.state_dict()
    last = {name for name in old if ".2." in name and "layer" in name}
    assert last
    assert all(torch.equal(new[name.replace(".2.", ".1.")], old[name]) for name in last)
    assert torch.equal(new[next(iter(new))], old[next(iter(old))])


def test_default_layers_are_those_of_the_layer_map():
    teacher = tiny_model()
    by_map = build(teacher, layers=1, layer_map=(0, 2)).model.state_dict()
    by_hand = build(teacher, layers=1, layer_map=(0, 3), teacher_layers=[2]).model.state_dict()
    assert all(torch.equal(by_map[name], by_hand[name]) for name in by_map)


def test_left_out_normalisation_is_noted():
    started = build(tiny_model("modernbert"), layers=2, layer_map=(0, 2, 3))
    assert started.notes[1] == "without a counterpart in the teacher: layers.0.attn_norm.weight"


def test_auto_takes_layers_at_equal_shape_and_components_otherwise():
    teacher = tiny_model()
    assert build(teacher, layers=2, layer_map=(0, 2, 3)).start == "teacher_layers"
    for sizes in ({"width": 16}, {"heads": 2}, {"feed_forward": 24}):
        started = build(teacher, **sizes)
        assert started.start == "principal_components"
        assert started.basis.shape == (32, sizes.get("width", 32))


def test_random_only_when_asked_and_by_its_seed():
    teacher = tiny_model()
    with pytest.raises(ModelError, match="possible are teacher_layers"):
        build(tiny_model("modernbert"), width=16)
    state = torch.random.get_rng_state()
    one, same, other = (build(teacher, "random", width=16, seed=seed).model for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(logits(one), logits(same))
    assert not torch.equal(logits(one), logits(other))
    assert build(teacher, "random").basis is None


def test_student_inherits_what_is_not_its_size():
    teacher = tiny_model(max_tokens=24)
    model = build(teacher, width=16).model
    assert (model.domains, model.labels, model.config.max_tokens) == (DOMAINS, LABELS, 24)
    assert shape_of(model.encoder.config) == StudentShape(3, 16, 4, 24)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_students_can_be_saved_and_loaded(tmp_path):
    model = build(tiny_model("electra"), width=24, batches=[tiny_batch("electra")]).model
    model.save_pretrained(tmp_path)
    assert torch.allclose(logits(MultiDomainClassifier.from_pretrained(tmp_path).eval()), logits(model), atol=1e-6)


def test_teacher_is_left_as_it_was():
    teacher = tiny_model().train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    build(teacher, width=16)
    assert teacher.encoder.training
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_other_shape_cannot_copy_layers():
    with pytest.raises(ModelError, match=r"differs \(width: 16, teacher 32; feed_forward: 24, teacher 48\)"):
        build(tiny_model(), "teacher_layers", width=16)


def test_layers_that_the_teacher_lacks_are_an_error():
    with pytest.raises(ModelError, match=r"student\.teacher_layers: \[2, 7\]"):
        build(tiny_model(), layers=2, layer_map=(0, 2, 3), teacher_layers=[2, 7])


def test_components_need_texts():
    with pytest.raises(ModelError, match="needs texts"):
        build(tiny_model(), width=16, batches=None)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_routed_teacher_gives_its_first_encoder_and_every_head(family):
    parts = {name: tiny_model(family, seed=i, domains=(name,)) for i, name in enumerate(DOMAINS)}
    started = build(RoutedTeacher(parts), batches=None)
    assert "first domain, books" in started.notes[1]
    assert started.model.domains == DOMAINS
    new = started.model.encoder.state_dict()
    assert all(torch.equal(new[name], tensor) for name, tensor in parts["books"].encoder.state_dict().items())
    for number, part in enumerate(parts.values()):
        head = started.model.heads[number].state_dict()
        assert all(torch.equal(head[name], tensor) for name, tensor in part.heads[0].state_dict().items())
    assert build(RoutedTeacher(parts), width=16, batches=[tiny_batch(family)]).basis.shape == (32, 16)


def test_checkpoint_becomes_a_student(tmp_path):
    teacher, tokenizer = tiny_model(heads_mode="shared", max_tokens=24), tiny_tokenizer(tmp_path)
    encoder = tiny_plain("distilbert", layers=1, width=16, feed_forward=20).distilbert
    encoder.save_pretrained(tmp_path)
    started = student_from_checkpoint(tmp_path, teacher, tokenizer)
    assert (started.start, started.basis) == ("checkpoint", None)
    assert (started.model.domains, started.model.labels, started.model.config.heads) == (DOMAINS, LABELS, "shared")
    assert shape_of(started.model.encoder.config) == StudentShape(1, 16, 4, 20)
    new = started.model.encoder.state_dict()
    assert all(torch.equal(new[name], tensor) for name, tensor in encoder.state_dict().items())


def test_checkpoint_with_another_tokenizer_is_refused(tmp_path):
    tiny_plain("bert").save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path, words=("other",))
    with pytest.raises(ModelError, match="do not use the same tokenizer"):
        student_from_checkpoint(str(tmp_path), tiny_model(), tiny_tokenizer())


def test_checkpoint_without_positions_for_the_texts_is_refused(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    plain = tiny_plain("bert")
    plain.save_pretrained(tmp_path)
    teacher = tiny_model()
    teacher.config.max_tokens = 64
    with pytest.raises(ModelError, match="takes 40 at most"):
        student_from_checkpoint(tmp_path, teacher, tokenizer)
