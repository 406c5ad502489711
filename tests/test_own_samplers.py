"""Samplers and schedules of one's own: entered by a decorator, drawn with by their names."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import latents, pixels
from ldm.metadata import texts
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.samplers import (
    SAMPLERS,
    SCHEDULES,
    Denoiser,
    Noise,
    NoiseSchedule,
    Step,
    scaled_linear_betas,
)
from ldm.samplers import sampler as register
from ldm.samplers.schedule import schedule


def outside(denoise: Denoiser, x: Tensor, sigmas: list[float], noise: Noise) -> Iterator[Step]:
    """A sampler that is none of the library's."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        yield Step(i, sigma_next, x, denoise(x, sigma))


def test_a_sampler_of_ones_own_needs_only_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SAMPLERS, "outside", raising=False)
    enter = register(order=1, label="Mine", schedule="karras", calls_per_step=3)
    assert enter(outside) is outside
    found = SAMPLERS["outside"]
    assert (found.run, found.label, found.calls_per_step) == (outside, "Mine", 3)
    assert found.sigmas(NoiseSchedule(scaled_linear_betas()), 4)[-1] == 0
    enter(outside)  # as on a second run of a notebook's cell
    del SAMPLERS["outside"]


def test_a_name_that_exists_is_refused_to_another_function() -> None:
    def euler(denoise: Denoiser, x: Tensor, sigmas: list[float], noise: Noise) -> Iterator[Step]:
        return outside(denoise, x, sigmas, noise)

    def karras(noise_schedule: NoiseSchedule, steps: int) -> list[float]:
        return [1.0, 0.0]

    before = SAMPLERS["euler"], SCHEDULES["karras"]
    with pytest.raises(
        ValueError, match=r"'euler' is ldm\.samplers\.euler\.euler: take another name"
    ):
        register(order=1, label="Mine")(euler)
    with pytest.raises(ValueError, match=r"'karras' is .*: take another name"):
        schedule(karras)
    assert (SAMPLERS["euler"], SCHEDULES["karras"]) == before
    with pytest.raises(TypeError, match="colour"):
        register(order=1, label="Mine", colour="red")(outside)


def plain_euler(
    denoise: Denoiser, x: Tensor, sigmas: list[float], noise: Noise, *, eta: float = 0.0
) -> Iterator[Step]:
    """Euler's method, with noise on the way if asked."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        x = denoised + sigma_next / sigma * (x - denoised)
        if eta and sigma_next:
            x = x + eta * sigma_next * noise(x)
        yield Step(i, sigma_next, x, denoised)


def even_roots(noise_schedule: NoiseSchedule, steps: int) -> list[float]:
    """Levels evenly spaced in the square root."""
    return [noise_schedule.sigma_max * (1 - i / steps) ** 2 for i in range(steps)] + [0.0]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both entered, and taken out again afterwards."""
    for table, name in ((SAMPLERS, "plain_euler"), (SCHEDULES, "even_roots")):
        monkeypatch.setitem(table, name, None)
        monkeypatch.delitem(table, name)
    register(order=1, label="Plain Euler", schedule="even_roots")(plain_euler)
    schedule(even_roots)


@pytest.mark.usefixtures("own")
def test_a_sampler_and_a_schedule_of_ones_own_draw_pictures(tiny: LatentDiffusion) -> None:
    (one,) = tiny.txt2img("a cat", sampler="plain_euler", steps=5, seed=3)
    (by_name,) = tiny.txt2img(
        "a cat", sampler="plain_euler", schedule="even_roots", steps=5, seed=3
    )
    (euler,) = tiny.txt2img("a cat", sampler="euler", schedule="even_roots", steps=5, seed=3)
    assert (pixels(one) == pixels(by_name)).all()
    assert np.abs(pixels(one) - pixels(euler)).max() <= 1
    (other,) = tiny.txt2img("a cat", sampler="euler", schedule="karras", steps=5, seed=3)
    assert np.abs(pixels(one) - pixels(other)).max() > 1
    (noisy,) = tiny.txt2img("a cat", sampler="plain_euler", steps=5, seed=3, eta=0.5)
    assert np.abs(pixels(one) - pixels(noisy)).max() > 1
    (again,) = tiny.img2img("a cat", one, 0.5, sampler="plain_euler", steps=4, compat="a1111")
    assert again.size == one.size
    with pytest.raises(ValueError, match="sampler 'plain_euler' takes no s_churn"):
        tiny.txt2img("a cat", sampler="plain_euler", s_churn=1)


@pytest.mark.usefixtures("own")
def test_pictures_of_a_sampler_of_ones_own_can_be_drawn_again(tiny: LatentDiffusion) -> None:
    job = tiny.resolve(Request("a cat", sampler="plain_euler", steps=5, seed=3, eta=0.5))
    assert (job.request.sampler, job.request.schedule) == ("plain_euler", "even_roots")
    text = texts(job.request, tiny.name)
    assert torch.equal(latents(tiny, Request.from_json(text["ldm"])), latents(tiny, job))
    assert "Sampler: Plain Euler" in text["parameters"]


def test_afterwards_their_names_are_unknown(tiny: LatentDiffusion) -> None:
    with pytest.raises(ValueError, match="unknown sampler 'plain_euler'"):
        tiny.txt2img("a cat", sampler="plain_euler")
    with pytest.raises(ValueError, match="unknown schedule 'even_roots'"):
        tiny.txt2img("a cat", schedule="even_roots")
