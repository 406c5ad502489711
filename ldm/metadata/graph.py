"""A graph of ComfyUI's: nodes by name, each with a class and inputs, links being [node, output]."""

import json
from collections.abc import Collection, Iterator
from typing import Any

from .image_metadata import shortened

Node = dict[str, Any]  # class_type: str, inputs: dict
Graph = dict[str, Node]


def parse(text: str) -> Graph:
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"ComfyUI's graph must be JSON: {shortened(error)}") from None
    if not isinstance(graph, dict):
        raise ValueError("ComfyUI's graph must be a JSON object of nodes")
    nodes = {name: node for name, node in graph.items() if isinstance(node, dict)}
    return {name: node for name, node in nodes.items() if isinstance(node.get("inputs"), dict)}


def is_graph(values: Any) -> bool:
    """Whether values from JSON are a graph: an object with at least one node."""
    nodes = values.values() if isinstance(values, dict) else ()
    return any(isinstance(node, dict) and {"class_type", "inputs"} <= node.keys() for node in nodes)


def kinds(graph: Graph) -> list[str]:
    return sorted({str(node.get("class_type")) for node in graph.values()})


def samples(node: Node) -> bool:
    return "latent_image" in node["inputs"] and not {"positive", "guider"}.isdisjoint(
        node["inputs"]
    )


def linked(graph: Graph, value: Any) -> Node | None:
    """The node that an input comes from, if it is a link."""
    return graph.get(str(value[0])) if isinstance(value, list) and len(value) == 2 else None


def above(graph: Graph, node: Node) -> Iterator[str]:
    """The names of all nodes that a node depends on, the nearest first."""
    seen: set[str] = set()
    layer = [node]
    while layer:
        links = [
            value
            for node in layer
            for value in node["inputs"].values()
            if linked(graph, value) is not None
        ]
        names = list(dict.fromkeys(str(link[0]) for link in links if str(link[0]) not in seen))
        yield from names
        seen.update(names)
        layer = [graph[name] for name in names]


def below(graph: Graph, names: Collection[str]) -> set[str]:
    """The names of all nodes that depend on one of these."""
    users: dict[str, list[str]] = {}
    for name, node in graph.items():
        for value in node["inputs"].values():
            if linked(graph, value) is not None:
                users.setdefault(str(value[0]), []).append(name)
    found: set[str] = set()
    layer = set(names)
    while layer:
        layer = {user for name in layer for user in users.get(name, ())} - found
        found |= layer
    return found


def literal(graph: Graph, value: Any, key: str) -> Any:
    """The value of an input; of a link, that of the node's input of this name or named `value`, if
    it has one."""
    node = linked(graph, value)
    if node is None:
        return value
    found = next((node["inputs"][name] for name in (key, "value") if name in node["inputs"]), value)
    return value if linked(graph, found) is not None else found


def anywhere(graph: Graph, *keys: str) -> Any:
    """The first input of that name in the graph; None if there is none."""
    return next(
        (node["inputs"][key] for node in graph.values() for key in keys if key in node["inputs"]),
        None,
    )


def as_number(value: Any) -> Any:
    """The number that a text is, as some nodes keep them; else the value as it is."""
    for kind in (int, float):
        try:
            return kind(value) if isinstance(value, str) else value
        except ValueError:
            continue
    return value
