import pytest
import torch

from hrkd.models import threads
from hrkd.models.threads import threads_for
from tiny import tiny_model


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_small_models_run_in_one_thread_and_what_was_set_comes_back():
    with threads_for(tiny_model(), tokens=100):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), threads_for(tiny_model(), tokens=100):
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_models_count_together_and_tables_do_not(monkeypatch):
    model, table = torch.nn.Linear(10, 10, bias=False), torch.nn.Embedding(1000, 10)
    monkeypatch.setattr(threads, "SEVERAL_FROM", 2000)
    for models, tokens, expected in [((model,), 20, 2), ((model,), 19, 1), ((model, model), 10, 2), ((table,), 99, 1)]:
        with threads_for(*models, tokens=tokens):
            assert torch.get_num_threads() == expected
