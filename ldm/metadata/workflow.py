"""The drawing of a graph that ComfyUI keeps under `workflow`: nodes as they stand on the screen, and numbered links.

    {"nodes": [{"id": 3, "type": "KSampler", "inputs": [{"name": "model", "link": 1}, ...],
                "widgets_values": [42, "fixed", 20, ...]}, ...],
     "links": [[1, 4, 0, 3, 0, "MODEL"], ...]}

The graph itself is under `prompt`, which says the same and more plainly; but exported files and pictures that passed
through other tools may have the drawing alone. It does not name the settings that stand in a node: WIDGETS does.
"""

import json
from collections.abc import Mapping
from typing import Any

Drawn = Mapping[str, Any]

WIDGETS = {  # of each node in their order on the screen; "-" is what becomes of the seed afterwards
    "KSampler": "seed - steps cfg sampler_name scheduler denoise",
    "KSamplerAdvanced": "add_noise noise_seed - steps cfg sampler_name scheduler start_at_step end_at_step "
    "return_with_leftover_noise",
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
    """The graph of a drawing, as it would stand under `prompt`. ValueError: it is something else."""
    try:
        drawing = json.loads(text)
        nodes = {node["id"]: node for node in drawing["nodes"]}
        links = {link[0]: link[1:3] for link in map(in_order, drawing.get("links") or [])}
        used = [node for node in nodes.values() if node["type"] not in REMARKS and node.get("mode") not in IDLE]
        return json.dumps(
            {str(node["id"]): {"class_type": node["type"], "inputs": inputs(node, nodes, links)} for node in used}
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"ComfyUI's workflow must be JSON with nodes and links: {error}") from None


def in_order(link: Any) -> list[Any]:
    """A link: its number, the node and the output it comes from. Newer drawings have names for them."""
    return [link[key] for key in ("id", "origin_id", "origin_slot")] if isinstance(link, dict) else list(link)


def inputs(node: Drawn, nodes: Mapping[Any, Drawn], links: Mapping[Any, list[Any]]) -> dict[str, Any]:
    """The settings and the links of a node by name; a link counts for more."""
    values = node.get("widgets_values") or []
    if isinstance(values, list):
        values = dict(zip(WIDGETS.get(node["type"], "").split(), values))
    joined = {entry["name"]: source(entry["link"], nodes, links) for entry in node.get("inputs") or [] if linked(entry)}
    return {name: value for name, value in {**values, **joined}.items() if name != "-"}


def linked(entry: Drawn) -> bool:
    return entry.get("link") is not None


def source(number: Any, nodes: Mapping[Any, Drawn], links: Mapping[Any, list[Any]]) -> list[Any]:
    """Where a link comes from, past the nodes that only lead it around others: [node, output]."""
    for _ in nodes:
        name, output = links[number]
        entries = [entry for entry in nodes[name].get("inputs") or [] if linked(entry)]
        if nodes[name]["type"] != "Reroute" or not entries:
            break
        number = entries[0]["link"]
    return [str(name), output]
