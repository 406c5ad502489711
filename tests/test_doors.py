"""Latents, noise and conditioning from outside, in place of what a request would give."""

import numpy as np
import pytest
import torch

from helpers import assert_same, differ, first_call, latents, network_calls, normal, pixels
from ldm.conditioning import Conditioning
from ldm.request import Request

SHAPE = 1, 4, 8, 8


# Latents


def test_latents_go_on_as_from_the_picture_that_is_encoded_to_them(tiny, monkeypatch):
    first = latents(tiny, Request("a dog", seed=2))
    request = Request("a cat", seed=1, strength=0.5, sampler="euler_ancestral")
    monkeypatch.setattr(tiny, "encode", lambda *_: first)
    by_picture = latents(tiny, request, torch.zeros(1, 3, 16, 16))
    assert torch.equal(latents(tiny, request, latents=first), by_picture)
    assert differ(by_picture, first)


def test_latents_are_image_to_image_of_their_picture(tiny):
    picture = tiny.decode(latents(tiny, Request("a dog", seed=2)))
    request = Request("a cat", seed=1, steps=4, strength=0.5)
    by_latents = latents(tiny, request, latents=tiny.encode(picture))
    assert torch.equal(by_latents, latents(tiny, request, picture))


def test_latents_of_strength_0_come_back_and_the_default_is_that_of_a_picture(tiny):
    first = normal(*SHAPE)
    assert torch.equal(latents(tiny, Request(strength=0), latents=first), first)
    job = tiny.resolve(Request(), latents=normal(1, 4, 10, 12))
    assert (job.request.strength, job.request.width, job.request.height) == (0.75, 24, 20)


def test_latents_are_one_for_all_pictures_or_one_for_each(tiny):
    each, request = normal(3, 4, 8, 8), Request("a cat", seed=5, count=3, strength=0.6)
    together = latents(tiny, request, latents=each)
    for i in range(3):
        alone = Request("a cat", seed=5 + i, strength=0.6)
        assert_same(together[i : i + 1], latents(tiny, alone, latents=each[i : i + 1]))
    shared = latents(tiny, request, latents=each[:1])
    assert_same(shared[:1], together[:1])
    assert differ(shared[1:], together[1:])


# Noise


@pytest.mark.parametrize("name", [None, "a1111", "comfyui", "diffusers", "compvis"])
def test_the_seeds_own_noise_gives_the_seeds_picture(tiny, name):
    request = Request("a cat", seed=7, count=2, sampler="euler_ancestral", compat=name)
    job = tiny.resolve(request)
    own = job.noise(job.passes[0], tiny.dtype)(torch.zeros(2, 4, 8, 8))
    assert torch.equal(latents(tiny, request, noise=own), latents(tiny, request))


def test_noise_of_another_seed_replaces_only_the_first(tiny):
    def drawn(seed, **given):
        return latents(tiny, Request("a cat", seed=seed, sampler="euler_ancestral"), **given)

    other = torch.randn(SHAPE, generator=torch.Generator().manual_seed(9))
    seen = first_call(tiny, Request("a cat", seed=7, guidance_scale=1), noise=other).x
    torch.testing.assert_close(seen, other)
    found = drawn(7, noise=other)
    assert differ(found, drawn(7))
    assert differ(found, drawn(9))  # the noise on the way is that of seed 7
    assert torch.equal(latents(tiny, Request(seed=7), noise=other), latents(tiny, Request(seed=9)))


def test_noise_is_for_the_first_pass_and_for_pictures_too(tiny):
    request = Request("a cat", seed=7, hires=1.5, strength=None)
    own = torch.randn(SHAPE, generator=torch.Generator().manual_seed(7))
    assert torch.equal(latents(tiny, request, noise=own), latents(tiny, request))
    picture, from_picture = torch.zeros(1, 3, 16, 16), Request("a cat", seed=7, strength=0.5)
    by_noise = latents(tiny, from_picture, picture, noise=own)
    assert torch.equal(by_noise, latents(tiny, from_picture, picture))
    assert differ(latents(tiny, from_picture, picture, noise=own.flip(-1)), by_noise)


