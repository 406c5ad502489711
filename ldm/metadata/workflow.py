"""The drawing of a graph that ComfyUI keeps under `workflow`: nodes as they stand on the screen,
and numbered links.

    {"nodes": [{"id": 3, "type": "KSampler", "inputs": [{"name": "model", "link": 1}, ...],
                "widgets_values": [42, "fixed", 20, ...]}, ...],
     "links": [[1, 4, 0, 3, 0, "MODEL"], ...]}

The graph itself is under `prompt`, which says the same and more plainly; but exported files and
pictures that passed through other tools may have the drawing alone. It does not name the settings
that stand in a node: WIDGETS does.
"""

import json
from collections.abc import Mapping
from typing import Any

Drawn = Mapping[str, Any]
Links = Mapping[Any, list[Any]]  # by number: node, output
Reroutes = Mapping[Any, Any]  # by node: the number of the link that goes in

WIDGETS = {  # of each node in their order on the screen; "-" is what becomes of the seed afterwards
    "KSampler": "seed - steps cfg sampler_name scheduler denoise",
    "KSamplerAdvanced": "add_noise noise_seed - steps cfg sampler_name scheduler start_at_step "
    "end_at_step return_with_leftover_noise",
    "SamplerCustom": "add_noise noise_seed - cfg",
    "RandomNoise": "noise_seed -",
    "CFGGuider": "cfg",
    "KSamplerSelect": "sampler_name",
    "BasicScheduler": "scheduler steps denoise",
    "KarrasScheduler": "steps sigma_max sigma_min rho",
    "ExponentialScheduler": "steps sigma_max sigma_min",
    "PolyexponentialScheduler": "steps sigma_max sigma_min rho",
    "CheckpointLoaderSimple": "ckpt_name",
    "CLIPTextEncode": "text",
    "CLIPSetLastLayer": "stop_at_clip_layer",
    "EmptyLatentImage": "width height batch_size",
    "LoadImage": "image",
    "PrimitiveNode": "value -",
}
REMARKS = ("Note", "MarkdownNote", "Reroute")  # what only is there on the screen
IDLE = (2, 4)  # modes of a node: never run, or passed by


def graph(text: str) -> str:
    """The graph of a drawing, as it would stand under `prompt`. ValueError: it is something
    else."""
    try:
        drawing = json.loads(text)
        nodes = {node["id"]: node for node in drawing["nodes"]}
        links = {link[0]: link[1:3] for link in map(in_order, drawing.get("links") or [])}
        past = {name: first_link(node) for name, node in nodes.items() if node["type"] == "Reroute"}
        used = [
            node
            for node in nodes.values()
            if node["type"] not in REMARKS and node.get("mode") not in IDLE
        ]
        return json.dumps(
            {
                str(node["id"]): {"class_type": node["type"], "inputs": inputs(node, past, links)}
                for node in used
            }
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        what = "ComfyUI's workflow must be JSON with nodes and links"
        raise ValueError(f"{what}: {type(error).__name__} {str(error)[:100]}") from None


def in_order(link: Any) -> list[Any]:
    """A link: its number, the node and the output it comes from. Newer drawings have names for
    them."""
    return (
        [link[key] for key in ("id", "origin_id", "origin_slot")]
        if isinstance(link, dict)
        else list(link)
    )


def inputs(node: Drawn, past: Reroutes, links: Links) -> dict[str, Any]:
    """The settings and the links of a node by name; a link counts for more."""
    values = node.get("widgets_values") or []
    if isinstance(values, list):
        values = dict(zip(WIDGETS.get(node["type"], "").split(), values))
    joined = {
        entry["name"]: source(entry["link"], past, links)
        for entry in node.get("inputs") or []
        if entry.get("link") is not None
    }
    return {name: value for name, value in {**values, **joined}.items() if name != "-"}


def first_link(node: Drawn) -> Any:
    entries = (entry.get("link") for entry in node.get("inputs") or [])
    return next((link for link in entries if link is not None), None)


def source(number: Any, past: Reroutes, links: Links) -> list[Any]:
    """Where a link comes from, past the nodes that only lead it around others: [node, output]."""
    seen: set[Any] = set()
    while number not in seen:
        seen.add(number)
        name, output = links[number]
        if past.get(name) is None:
            break
        number = past[name]
    return [str(name), output]
