"""The benchmark, with a small model: it runs, and the two do the same there."""

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from small_models import both

from small_families import SDXL


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "scripts" / "benchmark.py"
    spec = spec_from_file_location("benchmark", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_row(script, tiny_family):
    (text,) = tiny_family.text
    family = replace(tiny_family, text=(replace(text, vocabulary=49408, length=77),))
    names = [name for name in script.NAMES if name != "import"]
    rows = [
        row.split()
        for row in script.benchmark(family, names, torch.device("cpu"), torch.float32, 32, 1)
    ]
    rows, (lora, applied) = rows[:-2], rows[-2:]
    assert (lora[0], len(lora), applied[0], len(applied)) == ("lora", 6, "applied", 3)
    assert float(lora[5]) > 0
    assert [row[0] for row in rows] == [
        "load",
        "memory",
        "step",
        "text",
        "encode",
        "decode",
        "picture",
    ]
    for row in rows:
        ours, theirs, ratio = float(row[1]), float(row[3]), float(row[5])
        assert min(ours, theirs) >= 0
        assert ratio > 0
    for row in rows[2:-1]:
        assert float(row[6]) < 1e-4, row
    assert float(rows[-1][6]) <= 1, "pictures of 8 bits"


def test_medians_leave_out_the_first_run(script):
    ours, theirs = iter([100, 1, 2, 9]), iter([100, 4, 4, 5])
    assert script.by_turns(lambda: next(ours), lambda: next(theirs), 3).tolist() == [[2], [4]]


def test_sdxl_is_asked_for_the_same(script, share_weights, tiny_tokenizer, monkeypatch):
    monkeypatch.setattr(script, "PROMPT", "cat do")  # as long as theirs reads
    models = both(SDXL, tiny_tokenizer, share_weights)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    ddim = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    assert script.pipeline_of(SDXL) == "StableDiffusionXLPipeline"
    pipe = models.pipeline(StableDiffusionXLPipeline, DDIMScheduler(**betas, **ddim))
    for name, (ours, theirs) in script.computations(models.ours, pipe, 32).items():
        with torch.no_grad():
            difference = (ours().float() - theirs().float()).abs().max()
        assert difference <= (1 if name == "picture" else 1e-4), name
