"""The text of AUTOMATIC1111's web UI, which its descendants, stable-diffusion.cpp and Civitai write too:

    a lighthouse at dusk
    Negative prompt: blurry
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x512, Version: v1.9.3

Until version 1.9 the schedule was the end of the sampler's name, "DPM++ 2M Karras", and no such end meant uniform.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..request import Request
from ..samplers import SAMPLERS
from ..samplers.names import method_named, schedule_named
from .origin import Origin, understood

Reader = Callable[[str], dict[str, Any] | None]  # a value -> fields of a request; None: they cannot say it

PAIR = re.compile(r'\s*(\w[\w /-]+):\s*("(?:[^"\\]|\\.)*"|[^,]*)(?:,|$)')


def number(field: str, kind: type) -> Reader:
    return lambda text: {field: kind(text)}


def size(width: str, height: str) -> Reader:
    def read(text: str) -> dict[str, Any]:
        first, _, second = text.partition("x")
        return {width: int(first), height: int(second)}

    return read


def word(field: str, meanings: Mapping[str, Any]) -> Reader:
    return lambda text: {field: meanings[text]} if text in meanings else None


READERS: dict[str, Reader] = {
    "Steps": number("steps", int),
    "CFG scale": number("scale", float),
    "Seed": number("seed", int),
    "Size": size("width", "height"),
    "Clip skip": number("clip_skip", int),
    "Eta": number("eta", float),
    "Eta DDIM": number("eta", float),
    "Sigma churn": number("s_churn", float),
    "Sigma tmin": number("s_tmin", float),
    "Sigma tmax": number("s_tmax", float),
    "Sigma noise": number("s_noise", float),
    "Denoising strength": number("strength", float),
    "Variation seed": number("variation_seed", int),
    "Variation seed strength": number("variation", float),
    "Seed resize from": size("noise_width", "noise_height"),
    "ENSD": number("ensd", int),
    "Tiling": word("seamless", {"True": "xy", "False": None}),
    "Noise Schedule": word("zero_snr", {"Default": False, "Zero Terminal SNR": True}),
    "Emphasis": word("emphasis", {"Original": "a1111", "None": "off"}),
    "RNG": word("compat", {"GPU": "a1111", "NV": "a1111", "CPU": "a1111_cpu", "cuda": "a1111", "cpu": "a1111_cpu"}),
    "Hires upscale": number("hires", float),
    "Hires steps": number("hires_steps", int),
    "Hires upscaler": word("hires_pixels", {"Latent": False, "Lanczos": True}),
    "Mask blur": number("mask_blur", float),
    "Mask mode": word("mask", {"Inpaint masked": None}),
    "Masked content": word("repaint_from", {"original": "original", "fill": "fill", "latent noise": "noise"}),
    "Inpaint area": word("only_masked", {"Whole picture": False, "Only masked": True}),
    "Masked area padding": number("padding", int),
}
IDLE = {  # what says nothing about the picture's making that the rest does not say, or is read by `method`
    *("Sampler", "Schedule type", "Model", "Model hash", "Version", "User", "Batch size", "Batch pos", "Created Date"),
    *("Civitai resources", "Civitai metadata", "VAE hash", "Lora hashes", "TI hashes", "Hashes", "SDCPP"),
}


SCHEDULES = {  # what the web UI calls a schedule, where it is not the same word with a capital
    "sgm_uniform": "SGM Uniform",
    "kl_optimal": "KL Optimal",
    "align_your_steps": "Align Your Steps",
    "leading": "DDIM",
    "ddim_uniform": "DDIM",
}


def write(request: Request, model: str | None = None) -> str:
    """The text for the picture of a settled request, or for the first of them: what the web UI can say of it, in the
    order of its `create_infotext`. model: its name."""
    hires, schedule = request.hires is not None, request.schedule
    sides = request.noise_width, request.noise_height
    pairs = {
        "Steps": request.steps,
        "Sampler": None if request.sampler is None else SAMPLERS[request.sampler].label,
        "Schedule type": None if schedule is None else SCHEDULES.get(schedule, schedule.capitalize()),
        "CFG scale": request.scale,
        "Seed": request.seed,
        "Size": None if request.width is None or request.height is None else f"{request.width}x{request.height}",
        "Model": model,
        "Variation seed": request.variation_seed if request.variation else None,
        "Variation seed strength": request.variation or None,
        "Seed resize from": None if None in sides else f"{sides[0]}x{sides[1]}",
        "Denoising strength": request.hires_strength if hires else request.strength,
        "Clip skip": request.clip_skip if request.clip_skip > 1 else None,
        "RNG": "CPU" if request.compat in (None, "a1111_cpu") else None,
        "ENSD": request.ensd or None,
        "Tiling": True if request.seamless == "xy" else None,
        "Hires upscale": request.hires,
        "Hires steps": request.hires_steps if hires else None,
        "Hires upscaler": ("Lanczos" if request.hires_pixels else "Latent") if hires else None,
        "Mask blur": None if request.mask is None else request.mask_blur,
        "Inpaint area": "Only masked" if request.only_masked else None,
        "Masked area padding": request.padding if request.only_masked else None,
        "Emphasis": "None" if request.emphasis == "off" else None,
        "Eta DDIM" if request.sampler == "ddim" else "Eta": request.eta,
        "Sigma churn": request.s_churn,
        "Sigma tmin": request.s_tmin,
        "Sigma tmax": request.s_tmax,
        "Sigma noise": request.s_noise,
        "Noise Schedule": "Zero Terminal SNR" if request.zero_snr else None,
    }
    first = 0 if request.only is None else request.only
    line = ", ".join(f"{key}: {quoted(value)}" for key, value in pairs.items() if value is not None)
    prompt, negative = list(zip(request.prompts, request.negatives))[first % len(request.prompts)]
    return "\n".join([prompt, *([f"Negative prompt: {negative}"] if negative else []), line])


def quoted(value: str | float) -> str:
    """A value in that line: as JSON if the line could not be split again otherwise."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",\n:") else text


