"""`fast`: what it fills in, and that it never overrides what was asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.cli import main
from ldm.models.families import FAMILIES
from ldm.pipeline.fast import CACHE, GUIDED, faster
from ldm.request import Request
from ldm.runtime import device as device_module
from ldm.runtime.device import choose_dtype

SD1 = FAMILIES["sd1"]


def filled(request, family=SD1):
    found = faster(request, family)
    return found.cache, found.guidance_interval


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (CACHE, GUIDED)),
        ({"cache": 1}, (1, GUIDED)),
        ({"guidance_interval": (0, 5.0)}, (CACHE, (0, 5.0))),
        ({"steps": 4}, (None, None)),
        ({"steps": 20, "strength": 0.2}, (None, None)),
        ({"steps": 20, "strength": 0.2, "full_steps": True}, (CACHE, GUIDED)),
        ({"sampler": "dpm_adaptive"}, (None, GUIDED)),
        ({"sampler": "DPM++ 2M Karras"}, (CACHE, GUIDED)),  # as the web UI calls it
    ],
)
def test_what_is_left_open_is_filled_in(options, expected):
    assert filled(Request(**options)) == expected


def test_models_of_few_steps_are_left_alone():
    assert filled(Request(), replace(SD1, steps=4)) == (None, None)
    distilled = next(family for family in FAMILIES.values() if family.distilled)
    assert filled(Request(steps=30), distilled) == (None, None)


@pytest.mark.parametrize("there", [True, False])
def test_the_number_format_is_what_the_cpu_has(monkeypatch, there):
    monkeypatch.setattr(device_module, "has_bfloat16", lambda: there)
    cpu, half = torch.device("cpu"), torch.bfloat16
    assert choose_dtype(cpu, None, True)[0] == (half if there else torch.float32)
    assert choose_dtype(cpu)[0] == torch.float32
    assert choose_dtype(cpu, torch.float32, True)[0] == torch.float32


def test_a_model_that_is_fast_says_so_in_its_pictures(own_tiny):
    options = {"width": 16, "height": 16, "steps": 12, "seed": 1}
    alone = own_tiny.txt2img("a", fast=True, **options)[0]
    own_tiny.fast = True
    image = own_tiny.txt2img("a", **options)[0]
    request = Request.from_json(image.info["ldm"])
    assert (request.cache, request.guidance_interval) == (CACHE, GUIDED)
    own_tiny.fast = False
    again = own_tiny.generate(request)[0]
    assert image.tobytes() == again.tobytes() == alone.tobytes()
    assert image.tobytes() != own_tiny.txt2img("a", **options)[0].tobytes()


def test_the_command_line_says_what_it_chose_and_replays_without_it(
    tiny_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    model = ["--ckpt", str(tiny_file)]
    line = (
        "txt2img --prompt a --n_iter 1 --n_samples 1 --steps 12 --skip_grid --fast --dtype float32"
    )
    assert main([*line.split(), *model, "--outdir", "a"]) == 0
    told = "fast: float32, cache 3, guidance within sigma 0.28 to 10000"
    assert any(said.startswith(told) for said in capsys.readouterr().out.splitlines())
    assert main(["replay", "a/samples/00000.png", *model, "--outdir", "b"]) == 0
    one, other = (Image.open(tmp_path / x / "samples/00000.png") for x in "ab")
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert main([*line.split(), *model, "--outdir", "c", "--cache", "1"]) == 0
    assert "no cache" in capsys.readouterr().out
