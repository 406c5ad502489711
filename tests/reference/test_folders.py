"""Folders of every family: diffusers' own pipelines read ours, and we read what they write."""

import json

import pytest
import torch

from ldm.conditioning import Conditioning
from ldm.models.unread import without_unread_layers
from ldm.models.weights import read, save
from ldm.models.weights.saving import renamed
from tiny_families import NUMBERS, SMALL, random_model

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")

ABSENT = {"depth_estimator": None, "feature_extractor": None}  # what a user has to say of depth
CLASSES = {
    "sd1-inpainting": "StableDiffusionInpaintPipeline",
    "instruct-pix2pix": "StableDiffusionInstructPix2PixPipeline",
    "lcm": "LatentConsistencyModelPipeline",
    "sd2-inpainting": "StableDiffusionInpaintPipeline",
    "sd2-depth": "StableDiffusionDepth2ImgPipeline",
    "x4-upscaler": "StableDiffusionUpscalePipeline",
    "sdxl-refiner": "StableDiffusionXLImg2ImgPipeline",
    "sdxl-inpainting": "StableDiffusionXLInpaintPipeline",
    "sdxl-instruct-pix2pix": "StableDiffusionXLInstructPix2PixPipeline",
    "cosxl-edit": "StableDiffusionXLInstructPix2PixPipeline",
    "sd2-unclip-h": "StableUnCLIPImg2ImgPipeline",
    "sd2-unclip-l": "StableUnCLIPImg2ImgPipeline",
}


@pytest.fixture(scope="module", params=SMALL)
def written(request, tmp_path_factory):
    """A model, its folder, and diffusers' pipeline of it."""
    model = random_model(SMALL[request.param])
    folder = tmp_path_factory.mktemp("ours") / "model"
    save(folder, model, "diffusers")
    absent = ABSENT if "depth" in model.family.conditioning else {}
    return model, folder, diffusers.DiffusionPipeline.from_pretrained(folder, **absent)


def networks(pipeline):
    seeing = "image_encoder", "image_normalizer"
    for part in ("unet", "vae", "text_encoder", "text_encoder_2", *seeing):
        if getattr(pipeline, part, None) is not None:
            yield part, getattr(pipeline, part)


def test_diffusers_has_the_same_weights(written):
    model, _, pipeline = written
    family = model.family
    usual = "StableDiffusionXLPipeline" if "sizes" in family.conditioning else None
    expected = CLASSES.get(family.name, usual or "StableDiffusionPipeline")
    assert type(pipeline).__name__ == expected
    theirs = {
        f"{part}.{name}": tensor
        for part, network in networks(pipeline)
        for name, tensor in network.state_dict().items()
        if not name.endswith("position_ids")
    }
    ours = renamed(model, "diffusers")
    ours = {
        name.replace("text_model.", "") if len(theirs.keys() & {name}) == 0 else name: tensor
        for name, tensor in ours.items()
    }
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@torch.inference_mode()
def test_diffusers_predicts_the_same(written):
    model, _, pipeline = written
    unet = model.unet.config
    x, t = torch.randn(2, 4, 8, 16), torch.tensor([10.0, 900])
    context = torch.randn(2, 5, unet.context_width)
    concat = torch.randn(2, unet.concat_channels, 8, 16) if unet.concat_channels else None
    vector = classes = added = scale = guidance = None
    if unet.classes is not None:
        classes = torch.tensor([3, 20])
        vector = classes[:, None].float()
    elif "image_embedding" in model.family.conditioning:
        vector = classes = torch.randn(2, unet.vector_width)
    elif unet.vector_width is not None:
        numbers = 30 * torch.rand(2, NUMBERS[model.family.conditioning[0]])
        pooled = torch.randn(2, 20)
        added = {"text_embeds": pooled, "time_ids": numbers}
        told = pipeline.unet.add_time_proj(numbers.flatten()).reshape(2, -1)
        vector = torch.cat([pooled, told], dim=1)
    if unet.guidance_width is not None:
        guidance = torch.tensor([2.0, 8.5])
        embedded = diffusers.LatentConsistencyModelPipeline.get_guidance_scale_embedding
        scale = embedded(None, guidance - 1, unet.guidance_width)
    ours = model.unet(x, t, Conditioning(context, vector, concat, guidance))
    beside = x if concat is None else torch.cat([x, concat], dim=1)
    theirs = pipeline.unet(
        beside, t, context, classes, timestep_cond=scale, added_cond_kwargs=added
    ).sample
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@torch.inference_mode()
def test_diffusers_reads_the_same_texts(written):
    """The tokenizers' padding, and the towers up to the layer that is read."""
    model, _, pipeline = written
    last = getattr(pipeline, "text_encoder_2", None)
    assert (last is not None) == (model.family.text[-1].projection is not None)
    for tower, part in zip(model.text[::-1], ("text_encoder_2", "text_encoder")[last is None :]):
        theirs = getattr(pipeline, part)
        tokenizer = getattr(pipeline, part.replace("text_encoder", "tokenizer"))
        ids = tokenizer(["a cat"], padding="max_length", max_length=12, return_tensors="pt")
        ids = ids["input_ids"]
        end = tower.config.vocabulary - 1
        assert ids[0, -1] == (end if tower.config.pad is None else tower.config.pad)
        ours, found = tower(ids), theirs(ids, output_hidden_states=True)
        if last is None:
            read = tower.norm(ours.hidden[-tower.config.layer])
            torch.testing.assert_close(found.last_hidden_state, read, rtol=1e-4, atol=1e-4)
        else:
            torch.testing.assert_close(
                found.hidden_states[-2], ours.hidden[-2], rtol=1e-4, atol=1e-4
            )
        if part == "text_encoder_2":
            torch.testing.assert_close(found.text_embeds, ours.pooled, rtol=1e-4, atol=1e-4)


def test_we_read_what_diffusers_writes(written, tmp_path):
    model, folder, pipeline = written
    if "depth" in model.family.conditioning:  # an estimator that is None cannot be written
        index = json.loads((folder / "model_index.json").read_text())
        pipeline.config["depth_estimator"] = pipeline.config["feature_extractor"] = (None, None)
        assert index["depth_estimator"] == [None, None]
    pipeline.save_pretrained(tmp_path / "theirs")
    again = read(tmp_path / "theirs")
    family, found = without_unread_layers(model.family), again.family
    assert (found.text, found.unet, found.vae) == (family.text, family.unet, family.vae)
    assert (found.conditioning, found.prediction) == (family.conditioning, family.prediction)
    assert (found.zero_snr, found.size) == (family.zero_snr, family.size)
    ours, theirs = renamed(model, "diffusers"), renamed(again, "diffusers")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
