"""Models that are told a picture: what reaches the network, against closed forms, and what is asked
of the user."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import (
    MERGES,
    TINY,
    assert_same,
    differ,
    network_calls,
    normal,
    pixels,
    random_picture,
    request_in,
    tiny_networks,
)  # fmt: skip
from ldm.cli import main
from ldm.clip.tokenizer import Tokenizer
from ldm.images.depth import open_depth
from ldm.images.files import to_tensor
from ldm.metadata import a1111, writing
from ldm.models.families import FAMILIES
from ldm.models.weights import Checkpoint, read, save
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.samplers import Noise
from ldm.samplers.combinations import picture_and_text_guidance
from ldm.unet import UNet

PICTURE = random_picture(16, 24)
MASK = Image.new("L", (16, 24))
MASK.paste(255, (3, 6, 12, 19))
DEPTH = torch.arange(24.0 * 16).reshape(24, 16)
KINDS = {
    "inpainting": {"concat_channels": 5},
    "depth": {"concat_channels": 1},
    "low_resolution": {"concat_channels": 3, "vector_width": 1, "classes": 400},
    "instruction": {"concat_channels": 4},
}
ASKED = {  # what each of them is given beside a prompt
    "inpainting": {"image": PICTURE, "mask": MASK},
    "depth": {"image": PICTURE, "depth": DEPTH},
    "low_resolution": {"image": PICTURE},
    "instruction": {"image": PICTURE},
}


def build(kind):
    """The tiny model with a U-Net that is told this."""
    family = replace(
        TINY, name=kind, unet=replace(TINY.unet, **KINDS[kind]), conditioning=(kind,),
        strength=1.0 if kind == "instruction" else 0.75,
    )  # fmt: skip
    text, _, vae = tiny_networks()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        unet = UNet(family.unet)
    return LatentDiffusion(text, unet, vae, Tokenizer(MERGES, 12), family)


@pytest.fixture(scope="module")
def models():
    return {kind: build(kind) for kind in KINDS}


def drawn(model, request, **given):
    return [step.x for step in model.steps(model.resolve(request, **given))][-1]


# What the network is told


def test_inpainting_is_told_the_mask_and_the_picture_with_a_grey_hole(models):
    model = models["inpainting"]
    told = call(model, Request("cat"), image=PICTURE, mask=MASK).conditioning.concat
    mask = (to_tensor(MASK)[:, :1] + 1) / 2
    assert torch.equal(told[:1, :1], mask[..., ::2, ::2])  # the nearest pixel of each 2 x 2
    assert_same(told[:1, 1:], model.encode(to_tensor(PICTURE) * (1 - mask)))
    assert torch.equal(told[0], told[1])  # of the negative and the prompt


@pytest.mark.parametrize("image", [None, PICTURE])
def test_without_a_mask_all_is_to_be_drawn(models, image):
    model = models["inpainting"]
    told = call(model, Request("cat", width=16, height=24), image=image).conditioning.concat
    assert (told[:, 0] == 1).all()
    assert_same(told[:1, 1:], model.encode(torch.zeros(1, 3, 24, 16)))


def test_depth_goes_from_minus_1_far_to_1_near(models):
    told = call(models["depth"], Request("cat"), image=PICTURE, depth=DEPTH).conditioning.concat
    assert told.shape == (2, 1, 12, 8)
    assert (float(told.min()), float(told.max())) == (-1, 1)
    rows = told[0, 0].mean(1)
    assert (rows.diff() > 0).all()  # as the map grows


def test_the_upscaler_is_told_a_noised_picture_and_its_level(models):
    model = models["low_resolution"]
    told = call(model, Request("cat", seed=5, noise_level=100, tile=64), image=PICTURE).conditioning
    betas = np.linspace(1e-4**0.5, 0.02**0.5, 1000) ** 2
    a = float(np.cumprod(1 - betas)[100])
    noise = Noise([5])(torch.zeros(1, 3, 24, 16))
    expected = math.sqrt(a) * to_tensor(PICTURE) + math.sqrt(1 - a) * noise
    assert_same(told.concat[:1], expected)
    assert torch.equal(told.concat[0], told.concat[1])
    assert told.vector.tolist() == [[100], [100]]


def test_an_editor_is_told_the_unscaled_mean_and_once_nothing(models):
    model = models["instruction"]
    told = call(model, Request("cat", negative="do"), image=PICTURE).conditioning
    mean, _ = model.vae.moments(to_tensor(PICTURE))
    assert told.concat.shape == (3, 4, 12, 8)
    assert (told.concat[0] == 0).all()
    assert_same(told.concat[1:], mean.expand(2, -1, -1, -1))
    assert torch.equal(told.context[0], told.context[1])  # the negative twice
    assert not torch.equal(told.context[1], told.context[2])


def test_an_editor_at_a_picture_scale_of_1_has_two_branches(models):
    request = Request("cat", image_guidance_scale=1)
    assert len(call(models["instruction"], request, image=PICTURE).conditioning) == 2


def call(model, request, **given):
    with network_calls(model) as calls:
        next(iter(model.steps(model.resolve(request, **given))))
    return calls[0]


def test_guidance_by_picture_and_text_is_brooks_equation_3():
    neither, picture, both = normal(3, 2, 4, 3, 3)
    combine = picture_and_text_guidance(7.5, 1.5)
    expected = neither + 1.5 * (picture - neither) + 7.5 * (both - picture)
    torch.testing.assert_close(combine(torch.stack([neither, picture, both]), both, 1.0), expected)


# Where sampling starts


@pytest.mark.parametrize("kind", KINDS)
def test_at_strength_1_nothing_of_the_picture_is_under_the_noise(models, kind):
    model, request = models[kind], Request("cat", seed=3, tile=64)
    if kind == "depth":
        request = replace(request, strength=1.0)
    job = model.resolve(request, **ASKED[kind])
    first = next(iter(model.steps(job)))
    with network_calls(model) as calls:
        next(iter(model.steps(job)))
    noise = job.noise(job.passes[0], torch.float32)
    if kind == "low_resolution":
        noise.of_picture(torch.zeros(1, 3, 24, 16))
    assert_same(calls[0].x[:1], noise(first.x))


def test_at_less_the_picture_is_under_it(models):
    model, kind = models["instruction"], "instruction"
    few = drawn(model, Request("cat", strength=0.5), **ASKED[kind])
    assert differ(few, drawn(model, Request("cat"), **ASKED[kind]))


# Pictures


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_does_not_depend_on_its_batch(models, kind):
    request = Request("cat do", seed=8, count=3)
    together = drawn(models[kind], request, **ASKED[kind])
    alone = drawn(models[kind], replace(request, count=1, seed=10), **ASKED[kind])
    assert_same(together[2:], alone)
    assert torch.equal(together, drawn(models[kind], request, **ASKED[kind]))


@pytest.mark.parametrize("options", [{}, {"inpaint_only_masked": True}, {"strength": 0.5},
    {"masked_content": "fill"}, {"masked_content": "noise", "strength": 0.9}])  # fmt: skip
def test_outside_the_mask_no_bit_changes(models, options):
    picture = random_picture(22, 26)
    mask = Image.new("L", picture.size)
    mask.paste(255, (5, 4, 13, 17))
    result = models["inpainting"].inpaint("cat", picture, mask, **options)[0]
    same = (pixels(result) == pixels(picture)).all(-1)
    inside = np.asarray(mask) > 0
    assert same[~inside].all()
    assert same[inside].mean() < 0.1


def test_outpainting(models):
    result = models["inpainting"].outpaint("cat", PICTURE, left=4, bottom=6)[0]
    assert result.size == (20, 30)
    assert (pixels(result)[:24, 4:] == pixels(PICTURE)).all()


def test_an_upscaler_makes_pictures_of_any_size_as_many_times_larger(models):
    result = models["low_resolution"].generate(Request("cat", steps=2), random_picture(13, 9))[0]
    assert result.size == (26, 18)
    result = models["low_resolution"].generate(Request("cat", width=40, steps=2), PICTURE)[0]
    assert result.size == (40, 48)


def test_tiles_are_the_whole_where_the_picture_is_no_larger(models):
    """And where it is, each sees its own part of the picture that is told."""
    model, request = models["low_resolution"], Request("cat", steps=2)
    assert torch.equal(
        drawn(model, replace(request, tile=64), image=PICTURE),
        drawn(model, replace(request, tile=48), image=PICTURE),
    )
    with network_calls(model) as calls:
        next(iter(model.steps(model.resolve(replace(request, tile=32), PICTURE))))
    assert {tuple(one.x.shape[2:]) for one in calls} == {(16, 16)}
    whole = call(model, replace(request, tile=64), image=PICTURE).conditioning.concat
    assert_same(calls[0].conditioning.concat, whole[..., :16, :16])


@pytest.mark.parametrize("compat", ["a1111", "comfyui"])
def test_web_uis_blend_also_in_between(models, compat):
    """There the latents outside the mask end as those of the picture; here they need not."""
    model, request = models["inpainting"], Request("cat", compat=compat)
    clean = model.encode(to_tensor(PICTURE))
    assert_same(drawn(model, request, **ASKED["inpainting"])[..., 0], clean[..., 0], 1e-4)
    ours = drawn(model, replace(request, compat=None), **ASKED["inpainting"])
    assert differ(ours[..., 0], clean[..., 0])


# What is asked of the user


@pytest.mark.parametrize(
    ("kind", "given", "match"),
    [
        ("instruction", {}, "this model edits a picture: give --image"),
        ("low_resolution", {}, "makes a picture larger: give --image"),
        ("depth", {}, "give --image, or --depth"),
        ("low_resolution", {"image": PICTURE, "upscale": 3}, "2 times as large"),
        ("low_resolution", {"image": PICTURE, "strength": 0.5}, "noise alone"),
        ("low_resolution", {"image": PICTURE, "left": 8}, "left cannot be used"),
        ("low_resolution", {"image": PICTURE, "noise_level": 351}, "knows 0 to 350"),
        ("low_resolution", {"image": PICTURE, "mask": MASK}, "mask cannot be used"),
        ("instruction", {"image": PICTURE, "prompt": "cat AND do"}, "image_guidance_scale 1"),
        ("instruction", {"image": PICTURE, "noise_level": 3}, "noise_level is for an upscaler"),
        ("inpainting", {"image_guidance_scale": 2}, "image_guidance_scale is for a model"),
        ("inpainting", {"image": PICTURE, "depth": DEPTH}, "depth is for a model"),
    ],
)
def test_what_is_missing_or_too_much_is_said(models, kind, given, match):
    pictures = {name: given[name] for name in ("image", "mask", "depth") if name in given}
    options = {"prompt": "cat"} | {n: v for n, v in given.items() if n not in pictures}
    with pytest.raises(ValueError, match=match):
        models[kind].resolve(Request(**options), **pictures)


def test_plain_models_refuse_them_too(tiny):
    with pytest.raises(ValueError, match="depth is for a model that is told depth"):
        tiny.resolve(Request("cat", depth="x.png"))


@pytest.mark.parametrize("scale", [3.0, 1.0])
def test_prompts_joined_by_and_edit_at_a_picture_scale_of_1(models, scale):
    request = Request("cat AND do", image_guidance_scale=1, guidance_scale=scale, steps=2)
    assert drawn(models["instruction"], request, image=PICTURE).isfinite().all()


def test_strengths_are_the_familys(models, tiny):
    assert FAMILIES["sd1"].strength == 0.75
    assert FAMILIES["sd2"].strength == 0.8
    assert FAMILIES["sd2-depth"].strength == 0.9
    assert FAMILIES["instruct-pix2pix"].strength == 1
    family = replace(TINY, strength=0.4, upscale_strength=0.2, hires_strength=0.6)
    model = LatentDiffusion(tiny.text, tiny.unet, tiny.vae, tiny.tokenizer, family)
    assert model.resolve(Request("cat"), PICTURE).request.strength == 0.4
    larger = model.resolve(Request("cat", upscale=0), PICTURE).request
    assert (larger.strength, larger.upscale, larger.width) == (0.2, 2, 32)
    assert model.resolve(Request("cat", hires=2)).request.hires_strength == 0.6


# Depth maps


def test_depth_maps_of_8_and_16_bits_and_of_numpy(tmp_path):
    levels = np.arange(24 * 16).reshape(24, 16)
    Image.fromarray((levels * 100).astype(np.uint16)).save(tmp_path / "16.png")
    Image.fromarray((levels // 2).astype(np.uint8)).save(tmp_path / "8.png")
    np.save(tmp_path / "x.npy", levels.astype(np.float64))
    assert torch.equal(open_depth(tmp_path / "16.png")[0, 0], torch.tensor(levels * 100.0))
    assert torch.equal(open_depth(tmp_path / "8.png")[0, 0], torch.tensor(levels // 2).float())
    assert torch.equal(open_depth(tmp_path / "x.npy")[0, 0], torch.tensor(levels).float())


def test_bad_depth_maps_are_one_line(tmp_path):
    np.save(tmp_path / "flat.npy", np.ones((4, 4)))
    np.save(tmp_path / "many.npy", np.ones((4, 4, 4)))
    np.save(tmp_path / "nan.npy", np.full((4, 4), np.nan))
    (tmp_path / "text.npy").write_text("no")
    for name, match in {
        "flat.npy": "one grey all over", "many.npy": "one grey level", "nan.npy": "finite",
        "text.npy": "cannot be read as a depth map", "none.npy": "there is no depth map",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=match):
            open_depth(tmp_path / name)


def test_depth_alone_is_enough(models):
    got = drawn(models["depth"], Request("cat", width=16, height=24), depth=DEPTH)
    assert got.shape == (1, 4, 12, 8)


def test_an_estimate_takes_its_place(models, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.DPTConfig(
        hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=16, backbone_out_indices=[0, 1, 2, 3], num_channels=3,
        neck_hidden_sizes=[4, 4, 4, 4], fusion_hidden_size=4, is_hybrid=False,
    )  # fmt: skip
    transformers.DPTForDepthEstimation(config).save_pretrained(tmp_path)
    transformers.DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    request = Request("cat", depth_model=str(tmp_path))
    told = call(models["depth"], request, image=PICTURE).conditioning.concat
    assert (float(told.min()), float(told.max())) == (-1, 1)
    request = Request("cat", depth_model=str(tmp_path / "nothing-here"))
    with pytest.raises(ValueError, match=r"nothing-here cannot be loaded.*--depth FILE"):
        drawn(models["depth"], request, image=PICTURE)


# From file to picture


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("inpainting", "inpaint --image in.png --mask mask.png"),
        ("inpainting", "txt2img --n_iter 1 --n_samples 1"),
        ("depth", "depth2img --image in.png --depth depth.png"),
        ("low_resolution", "upscale --image in.png"),
        ("instruction", "img2img --image in.png"),
    ],
)
def test_commands_do_what_is_expected_without_a_further_flag(
    models, kind, line, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    model = models[kind]
    text = (model.text,)
    save("model.safetensors", Checkpoint(model.family, text, model.unet, model.vae, tuple(MERGES)))
    assert read("model.safetensors").family == model.family
    PICTURE.save("in.png")
    MASK.save("mask.png")
    Image.fromarray(DEPTH.numpy().astype(np.uint16)).save("depth.png")
    arguments = [*line.split(), "--prompt", "cat", "--ckpt", "model.safetensors", "--outdir", "o"]
    assert main([*arguments, "--n_samples", "1"]) == 0
    with Image.open("o/samples/00000.png") as result:
        size = result.size
    assert size == {"low_resolution": (32, 48)}.get(kind, (16, 16) if "txt" in line else (16, 24))
    request = request_in("o/samples/00000.png")
    assert request.image_guidance_scale == (1.5 if kind == "instruction" else None)
    assert request.noise_level == (20 if kind == "low_resolution" else None)


def test_depth2img_refuses_another_model(run, tmp_path):
    PICTURE.save(tmp_path / "in.png")
    code, _, err = run("depth2img --prompt cat --image in.png")
    assert code == 2
    assert "is told depth" in err


def test_the_pictures_scale_goes_through_the_web_uis_text(models):
    job = models["instruction"].resolve(Request("cat", image_guidance_scale=1.75), PICTURE)
    text = writing.write(job.request)
    assert "Image CFG scale: 1.75" in text
    assert a1111.read({"parameters": text}).request.image_guidance_scale == 1.75
