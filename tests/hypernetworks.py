"""Hypernetworks as AUTOMATIC1111's web UI builds and saves them, of random numbers."""

from itertools import pairwise

import torch
from torch import nn


def network(width, structure=(1, 2, 1), activation=None, norm=False, dropout=False, last=False):
    """A sequence of torch's own layers, in the order in which the web UI numbers them."""
    layers = []
    for i, (a, b) in enumerate(pairwise(structure), 1):
        layers.append(nn.Linear(int(a * width), int(b * width)))
        if activation is not None and (last or i < len(structure) - 1):
            layers.append(activation())
        if norm:
            layers.append(nn.LayerNorm(int(b * width)))
        if dropout and i < len(structure) - 1:
            layers.append(nn.Dropout(0.3))
    for layer in layers:
        for i, parameter in enumerate(layer.parameters()):
            nn.init.normal_(parameter, 1.0 - i if layer.__class__ is nn.LayerNorm else 0.0, 0.2)
    return nn.Sequential(*layers).eval().requires_grad_(False)


def pairs(widths, **options):
    """A pair for each width, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return {width: (network(width, **options), network(width, **options)) for width in widths}


def saved(made, **words):
    """What the web UI gives to torch.save."""
    return {
        width: tuple(
            {f"linear.{name}": tensor for name, tensor in one.state_dict().items()} for one in pair
        )
        for width, pair in made.items()
    } | {"step": 100, "name": "brush", "layer_structure": [1, 2, 1], **words}


def flat(made):
    """The same tensors by names of one level, for safetensors."""
    return {
        f"{width}.{which}.linear.{name}": tensor
        for width, pair in made.items()
        for which, one in enumerate(pair)
        for name, tensor in one.state_dict().items()
    }


def widths_of(config):
    """What the attentions of a U-Net read: the text, and the maps where there are attentions."""
    depths = dict(zip(config.channels, config.depth))
    inside = [width for width, depth in depths.items() if depth] + [config.channels[-1]]
    return [*dict.fromkeys([config.context_width, *inside])]
