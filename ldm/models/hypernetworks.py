"""The files of hypernetworks, see `unet.hypernetwork`, as AUTOMATIC1111's web UI writes them:

    {768: (f, g), 320: (f, g), …, "activation_func": "relu", "activate_output": False, …}

a pickle, read as data, where f and g are {"linear.0.weight": (D', D), "linear.0.bias": (D',), …}.
The numbers have gaps: an activation, and dropout, which only a training needs, have one too. The
first files had linear1 and linear2, and no activation. A weight of one axis is a layer norm's. In
safetensors the names are 768.0.linear.0.weight, …, and the words are in the metadata.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..unet import UNet
from ..unet.hypernetwork import ACTIVATIONS, Change, Hypernetwork, attentions
from .family import Family
from .weights.beside import Beside
from .weights.deep import open_deep
from .weights.errors import CheckpointError
from .weights.loading import check_finite
from .weights.mapped import Weight
from .weights.opening import OpenedCheckpoint

NAME = re.compile(r"([1-9]\d{0,4})\.([01])\.linear(?:\.(\d{1,3})|([12]))\.(weight|bias)")
TEXTS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # the family whose text is so wide


def read_hypernetwork(path: Path, family: Family, unet: UNet) -> Hypernetwork:
    """The hypernetwork in a file. CheckpointError: there is none, it is damaged, or it is for the
    models of another family."""
    network = hypernetwork_of(open_deep(path))
    texts, own = [width for width in network.widths if width in TEXTS], family.unet.context_width
    fit = {attn.k.in_features for attn in attentions(unet)} & {*network.widths}
    if not fit or (texts and own not in texts):
        meant = " or ".join(TEXTS[width] for width in texts) or "another family"
        what = f"{path} cannot be used: it is a hypernetwork for {meant}"
        theirs = ", ".join(map(str, network.widths))
        raise CheckpointError(
            f"{what}, and this model is of {family.name}; it changes contexts {theirs} wide, and "
            f"the text of this model is {own} wide"
        )
    return network


def hypernetwork_of(opened: OpenedCheckpoint) -> Hypernetwork:
    """What a file holds. CheckpointError: something else, or it is damaged."""
    layers, path = layers_of(opened), opened.path
    activation = opened.metadata.get("activation_func", "linear")
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise CheckpointError(f"{path} has the activation {activation[:50]!r}: known are {known}")
    last = opened.metadata.get("activate_output", "True") == "True"

    def change(width: int, which: int) -> Change:
        where = f"{width}.{which} in {path}"
        return change_of(layers[width, which], width, activation, last, where)

    widths = dict.fromkeys(width for width, _ in layers)
    network = Hypernetwork({width: (change(width, 0), change(width, 1)) for width in widths})
    return network.eval().requires_grad_(False)


Parts = dict[str, Weight]  # weight and bias of a layer


def layers_of(opened: OpenedCheckpoint) -> dict[tuple[int, int], dict[int, Parts]]:
    """By width, and 0 for keys and 1 for values: the layers by their numbers."""
    layers: dict[tuple[int, int], dict[int, Parts]] = {}
    for name, weight in opened.weights.items():
        if (found := NAME.fullmatch(name)) is None:
            raise CheckpointError(f"{opened.path} is not a hypernetwork: it has {name[:100]}")
        width, which, number, early, part = found.groups()
        place = int(number) if early is None else int(early) - 1
        layers.setdefault((int(width), int(which)), {}).setdefault(place, {})[part] = weight
    if not layers or any((width, 1 - which) not in layers for width, which in layers):
        raise CheckpointError(f"{opened.path} is not a hypernetwork: it has no pairs of networks")
    return layers


def change_of(
    layers: Mapping[int, Parts], width: int, activation: str, last: bool, where: str
) -> Change:
    """One network, of layers by their numbers."""
    widths, norms, tensors = [width], list[bool](), dict[str, Tensor]()
    for _, parts in sorted(layers.items()):
        shape = parts["weight"].shape if len(parts) == 2 else ()
        plain = len(shape) == 2
        fits = plain and shape[1] == widths[-1] and shape[0] > 0
        fits = fits or (shape == (widths[-1],) and len(norms) > 0 and not norms[-1])
        if not fits or parts["bias"].shape != shape[:1]:
            shapes = ", ".join(f"{name} {part.shape}" for name, part in parts.items())
            raise CheckpointError(f"{where} is damaged: a layer has {shapes} behind {widths[-1]}")
        if plain:
            widths.append(shape[0])
            norms.append(False)
        else:
            norms[-1] = True
        kind = "linears" if plain else "norms"
        for name, weight in parts.items():
            tensors[f"{kind}.{len(norms) - 1}.{name}"] = read(weight, f"{name} of {where}")
    if widths[-1] != width:
        raise CheckpointError(f"{where} is damaged: it makes {widths[-1]} numbers of {width}")
    with torch.device("meta"):
        change = Change(widths, norms, activation, last)
    change.load_state_dict(tensors, assign=True)
    return change


def read(weight: Weight, what: str) -> Tensor:
    if not weight.dtype.is_floating_point:
        raise CheckpointError(f"{what} is damaged: it is of {weight.dtype}")
    tensor = weight.read(torch.float32)
    check_finite(tensor, what)
    return tensor


def of_hypernetwork(opened: OpenedCheckpoint, path: Path) -> Beside | None:
    """What it is for those who want to know, and whether it is whole; None: something else."""
    try:
        widths = dict.fromkeys(width for width, _ in layers_of(opened))
    except CheckpointError:
        return None
    problem = None
    try:
        hypernetwork_of(opened)
    except CheckpointError as error:
        problem = str(error)
    what = f"a hypernetwork, which changes contexts {', '.join(map(str, widths))} wide"
    activation = opened.metadata.get("activation_func", "linear")
    families = tuple(TEXTS[width] for width in widths if width in TEXTS)
    return Beside(what, "--hypernetwork", families, (("activation", activation),), problem)
