"""The U-Net: its size, its parts by hand, and what must hold whatever the weights are."""

import math
from dataclasses import replace

import pytest
import torch

from ldm.conditioning import Conditioning
from ldm.models.families import FAMILIES
from ldm.unet import UNet, UNetConfig
from ldm.unet.blocks import GEGLU, CrossAttention, SpatialTransformer, Upsample, timestep_embedding

SMALL = UNetConfig(
    in_channels=4, out_channels=4, concat_channels=0, channels=(16, 24, 32, 32), res_blocks=1,
    groups=8, depth=(1, 0, 1, 0), mid_depth=1, context_width=12, vector_width=None, heads=4,
    head_width=None, linear_projection=False,
)  # fmt: skip


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(config: UNetConfig = SMALL) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def unet() -> UNet:
    return build()


T, CONTEXT = torch.tensor([0.5, 321.0, 999.0]), normal(3, 7, 12, seed=9)


def test_stable_diffusion_has_its_published_size():
    with torch.device("meta"):
        model = UNet(FAMILIES["sd1"].unet)
    assert sum(p.numel() for p in model.parameters()) == 859_520_964


@pytest.mark.parametrize("size", [(8, 8), (8, 24), (40, 16)])
def test_any_multiple_of_eight(unet, size):
    x = normal(3, 4, *size)
    assert unet(x, T, CONTEXT).shape == x.shape


@pytest.mark.parametrize("size", [(8, 12), (7, 9), (1, 30)])
def test_sizes_that_do_not_halve(unet, size):
    x = normal(3, 4, *size)
    assert unet(x, T, CONTEXT).shape == x.shape


def test_more_channels_in_than_out():
    unet = build(replace(SMALL, in_channels=9, out_channels=3))
    assert unet(normal(3, 9, 8, 8), T, CONTEXT).shape == (3, 3, 8, 8)


def test_a_bare_context_is_a_conditioning(unet):
    x = normal(3, 4, 8, 8)
    assert unet(x, T, Conditioning(CONTEXT)).equal(unet(x, T, CONTEXT))


def test_channels_beside_the_latent_are_its_last():
    unet, plain = build(replace(SMALL, concat_channels=5)), build(replace(SMALL, in_channels=9))
    plain.load_state_dict(unet.state_dict())
    x, concat = normal(3, 4, 8, 8), normal(3, 5, 8, 8, seed=5)
    expected = plain(torch.cat([x, concat], dim=1), T, CONTEXT)
    assert unet(x, T, Conditioning(CONTEXT, concat=concat)).equal(expected)


def test_the_vector_is_added_to_the_embedded_time():
    unet, vector = build(replace(SMALL, vector_width=6)), normal(3, 6, seed=5)
    x = normal(3, 4, 8, 8)
    got = unet(x, T, Conditioning(CONTEXT, vector))
    torch.nn.init.zeros_(unet.vector.linear2.weight)
    h = unet.vector.linear1(vector)
    weight = build(replace(SMALL, vector_width=6)).vector.linear2.weight
    added = (h * h.sigmoid()) @ weight.T + unet.vector.linear2.bias
    for i in range(3):  # with the same added to the time's bias, and nothing by the vector
        one = slice(i, i + 1)
        same = build(replace(SMALL, vector_width=None))
        same.load_state_dict({k: v for k, v in unet.state_dict().items() if k[:6] != "vector"})
        same.time.linear2.bias.add_(added[i])
        expected = same(x[one], T[one], CONTEXT[one])
        torch.testing.assert_close(got[one], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "vector", "concat", "message"),
    [
        ({"concat_channels": 5}, None, None, "a concat of width 5, not 0"),
        ({"concat_channels": 5}, None, 4, "a concat of width 5, not 4"),
        ({}, None, 1, "a concat of width 0, not 1"),
        ({"vector_width": 6}, None, None, "a vector of width 6, not 0"),
        ({"vector_width": 6}, 7, None, "a vector of width 6, not 7"),
        ({}, 6, None, "a vector of width 0, not 6"),
    ],
)
def test_a_conditioning_that_does_not_fit(change, vector, concat, message):
    unet = build(replace(SMALL, **change))
    cond = Conditioning(
        CONTEXT,
        None if vector is None else normal(3, vector),
        None if concat is None else normal(3, concat, 8, 8),
    )
    with pytest.raises(ValueError, match=message) as error:
        unet(normal(3, 4, 8, 8), T, cond)
    assert "\n" not in str(error.value)


