"""Requests as pictures hold them: JSON, and names that options had in version 0.1."""

import json
from collections.abc import Mapping
from typing import Any

HIGHEST = 10**4  # noise level: what `guide_high` was when it was left out

# fmt: off
RENAMED = {
    "scale": "guidance_scale", "rescale": "guidance_rescale", "emphasis": "prompt_syntax",
    "exact_steps": "full_steps", "match_colours": "color_correction", "skip": "noise_offset",
    "repaint_from": "masked_content", "only_masked": "inpaint_only_masked", "enlarge": "upscale",
    "padding": "masked_padding", "variation": "subseed_strength", "variation_seed": "subseed",
}
# fmt: on


def json_object(text: str, what: str) -> dict[str, Any]:
    """The fields in a JSON object. ValueError: the text is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} must be JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be a JSON object with its fields")
    return values


def with_new_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options under the names of today: one field instead of two where the two belong together."""
    new = {RENAMED.get(name, name): value for name, value in options.items()}
    low, high = new.pop("guide_low", None), new.pop("guide_high", None)
    if low or high is not None:
        new["guidance_interval"] = (low or 0, HIGHEST if high is None else high)
    sides = new.pop("noise_width", None), new.pop("noise_height", None)
    if any(side is not None for side in sides):
        own = new.get("width"), new.get("height")
        new["seed_resize_from"] = tuple(b if a is None else a for a, b in zip(sides, own))
    if (pixels := new.pop("hires_pixels", None)) is not None:
        new["hires_upscaler"] = "pixels" if pixels else "latent"
    return new
