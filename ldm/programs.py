"""How other programs go from a request to a picture, so that theirs can be drawn again: PROGRAMS has a row for each.

The pipeline reads the fields of a row, and never asks which program it is.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from .clip.conditioning import Emphasis
from .samplers import SAMPLERS, Noise, Sampler
from .samplers.compat import NOISES, Convention, ForeignNoise

Start = Callable[[str, str, float, float], float]  # sampler, schedule, first sigma, sigma_max -> factor
Share = Callable[[int, float], int]  # steps, strength -> steps


@dataclass(frozen=True)
class Program:
    """noise      where its noise comes from; None: from this library's `Noise`
    start      what the first noise is multiplied with, where there is no picture to start from
    linear     whether sigma is linear between training steps, see `NoiseSchedule`
    whole_t    whether the network only sees whole training steps, see `NoiseSchedule`
    emphasis   whose grammar a prompt is in, where the request does not say
    share      of so many steps, how many run on a picture, at this strength
    whole      how many steps must be asked for so that as many run as are wanted: where `exact_steps` is set
    exact      whether it is as good as set always
    again      whether it is in the second pass of hires
    truncate   whether 8 bits are made by cutting off the fraction; else by rounding
    repeats    whether prompts of unlike lengths are as good as read apart, see `encode_prompts`
    circle     along which dimensions of the noise a variation goes, see `slerp`
    anew       whether `start` also holds where there is a picture, to which the noise is added
    noisy      samplers whose last step leads to the noise of the first training step, where others go to 0
    discard    samplers whose levels lack the next-to-last; None: as the samplers themselves say
    draws      of the noise for a batch that goes on with the last one's stream: sampler, steps -> how many that made
    schedules  what "automatic" means for a sampler, where it is not the sampler's own
    twice      samplers in each of whose steps prompts can change twice: where changes go by the calls of the network,
               counted from 0, and by all the steps asked for; None: they go by the steps that run, counted from 1
    """

    noise: Convention | None
    start: Start
    linear: bool
    emphasis: Emphasis
    share: Share
    whole: Share
    exact: bool
    truncate: bool
    whole_t: bool = False
    again: bool = False
    repeats: bool = False
    circle: tuple[int, ...] = (1, 2, 3)
    anew: bool = False
    noisy: Collection[str] = ()
    discard: Collection[str] | None = None
    draws: Callable[[str, int], int] | None = None
    schedules: Mapping[str, str] = field(default_factory=dict)
    twice: Collection[str] | None = None

    def noises(
        self,
        seeds: Sequence[int],
        sigmas: Sequence[float],
        dtype: torch.dtype = torch.float32,
        skip: int = 0,
        shift: int = 0,
    ) -> Noise:
        """The noise of pictures with these seeds, on the way down these levels. Others: see `ForeignNoise`."""
        return Noise(seeds) if self.noise is None else ForeignNoise(self.noise, seeds, sigmas, dtype, skip, shift)

    def sampler(self, name: str) -> Sampler:
        """The sampler as this program has it."""
        own = SAMPLERS[name]
        return own if self.discard is None else replace(own, discard=name in self.discard)

    def changes(self, sampler: str, asked: int, run: int) -> int:
        """How many times a prompt can change, when so many steps were asked for, and so many run."""
        return run if self.twice is None else asked * (2 if sampler in self.twice else 1)

    def change(self, step: int, call: int) -> int:
        """Which of these it is in a step, counted from 1, at a call of the network, counted from 0."""
        return step if self.twice is None else call

    @property
    def alone(self) -> bool:
        """Whether a picture has its noise to itself; else it is a part of its batch's."""
        return self.noise is None or self.noise.alone


def full_variance(sampler: str, schedule: str, sigma: float, top: float) -> float:
    """As for a clean latent of variance 1: what the network sees is standard normal."""
    return math.sqrt(1 + sigma**2)


def a1111_start(sampler: str, schedule: str, sigma: float, top: float) -> float:
    """k-diffusion's samplers start from sigma alone, as for a clean latent of 0; those in training steps do not."""
    return full_variance(sampler, schedule, sigma, top) if sampler in IN_TRAINING_STEPS else sigma


