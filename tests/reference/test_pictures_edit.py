"""Whole pictures of SDXL's networks that edit a picture by an instruction, beside diffusers'
pipeline: with the noise of betas, and CosXL-Edit's."""

from dataclasses import replace

import pytest
from diffusers import (
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLInstructPix2PixPipeline,
)
from small_models import both
from test_pictures_sdxl import BETAS, LEADING, NEGATIVES, PICTURE, assert_near, ours, theirs

from ldm.models.families import COSXL_EDIT, INSTRUCT_SDXL
from small_families import SDXL

FAMILIES = {
    known.name: replace(
        SDXL, unet=replace(SDXL.unet, concat_channels=4), conditioning=known.conditioning,
        edm=known.edm, prediction=known.prediction, strength=known.strength,
    )
    for known in (INSTRUCT_SDXL, COSXL_EDIT)
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def editing(request, tiny_tokenizer, share_weights):
    """The model, the pipeline, and the schedule."""
    models = both(FAMILIES[request.param], tiny_tokenizer, share_weights)
    scheduler, schedule = EulerDiscreteScheduler(**BETAS, **LEADING), "leading"
    if edm := models.ours.family.edm:
        low, high, data = edm
        scheduler, schedule = (
            EDMEulerScheduler(low, high, data, prediction_type="v_prediction"),
            "karras",
        )
    kind = StableDiffusionXLInstructPix2PixPipeline
    pipe = models.pipeline(kind, scheduler, is_cosxl_edit=bool(edm))
    return models.ours, pipe, schedule


@pytest.mark.filterwarnings("ignore::FutureWarning")  # one image for three pictures
@pytest.mark.parametrize("negative", NEGATIVES)
@pytest.mark.parametrize("scales", [(3.0, 1.5), (7.0, 1.0), (2.0, 4.0)])
def test_editing(editing, scales, negative):
    model, pipe, schedule = editing
    scale, picture_scale = scales
    asked = {"guidance_scale": scale, "image_guidance_scale": picture_scale}
    expected = theirs(pipe, negative, image=PICTURE, height=24, width=16, **asked)
    negative = NEGATIVES[negative]
    got = ours(model, "euler", PICTURE, negative=negative, schedule=schedule, **asked)
    assert_near(got, expected)
    other = ours(
        model, "euler", PICTURE, negative=negative, schedule=schedule, guidance_scale=scale,
        image_guidance_scale=picture_scale + 0.5,
    )  # fmt: skip
    assert (other - expected).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_only_cosxl_scales_the_latent_of_the_picture(editing):
    model, pipe, schedule = editing
    asked = {"guidance_scale": 3.0, "image_guidance_scale": 1.5}
    pipe.is_cosxl_edit = not pipe.is_cosxl_edit
    other = theirs(pipe, "do", image=PICTURE, height=24, width=16, **asked)
    pipe.is_cosxl_edit = not pipe.is_cosxl_edit
    got = ours(model, "euler", PICTURE, negative="do", schedule=schedule, **asked)
    assert (got - other).abs().max() > 1e-2
