"""What all readers of metadata give."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..request import Request, kinds
from ..samplers import SAMPLERS, SCHEDULES

ALIASES = {  # ComfyUI's names of samplers and stable-diffusion.cpp's, where they are not this library's
    "dpm_2": "dpm2",
    "dpm_2_ancestral": "dpm2_ancestral",
    "uni_pc": "unipc",
    "uni_pc_bh2": "unipc_bh2",
    "euler_a": "euler_ancestral",
    "dpm++2s_a": "dpmpp_2s_ancestral",
    "dpm++2m": "dpmpp_2m",
}


@dataclass(frozen=True)
class Origin:
    """How a picture was made.

    program   who made it
    request   the same wishes, in this library's words
    model     what the file calls the model, if it does
    lost      the settings that the request cannot say, each with its value and the reason
    """

    program: str
    request: Request
    model: str | None
    lost: Mapping[str, str]


def understood(program: str, values: Mapping[str, Any], model: str | None, lost: Mapping[str, str]) -> Origin:
    """The origin that these values of a request's fields make; None means not said. A field there is not is lost."""
    said = {name: value for name, value in values.items() if value is not None}
    unknown = {name: f"{value}: there is no such setting here" for name, value in said.items() if name not in kinds()}
    request = Request(**{name: value for name, value in said.items() if name in kinds()})
    return Origin(program, request, model, {**lost, **unknown})


def sampler_named(name: str) -> str | None:
    """The sampler of that name or label, whatever its case."""
    labels = {sampler.label.casefold(): key for key, sampler in SAMPLERS.items()}
    key = labels.get(name.casefold(), ALIASES.get(name, name))
    return key if key in SAMPLERS else None


def schedule_named(name: str) -> str | None:
    """The schedule of that name or label: "SGM Uniform" is sgm_uniform. "Automatic" is a name, too."""
    key = {"ddim": "ddim_uniform"}.get(name.casefold(), name.casefold().replace(" ", "_"))
    return key if key in SCHEDULES or key == "automatic" else None