def comfyui_start(sampler: str, schedule: str, sigma: float, top: float) -> float:
    """Variance 1 only for a start at the model's greatest noise level."""
    at_top = sigma > top or math.isclose(sigma, top, rel_tol=1e-5)
    return full_variance(sampler, schedule, sigma, top) if at_top else sigma


def diffusers_start(sampler: str, schedule: str, sigma: float, top: float) -> float:
    """The schedulers that work in sigma start from sigma alone, but not with the spacing `leading`."""
    in_sigma = sampler in DIFFUSERS_IN_SIGMA and schedule != "leading"
    return sigma if in_sigma else full_variance(sampler, schedule, sigma, top)


def compvis_draws(sampler: str, steps: int) -> int:
    """The first noise; and, though nothing is added without eta, one in each step, PLMS's first having two."""
    in_steps = {"ddim": steps, "plms": steps + 1}
    return 1 + in_steps.get(sampler, 0)


IN_TRAINING_STEPS = ("ddim", "ddpm", "plms", "unipc", "unipc_bh2")
DIFFUSERS_IN_SIGMA = ("euler", "euler_ancestral", "heun", "lms", "dpm2", "dpm2_ancestral", "dpmpp_sde")
DIFFUSERS_SOLVERS = ("dpmpp_2m", "dpmpp_2m_sde", "unipc", "unipc_bh2", "deis")  # not near the first training step


def rounded(steps: int, strength: float) -> int:
    return round(steps * strength)


def truncated(steps: int, strength: float) -> int:
    return int(steps * strength)


def one_more(steps: int, strength: float) -> int:
    """A1111's: strength 0.75 of 20 steps runs 16, and strength 0 runs 1."""
    return min(int(min(strength, 0.999) * steps) + 1, steps)


OURS = Program(
    noise=None,
    start=full_variance,
    linear=False,
    emphasis="a1111",
    share=rounded,
    whole=lambda steps, strength: round(steps / strength),
    exact=False,
    truncate=False,
)
A1111 = Program(
    noise=NOISES["a1111"],
    start=a1111_start,
    linear=False,
    emphasis="a1111",
    share=one_more,
    whole=lambda steps, strength: int(steps / min(strength, 0.999)),
    exact=False,
    truncate=True,
    again=True,
    repeats=True,
    circle=(2,),
    noisy=("ddim", "plms"),
    schedules=dict.fromkeys(IN_TRAINING_STEPS, "ddim_clipped"),
    twice=("dpm2", "dpm2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "heun", "restart"),
)
PROGRAMS: dict[str | None, Program] = {
    None: OURS,
    "a1111": A1111,
    "a1111_cpu": replace(A1111, noise=NOISES["a1111_cpu"]),  # with its setting "RNG: CPU"
    "comfyui": Program(
        noise=NOISES["comfyui"],
        start=comfyui_start,
        linear=False,
        emphasis="comfyui",
        share=truncated,
        whole=lambda steps, strength: int(steps / strength),
        exact=True,
        truncate=True,
        whole_t=True,
        repeats=True,
        anew=True,
        discard=("dpm2", "dpm2_ancestral", "unipc", "unipc_bh2"),
    ),
    "diffusers": Program(
        noise=NOISES["diffusers"],
        start=diffusers_start,
        linear=True,
        emphasis="off",
        share=truncated,
        whole=OURS.whole,
        exact=False,
        truncate=False,
        noisy=("ddim", "plms"),
        schedules={
            **dict.fromkeys(DIFFUSERS_IN_SIGMA, "uniform"),
            **dict.fromkeys(DIFFUSERS_SOLVERS, "sgm_linspace"),
        },
    ),
    "compvis": Program(
        noise=NOISES["compvis"],
        start=full_variance,
        linear=False,
        emphasis="off",
        share=truncated,
        whole=OURS.whole,
        exact=False,
        truncate=True,
        noisy=("ddim", "plms"),
        draws=compvis_draws,
        schedules=dict.fromkeys(("ddim", "plms"), "ddim_uniform"),
    ),
}
WORDS = tuple(word for word in PROGRAMS if word is not None)
