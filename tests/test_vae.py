"""The VAE: its size, its parts by hand, and what must hold whatever the weights are."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ldm.models.families import FAMILIES
from ldm.vae import VAE, VAEConfig
from ldm.vae.model import Attention, Downsample, Upsample

SMALL = VAEConfig(
    image_channels=3,
    latent_channels=4,
    channels=(16, 24, 32, 32),
    res_blocks=1,
    groups=8,
    scale=0.5,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(config: VAEConfig = SMALL) -> VAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAE(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae() -> VAE:
    return build()


def test_stable_diffusion_has_its_published_size():
    with torch.device("meta"):
        model = VAE(FAMILIES["sd1"].vae)
    assert sum(p.numel() for p in model.parameters()) == 83_653_863
    assert model.factor == 8


@pytest.mark.parametrize("size", [(8, 8), (8, 24), (40, 16)])
def test_any_multiple_of_eight(vae, size):
    latents = vae.encode(normal(2, 3, *size))
    assert latents.shape == (2, 4, size[0] // 8, size[1] // 8)
    assert vae.decode(latents).shape == (2, 3, *size)


@pytest.mark.parametrize("size", [(8, 12), (7, 8), (4, 16)])
def test_other_sizes_are_named(vae, size):
    with pytest.raises(ValueError, match=f"{size[1]} x {size[0]} .* multiples of 8"):
        vae.encode(normal(1, 3, *size))


def test_encode_gives_the_mean_or_the_sample_that_the_noise_picks(vae):
    images, noise = normal(3, 3, 16, 8), normal(3, 4, 2, 1, seed=1)
    mean, log_variance = vae.moments(images)
    assert mean.shape == log_variance.shape == noise.shape
    assert vae.encode(images).equal(mean * 0.5)
    torch.testing.assert_close(
        vae.encode(images, noise), 0.5 * (mean + log_variance.exp().sqrt() * noise)
    )


def test_the_log_variance_is_kept_between_bounds():
    vae = build()
    vae.quant.bias[4:] = torch.tensor([-1000.0, 1000.0, -29.0, 19.0])
    vae.quant.weight[4:] = 0
    _, log_variance = vae.moments(normal(1, 3, 8, 8))
    assert log_variance.flatten().tolist() == [-30, 20, -29, 19]


def test_the_scale_is_the_latents_alone(vae):
    images = normal(1, 3, 8, 16)
    other = build(replace(SMALL, scale=0.25))
    assert other.encode(images).equal(vae.encode(images) / 2)
    assert other.decode(other.encode(images)).equal(vae.decode(vae.encode(images)))


def test_latents_may_be_unscaled(vae):
    images, noise = normal(1, 3, 8, 16), normal(1, 4, 1, 2, seed=1)
    assert vae.encode(images, scaled=False).equal(vae.moments(images)[0])
    assert (0.5 * vae.encode(images, noise, scaled=False)).equal(vae.encode(images, noise))
    assert vae.decode(noise, scaled=False).equal(vae.decode(0.5 * noise))


def test_rows_of_a_batch_do_not_meet(vae):
    images = normal(3, 3, 16, 8)
    latents = vae.encode(images)
    torch.testing.assert_close(latents[1:2], vae.encode(images[1:2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        vae.decode(latents)[1:2], vae.decode(latents[1:2]), rtol=1e-4, atol=1e-5
    )


def test_memory_format_changes_no_number(vae):
    images = normal(2, 3, 16, 24)
    last = build().to(memory_format=torch.channels_last)
    latents = vae.encode(images)
    got = last.encode(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, latents, rtol=1e-4, atol=1e-5)
    got = last.decode(latents.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, vae.decode(latents), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_16_bits(vae, dtype, tolerance):
    images, half = normal(2, 3, 16, 8), build().to(dtype)
    latents = vae.encode(images)
    for got, expected in (
        (half.encode(images.to(dtype)), latents),
        (half.decode(latents.to(dtype)), vae.decode(latents)),
    ):
        assert got.dtype == dtype
        assert (got.float() - expected).abs().max() < tolerance * expected.abs().max()


def test_downsample_sees_more_at_the_bottom_and_the_right():
    """With only the last weight of its kernel, it picks the pixel two rows and columns on, and 0
    beyond the edge."""
    layer = Downsample(1).requires_grad_(False)
    layer.conv.weight.zero_()
    layer.conv.bias.zero_()
    x = torch.arange(1.0, 25).reshape(1, 1, 4, 6)
    layer.conv.weight[0, 0, 0, 0] = 1
    assert layer(x).equal(x[..., ::2, ::2])
    layer.conv.weight[0, 0, 0, 0], layer.conv.weight[0, 0, 2, 2] = 0, 1
    assert layer(x)[0, 0].tolist() == [[15, 17, 0], [0, 0, 0]]


def test_upsample_is_repeated_pixels_and_a_convolution():
    layer, x = Upsample(5).double(), normal(2, 5, 3, 4).double()
    repeated = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = F.conv2d(repeated, layer.conv.weight, layer.conv.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    (expected**2).sum().backward()
    gradient, layer.conv.weight.grad = layer.conv.weight.grad, None
    (layer(x) ** 2).sum().backward()
    torch.testing.assert_close(layer.conv.weight.grad, gradient, rtol=1e-10, atol=1e-10)


def test_attention_of_alike_pixels_is_their_value():
    layer = Attention(16, 8).double().requires_grad_(False)
    layer.norm.bias.copy_(normal(16, seed=2))
    value = layer.out(layer.v(layer.norm.bias))[:, None, None]
    flat = (
        normal(2, 8, 1, 1).double().repeat_interleave(2, 1).expand(2, 16, 3, 5)
    )  # each group is normalised to 0
    torch.testing.assert_close(layer(flat), flat + value, rtol=1e-9, atol=1e-9)
    spread = normal(2, 16, 3, 5, seed=1).double()
    assert not layer(spread).allclose(spread + value, atol=1e-3)
