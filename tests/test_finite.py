import pytest
import torch
from torch import nn

from ldm.runtime.finite import broken, finite


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))


def test_what_is_finite_passes():
    x, layers = torch.ones(1, 2), {"net": network()}
    assert torch.equal(finite(lambda: layers["net"](x), layers, "step 1"), layers["net"](x))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_first_module_that_breaks_is_named(value):
    net = network().requires_grad_(False)
    net[0].bias[1] = value
    match = "step 1: net.0 gives NaN or infinity. No picture was made of it; the weights may be"
    with pytest.raises(RuntimeError, match=match):
        finite(lambda: net(torch.ones(1, 2)), {"net": net}, "step 1")
    assert not any(module._forward_hooks for module in net.modules())


def test_no_module_is_blamed_for_what_happens_between_them():
    net = network().requires_grad_(False)
    error = broken(lambda: net(torch.ones(1, 2)) / 0, {"net": net}, "step 2")
    assert str(error).startswith("step 2: the result has NaN or infinity")


def test_formats_of_16_bits_are_suspected_and_64_are_not():
    for dtype, said in ((torch.bfloat16, True), (torch.float32, False), (torch.float64, False)):
        net = network().to(dtype)
        error = broken(lambda: torch.tensor([torch.nan]), {"net": net}, "step 1")
        assert ("try --dtype float32" in str(error)) == said
