"""The graph that ComfyUI keeps under `prompt`: nodes by name, each with a class and inputs, links being [node, output].

    {"3": {"class_type": "KSampler", "inputs": {"seed": 42, "steps": 20, ..., "positive": ["6", 0]}}, "6": ...}

The node that samples is found by its inputs, and everything else by walking up from it. The nodes KSampler,
KSamplerAdvanced, SamplerCustom and SamplerCustomAdvanced differ only in whether a setting is an input of the node
itself or of one beside it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..samplers.names import sampler_named, schedule_named
from . import workflow
from .origin import Origin, understood

Node = dict[str, Any]  # class_type: str, inputs: dict
Graph = dict[str, Node]

SCHEDULERS = {  # nodes that make a list of noise levels of one kind
    "KarrasScheduler": "karras",
    "ExponentialScheduler": "exponential",
    "PolyexponentialScheduler": "polyexponential",
}
BESIDE = ("noise", "guider", "sampler", "sigmas")  # links from a sampling node to those that hold its settings
TEXTS = ("text", "text_g", "prompt", "string", "value")
UNDERSTOOD = {
    *("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced", "KSamplerSelect", "BasicScheduler"),
    *("RandomNoise", "CFGGuider", "BasicGuider", "CheckpointLoader", "CheckpointLoaderSimple", "CLIPTextEncode"),
    *("CLIPSetLastLayer", "EmptyLatentImage", "VAEEncode", "VAEDecode", "LoadImage", "SaveImage", "PreviewImage"),
    *("PrimitiveNode", "PrimitiveInt", "PrimitiveFloat", "PrimitiveString", "PrimitiveStringMultiline", *SCHEDULERS),
}


def read(text: Mapping[str, str]) -> Origin:
    """What the graph under `prompt`, or else the drawing of it under `workflow`, says about its first sampling."""
    graph = parse(text["prompt"] if "prompt" in text else workflow.graph(text["workflow"]))
    samplings = [name for name, node in graph.items() if samples(node)]
    first = [name for name in samplings if not any(other in samplings for other in above(graph, graph[name]))]
    if not first:
        raise ValueError("no node of ComfyUI's graph has the inputs of a sampler")
    node = graph[first[0]]
    inputs = gathered(graph, node)
    lost = {f"node {kind}": "it has no counterpart here" for kind in kinds(graph) if kind not in UNDERSTOOD}
    if len(samplings) > 1:
        lost["passes"] = f"{len(samplings)}: only the first is read"
    values = {
        "prompt": prompt(graph, inputs, "positive"),
        "negative": prompt(graph, inputs, "negative"),
        "seed": inputs.get("seed", inputs.get("noise_seed")),
        "steps": inputs.get("steps"),
        "scale": inputs.get("cfg"),
        **method(graph, inputs, lost),
        **start(graph, node, inputs, lost),
        "clip_skip": clip_skip(graph),
        "compat": "comfyui",
    }
    partly(inputs, lost)
    for name in [name for name, value in values.items() if linked(graph, value) is not None]:
        lost[name] = f"node {values.pop(name)[0]} makes it: how is not known"
    lost |= {name: "it is not said" for name in ("prompt", "seed", "steps", "scale") if values.get(name) is None} | lost
    return understood("ComfyUI", values, anywhere(graph, "ckpt_name", "unet_name"), lost)


def parse(text: str) -> Graph:
    try:
        graph = json.loads(text)
    except ValueError as error:
        raise ValueError(f"ComfyUI's graph must be JSON: {error}") from None
    if not isinstance(graph, dict):
        raise ValueError("ComfyUI's graph must be a JSON object of nodes")
    nodes = {name: node for name, node in graph.items() if isinstance(node, dict)}
    return {name: node for name, node in nodes.items() if isinstance(node.get("inputs"), dict)}


def kinds(graph: Graph) -> list[str]:
    return sorted({str(node.get("class_type")) for node in graph.values()})


def samples(node: Node) -> bool:
    return "latent_image" in node["inputs"] and not {"positive", "guider"}.isdisjoint(node["inputs"])


def linked(graph: Graph, value: Any) -> Node | None:
    """The node that an input comes from, if it is a link."""
    return graph.get(str(value[0])) if isinstance(value, list) and len(value) == 2 else None


def above(graph: Graph, node: Node) -> Iterator[str]:
    """The names of all nodes that a node depends on, the nearest first."""
    seen: set[str] = set()
    layer = [node]
    while layer:
        links = [value for node in layer for value in node["inputs"].values() if linked(graph, value) is not None]
        names = list(dict.fromkeys(str(link[0]) for link in links if str(link[0]) not in seen))
        yield from names
        seen.update(names)
        layer = [graph[name] for name in names]


def gathered(graph: Graph, node: Node) -> dict[str, Any]:
    """The inputs of a sampling node and of those beside it; numbers and names that come by a link are followed."""
    beside = [linked(graph, node["inputs"].get(name)) for name in BESIDE]
    inputs = {key: value for part in (*beside, node) if part is not None for key, value in part["inputs"].items()}
    inputs.setdefault("positive", inputs.get("conditioning"))
    return {key: literal(graph, value, key) for key, value in inputs.items()}


def literal(graph: Graph, value: Any, key: str) -> Any:
    """The value of an input; of a link, that of the node's input of this name or named `value`, if it has one."""
    node = linked(graph, value)
    if node is None:
        return value
    found = next((node["inputs"][name] for name in (key, "value") if name in node["inputs"]), value)
    return value if linked(graph, found) is not None else found


