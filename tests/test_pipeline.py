import dataclasses
import math
import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.finite import NotFinite
from ldm.images import to_pil
from ldm.pipeline import load
from ldm.plan import noise_levels, takes
from ldm.request import Request
from ldm.samplers import SAMPLERS, SCHEDULES, Noise

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (19, 22, 3), dtype=np.uint8))


def latents(model, request, image=None):
    return [step.x for step in model.steps(request, image)][-1]


def assert_same(one, other):
    """To 1e-5 of the latents' size, which random weights make greater than 1."""
    torch.testing.assert_close(one, other, atol=1e-5 * other.abs().max().item(), rtol=0)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if not SAMPLERS[name].adaptive])
def test_picture_3_of_4_equals_that_seed_alone(tiny, sampler):
    together = latents(tiny, Request("a cat", sampler=sampler, seed=10, count=4))
    alone = latents(tiny, Request("a cat", sampler=sampler, seed=12))
    assert_same(together[2:3], alone)
    assert not torch.allclose(together[1], together[2], atol=0.1)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 7])
def test_every_strength_runs_the_steps_it_says(tiny, sampler, strength, steps):
    request = Request("a cat", sampler=sampler, strength=strength, steps=steps)
    done = list(tiny.steps(request, PICTURE))
    if not SAMPLERS[sampler].own_levels:
        assert len(done) == max(1, round(steps * strength))
    assert done[-1].sigma == 0
    assert done[-1].x.shape == (1, 4, 8, 10)
    assert done[-1].x.isfinite().all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_number_of_steps_at_every_strength(tiny, sampler):
    """The levels that are left decrease to 0, and from there the method finds data that are a single point."""
    for steps in range(1, 61):
        settled, _ = tiny.settle(Request(sampler=sampler, strength=1, steps=steps), torch.zeros(1, 3, 16, 16))
        there = SAMPLERS[sampler].sigmas(tiny.family.noise_schedule(), steps, settled.schedule)
        for strength in (0, 0.004, 0.03, 0.5, 0.999, 1):
            sigmas = noise_levels(dataclasses.replace(settled, strength=strength), tiny.family)
            assert len(sigmas) - 1 == round((len(there) - 1) * strength)
            assert sigmas[-1] == 0
            assert all(a > b for a, b in pairwise(sigmas))
        x = 2 + torch.full((1, 1, 1, 2), sigmas[0])
        *_, last = SAMPLERS[sampler].run(lambda x, sigma: torch.full_like(x, 2), x, sigmas, Noise([0]))
        torch.testing.assert_close(last.x, torch.full_like(x, 2))


@pytest.mark.parametrize(("steps", "strength", "whole"), [(4, 0.5, 8), (3, 0.7, 4), (5, 1.0, 5), (4, 0.004, 1000)])
def test_exact_steps_runs_all_of_them(tiny, steps, strength, whole):
    request, _ = tiny.settle(Request(steps=steps, strength=strength, exact_steps=True), PICTURE)
    sigmas = noise_levels(request, tiny.family)
    assert len(sigmas) == steps + 1
    assert sigmas == SCHEDULES["karras"](tiny.family.noise_schedule(), whole)[-steps - 1 :]


def test_a_schedule_that_cannot_have_so_many_steps_is_used_whole(tiny):
    request, _ = tiny.settle(Request(steps=60, schedule="ddim_uniform"))
    whole = SCHEDULES["ddim_uniform"](tiny.family.noise_schedule(), 60)
    assert len(whole) == 64
    assert noise_levels(request, tiny.family) == whole
    half, _ = tiny.settle(Request(steps=60, schedule="ddim_uniform", strength=1 / 3), PICTURE)
    assert noise_levels(half, tiny.family) == whole[-22:]


