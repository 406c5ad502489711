"""What the settings of AUTOMATIC1111's web UI mean for a request; how they are written: `infotext`.

Until version 1.9 the schedule was the end of the sampler's name, "DPM++ 2M Karras", and no such end
meant uniform.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..compat.names import method_named, schedule_named
from ..samplers.registry import SAMPLERS
from .image_metadata import ANOTHER_VAE, ImageMetadata, check_field, shortened, to_metadata
from .infotext import USED, split

Fields = dict[str, Any]  # of a request
Reader = Callable[[str], Fields]  # of a value; ValueError: a request cannot say it
NO_COUNTERPART = "it has no counterpart here"


def number(field: str, kind: type) -> Reader:
    return lambda text: {field: kind(text)}


def word(field: str, meanings: Mapping[str, Any]) -> Reader:
    def read(text: str) -> Fields:
        if text not in meanings:
            raise ValueError(NO_COUNTERPART)
        return {field: meanings[text]}

    return read


def sides(text: str) -> tuple[int, int]:
    """
    >>> sides("512x768")
    (512, 768)
    """
    width, _, height = text.lower().partition("x")
    return int(width), int(height)


def hires_upscaler(text: str) -> Fields:
    if text == "Latent":
        return {"hires_upscaler": "latent"}
    if text.startswith("Latent") or text in ("Lanczos", "Nearest", "None"):
        what = "latents" if text.startswith("Latent") else "pixels"
        raise ValueError(f"{what} are enlarged in one way here")
    raise ValueError("pixels take its place: give the file with --hires_upscaler")


def another_vae(name: str) -> Fields:
    if name in ("Default (model)", "Automatic", "None"):
        return {}
    raise ValueError(ANOTHER_VAE)


NOISES = {"GPU": "a1111", "NV": "a1111", "CPU": "a1111_cpu", "cuda": "a1111", "cpu": "a1111_cpu"}
CONTENTS = {"original": "original", "fill": "fill", "latent noise": "noise"}
READERS: dict[str, Reader] = {
    "Steps": number("steps", int),
    "CFG scale": number("guidance_scale", float),
    "Image CFG scale": number("image_guidance_scale", float),
    "Seed": number("seed", int),
    "Size": lambda text: dict(zip(("width", "height"), sides(text))),
    "Clip skip": number("clip_skip", int),
    "Eta": number("eta", float),
    "Eta DDIM": number("eta", float),
    "Sigma churn": number("s_churn", float),
    "Sigma tmin": number("s_tmin", float),
    "Sigma tmax": number("s_tmax", float),
    "Sigma noise": number("s_noise", float),
    "Denoising strength": number("strength", float),
    "Variation seed": number("subseed", int),
    "Variation seed strength": number("subseed_strength", float),
    "Seed resize from": lambda text: {"seed_resize_from": sides(text)},
    "ENSD": number("ensd", int),
    "Tiling": word("seamless", {"True": "xy", "False": None}),
    "Refiner": lambda text: {"refiner": re.sub(r" \[\w*\]$", "", text)},
    "Refiner switch at": number("refiner_start", float),
    "Noise Schedule": word("zero_snr", {"Default": False, "Zero Terminal SNR": True}),
    "CFG rescale": number("guidance_rescale", float),  # SD.Next's
    "Emphasis": word("prompt_syntax", {"Original": "a1111", "None": "off"}),
    "RNG": word("compat", NOISES),
    "VAE": another_vae,
    "Hires upscale": number("hires", float),
    "Hires steps": lambda text: {"hires_steps": int(text) or None},  # 0: as many as the first
    "Hires upscaler": hires_upscaler,
    "Mask blur": number("mask_blur", float),
    "Mask mode": word("mask", {"Inpaint masked": None}),
    "Masked content": word("masked_content", CONTENTS),
    "Inpaint area": word("inpaint_only_masked", {"Whole picture": False, "Only masked": True}),
    "Masked area padding": number("masked_padding", int),
}
SCHEDULE = ("Schedule type", "Sampler sigma", "Scheduler")  # the web UI's, SD.Next's, Fooocus's
ELSEWHERE = (  # read by a function of its own, or saying nothing that the rest does not say
    "Sampler, Schedule type, Sampler sigma, Scheduler, Model, Model hash, App, Version, User, "
    "Batch size, Batch pos, "
    "Created Date, Civitai resources, Civitai metadata, VAE hash, Lora hashes, TI hashes, Hashes, "
    f"SDCPP, Dtype, Hires resize, First pass size, {USED}"
)
NAMES = {name.casefold(): name for name in (*READERS, *ELSEWHERE.split(", "))}


def read(text: Mapping[str, str]) -> ImageMetadata:
    """What the text under `parameters` says. It need not have settings: then all it says is
    prompts."""
    prompt, negative, said = split(text["parameters"])
    settings = {NAMES.get(name.casefold(), name): value for name, value in said.items()}
    unsupported: dict[str, str] = {}
    program, compat = written_by(settings, unsupported)
    values: Fields = {"prompt": prompt, "negative": negative, "compat": compat}
    for name, value in settings.items():
        try:
            values |= meaning(name, value)
        except ValueError as reason:
            unsupported[shortened(name)] = f"{shortened(value)}: {shortened(reason)}"
    values["sampler"], values["schedule"] = method(settings, unsupported)
    second_pass(settings, values, unsupported)
    given = {"Init image": "strength", "Mask": "mask_blur"}
    absent = [name for name, field in given.items() if field in values]
    unsupported |= dict.fromkeys(absent, "it is not in the file, and must be given")
    unsupported |= {f"embedding {name}": "it is not loaded" for name in embeddings(settings)}
    if not settings:
        unsupported["Steps, Sampler, ..."] = "the text has no settings"
    if program == "stable-diffusion.cpp" and values["sampler"] != "ddim":
        values.pop("eta", None)  # it is written always, and means DDIM's
    return to_metadata(program, values, settings.get("Model"), unsupported)


def meaning(name: str, value: str) -> Fields:
    """The fields that a setting gives; ValueError says why there are none."""
    if name not in READERS:
        if name.casefold() in NAMES:
            return {}
        raise ValueError(NO_COUNTERPART)
    fields = READERS[name](value)
    for field, its in fields.items():
        check_field(field, its)
    return fields


def written_by(settings: Mapping[str, str], unsupported: dict[str, str]) -> tuple[str, str]:
    """Which program wrote this, and as which other it is drawn."""
    version = settings.get("Version", "")
    name = settings.get("App") or re.split(r" ?v?\d|$", version, maxsplit=1)[0]
    if not name and "Created Date" in settings:
        name = "Civitai"
    if name.casefold() == "comfyui":
        return "ComfyUI", "comfyui"
    if name in ("f", "stable-diffusion.cpp"):
        return "Forge" if name == "f" else name, "a1111"
    if name in ("", "AUTOMATIC1111"):
        return "AUTOMATIC1111", "a1111"
    unsupported["noise"] = f"that of {shortened(name)} is not known: AUTOMATIC1111's is taken"
    return shortened(name), "a1111"


def second_pass(settings: Mapping[str, str], values: Fields, unsupported: dict[str, str]) -> None:
    """Tell the second pass's strength from that of img2img, and find its factor, which is written
    in one of three ways: the factor, the size after it, or the size before it."""
    size = values.get("width", 0), values.get("height", 0)
    ways = [
        name for name in ("Hires upscale", "Hires resize", "First pass size") if name in settings
    ]
    strength = values.get("strength")
    if not ways:
        if strength is not None and not from_picture(settings):
            only_first(settings, values, unsupported)
        return
    values.pop("strength", None)
    if ways[0] != "Hires upscale":
        try:
            other = sides(settings[ways[0]])
            first, last = (size, other) if ways[0] == "Hires resize" else (other, size)
            factor = ratio(first, last)
            check_field("hires", factor)
            values |= {"hires": factor, "width": first[0], "height": first[1]}
        except ValueError:
            reason = "a second pass of that size cannot be drawn: there is only one"
            unsupported[ways[0]] = f"{shortened(settings[ways[0]])}: {reason}"
    if "hires" in values:
        latent = settings.get("Hires upscaler", "Latent").startswith("Latent")
        values["hires_strength"] = strength
        values["hires_upscaler"] = "latent" if latent else "pixels"


def from_picture(settings: Mapping[str, str]) -> bool:
    """Whether there are settings that only img2img writes; many versions write none."""
    return any(name.startswith(("Mask", "Inpaint", "Init image", "Resize")) for name in settings)


def only_first(settings: Mapping[str, str], values: Fields, unsupported: dict[str, str]) -> None:
    """Drop a strength that is not of img2img: some programs write 0 always, and others the second
    pass's, without saying how large it is."""
    if any(name.startswith("Hires ") for name in settings):
        reason = "how large the second pass is, is not said: only the first is drawn"
        unsupported["Denoising strength"] = f"{values.pop('strength'):g}: {reason}"
    elif values["strength"] == 0:
        del values["strength"]


