"""EDM's preconditioning and noise levels; files and folders of Playground 2.5 and CosXL."""

import json
import math
from dataclasses import replace

import pytest
import torch

from helpers import TINY, normal
from ldm.models.families import COSXL, PLAYGROUND
from ldm.models.weights import CheckpointError, read, save
from ldm.samplers import ModelDenoiser, NoiseSchedule, scaled_linear_betas
from ldm.samplers.edm import EDMDenoiser, EDMSchedule
from ldm.samplers.schedule import levels
from ldm.vae import VAE
from tiny_families import SMALL, random_model

MU = 0.7
CONTEXT = torch.zeros(3, 7, 5, dtype=torch.float64)
SCHEDULE = EDMSchedule(0.002, 80.0, 0.5)


def knowing(data, sign):
    """A network that has learnt N(MU, data^2) by heart, and tells it from what it is given."""

    def network(x, c_noise, conditioning):
        sigma = torch.exp(4 * c_noise.double()).reshape(-1, 1, 1, 1)
        norm = (sigma**2 + data**2).sqrt()
        noisy = x * norm
        clean = MU + data**2 / norm**2 * (noisy - MU)
        return sign * (clean - data**2 / norm**2 * noisy) / (sigma * data / norm)

    return network


@pytest.mark.parametrize(("prediction", "sign"), [("eps", 1), ("v", -1)])
@pytest.mark.parametrize("data", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("sigma", [0.002, 0.3, 1.0, 80.0])
def test_the_exact_network_gives_the_exact_denoiser(prediction, sign, data, sigma):
    model = EDMDenoiser(knowing(data, sign), EDMSchedule(0.002, 80.0, data), prediction)
    x = MU + math.hypot(data, sigma) * normal(3, 4, 5, 6, dtype=torch.float64)
    expected = MU + data**2 / (data**2 + sigma**2) * (x - MU)
    torch.testing.assert_close(model(x, sigma, CONTEXT), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("prediction", "sign"), [("eps", 1), ("v", -1)])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_the_loss_is_least_for_the_exact_network(prediction, sign, gamma):
    """Its mean is that of the posterior's variance: for F (eq. 8) 1 - c_skip, everywhere."""
    data, t = 0.5, torch.arange(100, 900, 2)
    count = len(t)
    noise = normal(2, count, 4, 6, 5, dtype=torch.float64)
    clean, context = data * noise[0] + MU, CONTEXT[:1].expand(count, -1, -1)
    model = EDMDenoiser(knowing(data, sign), SCHEDULE, prediction)
    loss = model.loss(clean, context, t, noise[1], gamma)
    sigma = SCHEDULE.sigmas[t]
    variance = (sigma * data) ** 2 / (sigma**2 + data**2)  # of clean, given x
    c_out = sigma * data / (sigma**2 + data**2).sqrt()
    weight = 1 / c_out**2 if gamma is None else (1 / sigma**2).clamp(max=gamma)
    torch.testing.assert_close((loss / (variance * weight)).mean(), torch.tensor(1.0).double(),
                               rtol=0.02, atol=0)  # fmt: skip
    other = EDMDenoiser(lambda *_: torch.zeros(1), SCHEDULE, prediction)
    assert other.loss(clean, context, t, noise[1], gamma).mean() > loss.mean()


def test_at_a_deviation_of_1_it_is_v_at_another_time():
    """Salimans & Ho's v of the variance preserving latent, as CosXL predicts it."""
    answer = normal(3, 4, 5, 6, dtype=torch.float64)
    given = []

    def network(x, t, conditioning):
        given.append((x, t))
        return answer

    x, sigma = normal(3, 4, 5, 6, seed=1, dtype=torch.float64), 3.0
    ours = EDMDenoiser(network, EDMSchedule(0.002, 80.0, 1.0), "v")(x, sigma, CONTEXT)
    betas = NoiseSchedule(scaled_linear_betas())
    torch.testing.assert_close(ours, ModelDenoiser(network, betas, "v")(x, sigma, CONTEXT))
    torch.testing.assert_close(given[0][0], given[1][0])
    assert float(given[0][1]) == pytest.approx(math.log(3.0) / 4)


@pytest.mark.parametrize("name", ["karras", "exponential", "uniform", "trailing", "simple"])
def test_levels_go_from_the_highest_to_the_lowest(name):
    found = levels(SCHEDULE, 10, name)
    assert found[0] == pytest.approx(80.0)
    assert 0.001999 <= found[-2] < (0.0021 if name in ("karras", "exponential", "uniform") else 1)
    assert found[-1] == 0
    assert all(SCHEDULE.sigma(SCHEDULE.t(one)) == pytest.approx(one) for one in found[:-1])


def test_latents_have_the_mean_taken_from_them():
    config = replace(TINY.vae, scale=0.5, mean=(1.0, 2.0, 3.0, 4.0), std=(2.0, 4.0, 8.0, 16.0))
    vae, picture = VAE(config), normal(3, 3, 4, 6)
    raw = vae.encode(picture, scaled=False)
    expected = torch.stack([(raw[:, i] - (i + 1)) / 2 ** (i + 1) / 2 for i in range(4)], dim=1)
    torch.testing.assert_close(vae.encode(picture), expected)
    torch.testing.assert_close(vae.decode(expected), vae.decode(raw, scaled=False))


@pytest.mark.parametrize(("field", "wrong"), [
    ("edm", (80.0, 0.002, 1.0)), ("edm", (0.0, 80.0, 1.0)), ("edm", (1.0, 2.0)),
    ("edm", (1.0, 2.0, 0.0)), ("prediction", "x0"),
])  # fmt: skip
def test_a_family_that_cannot_be(field, wrong):
    with pytest.raises(ValueError, match=r"edm|EDM"):
        replace(PLAYGROUND, **{field: wrong})


def test_means_are_as_many_as_channels():
    with pytest.raises(ValueError, match="3 means and 4 deviations"):
        replace(PLAYGROUND, vae=replace(PLAYGROUND.vae, mean=(1.0, 2.0, 3.0)))


@pytest.mark.parametrize(("family", "kind"), [
    (PLAYGROUND, "EDMDPMSolverMultistepScheduler"), (COSXL, "EDMEulerScheduler"),
])  # fmt: skip
def test_a_folder_says_it(family, kind, tmp_path):
    save(tmp_path / "folder", random_model(SMALL[family.name]), "diffusers")
    path = tmp_path / "folder/scheduler/scheduler_config.json"
    config = json.loads(path.read_text())
    assert config["_class_name"] == kind
    found = read(tmp_path / "folder").family
    for field in ("edm", "prediction", "vae"):
        assert getattr(found, field) == getattr(SMALL[family.name], field)
    diffusers = pytest.importorskip("diffusers")
    scheduler = getattr(diffusers, kind).from_pretrained(path.parent)
    scheduler.set_timesteps(7)
    expected = levels(EDMSchedule(*family.edm), 7, "karras")
    assert scheduler.sigmas.tolist() == pytest.approx(expected, rel=1e-4)
    del config["sigma_max"]
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="sigma_max"):
        read(tmp_path / "folder")
