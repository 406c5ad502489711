"""The samplers and schedules by the labels of AUTOMATIC1111's web UI, and by k-diffusion's and
ComfyUI's names."""

from dataclasses import replace

from ..request import Request
from ..samplers.registry import SAMPLERS
from ..samplers.schedule import SCHEDULES

# k-diffusion's and ComfyUI's names, and stable-diffusion.cpp's, where they are not this library's
ALIASES = {
    "dpm_2": "dpm2",
    "dpm_2_ancestral": "dpm2_ancestral",
    "uni_pc": "unipc",
    "uni_pc_bh2": "unipc_bh2",
    "euler_a": "euler_ancestral",
    "dpm++2s_a": "dpmpp_2s_ancestral",
    "dpmpp_2s_a": "dpmpp_2s_ancestral",
    "dpm_2_a": "dpm2_ancestral",
    "dpm2_a": "dpm2_ancestral",
    "dpm++2m": "dpmpp_2m",
}


def sampler_named(name: str) -> str | None:
    """The sampler of that name or label, whatever its case: "Euler a", sample_euler_ancestral,
    euler_a and "Euler Ancestral" are one."""
    labels = {sampler.label.casefold(): key for key, sampler in SAMPLERS.items()}
    name = name.removeprefix("sample_").removeprefix("k_")
    key = labels.get(name.casefold(), name.casefold().replace(" ", "_"))
    key = ALIASES.get(key, key)
    return key if key in SAMPLERS else None


def schedule_named(name: str) -> str | None:
    """The schedule of that name or label: "SGM Uniform" is sgm_uniform. "Automatic" is a name,
    too."""
    key = {"ddim": "ddim_uniform"}.get(name.casefold(), name.casefold().replace(" ", "_"))
    return key if key in SCHEDULES or key == "automatic" else None


def method_named(name: str) -> tuple[str | None, str | None]:
    """The sampler of that name; and the schedule, if it ends in one, as the web UI's names did
    before version 1.9, and short ones still do: dpmpp_2m_karras, k_dpmpp_2m_ka.

    >>> method_named("DPM++ 2M Karras"), method_named("DPM2 a"), method_named("Karras")
    (('dpmpp_2m', 'karras'), ('dpm2_ancestral', None), (None, None))
    >>> method_named("k_euler_a"), method_named("dpmpp_2m_sgm_uniform")
    (('euler_ancestral', None), ('dpmpp_2m', 'sgm_uniform'))
    """
    if (whole := sampler_named(name)) is not None:
        return whole, None
    for place in (i for i, letter in enumerate(name) if letter in " _"):
        ending = name[place + 1 :]
        sampler = sampler_named(name[:place])
        schedule = schedule_named("karras" if ending == "ka" else ending)
        if sampler is not None and schedule is not None:
            return sampler, schedule
    return None, None


def renamed(request: Request) -> Request:
    """The request with this library's names of a sampler and a schedule; those that are unknown
    stay as they are.

    A sampler's name may end in a schedule, "DPM++ 2M Karras"; one given by itself goes before.
    """
    sampler, ending = (None, None) if request.sampler is None else method_named(request.sampler)
    schedule = ending if request.schedule is None else schedule_named(request.schedule)
    return replace(
        request,
        sampler=request.sampler if sampler is None else sampler,
        schedule=request.schedule if schedule is None else schedule,
    )
