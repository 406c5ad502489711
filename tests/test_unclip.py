"""Models that vary a picture (SD 2.1 unCLIP): their files, and what they are told."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import ldm
from helpers import first_call, random_picture, request_in
from ldm.cli import main
from ldm.clip.augmentation import alphas_cumprod
from ldm.clip.pictures import prepared
from ldm.clip.tokenizer import Tokenizer
from ldm.models.families import FAMILIES, Family
from ldm.models.family import parameter_shapes
from ldm.models.tools import convert
from ldm.models.weights import CheckpointError, inspect, read, save
from ldm.models.weights.clip_stats import BESIDE
from ldm.models.weights.components import read_components
from ldm.models.weights.matching import match
from ldm.models.weights.recognise import recognise
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.unet.blocks import timestep_embedding
from manifests import MANIFESTS
from test_manifests import opened, sparse
from tiny_families import SMALL, random_model

PICTURE = random_picture(37, 54)
NAMES = "sd2-unclip-h", "sd2-unclip-l"
SIDES = {"width": 128, "height": 96}


@pytest.fixture(scope="module")
def model():
    found = random_model(SMALL["sd2-unclip-h"])
    tokenizer = Tokenizer(found.merges, found.family.text[0].length)
    model = LatentDiffusion(found.text, found.unet, found.vae, tokenizer, found.family)
    model.others = found.others
    return model


# Files


def published(name: str) -> dict[str, list]:
    """The keys of Stability's single files: those of SD 2, which they share; what tells the U-Net
    an embedding; the vision tower and what is left of its text tower; the noise's schedule."""
    vision = FAMILIES[name].vision
    width, up, vector = vision.width, vision.mlp_width, vision.projection
    keys = dict(MANIFESTS["sd-v2-768-v"])
    for part, rows in (("0.0", 2 * vector), ("0.2", 1280)):
        keys[f"model.diffusion_model.label_emb.{part}.weight"] = [[1280, rows], "float32"]
        keys[f"model.diffusion_model.label_emb.{part}.bias"] = [[1280], "float32"]
    layer = {
        "ln_1.weight": [width], "ln_1.bias": [width], "ln_2.weight": [width],
        "ln_2.bias": [width], "attn.in_proj_weight": [3 * width, width],
        "attn.in_proj_bias": [3 * width], "attn.out_proj.weight": [width, width],
        "attn.out_proj.bias": [width], "mlp.c_fc.weight": [up, width], "mlp.c_fc.bias": [up],
        "mlp.c_proj.weight": [width, up], "mlp.c_proj.bias": [width],
    }  # fmt: skip
    tower = {
        "class_embedding": [width], "positional_embedding": [257, width], "proj": [width, vector],
        "conv1.weight": [width, 3, 14, 14], "ln_pre.weight": [width], "ln_pre.bias": [width],
        "ln_post.weight": [width], "ln_post.bias": [width],
    }  # fmt: skip
    for i in range(vision.layers):
        tower |= {f"transformer.resblocks.{i}.{end}": shape for end, shape in layer.items()}
    keys |= {f"embedder.model.visual.{end}": [shape, "float32"] for end, shape in tower.items()}
    text = {"logit_scale": [], "positional_embedding": [77, vector], "ln_final.weight": [vector]}
    if vision.activation == "quick_gelu":  # of OpenAI's CLIP the whole text tower is there
        text["transformer.resblocks.0.ln_1.weight"] = [vector]
    keys |= {f"embedder.model.{end}": [shape, "float32"] for end, shape in text.items()}
    buffers = "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_recipm1_alphas_cumprod"
    keys |= {f"noise_augmentor.{end}": [[1000], "float32"] for end in buffers}
    return keys


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_full_size_is_known(name, tmp_path):
    report = inspect(sparse(tmp_path / "some.safetensors", published(name), True))
    assert report.loadable, report
    assert report.kind.family == FAMILIES[name]
    assert report.kind.prediction == f"v, as all models of the family {name}"
    assert len(report.match.sources) == len(parameter_shapes(FAMILIES[name]))
    assert not report.match.unknown
    assert "text tower beside a vision tower" in str(report)
    assert "picture's embedding: computed anew" in str(report)


@pytest.mark.parametrize("name", NAMES)
def test_a_key_that_is_not_right_is_named(name):
    stats = {f"noise_augmentor.data_{end}": [[1, 8], "float32"] for end in ("mean", "std")}
    keys = published(name) | stats
    for key in ("embedder.model.visual.proj", "model.diffusion_model.label_emb.0.2.bias"):
        for changed in (
            {k: v for k, v in keys.items() if k != key},
            keys | {key: [[7, 7], "float32"]},
        ):
            file = opened(changed)
            kind = recognise(file)
            assert kind.family == FAMILIES[name]
            with pytest.raises(CheckpointError, match=key):
                match(file, kind.family, kind.key_format).check(file)


