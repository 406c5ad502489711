"""Training a whole model, and each of its stages, on tiny networks."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

import ldm
from ldm.clip.vocabulary import tokenizer_for_words
from ldm.training.data import Folder
from ldm.training.encoding import encode_data, latent_scale, load_latents
from ldm.training.initial import new_text, new_unet, new_vae
from ldm.training.loop import train
from ldm.training.modules import TextAndHead
from ldm.training.recipe import STAGES, Recipe, changed
from ldm.training.run import run
from ldm.training.shapes.recipe import SHAPES64
from ldm.training.shapes.scenes import Scenes
from ldm.training.stages import AutoencoderStage, DecoderStage, DiffusionStage, TextStage
from learners import loss_of

TINY = [
    "family.text.0.width=32",
    "family.text.0.heads=2",
    "family.text.0.mlp_width=128",
    "family.text.0.layers=1",
    "family.unet.context_width=32",
    "family.unet.channels=[32, 64]",
    "family.unet.depth=[0, 1]",
    "family.vae.channels=[8, 16]",
    "family.size=32",
    "family.steps=3",
    "scenes=32",
    "crop=16",
    *(f"{stage}.{change}" for stage in STAGES for change in ("steps=6", "batch=4", "save_every=2")),
]


def tiny() -> Recipe:
    return changed(replace(SHAPES64, distil=SHAPES64.unet), TINY)


def test_a_recipe_becomes_a_model_that_draws_and_resumes_to_the_same(tmp_path):
    recipe = tiny()
    data = Scenes(recipe.scenes, recipe.family.size)
    before = torch.get_rng_state()
    path = run(recipe, data, tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before), "training leaves torch's generator alone"
    model = ldm.load(path, device="cpu")
    assert model.family.vae.scale == pytest.approx(latent_scale(model.vae, data), rel=0.02)
    (picture,) = model.txt2img("a red circle", seed=1)
    assert picture.size == (32, 32)

    shorter = replace(recipe, unet=replace(recipe.unet, save_every=4))
    run(shorter, data, tmp_path / "two")
    one, two = (
        torch.load(tmp_path / name / "unet" / "state.pt", weights_only=True)
        for name in ("one", "two")
    )
    assert all(torch.equal(one["average"][name], two["average"][name]) for name in one["average"])


def pictures(folder, *names):
    """A folder of pictures, each in a colour and with a caption of its own."""
    folder.mkdir(exist_ok=True)
    for name, colour in zip(names, ("red", "lime", "blue", "white")):
        Image.new("RGB", (32, 32), colour).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"a {colour} picture")
    return Folder(folder, 32)


class Killed(Exception):
    pass


@pytest.fixture
def half_trained(tmp_path, monkeypatch):
    """A training on three pictures that was killed when the decoder's turn came."""

    def kill(*_):
        raise Killed

    data, out = pictures(tmp_path / "data", "b", "c", "d"), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(DecoderStage, "loss", kill)
        with pytest.raises(Killed):
            run(tiny(), data, out)
    return data, out


def test_a_training_is_not_resumed_with_other_pictures(half_trained):
    data, out = half_trained
    latents, captions, _ = load_latents(out / "latents.safetensors")
    assert len(latents) == len(captions) == 3
    more = pictures(data.folder, "a", "b")
    with pytest.raises(
        ValueError, match=r"begun with 'b\.png: a red picture' and without 'a\.png: "
    ):
        run(tiny(), more, out)
    for name in ("a", "b"):
        (data.folder / f"{name}.png").unlink()
    with pytest.raises(ValueError, match=r"out' was begun with 'b\.png.*: give it the same data"):
        run(tiny(), Folder(data.folder, 32), out)


def test_a_training_is_not_resumed_with_another_recipe(half_trained):
    data, out = half_trained
    with pytest.raises(ValueError, match=r"begun with 'kl=0\.001' and without 'kl=0\.5': give it"):
        run(replace(tiny(), kl=0.5), data, out)
    with pytest.raises(ValueError, match=r"unet/state\.pt was trained with 'batch=4' and without"):
        run(changed(tiny(), ["unet.batch=8"]), data, out)


