"""Maps that join themselves at their edges: each layer, the networks, and whole pictures."""

import pytest
import torch
from torch import nn

from helpers import assert_same, latents
from ldm.images.files import to_tensor
from ldm.layers import Conv2d
from ldm.request import Request
from ldm.runtime.seamless import seamless


def rolled(x, axes, by):
    return x.roll([by for _ in axes], [{"x": -1, "y": -2}[axis] for axis in axes])


@pytest.mark.parametrize("axes", ["x", "y", "xy"])
@torch.inference_mode()
def test_what_goes_round_the_edge_comes_round_the_edge(tiny, axes):
    """Shifting the input round the edges shifts the result: U-Net, encoder and decoder know no edge
    there."""
    random = torch.Generator().manual_seed(0)
    x, t, context = (
        torch.randn(1, 4, 8, 12, generator=random),
        torch.tensor([500.0]),
        torch.zeros(1, 12, 16),
    )
    with seamless(tiny.unet, axes), seamless(tiny.vae, axes):
        torch.testing.assert_close(
            tiny.unet(rolled(x, axes, 4), t, context),
            rolled(tiny.unet(x, t, context), axes, 4),
            atol=1e-4,
            rtol=1e-4,
        )
        picture = tiny.vae.decode(x)
        torch.testing.assert_close(
            tiny.vae.decode(rolled(x, axes, 3)), rolled(picture, axes, 6), atol=1e-4, rtol=1e-4
        )
        encoded = tiny.vae.encode(picture)
        torch.testing.assert_close(
            tiny.vae.encode(rolled(picture, axes, 6)),
            rolled(encoded, axes, 3),
            atol=1e-3,
            rtol=1e-3,
        )


@torch.inference_mode()
def test_the_other_axis_keeps_its_edges(tiny):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with seamless(tiny.vae, "x"):
        assert not torch.allclose(
            tiny.vae.decode(rolled(x, "y", 4)), rolled(tiny.vae.decode(x), "y", 8), atol=1e-2
        )


@torch.inference_mode()
def test_the_layers_are_the_same_afterwards(own_tiny):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    before = own_tiny.vae.decode(x)
    with seamless(own_tiny.vae, "xy"):
        assert not torch.equal(own_tiny.vae.decode(x), before)
    with pytest.raises(RuntimeError), seamless(own_tiny.vae, "xy"):
        own_tiny.vae.decode(x[:, :3])
    assert torch.equal(own_tiny.vae.decode(x), before)


def test_a_convolution_around_both_edges():
    conv = Conv2d(1, 1, 3, padding=1)
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)
    x = torch.zeros(1, 1, 4, 5)
    x[0, 0, 0, 0] = 1
    with seamless(conv, "xy"):
        found = conv(x)[0, 0]
    assert [tuple(place) for place in found.round().nonzero().tolist()] == [
        (row, column) for row in (0, 1, 3) for column in (0, 1, 4)
    ]


@pytest.mark.parametrize("axes", ["x", "y", "xy"])
def test_a_seamless_picture_may_be_shifted_round_its_edges(tiny, axes):
    z = latents(tiny, Request("a cat", seamless=axes))
    shifts, dims = [4] * len(axes), [{"x": -1, "y": -2}[axis] for axis in axes]
    picture = tiny.decode(z, axes=axes)
    assert_same(tiny.decode(z.roll(shifts, dims), axes=axes), picture.roll([8] * len(axes), dims))
    assert_same(to_tensor(tiny.txt2img("a cat", seamless=axes)[0]), rounded(picture))
    assert not torch.allclose(z, latents(tiny, Request("a cat")), atol=1e-2)
    assert not any(
        "forward" in vars(module) for part in (tiny.unet, tiny.vae) for module in part.modules()
    )


def rounded(picture):
    return ((picture + 1) * 127.5).round() / 127.5 - 1


def test_seamless_wishes_are_checked(tiny):
    with pytest.raises(ValueError, match="unknown seamless 'z'"):
        tiny.txt2img("a cat", seamless="z")
    with pytest.raises(ValueError, match="drawn in tiles cannot be seamless"):
        tiny.txt2img("a cat", seamless="x", tile=16)