def ratio(first: tuple[int, int], last: tuple[int, int]) -> float:
    """How many times as large the last size is; a side of it that is 0 follows from the other.

    >>> ratio((64, 96), (96, 144)), ratio((64, 96), (0, 144))
    (1.5, 1.5)
    """
    if min(first) < 1 or max(last) < 1:
        raise ValueError("no size")
    factors = [there / here for here, there in zip(first, last) if there > 0]
    if any(abs(round(here * factors[0]) - there) > 1 for here, there in zip(first, last) if there):
        raise ValueError("another shape")
    return factors[0]


def embeddings(settings: Mapping[str, str]) -> list[str]:
    """The names of the embeddings that were used, as three versions of the web UI write them."""
    listed = settings.get("TI hashes", "").split(",")
    names = [name.rpartition(":")[0] or name for name in listed]
    names += [re.sub(r" \[\w*\]$", "", name.strip()) for name in settings.get(USED, "").split(",")]
    try:
        hashes = json.loads(settings.get("Hashes", "{}"))
    except (ValueError, RecursionError):
        hashes = {}
    if isinstance(hashes, dict):
        names += [name[6:] for name in hashes if name.startswith("embed:")]
    return [shortened(name) for name in dict.fromkeys(name.strip() for name in names) if name]


def method(
    settings: Mapping[str, str], unsupported: dict[str, str]
) -> tuple[str | None, str | None]:
    """The sampler and the schedule; None for one that is not known, which is then unsupported."""
    label = settings.get("Sampler", "")
    sampler, schedule = method_named(label)
    if label and sampler is None:
        unsupported["Sampler"] = f"{shortened(label)}: there is no such sampler here"
    name = next((name for name in SCHEDULE if name in settings), None)
    if name is not None:
        schedule = schedule_named(settings[name])
        if schedule is None:
            label = shortened(settings[name])
            unsupported[name] = f"{label}: there is no such schedule here"
    elif sampler is not None and schedule is None:
        schedule = "automatic" if names_schedules(settings) or paces_itself(sampler) else "uniform"
    return sampler, schedule


def names_schedules(settings: Mapping[str, str]) -> bool:
    """Whether this was written by a version that has schedules apart from samplers: 1.9 or
    later."""
    version = re.search(r"v(\d{1,9})\.(\d{1,9})", settings.get("Version", ""))
    return version is not None and (int(version[1]), int(version[2])) >= (1, 9)


def paces_itself(sampler: str) -> bool:
    """Whether the sampler had a schedule of its own before schedules had names."""
    return SAMPLERS[sampler].own_levels or SAMPLERS[sampler].schedule == "leading"
