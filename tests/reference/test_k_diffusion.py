"""Samplers against k-diffusion's functions, on every schedule, with equal noise, in float64.

k-diffusion asks for much that its samplers have no use for. To run this, install them alone:

    pip install scipy torchdiffeq && pip install --no-deps k-diffusion==0.1.1 torchsde trampoline
"""

import inspect
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

from ldm.samplers import SAMPLERS, SCHEDULES, Noise, NoiseSchedule, scaled_linear_betas

FOUND = find_spec("k_diffusion")
if FOUND is None:
    pytest.skip("k-diffusion is not installed", allow_module_level=True)

FUNCTIONS = {
    "euler": "sample_euler",
    "euler_ancestral": "sample_euler_ancestral",
    "heun": "sample_heun",
    "dpm2": "sample_dpm_2",
    "dpm2_ancestral": "sample_dpm_2_ancestral",
    "lms": "sample_lms",
    "dpmpp_2s_ancestral": "sample_dpmpp_2s_ancestral",
    "dpmpp_sde": "sample_dpmpp_sde",
    "dpmpp_2m": "sample_dpmpp_2m",
    "dpmpp_2m_sde": "sample_dpmpp_2m_sde",
    "dpmpp_2m_sde_heun": "sample_dpmpp_2m_sde",
    "dpmpp_3m_sde": "sample_dpmpp_3m_sde",
}
SCHEDULE = NoiseSchedule(scaled_linear_betas())


@pytest.fixture(scope="module")
def theirs(monkeypatch_module):
    """Its samplers, without the rest of the package, which would want torchvision and more."""
    package, utils = ModuleType("k_diffusion"), ModuleType("k_diffusion.utils")
    package.__path__ = FOUND.submodule_search_locations
    package.utils = utils
    utils.append_dims = lambda x, dims: x.reshape(x.shape + (1,) * (dims - x.ndim))
    for module in (package, utils):
        monkeypatch_module.setitem(sys.modules, module.__name__, module)
    return import_module("k_diffusion.sampling")


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def denoise(x, sigma):
    return torch.tanh(x / (1 + sigma**2) + 0.3 * x.mean().sin())


class Known(Noise):
    """Noise that is told by nothing but where it is added."""

    def __call__(self, x):
        return torch.linspace(-2, 2, x.numel(), dtype=x.dtype).reshape(x.shape)

    def path(self, x, start, end):
        return self(x) * torch.sin(torch.tensor(start + 2 * end, dtype=x.dtype))


@pytest.mark.parametrize("steps", [5, 12])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_methods(theirs, name, schedule, steps):
    noise, run = Known([0]), getattr(theirs, FUNCTIONS[name])
    sigmas = SAMPLERS[name].sigmas(SCHEDULE, steps, schedule)
    x = sigmas[0] * torch.randn(
        1, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    *_, last = SAMPLERS[name].run(denoise, x, sigmas, noise)

    along = "ancestral" not in name  # a path

    def sampled(sigma, following):
        return noise.path(x, float(sigma), float(following)) if along else noise(x)

    known = {
        "noise_sampler": sampled,
        "solver_type": "heun" if name.endswith("heun") else "midpoint",
    }
    options = {
        key: value for key, value in known.items() if key in inspect.signature(run).parameters
    }
    levels = torch.tensor(sigmas, dtype=torch.float64)
    expected = run(lambda x, sigma: denoise(x, float(sigma[0])), x, levels, disable=True, **options)
    torch.testing.assert_close(last.x, expected, rtol=0, atol=1e-10)
