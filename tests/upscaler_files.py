"""Files of small upscalers of random weights, by each of their names."""

import math

import torch
from safetensors.torch import save_file

from helpers import normal
from ldm.models.upscalers import open_upscaler

WIDTH, GROWTH, BLOCKS = 8, 4, 2


def random_convs(shapes):
    found = {}
    for i, (name, (out, into)) in enumerate(shapes.items()):
        found[f"{name}.weight"] = normal(out, into, 3, 3, seed=i) / math.sqrt(9 * into)
        found[f"{name}.bias"] = 0.1 * normal(out, seed=1000 + i)
    return found


def esrgan(fold=1, ups=2):
    """Random weights by BasicSR's names."""
    shapes = {"conv_first": (WIDTH, 3 * fold**2), "conv_body": (WIDTH, WIDTH)}
    for i in range(BLOCKS):
        for j in (1, 2, 3):
            for k in range(1, 6):
                out = WIDTH if k == 5 else GROWTH
                shapes[f"body.{i}.rdb{j}.conv{k}"] = out, WIDTH + (k - 1) * GROWTH
    shapes |= {f"conv_up{i + 1}": (WIDTH, WIDTH) for i in range(ups)}
    return random_convs(shapes | {"conv_hr": (WIDTH, WIDTH), "conv_last": (3, WIDTH)})


def by_names(state):
    """As ESRGAN's second release calls them."""
    names = {"conv_body": "trunk_conv", "conv_up": "upconv", "conv_hr": "HRconv"}
    found = {}
    for name, tensor in state.items():
        if name.startswith("body."):
            name = name.replace("body.", "RRDB_trunk.").replace(".rdb", ".RDB")
        for theirs, new in names.items():
            name = name.replace(theirs, new)
        found[name] = tensor
    return found


def by_numbers(state, ups=2):
    """As ESRGAN's first release: a chain of layers, of which those that double have three each."""
    hr = 2 + 3 * ups
    names = {"conv_first": "model.0", "conv_body": f"model.1.sub.{BLOCKS}"}
    names |= {f"conv_up{i + 1}": f"model.{3 + 3 * i}" for i in range(ups)}
    names |= {"conv_hr": f"model.{hr}", "conv_last": f"model.{hr + 2}"}
    found = {}
    for name, tensor in state.items():
        layer, kind = name.rsplit(".", 1)
        if layer.startswith("body."):
            _, i, block, last = layer.split(".")
            names[layer] = f"model.1.sub.{i}.{block.upper()}.{last}.0"
        found[f"{names[layer]}.{kind}"] = tensor
    return found


def compact(scale=4, convs=3):
    state = random_convs(
        {f"body.{2 * i}": (WIDTH, WIDTH if i else 3) for i in range(convs)}
        | {f"body.{2 * convs}": (3 * scale**2, WIDTH)}
    )
    slopes = {f"body.{2 * i + 1}.weight": normal(WIDTH, seed=i).abs() for i in range(convs)}
    return state | slopes


def opened(state, tmp_path, root=None, suffix=".pth"):
    path = tmp_path / f"4x_sharp{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state if root is None else {root: state}, path)
    return open_upscaler(path)


X = (normal(3, 3, 8, 12, seed=9) / 3).clamp(-1, 1)  # batch 3, not square
