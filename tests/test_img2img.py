"""From a picture: how many steps run at which strength, where they start, colours kept, and what is
no picture."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import PICTURE, first_call, levels, noise_levels, pixels, random_picture
from ldm.compat.profiles import DEFAULT
from ldm.images.colour import with_luminance
from ldm.images.files import to_tensor
from ldm.images.saving import to_pil
from ldm.request import Request
from ldm.samplers import SAMPLERS, SCHEDULES, Noise

WIDE = random_picture(32, 24)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 7])
def test_every_strength_runs_the_steps_it_says(tiny, sampler, strength, steps):
    request = Request("a cat", sampler=sampler, strength=strength, steps=steps)
    done = list(tiny.steps(request, PICTURE))
    if not SAMPLERS[sampler].own_levels:
        assert len(done) == max(1, round(steps * strength))
    assert done[-1].sigma in (0, last_level(tiny, sampler))
    assert done[-1].x.shape == (1, 4, 8, 10)
    assert done[-1].x.isfinite().all()


def last_level(model, name):
    """0, but CompVis's DPM-Solver and TCD end at the first training step."""
    return model.family.noise_schedule().sigma_min if name in ("dpm_solver", "tcd") else 0


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_number_of_steps_at_every_strength(tiny, name):
    """The levels that are left decrease to 0, and from there the method finds data that are a
    single point."""
    training, sampler = tiny.family.noise_schedule(), SAMPLERS[name]
    for steps in range(1, 61):
        job = tiny.resolve(Request(sampler=name, strength=1, steps=steps), PICTURE)
        schedule = job.request.schedule
        there = sampler.sigmas(training, steps, schedule)
        assert list(job.passes[0].sigmas) == [*there[:-1], last_level(tiny, name)]
        for strength in (0, 0.004, 0.03, 0.5, 0.999, 1):
            sigmas = noise_levels(DEFAULT, training, sampler, schedule, steps, strength, False)
            assert len(sigmas) - 1 == round((len(there) - 1) * strength)
            assert sigmas[-1] == (last_level(tiny, name) if len(sigmas) > 1 else 0)
            assert all(a > b for a, b in pairwise(sigmas))
        x = 2 + torch.full((1, 1, 1, 2), sigmas[0])
        quiet = {"eta": 0.0} if name == "tcd" else {}  # whose last level has noise, else
        walk = sampler.run(lambda x, sigma: torch.full_like(x, 2), x, sigmas, Noise([0]), **quiet)
        *_, last = walk
        left = sigmas[-1] / sigmas[0] * (x - 2)
        torch.testing.assert_close(last.x, torch.full_like(x, 2) + left)


@pytest.mark.parametrize(
    ("steps", "strength", "whole"), [(4, 0.5, 8), (3, 0.7, 4), (5, 1.0, 5), (4, 0.004, 1000)]
)
def test_full_steps_runs_all_of_them(tiny, steps, strength, whole):
    sigmas = levels(tiny, PICTURE, steps=steps, strength=strength, full_steps=True)
    assert len(sigmas) == steps + 1
    assert sigmas == SCHEDULES["karras"](tiny.family.noise_schedule(), whole)[-steps - 1 :]


def test_full_steps_at_the_ends(tiny):
    assert levels(tiny, PICTURE, strength=0, full_steps=True) == [0.0]
    with pytest.raises(ValueError, match=r"4 steps at strength 0\.001 need 4000 sampling steps"):
        levels(tiny, PICTURE, steps=4, strength=0.001, full_steps=True)


def test_a_schedule_that_cannot_have_so_many_steps_is_used_whole(tiny):
    whole = SCHEDULES["ddim_uniform"](tiny.family.noise_schedule(), 60)
    assert len(whole) == 64
    assert levels(tiny, steps=60, schedule="ddim_uniform") == whole
    third = levels(tiny, PICTURE, steps=60, schedule="ddim_uniform", strength=1 / 3)
    assert third == whole[-22:]


