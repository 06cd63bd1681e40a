import pytest
import torch
from torch import nn
from transformers import AutoModel

from hrkd.models.dropout import without_dropout
from tiny import FAMILIES, tiny_batch, tiny_configs


def dropping(family):
    """An encoder in training mode, with every rate of its family at a half."""
    config = tiny_configs()[family]
    rates = [name for name, value in config.to_dict().items() if "dropout" in name and isinstance(value, float)]
    for name in rates:
        setattr(config, name, 0.5)
    torch.manual_seed(0)
    return AutoModel.from_config(config).train()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_nothing_is_dropped_and_afterwards_as_before(family, attention):
    model, batch = dropping(family), tiny_batch(family)
    if family not in ("deberta-v2", "mpnet"):
        model.set_attn_implementation(attention)

    def states():
        return model(**batch).last_hidden_state

    with torch.no_grad():
        wanted = model.eval()(**batch).last_hidden_state
        model.train()
        with without_dropout(model):
            torch.testing.assert_close(states(), wanted)
        assert (states() - states()).abs().max() > 0.1


def test_rates_are_put_back_after_a_failure():
    model = dropping("bert")
    with pytest.raises(RuntimeError), without_dropout(model):
        raise RuntimeError
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.5}
