"""How other programs go from a request to a picture, so that theirs can be drawn again: PROFILES
has a row for each."""

import math
from dataclasses import replace

from ..samplers import Sampler
from .noise import NOISES
from .profile import Profile

__all__ = ["DEFAULT", "PROFILES", "PROFILE_NAMES", "Profile"]


def a1111_noise_scale(sampler: Sampler, schedule: str, sigma: float, sigma_max: float) -> float:
    """k-diffusion's samplers start from sigma alone, as for a clean latent of 0; those in training
    steps do not."""
    return math.sqrt(1 + sigma**2) if sampler.in_training_steps else sigma


def comfyui_noise_scale(sampler: Sampler, schedule: str, sigma: float, sigma_max: float) -> float:
    """Variance 1 only for a start at the model's greatest noise level."""
    at_top = sigma > sigma_max or math.isclose(sigma, sigma_max, rel_tol=1e-5)
    return math.sqrt(1 + sigma**2) if at_top else sigma


def diffusers_noise_scale(sampler: Sampler, schedule: str, sigma: float, sigma_max: float) -> float:
    """The schedulers that work in sigma start from sigma alone, but not with the spacing
    `leading`."""
    in_sigma = "diffusers" in sampler.starts_from_sigma and schedule != "leading"
    return sigma if in_sigma else math.sqrt(1 + sigma**2)


def diffusers_guess_scales(count: int) -> list[float]:
    """From 0.1 to 1, evenly in their logarithm."""
    return [10 ** (i / (count - 1) - 1) for i in range(count)]


def comfyui_clip_layer(clip_skip: int, own: int) -> int:
    """The layer itself, by its number: also one after a text encoder's own."""
    return -clip_skip


def diffusers_clip_layer(clip_skip: int, own: int) -> int:
    """So many layers before the one that is read without it."""
    return own + clip_skip


def truncated(steps: int, strength: float) -> int:
    return int(steps * strength)


def a1111_img2img_steps(steps: int, strength: float) -> int:
    """Strength 0.75 of 20 steps runs 16, and strength 0 runs 1."""
    return min(int(min(strength, 0.999) * steps) + 1, steps)


def a1111_hires_side(side: int, scale: float, factor: int) -> int:
    return int(side * scale) // factor * factor


def truncated_total(steps: int, strength: float) -> int:
    return int(steps / strength)


def a1111_total_steps(steps: int, strength: float) -> int:
    return int(steps / min(strength, 0.999))


DEFAULT = Profile()
A1111 = Profile(
    "a1111",
    program="a1111",
    noise=NOISES["a1111"],
    initial_noise_scale=a1111_noise_scale,
    from_noise=(),
    blends_inpainting=True,
    schedules={"beta": "beta_sigma", "turbo": "trailing"},  # Turbo is Forge's
    empty_negative="zeros",
    repeat_chunks=True,
    calls_count=True,
    img2img_steps=a1111_img2img_steps,
    total_steps=a1111_total_steps,
    full_steps_hires=True,
    hires_side=a1111_hires_side,
    slerp_dims=(2,),
    truncate=True,
)
A1111_CPU = replace(A1111, name="a1111_cpu", noise=NOISES["a1111_cpu"])  # its setting "RNG: CPU"
COMFYUI = Profile(
    "comfyui",
    program="comfyui",
    noise=NOISES["comfyui"],
    initial_noise_scale=comfyui_noise_scale,
    full_noise_img2img=True,
    from_noise=("instruction",),
    blends_inpainting=True,
    round_t=True,
    prompt_syntax="comfyui",
    empty_negative="encoded",
    clip_layer=comfyui_clip_layer,
    repeat_chunks=True,
    img2img_steps=truncated,
    total_steps=truncated_total,
    full_steps=True,
    truncate=True,
)
DIFFUSERS = Profile(
    "diffusers",
    program="diffusers",
    noise=NOISES["diffusers"],
    initial_noise_scale=diffusers_noise_scale,
    from_noise=("inpainting", "instruction"),
    linear_sigma=True,
    schedules={"beta": "beta_sigma"},
    prompt_syntax="off",
    cuts_prompts=True,
    img2img_steps=truncated,
    clip_layer=diffusers_clip_layer,
    skips_negatives=False,
    guess_scales=diffusers_guess_scales,
    unguided_to=1.0,
)
COMPVIS = Profile(
    "compvis",
    program="compvis",
    noise=NOISES["compvis"],
    prompt_syntax="off",
    cuts_prompts=True,
    img2img_steps=truncated,
    noise_one_above=True,
    one_stream=True,
    truncate=True,
)
PROFILES: dict[str | None, Profile] = {
    profile.name: profile for profile in (DEFAULT, A1111, A1111_CPU, COMFYUI, DIFFUSERS, COMPVIS)
}
PROFILE_NAMES = tuple(name for name in PROFILES if name is not None)
