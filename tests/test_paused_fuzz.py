"""Paused drawings as they may come from anybody: odd values in their requests, tensors that are
lacking or of other shapes, flipped bits.

LDM_FUZZ=20 in the environment tries twenty times as many.
"""

import json
import random
from pathlib import Path

import pytest
import torch

from helpers import TIMES, latents, random_picture
from ldm.models.weights import CheckpointError
from ldm.models.weights.write_safetensors import write_safetensors
from ldm.pipeline.pause import Paused, pause, read_paused, save_paused
from ldm.request import Request
from ldm.runtime.checks import kinds
from ldm.runtime.finite import NotFinite

VALUES = [
    None, -1, 0, 1, 2, 7, 10**6, 10**30, 0.5, float("nan"), True, "", "x", "{a|b}", "\x1b[2J",
    "\ud800", "/etc/passwd", [], [1], [16, 16], ["a", "b"], {}, "euler", "a1111", [[[]]],
]  # fmt: skip
SHAPES = [(), (0,), (4,), (1, 4, 8, 8), (2, 4, 8, 8), (16, 16, 3), (16, 16), (1, 1, 16, 16), (0, 3)]
DTYPES = [torch.float32, torch.float16, torch.uint8, torch.int64, torch.bool]


@pytest.fixture(scope="module")
def good(tiny, tmp_path_factory):
    """A paused inpainting: its request, and its tensors."""
    request = Request("a cat", steps=3, image="in.png", mask="mask.png")
    job = tiny.resolve(Request("a cat", steps=3), random_picture(16, 16), random_picture(16, 16))
    paused = pause(tiny, job, 2, random_picture(16, 16), random_picture(16, 16))
    tensors = {f"denoised.{i}": one for i, one in enumerate(paused.record)}
    pixels = torch.full((16, 16, 3), 200, dtype=torch.uint8)
    return json.loads(request.to_json()), tensors | {"image": pixels, "mask": pixels.clone()}


def changed(draw, fields, tensors):
    """The same with one to three odd places."""
    fields, tensors = dict(fields), dict(tensors)
    for _ in range(draw.randint(1, 3)):
        if draw.random() < 0.7:
            fields[draw.choice([*kinds(Request), "other"])] = draw.choice(VALUES)
        else:
            name = draw.choice(["denoised.0", "denoised.1", "denoised.7", "image", "mask", "depth"])
            tensors.pop(name, None)
            if draw.random() < 0.7:
                tensors[name] = torch.ones(draw.choice(SHAPES)).to(draw.choice(DTYPES))
    return fields, tensors


def test_odd_paused_drawings(door, tiny, good):
    """Refused when they are read, or when they are resolved; or drawn to the end."""
    path = Path("half.safetensors")
    for seed in range(150 * TIMES):
        draw = random.Random(seed)
        fields, tensors = changed(draw, *good)
        write_safetensors(path, tensors, {"request": json.dumps(fields), "model": "tiny"})
        if draw.random() < 0.2:
            data = bytearray(path.read_bytes())
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            path.write_bytes(data)
        paused = door.ends(read_paused, path)
        job = None if paused is None else door.ends(paused.resolve, tiny)
        if job is not None and job.steps <= 10:
            door.ends(latents, tiny, job, errors=NotFinite, record=paused.record)
    assert door.read > 0
    assert door.refused > 0


def test_the_good_one_is_read(tiny, good, tmp_path):
    fields, tensors = good
    write_safetensors(tmp_path / "a", tensors, {"request": json.dumps(fields), "model": "tiny"})
    paused = read_paused(tmp_path / "a")
    assert len(list(tiny.steps(paused.resolve(tiny), record=paused.record))) == 3
    save_paused(tmp_path / "b", Paused(paused.request, "tiny", paused.record))
    with pytest.raises(ValueError, match=r"it names 'in\.png'"):
        read_paused(tmp_path / "b")
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-5])
    with pytest.raises(CheckpointError):
        read_paused(tmp_path / "b")
