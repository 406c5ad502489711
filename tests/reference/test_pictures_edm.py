"""Whole pictures of networks with EDM's noise beside diffusers' pipelines: Playground 2.5's, whose
latents have a mean and a standard deviation each, and CosXL's, which predict v."""

from dataclasses import replace

import pytest
from diffusers import (
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from small_models import both
from test_pictures_sdxl import PICTURE, assert_near, ours, theirs

from ldm.models.families import COSXL, PLAYGROUND
from small_families import SDXL

SCHEDULERS = {"euler": EDMEulerScheduler, "dpmpp_2m": EDMDPMSolverMultistepScheduler}
FIELDS = ("edm", "prediction")
FAMILIES = {
    known.name: replace(
        SDXL,
        vae=replace(SDXL.vae, scale=known.vae.scale, mean=known.vae.mean, std=known.vae.std),
        **{field: getattr(known, field) for field in FIELDS},
    )
    for known in (PLAYGROUND, COSXL)
}


@pytest.fixture(scope="module", params=FAMILIES)
def models(request, tiny_tokenizer, share_weights):
    found = both(FAMILIES[request.param], tiny_tokenizer, share_weights)
    vae = found.ours.family.vae
    found.theirs["vae"].register_to_config(
        scaling_factor=vae.scale, latents_mean=vae.mean or None, latents_std=vae.std or None
    )
    return found


def pipeline(models, kind, name):
    family = models.ours.family
    low, high, data = family.edm
    scheduler = SCHEDULERS[name](
        sigma_min=low, sigma_max=high, sigma_data=data,
        prediction_type={"eps": "epsilon", "v": "v_prediction"}[family.prediction],
    )  # fmt: skip
    return models.pipeline(kind, scheduler)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_from_a_prompt(models, name):
    pipe = pipeline(models, StableDiffusionXLPipeline, name)
    expected = theirs(pipe, "do", width=16, height=24)
    latents = ours(models.ours, name, negative="do", schedule="karras")
    assert_near(latents, expected)
    drawn = theirs(pipe, "do", width=16, height=24, output_type="pt")
    assert_near(models.ours.decode(latents), drawn * 2 - 1)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # one image for three pictures
def test_from_a_picture(models):
    pipe = pipeline(models, StableDiffusionXLImg2ImgPipeline, "euler")
    expected = theirs(pipe, "do", image=PICTURE, strength=0.6)
    got = ours(models.ours, "euler", PICTURE, negative="do", schedule="karras", strength=0.6)
    assert_near(got, expected)
