"""From noise to a latent: noise schedules, denoisers, and the methods that lead from one to the other."""

from . import ddim, dpm, dpmpp, euler, heun, lcm, lms, restart, unipc  # each enters its samplers into the table
from .ddim import ddim_inversion
from .denoiser import Denoiser, ModelDenoiser, composed, guided, recorded
from .noise import Noise
from .registry import SAMPLERS, Sampler, Step
from .schedule import NoiseSchedule, scaled_linear_betas, zero_terminal_snr
from .sigmas import SCHEDULES

__all__ = [
    "SAMPLERS",
    "SCHEDULES",
    "Denoiser",
    "ModelDenoiser",
    "Noise",
    "NoiseSchedule",
    "Sampler",
    "Step",
    "composed",
    "ddim",
    "ddim_inversion",
    "dpm",
    "dpmpp",
    "euler",
    "guided",
    "heun",
    "lcm",
    "lms",
    "recorded",
    "restart",
    "scaled_linear_betas",
    "unipc",
    "zero_terminal_snr",
]
