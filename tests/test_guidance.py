"""Guidance by branches of one call of the network, and each combination by its paper's equation."""

import pytest
import torch

from ldm.conditioning import Conditioning
from ldm.samplers import ModelDenoiser, NoiseSchedule, scaled_linear_betas
from ldm.samplers.combinations import composable_guidance, guidance_interval, guidance_rescale
from ldm.samplers.guidance import Guided, cfg, unguided

SCHEDULE = NoiseSchedule(scaled_linear_betas())


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Recorded:
    """A network whose noise is the mean of its context; it keeps what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, conditioning):
        self.calls.append((x, t, conditioning))
        return x * 0 + conditioning.context.mean((1, 2))[:, None, None, None]


def branch(value, rows=2, **more):
    return Conditioning(torch.full((rows, 7, 5), float(value)), **more)


def test_all_branches_are_asked_in_one_call_the_negative_first():
    network, x = Recorded(), normal(2, 4, 8, 8)
    vector, concat = torch.rand(2, 6), torch.rand(2, 1, 8, 8)
    branches = [branch(value, vector=vector * value, concat=concat) for value in (1, 3, 5)]
    seen = []

    def combine(denoised, x, sigma):
        seen.append((denoised, sigma))
        return denoised[1]

    guided = Guided(ModelDenoiser(network, SCHEDULE), branches, combine)
    torch.testing.assert_close(guided(x, 2.0), x - 2.0 * 3)
    guided(x, 1.0)
    ((many, t, first), (_, _, second)) = network.calls
    assert first is second  # stacked once
    assert first.context[:, 0, 0].tolist() == [1, 1, 3, 3, 5, 5]
    assert first.vector.equal(torch.cat([vector, 3 * vector, 5 * vector]))
    assert first.concat.shape == (6, 1, 8, 8)
    assert many[:2].equal(many[2:4])
    assert many[:2].equal(many[4:])
    assert t.shape == (1,)
    assert seen[0][0].shape == (3, 2, 4, 8, 8)
    assert [sigma for _, sigma in seen] == [2.0, 1.0]


def test_a_single_branch_is_the_model():
    model, x = ModelDenoiser(Recorded(), SCHEDULE), normal(2, 4, 8, 8)
    assert Guided(model, [branch(3)], unguided)(x, 2.0).equal(model(x, 2.0, branch(3)))


@pytest.mark.parametrize("scale", [-1, 0, 0.5, 1, 7.5])
def test_classifier_free_guidance_is_the_papers_with_scale_1_more_than_w(scale):
    negative, positive = normal(2, 3, 4, 6, 5)
    w = scale - 1
    expected = (1 + w) * positive - w * negative
    out = cfg(scale)(torch.stack([negative, positive]), normal(3, 4, 6, 5), 1.0)
    torch.testing.assert_close(out, expected)


def test_composable_guidance_weighs_each_prompt_of_each_picture():
    denoised, x = normal(3, 2, 4, 6, 5), normal(2, 4, 6, 5)
    weights = torch.tensor([[1.0, 0.5], [-2.0, 0.0]])
    out = composable_guidance(weights, 7.5)(denoised, x, 1.0)
    negative, first, second = denoised
    for i in range(2):
        pull = weights[0, i] * (first - negative)[i] + weights[1, i] * (second - negative)[i]
        torch.testing.assert_close(out[i], negative[i] + 7.5 * pull)


def test_one_prompt_of_weight_1_is_classifier_free_guidance():
    denoised, x = normal(2, 3, 4, 6, 5), normal(3, 4, 6, 5)
    composed = composable_guidance(torch.ones(1, 3), 7.5)(denoised, x, 1.0)
    assert composed.equal(cfg(7.5)(denoised, x, 1.0))


@pytest.mark.parametrize("sigma", [0.1, 1.0, 14.0])
def test_rescale_by_the_papers_equations_on_v(sigma):
    x, denoised = normal(2, 4, 6, 5), normal(2, 2, 4, 6, 5, seed=1)
    denoised[1] *= 3

    def v(denoised):
        return (x / (1 + sigma**2) - denoised) * (1 + sigma**2) ** 0.5 / sigma

    v_guided, v_plain = v(cfg(5)(denoised, x, sigma)), v(denoised[1])
    for phi in (0.0, 0.7, 1.0):
        out = guidance_rescale(cfg(5), unguided, phi)(denoised, x, sigma)
        ratio = v_plain.std((1, 2, 3), keepdim=True) / v_guided.std((1, 2, 3), keepdim=True)
        torch.testing.assert_close(v(out), phi * v_guided * ratio + (1 - phi) * v_guided)
    same = guidance_rescale(unguided, unguided, 1.0)(denoised, x, sigma)
    torch.testing.assert_close(same, denoised[1])


def test_guidance_in_an_interval():
    both = guidance_interval(lambda x, sigma: x + 1, lambda x, sigma: x - 1, 0.5, 2.0)
    x = torch.zeros(1)
    assert [both(x, sigma).item() for sigma in (0.1, 0.5, 0.6, 2.0, 2.1)] == [-1, -1, 1, 1, -1]
