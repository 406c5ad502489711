"""The noise of every sampler under every convention is what it has always been, so that old pictures can be made again.

Where this fails, people's seeds have changed their meaning. If that is meant, say so in the changelog, and

    python tests/test_noise_golden.py > tests/data/noise.json
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from ldm.samplers import SAMPLERS, Noise, NoiseSchedule, scaled_linear_betas
from ldm.samplers.compat import NOISES, ForeignNoise

WORDS = ("default", *NOISES)
GOLDEN = Path(__file__).parent / "data/noise.json"


def noise_of(word, sigmas, count):
    seeds = range(2**32 + 42, 2**32 + 42 + count)
    return Noise(seeds) if word == "default" else ForeignNoise(NOISES[word], seeds, sigmas)


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
    """Of three decimals: the last bits depend on the machine."""
    thousandths = torch.cat([draw.flatten() for draw in draws]).mul(1000).round().to(torch.int32)
    return hashlib.sha256(thousandths.numpy().tobytes()).hexdigest()[:16]


def drawn(sampler, word):
    """Everything that a sampler draws in six steps: the first noise, and its own. (Restart needs more steps.)"""
    sigmas = sampler.sigmas(NoiseSchedule(scaled_linear_betas()), 20 if sampler.own_levels else 6)
    x = torch.zeros(1 if sampler.adaptive else 2, 4, 8, 8)
    noise = Recording(noise_of(word, sigmas, len(x)))
    for _ in sampler.run(lambda x, sigma: x / (1 + sigma**2), sigmas[0] * noise(x), sigmas, noise):
        pass
    return noise.draws


def measured():
    return {name: {word: fingerprint(drawn(sampler, word)) for word in WORDS} for name, sampler in SAMPLERS.items()}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_what_it_always_drew(name):
    golden = json.loads(GOLDEN.read_text())
    assert name in golden, f"the new sampler {name} has no fingerprint yet: see the top of this file"
    assert {word: fingerprint(drawn(SAMPLERS[name], word)) for word in WORDS} == golden[name]


@pytest.mark.parametrize("name", SAMPLERS)
def test_only_stochastic_samplers_draw_after_the_first_noise(name):
    assert (len(drawn(SAMPLERS[name], "default")) > 1) == SAMPLERS[name].stochastic


def test_every_convention_is_another():
    conventions = list(json.loads(GOLDEN.read_text())["dpmpp_sde"].values())
    assert len(set(conventions)) == len(conventions) == len(WORDS)


if __name__ == "__main__":
    print(json.dumps(measured(), indent=1))
