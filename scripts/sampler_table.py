"""Write ldm/samplers/README.md: every sampler on every schedule, measured where the answer is
known.

    python scripts/sampler_table.py

The data are one Gaussian N(MU, 1). For them the exact denoiser and the end of the probability flow
are

    D(x, sigma) = MU + (x - MU) / (1 + sigma^2)          x(0) = MU + (x - MU) / sqrt(1 + sigma^2)
"""

import argparse
import inspect
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldm.models.families import FAMILIES
from ldm.models.few_steps import FEW_STEPS
from ldm.samplers import SAMPLERS, SCHEDULES, Noise, NoiseSchedule, Sampler, scaled_linear_betas
from ldm.samplers.schedule import karras_ramp

README = Path(__file__).parent.parent / "ldm/samplers/README.md"
MU, STEPS = 0.7, 20
SCHEDULE = NoiseSchedule(scaled_linear_betas())

DIFFUSERS = {  # held by tests/reference/test_samplers.py
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "dpm2": "KDPM2DiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "dpmpp_2m_sde": "DPMSolverMultistepScheduler, sde-dpmsolver++",
    "dpmpp_2m_sde_heun": "the same, solver_type heun",
    "dpmpp_3m_sde": "DPMSolverMultistepScheduler of order 3, for eta 0",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lcm": "LCMScheduler",
    "deis": "DEISMultistepScheduler, but for the last step",
    "plms": "PNDMScheduler",
    "tcd": "TCDScheduler",
    "unipc": "UniPCMultistepScheduler bh1, but for the last step",
    "unipc_bh2": "UniPCMultistepScheduler bh2",
}

K_DIFFUSION = {
    "dpm2": "sample_dpm_2",
    "dpm2_ancestral": "sample_dpm_2_ancestral",
    "dpm_adaptive": "sample_dpm_adaptive",
    "dpm_fast": "sample_dpm_fast",
    "dpmpp_2m": "sample_dpmpp_2m",
    "dpmpp_2m_sde": "sample_dpmpp_2m_sde",
    "dpmpp_2m_sde_heun": "the same, solver_type heun",
    "dpmpp_2s_ancestral": "sample_dpmpp_2s_ancestral",
    "dpmpp_3m_sde": "sample_dpmpp_3m_sde",
    "dpmpp_sde": "sample_dpmpp_sde",
    "euler": "sample_euler",
    "euler_ancestral": "sample_euler_ancestral",
    "heun": "sample_heun",
    "lms": "sample_lms",
}

PAGE = """# Every sampler on every schedule

Measured by `scripts/sampler_table.py`, which writes this page; a test measures again and compares.
The data are a single Gaussian of variance 1, for which the exact denoiser and the exact end point
are known, so that what is seen is the error of the method alone.

## Samplers

- *order*: the error falls as steps^-order. Measured between 96 and 192 steps, with every random
  part switched off.
- *variance*: of the pictures after {steps} steps that draw noise; 1 is right. It is computed
  exactly, from the share that each draw has in the result.
- *calls*: of the model, in {steps} steps.
- *diffusers*: the scheduler that does the same on the same sigmas, to 1e-4 on a nonlinear denoiser;
  a test holds it so.
- *k-diffusion*: the function of its release 0.1.1 that does the same, in float64, with equal noise,
  on every schedule, at 5 and at 12 steps, to 1e-10; a test holds it so where k-diffusion is
  installed. `dpm_fast` and `dpm_adaptive`, whose sigmas are float32 there, were compared once, on
  Karras's sigmas: to 1e-4.

{samplers}

`dpm_adaptive` chooses its own steps, to a tolerance; `ddpm` is `ddim` with eta 1; `lcm` and `tcd`
are for models whose denoiser jumps along the flow: the variance of `lcm` is that of an exact one,
the variance of `tcd`, and its error, those of the expected clean latent, for which it is not made.

## Models of few steps

They are told by a layer (a full LCM U-Net), by the title in their file's header, or by its name;
`ldm inspect` and the command say what was found. What is asked for goes before their defaults, and
`--family sdxl` before all of them.

| model | sampler | schedule | training steps of 4 steps | steps, guidance scale |
|---|---|---|---|---|
{few}

A guidance scale of 1 is none: one branch is computed. The makers write 0 for that, as diffusers
takes all scales up to 1 for none; so does `--compat diffusers`, and nothing else. Into a full LCM
U-Net guidance was distilled: it is told the scale, in a single branch, and reads no negative
prompt; of a picture all of its steps are within the strength. Lightning's model of one step
predicts the clean latent (`x0`); single steps of `dmd2` and `hyper_sd` are at t = 399 and 800. For
Turbo diffusers has `trailing`, 999 749 499 249: `--schedule trailing`. `eta` of `tcd` is 0.3; in
diffusers' pipelines, where it is called the same, it is 0 unless it is given.

## The error that {steps} steps leave

In standard deviations of the data, with every random part switched off; `ddpm` and `lcm` are
nothing without theirs, so that they only run. Lists of `leading` and DDIM's begin below the highest
noise level, which is no error here. `normal` is `uniform` under ComfyUI's name; `beta_sigma` is
what AUTOMATIC1111's web UI and diffusers call `beta`.

{errors}
"""


def gaussian(x: Tensor, sigma: float) -> Tensor:
    return MU + (x - MU) / (1 + sigma**2)


