"""Other programs' rules: each field of a row does what is known of the program, and reaches the picture."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.plan import noise_levels, passes
from ldm.programs import PROGRAMS, WORDS
from ldm.request import Request
from ldm.samplers import SAMPLERS, NoiseSchedule, scaled_linear_betas
from ldm.samplers.compat import NOISES, ForeignNoise

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
EACH = pytest.mark.parametrize("word", WORDS)


def levels(tiny, image=None, **options):
    return noise_levels(tiny.settle(Request(**options), image)[0], tiny.family)


def first_input(tiny, request, image=None):
    """What the U-Net sees first."""
    seen = []
    handle = tiny.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        next(tiny.steps(request, image))
    finally:
        handle.remove()
    return seen[0]


# Of 20 steps at strength 0.75


@pytest.mark.parametrize(
    ("word", "run", "whole"),
    [
        (None, 15, 20),
        ("a1111", 16, 20),
        ("a1111_cpu", 16, 20),
        ("comfyui", 20, 26),
        ("diffusers", 15, 20),
        ("compvis", 15, 20),
    ],
)
def test_steps_that_run_on_a_picture(tiny, word, run, whole):
    sigmas = levels(tiny, PICTURE, steps=20, strength=0.75, sampler="euler", schedule="karras", compat=word)
    assert len(sigmas) - 1 == run
    assert sigmas == SAMPLERS["euler"].sigmas(tiny.family.noise_schedule(), whole, "karras")[-run - 1 :]


@EACH
def test_every_number_of_steps_at_every_strength(tiny, word):
    for steps in range(1, 61):
        settled, _ = tiny.settle(Request(strength=1, steps=steps, compat=word), PICTURE)
        whole = noise_levels(settled, tiny.family)
        for strength in (0.1, 0.5, 0.999, 1):
            sigmas = noise_levels(replace(settled, strength=strength), tiny.family)
            assert all(a > b for a, b in pairwise(sigmas))
            assert PROGRAMS[word].exact or sigmas == whole[len(whole) - len(sigmas) :]
            assert strength < 1 or len(sigmas) > steps // 2


def test_a1111_with_exact_steps(tiny):
    sigmas = levels(tiny, PICTURE, steps=20, strength=0.75, compat="a1111", exact_steps=True, schedule="karras")
    assert sigmas == SAMPLERS["euler"].sigmas(tiny.family.noise_schedule(), 26, "karras")[-21:]


def test_halves_are_rounded_or_cut_off(tiny):
    counts = {word: len(levels(tiny, PICTURE, steps=7, strength=0.4, compat=word)) - 1 for word in PROGRAMS}
    assert counts == {None: 3, "a1111": 3, "a1111_cpu": 3, "comfyui": 7, "diffusers": 2, "compvis": 2}


@EACH
def test_the_ends_of_strength(tiny, word):
    assert len(levels(tiny, PICTURE, steps=9, strength=1, compat=word)) == 10
    assert len(levels(tiny, PICTURE, steps=9, strength=0, compat=word)) == (2 if word.startswith("a1111") else 1)
    assert len(levels(tiny, steps=9, compat=word)) == 10


# Where sampling starts


@pytest.mark.parametrize(
    ("word", "sampler", "schedule", "with_one"),
    [
        (None, "euler", "karras", True),
        ("a1111", "euler", "karras", False),
        ("a1111", "ddim", "ddim_uniform", True),
        ("comfyui", "euler", "karras", True),
        ("comfyui", "euler", "ddim_uniform", False),
        ("diffusers", "euler", "uniform", False),
        ("diffusers", "euler", "leading", True),
        ("diffusers", "dpmpp_2m", "karras", True),
        ("compvis", "ddim", "leading", True),
    ],
)
def test_scale_of_the_first_noise(tiny, word, sampler, schedule, with_one):
    request = tiny.settle(Request("a", seed=7, steps=5, sampler=sampler, schedule=schedule, compat=word))[0]
    sigmas = noise_levels(request, tiny.family)
    noise = PROGRAMS[word].noises([7], sigmas)(torch.zeros(1, 4, 8, 8))
    expected = noise if with_one else noise * sigmas[0] / math.sqrt(1 + sigmas[0] ** 2)
    seen = first_input(tiny, request)
    torch.testing.assert_close(seen[:1], expected, atol=1e-6, rtol=1e-5)


@EACH
def test_noise_is_the_programs(word):
    ours, theirs = PROGRAMS[word].noises([3, 4], [9.0, 1.0, 0.0]), ForeignNoise(NOISES[word], [3, 4], [9.0, 1.0, 0.0])
    x = torch.zeros(2, 4, 8, 8)
    for _ in range(2):
        assert torch.equal(ours(x), theirs(x))
    assert PROGRAMS[word].alone == NOISES[word].alone


# Between training steps


def test_sigma_between_training_steps():
    betas = scaled_linear_betas()
    log, linear = NoiseSchedule(betas), NoiseSchedule(betas, linear=True)
    low, high = log.sigmas[500].item(), log.sigmas[501].item()
    assert linear.sigma(500.5) == pytest.approx((low + high) / 2, rel=1e-12)
    assert log.sigma(500.5) == pytest.approx(math.sqrt(low * high), rel=1e-12)
    assert (linear.sigma_min, linear.sigma_max) == pytest.approx((log.sigma_min, log.sigma_max), rel=1e-12)
    for t in (0, 0.25, 499.5, 999):
        assert linear.t(linear.sigma(t)) == pytest.approx(t, abs=1e-9)
    assert (linear.t(0.0), linear.t(1e9)) == (0, 999)


def test_diffusers_is_linear_in_sigma(tiny):
    for word in PROGRAMS:
        sigmas = levels(tiny, steps=10, sampler="euler", schedule="uniform", compat=word)
        schedule = tiny.family.noise_schedule(linear=word == "diffusers")
        assert sigmas == SAMPLERS["euler"].sigmas(schedule, 10, "uniform")
    assert levels(tiny, steps=10, schedule="uniform") != levels(tiny, steps=10, schedule="uniform", compat="diffusers")


def test_comfyui_asks_the_network_at_whole_training_steps(tiny):
    seen = []
    handle = tiny.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1][0].item()))
    try:
        for word in ("comfyui", "a1111"):
            list(tiny.steps(Request("a", steps=7, schedule="karras", compat=word)))
    finally:
        handle.remove()
    assert seen[:7] == [round(t) for t in seen[7:]] != seen[7:]


def test_comfyui_adds_the_noise_of_the_top_level_to_a_picture_as_to_nothing(tiny):
    request, canvas = tiny.settle(Request("a", seed=7, steps=3, strength=1, compat="comfyui"), PICTURE)
    sigma, clean = noise_levels(request, tiny.family)[0], tiny.encode(canvas.image)
    noise = PROGRAMS["comfyui"].noises([7], [sigma, 0.0])(clean)
    expected = clean / math.sqrt(1 + sigma**2) + noise
    torch.testing.assert_close(first_input(tiny, request, canvas)[:1], expected, atol=1e-5, rtol=1e-5)


def test_next_to_last_levels(tiny):
    for word, names in ((None, {"dpm2", "dpm2_ancestral", "dpmpp_3m_sde"}), ("comfyui", COMFYUI_DISCARDS)):
        found = set()
        for name in SAMPLERS:
            sigmas = levels(tiny, steps=6, sampler=name, schedule="karras", compat=word)
            found |= {name} if sigmas[-2] > 0.03 else set()
            assert len(sigmas) == 7
        assert found == names


COMFYUI_DISCARDS = {"dpm2", "dpm2_ancestral", "unipc", "unipc_bh2"}


@pytest.mark.parametrize("word", ["a1111", "compvis", "diffusers"])
def test_the_last_step_of_ddim_leads_to_the_first_training_step(tiny, word):
    """Song et al. 2021, eq. 12, in x_t, whose last a is not 1 but the first of the model's."""
    a_first = tiny.family.noise_schedule().alphas_cumprod[0].item()
    request = tiny.settle(Request("a", steps=4, sampler="ddim", compat=word))[0]
    sigmas = noise_levels(request, tiny.family)
    assert sigmas[-1] == pytest.approx(math.sqrt((1 - a_first) / a_first))
    *_, before, last = tiny.steps(request)
    direction = (before.x - last.denoised) / sigmas[-2]
    torch.testing.assert_close(last.x, a_first**0.5 * last.denoised + (1 - a_first) ** 0.5 * direction)
    assert levels(tiny, steps=4, sampler="ddim")[-1] == levels(tiny, steps=4, compat=word)[-1] == 0


