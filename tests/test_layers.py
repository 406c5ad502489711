"""The shared layers, against what their formulas give when written out."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ldm.layers import Conv2d, Linear, ResBlock, attention, packable, packed
from ldm.unet.blocks import tokens


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("heads", [1, 2, 6])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_token_by_token(heads, causal):
    q, k, v = normal(2, 5, 12, seed=0), normal(2, 5, 12, seed=1), normal(2, 5, 12, seed=2)
    got = attention(q, k, v, heads, causal)
    assert got.shape == q.shape
    d = 12 // heads
    for b in range(2):
        for head in range(heads):
            part = slice(head * d, head * d + d)
            for i in range(5):
                seen = i + 1 if causal else 5
                scores = torch.stack([q[b, i, part] @ k[b, j, part] / d**0.5 for j in range(seen)])
                weights = scores.exp() / scores.exp().sum()
                expected = sum(weights[j] * v[b, j, part] for j in range(seen))
                torch.testing.assert_close(got[b, i, part], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize(("length", "keys", "width"), [(256, 256, 160), (300, 77, 40)])
def test_attention_in_the_sizes_of_a_unet(length, keys, width, dtype, error):
    """Within the rounding of its result, for eight heads and numbers as a network has them: torch
    takes other kernels there than for a few tokens in float64."""
    q, k, v = (normal(2, n, 8 * width, seed=i) for i, n in enumerate((length, keys, keys)))
    q, k, v = (x.to(dtype) for x in (q, k, v))
    got = attention(q, k, v, 8).double()
    q, k, v = (x.double().unflatten(-1, (8, width)).transpose(1, 2) for x in (q, k, v))
    expected = (q @ k.mT / width**0.5).softmax(-1) @ v
    expected = expected.transpose(1, 2).flatten(2)
    assert (got - expected).norm() / expected.norm() < error


def test_attention_of_other_lengths():
    """Seven tokens look at one: what they get is that one."""
    v = normal(3, 1, 8, seed=2)
    assert attention(normal(3, 7, 8), normal(3, 1, 8, seed=1), v, 2).allclose(v.expand(3, 7, 8))


@pytest.mark.parametrize("kernel", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_attention_in_float16_has_products_beyond_its_range(kernel):
    """As SD 2 makes them, whose own code therefore multiplies in float32: so do torch's kernels."""
    q, k, v = (300 * normal(1, 40, 64, seed=i).half() for i in (0, 1, 2))
    assert (q.float() @ k.float().mT / 8).abs().max() > 65504
    with sdpa_kernel(kernel):
        got = attention(q, k, v, 1)
    expected = attention(q.float(), k.float(), v.float(), 1)
    torch.testing.assert_close(got.float(), expected, rtol=1e-2, atol=3)


def group_normed(x: torch.Tensor, norm: torch.nn.GroupNorm) -> torch.Tensor:
    groups = x.unflatten(1, (norm.num_groups, -1))
    mean, variance = (
        groups.mean((2, 3, 4), keepdim=True),
        groups.var((2, 3, 4), unbiased=False, keepdim=True),
    )
    x = ((groups - mean) / (variance + norm.eps).sqrt()).flatten(1, 2)
    return x * norm.weight[:, None, None] + norm.bias[:, None, None]


def silu(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + torch.exp(-x))


def res_block(channels: int, out_channels: int, time_width: int | None = None) -> ResBlock:
    block = ResBlock(channels, out_channels, 3, 1e-5, time_width).double().requires_grad_(False)
    for i, parameter in enumerate(block.parameters()):
        parameter.copy_(normal(*parameter.shape, seed=i))
    return block


