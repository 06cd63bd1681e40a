import threading

import pytest

from hrkd.training.prefetch import ahead


def test_items_come_in_their_order_and_falsy_ones_too():
    assert list(ahead(iter([3, 0, None, "", 1]))) == [3, 0, None, "", 1]
    assert list(ahead(iter([]))) == []


def test_the_next_item_is_made_while_the_present_one_is_in_use():
    made = [threading.Event() for _ in range(3)]

    def making():
        for n, event in enumerate(made):
            event.set()
            yield n

    items = ahead(making())
    assert next(items) == 0
    assert made[1].wait(5)
    assert not made[2].is_set(), "one ahead, not all"
    assert list(items) == [1, 2]


def test_an_error_comes_where_it_belongs():
    def making():
        yield 1
        raise ValueError("no second one")

    items = ahead(making())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no second one"):
        next(items)


def test_leaving_early_ends_the_thread():
    for item in ahead(iter(range(100))):
        if item == 3:
            break
    del item
    assert [t for t in threading.enumerate() if t.name.startswith("hrkd-ahead") and t.is_alive()] == []
