import pytest
import torch

from hrkd.errors import ModelError
from hrkd.models.families import has_raw_scores
from hrkd.models.trace import (
    EncoderTrace,
    choose_attention,
    probability_attention,
    raw_score_attention,
    set_attention,
)
from tiny import FAMILIES, domain_ids, tiny_batch, tiny_model

WITH_SCORES = [family for family in FAMILIES if family not in ("deberta-v2", "mpnet")]


def run(model, batch, kind=None, **options):
    if kind is not None:
        set_attention(model.encoder, kind)
    with torch.no_grad():
        trace = model(**batch, domain_ids=domain_ids(len(batch["input_ids"])), **options)
    assert isinstance(trace, EncoderTrace)
    return trace


def local_pairs(tokens, window):
    distance = (torch.arange(tokens)[:, None] - torch.arange(tokens)[None]).abs()
    return distance <= window


@pytest.mark.parametrize("family", FAMILIES)
def test_trace_has_all_levels_when_asked(family):
    model, batch = tiny_model(family), tiny_batch(family)
    kind = choose_attention("auto", model.encoder)
    trace = run(model, batch, kind, hidden_states=True, attention=True)
    assert [state.shape for state in trace.hidden_states] == [(6, 12, 32)] * 4
    assert [attention.shape for attention in trace.attention] == [(6, 4, 12, 12)] * 3
    bare = run(model, batch)
    assert bare.hidden_states == bare.attention == ()
    assert torch.allclose(bare.logits, trace.logits, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_some_levels_and_layers_alone(family):
    model, batch = tiny_model(family), tiny_batch(family)
    kind = choose_attention("auto", model.encoder)
    whole = run(model, batch, kind, hidden_states=True, attention=True)
    set_attention(model.encoder, kind, layers=[0, 2])
    part = run(model, batch, hidden_states=(0, 3, 1), attention=True)
    valid = batch["attention_mask"].bool()
    for found, level in zip(part.hidden_states, (0, 3, 1), strict=True):
        torch.testing.assert_close(found[valid], whole.hidden_states[level][valid], atol=1e-5, rtol=1e-5)
    wanted = whole.attention if family in ("deberta-v2", "mpnet") else (whole.attention[0], whole.attention[2])
    for found, expected in zip(part.attention, wanted, strict=True):
        torch.testing.assert_close(found.movedim(1, 2)[valid], expected.movedim(1, 2)[valid], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(part.logits, whole.logits, atol=1e-5, rtol=1e-5)
    set_attention(model.encoder, kind)
    assert len(run(model, batch, attention=True).attention) == 3


@pytest.mark.parametrize("family", WITH_SCORES)
def test_outputs_do_not_depend_on_what_is_recorded(family):
    model, batch = tiny_model(family), tiny_batch(family)
    kinds = ("scores", "probabilities", "queries_keys")
    traces = {kind: run(model, batch, kind, hidden_states=True) for kind in ("none", *kinds)}
    valid = batch["attention_mask"].bool()
    for kind in kinds:
        assert torch.allclose(traces[kind].logits, traces["none"].logits, atol=1e-5)
        for state, expected in zip(traces[kind].hidden_states, traces["none"].hidden_states, strict=True):
            assert torch.allclose(state[valid], expected[valid], atol=1e-5)


@pytest.mark.parametrize("family", WITH_SCORES)
def test_softmax_of_the_scores_is_eager_attention(family):
    model, batch = tiny_model(family), tiny_batch(family)
    scores = run(model, batch, "scores", attention=True).attention
    probabilities = run(model, batch, "probabilities", attention=True).attention
    keys = batch["attention_mask"].bool()[:, None, None, :].expand(-1, 4, 12, -1)
    kinds = getattr(model.encoder.config, "layer_types", ["full_attention"] * 3)
    window = getattr(model.encoder.config, "sliding_window", None)
    for kind, raw, expected in zip(kinds, scores, probabilities, strict=True):
        allowed = keys if kind == "full_attention" else keys & local_pairs(12, window)
        softmax = raw.masked_fill(~allowed, float("-inf")).softmax(-1)
        valid = batch["attention_mask"].bool()
        assert torch.allclose(softmax.movedim(1, 2)[valid], expected.movedim(1, 2)[valid], atol=1e-6)
        assert (raw[~allowed] == -torch.inf).all()
        assert raw[allowed].isfinite().all()
        assert raw[allowed].min() < 0  # scores, not probabilities


def test_scores_are_query_key_products_over_the_root_of_the_head_width():
    model, batch = tiny_model("bert"), tiny_batch()
    trace = run(model, batch, "scores", hidden_states=True, attention=True)
    layer = model.encoder.encoder.layer[1].attention.self
    states = trace.hidden_states[1]
    query, key = (part(states).view(6, 12, 4, 8).transpose(1, 2) for part in (layer.query, layer.key))
    valid = batch["attention_mask"].bool()[:, None, None, :].expand(-1, 4, 12, -1)
    assert torch.allclose(trace.attention[1][valid], (query @ key.mT / 8**0.5)[valid], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family):
    model, short = tiny_model(family), tiny_batch(family)
    pad = {"input_ids": 1 if family == "roberta" else 0, "attention_mask": 0}
    long = {name: torch.nn.functional.pad(tensor, (0, 5), value=pad[name]) for name, tensor in short.items()}
    kind = choose_attention("auto", model.encoder)
    first, second = (run(model, batch, kind, hidden_states=True, attention=True) for batch in (short, long))
    assert torch.allclose(first.logits, second.logits, atol=1e-5)
    valid = short["attention_mask"].bool()
    for state, padded in zip(first.hidden_states, second.hidden_states, strict=True):
        assert torch.allclose(state[valid], padded[:, :12][valid], atol=1e-5)
    pairs = (valid[:, None, :, None] & valid[:, None, None, :]).expand(-1, 4, -1, -1)
    for attention, padded in zip(first.attention, second.attention, strict=True):
        assert torch.allclose(attention[pairs], padded[..., :12, :12][pairs], atol=1e-5)


def test_gradients_flow_through_scores():
    model, batch = tiny_model("bert"), tiny_batch()
    set_attention(model.encoder, "scores")
    trace = model(**batch, domain_ids=domain_ids(), attention=True)
    sum(scores[scores.isfinite()].square().sum() for scores in trace.attention).backward()
    assert model.encoder.encoder.layer[2].attention.self.key.weight.grad.abs().sum() > 0


def test_families_without_scores_give_probabilities():
    bert, deberta = tiny_model("bert").encoder, tiny_model("deberta-v2").encoder
    assert has_raw_scores(bert)
    assert not has_raw_scores(deberta)
    assert choose_attention("auto", bert) == "scores"
    assert choose_attention("auto", bert, deberta) == "probabilities"
    assert choose_attention("none", bert, deberta) == "none"
    with pytest.raises(ModelError, match="deberta-v2 family has no plain query-key scores"):
        choose_attention("scores", bert, deberta)
    with pytest.raises(ModelError, match="deberta-v2"):
        set_attention(deberta, "scores")


def heads_of(*, key_heads=2, factor=1.0, dtype=torch.float32):
    query, key, value = (torch.randn(3, heads, 6, 64, dtype=dtype) for heads in (2, key_heads, key_heads))
    return query * factor, key * factor, value


@pytest.mark.parametrize("function", [raw_score_attention, probability_attention])
def test_attention_that_is_more_than_query_times_key_is_an_error(function):
    with pytest.raises(ModelError, match="2 query heads and 1 key heads"):
        function(torch.nn.Module(), *heads_of(key_heads=1), None)
    with pytest.raises(ModelError, match=r"further terms \(softcap\)"):
        function(torch.nn.Module(), *heads_of(), None, softcap=30.0)
    with pytest.raises(ModelError, match=r"further terms \(learned\)"):
        function(torch.nn.Module(), *heads_of(), None, learned=torch.zeros(1), position_bias=None, sliding_window=4)


def test_half_precision_scores_are_finite():
    query, key, value = heads_of(factor=60.0)
    key = query.clone()  # the product of a vector with itself: 64 * 3600, beyond what float16 holds, before scaling
    expected = query @ key.mT / 8
    assert (query @ key.mT).max() > torch.finfo(torch.float16).max
    attended, scores = raw_score_attention(torch.nn.Module(), query.half(), key.half(), value.half(), None)
    torch.testing.assert_close(scores.float(), expected, rtol=1e-2, atol=10.0)
    assert attended.isfinite().all()
    huge = query.sign().half() * 1e4
    mask = torch.zeros(6, 6, dtype=torch.float16)
    mask[:, 3:] = torch.finfo(torch.float16).min
    attended, scores = raw_score_attention(torch.nn.Module(), huge, -huge, value.half(), mask)
    assert scores[..., :3].isfinite().all()
    assert attended.isfinite().all()
    assert (scores[..., 3:] == -torch.inf).all()


def dropout_rates(encoder):
    return {name: module.p for name, module in encoder.named_modules() if isinstance(module, torch.nn.Dropout)}


def test_attention_dropout_of_deberta_is_off_while_probabilities_are_recorded():
    encoder = tiny_model("deberta-v2").encoder
    before = dropout_rates(encoder)
    set_attention(encoder, "probabilities")
    changed = {name for name, rate in dropout_rates(encoder).items() if rate != before[name]}
    assert changed == {f"encoder.layer.{layer}.attention.self.dropout" for layer in range(3)}
    assert all(dropout_rates(encoder)[name] == 0 for name in changed)
    set_attention(encoder, "none")
    assert dropout_rates(encoder) == before


@pytest.mark.parametrize("family", WITH_SCORES)
def test_outputs_in_training_mode_still_have_attention_dropout(family):
    model, batch = tiny_model(family, layers=1), tiny_batch(family)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and not name.endswith(("self.dropout", "attention.dropout")):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):  # ModernBERT keeps the rate as a number
            module.attention_dropout = 0.5
    set_attention(model.encoder, "probabilities")
    model.train()
    first, second = (run(model, batch, hidden_states=True, attention=True) for _ in range(2))
    assert torch.equal(first.attention[0], second.attention[0])
    assert not torch.equal(first.hidden_states[1], second.hidden_states[1])


@pytest.mark.parametrize("family", WITH_SCORES)
def test_scores_are_products_of_queries_and_keys(family):
    model, batch = tiny_model(family), tiny_batch(family)
    scores = run(model, batch, "scores", attention=True).attention
    factors = run(model, batch, "queries_keys", attention=True).attention
    for raw, (queries, keys) in zip(scores, factors, strict=True):
        assert queries.shape == keys.shape == (6, 4, 12, 8)
        valid = batch["attention_mask"].bool()[:, None, :, None] & ~raw.isneginf()
        torch.testing.assert_close((queries @ keys.mT)[valid], raw[valid])


def test_queries_and_keys_are_chosen_where_all_tokens_see_each_other():
    bert, local, without = (tiny_model(family).encoder for family in ("bert", "modernbert", "deberta-v2"))
    assert choose_attention("auto", bert, factored=True) == "queries_keys"
    assert choose_attention("scores", bert, local, factored=True) == "scores"
    assert choose_attention("auto", bert, without, factored=True) == "probabilities"
    assert choose_attention("auto", bert) == "scores"
    with pytest.raises(ModelError, match="no plain query-key scores"):
        set_attention(without, "queries_keys")
