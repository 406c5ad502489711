"""The depth of the U-Net held between calls: what is left out, what never is, and that a picture
stays the same in every batch, paused, and drawn again."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from helpers import build_tiny, differ, latents
from ldm.conditioning import Conditioning
from ldm.pipeline.caching import Cached
from ldm.pipeline.pause import pause, read_paused, save_paused
from ldm.request import Request
from ldm.unet import UNet, UNetConfig
from ldm.unet.cached import shallow, whole

SMALL = UNetConfig(
    in_channels=4, out_channels=4, concat_channels=0, channels=(16, 24, 32), res_blocks=2,
    groups=8, depth=(1, 0, 1), mid_depth=1, context_width=12, vector_width=None, heads=4,
    head_width=None, linear_projection=False,
)  # fmt: skip
CONFIGS = {
    "plain": SMALL,
    "no attention at the finest level": replace(SMALL, depth=(0, 1, 1)),
    "a vector and a concat": replace(SMALL, vector_width=7, concat_channels=5),
    "guidance distilled": replace(SMALL, guidance_width=10),
    "one level": replace(SMALL, channels=(16,), depth=(1,)),
}
PLAIN = Request("a cat", width=16, height=16, steps=6, seed=3)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(config).eval().requires_grad_(False)


def given(config, seed=0):
    """x, t and the conditioning of a call with two rows."""
    cond = Conditioning(
        normal(2, 7, 12, seed=seed),
        normal(2, config.vector_width) if config.vector_width else None,
        normal(2, config.concat_channels, 9, 6) if config.concat_channels else None,
        torch.tensor([2.0, 8.0]) if config.guidance_width else None,
    )
    return normal(2, 4, 9, 6, seed=seed + 1), torch.tensor([300.0 + seed]), cond


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_whole_call_is_the_unet_and_a_shallow_one_goes_on_from_its_map(config):
    """Breaks if the held map, the skip, or anything that is told is another than in the U-Net."""
    unet, (x, t, cond) = build(config), given(config)
    raw, held = whole(unet, x, t, cond)
    assert torch.equal(raw, unet(x, t, cond))
    assert torch.equal(raw, shallow(unet, x, t, cond, held))
    x, t, cond = given(config, seed=5)
    other = shallow(unet, x, t, cond, held)
    assert differ(other, raw)
    assert differ(other, unet(x, t, cond))


def test_residuals_of_a_control_are_in_both():
    unet, (x, t, cond) = build(SMALL), given(SMALL)
    skips = [16] * 3, [16, 24, 24], [24, 32, 32, 32]
    sizes = (9, 6), (5, 3), (3, 2)
    residuals = [
        normal(2, width, *size, seed=width + i)
        for size, widths in zip(sizes, skips)
        for i, width in enumerate(widths)
    ]
    raw, held = whole(unet, x, t, cond, residuals)
    assert torch.equal(raw, unet(x, t, cond, residuals))
    assert torch.equal(raw, shallow(unet, x, t, cond, held, residuals))
    assert differ(raw, shallow(unet, x, t, cond, held))


def test_places_hold_maps_of_their_own():
    """Within one call of the denoiser, as tiles and prompts of other shapes are."""
    unet, clock = build(SMALL), SimpleNamespace(calls=0, earlier=0)
    network = Cached(unet, 3, clock)
    first, second = given(SMALL), given(SMALL, seed=5)
    maps = []
    for call in first, second:
        raw, held = whole(unet, *call)
        assert torch.equal(network(*call), raw)
        maps.append(held)
    clock.calls = 1
    for call, held in zip((second, first), maps):
        assert torch.equal(network(*call), shallow(unet, *call, held))
    clock.calls = 2  # rows that are fewer: guidance has come to its end
    x, t, cond = first
    assert torch.equal(network(x[:1], t, cond[:1]), unet(x[:1], t, cond[:1]))
    clock.calls = 3
    assert torch.equal(network(*first), unet(*first))


def depths(model, request, **given):
    """How often the middle of the U-Net is computed."""
    calls = []
    hook = model.unet.mid.register_forward_hook(lambda *_: calls.append(1))
    try:
        latents(model, request, **given)
    finally:
        hook.remove()
    return len(calls)


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({}, 2),
        ({"sampler": "heun"}, 4),  # 11 calls
        ({"sampler": "dpm2"}, 4),
        ({"cache": 1}, 6),
        ({"cache": 100}, 1),
        ({"cache": 100, "hires": 2}, 2),  # each pass begins with a whole call
        ({"cache": 100, "width": 32, "tile": 16}, 3),  # one for each tile
        ({"guidance_scale": 1}, 2),
        ({"prompt": ("a", "a cat " * 9)}, 4),  # two shapes of prompts: apart
    ],
)
def test_how_often_all_is_computed(tiny, options, number):
    request = replace(PLAIN, **{"cache": 3, **options})
    assert depths(tiny, request) == number


def test_a_cache_of_one_is_exact_and_others_are_near(tiny):
    exact = latents(tiny, PLAIN)
    assert torch.equal(latents(tiny, replace(PLAIN, cache=1)), exact)
    assert differ(latents(tiny, replace(PLAIN, cache=3)), exact)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m"])
def test_a_picture_does_not_depend_on_its_batch(tiny, sampler):
    """Not even where prompts of other shapes are in it, or guidance ends on the way."""
    prompts = ("a", "a cat " * 9, "[a:a cat:3]")
    request = replace(PLAIN, prompt=prompts, cache=3, sampler=sampler, guidance_scale=4.0)
    together = latents(tiny, request)
    for i, part in enumerate(request.split(1)):
        assert torch.equal(latents(tiny, part)[0], together[i])


@pytest.mark.parametrize("options", [{"sampler": "heun"}, {"hires": 2}])
@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_paused_and_taken_up_it_is_the_same(tiny, tmp_path, options, steps):
    """Breaks if a shallow call follows whose map was not kept."""
    request = replace(PLAIN, steps=4, cache=3, **options)
    expected = latents(tiny, request)
    save_paused(tmp_path / "x.safetensors", pause(tiny, tiny.resolve(request), steps))
    paused = read_paused(tmp_path / "x.safetensors")
    got = [step.x for step in tiny.steps(paused.resolve(tiny), record=paused.record)][-1]
    assert torch.equal(got, expected)


def test_the_refiner_holds_maps_of_its_own(own_tiny):
    """It begins with a whole call. The base has the calls 0 and 1 of 4, the refiner 2 and 3."""
    own_tiny.refiners["other"] = other = build_tiny()
    request = replace(PLAIN, steps=4, cache=100, refiner="other", refiner_start=0.8)
    calls = []
    for model in own_tiny, other:
        model.unet.mid.register_forward_hook(lambda *_, model=model: calls.append(model))
    latents(own_tiny, request)
    assert calls == [own_tiny, other]