# Conditioning


def test_the_prompts_own_conditioning_gives_the_prompts_latents(tiny):
    request = Request(["a cat", "a dog"], "ugly", seed=7, guidance_rescale=0.3)
    told = tiny.conditioning(["ugly", "a cat", "a dog"])
    pair = told[[0, 0]], told[[1, 2]]
    unread = Request(["x", "y"], "z", seed=7, guidance_rescale=0.3)
    assert torch.equal(latents(tiny, unread, conditioning=pair), latents(tiny, request))
    one_for_all = told[[0]], told[[1, 2]]
    assert torch.equal(latents(tiny, unread, conditioning=one_for_all), latents(tiny, request))


def test_a_single_conditioning_is_read_without_guidance(tiny):
    told = tiny.conditioning(["a cat"])
    plain = latents(tiny, Request("a cat", seed=7, guidance_scale=1))
    for given in (told, [told]):
        with network_calls(tiny) as calls:
            found = latents(tiny, Request(seed=7, guidance_scale=5), conditioning=given)
        assert torch.equal(found, plain)
        assert [len(call.x) for call in calls] == [1] * 4


# Several batches


def test_what_is_given_goes_with_its_picture_into_smaller_batches(tiny):
    told = tiny.conditioning(["ugly", "a cat", "a dog", "a cat and a dog"])
    given = {"noise": normal(3, 4, 8, 8), "conditioning": (told[:1], told[1:])}
    request = Request(seed=7, count=3, strength=0.7, sampler="euler_ancestral")
    job = tiny.resolve(request, latents=normal(3, 4, 8, 8, seed=1), **given)
    whole = latents(tiny, job)
    assert_same(torch.cat([latents(tiny, part) for part in job.split(2)]), whole)
    assert_same(torch.cat([latents(tiny, part) for part in job.split(1)]), whole)
    pictures = tiny.generate(job, batch=3)
    for one, other in zip(pictures, tiny.generate(job, batch=2), strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1


# What does not fit


@pytest.mark.parametrize("name", ["latents", "noise"])
@pytest.mark.parametrize(
    "shape", [(4, 8, 8), (1, 3, 8, 8), (3, 4, 8, 8), (1, 4, 8, 9), (0, 4, 8, 8)]
)
def test_a_wrong_shape_is_said_in_a_line(tiny, name, shape):
    request = Request(count=2, width=16, height=16)
    with pytest.raises(
        ValueError, match=rf"^{name} must be of shape \(2, 4, \d, \d\), not [^\n]*$"
    ):
        tiny.steps(request, **{name: torch.zeros(shape)})


def test_a_wrong_shape_says_the_right_one(tiny):
    message = r"noise must be of shape \(2, 4, 8, 8\), not \(3, 4, 8, 8\)"
    with pytest.raises(ValueError, match=message):
        tiny.steps(Request(count=2), noise=torch.zeros(3, 4, 8, 8))


def test_a_conditioning_that_does_not_fit_is_refused(tiny):
    told = tiny.conditioning(["a", "b", "c"])
    short, narrow = Conditioning(told.context[:, :9]), Conditioning(told.context[..., :15])
    for given, message in (
        (told, r"a context must be of shape \(2, 12, 16\), not \(3, 12, 16\)"),
        ([told[:2], short[:2]], r"of shape \(2, 12, 16\), not \(2, 9, 16\)"),
        (narrow[:2], r"of shape \(2, 12, 16\), not \(2, 12, 15\)"),
        (Conditioning(told.context[0]), r"must be of shape .*, not \(12, 16\)"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny.steps(Request(count=2), conditioning=given)
    for given in ([], [told] * 3):
        with pytest.raises(ValueError, match="give a positive, or a negative and"):
            tiny.steps(Request(), conditioning=given)


def test_latents_and_a_second_pass_exclude_one_another(tiny):
    with pytest.raises(ValueError, match="the second pass of hires is for pictures from noise"):
        tiny.steps(Request(hires=2), latents=torch.zeros(SHAPE))