def test_exact_steps_at_the_ends(tiny):
    none, _ = tiny.settle(Request(strength=0, exact_steps=True), PICTURE)
    assert noise_levels(none, tiny.family) == [0.0]
    few, _ = tiny.settle(Request(steps=4, strength=0.001, exact_steps=True), PICTURE)
    with pytest.raises(ValueError, match="4 steps of 4000 are too fine a division"):
        noise_levels(few, tiny.family)


def test_strength_0_gives_the_picture_back_through_the_vae(tiny):
    (picture,) = tiny.img2img("a cat", PICTURE, strength=0, count=1)
    through = to_pil(tiny.decode(tiny.encode(tiny.settle(Request(), PICTURE)[1].image)))[0]
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(through))
    assert picture.size == (20, 16)  # multiples of 4 below 22 x 19


def test_image_to_image_starts_from_the_picture_at_the_tails_noise(tiny):
    request, start = tiny.settle(Request(seed=3, steps=4, strength=0.5), PICTURE)
    sigma = noise_levels(request, tiny.family)[0]
    assert sigma == SCHEDULES["karras"](tiny.family.noise_schedule(), 4)[2]
    seen = []
    tiny.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        next(tiny.steps(request, start))
    finally:
        tiny.unet._forward_pre_hooks.clear()
    noise = torch.randn(4, 8, 10, generator=torch.Generator().manual_seed(3))
    expected = (tiny.encode(start.image)[0] + sigma * noise) / math.sqrt(1 + sigma**2)
    torch.testing.assert_close(seen[0][0], expected, atol=1e-6, rtol=1e-5)


def test_text_to_image_starts_from_standard_normal_noise(tiny):
    seen = []
    tiny.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        next(tiny.steps(Request(seed=5, count=2, scale=1)))
    finally:
        tiny.unet._forward_pre_hooks.clear()
    noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (5, 6)]
    torch.testing.assert_close(seen[0], torch.stack(noise))


def test_a_list_of_prompts_is_each_of_them_with_its_seed(tiny):
    together = latents(tiny, Request(["a cat", "a dog"], seed=1, count=2))
    alone = [latents(tiny, Request(prompt, seed=1 + i)) for i, prompt in enumerate(["a cat", "a dog"] * 2)]
    assert_same(together, torch.cat(alone))


def test_batches_make_the_same_pictures(tiny):
    whole = tiny.txt2img(["a", "b", "c"], count=3, seed=9, steps=2, batch=9)
    parts = tiny.txt2img(["a", "b", "c"], count=3, seed=9, steps=2, batch=2)
    assert len(whole) == len(parts) == 9
    for one, other in zip(whole, parts):
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 1


def test_prompt_negative_and_scale_reach_the_network(tiny):
    base = latents(tiny, Request("a cat", seed=1))
    for changed in ({"prompt": "a dog"}, {"negative": "ugly"}, {"scale": 2.0}, {"seed": 2}, {"schedule": "uniform"}):
        assert not torch.allclose(
            base, latents(tiny, dataclasses.replace(Request("a cat", seed=1), **changed)), atol=1e-4
        )
    plain = Request("a cat", seed=1, scale=1)
    torch.testing.assert_close(latents(tiny, plain), latents(tiny, dataclasses.replace(plain, negative="ugly")))


def test_scale_0_is_the_negative_prompt(tiny):
    assert_same(latents(tiny, Request("a cat", negative="a dog", scale=0)), latents(tiny, Request("a dog", scale=1)))


def test_eta_reaches_the_sampler(tiny):
    still = latents(tiny, Request("a cat", sampler="ddim", schedule="karras"))
    torch.testing.assert_close(latents(tiny, Request("a cat", sampler="ddim", schedule="karras", eta=0)), still)
    assert not torch.allclose(
        latents(tiny, Request("a cat", sampler="ddim", schedule="karras", eta=0.5)), still, atol=0.01
    )
    assert_same(latents(tiny, Request("a cat", sampler="euler_ancestral", schedule="karras", eta=0)), still)