def test_each_level_has_its_own_depth():
    unet = build(replace(SMALL, depth=(0, 2, 0, 3), mid_depth=1))
    depths = [[len(attn.blocks) for attn in level.attn] for level in unet.down]
    assert depths == [[], [2], [], [3]]
    depths = [[len(attn.blocks) for attn in level.attn] for level in unet.up]
    assert depths == [[3, 3], [], [2, 2], []]
    assert len(unet.mid.attn.blocks) == 1
    assert unet(normal(3, 4, 8, 8), T, CONTEXT).shape == (3, 4, 8, 8)


def test_rows_of_a_batch_do_not_meet(unet):
    x = normal(3, 4, 8, 16)
    together = unet(x, T, CONTEXT)
    for i in range(3):
        one = slice(i, i + 1)
        torch.testing.assert_close(
            together[one], unet(x[one], T[one], CONTEXT[one]), rtol=1e-4, atol=1e-5
        )


def test_it_hears_the_time_and_reads_the_text(unet):
    x = normal(3, 4, 8, 8)
    before = unet(x, T, CONTEXT)
    assert (unet(x, T + 0.5, CONTEXT) - before).abs().amax((1, 2, 3)).min() > 1e-4
    assert (unet(x, T, CONTEXT + 1) - before).abs().amax((1, 2, 3)).min() > 1e-4


def test_memory_format_changes_no_number(unet):
    x = normal(3, 4, 8, 16)
    last = build().to(memory_format=torch.channels_last)
    got = last(x.contiguous(memory_format=torch.channels_last), T, CONTEXT)
    torch.testing.assert_close(got, unet(x, T, CONTEXT), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_16_bits(unet, dtype, tolerance):
    x = normal(3, 4, 8, 8)
    got, expected = build().to(dtype)(x.to(dtype), T, CONTEXT.to(dtype)), unet(x, T, CONTEXT)
    assert got.dtype == dtype
    assert (got.float() - expected).abs().max() < tolerance * expected.abs().max()


def test_heads_by_number_and_by_width():
    assert [replace(SMALL, heads=8).heads_at(width) for width in (320, 1280)] == [8, 8]
    assert [replace(SMALL, heads=None, head_width=64).heads_at(width) for width in (320, 1280)] == [
        5,
        20,
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_width": 8}, "heads or head_width"),
        ({"heads": None}, "heads or head_width"),
        ({"depth": (1,)}, "one entry for each level"),
    ],
)
def test_configs_that_contradict_themselves(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_timestep_embedding_by_hand():
    frequencies = [1, 10000**-0.25, 10000**-0.5, 10000**-0.75]
    got = timestep_embedding(torch.tensor([0.0, 0.5, 7.0]), 8)
    for row, t in zip(got, (0, 0.5, 7)):
        expected = [math.cos(t * f) for f in frequencies] + [math.sin(t * f) for f in frequencies]
        torch.testing.assert_close(row, torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_timestep_embedding_of_whole_numbers():
    assert timestep_embedding(torch.tensor([3]), 320).equal(
        timestep_embedding(torch.tensor([3.0]), 320)
    )


def test_geglu_by_hand():
    layer, x = GEGLU(3).double(), normal(2, 3).double()
    h = x @ layer.up.weight.T + layer.up.bias
    value, gate = h[:, :12], h[:, 12:]
    hidden = value * gate * (1 + torch.erf(gate / 2**0.5)) / 2
    torch.testing.assert_close(layer(x), hidden @ layer.down.weight.T + layer.down.bias)


def test_a_text_of_one_token_is_read_alike_by_all():
    layer = CrossAttention(12, 5, 3)
    context = normal(2, 1, 5, seed=1)
    expected = layer.out(layer.v(context)).expand(2, 7, 12)
    torch.testing.assert_close(layer(normal(2, 7, 12), context), expected)


@pytest.mark.parametrize("linear_projection", [False, True])
def test_a_transformer_knows_no_places(linear_projection):
    """Rearranging the pixels rearranges its result alike."""
    layer = SpatialTransformer(16, 12, 2, 8, 2, linear_projection).requires_grad_(False)
    x, order = normal(3, 16, 4, 6), torch.randperm(24, generator=torch.Generator().manual_seed(3))

    def rearranged(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2)[:, :, order].unflatten(2, (4, 6))

    assert not layer(x, CONTEXT).allclose(x)
    torch.testing.assert_close(layer(rearranged(x), CONTEXT), rearranged(layer(x, CONTEXT)))


def test_upsample_repeats_pixels():
    layer = Upsample(2).requires_grad_(False)
    layer.conv.weight.zero_()
    layer.conv.bias.zero_()
    layer.conv.weight[0, 0, 1, 1] = layer.conv.weight[1, 1, 1, 1] = 1
    x = normal(1, 2, 3, 2)
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert layer(x, (6, 4)).equal(twice)
    assert layer(x, (5, 3)).equal(twice[:, :, :5, :3])