def test_a1111s_second_pass_runs_all_its_steps(tiny):
    for word, run in ((None, 5), ("a1111", 10)):
        request = tiny.settle(Request("a", steps=10, hires=2, hires_strength=0.5, compat=word))[0]
        assert len(noise_levels(passes(request, tiny.family)[1], tiny.family)) - 1 == run


# Prompts, schedules, 8 bits


def test_grammar(tiny):
    grammars = {word: tiny.settle(Request(compat=word))[0].emphasis for word in PROGRAMS}
    assert grammars == {
        None: "a1111",
        "a1111": "a1111",
        "a1111_cpu": "a1111",
        "comfyui": "comfyui",
        "diffusers": "off",
        "compvis": "off",
    }
    assert tiny.settle(Request(compat="compvis", emphasis="comfyui"))[0].emphasis == "comfyui"


def test_automatic_schedules(tiny):
    for word, sampler, schedule in (
        ("compvis", "ddim", "ddim_uniform"),
        ("compvis", "plms", "ddim_uniform"),
        ("a1111", "unipc", "ddim_clipped"),
        ("a1111", "dpmpp_sde", "karras"),
        ("diffusers", "ddim", "leading"),
        ("diffusers", "heun", "uniform"),
        ("diffusers", "dpmpp_2m", "sgm_linspace"),
    ):
        assert tiny.settle(Request(sampler=sampler, compat=word))[0].schedule == schedule


