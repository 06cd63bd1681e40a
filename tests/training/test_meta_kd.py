"""Meta-KD: a teacher whose features carry over, and a student that trusts it where it may."""

from __future__ import annotations

import copy

import pandas as pd
import pytest
import torch
from accelerate import Accelerator

from hrkd.errors import DataError, ModelError, RecipeError
from hrkd.method.meta_kd import expertise_weights, prototype_scores, token_means
from hrkd.models.domain_teachers import combined
from hrkd.models.loading import load_fine_tuned
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.scratch import new_teacher
from hrkd.recipe.schema import CacheConfig, MethodConfig
from hrkd.run.commands import compress
from hrkd.training.evaluate import typicality
from hrkd.training.fine_tune import FineTuning
from hrkd.training.live_teacher import LiveTeacher
from slow import slow
from tiny import batches_of, distil, tiny_recipe, tune

FAST = {"teacher.training.epochs": 2, "student.training.epochs": 2, "data.synthetic.examples": 100}


def meta_teacher(tiny, **options):
    teacher = tiny.model(seed=1)
    options = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 4, **options}
    tune(teacher, tiny.train, tiny.dev, domain_loss_weight=0.5, accelerator=Accelerator(cpu=True), **options)
    return teacher


def first_batch(tiny):
    return next(batches_of(tiny.train))


def test_typicality_is_the_score_of_the_mean_last_states_in_the_order_of_the_rows(tiny):
    model = tiny.model().eval()
    reader = LiveTeacher(model, (0, 2), attention="none")
    scores, logits, labels = typicality(reader, tiny.train, torch.device("cpu"))
    batch = tiny.train.batch(range(len(tiny.train)))
    with torch.no_grad():
        trace = model(**batch.inputs, domain_ids=batch.domain_ids, hidden_states=True)
    features = token_means(trace.hidden_states[-1], batch.mask)
    torch.testing.assert_close(scores, prototype_scores(features, batch.labels, batch.domain_ids, 2, 3))
    torch.testing.assert_close(logits, trace.logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, batch.labels)
    more = tiny.train.followed_by(tiny.unlabelled("a quiet film", "a loud tool"))
    _, logits, labels = typicality(reader, more, torch.device("cpu"))
    assert torch.equal(labels, torch.cat([batch.labels, logits[-2:].argmax(dim=1)])), "the teacher's answer stands in"


def test_weights_of_nought_take_a_row_out_of_the_loss(tiny):
    model, batch = tiny.model().eval(), first_batch(tiny)
    weights = torch.ones(len(tiny.train))
    torch.testing.assert_close(FineTuning(model, row_weights=weights)(batch).loss, FineTuning(model)(batch).loss)
    weights[batch.indices[batch.domain_ids == 1]] = 0
    parts = [FineTuning(model)(batch.rows((batch.domain_ids == d).nonzero().squeeze(1))).loss for d in (0, 2)]
    torch.testing.assert_close(FineTuning(model, row_weights=weights)(batch).loss, sum(parts))


