"""Few steps: noise levels that begin too low, and the sampler that does not go by steps."""

import warnings
from dataclasses import replace

import pytest
import torch

from helpers import gaussian, levels, normal
from ldm.models.families import FAMILIES
from ldm.pipeline.job import resolve
from ldm.request import Request
from ldm.samplers import SAMPLERS, Noise


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "plms", "unipc"])
@pytest.mark.parametrize("name", [None, "compvis", "diffusers"])
def test_a_single_step_that_leaves_noise_is_told(sampler, name):
    if name is not None and sampler not in ("ddim", "plms"):
        return
    with pytest.warns(UserWarning, match="begins at training step 1 of 1000; the picture will be"):
        resolve(Request(steps=1, sampler=sampler, compat=name), FAMILIES["sd1"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve(Request(steps=2, sampler=sampler, compat=name), FAMILIES["sd1"])
        resolve(Request(steps=1, sampler=sampler, schedule="trailing"), FAMILIES["sd1"])


def test_no_number_of_steps_of_other_schedules_is_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for steps in (1, 2, 7, 334, 501, 999):
            for schedule in ("karras", "uniform", "trailing", "simple"):
                request = Request(steps=steps, sampler="euler", schedule=schedule)
                resolve(request, FAMILIES["sd1"])


def test_dpm_adaptive_does_not_go_by_steps(tiny):
    one, two = (levels(tiny, sampler="dpm_adaptive", steps=steps) for steps in (1, 2))
    assert one == two
    x = 14 * normal(1, 4, 8, 8)
    run = SAMPLERS["dpm_adaptive"].run
    few, many = ([*run(gaussian, x, s, Noise([0]))] for s in (one, [*one[:1], 1.0, *one[1:]]))
    torch.testing.assert_close(few[-1].x, many[-1].x)


def test_a_sampler_that_returns_is_told(tiny, monkeypatch):
    wrong = replace(SAMPLERS["euler"], run=lambda denoise, x, sigmas, noise: x)
    monkeypatch.setitem(SAMPLERS, "euler", wrong)
    with pytest.raises(ValueError, match="sampler 'euler' returns Tensor: it must yield a Step"):
        tiny.txt2img("a cat")
