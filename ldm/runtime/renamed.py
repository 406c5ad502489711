"""Requests as pictures hold them, and as people ask: JSON, the names of flags, and those that
options had in version 0.1."""

import json
from collections.abc import Mapping
from typing import Any

HIGHEST = 10**4  # noise level: what `guide_high` was when it was left out

RENAMED = {"rescale": "guidance_rescale"}  # the others are still the names of flags


def json_object(text: str, what: str) -> dict[str, Any]:
    """The fields in a JSON object. ValueError: the text is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} must be JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be a JSON object with its fields")
    return values


def with_new_names(options: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Options under the names of today: one field instead of two where the two belong together.
    names: see `options.names_of`. ValueError: one is given under two names."""
    new = dict[str, Any]()
    for name, value in options.items():
        field = names.get(name, RENAMED.get(name, name))
        if field in new:
            both = [one for one in options if names.get(one, RENAMED.get(one)) == field]
            raise ValueError(f"{' and '.join(both)} are one option: give it once")
        new[field] = value
    low, high = new.pop("guide_low", None), new.pop("guide_high", None)
    if low or high is not None:
        new["guidance_interval"] = (low or 0, HIGHEST if high is None else high)
    sides = new.pop("noise_width", None), new.pop("noise_height", None)
    if any(side is not None for side in sides):
        own = new.get("width"), new.get("height")
        new["seed_resize_from"] = tuple(b if a is None else a for a, b in zip(sides, own))
    if (pixels := new.pop("hires_pixels", None)) is not None:
        new["hires_upscaler"] = "pixels" if pixels else "latent"
    skip, whole = new.get("clip_skip"), {"scale", "exact_steps", "variation"} <= options.keys()
    if whole and skip and new.get("compat") == "diffusers":  # version 0.1 counted as A1111 does
        new["clip_skip"] = skip - 1 or None
    return new
