import itertools

import pytest
import torch

import oracles
from hrkd.method.domain_graph import GraphAttention, PublishedGraph, RandomScores, RelationalGraph, UniformScores
from hrkd.method.prototypes import centred
from hrkd.method.ratios import DomainRatios
from tiny import ratios_of


def graph(levels=3, width=5, **options):
    torch.manual_seed(2)
    return PublishedGraph(levels, width, **{"heads": 2, "head_width": 4, **options}).double().eval()


def weights(layer):
    return layer.weight, layer.source, layer.target


@pytest.mark.parametrize("domains", [1, 4])
def test_equals_the_loops(domains):
    module = graph()
    states = torch.randn(3, domains, 5, dtype=torch.float64)
    expected = oracles.published_graph(states, weights(module.relate), weights(module.score))
    torch.testing.assert_close(module(states), expected)


def test_shapes_of_the_paper_by_default():
    module = PublishedGraph(5, 6)
    assert module.relate.weight.shape == (5, 8, 6, 6)
    assert module.score.weight.shape == (5, 1, 48, 1)


def test_permuting_domains_permutes_ratios():
    ratios = DomainRatios(ratios_of(3, 4, 5, hierarchy="none").hierarchy, graph())
    states, order = torch.randn(3, 4, 5, dtype=torch.float64), torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(ratios(states[:, order]).domains, ratios(states).domains[:, order])


def test_each_level_has_its_own_graph():
    module, states = graph(), torch.randn(3, 4, 5, dtype=torch.float64)
    before = module(states)
    with torch.no_grad():
        module.relate.weight[1] += 1
    after = module(states)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    assert not torch.allclose(after[1], before[1])


def test_nearly_uniform_on_a_complete_graph():
    """The structural fact in docs/method.md: the published form can hardly tell domains apart."""
    torch.manual_seed(0)
    ratios = ratios_of(4, 4, 384).eval()
    with torch.no_grad():
        spread = (ratios(torch.randn(4, 4, 384)).domains - 0.25).abs().max()
    assert spread < 0.05


def test_dropout_moves_the_ratios_in_training_only():
    ratios = ratios_of(3, 4, 32, graph_dropout=0.5)
    states = torch.randn(3, 4, 32)
    assert not torch.allclose(ratios(states).domains, ratios(states).domains)
    ratios.eval()
    torch.testing.assert_close(ratios(states).domains, ratios(states).domains)


def test_weights_of_domains_multiply_what_the_graph_says():
    states, weights = torch.randn(3, 4, 8), [3.0, 1.0, 1.0, 0.5]
    uniform = ratios_of(3, 4, 8, graph="uniform", weights=weights)(states).domains
    torch.testing.assert_close(uniform, (torch.tensor(weights) / sum(weights)).expand(3, 4))
    plain, weighed = (ratios_of(3, 4, 8, weights=each).eval() for each in (None, weights))
    weighed.load_state_dict(plain.state_dict())
    expected = plain(states).domains * torch.tensor(weights)
    torch.testing.assert_close(weighed(states).domains, expected / expected.sum(dim=1, keepdim=True))