def test_sd2_is_not_taken_for_it():
    assert recognise(opened(MANIFESTS["sd-v2-768-v"])).family.name == "sd2"


def bits(checkpoint):
    parts = [*checkpoint.text, checkpoint.unet, checkpoint.vae, checkpoint.others]
    return [tensor for part in parts for tensor in part.state_dict().values()]


@pytest.mark.parametrize("layout", ["ldm", "compvis", "diffusers"])
@pytest.mark.parametrize("name", NAMES)
def test_every_layout_keeps_every_bit(name, layout, tmp_path):
    kept = random_model(SMALL[name])
    path = tmp_path / (layout if layout == "diffusers" else "a.safetensors")
    save(path, kept, layout)
    again = read(path)
    assert again.others.keys() == {"vision", "augmentor"}
    assert again.family.vision == kept.family.vision
    if layout == "diffusers":  # which has not the layers of text that nobody reads
        kept, again = replace(kept, text=()), replace(again, text=())
    assert len(bits(kept)) == len(bits(again))
    assert all(torch.equal(one, other) for one, other in zip(bits(kept), bits(again)))


def test_layouts_become_each_other(tmp_path):
    first = tmp_path / "a.safetensors"
    save(first, random_model(SMALL["sd2-unclip-h"]), "compvis")
    convert(first, tmp_path / "folder", "diffusers")
    convert(tmp_path / "folder", tmp_path / "b.safetensors", "compvis")
    before, after = load_file(first), load_file(tmp_path / "b.safetensors")
    assert {"embedder.model.visual.proj", "noise_augmentor.data_mean"} <= after.keys()
    unread = before.keys() - after.keys()
    assert all(name.startswith("cond_stage_model.model.transformer.") for name in unread)
    assert all(torch.equal(before[name], after[name]) for name in after)


def stability(name, path, width=None):
    """A small single file with no more than those of Stability's hold."""
    family = SMALL[name]
    if width is not None:
        vision = replace(family.vision, projection=width)
        family = replace(family, vision=vision, unet=replace(family.unet, vector_width=2 * width))
    save(path, random_model(family), "compvis")
    tensors = load_file(path)
    merges = {"merges": "\n".join(map(" ".join, random_model(SMALL[name]).merges))}
    save_file({k: x for k, x in tensors.items() if "data_" not in k}, path, merges)
    return family


def test_without_statistics_they_are_0_and_1(tmp_path):
    family = stability("sd2-unclip-h", tmp_path / "a.safetensors")
    augmentor = read(tmp_path / "a.safetensors", family=family).others["augmentor"]
    assert (augmentor.mean.weight == 0).all()
    assert (augmentor.std.weight == 1).all()


def test_those_of_openais_clip_are_taken_from_the_file_beside(tmp_path):
    family = stability("sd2-unclip-l", tmp_path / "a.safetensors", 768)
    mean, std = torch.randn(768), torch.rand(768)
    torch.save((mean, std), tmp_path / BESIDE)
    augmentor = read(tmp_path / "a.safetensors", family=family).others["augmentor"]
    assert torch.equal(augmentor.mean.weight, mean[None])
    assert torch.equal(augmentor.std.weight, std[None])
    torch.save((mean[1:], std), tmp_path / BESIDE)
    with pytest.raises(CheckpointError, match=r"has tensors of \(767,\)"):
        read(tmp_path / "a.safetensors", family=family)
    torch.save({"mean": mean}, tmp_path / BESIDE)
    with pytest.raises(CheckpointError, match="no pair of tensors"):
        read(tmp_path / "a.safetensors", family=family)
    (tmp_path / BESIDE).write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"no file of torch\.save"):
        read(tmp_path / "a.safetensors", family=family)


def test_without_them_a_level_is_warned_of(tmp_path):
    family = stability("sd2-unclip-l", tmp_path / "a.safetensors", 768)
    model = ldm.load(tmp_path / "a.safetensors", "cpu", torch.float32, family=family)
    with pytest.warns(UserWarning, match="put ViT-L-14_stats.th beside"):
        model.img2img("cat", PICTURE, steps=2, noise_level=9, **SIDES)


def test_a_family_of_it_is_data():
    for name in NAMES:
        family = FAMILIES[name]
        assert Family.from_dict(family.to_dict()) == family
    with pytest.raises(ValueError, match="go together"):
        replace(FAMILIES["sd2-unclip-h"], vision=None)
    with pytest.raises(ValueError, match="twice the vision tower's projection"):
        replace(FAMILIES["sd2-unclip-h"], vision=FAMILIES["sd2-unclip-l"].vision)
    wrong = FAMILIES["sd2-unclip-h"].to_dict()
    wrong["vision"]["layers"] = "many"
    with pytest.raises(ValueError, match=r"family\.vision\.layers cannot be 'many'"):
        Family.from_dict(wrong)


