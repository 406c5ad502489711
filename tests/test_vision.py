"""CLIP's vision tower and CLIP whole, against transformers and against torch's own attention under
OpenAI's names; and what becomes of a picture before."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from clip_files import QuickGELU, inputs, openclip, transformers_clip
from helpers import random_picture
from ldm.clip.pictures import MEAN, STD, prepared
from ldm.clip.vision import VisionConfig, VisionEncoder
from ldm.models.weights.clip import CheckpointError, read_clip, read_vision

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's of TorchScript


def near(ours, theirs, bound=1e-12):
    torch.testing.assert_close(ours, theirs, atol=bound * theirs.abs().max().item(), rtol=0)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("alone", [False, True])
def test_a_folder_of_transformers(activation, alone, tmp_path):
    pytest.importorskip("transformers")
    theirs, (pictures, ids) = transformers_clip(activation), inputs()
    out = theirs(ids, pictures, output_hidden_states=True)
    if alone:  # the tower of pictures, as IP-Adapter's image_encoder has it
        from transformers import CLIPVisionModelWithProjection

        tower = CLIPVisionModelWithProjection(theirs.config.vision_config).double()
        tower.load_state_dict(theirs.state_dict(), strict=False)
        tower.save_pretrained(tmp_path)
        ours = read_vision(tmp_path, torch.float64)
        near(ours(pictures).pooled, tower(pictures).image_embeds)
        with pytest.raises(CheckpointError, match="vision tower of a CLIP alone"):
            read_clip(tmp_path)
    else:
        theirs.save_pretrained(tmp_path)
        clip = read_clip(tmp_path, torch.float64)
        near(clip(pictures, ids), out.logits_per_image)
        near(clip.of_texts(ids), out.text_embeds)
        near(clip.of_pictures(pictures), out.image_embeds)
        ours = clip.vision
    hidden = ours(pictures).hidden
    assert len(hidden) == len(out.vision_model_output.hidden_states) == 4
    for one, other in zip(hidden, out.vision_model_output.hidden_states):
        near(one, other)


@pytest.mark.parametrize("act", [QuickGELU, nn.GELU])
def test_a_file_of_openclip(act, tmp_path):
    theirs, (pictures, ids) = openclip(act), inputs()
    save_file(theirs.state_dict(), tmp_path / "open_clip_model.safetensors")
    name = "quick_gelu" if act is QuickGELU else "gelu"
    for path in (tmp_path, tmp_path / "open_clip_model.safetensors"):
        ours = read_clip(path, torch.float64, activation=name)
        for one, other in zip((ours.vision(pictures).pooled, ours.text(ids).pooled),
                              theirs(pictures, ids)):  # fmt: skip
            near(one, other)
        assert ours.logit_scale == theirs.logit_scale


def test_an_archive_of_openai(tmp_path):
    """A TorchScript program, in half precision as theirs are; nothing of it runs."""
    theirs, (pictures, ids) = openclip(dtype=torch.float32), inputs(torch.float32)
    theirs.half().float()
    expected = theirs(pictures, ids)
    theirs.register_buffer("input_resolution", torch.tensor(35))
    program = torch.jit.trace(theirs, (pictures, ids), check_trace=False)
    program.half().save(str(tmp_path / "ViT-small.pt"))
    ours = read_clip(tmp_path / "ViT-small.pt")
    for one, other in zip((ours.vision(pictures).pooled, ours.text(ids).pooled), expected):
        near(one, other, 1e-5)


def test_among_the_networks_of_another_file(tmp_path):
    theirs = openclip()
    named = {f"embedder.model.{name}": tensor for name, tensor in theirs.state_dict().items()}
    save_file(named | {"other": torch.zeros(3)}, tmp_path / "unclip.safetensors")
    ours = read_vision(tmp_path / "unclip.safetensors", torch.float64)
    near(ours(inputs()[0]).pooled, theirs.visual(inputs()[0]))


def test_the_activation_is_told_by_the_name_of_the_file(tmp_path):
    told = {"a": "quick_gelu", "laion-l": "gelu", "laion-l-quickgelu": "quick_gelu"}
    for name, expected in told.items():
        save_file(openclip().state_dict(), tmp_path / f"{name}.safetensors")
        assert read_vision(tmp_path / f"{name}.safetensors").config.activation == expected


def test_what_is_wrong_is_named(tmp_path):
    state, path = openclip().state_dict(), tmp_path / "a.safetensors"
    less = {name: tensor for name, tensor in state.items() if name != "visual.ln_pre.bias"}
    save_file(less, path)
    with pytest.raises(CheckpointError, match=r"1 missing \(visual\.ln_pre\.bias\)"):
        read_vision(path)
    save_file(state | {"visual.ln_pre.bias": torch.zeros(7)}, path)
    with pytest.raises(CheckpointError, match=r"visual\.ln_pre\.bias has shape \(7,\)"):
        read_clip(path)
    save_file(state | {"visual.positional_embedding": torch.zeros(25, 128)}, path)
    with pytest.raises(CheckpointError, match=r"25, 128"):
        read_clip(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="no vision tower of CLIP"):
        read_clip(path)


@pytest.mark.parametrize(("config", "millions"), [
    (VisionConfig(224, 14, 1024, 24, 16, 4096, "quick_gelu", 768), 303.966),
    (VisionConfig(224, 14, 1280, 32, 16, 5120, "gelu", 1024), 632.077),
    (VisionConfig(224, 14, 1664, 48, 16, 8192, "gelu", 1280), 1844.908),
])  # fmt: skip
def test_the_towers_have_their_published_sizes(config, millions):
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in VisionEncoder(config).parameters())
    assert found / 1e6 == pytest.approx(millions, abs=1e-3)


SIZES = [(60, 47), (47, 60), (35, 35), (20, 31), (301, 35), (96, 97), (38, 35)]


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_prepared_as_transformers_does(size):
    transformers = pytest.importorskip("transformers")
    picture, sizes = random_picture(*size), {"height": 35, "width": 35}
    theirs = transformers.CLIPImageProcessor(size={"shortest_edge": 35}, crop_size=sizes)
    expected = theirs(picture, return_tensors="pt").pixel_values
    near(prepared([picture], 35, floor=True), expected, 1e-6)


def test_the_middle_is_that_of_torchvision():
    """Of 3 columns too many, 1.5 of which would go at the left, 2 do: the even number."""
    picture = random_picture(38, 35)
    mean, std = np.array(MEAN), np.array(STD)
    cut = (np.asarray(picture)[:, 2:37] / 255 - mean) / std
    near(prepared([picture], 35)[0].permute(1, 2, 0).double(), torch.tensor(cut), 1e-6)


def test_a_constant_picture_stays_constant():
    grey = Image.new("RGB", (64, 50), (10, 100, 200))
    out = prepared([grey, grey], 35)
    assert out.shape == (2, 3, 35, 35)
    for i, level in enumerate((10, 100, 200)):
        assert math.isclose(out[:, i].min(), (level / 255 - MEAN[i]) / STD[i], abs_tol=1e-6)
        assert out[:, i].max() == out[:, i].min()
