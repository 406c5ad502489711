"""What CompVis's scripts call DPM-Solver."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from .denoiser import Denoiser
from .dpmpp import dpmpp_2m
from .noise import Noise
from .registry import Step, sampler

PROGRAMS = ("", "a1111", "comfyui", "diffusers", "compvis")  # "": this library itself


@sampler(
    order=2,
    label="DPM-Solver",
    schedule="sgm_uniform",
    in_training_steps=True,
    ends_at_sigma_min=PROGRAMS,
)
def dpm_solver(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise
) -> Iterator[Step]:
    """What CompVis's --dpm_solver stands for: `dpmpp_2m` on training steps T - 1, T - 1 - c, ...,
    fractions kept, whose last step leads to the first training step's noise, not to 0."""
    return dpmpp_2m(denoise, x, sigmas, noise)
