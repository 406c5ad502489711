"""From noise to a latent: noise schedules, denoisers, and the methods that lead from one to the
other. Importing the modules of the methods enters them into SAMPLERS, and the lists of noise levels
into SCHEDULES."""

from . import spacings  # isort: skip  # its lists stand before the others in SCHEDULES
from . import (
    beta,
    ddim,
    dpm,
    dpm_solver,
    dpmpp,
    dpmpp_sde,
    euler,
    few_steps,
    heun,
    lcm,
    lms,
    restart,
    tcd,
    timesteps,
    unipc,
)
from .combinations import composable_guidance
from .ddim import ddim_inversion
from .denoiser import Denoiser, ModelDenoiser, Network
from .guidance import Combine, Guided, cfg, unguided
from .noise import Noise
from .registry import SAMPLERS, Sampler, Step, sampler
from .schedule import SCHEDULES, NoiseSchedule, scaled_linear_betas
from .zero_snr import zero_terminal_snr

__all__ = ["SAMPLERS", "SCHEDULES", "Combine", "Denoiser", "Guided", "ModelDenoiser"]
__all__ += ["Network", "Noise", "NoiseSchedule", "Sampler", "Step"]
__all__ += [
    "cfg",
    "composable_guidance",
    "ddim_inversion",
    "sampler",
    "scaled_linear_betas",
    "unguided",
    "zero_terminal_snr",
]
__all__ += [
    "beta",
    "ddim",
    "dpm",
    "dpm_solver",
    "dpmpp",
    "dpmpp_sde",
    "euler",
    "few_steps",
    "heun",
    "lcm",
    "lms",
    "restart",
    "spacings",
    "tcd",
    "timesteps",
    "unipc",
]