def test_a_meta_teacher_makes_a_head_that_knows_domains_forget_them(tiny):
    """What the head gives to a row's own domain: once it has learnt that, and after a training with its loss."""
    teacher = tiny.model(seed=1)
    teacher.add_domain_head()
    batch = tiny.train.batch(range(len(tiny.train)))

    def of_the_own():
        trace = teacher(**batch.inputs, domain_ids=batch.domain_ids, hidden_states=(2,))
        said = teacher.domain_head(token_means(trace.hidden_states[0], batch.mask), batch.domain_ids).log_softmax(dim=1)
        return said.gather(1, batch.domain_ids[:, None])

    optimizer = torch.optim.Adam(teacher.domain_head.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        (-of_the_own().mean()).backward()
        optimizer.step()
    before = float(of_the_own().detach().exp().mean())
    module, optimizer = FineTuning(teacher, domain_loss_weight=1.0), torch.optim.Adam(teacher.parameters(), lr=5e-3)
    for epoch in range(6):
        for each in batches_of(tiny.train, epoch=epoch):
            optimizer.zero_grad()
            module(each).loss.backward()
            optimizer.step()
    after = float(of_the_own().detach().exp().mean())
    assert before > 0.8
    assert abs(after - 1 / 3) < 0.2


def test_the_head_of_a_model_is_left_alone_where_it_is_not_asked_for(tiny):
    model, batch = tiny.model().eval(), first_batch(tiny)
    expected = FineTuning(model)(batch).loss
    model.add_domain_head()
    torch.testing.assert_close(FineTuning(model)(batch).loss, expected)
    assert FineTuning(model, domain_loss_weight=0.5)(batch).loss > expected


def test_a_saved_meta_teacher_says_the_same_of_chosen_domains(tiny, tmp_path):
    teacher = meta_teacher(tiny)
    teacher.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    again = MultiDomainClassifier.from_pretrained(tmp_path)
    assert torch.equal(again.domain_head.classifier.weight, teacher.domain_head.classifier.weight)
    domains = tiny.splits.domains[::-1][:2]
    fewer = load_fine_tuned(str(tmp_path), domains=domains, labels=tiny.splits.labels, max_tokens=24)
    means = torch.randn(2, 16)
    whole = teacher.domain_head.features(means, torch.tensor([2, 1]))
    torch.testing.assert_close(fewer.domain_head.features(means, torch.tensor([0, 1])), whole)
    assert "domain_head" not in "".join(teacher.to_plain(domains[0]).state_dict())


@slow
@pytest.mark.parametrize("cached", [False, True])
def test_the_objective_of_a_student_of_a_meta_teacher(tiny, tmp_path, cached):
    """The logged tables against weights and features computed here, with the teacher asked and with its cache."""
    teacher, student = meta_teacher(tiny), tiny.model(width=8)
    options = {"epochs": 2, "batch_size": 4, "accelerator": Accelerator(cpu=True), "graph": "uniform", "seed": 3}
    options |= {"hierarchy": "none", "learning_rate": 1e-12, "expertise": True}
    cache = CacheConfig(folder=tmp_path / "cache", precision="fp32") if cached else None
    for name, more in {"plain": {}, "transfer": {"transfer_weight": 2.0}}.items():
        same = copy.deepcopy(student)
        distil(teacher, same, tiny.train, tiny.dev, metrics=tmp_path / name, cache=cache, **more, **options)
    logged = {name: pd.read_parquet(tmp_path / name / "predictions") for name in ("plain", "transfer")}
    assert "transfer" not in logged["plain"]
    assert (logged["transfer"]["transfer"] > 0).all()
    losses = {name: pd.read_parquet(tmp_path / name / "steps")["loss"] for name in logged}
    added = logged["transfer"].groupby("step")["transfer"].mean()  # the ratio of every domain is 1/D
    assert (losses["transfer"] - losses["plain"]).to_numpy() == pytest.approx(added.to_numpy(), rel=1e-3, abs=1e-5)
    reader = LiveTeacher(teacher, (0, 1, 2), attention="none")
    weights = expertise_weights(*typicality(reader, tiny.train, torch.device("cpu")))
    distil(
        teacher,
        copy.deepcopy(student),
        tiny.train,
        tiny.dev,
        metrics=tmp_path / "without",
        **options | {"expertise": False},
    )
    without = pd.read_parquet(tmp_path / "without" / "predictions")["loss"]
    ratio = (logged["plain"]["loss"] / without).to_numpy()
    assert weights.min() - 1e-3 <= ratio.min() < ratio.max() <= weights.max() + 1e-3


def test_what_cannot_be_is_refused(tiny, tmp_path):
    train = {"train_set": tiny.train, "dev_set": tiny.dev, "batch_size": 4, "epochs": 1}
    with pytest.raises(ModelError, match=r"no features that carry over.*teacher\.meta_kd"):
        distil(tiny.model(seed=1), tiny.model(width=8), transfer_weight=1.0, **train)
    with pytest.raises(ModelError, match=r"last layer, 2, which the layer map does not imitate"):
        distil(meta_teacher(tiny), tiny.model(width=8, layers=1), layer_map=[1], transfer_weight=1.0, **train)
    with pytest.raises(ValueError, match=r"expertise: its weights come from the teacher's states"):
        MethodConfig(preset="published", expertise=True, hidden_weight=0)
    with pytest.raises(RecipeError, match=r"method\.transfer_weight.*set teacher\.meta_kd"):
        tiny_recipe(tmp_path, **{"method.transfer_weight": 1.0})
    parts = {domain: tiny.model().eval() for domain in tiny.splits.domains}
    with pytest.raises(ModelError, match=r"expertise: compares examples of different domains"):
        distil(combined(parts), tiny.model(width=8), expertise=True, **train)
    with pytest.raises(RecipeError, match=r"method\.expertise.*each has its own"):
        tiny_recipe(tmp_path, **{"teacher.encoders": "per_domain", "method.expertise": True})
    with pytest.raises(RecipeError, match=r"domain_loss_weight.*set meta_kd"):
        tiny_recipe(tmp_path, **{"teacher.domain_loss_weight": 1.0})
    changes = {"teacher.meta_kd": True, "method.transfer_weight": 1.0, "student.layer_map": [1]}
    with pytest.raises(ModelError, match=r"last layer, 2, which the layer map does not imitate"):
        compress(tiny_recipe(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match=r"meta_kd.*fine_tuned already"):
        tiny_recipe(tmp_path, **{"teacher.fine_tuned": "x", "teacher.scratch": None, "teacher.meta_kd": True})


def test_one_domain_has_nothing_to_relate(tiny):
    domain = tiny.splits.domains[0]
    model = new_teacher(
        {"layers": 1, "width": 8, "heads": 2, "feed_forward": 8},
        vocabulary_size=len(tiny.tokenizer),
        domains=(domain,),
        labels=tiny.splits.labels,
        heads="per_domain",
        max_tokens=32,
    )
    with pytest.raises(DataError, match=r"a meta-teacher relates domains, and the data has one"):
        tune(model, tiny.train.alone(domain), tiny.dev.alone(domain), domain_loss_weight=0.5, epochs=1, batch_size=4)


def test_a_whole_run(tmp_path):
    changes = {"teacher.meta_kd": True, "method.expertise": True, "method.transfer_weight": 1.0}
    results = compress(tiny_recipe(tmp_path / "run", **FAST, **changes))
    assert set(results["models"]) >= {"teacher", "student"}
    assert MultiDomainClassifier.from_pretrained(tmp_path / "run" / "teacher").domain_head is not None
    assert MultiDomainClassifier.from_pretrained(tmp_path / "run" / "student").domain_head is None
    assert "transfer" in pd.read_parquet(tmp_path / "run" / "metrics" / "student" / "predictions")
