import pytest
import torch
from torch import nn

from ldm.seamless import seamless


def rolled(x, axes, by):
    return x.roll([by for _ in axes], [{"x": -1, "y": -2}[axis] for axis in axes])


@pytest.mark.parametrize("axes", ["x", "y", "xy"])
@torch.inference_mode()
def test_what_goes_round_the_edge_comes_round_the_edge(tiny, axes):
    """Shifting the input round the edges shifts the result: U-Net, encoder and decoder know no edge there."""
    random = torch.Generator().manual_seed(0)
    x, t, context = torch.randn(1, 4, 8, 12, generator=random), torch.tensor([500.0]), torch.zeros(1, 12, 16)
    with seamless(tiny.unet, axes), seamless(tiny.vae, axes):
        torch.testing.assert_close(
            tiny.unet(rolled(x, axes, 4), t, context), rolled(tiny.unet(x, t, context), axes, 4), atol=1e-4, rtol=1e-4
        )
        picture = tiny.vae.decode(x)
        torch.testing.assert_close(tiny.vae.decode(rolled(x, axes, 3)), rolled(picture, axes, 6), atol=1e-4, rtol=1e-4)
        encoded = tiny.vae.encode(picture)
        torch.testing.assert_close(
            tiny.vae.encode(rolled(picture, axes, 6)), rolled(encoded, axes, 3), atol=1e-3, rtol=1e-3
        )


@torch.inference_mode()
def test_the_other_axis_keeps_its_edges(tiny):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with seamless(tiny.vae, "x"):
        assert not torch.allclose(tiny.vae.decode(rolled(x, "y", 4)), rolled(tiny.vae.decode(x), "y", 8), atol=1e-2)


@torch.inference_mode()
def test_the_layers_are_the_same_afterwards(own_tiny):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    before = own_tiny.vae.decode(x)
    with seamless(own_tiny.vae, "xy"):
        assert not torch.equal(own_tiny.vae.decode(x), before)
    with pytest.raises(RuntimeError), seamless(own_tiny.vae, "xy"):
        own_tiny.vae.decode(x[:, :3])
    assert torch.equal(own_tiny.vae.decode(x), before)
    assert not any("forward" in vars(module) for module in own_tiny.vae.modules())


def test_a_convolution_around_both_edges():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 4, 5)
    x[0, 0, 0, 0] = 1
    with seamless(conv, "xy"):
        found = conv(x)[0, 0]
    assert [tuple(place) for place in found.round().nonzero().tolist()] == [
        (row, column) for row in (0, 1, 3) for column in (0, 1, 4)
    ]