def test_defaults_are_the_familys(tiny):
    request, start = tiny.settle(Request("a cat"))
    assert start is None
    assert request == Request(
        "a cat", steps=4, sampler="euler", schedule="karras", scale=3.0, width=16, height=16, emphasis="a1111"
    )
    request, start = tiny.settle(Request("a cat", scale=0), PICTURE)
    assert (request.scale, request.strength, request.width, request.height) == (0, 0.75, 20, 16)
    assert tiny.settle(request, start)[0] == request


def test_metadata_say_how_to_draw_the_picture_again(tiny):
    settled, _ = tiny.settle(Request("a cat, sitting", sampler="euler", seed=3))
    text = tiny.metadata(settled)
    assert Request.from_json(text["ldm"]) == settled
    assert text["parameters"] == (
        "a cat, sitting\nSteps: 4, Sampler: Euler, Schedule type: Karras, CFG scale: 3, Seed: 3, Size: 16x16, "
        "Model: tiny, RNG: CPU"
    )


def test_the_schedule_goes_with_the_sampler(tiny):
    for sampler, schedule, settled in (
        (None, None, "karras"),
        ("euler", None, "karras"),
        ("euler", "automatic", SAMPLERS["euler"].schedule),
        ("ddim", None, SAMPLERS["ddim"].schedule),
        ("ddim", "exponential", "exponential"),
        (None, "exponential", "exponential"),
    ):
        assert tiny.settle(Request(sampler=sampler, schedule=schedule))[0].schedule == settled


def test_a_sampler_that_decides_its_own_steps_draws_one_by_one(tiny):
    adaptive = next(name for name in SAMPLERS if SAMPLERS[name].adaptive)
    assert len(tiny.txt2img("a cat", sampler=adaptive, count=2)) == 2


def test_a_request_may_name_its_picture(tiny, tmp_path):
    PICTURE.save(tmp_path / "in.png")
    request = Request("a cat", image=str(tmp_path / "in.png"), strength=0.5, width=24, height=12)
    (picture,) = tiny.generate(request)
    assert picture.size == (24, 12)
    (same,) = tiny.img2img("a cat", PICTURE, 0.5, width=24, height=12)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(same))


@pytest.mark.parametrize("size", [(24, 12), (18, 14), (2, 30)])
def test_any_size_in_pixels_of_a_latent(tiny, size):
    (picture,) = tiny.txt2img("a cat", width=size[0], height=size[1])
    assert picture.size == size
    (again,) = tiny.img2img("a dog", picture, width=size[0], height=size[1])
    assert again.size == size


