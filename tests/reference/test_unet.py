"""The U-Net against diffusers' UNet2DConditionModel with the same random weights."""

from dataclasses import replace

import pytest
import torch

from ldm.families import FAMILIES
from ldm.keymaps.rows import unet_rows
from ldm.unet import UNet, UNetConfig

diffusers = pytest.importorskip("diffusers")


def their_unet(config: UNetConfig):
    """Their `attention_head_dim` is the number of heads."""
    return diffusers.UNet2DConditionModel(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.channels,
        layers_per_block=config.res_blocks,
        norm_num_groups=config.groups,
        down_block_types=["CrossAttnDownBlock2D" if at else "DownBlock2D" for at in config.attention],
        up_block_types=["CrossAttnUpBlock2D" if at else "UpBlock2D" for at in reversed(config.attention)],
        cross_attention_dim=config.context_width,
        attention_head_dim=tuple(config.heads_at(width) for width in config.channels),
        transformer_layers_per_block=config.depth,
        use_linear_projection=config.linear_projection,
    )


def difference(share_weights, config, batch, size, tokens, dtype):
    """The largest difference of the two, and the largest number of theirs."""
    with torch.device("meta"):
        ours, theirs = UNet(config), their_unet(config)
    share_weights(ours, theirs, unet_rows(config), dtype)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, config.in_channels, *size, dtype=dtype, generator=generator)
    context = torch.randn(batch, tokens, config.context_width, dtype=dtype, generator=generator)
    t = torch.tensor([0.25, 500, 999.0])[-batch:]
    got, expected = ours(x, t, context), theirs(x, t, context).sample
    assert got.shape == expected.shape == (batch, config.out_channels, *size)
    assert got.dtype == expected.dtype == dtype
    return float((got - expected).abs().max()), float(expected.abs().max())


SMALL = UNetConfig(
    in_channels=5,
    out_channels=3,
    channels=(24, 40, 56),
    res_blocks=1,
    groups=8,
    attention=(True, False, True),
    context_width=18,
    heads=4,
    head_width=None,
    depth=1,
    linear_projection=False,
)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, heads=None, head_width=8),
        replace(SMALL, heads=None, head_width=8, linear_projection=True, res_blocks=2),
        replace(SMALL, attention=(False, True, False), depth=2),
        replace(SMALL, channels=(32, 64, 96, 64), attention=(False, True, True, False), groups=32, res_blocks=2),
        replace(SMALL, channels=(16,), attention=(True,), in_channels=4, out_channels=4, res_blocks=3),
    ],
    ids=["heads by number", "by width", "linear projection", "deep", "groups of 2", "one level"],
)
def test_small_odd_sizes(share_weights, config):
    error, largest = difference(share_weights, config, 3, (24, 40), 7, torch.float64)
    assert error <= 1e-5 * largest


@pytest.mark.parametrize("size", [(9, 13), (6, 7), (1, 2)])
def test_sizes_that_do_not_halve(share_weights, size):
    error, largest = difference(share_weights, SMALL, 2, size, 7, torch.float64)
    assert error <= 1e-5 * largest


def test_full_size(share_weights):
    error, largest = difference(share_weights, FAMILIES["sd1"].unet, 1, (8, 16), 77, torch.float32)
    assert 0.5 < largest < 50
    assert error <= 1e-4
