"""Pickles that would run something, in every slot that opens one."""

import random

import pytest
import torch

import hypernetworks
import loras
from clip_files import openclip
from helpers import TIMES, build_tiny, normal
from ldm.models.control import read_control
from ldm.models.embeddings import read_embedding
from ldm.models.hypernetworks import read_hypernetwork
from ldm.models.lora import read_lora
from ldm.models.upscalers import check_upscaler, open_upscaler
from ldm.models.weights import CheckpointError, UnsafePickle, inspect, read
from ldm.models.weights.clip import read_vision
from ldm.models.weights.vae import read_vae, tiny_preview
from test_weights_fuzz import odd_object
from tiny_families import SMALL
from upscaler_files import compact

MODEL, SD1 = build_tiny(), SMALL["sd1"]
CPU = torch.device("cpu")
SLOTS = {  # what opens it, and what else is in the file
    "checkpoint": (read, lambda: {"model.diffusion_model.out.0.bias": torch.ones(2)}),
    "inspected": (inspect, lambda: {"x": torch.ones(2)}),
    "lora": (read_lora, lambda: loras.tensors(SD1, "LoRA", ["unet.stem"])),
    "embedding": (read_embedding, lambda: {"string_to_param": {"*": normal(2, 16)}}),
    "hypernetwork": (
        lambda path: read_hypernetwork(path, MODEL.family, MODEL.unet),
        lambda: hypernetworks.saved(hypernetworks.pairs((16,))),
    ),
    "vae": (lambda path: read_vae(path, SD1), lambda: {"encoder.conv_in.weight": torch.ones(2)}),
    "taesd": (lambda path: tiny_preview(path, SD1, CPU), lambda: {"1.weight": torch.ones(2)}),
    "control": (
        lambda path: read_control(path, MODEL.family, MODEL.unet),
        lambda: {"control_model.input_hint_block.0.weight": torch.ones(2)},
    ),
    "upscaler": (open_upscaler, compact),
    "upscaler, checked": (check_upscaler, compact),
    "vision tower": (read_vision, lambda: openclip(dtype=torch.float32).state_dict()),
}


class Runs:
    """A file that is called ran is there as soon as this is unpickled."""

    def __reduce__(self):
        return eval, ("open('ran', 'w').close()",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("slot", SLOTS)
def test_nothing_runs(slot, deep, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reader, content = SLOTS[slot]
    found = dict(content())
    found |= {"state_dict": {"x": Runs()}} if deep else {"x": Runs()}
    torch.save(found, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafePickle) as error:
        reader(tmp_path / "x.pt")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "x.pt", weights_only=False)  # by which it would have
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("slot", ["vision tower", "upscaler", "control", "vae", "hypernetwork"])
def test_odd_objects_end_in_an_error_of_one_line(slot, door, tmp_path):
    """Objects of anything in the place of a tensor, or beside them."""
    reader, content = SLOTS[slot]
    whole = dict(content())
    for seed in range(40 * TIMES):
        draw, path = random.Random(seed), tmp_path / "x.pt"
        found = {**whole, draw.choice([*whole, "other"]): odd_object(draw)}
        try:
            torch.save(found, path, _use_new_zipfile_serialization=draw.random() < 0.5)
        except UnicodeEncodeError:
            continue
        door.ends(reader, path, errors=CheckpointError)
    assert door.refused > 10


def test_damaged_vision_towers(door, tmp_path):
    """A right load has the bits of the file, but for those that were changed."""
    torch.save(openclip(dtype=torch.float32).state_dict(), tmp_path / "good.pt")
    good, path = (tmp_path / "good.pt").read_bytes(), tmp_path / "x.pt"
    for seed in range(40 * TIMES):
        draw, data = random.Random(seed), bytearray(good)
        for _ in range(draw.choice([1, 2, 20])):
            near = draw.choice([2000, len(data)])
            data[-1 - draw.randrange(near)] = draw.randrange(256)
        path.write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        door.ends(read_vision, path, errors=CheckpointError)
    assert door.refused > 10
