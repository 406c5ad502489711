"""Whole pictures beside diffusers' pipelines: prompt, noise, levels, sampler and picture to start
from, all at once."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image

from ldm.models.weights import save
from ldm.request import Request

SCHEDULERS = {
    "ddim": DDIMScheduler,
    "plms": PNDMScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
    "heun": HeunDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "unipc_bh2": UniPCMultistepScheduler,
}
OPTIONS = {
    "plms": {"skip_prk_steps": True},  # as Stable Diffusion's own folders say
    "unipc_bh2": {"solver_order": 3},  # theirs is 2, if nothing is said
}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "diffusers"
    save(folder, tiny_checkpoint, "diffusers")
    return folder


def pipeline(kind, folder, sampler):
    pipe = kind.from_pretrained(folder, safety_checker=None, feature_extractor=None)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = SCHEDULERS[sampler].from_config(
        pipe.scheduler.config, **OPTIONS.get(sampler, {})
    )
    return pipe


def settings(sampler, **options):
    known = {
        "seed": 7,
        "sampler": sampler,
        "schedule": "automatic",
        "steps": 8,
        "guidance_scale": 3.0,
        "compat": "diffusers",
    }
    return Request("cat do", negative="do", **known, **options)


def theirs(pipe, count, **options):
    generator = torch.Generator().manual_seed(7)
    return pipe(
        "cat do",
        negative_prompt="do",
        num_inference_steps=8,
        guidance_scale=3.0,
        generator=generator,
        num_images_per_prompt=count,
        output_type="latent",
        **options,
    ).images


@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_from_a_prompt(tiny, folder, sampler):
    expected = theirs(pipeline(StableDiffusionPipeline, folder, sampler), 2, width=16, height=24)
    *_, last = tiny.steps(settings(sampler, width=16, height=24, count=2))
    torch.testing.assert_close(last.x, expected, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # one image for two pictures
@pytest.mark.parametrize("sampler", [name for name in SCHEDULERS if name != "plms"])
def test_from_a_picture(tiny, folder, sampler):
    """Without PLMS: theirs then asks the network at levels that the latent is not at."""
    pipe = pipeline(StableDiffusionImg2ImgPipeline, folder, sampler)
    expected = theirs(pipe, 2, image=PICTURE, strength=0.6)
    *_, last = tiny.steps(settings(sampler, strength=0.6, count=2), PICTURE)
    torch.testing.assert_close(last.x, expected, rtol=0, atol=1e-4)
