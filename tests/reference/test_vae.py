"""The VAE against diffusers' AutoencoderKL with the same random weights."""

from dataclasses import replace

import pytest
import torch
from theirs import their_vae

from ldm.models.families import FAMILIES
from ldm.models.keymaps.rows import vae_rows
from ldm.vae import VAE, VAEConfig


def differences(share_weights, config, batch, size, dtype):
    """Of each thing that both compute: its largest difference, and the largest number of theirs."""
    with torch.device("meta"):
        ours, theirs = VAE(config), their_vae(config)
    share_weights(ours, theirs, vae_rows(config), dtype)
    images = torch.rand(
        batch, config.image_channels, *size, dtype=dtype, generator=torch.Generator().manual_seed(1)
    )
    images = 2 * images - 1
    posterior = theirs.encode(images).latent_dist
    mean, log_variance = ours.moments(images)
    noise = torch.randn(mean.shape, dtype=dtype, generator=torch.Generator().manual_seed(2))
    sample = posterior.sample(torch.Generator().manual_seed(2))
    pairs = {
        "mean": (mean, posterior.mean),
        "log variance": (log_variance, posterior.logvar),
        "encode": (ours.encode(images), posterior.mean * config.scale),
        "encode with noise": (ours.encode(images, noise), sample * config.scale),
        "decode": (ours.decode(sample * config.scale), theirs.decode(sample).sample),
    }
    for got, expected in pairs.values():
        assert got.shape == expected.shape
        assert got.dtype == expected.dtype == dtype
    return {
        name: (float((a - b).abs().max()), float(b.abs().max())) for name, (a, b) in pairs.items()
    }


SMALL = VAEConfig(
    image_channels=3, latent_channels=5, channels=(24, 40, 56), res_blocks=1, groups=8, scale=0.3
)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, res_blocks=2, image_channels=1, latent_channels=3),
        replace(SMALL, channels=(32, 32, 96, 64), groups=32),
        replace(SMALL, channels=(16,), groups=4),
    ],
    ids=["one block", "two blocks", "groups of 1 to 3", "one level"],
)
def test_small_odd_sizes(share_weights, config):
    for name, (error, largest) in differences(
        share_weights, config, 3, (40, 24), torch.float64
    ).items():
        assert error <= 1e-5 * largest, name


def test_full_size(share_weights):
    found = differences(share_weights, FAMILIES["sd1"].vae, 1, (64, 128), torch.float32)
    for name, (error, largest) in found.items():
        assert 0.05 < largest < 50, name
        assert error <= 1e-4, name