def quiet(sampler: Sampler) -> dict[str, Any]:
    """The options that switch the random part off."""
    if sampler.name == "restart":
        return {"restarts": []}
    return {"eta": 0.0} if "eta" in inspect.signature(sampler.run).parameters else {}


def end(sampler: Sampler, sigmas: list[float], stop: int = -1) -> float:
    """How far the step at index `stop` is from the flow that starts one standard deviation above
    the mean."""
    start = torch.full((1, 1, 1, 1), MU + math.hypot(1, sigmas[0]), dtype=torch.float64)
    step = list(sampler.run(gaussian, start, sigmas, Noise([0]), **quiet(sampler)))[stop]
    return abs(step.x.item() - MU - math.hypot(1, step.sigma))


def order(sampler: Sampler) -> float:
    """Measured at sigma 0.2, since the last step, to 0, is of order 1 in most methods."""
    errors = [
        end(sampler, [*karras_ramp(1.0, 0.2, n + 1, rho=3.0), 0.0], stop=-2) for n in (96, 192)
    ]
    return math.log2(errors[0] / errors[1])


class Pieces(Noise):
    """Picture k of a batch hears the k-th of the independent pieces of all noise, and picture 0
    hears none.

    Draws are pieces, and of a Brownian path the stretches between `cuts`. The denoiser of a
    Gaussian around 0 is linear, so the squares of where the pictures end add up to the variance.
    """

    def __init__(self, cuts: list[float]) -> None:
        self.stretches, self.drawn = list(pairwise(cuts)), 0

    def __call__(self, x: Tensor) -> Tensor:
        self.drawn += 1
        return (torch.arange(len(x)) == self.drawn).to(x)[:, None, None, None]

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        inside = [start * 1.0001 > a and b > end * 0.9999 for a, b in self.stretches]
        shares = [
            (a - b) / (start - end) * within for (a, b), within in zip(self.stretches, inside)
        ]
        none = [0.0] * (len(x) - 1 - len(shares))
        return torch.tensor([0.0, *shares, *none], dtype=x.dtype).sqrt()[:, None, None, None]


def variance(sampler: Sampler) -> float:
    sigmas = sampler.sigmas(SCHEDULE, STEPS)
    middles = [math.sqrt(a * b) for a, b in pairwise(sigmas[:-1])]  # where dpmpp_sde cuts its steps
    x = torch.zeros(2 * STEPS, 1, 1, 1, dtype=torch.float64)
    x[0] = math.hypot(1, sigmas[0])

    def denoise(x: Tensor, sigma: float) -> Tensor:
        """Around 0; for lcm the end of the flow, which is what a consistency model has learnt."""
        return x / math.hypot(1, sigma) if sampler.name == "lcm" else x / (1 + sigma**2)

    *_, last = sampler.run(denoise, x, sigmas, Pieces(sorted(sigmas[:-1] + middles, reverse=True)))
    return last.x.square().sum().item()


def calls(sampler: Sampler) -> int:
    made = []

    def counting(x: Tensor, sigma: float) -> Tensor:
        made.append(sigma)
        return gaussian(x, sigma)

    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    list(sampler.run(counting, x, sampler.sigmas(SCHEDULE, STEPS), Noise([0])))
    return len(made)


def table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def few_steps() -> list[str]:
    """A row of the table of models of few steps for each family and method."""
    distilled = [family for family in FAMILIES.values() if family.distilled]
    named = [row.of(FAMILIES[row.bases[0]]) for row in FEW_STEPS]
    names = [family.name for family in distilled] + [row.name for row in FEW_STEPS]
    rows = []
    for name, family in zip(names, distilled + named):
        sigmas = SCHEDULES[family.schedule](SCHEDULE, 4)[:-1]
        times = " ".join(str(round(t)) for t in SCHEDULE.timesteps(sigmas))
        usage = f"{family.steps}, {family.guidance_scale:g}"
        rows.append(f"| {name} | `{family.sampler}` | `{family.schedule}` | {times} | {usage} |")
    return rows


def page() -> str:
    head = (
        "sampler",
        "in the web UIs",
        "automatic schedule",
        "order",
        "measured",
        "variance",
        "calls",
    )
    samplers = [[*head, "diffusers", "k-diffusion"]]
    for sampler in SAMPLERS.values():
        fixed = sampler.order is not None and not sampler.adaptive and sampler.name != "ddpm"
        samplers.append(
            [
                f"`{sampler.name}`",
                sampler.label,
                sampler.schedule,
                "" if sampler.order is None else str(sampler.order),
                f"{order(sampler):.2f}" if fixed else "",
                f"{variance(sampler):.3f}" if sampler.stochastic else "",
                str(calls(sampler)),
                DIFFUSERS.get(sampler.name, ""),
                K_DIFFUSION.get(sampler.name, ""),
            ]
        )
    names = [name for name in SCHEDULES if name != "normal"]
    errors = [["", *names]]
    for sampler in SAMPLERS.values():
        ends = [end(sampler, sampler.sigmas(SCHEDULE, STEPS, name)) for name in names]
        random = sampler.name in ("ddpm", "lcm")
        errors.append(
            [f"`{sampler.name}`", *("runs" if random else f"{error:.1e}" for error in ends)]
        )
    rows = "\n".join(few_steps())
    return PAGE.format(steps=STEPS, samplers=table(samplers), errors=table(errors), few=rows)


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    README.write_text(page(), encoding="utf-8")
    print(README)
