"""Whole pictures of SDXL, its refiner, and SD 2 beside diffusers' pipelines."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image
from small_models import both

from ldm.request import Request
from small_families import REFINER, SD2, SDXL

SCHEDULERS = {
    "euler": EulerDiscreteScheduler,
    "ddim": DDIMScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
    "heun": HeunDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "unipc_bh2": partial(UniPCMultistepScheduler, solver_order=3),
}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SOLVERS = "dpmpp_2m", "unipc_bh2"  # which have a spacing of their own; SDXL's folders say leading
LEADING = {"timestep_spacing": "leading", "steps_offset": 1}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8))
MASK = Image.new("L", PICTURE.size)
MASK.paste(255, (4, 6, 12, 24))
NEGATIVES = {None: "", "": " ", "do": "do"}  # theirs: ours


def scheduler(name, **options):
    ddim = {"clip_sample": False, "set_alpha_to_one": False} if name == "ddim" else {}
    spacing = {} if name in SOLVERS else LEADING
    return SCHEDULERS[name](**(BETAS | spacing | ddim | options))


@pytest.fixture(scope="module")
def sdxl(tiny_tokenizer, share_weights):
    return both(SDXL, tiny_tokenizer, share_weights)


@pytest.fixture(scope="module")
def refiner(tiny_tokenizer, share_weights):
    found = both(REFINER, tiny_tokenizer, share_weights)
    found.theirs.update(text_encoder=None, tokenizer=None)
    return found


REFINING = {"requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False}


def ours(model, sampler, image=None, mask=None, negative="", **options):
    schedule = "automatic" if sampler in SOLVERS else "leading"
    known = {"seed": 7, "schedule": schedule, "sampler": sampler, "steps": 8, "guidance_scale": 3.0}
    if image is None:
        known |= {"width": 16, "height": 24}
    request = Request(
        "cat do", negative=negative, compat="diffusers", **(known | {"count": 3} | options)
    )
    job = model.resolve(request, image, mask)
    *_, last = model.steps(job)
    return last.x


def theirs(pipe, negative=None, **options):
    known = {"num_inference_steps": 8, "guidance_scale": 3.0, "num_images_per_prompt": 3}
    known["generator"] = torch.Generator().manual_seed(7)
    known["output_type"] = "latent"
    return pipe("cat do", negative_prompt=negative, **(known | options)).images


def assert_near(got, expected):
    """1e-4, absolutely; of latents greater than 10, which random weights and guidance make (up to
    90, where float32 itself is 1e-5 apart), 1e-5 of their size."""
    assert got.shape == expected.shape
    bound = max(1e-4, 1e-5 * expected.abs().max().item())
    torch.testing.assert_close(got, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_from_a_prompt(sdxl, name):
    pipe = sdxl.pipeline(StableDiffusionXLPipeline, scheduler(name))
    expected = theirs(pipe, "do", width=16, height=24)
    assert_near(ours(sdxl.ours, name, negative="do"), expected)


@pytest.mark.parametrize("negative", NEGATIVES)
def test_negatives(sdxl, negative):
    """None of theirs is zeros, and the empty text here; theirs is a space here."""
    pipe = sdxl.pipeline(StableDiffusionXLPipeline, scheduler("euler"))
    expected = theirs(pipe, negative, width=16, height=24)
    assert_near(ours(sdxl.ours, "euler", negative=NEGATIVES[negative]), expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # one image for three pictures
@pytest.mark.parametrize("name", SCHEDULERS)
def test_from_a_picture(sdxl, name):
    pipe = sdxl.pipeline(StableDiffusionXLImg2ImgPipeline, scheduler(name))
    expected = theirs(pipe, "do", image=PICTURE, strength=0.6)
    assert_near(ours(sdxl.ours, name, PICTURE, negative="do", strength=0.6), expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m"])
def test_within_a_mask(sdxl, name):
    """Of four channels: the known part is put back after each step, here it is a known D."""
    pipe = sdxl.pipeline(StableDiffusionXLInpaintPipeline, scheduler(name))
    asked = {"image": PICTURE, "mask_image": MASK, "strength": 0.6, "width": 16, "height": 24}
    expected = theirs(pipe, **asked)
    assert_near(ours(sdxl.ours, name, PICTURE, MASK, strength=0.6), expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("name", ["euler", "ddim", "dpmpp_2m"])
def test_within_a_mask_of_nine_channels(tiny_tokenizer, share_weights, name, strength):
    """stable-diffusion-xl-1.0-inpainting-0.1, which is told the mask."""
    unet = replace(SDXL.unet, concat_channels=5)
    family = replace(SDXL, unet=unet, conditioning=("sizes", "inpainting"))
    models = both(family, tiny_tokenizer, share_weights)
    pipe = models.pipeline(StableDiffusionXLInpaintPipeline, scheduler(name))
    asked = {"image": PICTURE, "mask_image": MASK, "width": 16, "height": 24}
    expected = theirs(pipe, "do", strength=strength, **asked)
    assert_near(ours(models.ours, name, PICTURE, MASK, negative="do", strength=strength), expected)


@pytest.mark.parametrize("scale", [1.0, 4.0, 8.0])
def test_a_latent_consistency_model(tiny_tokenizer, share_weights, scale):
    """Whose scale is an input: lcm-sdxl, with StableDiffusionXLPipeline as its page says."""
    family = replace(SDXL, unet=replace(SDXL.unet, guidance_width=10))
    models = both(family, tiny_tokenizer, share_weights)
    pipe = models.pipeline(StableDiffusionXLPipeline, LCMScheduler(**BETAS))
    asked = {"guidance_scale": scale, "num_inference_steps": 4}
    expected = theirs(pipe, width=16, height=24, **asked)
    got = ours(models.ours, "lcm", schedule="lcm", guidance_scale=scale, steps=4)
    assert_near(got, expected)


def test_sizes_and_crop_as_they_are_asked_for(sdxl):
    """Theirs are given as height and width, top and left."""
    pipe = sdxl.pipeline(StableDiffusionXLPipeline, scheduler("euler"))
    sizes = {"original_size": (40, 70), "target_size": (32, 50)}
    expected = theirs(pipe, width=16, height=24, crops_coords_top_left=(3, 9), **sizes)
    asked = {"original_size": (70, 40), "crop": (9, 3), "target_size": (50, 32)}
    assert_near(ours(sdxl.ours, "euler", **asked), expected)


@pytest.mark.parametrize("negative", NEGATIVES)
@pytest.mark.parametrize("skip", [1, 2])
def test_clip_skip(sdxl, skip, negative):
    """Theirs counts from the model's own layer, which is number 2 here, and not for negatives."""
    pipe = sdxl.pipeline(StableDiffusionXLPipeline, scheduler("euler"))
    expected = theirs(pipe, negative, width=16, height=24, clip_skip=skip)
    negative = NEGATIVES[negative]
    assert_near(ours(sdxl.ours, "euler", negative=negative, clip_skip=skip), expected)
    for other in ({}, {"clip_skip": 3 - skip}):
        got = ours(sdxl.ours, "euler", negative=negative, **other)
        assert (got - expected).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("negative", NEGATIVES)
