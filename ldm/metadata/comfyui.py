"""The graph that ComfyUI keeps under `prompt`: nodes by name, each with a class and inputs, links
being [node, output].

    {"3": {"class_type": "KSampler", "inputs": {"seed": 42, "steps": 20, ..., "positive": ["6",
    0]}}, "6": ...}

The node that samples is found by its inputs, and everything else by walking up from it. The nodes
KSampler, KSamplerAdvanced, SamplerCustom and SamplerCustomAdvanced differ only in whether a setting
is an input of the node itself or of one beside it.
"""

import re
from collections.abc import Mapping
from typing import Any

from ..compat.names import sampler_named, schedule_named
from . import workflow
from .graph import (
    Graph,
    Node,
    above,
    anywhere,
    as_number,
    below,
    kinds,
    linked,
    literal,
    parse,
    samples,
)
from .image_metadata import ImageMetadata, shortened, to_metadata

SCHEDULERS = {  # nodes that make a list of noise levels of one kind
    "KarrasScheduler": "karras",
    "ExponentialScheduler": "exponential",
    "PolyexponentialScheduler": "polyexponential",
}
BESIDE = (
    "noise",
    "guider",
    "sampler",
    "sigmas",
)  # links to the nodes that hold a sampler's settings
ZEROS = "ConditioningZeroOut"  # the node that makes an empty prompt of any
TEXTS = ("text", "text_g", "prompt", "string", "value")
NUMBERS = ("seed", "steps", "guidance_scale", "width", "height", "count", "strength")
MOST = 100  # pictures of a batch
SUPPORTED = (
    "KSampler KSamplerAdvanced SamplerCustom SamplerCustomAdvanced KSamplerSelect BasicScheduler "
    "RandomNoise CFGGuider BasicGuider CheckpointLoader CheckpointLoaderSimple CLIPTextEncode "
    "CLIPSetLastLayer EmptyLatentImage VAEEncode VAEDecode LoadImage SaveImage PreviewImage "
    "PrimitiveNode PrimitiveInt PrimitiveFloat PrimitiveString PrimitiveStringMultiline"
)


def read(text: Mapping[str, str]) -> ImageMetadata:
    """What the graph under `prompt`, or else the drawing of it under `workflow`, says about its
    first sampling."""
    graph = parse(text["prompt"] if "prompt" in text else workflow.graph(text["workflow"]))
    samplings = [name for name, node in graph.items() if samples(node)]
    later = below(graph, samplings)
    first = next((name for name in samplings if name not in later), None)
    if first is None:
        raise ValueError(
            "no node of ComfyUI's graph has the inputs of a sampler (subgraphs are not read)"
        )
    node = graph[first]
    inputs = gathered(graph, node)
    unsupported = {
        f"node {shortened(kind)}": "it has no counterpart here"
        for kind in kinds(graph)
        if kind not in SCHEDULERS and kind not in SUPPORTED.split()
    }
    if len(samplings) > 1:
        unsupported["passes"] = f"{len(samplings)}: only the first is read"
    values = {
        **prompts(graph, inputs, unsupported),
        "seed": inputs.get("seed", inputs.get("noise_seed")),
        "steps": inputs.get("steps"),
        "guidance_scale": inputs.get("cfg"),
        **method(graph, inputs, unsupported),
        **start(graph, node, inputs, unsupported),
        "clip_skip": clip_skip(graph, unsupported),
        "compat": "comfyui",
    }
    values |= {name: as_number(values[name]) for name in NUMBERS if name in values}
    partly(inputs, unsupported)
    for name in [name for name, value in values.items() if isinstance(value, list)]:
        source = linked(graph, values.pop(name))
        kind = "" if source is None else f"node {shortened(source.get('class_type'))}"
        unsupported[name] = f"{kind or 'a node that is not there'} makes it: how is not known"
    unsaid = [
        name for name in ("prompt", "seed", "steps", "guidance_scale") if values.get(name) is None
    ]
    unsupported = dict.fromkeys(unsaid, "it is not said") | unsupported
    return to_metadata("ComfyUI", values, model(graph), unsupported)


def gathered(graph: Graph, node: Node) -> dict[str, Any]:
    """The inputs of a sampling node and of those beside it; numbers and names that come by a link
    are followed."""
    beside = [linked(graph, node["inputs"].get(name)) for name in BESIDE]
    inputs = {
        key: value
        for part in (*beside, node)
        if part is not None
        for key, value in part["inputs"].items()
    }
    inputs.setdefault("positive", inputs.get("conditioning"))
    return {key: literal(graph, value, key) for key, value in inputs.items()}


