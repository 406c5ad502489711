"""A step with the depth held, against the same steps by diffusers' blocks: conv_in and the last
block on the way up, as in figure 3 of DeepCache."""

from dataclasses import replace

import pytest
import torch
from theirs import their_unet

from ldm.conditioning import Conditioning
from ldm.models.keymaps.rows import unet_rows
from ldm.unet import UNet, UNetConfig
from ldm.unet.cached import shallow, whole

pytest.importorskip("diffusers")

SMALL = UNetConfig(
    in_channels=4, out_channels=4, concat_channels=0, channels=(24, 40, 56), res_blocks=1, groups=8,
    depth=(1, 0, 1), mid_depth=1, context_width=18, vector_width=None, heads=4, head_width=None,
    linear_projection=False,
)  # fmt: skip


def normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def their_shallow(unet, x, t, context, held):
    """From the held map, by diffusers' parts."""
    emb = unet.time_embedding(unet.time_proj(t).to(x))
    last = unet.up_blocks[-1]
    h = last.resnets[-1](torch.cat([held, unet.conv_in(x)], dim=1), emb)
    if hasattr(last, "attentions"):
        h = last.attentions[-1](h, encoder_hidden_states=context, return_dict=False)[0]
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))


@pytest.mark.parametrize(
    "config", [SMALL, replace(SMALL, depth=(0, 2, 0)), replace(SMALL, res_blocks=2)]
)
def test_the_held_map_and_the_step_from_it_are_those_of_the_figure(share_weights, config):
    with torch.device("meta"):
        ours, theirs = UNet(config), their_unet(config)
    share_weights(ours, theirs, unet_rows(config), torch.float64)
    kept = []
    theirs.up_blocks[-1].resnets[-1].register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    x, context = normal(2, config.in_channels, 9, 14, seed=1), normal(2, 5, 18, seed=2)
    t = torch.tensor([500.0])
    _, held = whole(ours, x, t, Conditioning(context))
    theirs(x, t, context)
    expected = kept[0][:, : kept[0].shape[1] - config.channels[0]]
    torch.testing.assert_close(held, expected, atol=1e-9, rtol=1e-6)
    x, t = normal(2, config.in_channels, 9, 14, seed=3), torch.tensor([460.5])
    got = shallow(ours, x, t, Conditioning(context), held)
    wanted = their_shallow(theirs, x, t.expand(2), context, expected)
    torch.testing.assert_close(got, wanted, atol=1e-9, rtol=1e-6)