def test_the_refiner_by_itself(refiner, negative):
    """Which encodes an empty negative, whatever theirs is called with."""
    pipe = refiner.pipeline(StableDiffusionXLImg2ImgPipeline, scheduler("euler"), **REFINING)
    expected = theirs(pipe, negative, image=PICTURE, strength=0.6)
    negative = NEGATIVES[negative]
    assert_near(ours(refiner.ours, "euler", PICTURE, negative=negative, strength=0.6), expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_refiner_with_scores_and_sizes(refiner):
    pipe = refiner.pipeline(StableDiffusionXLImg2ImgPipeline, scheduler("euler"), **REFINING)
    sizes = {"original_size": (40, 70), "negative_original_size": (40, 70)}
    scores = {"aesthetic_score": 7.5, "negative_aesthetic_score": 1.0}
    expected = theirs(pipe, "do", image=PICTURE, strength=0.6, **sizes, **scores)
    asked = {"original_size": (70, 40), "aesthetic_score": (7.5, 1)}
    got = ours(refiner.ours, "euler", PICTURE, negative="do", strength=0.6, **asked)
    assert_near(got, expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("start", [0.4, 0.8])
@pytest.mark.parametrize("name", ["euler", "ddim", "euler_ancestral"])
def test_base_then_refiner(sdxl, refiner, name, start):
    """Without solvers that remember, or that ask twice in a step: theirs begin anew there."""
    base = sdxl.pipeline(StableDiffusionXLPipeline, scheduler(name))
    then = refiner.pipeline(StableDiffusionXLImg2ImgPipeline, scheduler(name), **REFINING)
    asked = {"num_inference_steps": 10, "generator": torch.Generator().manual_seed(7)}
    x = theirs(base, "do", width=16, height=24, denoising_end=start, **asked)
    expected = theirs(then, "do", image=x, denoising_start=start, **asked)
    sdxl.ours.refiners["other"] = refiner.ours
    asked = {"refiner": "other", "refiner_start": start, "steps": 10}
    assert_near(ours(sdxl.ours, name, negative="do", **asked), expected)


def test_noise_that_ends_in_no_signal(tiny_tokenizer, share_weights):
    """Whose last level they have as 0, and A1111, ComfyUI and this library as nearly 0."""
    models = both(replace(SDXL, prediction="v", zero_snr=True), tiny_tokenizer, share_weights)
    options = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    ddim = scheduler("ddim", **options, timestep_spacing="trailing")
    expected = theirs(models.pipeline(StableDiffusionXLPipeline, ddim), "do", width=16, height=24)
    got = ours(models.ours, "ddim", negative="do", schedule="trailing")
    torch.testing.assert_close(got, expected, rtol=0, atol=5e-4 * expected.abs().max().item())


@pytest.mark.parametrize("name", SCHEDULERS)
def test_sd2(tiny_tokenizer, share_weights, name):
    """It predicts v, pads with 0, and reads the last layer but one: theirs has no other."""
    models = both(SD2, tiny_tokenizer, share_weights)
    pipe = models.pipeline(
        StableDiffusionPipeline,
        scheduler(name, prediction_type="v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    expected = theirs(pipe, "do", width=16, height=24)
    assert_near(ours(models.ours, name, negative="do"), expected)