def test_ratios_sum_to_one_and_uniform_is_uniform():
    states = torch.randn(3, 4, 8)
    torch.testing.assert_close(ratios_of(3, 4, 8)(states).domains.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(ratios_of(3, 4, 8, graph="uniform")(states).domains, torch.full((3, 4), 0.25))
    assert UniformScores()(states).shape == (3, 4)


def test_every_weight_gets_a_gradient():
    module = graph()
    scores = module(torch.randn(3, 4, 5, dtype=torch.float64))
    (scores.softmax(-1) * torch.randn(3, 4, dtype=torch.float64)).sum().backward()
    assert all(weight.grad.abs().max() > 0 for weight in module.parameters())


def relational(levels=3, width=5, *, read=True, **options):
    torch.manual_seed(2)
    module = RelationalGraph(levels, width, **{"heads": 2, "head_width": 4, **options})
    if read:
        torch.nn.init.normal_(module.readout)
    return module.double().eval()


@pytest.mark.parametrize("domains", [1, 4])
def test_the_relational_graph_equals_the_loops(domains):
    module = relational()
    states = torch.randn(3, domains, 5, dtype=torch.float64)
    expected = oracles.relational_graph(states, *module.parameters())
    torch.testing.assert_close(module(states), expected)


def test_the_relational_graph_starts_uniform_and_every_weight_can_leave_it():
    states = torch.randn(3, 4, 5, dtype=torch.float64)
    assert relational(read=False)(states).abs().max() == 0
    module = relational()
    (module(states).softmax(-1) * torch.randn(3, 4, dtype=torch.float64)).sum().backward()
    assert all(weight.grad.abs().max() > 0 for weight in module.parameters())


@pytest.mark.parametrize("form", [PublishedGraph, RelationalGraph])
def test_relations_equal_the_loops_and_know_no_dropout(form):
    torch.manual_seed(3)
    module, states = form(2, 5, heads=2, head_width=4, dropout=0.5).double().train(), torch.randn(2, 3, 5).double()
    expected = torch.zeros(2, 3, 3, dtype=torch.float64)
    for level, head, one in itertools.product(range(2), range(2), range(3)):
        scores = []
        for other in range(3):
            mine, theirs = states[level, one], states[level, other]
            if form is PublishedGraph:
                layer = module.relate
                mine, theirs = mine @ layer.weight[level, head], theirs @ layer.weight[level, head]
                score = mine @ layer.source[level, head] + theirs @ layer.target[level, head]
                scores.append(torch.nn.functional.leaky_relu(score, 0.2))
            else:
                pair = mine @ module.left[level, head] + theirs @ module.right[level, head]
                scores.append(torch.nn.functional.leaky_relu(pair, 0.2) @ module.attention[level, head])
        expected[level, one] += torch.stack(scores).softmax(dim=0) / 2
    torch.testing.assert_close(module.relations(states), expected)


def test_permuting_domains_permutes_the_relational_scores():
    states, order = torch.randn(3, 4, 5, dtype=torch.float64), torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(relational()(states[:, order]), relational()(states)[:, order])


def test_nearly_equal_domains_are_told_apart_once_centred():
    """Where the published form gives 1/D: prototypes that share nearly everything."""
    states = torch.randn(3, 1, 5, dtype=torch.float64) + 1e-3 * torch.randn(3, 4, 5, dtype=torch.float64)
    form = relational()
    centre = DomainRatios(ratios_of(3, 4, 5, hierarchy="none").hierarchy, form, centre=True)
    assert (centre(states).domains - 0.25).abs().max() > 0.1
    assert (form(states).softmax(dim=-1) - 0.25).abs().max() < 0.01


def test_centring_equals_the_loops_and_knows_no_common_part_and_no_scale():
    states = torch.randn(3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(centred(states), oracles.centred(states))
    torch.testing.assert_close(centred(7 * states + torch.randn(3, 1, 5)), centred(states))
    assert torch.equal(centred(torch.ones(2, 3, 4)), torch.zeros(2, 3, 4))


def test_only_the_relational_graph_centres_unless_asked():
    found = {form: ratios_of(3, 4, 8, graph=form).centre for form in ("published", "relational", "uniform")}
    assert found == {"published": False, "relational": True, "uniform": False}
    assert ratios_of(3, 4, 8, centre_prototypes=True).centre


def test_random_scores_are_drawn_anew_while_training_only():
    states, module = torch.randn(3, 4, 8), RandomScores()
    assert not torch.equal(module(states), module(states))
    assert not module.eval()(states).any()


@pytest.mark.peer
def test_equals_pytorch_geometric():
    dense = pytest.importorskip("torch_geometric.nn").DenseGATConv
    ours = GraphAttention(2, 6, 5, 3, dropout=0.0).eval()
    nodes = torch.randn(2, 4, 6)
    for level in range(2):
        theirs = dense(6, 5, heads=3, concat=True, negative_slope=0.2, dropout=0.0, bias=False)
        with torch.no_grad():
            theirs.lin.weight.copy_(ours.weight[level].transpose(1, 2).reshape(15, 6))
            # theirs: row i attends over j with att_dst on i and att_src on j
            theirs.att_dst.copy_(ours.source[level].reshape(theirs.att_dst.shape))
            theirs.att_src.copy_(ours.target[level].reshape(theirs.att_src.shape))
            expected = theirs(nodes[level : level + 1], torch.ones(1, 4, 4))[0]
            torch.testing.assert_close(ours(nodes)[level], expected)
