"""ControlNets that say the same of every pixel (shuffle), and those that are told what is
inpainted, beside diffusers'."""

import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetUnionInpaintPipeline,
)
from PIL import Image
from small_models import both
from test_pictures_sdxl import assert_near, ours, scheduler, theirs

from controls import saved, their_controlnet
from helpers import assert_same, differ, random_picture
from ldm.models.control import read_control
from tiny_families import SMALL

WIDTH, HEIGHT = 48, 64
SIZE = {"width": WIDTH, "height": HEIGHT}
PICTURE, HINT = random_picture(WIDTH, HEIGHT), random_picture(WIDTH, HEIGHT).rotate(180)
MASK = Image.new("L", PICTURE.size)
MASK.paste(255, (8, 16, 32, 40))
NO_CHECKER = {
    "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def sd1(tiny_tokenizer, share_weights):
    return both(SMALL["sd1"], tiny_tokenizer, share_weights)


@pytest.fixture
def hint(tmp_path):
    HINT.save(tmp_path / "hint.png")
    return str(tmp_path / "hint.png")


@pytest.mark.parametrize("guess", [False, True])
@pytest.mark.parametrize("told", ["config", "file in it", "name", "yaml", "kind"])
def test_shuffle(sd1, hint, tmp_path, told, guess):
    """Averaged over the picture, and never for the negative prompt; told in one of five ways."""
    network = their_controlnet(SMALL["sd1"], global_pool_conditions=True)
    pipe = sd1.pipeline(
        StableDiffusionControlNetPipeline, scheduler("euler"), controlnet=network, **NO_CHECKER
    )
    expected = theirs(
        pipe, "do", image=HINT, guess_mode=guess, controlnet_conditioning_scale=0.7, **SIZE
    )
    folder, more = tmp_path / "folder", {}
    network.save_pretrained(folder)
    path, file = folder, folder / "diffusion_pytorch_model.safetensors"
    if told == "file in it":
        path = file
    elif told != "config":
        stem = "control_v11e_sd15_shuffle_fp16" if told == "name" else "other"
        path = shutil.copy(file, tmp_path / f"{stem}.safetensors")
        more = {"control_kind": "shuffle"} if told == "kind" else {}
    if told == "yaml":
        (tmp_path / "other.yaml").write_text("params:\n    global_average_pooling: True\n")
    asked = {"control": f"{path}:0.7", "control_image": hint, "guess_mode": guess, **more, **SIZE}
    assert_near(ours(sd1.ours, "euler", negative="do", **asked), expected)


def test_without_being_told_it_is_another_control(sd1, hint, tmp_path):
    network = their_controlnet(SMALL["sd1"], global_pool_conditions=True)
    file = saved(network, tmp_path / "other.safetensors")
    asked = {"control": str(file), "control_image": hint, **SIZE}
    plain = ours(sd1.ours, "euler", **asked)
    assert differ(plain, ours(sd1.ours, "euler", **asked, control_kind="shuffle"))
    (tmp_path / "other.yaml").write_text("params:\n    global_average_pooling: False\n")
    assert not read_control(file, SMALL["sd1"], sd1.ours.unet).pooled


def inpaint_hint(value):
    """As diffusers' page of ControlNet makes it. (1, 3, H, W)"""
    made = np.array(PICTURE, dtype=np.float32) / 255
    made[np.array(MASK) > 127] = value
    return torch.from_numpy(made).permute(2, 0, 1)[None]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # one image for three pictures
@pytest.mark.parametrize("told", ["name", "kind"])
def test_inpaint(sd1, tmp_path, told):
    """The pixels that are inpainted are -1 in the hint, which no picture could say."""
    network = their_controlnet(SMALL["sd1"])
    pipe = sd1.pipeline(
        StableDiffusionControlNetInpaintPipeline, scheduler("euler"), controlnet=network,
        **NO_CHECKER,
    )  # fmt: skip
    expected = theirs(
        pipe, "do", image=PICTURE, mask_image=MASK, control_image=inpaint_hint(-1),
        strength=0.6, controlnet_conditioning_scale=1.0, **SIZE,
    )  # fmt: skip
    name = "control_v11p_sd15_inpaint" if told == "name" else "other"
    asked = {"control": str(saved(network, tmp_path / f"{name}.safetensors")), **SIZE}
    asked |= {"control_kind": "inpaint"} if told == "kind" else {}
    asked |= {"negative": "do", "strength": 0.6}
    assert_near(ours(sd1.ours, "euler", PICTURE, MASK, **asked), expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_union_is_shown_black_where_it_inpaints(tiny_tokenizer, share_weights, tmp_path):
    models = both(SMALL["sdxl"], tiny_tokenizer, share_weights)
    network = their_controlnet(SMALL["sdxl"], union=True)
    pipe = models.pipeline(
        StableDiffusionXLControlNetUnionInpaintPipeline, scheduler("euler"), controlnet=network
    )
    expected = theirs(
        pipe, "do", image=PICTURE, mask_image=MASK, control_image=[inpaint_hint(0)],
        control_mode=[7], strength=0.6, num_images_per_prompt=1,
        controlnet_conditioning_scale=1.0, **SIZE,
    )  # fmt: skip
    asked = {"control": str(saved(network, tmp_path / "u.safetensors")), "control_kind": "inpaint"}
    got = ours(
        models.ours, "euler", PICTURE, MASK, negative="do", count=1, strength=0.6, **asked, **SIZE
    )
    assert_near(got, expected)


def test_what_is_wrong_is_said(sd1, hint, tmp_path):
    asked = {"control": str(saved(their_controlnet(SMALL["sd1"]), tmp_path / "a.safetensors"))}
    asked |= {"control_image": hint, **SIZE}
    with pytest.raises(ValueError, match="told what is inpainted: give a mask"):
        ours(sd1.ours, "euler", **asked, control_kind="inpaint")
    with pytest.raises(ValueError, match="union ControlNets, or one of shuffle, inpaint: leave"):
        ours(sd1.ours, "euler", **asked, control_kind="canny")
    named = {**asked, "control": str(shutil.copy(asked["control"], tmp_path / "b_inpaint.pth"))}
    assert_same(ours(sd1.ours, "euler", **named), ours(sd1.ours, "euler", **asked))