def heard(tiny, request, image=None):
    """What the U-Net is told at each of its calls: the first numbers of the prompt's context, as letters."""
    texts, letters = {}, []
    for letter, text in (("a", "cat"), ("b", "do")):
        texts[tuple(tiny.conditioning([text])[0, 1, :4].tolist())] = letter

    def listen(module, inputs):
        letters.append(texts[tuple(inputs[2][-1, 1, :4].tolist())])

    handle = tiny.unet.register_forward_pre_hook(listen)
    try:
        list(tiny.steps(request, image))
    finally:
        handle.remove()
    return "".join(letters)


@pytest.mark.parametrize(
    ("word", "sampler", "prompt", "letters"),
    [
        (None, "euler", "[cat:do:2]", "aabb"),
        (None, "heun", "[cat:do:2]", "aaaabbb"),
        (None, "heun", "[cat|do]", "aabbaab"),
        ("a1111", "euler", "[cat:do:2]", "aaab"),
        ("a1111", "euler", "[cat|do]", "aaba"),
        ("a1111", "heun", "[cat:do:2]", "aaabbbb"),
        ("a1111", "heun", "[cat:do:.5]", "aaaaabb"),
        ("a1111", "heun", "[cat|do]", "aababab"),
    ],
)
def test_when_a_prompt_changes(tiny, word, sampler, prompt, letters):
    """A1111 counts the calls of its network, from 0, and takes a text up to and with the number where it ends."""
    request = Request(prompt, sampler=sampler, steps=4, compat=word, scale=3)
    assert heard(tiny, request) == letters


def test_a_picture_to_start_from_leaves_a_prompts_changes_where_a1111_has_them(tiny, monkeypatch):
    options = {"sampler": "euler", "steps": 4, "strength": 0.5, "schedule": "karras"}
    assert heard(tiny, Request("[cat:do:.5]", **options), PICTURE) == "ab"
    assert heard(tiny, Request("[cat:do:.5]", **options, compat="a1111"), PICTURE) == "aaa"


def test_ddims_steps_are_compviss(tiny):
    """With 30 steps it runs 31."""
    assert len(levels(tiny, steps=30, sampler="ddim", compat="compvis")) - 1 == 31


def test_eight_bits(tiny):
    latents = [step.x for step in tiny.steps(Request("a cat"))][-1]
    exact = (tiny.decode(latents)[0].permute(1, 2, 0).numpy().clip(-1, 1) + 1) * 127.5
    for word in PROGRAMS:
        (picture,) = tiny.pictures(latents, Request(compat=word))
        rule = np.round if word in (None, "diffusers") else np.floor
        np.testing.assert_array_equal(np.asarray(picture), rule(exact).astype(np.uint8))


# Whole pictures


@EACH
def test_a_picture_is_drawn_again_from_its_own_request(tiny, word):
    """Also where its noise is a part of its batch's."""
    request = tiny.settle(Request(["a cat", "a dog"], seed=5, count=2, sampler="euler_ancestral", compat=word))[0]
    pictures = tiny.generate(request)
    assert len(pictures) == 4
    for picture, single in zip(pictures, tiny.singles(request)):
        (again,) = tiny.generate(Request.from_json(single.to_json()))
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(again)).max() <= 1


def test_the_text_in_a_picture_of_a_batch_is_its_own(tiny):
    request = tiny.settle(Request(["a cat", "a dog"], count=2, compat="comfyui"))[0]
    texts = [tiny.metadata(single)["parameters"].split("\n")[0] for single in tiny.singles(request)]
    assert texts == ["a cat", "a dog", "a cat", "a dog"]
    assert request.split(3)[0].only is None
    with pytest.raises(ValueError, match="only 4 is not among 4 pictures: give 0 to 3"):
        replace(request, only=4)


@EACH
def test_pictures_that_share_noise_are_not_drawn_apart(tiny, word):
    request = tiny.settle(Request("a cat", count=40, compat=word))[0]
    assert (tiny.batch_size(request) == 40) is not NOISES[word].alone


def test_unknown_words(tiny):
    with pytest.raises(ValueError, match="unknown program 'a111'; did you mean 'a1111'"):
        tiny.steps(Request(compat="a111"))
    with pytest.raises(ValueError, match="unknown emphasis 'none'"):
        tiny.steps(Request(emphasis="none"))