def test_a_resumed_training_keeps_the_scale_of_its_latents(half_trained, monkeypatch):
    data, out = half_trained
    scale = load_latents(out / "latents.safetensors")[2]
    monkeypatch.setattr("ldm.training.encoding.latent_scale", lambda vae, data: 100.0)
    model = ldm.load(run(tiny(), data, out), device="cpu")
    assert model.family.vae.scale == scale != 100.0


def test_a_training_needs_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "file/within"):
        with pytest.raises(ValueError, match=f"cannot train into '.*{name}'"):
            run(tiny(), Scenes(8, 32), tmp_path / name)


@pytest.mark.parametrize("given", [None, ["a star", "a heart"]])
def test_samples_show_the_prompts_given_or_the_first_captions(tmp_path, monkeypatch, given):
    drawn = []
    monkeypatch.setattr(DiffusionStage, "sample", lambda self, *_: drawn.append(self.prompts))
    run(tiny(), Scenes(40, 32), tmp_path, sample_prompts=given)
    captions = list(dict.fromkeys(Scenes(40, 32)[i][1] for i in range(40)))
    assert len(captions) > 32
    assert all(prompts == (captions[:32] if given is None else given) for prompts in drawn)
    assert drawn


def test_the_text_encoder_learns_what_its_captions_show(tmp_path):
    recipe = tiny()
    data = Scenes(32, 32)
    vae = new_vae(recipe.family.vae, seed=0)
    latents, captions = encode_data(vae, data, batch=20)
    assert latents.shape == (32, 4, 16, 16)
    assert captions == [data[i][1] for i in range(32)]
    tokenizer = tokenizer_for_words(captions, 32)
    ids = tokenizer(captions)
    latents = latents / latents.float().std()
    text = new_text(replace(recipe.family.text[0], vocabulary=len(tokenizer)), seed=0)
    stage = TextStage(TextAndHead(text, latents.shape[1:]), vae, latents, ids)
    first = loss_of(stage, stage.module, 32)
    trained = train(
        stage, replace(recipe.text, steps=60, batch=32, warmup=5, save_every=60), tmp_path
    )
    assert loss_of(stage, trained, 32) < 0.5 * first


def test_the_decoder_stage_leaves_the_latents_alone(tmp_path):
    recipe = tiny()
    data = Scenes(8, 32)
    vae = new_vae(recipe.family.vae, seed=0)
    before = {name: weight.clone() for name, weight in vae.state_dict().items()}
    latents = torch.randn(8, 4, 16, 16)
    after = train(DecoderStage(vae, data, latents, 0.1, 1.0), recipe.decoder, tmp_path).state_dict()
    changed_parts = {
        name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])
    }
    assert changed_parts == {"post_quant", "decoder"}


def test_a_vae_learns_to_give_back_its_crops(tmp_path):
    recipe = tiny()
    vae = new_vae(recipe.family.vae, seed=0)
    stage = AutoencoderStage(vae, Scenes(8, 32), crop=16, crops=4, gradient_difference=1.0, kl=1e-5)
    first = loss_of(stage, vae, 16)
    trained = train(
        stage, replace(recipe.vae, steps=40, batch=8, warmup=5, save_every=40), tmp_path / "vae"
    )
    assert loss_of(stage, trained, 16) < 0.8 * first


def test_networks_start_as_they_should():
    recipe = tiny()
    unet = new_unet(recipe.family.unet, seed=0)
    x, context = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 32)
    assert torch.equal(unet(x, torch.tensor([1.0, 900.0]), context), torch.zeros(2, 4, 8, 8))
    vae = new_vae(recipe.family.vae, seed=0)
    _, log_variance = vae.moments(torch.zeros(1, 3, 16, 16))
    assert log_variance.mean().item() == pytest.approx(-4, abs=1.5)
    one, two = new_text(recipe.family.text[0], 1), new_text(recipe.family.text[0], 1)
    assert torch.equal(one.token.weight, two.token.weight)
