"""The U-Net against diffusers' UNet2DConditionModel with the same random weights."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from theirs import their_unet

from ldm.conditioning import Conditioning
from ldm.models.families import FAMILIES
from ldm.models.keymaps.rows import unet_rows
from ldm.unet import UNet, UNetConfig

diffusers = pytest.importorskip("diffusers")
embedded = partial(diffusers.LatentConsistencyModelPipeline.get_guidance_scale_embedding, None)


def difference(share_weights, config, batch, size, tokens, dtype):
    """The largest difference of the two, and the largest number of theirs."""
    with torch.device("meta"):
        ours, theirs = UNet(config), their_unet(config)
    share_weights(ours, theirs, unet_rows(config), dtype)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, config.in_channels, *size, dtype=dtype, generator=generator)
    context = torch.randn(batch, tokens, config.context_width, dtype=dtype, generator=generator)
    t = torch.tensor([0.25, 500, 999.0])[-batch:]
    concat = vector = added = classes = guidance = scale = None
    if config.concat_channels:
        concat = torch.randn(batch, config.concat_channels, *size, dtype=dtype, generator=generator)
    if config.guidance_width is not None:
        guidance = torch.tensor([1.0, 7.5, 8.5])[:batch]
        scale = embedded(guidance - 1, config.guidance_width, torch.float32).to(dtype)
    if config.classes is not None:
        classes = torch.tensor([3, 0, config.classes - 1])[:batch]
        vector = classes[:, None].to(torch.float32)
    elif config.vector_width is not None:
        text = torch.randn(batch, config.vector_width - 2, dtype=dtype, generator=generator)
        number = torch.tensor([[7.0], [0.5], [11.0]], dtype=dtype)[:batch]
        vector = torch.cat([text, number.cos(), number.sin()], dim=1)
        added = {"text_embeds": text, "time_ids": number}
    cond = Conditioning(context, vector, concat, guidance)
    beside = x if concat is None else torch.cat([x, concat], dim=1)
    got = ours(x, t, cond)
    expected = theirs(
        beside, t, context, classes, timestep_cond=scale, added_cond_kwargs=added
    ).sample
    assert got.shape == expected.shape == (batch, config.out_channels, *size)
    assert got.dtype == expected.dtype == dtype
    return float((got - expected).abs().max()), float(expected.abs().max())


SMALL = UNetConfig(
    in_channels=5, out_channels=3, concat_channels=0, channels=(24, 40, 56), res_blocks=1, groups=8,
    depth=(1, 0, 1), mid_depth=1, context_width=18, vector_width=None, heads=4, head_width=None,
    linear_projection=False,
)  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, heads=None, head_width=8),
        replace(SMALL, heads=None, head_width=8, linear_projection=True, res_blocks=2),
        replace(SMALL, depth=(0, 2, 0), mid_depth=2),
        replace(SMALL, depth=(0, 2, 3), mid_depth=3, vector_width=11),
        replace(SMALL, in_channels=4, concat_channels=5),
        replace(SMALL, vector_width=1, classes=9, only_cross_attention=(0,)),
        replace(SMALL, guidance_width=10),
        replace(SMALL, mid_depth=0),
        replace(SMALL, mid_depth=None),
        replace(SMALL, depth=(0, 2, 3), mid_depth=0, up_depth=((0, 0), (2, 1), (3, 4))),
        replace(SMALL, channels=(32, 64, 96, 64), depth=(0, 1, 1, 0), groups=32, res_blocks=2),
        replace(SMALL, channels=(16,), depth=(1,), in_channels=4, out_channels=4, res_blocks=3),
    ],
    ids=[
        "heads by number", "by width", "linear projection", "deep", "a vector, and its own depth",
        "concat", "classes, only cross-attention", "guidance distilled", "a middle of one block",
        "no middle", "another depth on the way up", "groups of 2", "one level",
    ],
)  # fmt: skip
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
