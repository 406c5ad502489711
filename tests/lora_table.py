"""What can be done with a LoRA of a kind, for each family."""

import torch

import loras
from ldm.models.families import FAMILIES
from ldm.models.lora import Applied, Use, match_lora, read_lora
from ldm.models.lora.kinds import KINDS
from tiny_families import SMALL, random_model

NAMES = "sd1", "sd1-inpainting", "sd2", "sdxl", "sdxl-refiner"
BASE = {"sd1-inpainting": "sd1"}  # what a file for it is also for


def recognised(name, kind, path):
    family = FAMILIES[name]
    loras.write(path, loras.tensors(family, kind))
    found = read_lora(path)
    assert [*found.kinds] == [sort(kind)]
    return len(match_lora(found, family).changed) == len(found.layers)


def sort(kind):
    """What a kind is called in the package, of which these are several forms."""
    sorts = [known.name for known in KINDS]
    return next((name for name in sorts if kind.split(",")[0] == name), "LoRA")


def applied(name, kind, path):
    family = SMALL[name]
    checkpoint = random_model(family)
    text = {f"text{i + 1 if i else ''}": tower for i, tower in enumerate(checkpoint.text)}
    networks = {"unet": checkpoint.unet, **text}
    matched = match_lora(read_lora(loras.write(path, loras.tensors(family, kind))), family)
    touched = {f"{layer}.weight" for _, ours in matched.changed for layer in ours}
    weights = {f"{n}.{k}": p for n, net in networks.items() for k, p in net.named_parameters()}
    before = {key: weight.clone() for key, weight in weights.items()}
    state = Applied(networks)
    state.use([Use(matched, 0.8, 0.6)])
    changed = {key for key in touched if not torch.equal(weights[key], before[key])}
    state.use([])
    same = all(torch.equal(weights[key], before[key]) for key in weights)
    return changed == touched and same


def refusal(found, other):
    """The error of a file on a family; None: it is taken."""
    try:
        match_lora(found, FAMILIES[other])
    except ValueError as error:
        return str(error)
    return None


def refusing(name, kind, path):
    """The other families that refuse a file and say what it is for."""
    loras.write(path, loras.tensors(FAMILIES[name], kind))
    found, refused = read_lora(path), []
    for other in NAMES:
        told = refusal(found, other)
        assert told is None or f" is for {BASE.get(name, name)}, and the model is {other}: " in told
        refused += [other] * (told is not None)
    return refused


def lora_row(kind, folder):
    path = folder / "x.safetensors"
    of = {name: recognised(name, kind, path) for name in NAMES}
    on = {name: applied(name, kind, path) for name in NAMES}
    by = {name: refusing(name, kind, path) for name in NAMES}
    kin = {"sd1", "sd1-inpainting"}
    for name, refused in by.items():
        assert set(refused) == set(NAMES) - (kin if name in kin else {name}), (kind, name)
    return kind, said(of), said(on), "all others"


def said(cells):
    lacking = [name for name, cell in cells.items() if not cell]
    return f"not for {', '.join(lacking)}" if lacking else "all five"
