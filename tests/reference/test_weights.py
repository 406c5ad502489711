"""Folders that diffusers and transformers themselves can read, and theirs that we can."""

from dataclasses import replace

import pytest
import torch

from ldm.clip.tokenizer import Tokenizer
from ldm.models.weights import read, save

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=["heads by number", "heads by width"])
def checkpoint(request, tiny_checkpoint):
    tiny = tiny_checkpoint
    unet = tiny.family.unet
    if request.param == "heads by width":
        unet = replace(unet, heads=None, head_width=8)
    family = replace(tiny.family, unet=unet, prediction="v")
    network = type(tiny.unet)(unet)
    network.load_state_dict(tiny.unet.state_dict())
    return replace(tiny, family=family, unet=network)


@pytest.fixture(scope="module")
def pipeline(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours") / "model"
    save(folder, checkpoint, "diffusers")
    return diffusers.StableDiffusionPipeline.from_pretrained(folder)


@torch.inference_mode()
def test_diffusers_reads_our_folders(checkpoint, pipeline):
    ids = Tokenizer(checkpoint.merges, 12)(["a cat", "dog do"])
    theirs = pipeline.tokenizer(["a cat", "dog do"], padding="max_length", max_length=12)
    assert theirs["input_ids"] == ids.tolist()
    context = checkpoint.text[0](ids).last
    torch.testing.assert_close(pipeline.text_encoder(ids)[0], context)
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 900])
    torch.testing.assert_close(
        pipeline.unet(x, t, context).sample, checkpoint.unet(x, t, context), rtol=1e-4, atol=1e-5
    )
    images = checkpoint.vae.decode(x * checkpoint.family.vae.scale)
    torch.testing.assert_close(pipeline.vae.decode(x).sample, images, rtol=1e-4, atol=1e-5)
    assert pipeline.vae.config.scaling_factor == checkpoint.family.vae.scale
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    schedule = checkpoint.family.noise_schedule().alphas_cumprod
    torch.testing.assert_close(
        pipeline.scheduler.alphas_cumprod.double(), schedule, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("safe", [True, False])
def test_we_read_folders_of_diffusers(checkpoint, pipeline, tmp_path, safe):
    if safe:
        pipeline.save_pretrained(tmp_path / "theirs")
    else:
        for part in ("unet", "vae"):
            getattr(pipeline, part).save_pretrained(
                tmp_path / "theirs" / part, safe_serialization=False
            )
        pipeline.text_encoder.save_pretrained(tmp_path / "theirs" / "text_encoder")
        pipeline.tokenizer.save_pretrained(tmp_path / "theirs" / "tokenizer")
        pipeline.scheduler.save_pretrained(tmp_path / "theirs" / "scheduler")
        pipeline.save_config(tmp_path / "theirs")
    again = read(tmp_path / "theirs")
    family = checkpoint.family
    assert (again.family.text, again.family.unet, again.family.vae) == (
        family.text,
        family.unet,
        family.vae,
    )
    assert again.family.prediction == "v"
    assert again.merges == checkpoint.merges
    for mine, yours in (
        (checkpoint.text[0], again.text[0]),
        (checkpoint.unet, again.unet),
        (checkpoint.vae, again.vae),
    ):
        state = yours.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in mine.state_dict().items())
