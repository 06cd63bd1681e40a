import torch

from hrkd.training.teacher_cache.layout import Buffers


def test_memory_is_used_again_once_its_tensors_are_gone():
    buffers = Buffers()
    first = buffers.empty((3, 4), torch.float32)
    view = first[1:]
    place = first.data_ptr()
    other = buffers.empty((3, 4), torch.float32)
    assert other.data_ptr() != place
    del first
    assert buffers.empty((3, 4), torch.float32).data_ptr() != place, "a view lies in it still"
    del view
    again = buffers.empty((2, 5), torch.float32)
    assert again.data_ptr() == place
    assert again.shape == (2, 5)
    assert buffers.empty((6,), torch.float16).dtype == torch.float16


def test_what_autograd_keeps_is_not_overwritten():
    buffers = Buffers()
    x, weight = torch.ones(4, requires_grad=True), buffers.empty((4,), torch.float32)
    weight.fill_(3)
    loss = (x * weight).sum()
    del weight
    buffers.empty((4,), torch.float32).fill_(7)
    loss.backward()
    assert x.grad.tolist() == [3.0] * 4


def test_larger_tensors_take_the_place_of_smaller_ones():
    buffers = Buffers()
    for size in (4, 8, 16, 8, 4):
        assert buffers.empty((size,), torch.float32).shape == (size,)
    assert len(buffers._arrays) == 1