def prompts(
    graph: Graph, inputs: Mapping[str, Any], unsupported: dict[str, str]
) -> dict[str, str | None]:
    """Prompt and negative prompt. A node that makes the one out of the other is not known here, and
    ConditioningZeroOut leaves nothing of it."""
    positive, source, way = prompt(graph, inputs, "positive")
    negative, other, its_way = prompt(graph, inputs, "negative")
    if other is not None and its_way and ((other is source and its_way != way) or ZEROS in its_way):
        negative = ""
        unsupported["negative"] = f"node {shortened(its_way[-1])} makes it: it is empty here"
    for text in (positive or "", negative or ""):
        for part in text.split("embedding:")[1:]:
            name = shortened(re.split(r"[\s,:()]", part, maxsplit=1)[0])
            unsupported[f"embedding {name}"] = "it is not loaded"
    return {"prompt": positive, "negative": negative}


def prompt(
    graph: Graph, inputs: Mapping[str, Any], role: str
) -> tuple[str | None, Node | None, list[str]]:
    """The text behind `positive` or `negative`; the node where it stands; and the kinds of those
    that work on what it was encoded to, on the way there."""
    passed: list[str] = []
    for _ in graph:
        link = inputs.get(role, inputs.get("conditioning"))
        if isinstance(link, str):
            return link, None, passed
        if (node := linked(graph, link)) is None:
            break
        inputs = node["inputs"]
        for key in (*TEXTS, role):
            if isinstance(text := inputs.get(key), str):
                return text, node, passed
        passed.append(str(node.get("class_type")))
        links = (*TEXTS, role, "conditioning_1", "conditioning_to")
        role = next((key for key in links if key in inputs), role)
    return None, None, passed


def method(
    graph: Graph, inputs: Mapping[str, Any], unsupported: dict[str, str]
) -> dict[str, str | None]:
    """The sampler and the schedule; None for one that is not known, which is then unsupported."""
    name = named(graph, inputs, "sampler_name", "sampler")
    sampler = sampler_named(name.removesuffix("_gpu"))
    if sampler is None:
        unsupported["sampler_name"] = f"{shortened(name)}: there is no such sampler here"
    name = named(graph, inputs, "scheduler", "sigmas")
    schedule = schedule_named(SCHEDULERS.get(name, name))
    if schedule is None:
        unsupported["scheduler"] = f"{shortened(name)}: there is no such schedule here"
    return {"sampler": sampler, "schedule": schedule}


def named(graph: Graph, inputs: Mapping[str, Any], key: str, beside: str) -> str:
    """A name that is an input, or else the class of the node that is one."""
    node = linked(graph, inputs.get(beside)) or {}
    return str(inputs.get(key, node.get("class_type")))


def start(
    graph: Graph, node: Node, inputs: Mapping[str, Any], unsupported: dict[str, str]
) -> dict[str, Any]:
    """Size, or strength: what there is behind `latent_image`."""
    latent = linked(graph, node["inputs"]["latent_image"])
    sources = [] if latent is None else [latent, *(graph[name] for name in above(graph, latent))]
    every = [  # Efficient Loader's have names of their own
        {key.removeprefix("empty_latent_"): value for key, value in source["inputs"].items()}
        for source in sources
    ]
    empty = next((its for its in every if {"width", "height"} <= its.keys()), None)
    denoise = inputs.get("denoise", 1)
    if any(source.get("class_type") == "LoadImage" for source in sources):
        unsupported["image"] = "it is not in the file, and must be given"
        return {"strength": denoise}
    if denoise != 1:
        unsupported["denoise"] = f"{shortened(denoise)}: there is no picture to start from"
    if empty is None:
        unsupported["latent_image"] = "its size cannot be found"
        return {}
    batch = as_number(literal(graph, empty.get("batch_size", 1), "batch_size"))
    if isinstance(batch, int) and batch > MOST:
        unsupported["batch_size"] = f"{shortened(batch)}: one is made"
        batch = 1
    elif batch != 1:
        reason = "which of them this picture was is not recorded, so all are made"
        unsupported["batch_size"] = f"{shortened(batch)}: {reason}"
    size = {side: literal(graph, empty[side], side) for side in ("width", "height")}
    return {**size, "count": batch}


def clip_skip(graph: Graph, unsupported: dict[str, str]) -> int | None:
    layer = as_number(anywhere(graph, "stop_at_clip_layer"))
    if layer is None or isinstance(layer, int):
        return -layer if layer is not None and layer < -1 else None
    unsupported["stop_at_clip_layer"] = "it comes from another node: how is not known"
    return None


def model(graph: Graph) -> str | None:
    name = literal(graph, anywhere(graph, "ckpt_name", "unet_name"), "ckpt_name")
    return name if isinstance(name, str) else None


def partly(inputs: Mapping[str, Any], unsupported: dict[str, str]) -> None:
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
            unsupported[key] = (
                f"{shortened(inputs[key])}: sampling goes from the first step to the last here"
            )
    for key in ("sigma_max", "sigma_min"):
        if key in inputs:
            unsupported[key] = f"{shortened(inputs[key])}: the model's own is taken"
