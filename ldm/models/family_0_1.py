"""Families as version 0.1 wrote them into headers and JSON files."""

from collections.abc import Mapping
from typing import Any


def upgraded(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same family in today's form. Version 0.1 had one text encoder, which was read at its last
    layer, `scale` for guidance_scale, and one depth for all levels whose `attention` is true."""
    new = {("guidance_scale" if name == "scale" else name): value for name, value in values.items()}
    if isinstance(text := new.get("text"), Mapping):
        width = text.get("width")
        added = {"layer": 1, "final_norm": True, "pad": None, "projection": None}
        new["text"] = [
            {"mlp_width": 4 * width if isinstance(width, int) else None, **added, **text}
        ]
    unet = new.get("unet")
    if isinstance(unet, Mapping) and isinstance(levels := unet.get("attention"), list | tuple):
        depth = unet.get("depth")
        added = {"concat_channels": 0, "vector_width": None, "mid_depth": depth}
        new["unet"] = {**added, **unet, "depth": [depth if level else 0 for level in levels]}
        del new["unet"]["attention"]
    return new
