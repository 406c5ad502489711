"""From noise to a latent: noise schedules, denoisers, and the methods that lead from one to the other."""

from .ddim import ddim
from .denoiser import Denoiser, ModelDenoiser, guided
from .dpmpp import dpmpp_2m, dpmpp_2m_sde, dpmpp_sde
from .euler import euler, euler_ancestral
from .heun import heun
from .noise import Noise
from .registry import SAMPLERS, Sampler, Step
from .schedule import SCHEDULES, NoiseSchedule, scaled_linear_betas

__all__ = [
    "SAMPLERS",
    "SCHEDULES",
    "Denoiser",
    "ModelDenoiser",
    "Noise",
    "NoiseSchedule",
    "Sampler",
    "Step",
    "ddim",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_sde",
    "euler",
    "euler_ancestral",
    "guided",
    "heun",
    "scaled_linear_betas",
]
