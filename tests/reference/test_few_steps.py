"""Models of few steps beside diffusers: the schedulers step by step, and whole pictures."""

from dataclasses import replace

import pytest
import torch
from diffusers import (
    LatentConsistencyModelImg2ImgPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    TCDScheduler,
    UNet2DConditionModel,
)

from helpers import TINY, normal, random_picture
from ldm.clip.tokenizer import Tokenizer
from ldm.models.keymaps.rows import unet_rows
from ldm.models.weights import save
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.samplers import SAMPLERS, SCHEDULES, Noise, NoiseSchedule, scaled_linear_betas
from ldm.unet import UNet

SCHEDULE = NoiseSchedule(scaled_linear_betas())
STRENGTHS = [i / 20 for i in range(1, 21)]


def eps(x, sigma):
    """Of some nonlinear denoiser, of x_t."""
    return torch.tanh(x + 0.3 * x.mean().sin()) * sigma / (1 + sigma)


def walk(scheduler, x, count, **options):
    """Every x_t that a scheduler of theirs goes through, in float64."""
    scheduler.alphas_cumprod = SCHEDULE.alphas_cumprod  # theirs are float32
    scheduler.set_timesteps(count)
    generator = torch.Generator().manual_seed(0)
    for t in scheduler.timesteps:
        out = eps(x, SCHEDULE.sigma(int(t)))
        x = scheduler.step(out, t, x, generator=generator, **options).prev_sample
        yield x


class Float64(Noise):
    """The noise that they draw in float64."""

    def __init__(self):
        super().__init__([0])
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, x):
        return torch.randn(x.shape, generator=self.generator, dtype=x.dtype)


def ours(name, x, count, end, **options):
    """The x_t of one of our samplers, from the same list."""
    sigmas = [*SCHEDULES["lcm"](SCHEDULE, count)[:-1], end]

    def denoise(x, sigma):
        return x - sigma * eps(x / (1 + sigma**2) ** 0.5, sigma)

    steps = SAMPLERS[name].run(
        denoise, x * (1 + sigmas[0] ** 2) ** 0.5, sigmas, Float64(), **options
    )
    for step in steps:
        yield step.x / (1 + step.sigma**2) ** 0.5


@pytest.mark.parametrize("count", [1, 2, 4, 7, 50])
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.5, 1.0])
def test_tcd_step_by_step(eta, count):
    x = normal(3, 4, 5, 7, dtype=torch.float64)
    expected = list(walk(TCDScheduler(), x, count, eta=eta))
    options = {"eta": eta, "levels": SCHEDULE.sigmas.tolist()}
    got = list(ours("tcd", x, count, SCHEDULE.sigma_min, **options))
    assert len(got) == len(expected) == count
    for one, other in zip(got, expected):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 4, 7, 50])
def test_lcm_step_by_step(count):
    """But for its boundary condition, which is 1e-5 at its last level, t = 19."""
    x = normal(3, 4, 5, 7, dtype=torch.float64)
    expected = list(walk(LCMScheduler(clip_sample=False), x, count))
    got = list(ours("lcm", x, count, 0.0))
    assert len(got) == len(expected) == count
    for one, other in zip(got, expected):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("kind", [LCMScheduler, TCDScheduler])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_levels_of_lcm(kind, strength):
    scheduler, levels = kind(), int(50 * strength)
    for count in range(1, levels + 1):
        scheduler.set_timesteps(count, strength=strength)
        got = SCHEDULE.timesteps(SCHEDULES["lcm"](SCHEDULE, count, strength)[:-1])
        assert got == pytest.approx(scheduler.timesteps.tolist(), abs=1e-6)
    with pytest.raises(ValueError, match="give fewer steps or more strength"):
        SCHEDULES["lcm"](SCHEDULE, levels + 51, strength * 0.99)


PICTURE = random_picture(16, 24)
SETTINGS = {"schedule": "automatic", "compat": "diffusers", "seed": 7, "count": 2}


def theirs(pipe, **options):
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    return pipe(
        "cat do", generator=generator, num_images_per_prompt=2, output_type="latent", **options
    ).images


@pytest.fixture(scope="module")
def folder(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "diffusers"
    save(folder, tiny_checkpoint, "diffusers")
    return folder


@pytest.mark.filterwarnings("ignore::FutureWarning")  # one image for two pictures
@pytest.mark.parametrize("start", ["noise", "picture"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("sampler", "scheduler"), [("tcd", TCDScheduler), ("lcm", LCMScheduler)])
def test_pictures_of_a_plain_network(tiny, folder, sampler, scheduler, scale, start):
    kind = StableDiffusionPipeline if start == "noise" else StableDiffusionImg2ImgPipeline
    pipe = kind.from_pretrained(folder, safety_checker=None, feature_extractor=None)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    size = {"width": 16, "height": 24}
    given = dict(size) if start == "noise" else {"image": PICTURE, "strength": 0.6}
    given |= {"eta": 0.3} if sampler == "tcd" else {}  # their pipelines' default is 0
    expected = theirs(
        pipe, negative_prompt="do", num_inference_steps=6, guidance_scale=scale, **given
    )
    own = size if start == "noise" else {"strength": 0.6}
    request = Request(
        "cat do", negative="do", sampler=sampler, steps=6, guidance_scale=scale, **SETTINGS, **own
    )
    *_, last = tiny.steps(request, None if start == "noise" else PICTURE)
    torch.testing.assert_close(last.x, expected, rtol=0, atol=1e-4)


CONSISTENT = replace(
    TINY, name="tiny-lcm", unet=replace(TINY.unet, guidance_width=10),
    guidance_scale=8.5, sampler="lcm", schedule="lcm",
)  # fmt: skip


@pytest.fixture(scope="module")
def consistent(tiny, folder, share_weights):
    """A tiny model with its guidance distilled into it, as ours and as theirs."""
    config = UNet2DConditionModel.load_config(folder / "unet")
    with torch.device("meta"):
        network = UNet(CONSISTENT.unet)
        other = UNet2DConditionModel.from_config({**config, "time_cond_proj_dim": 10})
    share_weights(network, other, unet_rows(CONSISTENT.unet), torch.float32)
    tokenizer: Tokenizer = tiny.tokenizer
    model = LatentDiffusion(tiny.text, network, tiny.vae, tokenizer, CONSISTENT)
    parts = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, feature_extractor=None
    ).components
    parts |= {"unet": other, "scheduler": LCMScheduler.from_config(parts["scheduler"].config)}
    return model, parts


@pytest.mark.parametrize("scale", [1.0, 4.0, 8.5])
def test_a_latent_consistency_model_from_a_prompt(consistent, scale):
    model, parts = consistent
    pipe = LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
    expected = theirs(pipe, num_inference_steps=4, guidance_scale=scale, width=16, height=24)
    request = Request("cat do", width=16, height=24, guidance_scale=scale, **SETTINGS)
    *_, last = model.steps(request)
    torch.testing.assert_close(last.x, expected, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
def test_a_latent_consistency_model_from_a_picture(consistent, strength):
    """All the steps are within the strength."""
    model, parts = consistent
    pipe = LatentConsistencyModelImg2ImgPipeline(**parts, requires_safety_checker=False)
    expected = theirs(pipe, image=PICTURE, strength=strength, num_inference_steps=4)
    request = Request("cat do", strength=strength, **SETTINGS)
    steps = list(model.steps(request, PICTURE))
    assert len(steps) == 4
    torch.testing.assert_close(steps[-1].x, expected, rtol=0, atol=1e-4)
