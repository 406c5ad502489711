"""Denoisers made of denoisers."""

import pytest
import torch

from ldm.samplers import SAMPLERS, Noise, NoiseSchedule, scaled_linear_betas
from ldm.samplers.wrappers import masked_denoiser, project_denoised, recorded


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(x, sigma):
    """D of standard normal data."""
    return x / (1 + sigma**2)


def test_projection_is_applied_to_every_result():
    assert project_denoised(gaussian, torch.round)(torch.tensor([3.2]), 1.0).item() == 2


@pytest.mark.parametrize("name", [name for name in SAMPLERS if not SAMPLERS[name].adaptive])
def test_what_is_known_ends_as_it_was_whatever_the_sampler(name):
    """And what is not known is a sample: of the spread of the data, where the sampler has the steps
    to reach it."""
    sigmas = SAMPLERS[name].sigmas(NoiseSchedule(scaled_linear_betas()), 12)
    clean = normal(1, 1, 16, 32).expand(2, -1, -1, -1)
    mask = torch.zeros(1, 1, 16, 32, dtype=torch.float64)
    mask[..., 16:] = 1
    noise = Noise([0, 1])
    x = clean + sigmas[0] * noise(clean)
    for step in SAMPLERS[name].run(masked_denoiser(gaussian, clean, mask), x, sigmas, noise):
        result = step.x
    torch.testing.assert_close(result[..., :16], clean[..., :16])
    assert 0.5 < result[..., 16:].std() < 1.5
    assert not torch.allclose(result[0], result[1])


def test_a_soft_mask_blends():
    clean = torch.full((1, 1, 1, 3), 10.0)
    mask = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    blend = masked_denoiser(lambda x, sigma: torch.zeros_like(x), clean, mask)
    assert blend(torch.zeros(1, 1, 1, 3), 1.0).flatten().tolist() == [10, 7.5, 0]


@pytest.mark.parametrize("name", ["dpmpp_2m", "dpmpp_sde", "unipc", "dpm_adaptive"])
def test_any_sampler_is_taken_up_from_a_record_of_what_it_was_told(name):
    sampler, noises = SAMPLERS[name], [Noise([7]), Noise([7])]
    sigmas = sampler.sigmas(NoiseSchedule(scaled_linear_betas()), 8)
    starts = [sigmas[0] * noise(torch.empty(1, 4, 8, 8)) for noise in noises]
    record, calls = [], []

    def counting(x, sigma):
        calls.append(sigma)
        return gaussian(x, sigma)

    whole = list(sampler.run(recorded(counting, record), starts[0], sigmas, noises[0]))
    made, calls[:] = len(calls), []
    assert len(record) == made
    del record[5:]
    again = list(sampler.run(recorded(counting, record), starts[1], sigmas, noises[1]))
    assert len(calls) == made - 5
    assert all(torch.equal(a.x, b.x) for a, b in zip(whole, again, strict=True))
