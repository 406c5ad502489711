"""From a request to latents and pictures through the whole model: no picture depends on its batch,
and everything that a request says reaches the network."""

import dataclasses
import weakref

import numpy as np
import pytest
import torch

from helpers import assert_same, first_call, latents
from ldm.pipeline.batches import batch_size
from ldm.pipeline.loading import load
from ldm.request import Request
from ldm.samplers import SAMPLERS


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if not SAMPLERS[name].adaptive])
def test_picture_3_of_4_equals_that_seed_alone(tiny, sampler):
    together = latents(tiny, Request("a cat", sampler=sampler, seed=10, count=4))
    alone = latents(tiny, Request("a cat", sampler=sampler, seed=12))
    assert_same(together[2:3], alone)
    assert not torch.allclose(together[1], together[2], atol=0.1)


def test_text_to_image_starts_from_standard_normal_noise(tiny):
    seen = first_call(tiny, Request(seed=5, count=2, guidance_scale=1)).x
    noise = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (5, 6)]
    torch.testing.assert_close(seen, torch.stack(noise))


def test_a_list_of_prompts_is_each_of_them_with_its_seed(tiny):
    together = latents(tiny, Request(["a cat", "a dog"], seed=1, count=2))
    alone = [
        latents(tiny, Request(prompt, seed=1 + i))
        for i, prompt in enumerate(["a cat", "a dog"] * 2)
    ]
    assert_same(together, torch.cat(alone))


def test_batches_make_the_same_pictures(tiny):
    whole = tiny.txt2img(["a", "b", "c"], count=3, seed=9, steps=2, batch=9)
    parts = tiny.txt2img(["a", "b", "c"], count=3, seed=9, steps=2, batch=2)
    assert len(whole) == len(parts) == 9
    for one, other in zip(whole, parts):
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 1


def test_prompt_negative_and_guidance_scale_reach_the_network(tiny):
    base = latents(tiny, Request("a cat", seed=1))
    for changed in (
        {"prompt": "a dog"},
        {"negative": "ugly"},
        {"guidance_scale": 2.0},
        {"seed": 2},
        {"schedule": "uniform"},
    ):
        assert not torch.allclose(
            base, latents(tiny, dataclasses.replace(Request("a cat", seed=1), **changed)), atol=1e-4
        )
    plain = Request("a cat", seed=1, guidance_scale=1)
    torch.testing.assert_close(
        latents(tiny, plain), latents(tiny, dataclasses.replace(plain, negative="ugly"))
    )


def test_guidance_scale_0_is_the_negative_prompt(tiny):
    assert_same(
        latents(tiny, Request("a cat", negative="a dog", guidance_scale=0)),
        latents(tiny, Request("a dog", guidance_scale=1)),
    )


def test_eta_reaches_the_sampler(tiny):
    still = latents(tiny, Request("a cat", sampler="ddim", schedule="karras"))
    torch.testing.assert_close(
        latents(tiny, Request("a cat", sampler="ddim", schedule="karras", eta=0)), still
    )
    assert not torch.allclose(
        latents(tiny, Request("a cat", sampler="ddim", schedule="karras", eta=0.5)),
        still,
        atol=0.01,
    )
    assert_same(
        latents(tiny, Request("a cat", sampler="euler_ancestral", schedule="karras", eta=0)), still
    )


def test_a_sampler_that_decides_its_own_steps_draws_one_by_one(tiny):
    adaptive = next(name for name in SAMPLERS if SAMPLERS[name].adaptive)
    assert len(tiny.txt2img("a cat", sampler=adaptive, count=2)) == 2
    assert batch_size(tiny, tiny.resolve(Request(sampler=adaptive, count=2))) == 1


@pytest.mark.parametrize("size", [(24, 12), (18, 14), (2, 30)])
def test_any_size_in_pixels_of_a_latent(tiny, size):
    (picture,) = tiny.txt2img("a cat", width=size[0], height=size[1])
    assert picture.size == size
    (again,) = tiny.img2img("a dog", picture, width=size[0], height=size[1])
    assert again.size == size


def test_bfloat16_is_near_float32_and_the_vaes_weights_stay_float32(tiny, own_tiny):
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
        assert not step.x.requires_grad
    torch.ones(2, requires_grad=True).sum().backward()


def test_what_steps_encode_and_decode_give_can_be_learnt_from(own_tiny):
    """They are no inference tensors, which autograd refuses to keep."""
    last = list(own_tiny.steps(Request("a cat")))[-1]
    encoded = own_tiny.encode(torch.zeros(1, 3, 16, 16))
    picture = own_tiny.decode(last.x)
    told = own_tiny.conditioning(["a cat"])
    for tensor in (last.x, last.denoised, encoded, picture, told.context):
        assert not tensor.is_inference()
        assert not tensor.requires_grad
    own_tiny.unet.requires_grad_(True)
    for x in (last.x, last.denoised, encoded, picture.new_zeros(1, 4, 8, 8) + picture.mean()):
        own_tiny.unet.zero_grad()
        own_tiny.unet(x, torch.tensor([500.0]), told).square().sum().backward()
        assert all(p.grad.isfinite().all() for p in own_tiny.unet.parameters())
        assert own_tiny.unet.out.weight.grad.abs().sum() > 0


def test_no_step_is_kept(tiny):
    latents = [
        weakref.ref(step.x) for step in tiny.steps(Request("a cat", steps=100, sampler="dpmpp_2m"))
    ]
    assert len(latents) == 100
    assert not any(reference() is not None for reference in latents)


def test_nothing_draws_from_the_global_generator(tiny):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    tiny.txt2img("a cat", sampler="dpmpp_sde", count=2)
    assert torch.equal(torch.get_rng_state(), before)