def read(text: Mapping[str, str]) -> Origin:
    """What the text under `parameters` says. It need not have settings: then all it says is prompts."""
    prompt, negative, settings = split(text["parameters"])
    values: dict[str, Any] = {"prompt": prompt, "negative": negative, "compat": "a1111"}
    lost: dict[str, str] = {}
    for key, value in settings.items():
        said = meaning(key, value)
        if said is not None:
            values |= said
        elif key not in IDLE:
            lost[key] = f"{value}: it has no counterpart here"
    values["sampler"], values["schedule"] = method(settings, lost)
    if "hires" in values:
        values["hires_strength"] = values.pop("strength", None)
        values["hires_pixels"] = not settings.get("Hires upscaler", "Latent").startswith("Latent")
    given = {"Init image": "strength", "Mask": "mask_blur"}
    lost |= {name: "it is not in the file, and must be given" for name, field in given.items() if field in values}
    if not settings:
        lost["Steps, Sampler, ..."] = "the text has no settings"
    if settings.get("Version") == "stable-diffusion.cpp" and values["sampler"] != "ddim":
        values.pop("eta", None)  # it is written always, and means DDIM's
    return understood("AUTOMATIC1111", values, settings.get("Model"), lost)


def meaning(key: str, value: str) -> dict[str, Any] | None:
    try:
        return READERS[key](value) if key in READERS else None
    except ValueError:
        raise ValueError(f"{key} should have numbers, not {value!r}") from None


def split(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt, and the settings by name.

    >>> split('a cat\\nNegative prompt: a dog\\nSteps: 5, Sampler: Euler, Hires prompt: "a, b"')
    ('a cat', 'a dog', {'Steps': '5', 'Sampler': 'Euler', 'Hires prompt': 'a, b'})
    """
    lines = [line.strip() for line in text.strip().split("\n")]
    end = settings_line(lines)
    prompts = re.split(r"^Negative prompt:", "\n".join(lines[:end]), maxsplit=1, flags=re.MULTILINE)
    prompt, negative = (part.strip() for part in (*prompts, "")[:2])
    return prompt, negative, {key: unquoted(value) for key, value in PAIR.findall("".join(lines[end : end + 1]))}


def settings_line(lines: Sequence[str]) -> int:
    """Which line holds the settings: the last that begins with Steps, else the last of all if it has three pairs.

    Extensions append lines of their own. Without settings: the number of lines.
    """
    starts = [i for i, line in enumerate(lines) if line.startswith("Steps: ")]
    if starts:
        return starts[-1]
    return len(lines) - (len(PAIR.findall(lines[-1])) >= 3)


def unquoted(value: str) -> str:
    """The value without the JSON quotes that protect its commas and colons."""
    try:
        return str(json.loads(value)) if value.startswith('"') else value.strip()
    except ValueError:
        return value


def method(settings: Mapping[str, str], lost: dict[str, str]) -> tuple[str | None, str | None]:
    """The sampler and the schedule; None for one that is not known, which is then lost."""
    label = settings.get("Sampler", "")
    sampler, schedule = method_named(label)
    if label and sampler is None:
        lost["Sampler"] = f"{label}: there is no such sampler here"
    if "Schedule type" in settings:
        schedule = schedule_named(settings["Schedule type"])
        if schedule is None:
            lost["Schedule type"] = f"{settings['Schedule type']}: there is no such schedule here"
    elif sampler is not None and schedule is None:
        schedule = "automatic" if names_schedules(settings) or paces_itself(sampler) else "uniform"
    return sampler, schedule


def names_schedules(settings: Mapping[str, str]) -> bool:
    """Whether this was written by a version that has schedules apart from samplers: 1.9 or later."""
    version = re.search(r"v(\d+)\.(\d+)", settings.get("Version", ""))
    return version is not None and (int(version[1]), int(version[2])) >= (1, 9)


def paces_itself(sampler: str) -> bool:
    """Whether the sampler had a schedule of its own before schedules had names."""
    return SAMPLERS[sampler].own_levels or SAMPLERS[sampler].schedule == "leading"
