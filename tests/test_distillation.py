"""Distillation to few steps, where the answers are known."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ldm
from helpers import TINY
from ldm.clip.model import TextOutput
from ldm.models.weights import read
from ldm.training.additions import LowRank
from ldm.training.distillation import (
    DistillationStage,
    boundary,
    clean_latent,
    of_few_steps,
    pseudo_huber,
)
from ldm.training.few_steps import DISTILLATION, distil
from ldm.training.recipe import changed
from learners import two_pictures

SHORT = changed(DISTILLATION, ["distil.steps=3", "distil.batch=4", "distil.save_every=3"])
quiet = pytest.mark.filterwarnings("ignore:the model has no token")
DEVIATION = 0.7  # of the Gaussian data below


class Gaussian(nn.Module):
    """The best prediction for data from N(0, DEVIATION^2); or, for one's own `schedule`, the
    prediction whose clean latent is the end of the probability flow:

        x_sigma / sqrt(d^2 + sigma^2) stays the same along it, so that the end is d times that.
    """

    head = None

    def __init__(self, family, flow: bool) -> None:
        super().__init__()
        self.family, self.flow = family, flow
        self.a = family.noise_schedule().alphas_cumprod

    def forward(self, x, t, conditioning):
        a = self.a[t.long(), None, None, None].to(x)
        variance = (1 - a) / a  # sigma^2 of z = x / sqrt(a) = clean + sigma noise
        scale = DEVIATION / (DEVIATION**2 + variance).sqrt()
        clean = (scale if self.flow else scale**2) * x / a.sqrt()
        noise = (x - a.sqrt() * clean) / (1 - a).sqrt()
        kinds = {"eps": noise, "v": a.sqrt() * noise - (1 - a).sqrt() * clean, "x0": clean}
        return kinds[self.family.prediction]

    unet = property(lambda self: self)
    device = torch.device("cpu")

    def network(self, chosen):
        return self

    def text(self, ids):
        return TextOutput(torch.zeros(len(ids), ids.shape[1], 16), None, None)


class Letters:
    """A tokenizer of nothing."""

    def __call__(self, texts):
        return torch.zeros(len(texts), 3, dtype=torch.long)


class Nowhere(nn.Module):
    """A VAE that is asked for nothing but its device."""

    def __init__(self) -> None:
        super().__init__()
        self.post_quant = nn.Linear(1, 1)


def gaussian_stage(prediction, flow, levels):
    family = of_few_steps(replace(TINY, prediction=prediction, train_steps=1000))
    latents = DEVIATION * torch.randn(64, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    student, teacher = (Gaussian(family, kind) for kind in (flow, False))
    ids = torch.zeros(64, 3, dtype=torch.long)
    options = (family, Nowhere(), Letters(), latents, ids, 3.0, [], levels)
    return DistillationStage(student, teacher, *options)


def loss(stage):
    drawn = stage.draw(64, torch.Generator().manual_seed(1))
    return stage.loss(stage.module, drawn)["loss"].item()


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_the_consistency_function_of_gaussian_data_has_next_to_no_loss(prediction):
    """Guidance between two equal predictions changes nothing. A wrong solver step, level or
    boundary makes the loss that of the mean of the clean latents, or more."""
    true, mean = (loss(gaussian_stage(prediction, flow, 500)) for flow in (True, False))
    assert true < 0.1 * mean
    assert loss(gaussian_stage(prediction, True, 50)) > true  # of the solver's steps


def test_the_path_of_the_teacher_ends_where_the_consistency_function_says():
    stage = gaussian_stage("v", True, 500)
    x = start = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    context = torch.zeros(2, 3, 16)
    for n in reversed(range(500)):
        x = stage.solver_step(x, torch.full((2,), n), context)
    end = stage.consistency(stage.module, start, torch.full((2,), 500), context)
    torch.testing.assert_close(x, end, rtol=0.03, atol=0.0)
    same = stage.consistency(stage.module, start, torch.zeros(2, dtype=torch.long), context)
    assert torch.equal(same, start)  # f(x, 0) = x


def test_the_boundary_is_that_of_the_paper():
    c_skip, c_out = boundary(torch.tensor([0.0, 1.0, 999.0]))
    assert (c_skip[0], c_out[0]) == (1, 0)
    assert c_skip[1].item() == pytest.approx(0.25 / 100.25)
    assert c_out[1].item() == pytest.approx(10 / math.sqrt(100.25))
    assert c_skip[2].item() < 1e-8


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_the_clean_latent_is_that_of_the_denoiser(prediction):
    """`ModelDenoiser` has one noise level for all rows."""
    family = replace(TINY, prediction=prediction)
    schedule, x = family.noise_schedule(), torch.randn(2, 4, 8, 8)
    sigma, raw = schedule.sigma(300), torch.randn(2, 4, 8, 8)
    expected = family.denoiser(lambda *_: raw, schedule)(x, sigma, torch.zeros(2, 3, 16))
    a = torch.full((2, 1, 1, 1), 1 / (1 + sigma**2))
    torch.testing.assert_close(clean_latent(prediction, raw, x * a.sqrt(), a), expected)


def test_the_distance_is_a_norm_but_near_nothing():
    x = torch.zeros(2, 3, 4)
    y = torch.stack([torch.full((3, 4), 5.0), torch.full((3, 4), 1e-6)])
    far, near = pseudo_huber(x, y).tolist()
    assert far == pytest.approx(5 * 12**0.5, rel=1e-3)
    assert near == pytest.approx(1e-12 / (2 * 0.00054) * 12**0.5, rel=0.05, abs=1e-9)


@quiet
def test_a_student_is_a_model_of_few_steps_and_its_teacher_stays(tmp_path, tiny_file):
    init = read(tiny_file)
    path = distil(init, two_pictures(tmp_path / "data"), SHORT, tmp_path / "few")
    student = read(path)
    family = student.family
    assert (family.steps, family.guidance_scale) == (4, 1.0)
    assert (family.sampler, family.schedule, family.name) == ("lcm", "lcm", "few")
    for name, weight in init.text[0].state_dict().items():
        assert torch.equal(weight.half(), student.text[0].state_dict()[name].half()), name
    moved = [
        name
        for name, weight in init.unet.state_dict().items()
        if not torch.equal(weight.half(), student.unet.state_dict()[name].half())
    ]
    assert len(moved) > 10
    assert read(tiny_file).family == init.family
    (picture,) = ldm.load(path, device="cpu").txt2img("cat", seed=1)
    assert picture.size == (16, 16)


@quiet
def test_a_student_may_be_a_lora(tmp_path, tiny_file):
    data = two_pictures(tmp_path / "data")
    path = distil(read(tiny_file), data, SHORT, tmp_path / "few", learner=LowRank(2))
    assert path.name == "lora.safetensors"
    ups = [weight for name, weight in load_file(path).items() if "lora_up" in name]
    assert len(ups) > 4
    assert all(weight.any() for weight in ups)  # they are 0 before the first step
