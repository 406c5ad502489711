"""The options of a request as type checkers and editors know them: `tests/test_typed.py` holds them
against the fields."""

from collections.abc import Sequence
from typing import Any, TypedDict


class ByFlags(TypedDict, total=False):
    """What flags call them."""

    negative_prompt: str | Sequence[str]
    W: int | None
    H: int | None
    ddim_steps: int | None
    ddim_eta: float | None
    cache_interval: int | None
    scale: float | None
    cfg_scale: float | None
    emphasis: str | None
    exact_steps: bool
    match_colours: bool
    repaint_from: str
    only_masked: bool
    padding: int
    enlarge: float | None
    image_cfg_scale: float | None
    tiling: str | None
    variation: float
    variation_seed: int
    skip: int


class Options(ByFlags, total=False):
    """The fields of a Request but for the prompt, and the picture to start from, which methods take
    by themselves. A refiner may be a model, too, and what controls a picture, PIL's."""

    negative: str | Sequence[str]
    seed: int
    width: int | None
    height: int | None
    count: int
    steps: int | None
    sampler: str | None
    schedule: str | None
    eta: float | None
    s_churn: float | None
    s_tmin: float | None
    s_tmax: float | None
    s_noise: float | None
    cache: int | None
    zero_snr: bool
    guidance_scale: float | None
    guidance_rescale: float
    guidance_interval: Sequence[float] | None
    original_size: Sequence[int] | None
    crop: Sequence[int] | None
    target_size: Sequence[int] | None
    aesthetic_score: Sequence[float] | None
    prompt_syntax: str | None
    clip_skip: int | None
    wildcards: str | None
    full_steps: bool
    color_correction: bool
    colourise: bool
    mask_blur: float | None
    feather: bool
    masked_content: str
    inpaint_only_masked: bool
    masked_padding: int
    upscale: float | None
    upscaler: str | None
    noise_level: int | None
    image_guidance_scale: float | None
    depth: str | None
    depth_model: str | None
    left: int
    right: int
    top: int
    bottom: int
    hires: float | None
    hires_steps: int | None
    hires_strength: float | None
    hires_upscaler: str | None
    refiner: Any
    refiner_start: float
    tile: int | None
    seamless: str | None
    subseed_strength: float
    subseed: int
    seed_resize_from: Sequence[int] | None
    compat: str | None
    noise_offset: int
    ensd: int
    control: str | Sequence[str] | None
    control_image: Any
    hint: str | Sequence[str] | None
    control_kind: str | Sequence[str] | None
    vision_tower: str | Sequence[str] | None
    guess_mode: bool
    lora: str | Sequence[str] | None
    lora_dir: str | None
    embedding_dir: str | None
    hypernetwork: str | Sequence[str] | None
    only: int | None
    watermark: str | None


class InpaintOptions(Options, total=False):
    strength: float | None