def test_of_the_steps_as_many_run_as_in_compviss_scripts(tiny):
    """Of 50 steps at strength 0.75, their defaults: "target t_enc is 37 steps". Without the word, 38: it is rounded."""
    for word, count in (("compvis", 37), (None, 38)):
        request, _ = tiny.settle(Request(steps=50, strength=0.75, compat=word), PICTURE)
        assert len(noise_levels(request, tiny.family)) - 1 == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "eular"}, "unknown sampler 'eular'; did you mean 'euler'"),
        ({"schedule": "caras"}, "unknown schedule 'caras'; did you mean 'karras'"),
        ({"width": 17}, "17 pixels does not fit this model: give a multiple of 2"),
        ({"height": 1}, "1 pixels does not fit this model: give a multiple of 2"),
        ({"tile": 18}, "18 pixels does not fit this model: give a multiple of 4"),
        ({"strength": 0.5}, "needs an image"),
        ({"eta": 0.5}, "sampler 'euler' takes no eta: leave it out, or take one of .*ddim"),
    ],
)
def test_impossible_requests_are_refused_before_anything_runs(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        tiny.steps(Request("a cat", **options))


def test_wrong_images_are_refused(tiny):
    with pytest.raises(ValueError, match="there is no picture"):
        tiny.steps(Request(strength=0.5), "nowhere.png")
    with pytest.raises(ValueError, match=r"must be a tensor \(1, 3, H, W\)"):
        tiny.steps(Request(strength=0.5), torch.zeros(3, 16, 16))
    with pytest.raises(ValueError, match=r"numbers from -1 to 1, not .* torch\.uint8"):
        tiny.steps(Request(strength=0.5), torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="a picture must be a file, one of PIL's or a tensor, not ndarray"):
        tiny.steps(Request(strength=0.5), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="an image of 16 x 16 for a picture of 32 x 16"):
        tiny.steps(Request(strength=0.5, width=32), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="too small: give at least 4 x 4"):
        tiny.steps(Request(strength=0.5), Image.new("RGB", (3, 3)))


def test_a_broken_layer_is_named_with_its_step(own_tiny):
    calls = []

    def poison(module, inputs, output):
        calls.append(1)
        return output * math.nan if len(calls) > 2 else output

    own_tiny.unet.mid.res1.conv2.register_forward_hook(poison)
    with pytest.raises(NotFinite, match=r"step 3 of 4: unet\.mid\.res1\.conv2 gives NaN or infinity"):
        own_tiny.txt2img("a cat")


@pytest.mark.parametrize("part", ["text", "vae"])
def test_broken_weights_are_named(own_tiny, part):
    weight = {"text": own_tiny.text.layers[0].attn.k.bias, "vae": own_tiny.vae.decoder.mid.attn.q.weight}[part]
    with torch.no_grad():
        weight.view(-1)[3] = math.inf
    where = {"text": r"reading the prompt: text\.layers\.0\.attn\.k", "vae": r"decoding .*vae\.decoder\.mid\.attn\.q"}
    with pytest.raises(NotFinite, match=where[part]):
        own_tiny.txt2img("a cat")


def test_overflow_in_half_precision_says_what_to_do(own_tiny):
    own_tiny.to(dtype=torch.bfloat16)
    with torch.no_grad():
        own_tiny.unet.out.weight.fill_(1e38)
    with pytest.raises(NotFinite, match=r"step 1 of 4: unet\.out .*try --dtype float32"):
        own_tiny.txt2img("a cat")


def test_a_black_picture_is_an_error(own_tiny):
    with torch.no_grad():
        own_tiny.vae.decoder.out.weight.zero_()
        own_tiny.vae.decoder.out.bias.fill_(-1.5)
    with pytest.raises(NotFinite, match="black all over"):
        own_tiny.txt2img("a cat")


def test_bfloat16_is_near_float32_and_the_vae_stays_float32(tiny, own_tiny):
    own_tiny.to("cpu", torch.bfloat16)
    assert own_tiny.dtype == torch.bfloat16
    assert own_tiny.vae.quant.weight.dtype == torch.float32
    exact, rough = latents(tiny, Request("a cat")), latents(own_tiny, Request("a cat"))
    assert rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().mean() < 0.05 * exact.abs().mean()


def test_the_vaes_weights_are_not_rounded_on_the_way_from_the_file(tiny, tiny_file):
    model = load(tiny_file, "cpu", torch.bfloat16)
    assert model.unet.out.weight.dtype == torch.bfloat16
    for name, weight in model.vae.state_dict().items():
        assert torch.equal(weight, tiny.vae.state_dict()[name])


def test_a_caller_who_looks_at_steps_keeps_its_own_mode(tiny):
    for step in tiny.steps(Request("a cat")):
        assert not torch.is_inference_mode_enabled()
        assert step.x.is_inference()
    torch.ones(2, requires_grad=True).sum().backward()


def test_no_step_is_kept(tiny):
    latents = [weakref.ref(step.x) for step in tiny.steps(Request("a cat", steps=100, sampler="dpmpp_2m"))]
    assert len(latents) == 100
    assert not any(reference() is not None for reference in latents)


def test_nothing_draws_from_the_global_generator(tiny):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    tiny.txt2img("a cat", sampler="dpmpp_sde", count=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_taking_options():
    assert takes("ddim", "eta")
    assert not takes("euler", "eta")
