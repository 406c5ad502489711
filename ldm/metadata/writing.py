"""What the file of a picture keeps of its making: the request as JSON, and the text of
AUTOMATIC1111's web UI, see `infotext`."""

import json
from collections.abc import Mapping
from pathlib import PurePath

from ..request import Request
from ..request.additions import FOLDERS, TAGS
from ..samplers.registry import SAMPLERS
from .added import by_names, tagged

SCHEDULES = {  # what the web UI calls a schedule, where it is not the same word with a capital
    "sgm_uniform": "SGM Uniform",
    "kl_optimal": "KL Optimal",
    "align_your_steps": "Align Your Steps",
    "leading": "DDIM",
    "ddim_uniform": "DDIM",
}
NEGATIVE = "Negative prompt:"
About = str | Mapping[str, str]  # a model's name; or that and hashes, by the web UI's names
UPSCALERS = {"latent": "Latent", "pixels": "Lanczos"}


def texts(request: Request, model: About) -> dict[str, str]:
    """The texts by their names in the file. request: a resolved one; model: see `About`."""
    if any(getattr(request, name) for name in (*TAGS, *FOLDERS)):
        request = by_names(request)
    return {"parameters": write(request, model), "ldm": request.to_json()}


def write(request: Request, model: About | None = None) -> str:
    """The text for the picture of a resolved request, or for the first of them: what the web UI can
    say of it, in the order of its `create_infotext`. model: see `About`."""
    first = 0 if request.only is None else request.only
    said = [(key, value) for key, value in settings(request, model).items() if value is not None]
    line = ", ".join(f"{key}: {quoted(value)}" for key, value in said)
    prompt, negative = list(zip(request.prompts, request.negatives))[first % len(request.prompts)]
    if any(getattr(request, name) for name in TAGS):
        prompt = tagged(prompt, request)
    return "\n".join([prompt, *([f"{NEGATIVE} {negative}"] if negative else []), line])


def settings(request: Request, model: About | None) -> dict[str, str | float | None]:
    """The settings by the web UI's names; None is left out."""
    hires, sampler, schedule = request.hires is not None, request.sampler, request.schedule
    masked, varied = request.mask is not None, request.subseed_strength > 0
    upscaler = request.hires_upscaler or "latent"
    upscaler = UPSCALERS.get(upscaler) or PurePath(upscaler).stem
    only_masked, refiner = request.inpaint_only_masked, request.refiner
    return {
        "Steps": request.steps,
        "Sampler": None if sampler is None else SAMPLERS[sampler].label,
        "Schedule type": schedule and SCHEDULES.get(schedule, schedule.capitalize()),
        "CFG scale": request.guidance_scale,
        "Image CFG scale": request.image_guidance_scale,
        "Seed": request.seed,
        "Size": sides((request.width, request.height)),
        **({"Model": model} if model is None or isinstance(model, str) else model),
        "Variation seed": request.subseed if varied else None,
        "Variation seed strength": request.subseed_strength if varied else None,
        "Seed resize from": sides(request.seed_resize_from),
        "Denoising strength": request.hires_strength if hires else request.strength,
        "Clip skip": None if request.clip_skip == 1 else request.clip_skip,
        "RNG": "CPU" if request.compat in (None, "a1111_cpu") else None,
        "ENSD": request.ensd or None,
        "Tiling": True if request.seamless == "xy" else None,
        "Hires upscale": request.hires,
        "Hires steps": request.hires_steps if hires else None,
        "Hires upscaler": upscaler if hires else None,
        "Mask blur": request.mask_blur if masked else None,
        "Inpaint area": "Only masked" if only_masked else None,
        "Masked area padding": request.masked_padding if only_masked else None,
        "Emphasis": "None" if request.prompt_syntax == "off" else None,
        "Eta DDIM" if sampler == "ddim" else "Eta": request.eta,
        "Sigma churn": request.s_churn,
        "Sigma tmin": request.s_tmin,
        "Sigma tmax": request.s_tmax,
        "Sigma noise": request.s_noise,
        "Refiner": refiner and PurePath(refiner).stem,
        "Refiner switch at": refiner and request.refiner_start,
        "Noise Schedule": "Zero Terminal SNR" if request.zero_snr else None,
    }


def sides(size: tuple[int | None, int | None] | None) -> str | None:
    return None if size is None or None in size else f"{size[0]}x{size[1]}"


def quoted(value: str | float) -> str:
    """A value in that line: as JSON if the line could not be split again otherwise."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",\n:") else text
