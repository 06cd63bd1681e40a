import pytest

from hrkd.support import allocator
from hrkd.training import loop
from tiny import tune


class Glibc:
    """Notes what it is asked for."""

    def __init__(self):
        self.asked = []

    def mallopt(self, *option):
        self.asked.append(option)
        return 1

    def malloc_trim(self, pad):
        self.asked.append(pad)


@pytest.fixture
def glibc(monkeypatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: found)
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    found = Glibc()
    return found


def test_freed_memory_is_kept_and_products_are_bounded(glibc, monkeypatch):
    assert allocator.keep_freed_memory()
    assert glibc.asked == [allocator.M_TRIM_THRESHOLD, allocator.M_MMAP_MAX]
    assert allocator.os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "64"
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    allocator.keep_freed_memory()
    assert allocator.os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    assert not allocator.keep_freed_memory()
    allocator.give_back()


def test_a_training_gives_back_every_few_steps(tiny, glibc, monkeypatch):
    monkeypatch.setattr(loop, "STEPS_BETWEEN", 3)
    history = tune(tiny.model(), tiny.train, tiny.dev, epochs=1, batch_size=4)
    assert history.steps >= 6
    assert glibc.asked == [0] * (history.steps // 3)