@pytest.mark.parametrize("out_channels", [6, 9])
@pytest.mark.parametrize("time_width", [None, 5])
def test_res_block_as_written_in_the_papers(out_channels, time_width):
    block, x, time = (
        res_block(6, out_channels, time_width),
        normal(2, 6, 5, 4, seed=20),
        normal(2, 5, seed=21),
    )
    h = F.conv2d(
        silu(group_normed(x, block.norm1)), block.conv1.weight, block.conv1.bias, padding=1
    )
    if time_width is not None:
        h = h + (silu(time) @ block.time.weight.T + block.time.bias)[:, :, None, None]
    h = F.conv2d(
        silu(group_normed(h, block.norm2)), block.conv2.weight, block.conv2.bias, padding=1
    )
    skip = x if out_channels == 6 else F.conv2d(x, block.skip.weight, block.skip.bias)
    torch.testing.assert_close(
        block(x, None if time_width is None else time), skip + h, rtol=1e-10, atol=1e-10
    )


def test_a_block_leaves_its_input_alone_and_can_be_trained():
    block, x = (
        res_block(6, 6).requires_grad_(True),
        normal(1, 6, 4, 4, seed=20).requires_grad_(True),
    )
    before = x.detach().clone()
    assert torch.autograd.gradcheck(block, (x,))
    assert x.equal(before)


LAYERS = {
    "3x3": (lambda: Conv2d(24, 40, 3, padding=1), (3, 24, 5, 7)),
    "1x1": (lambda: Conv2d(24, 40, 1), (1, 24, 5, 7)),
    "of stride 2": (lambda: Conv2d(24, 24, 3, stride=2, padding=1), (3, 24, 5, 7)),
    "uneven": (lambda: Conv2d(24, 24, 3, stride=2, padding=(0, 1, 0, 1)), (3, 24, 6, 8)),
    "linear": (lambda: Linear(24, 40), (3, 5, 24)),
    "without bias": (lambda: Linear(24, 40, bias=False), (3, 5, 24)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_packed_weights_give_the_same_and_come_back_to_the_bit(name, dtype):
    make, shape = LAYERS[name]
    layer, x = make().to(dtype), normal(*shape).to(dtype)
    weight, before, plain = layer.weight, layer.weight.clone(), layer(x)
    with packed(layer):
        assert layer.weight.is_mkldnn == (dtype in packable()) == (not weight.numel())
        with packed(layer):  # as two drawings by turns
            inner = layer(x)
        outer = layer(x)
    assert layer.weight is weight
    assert torch.equal(weight, before)
    for got in (inner, outer):
        torch.testing.assert_close(got, plain)


@pytest.mark.parametrize("name", ["3x3", "1x1", "of stride 2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_packed_convolutions_keep_the_channels_of_a_pixel_side_by_side(name, dtype):
    """Whatever they are given: the way to tokens and back then copies nothing."""
    make, shape = LAYERS[name]
    layer, x = make().to(dtype), normal(*shape).to(dtype)
    if dtype not in packable():
        pytest.skip("this torch does not pack it on this machine")
    with packed(layer):
        for layout in (torch.contiguous_format, torch.channels_last):
            y = layer(x.contiguous(memory_format=layout))
            assert y.is_contiguous(memory_format=torch.channels_last)
            assert tokens(y).data_ptr() == y.data_ptr()


def test_packing_draws_no_random_numbers():
    packable.cache_clear()
    state = torch.get_rng_state()
    packable()
    assert torch.equal(torch.get_rng_state(), state)


@torch.no_grad()
def test_weights_that_cannot_be_packed_stay_as_they_are(monkeypatch):
    """In float64, and where torch has not these operations."""
    layer, x = Linear(24, 40), normal(3, 5, 24)
    with packed(layer.double()):
        assert not layer.weight.is_mkldnn
        assert layer(x).dtype == torch.float64
    monkeypatch.setattr("ldm.layers.ONEDNN", object())
    packable.cache_clear()
    assert packable() == set()
    with packed(layer.float()):
        assert not layer.weight.is_mkldnn
    packable.cache_clear()


@torch.no_grad()
def test_packed_weights_wrap_around():
    layer, x = Conv2d(16, 16, 3, padding=1), normal(2, 16, 6, 5).float()
    layer.wrap = "x"
    plain = layer(x)
    with packed(layer):
        torch.testing.assert_close(layer(x), plain)


def test_weights_that_were_packed_can_be_trained():
    layer, x = Linear(24, 40), normal(3, 5, 24).float()
    with torch.inference_mode(), packed(layer):
        layer(x)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