def prompt(graph: Graph, inputs: Mapping[str, Any], role: str) -> str | None:
    """The text behind `positive` or `negative`, past the nodes that work on what it was encoded to."""
    for _ in graph:
        node = linked(graph, inputs.get(role, inputs.get("conditioning")))
        if node is None:
            return None
        inputs = node["inputs"]
        for key in TEXTS:
            if isinstance(text := inputs.get(key), str):
                return text
        role = next((key for key in (*TEXTS, role, "conditioning_1", "conditioning_to") if key in inputs), role)
    return None


def method(graph: Graph, inputs: Mapping[str, Any], lost: dict[str, str]) -> dict[str, str | None]:
    """The sampler and the schedule; None for one that is not known, which is then lost."""
    name = named(graph, inputs, "sampler_name", "sampler")
    sampler = sampler_named(name.removesuffix("_gpu"))
    if sampler is None:
        lost["sampler_name"] = f"{name}: there is no such sampler here"
    name = named(graph, inputs, "scheduler", "sigmas")
    schedule = schedule_named(SCHEDULERS.get(name, name))
    if schedule is None:
        lost["scheduler"] = f"{name}: there is no such schedule here"
    return {"sampler": sampler, "schedule": schedule}


def named(graph: Graph, inputs: Mapping[str, Any], key: str, beside: str) -> str:
    """A name that is an input, or else the class of the node that is one."""
    node = linked(graph, inputs.get(beside)) or {}
    return str(inputs.get(key, node.get("class_type")))


def start(graph: Graph, node: Node, inputs: Mapping[str, Any], lost: dict[str, str]) -> dict[str, Any]:
    """Size, or strength: what there is behind `latent_image`."""
    latent = linked(graph, node["inputs"]["latent_image"])
    sources = [] if latent is None else [latent, *(graph[name] for name in above(graph, latent))]
    empty = next((source["inputs"] for source in sources if {"width", "height"} <= source["inputs"].keys()), None)
    denoise = inputs.get("denoise", 1)
    if any(source.get("class_type") == "LoadImage" for source in sources):
        lost["image"] = "it is not in the file, and must be given"
        return {"strength": denoise}
    if denoise != 1:
        lost["denoise"] = f"{denoise}: there is no picture to start from"
    if empty is None:
        lost["latent_image"] = "its size cannot be found"
        return {}
    if (batch := literal(graph, empty.get("batch_size", 1), "batch_size")) != 1:
        lost["batch_size"] = f"{batch}: which of them this picture was is not recorded, so all are made"
    return {side: literal(graph, empty[side], side) for side in ("width", "height")} | {"count": batch}


def clip_skip(graph: Graph) -> int | None:
    layer = anywhere(graph, "stop_at_clip_layer")
    return -layer if isinstance(layer, int) and layer < -1 else None


def anywhere(graph: Graph, *keys: str) -> Any:
    """The first input of that name in the graph; None if there is none."""
    return next((node["inputs"][key] for node in graph.values() for key in keys if key in node["inputs"]), None)


def partly(inputs: Mapping[str, Any], lost: dict[str, str]) -> None:
    """What a KSamplerAdvanced leaves out, and the ends that a node of noise levels was given."""
    steps = inputs.get("steps")
    whole = {
        "add_noise": ("enable", True),
        "start_at_step": (0,),
        "end_at_step": range(steps if isinstance(steps, int) else 0, 10001),
        "return_with_leftover_noise": ("disable",),
    }
    for key, values in whole.items():
        if key in inputs and inputs[key] not in values:
            lost[key] = f"{inputs[key]}: sampling goes from the first step to the last here"
    for key in ("sigma_max", "sigma_min"):
        if key in inputs:
            lost[key] = f"{inputs[key]}: the model's own is taken"
