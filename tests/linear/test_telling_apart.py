import random

from hrkd.data.readers.sources import load_domains
from hrkd.linear.telling_apart import FEWEST, tell_domains_apart


def corpus(sizes):
    """Texts of which domains have words of their own; those of a name's first letter share them."""
    draw = random.Random(0)
    rows = [
        (" ".join(f"{name[0]}{draw.randrange(30)}" for _ in range(8)), name)
        for name in sizes
        for _ in range(sizes[name])
    ]
    texts, domains = zip(*rows, strict=True)
    return load_domains({"text": texts, "label": ["x", "y"] * (len(texts) // 2), "domain": domains})


def test_domains_with_the_same_words_are_at_chance_and_others_are_not():
    found = tell_domains_apart(corpus({"apples": 200, "ants": 200, "bees": 200}))
    shares = {(each.one, each.other): each.right / each.rows for each in found}
    assert shares[("ants", "apples")] < 0.62
    assert shares[("ants", "bees")] > 0.95
    assert shares[("apples", "bees")] > 0.95


def test_nothing_is_said_of_domains_with_few_rows():
    found = tell_domains_apart(corpus({"apples": 200, "bees": 200, "cats": FEWEST - 2}))
    assert [(each.one, each.other) for each in found] == [("apples", "bees")]
    assert tell_domains_apart(corpus({"apples": 200, "bees": FEWEST - 2})) == []