def test_strength_0_gives_the_picture_back_through_the_vae(tiny):
    (picture,) = tiny.img2img("a cat", PICTURE, strength=0, count=1)
    init = tiny.resolve(Request(), PICTURE).init
    through = to_pil(tiny.decode(tiny.encode(init.image)))[0]
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(through))
    assert picture.size == (20, 16)  # multiples of 4 below 22 x 19


def test_image_to_image_starts_from_the_picture_at_the_tails_noise(tiny):
    request = Request(seed=3, steps=4, strength=0.5)
    job = tiny.resolve(request, PICTURE)
    sigma = job.passes[0].sigmas[0]
    assert sigma == SCHEDULES["karras"](tiny.family.noise_schedule(), 4)[2]
    noise = torch.randn(4, 8, 10, generator=torch.Generator().manual_seed(3))
    expected = (tiny.encode(job.init.image)[0] + sigma * noise) / math.sqrt(1 + sigma**2)
    seen = first_call(tiny, request, PICTURE).x
    torch.testing.assert_close(seen[0], expected, atol=1e-6, rtol=1e-5)


def test_a_request_may_name_its_picture(tiny, tmp_path):
    PICTURE.save(tmp_path / "in.png")
    request = Request("a cat", image=str(tmp_path / "in.png"), strength=0.5, width=24, height=12)
    (picture,) = tiny.generate(request)
    assert picture.size == (24, 12)
    (same,) = tiny.img2img("a cat", PICTURE, 0.5, width=24, height=12)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(same))


def test_of_the_steps_as_many_run_as_in_compviss_scripts(tiny):
    """Of 50 steps at strength 0.75, their defaults: "target t_enc is 37 steps". Without the word,
    38: it is rounded."""
    for name, count in (("compvis", 37), (None, 38)):
        assert len(levels(tiny, PICTURE, steps=50, strength=0.75, compat=name)) - 1 == count


def test_wrong_images_are_refused(tiny):
    for image, options, message in (
        ("nowhere.png", {}, "there is no picture"),
        (torch.zeros(3, 16, 16), {}, r"must be a tensor \(1, 3, H, W\)"),
        (
            torch.zeros(1, 3, 16, 16, dtype=torch.uint8),
            {},
            r"numbers in \[-1, 1\], not .* torch\.uint8",
        ),
        (
            np.zeros((16, 16, 3), np.uint8),
            {},
            "a picture must be a file, one of PIL's or a tensor, not ndarray",
        ),
        (torch.zeros(1, 3, 16, 16), {"width": 32}, "an image of 16 x 16 for a picture of 32 x 16"),
        (Image.new("RGB", (3, 3)), {}, "too small: give at least 4 x 4"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny.steps(Request(strength=0.5, **options), image)


# Colour


def test_colourising_keeps_the_luminance(tiny):
    grey = WIDE.convert("L").convert("RGB")
    (picture,) = tiny.img2img("a cat", grey, 1.0, colourise=True)
    assert np.abs(pixels(picture.convert("L")) - pixels(WIDE.convert("L"))).max() <= 2
    assert np.ptp(pixels(picture), axis=-1).max() > 3


def test_each_guess_has_the_sources_luminance_and_not_only_the_last(tiny):
    grey = WIDE.convert("L").convert("RGB")
    plain = next(tiny.steps(Request("a cat", strength=1.0, colourise=False), grey)).denoised
    kept = next(tiny.steps(Request("a cat", strength=1.0, colourise=True), grey)).denoised
    expected = tiny.encode(with_luminance(tiny.decode(plain), to_tensor(grey)))
    torch.testing.assert_close(kept, expected, atol=1e-4, rtol=1e-4)


def test_repeated_image_to_image_does_not_drift(tiny):
    """Random weights change the colours at once; corrected, they stay the picture's after five
    rounds."""
    picture = Image.fromarray((pixels(WIDE) // 2 + 60).astype(np.uint8))
    free = held = picture
    for seed in range(5):
        (free,) = tiny.img2img("a cat", free, 0.25, seed=seed)
        (held,) = tiny.img2img("a cat", held, 0.25, seed=seed, color_correction=True)

    def drift(image):
        return np.abs(pixels(image).mean((0, 1)) - pixels(picture).mean((0, 1))).max()

    assert drift(held) < 5 < drift(free)
