"""The noise of every sampler under every profile is what it has always been, so that old
pictures can be made again.

Where this fails, people's seeds have changed their meaning. If that is meant, say so in the
changelog, and

    python tests/test_noise_golden.py > tests/data/noise.json
"""

import json
from pathlib import Path

import pytest
import torch

from ldm.compat.noise import NOISES, CompatNoise
from ldm.samplers import SAMPLERS, Noise, NoiseSchedule, scaled_linear_betas

PROFILES = ("default", *NOISES)
GOLDEN = Path(__file__).parent / "data/noise.json"


def noise_of(profile, sigmas, count):
    seeds = range(2**32 + 42, 2**32 + 42 + count)
    return Noise(seeds) if profile == "default" else CompatNoise(NOISES[profile], seeds, sigmas)


class Recording(Noise):
    """Passes another's noise on and keeps it."""

    def __init__(self, noise):
        self.noise, self.draws = noise, []

    def __call__(self, x):
        self.draws.append(self.noise(x))
        return self.draws[-1]

    def path(self, x, start, end):
        self.draws.append(self.noise.path(x, start, end))
        return self.draws[-1]


def fingerprint(draws):
    """Their number, and the sum of value k times exp(ik), real and imaginary: a value that changes
    by d, wherever it stands, moves the sum by d. The last bits depend on the machine."""
    values = torch.cat([draw.flatten() for draw in draws]).double()
    angles = torch.arange(len(values), dtype=torch.float64)
    return [
        len(draws),
        *(round((values * f(angles)).sum().item(), 5) for f in (torch.cos, torch.sin)),
    ]


def drawn(sampler, profile):
    """Everything that a sampler draws in six steps: the first noise, and its own. (Restart needs
    more steps.)"""
    sigmas = sampler.sigmas(NoiseSchedule(scaled_linear_betas()), 20 if sampler.own_levels else 6)
    x = torch.zeros(1 if sampler.adaptive else 2, 4, 8, 8)
    noise = Recording(noise_of(profile, sigmas, len(x)))
    for _ in sampler.run(lambda x, sigma: x / (1 + sigma**2), sigmas[0] * noise(x), sigmas, noise):
        pass
    return noise.draws


def measured():
    return {
        name: {profile: fingerprint(drawn(sampler, profile)) for profile in PROFILES}
        for name, sampler in SAMPLERS.items()
    }


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_what_it_always_drew(name):
    golden = json.loads(GOLDEN.read_text())
    assert name in golden, (
        f"the new sampler {name} has no fingerprint yet: see the top of this file"
    )
    for profile in PROFILES:
        made = fingerprint(drawn(SAMPLERS[name], profile))
        assert made == pytest.approx(golden[name][profile], abs=5e-4, rel=0), profile


def test_a_fingerprint_sees_one_thousandth_in_one_value_and_the_order_but_no_last_bit():
    draws = [torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    golden = pytest.approx(fingerprint(draws), abs=5e-4, rel=0)
    assert fingerprint([draws[0] * (1 + 1e-7), draws[1]]) == golden
    assert fingerprint(draws[::-1]) != golden
    assert fingerprint([torch.cat(draws)]) != golden
    for place in range(0, 512, 7):
        changed = draws[1].flatten().clone()
        changed[place] += 1e-3
        assert fingerprint([draws[0], changed]) != golden


@pytest.mark.parametrize("name", SAMPLERS)
def test_only_stochastic_samplers_draw_after_the_first_noise(name):
    assert (len(drawn(SAMPLERS[name], "default")) > 1) == SAMPLERS[name].stochastic


def test_every_profile_has_other_noise():
    prints = json.loads(GOLDEN.read_text())["dpmpp_sde"].values()
    assert len({tuple(one) for one in prints}) == len(prints) == len(PROFILES)


if __name__ == "__main__":
    rows = (f' "{name}": {json.dumps(prints)}' for name, prints in measured().items())
    print("{", ",\n".join(rows), "}", sep="\n")
