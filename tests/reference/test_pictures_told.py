"""Whole pictures of models that are told a picture, beside diffusers' pipelines."""

from dataclasses import replace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionDepth2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
)
from PIL import Image
from theirs import their_unet

from helpers import MERGES, TINY, random_picture, tiny_networks
from ldm.clip.tokenizer import Tokenizer
from ldm.images.files import to_tensor
from ldm.models.keymaps.rows import unet_rows
from ldm.models.weights import save
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.unet import UNet

SCHEDULERS = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
}
PICTURE = random_picture(16, 24)
MASK = Image.new("L", (16, 24))
MASK.paste(255, (3, 6, 12, 19))  # not along pixels of the latent
DEPTH = torch.rand(1, 24, 16, generator=torch.Generator().manual_seed(3))
FAMILIES = {
    "inpainting": replace(
        TINY, unet=replace(TINY.unet, concat_channels=5), conditioning=("inpainting",)
    ),
    "depth": replace(TINY, unet=replace(TINY.unet, concat_channels=1), conditioning=("depth",)),
    "low_resolution": replace(
        TINY,
        unet=replace(
            TINY.unet, concat_channels=3, vector_width=1, classes=400, only_cross_attention=(1,)
        ),
        prediction="v",
        conditioning=("low_resolution",),
    ),
    "instruction": replace(
        TINY,
        unet=replace(TINY.unet, concat_channels=4),
        conditioning=("instruction",),
        strength=1.0,
    ),
}
COMMON = {"seed": 7, "schedule": "automatic", "steps": 8, "compat": "diffusers", "count": 2}


@pytest.fixture(scope="module")
def folder(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "diffusers"
    save(folder, tiny_checkpoint, "diffusers")
    return folder


@pytest.fixture(scope="module")
def pair(folder, share_weights):
    """pair(kind, pipeline, sampler) -> our model and their pipeline, of the same weights."""

    def both(kind, pipeline, sampler, **extra):
        family = FAMILIES[kind]
        with torch.device("meta"):
            ours, theirs = UNet(family.unet), their_unet(family.unet)
        share_weights(ours, theirs, unet_rows(family.unet), torch.float32)
        theirs.register_to_config(sample_size=64)
        text, _, vae = tiny_networks()
        tokenizer = Tokenizer(MERGES, TINY.text[0].length)
        parts = StableDiffusionPipeline.from_pretrained(
            folder, safety_checker=None, feature_extractor=None
        ).components
        config = {
            "beta_start": family.beta_start,
            "beta_end": family.beta_end,
            "beta_schedule": "scaled_linear",
            "clip_sample": False,
            "set_alpha_to_one": False,
            "steps_offset": 1,
            "prediction_type": {"eps": "epsilon", "v": "v_prediction"}[family.prediction],
        }
        parts["scheduler"] = SCHEDULERS[sampler].from_config(config)
        parts |= {"unet": theirs, **extra}
        if pipeline in (StableDiffusionDepth2ImgPipeline, StableDiffusionUpscalePipeline):
            parts = {n: p for n, p in parts.items() if n not in ("safety_checker", "image_encoder")}
        if pipeline is StableDiffusionUpscalePipeline:
            parts.pop("feature_extractor")
        pipe = (
            pipeline(**parts)
            if pipeline is StableDiffusionDepth2ImgPipeline
            else pipeline(**parts, **NO_CHECKER.get(pipeline, {}))
        )
        pipe.set_progress_bar_config(disable=True)
        return LatentDiffusion(text, ours, vae, tokenizer, family), pipe

    return both


NO_CHECKER = {
    StableDiffusionInpaintPipeline: {"requires_safety_checker": False},
    StableDiffusionInstructPix2PixPipeline: {"requires_safety_checker": False},
    StableDiffusionUpscalePipeline: {},
}


def theirs(pipe, negative, scale=3.0, **options):
    return pipe(
        "cat do",
        negative_prompt=negative,
        num_inference_steps=8,
        guidance_scale=scale,
        generator=torch.Generator().manual_seed(7),
        num_images_per_prompt=2,
        output_type="latent",
        **options,
    ).images


def ours(model, image=None, mask=None, negative=None, scale=3.0, depth=None, **options):
    negative = "" if negative is None else negative
    request = Request("cat do", negative=negative, guidance_scale=scale, **COMMON, **options)
    job = model.resolve(request, image, mask, depth=depth)
    return [step.x for step in model.steps(job)][-1]


def assert_equal(got, expected):
    """1e-5 of the latents' size, which random weights and a guidance of 7.5 make greater than 1."""
    assert expected.std() > 0.1
    bound = 1e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(got, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("negative", ["do", None])
@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_inpainting(pair, sampler, strength, negative):
    model, pipe = pair("inpainting", StableDiffusionInpaintPipeline, sampler)
    picture, mask = to_tensor(PICTURE), to_tensor(MASK)[:, :1] / 2 + 0.5
    options = {"image": picture, "mask_image": mask, "width": 16, "height": 24}
    expected = theirs(pipe, negative, strength=strength, **options)
    got = ours(model, PICTURE, MASK, negative, sampler=sampler, strength=strength)
    assert_equal(got, expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # one image for two pictures
@pytest.mark.parametrize("negative", ["do", None])
@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_depth(pair, sampler, strength, negative):
    nothing = {"depth_estimator": None, "feature_extractor": None}
    model, pipe = pair("depth", StableDiffusionDepth2ImgPipeline, sampler, **nothing)
    expected = theirs(pipe, negative, strength=strength, image=to_tensor(PICTURE), depth_map=DEPTH)
    got = ours(model, PICTURE, None, negative, depth=DEPTH, sampler=sampler, strength=strength)
    assert_equal(got, expected)


@pytest.mark.parametrize("negative", ["do", None])
@pytest.mark.parametrize("level", [20, 0, 350])
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_upscaling(pair, sampler, level, negative):
    low = DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear")
    model, pipe = pair(
        "low_resolution",
        StableDiffusionUpscalePipeline,
        sampler,
        low_res_scheduler=low,
        max_noise_level=350,
    )
    expected = theirs(pipe, negative, image=to_tensor(PICTURE), noise_level=level)
    got = ours(model, PICTURE, None, negative, sampler=sampler, noise_level=level)
    assert got.shape == (2, 4, 24, 16)
    assert_equal(got, expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # one image for two pictures
@pytest.mark.parametrize("negative", ["do", None])
@pytest.mark.parametrize("scales", [(3.0, 1.5), (7.5, 1.0), (2.0, 4.0)])
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_editing(pair, sampler, scales, negative):
    scale, image_scale = scales
    model, pipe = pair("instruction", StableDiffusionInstructPix2PixPipeline, sampler)
    expected = theirs(
        pipe, negative, scale, image=to_tensor(PICTURE), image_guidance_scale=image_scale
    )
    got = ours(
        model, PICTURE, None, negative, scale, sampler=sampler, image_guidance_scale=image_scale
    )
    assert_equal(got, expected)
