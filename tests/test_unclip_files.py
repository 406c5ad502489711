"""The files of models that vary a picture (SD 2.1 unCLIP)."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import ldm
from helpers import random_picture
from ldm.models.families import FAMILIES, Family
from ldm.models.family import parameter_shapes
from ldm.models.tools import convert
from ldm.models.weights import CheckpointError, inspect, read, save
from ldm.models.weights.clip_stats import BESIDE
from ldm.models.weights.matching import match
from ldm.models.weights.recognise import recognise
from manifests import MANIFESTS
from test_manifests import opened, sparse
from tiny_families import SMALL, random_model

PICTURE = random_picture(37, 54)
NAMES = "sd2-unclip-h", "sd2-unclip-l"
SIDES = {"width": 128, "height": 96}


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
