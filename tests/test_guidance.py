import math

import pytest
import torch

from ldm.samplers import SAMPLERS, Noise, NoiseSchedule, scaled_linear_betas
from ldm.samplers.guidance import inpainted, projected, rescaled, within


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(x, sigma):
    """D of standard normal data."""
    return x / (1 + sigma**2)


def test_guidance_in_an_interval():
    both = within(lambda x, sigma: x + 1, lambda x, sigma: x - 1, 0.5, 2.0)
    x = torch.zeros(1)
    assert [both(x, sigma).item() for sigma in (0.1, 0.5, 0.6, 2.0, 2.1)] == [-1, -1, 1, 1, -1]


def test_projection_is_applied_to_every_guess():
    assert projected(gaussian, torch.round)(torch.tensor([3.2]), 1.0).item() == 2


@pytest.mark.parametrize("sigma", [0.1, 1.0, 14.0])
def test_rescale_by_the_papers_equations_on_v(sigma):
    x, guess, plain = normal(2, 4, 6, 5), 3 * normal(2, 4, 6, 5, seed=1), normal(2, 4, 6, 5, seed=2)
    factor = math.sqrt(1 + sigma**2) / sigma

    def v(denoised):
        return (x / (1 + sigma**2) - denoised) * factor

    def at(phi, strong=guess):
        return rescaled(lambda x, sigma: strong, lambda x, sigma: plain, phi)(x, sigma)

    for phi in (0.0, 0.7, 1.0):
        rescale = v(guess) * v(plain).std((1, 2, 3), keepdim=True) / v(guess).std((1, 2, 3), keepdim=True)
        torch.testing.assert_close(v(at(phi)), phi * rescale + (1 - phi) * v(guess))
    torch.testing.assert_close(at(0.0), guess)
    torch.testing.assert_close(at(1.0, strong=plain), plain)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if not SAMPLERS[name].adaptive])
def test_what_is_known_ends_as_it_was_whatever_the_sampler(name):
    """And what is not known is a sample: of the spread of the data, where the sampler has the steps to reach it."""
    schedule = NoiseSchedule(scaled_linear_betas(0.00085, 0.012, 1000))
    sigmas = SAMPLERS[name].sigmas(schedule, 12)
    clean = normal(1, 1, 16, 32).expand(2, -1, -1, -1)
    mask = torch.zeros(1, 1, 16, 32, dtype=torch.float64)
    mask[..., 16:] = 1
    noise = Noise([0, 1])
    x = clean + sigmas[0] * noise(clean)
    for step in SAMPLERS[name].run(inpainted(gaussian, clean, mask), x, sigmas, noise):
        result = step.x
    torch.testing.assert_close(result[..., :16], clean[..., :16])
    assert 0.5 < result[..., 16:].std() < 1.5
    assert not torch.allclose(result[0], result[1])


def test_a_soft_mask_blends():
    clean = torch.full((1, 1, 1, 3), 10.0)
    mask = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    blend = inpainted(lambda x, sigma: torch.zeros_like(x), clean, mask)(torch.zeros(1, 1, 1, 3), 1.0)
    assert blend.flatten().tolist() == [10, 7.5, 0]