# What is told


def vectors(model, picture, **options):
    """Of the first call: the negatives' rows, and those of the prompt."""
    request = Request(**({"prompt": "cat", "steps": 2, "seed": 5} | SIDES | options))
    return first_call(model, request, picture).conditioning.vector


@pytest.mark.parametrize("level", [0, 300, 999])
def test_the_vector_is_the_noised_embedding_and_its_level(model, level):
    negative, positive = vectors(model, PICTURE, noise_level=level)
    assert (negative == 0).all()
    vision, stats = model.others["vision"], model.others["augmentor"]
    with torch.no_grad():
        embedding = vision(prepared([PICTURE], vision.config.size)).pooled[0]
    mean, std = stats.mean.weight[0], stats.std.weight[0]
    normals = torch.randn(10, generator=torch.Generator().manual_seed(5))
    a = alphas_cumprod(1000)[level]
    z = math.sqrt(a) * (embedding - mean) / std + math.sqrt(1 - a) * normals
    torch.testing.assert_close(positive[:10], z * std + mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(positive[10:], timestep_embedding(torch.tensor([level]), 10)[0])


def test_without_a_picture_it_is_zeros(model):
    assert (vectors(model, None) == 0).all()


def test_every_picture_has_noise_of_its_own(model):
    rows = vectors(model, PICTURE, noise_level=500, count=2)
    alone = vectors(model, PICTURE, noise_level=500, seed=6)
    assert not torch.equal(rows[2], rows[3])
    torch.testing.assert_close(rows[3], alone[1])


def test_guidance_of_1_has_one_branch(model):
    (row,) = vectors(model, PICTURE, guidance_scale=1)
    assert (row != 0).any()


def test_sampling_starts_from_noise_unless_a_strength_or_a_mask_is_given(model):
    request = Request("cat", steps=4, **SIDES)
    assert model.resolve(request, PICTURE).from_noise
    assert not model.resolve(replace(request, strength=0.5), PICTURE).from_noise
    assert not model.resolve(request, PICTURE, PICTURE.convert("L")).from_noise
    first = first_call(model, request, PICTURE).x
    torch.testing.assert_close(first, first_call(model, request, PICTURE.rotate(90)).x)


def test_the_picture_is_seen_as_it_came_whatever_is_drawn(model):
    wide = vectors(model, PICTURE, width=192, height=64)
    assert torch.equal(wide, vectors(model, PICTURE, width=64, height=64))


@pytest.mark.parametrize(
    ("options", "picture", "fault"),
    [
        ({"noise_level": 3}, None, "noise_level is of the noise on a picture: give --image"),
        ({"noise_level": 1000}, PICTURE, "noise_level"),
        ({"depth": "x.png"}, PICTURE, "depth is for a model that is told depth"),
        ({}, random_picture(300, 4), "300 x 4: this model sees the square"),
        ({}, torch.zeros(1, 4, 64, 64), r"an image must be a tensor \(1, 3, H, W\)"),
        ({}, __file__, "cannot be read as a picture|is not a picture|no picture"),
    ],
)
def test_what_cannot_be_is_said(model, options, picture, fault):
    with pytest.raises(ValueError, match=fault):
        model.resolve(Request("cat", **SIDES, **options), picture)


def test_networks_that_are_not_there_are_said(model):
    lacking = LatentDiffusion(model.text, model.unet, model.vae, model.tokenizer, model.family)
    with pytest.raises(ValueError, match="lacks the networks that see a picture"):
        lacking.img2img("cat", PICTURE, steps=2, **SIDES)


def test_one_network_alone_is_read(model, tmp_path):
    model.save(tmp_path / "a.safetensors")
    (vision,) = read_components(tmp_path / "a.safetensors", ["vision"]).values()
    ours = model.others["vision"].state_dict()
    assert all(torch.equal(ours[name], x) for name, x in vision.state_dict().items())


@pytest.mark.parametrize(
    "line", ["img2img --init-img in.png --noise_level 40", "txt2img --n_iter 1 --prompt cat"]
)
def test_commands(model, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save("model.safetensors")
    PICTURE.save("in.png")
    asked = [*line.split(), "--n_samples", "1", "--steps", "2", "--W", "128", "--H", "96"]
    assert main([*asked, "--ckpt", "model.safetensors", "--outdir", "o"]) == 0
    made = request_in("o/samples/00000.png")
    assert (made.noise_level, made.prompt) == ((40, "") if "img2img" in line else (None, "cat"))
    assert (made.guidance_scale, made.width, made.height) == (10, 128, 96)
