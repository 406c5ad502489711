"""Files of each kind that is added to a model, for any family: of a small one with random numbers;
of one at full size hollow, that is with a header and the length, and on disk hardly anything."""

import json
import struct
from dataclasses import replace
from math import prod

import torch
from safetensors.torch import save_file

import hypernetworks
import ip_adapters
from clip_files import openclip
from controls import randomised
from helpers import normal
from ldm.models.control.loading import names_of
from ldm.models.keymaps import prefixes, table
from ldm.models.keymaps.control import adapter_rows, controlnet_rows
from ldm.unet.adapter import AdapterConfig, T2IAdapter
from ldm.unet.controlnet import HINT_WIDTHS, ControlNet
from ldm.unet.union import UnionControlNet
from ldm.vae import VAE
from tiny_families import vae_factor

MARKS = {"difference": "difference", "control-LoRA": "lora_controlnet"}


def made(network, full):
    """A network on the meta device, or with random numbers."""
    with torch.device("meta" if full else "cpu"), torch.random.fork_rng():
        torch.manual_seed(3)
        return network() if full else randomised(network(), 4)


def write(path, tensors):
    """A safetensors file; hollow if its tensors are on the meta device."""
    if not any(tensor.is_meta for tensor in tensors.values()):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        return path
    header, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + 2 * prod(tensor.shape)
        offsets = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [start, end]}
        header[name] = offsets
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def control(kind, family, full):
    """Tensors of a ControlNet, a T2I-Adapter or an IP-Adapter."""
    unet = replace(family.unet, concat_channels=0, guidance_width=None, classes=None)
    if kind.startswith("T2I"):
        return adapter(kind, family, full)
    if kind.startswith("IP"):
        return ip_adapter(kind, family, full)
    if kind == "ControlNet, union":
        network = made(lambda: UnionControlNet(unet, HINT_WIDTHS, kinds=8), full)
        rows = controlnet_rows(unet, 6, 1)
    else:
        network, rows = made(lambda: ControlNet(unet, HINT_WIDTHS), full), controlnet_rows(unet, 6)
    theirs = kind in ("ControlNet, diffusers", "ControlNet, union")
    state, found = network.state_dict(), {}
    for ours, name in names_of(rows, "diffusers" if theirs else "compvis").items():
        weight, base = state[ours], not ours.startswith(("hint", "zero"))
        if kind == "control-LoRA" and base and name.endswith(".weight") and weight.ndim > 1:
            up = weight.new_empty(len(weight), 2, *(1,) * (weight.ndim - 2))
            down = weight.new_empty(2, *weight.shape[1:])
            layer = name.removesuffix(".weight")
            found |= {f"{layer}.{n}": x if full else 0.1 * normal(*x.shape) for n, x in
                      (("up", up), ("down", down))}  # fmt: skip
        else:
            found[name] = weight
    if kind in ("ControlNet, original", "ControlNet, difference"):
        found = {f"control_model.{name}": tensor for name, tensor in found.items()}
    if (mark := MARKS.get(kind.removeprefix("ControlNet, "))) is not None:
        found[mark] = torch.zeros(1, device="meta" if full else "cpu")
    return found


def adapter(kind, family, full):
    channels, factor = family.unet.channels, vae_factor(family)
    large = family.name == "sdxl"
    if large:
        channels, factor = (*channels, channels[-1]), 2 * factor
    light = kind == "T2I-Adapter, light"
    halved = (2,) if large else tuple(range(1, len(channels)))
    config = AdapterConfig(3, factor, channels, 2, halved, light, 3)
    network = made(lambda: T2IAdapter(config), full)
    names, state = names_of(adapter_rows(config), "diffusers"), network.state_dict()
    return {name: state[ours] for ours, name in names.items()}


def ip_adapter(kind, family, full):
    """Of CLIP's ViT-H/14, or of the small one of `tower`."""
    sizes = {"tower_width": 1280, "vector": 1024} if full else ip_adapters.TOWER
    way = "resampler" if kind.endswith("plus") else "linear"
    with torch.device("meta" if full else "cpu"):
        return ip_adapters.flat(ip_adapters.ip_adapter(way, family.unet, **sizes))


def tower(path):
    """A small CLIP, from whose vision tower an IP-Adapter has a picture."""
    torch.save(openclip(dtype=torch.float32).state_dict(), path)
    return path


def hypernetwork(family, full):
    """For the text and the maps of a family."""
    with torch.device("meta" if full else "cpu"):
        return hypernetworks.flat(hypernetworks.pairs(hypernetworks.widths_of(family.unet)))


def vae(family, full):
    """By CompVis's names, alone."""
    network, begin = made(lambda: VAE(family.vae), full), prefixes(family, "compvis")["vae"]
    state, found = network.state_dict(), {}
    for ours, source in table(family, "compvis").items():
        if source.component == "vae":
            tensor = state[ours.removeprefix("vae.")]
            found[source.names[0].removeprefix(begin)] = (
                tensor if source.operation is None else source.operation.theirs(tensor)
            )
    return found


def tiny_vae(family):
    """TAESD's two halves, by the author's names; small where the family is."""
    levels, width, latents = len(family.vae.channels) - 1, 64, family.vae.latent_channels
    found = {}

    def conv(name, out, into, bias=True):
        found[f"{name}.weight"] = normal(out, into, 3, 3, seed=len(found)) / 30
        if bias:
            found[f"{name}.bias"] = 0.1 * normal(out, seed=len(found))

    def block(half, number):
        for i in (0, 2, 4):
            conv(f"{half}.{number}.conv.{i}", width, width)

    conv("encoder.0", width, 3)
    block("encoder", 1)
    conv("decoder.1", width, latents)
    for i in range(levels):
        conv(f"encoder.{2 + 4 * i}", width, width, bias=False)
        conv(f"decoder.{7 + 5 * i}", width, width, bias=False)
        for j in range(3):
            block("encoder", 3 + 4 * i + j)
            block("decoder", 3 + 5 * i + j)
    conv(f"encoder.{2 + 4 * levels}", latents, width)
    block("decoder", 3 + 5 * levels)
    conv(f"decoder.{4 + 5 * levels}", 3, width)
    return found


def embedding(family):
    """Two vectors for its towers."""
    if len(family.text) == 1:
        return {"emb_params": normal(2, family.text[0].width)}
    widths = [tower.width for tower in family.text]
    return {name: normal(2, width) for name, width in zip(("clip_l", "clip_g"), widths)}
