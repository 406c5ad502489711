"""Damaged files of ControlNets and adapters: each ends in a clear error or in a right load."""

import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import TIMES, build_tiny
from ip_adapters import ip_adapter
from ldm.models.control import read_control
from ldm.models.control.loading import names_of
from ldm.models.keymaps.control import adapter_rows, controlnet_rows
from ldm.models.keymaps.ip_adapter import ip_adapter_rows
from ldm.models.weights import CheckpointError
from ldm.unet.adapter import AdapterConfig, T2IAdapter
from ldm.unet.controlnet import ControlNet
from ldm.unet.ip_adapter import IPAdapter, IPAdapterConfig, widths
from ldm.unet.union import UnionControlNet
from test_corruption import flip, flip_start, truncate
from test_weights_fuzz import odd_object

CASES = 60


def networks(config):
    """Of each kind: a network, its rows, and in which names its file is."""
    adapter = AdapterConfig(3, 2, config.channels, 1, (1,), True, 3)
    flat = AdapterConfig(1, 2, config.channels, 1, (1,), False, 1)
    union = UnionControlNet(config, (4, 8), kinds=6, kind_width=4)
    plain = IPAdapterConfig("linear", 10, config.context_width, 4, widths(config))
    plus = replace(
        plain, projection="resampler", width=12, inner=64, mlp_width=20, layers=2, tokens=3
    )
    faces = replace(plain, projection="mlp", tokens=0)
    return {
        "controlnet": (ControlNet(config, (4, 8)), controlnet_rows(config, 2), "compvis"),
        "diffusers": (ControlNet(config, (4, 8)), controlnet_rows(config, 2), "diffusers"),
        "difference": (ControlNet(config, (4, 8)), controlnet_rows(config, 2), "compvis"),
        "control-lora": (ControlNet(config, (4, 8)), controlnet_rows(config, 2), "compvis"),
        "union": (union, controlnet_rows(config, 2, 1), "diffusers"),
        "adapter": (T2IAdapter(adapter), adapter_rows(adapter), "diffusers"),
        "flat adapter": (T2IAdapter(flat), adapter_rows(flat), "diffusers"),
        **{
            f"IP-Adapter, {ip.projection}": (IPAdapter(ip), ip_adapter_rows(ip), "compvis")
            for ip in (plain, plus, faces)
        },
    }


def changed(tensors, draw):
    """One tensor is gone, twice there, of another shape or type, or not finite."""
    name = draw.choice([*tensors])
    tensor, found = tensors[name], dict(tensors)
    what = draw.randrange(7)
    if what == 0:
        del found[name]
    elif what == 1:
        found[f"{name}.{draw.randrange(99)}"] = tensor.clone()
    elif what == 2:
        found[name] = tensor.flatten()[: draw.randrange(tensor.numel() + 1)].clone()
    elif what == 3:
        found[name] = tensor.to(draw.choice([torch.int8, torch.float16, torch.bool]))
    elif what == 4:
        odd = draw.choice([float("nan"), float("inf")])
        found[name] = torch.full(tensor.shape, odd)
    elif what == 5:
        found[name] = torch.zeros([draw.choice([0, 1, 3, 7]) for _ in range(draw.randrange(6))])
    else:
        parts = name.split(".")
        parts[draw.randrange(len(parts))] = draw.choice(["0", "99", "up", "down", "weight"])
        found[".".join(parts)] = found.pop(name)
    return found


@pytest.mark.parametrize("kind", networks(build_tiny().unet.config))
def test_damaged_controls(kind, door, tmp_path):
    """A right load has all parameters, finite, in the shapes of the network."""
    model = build_tiny()
    network, rows, key_format = networks(model.unet.config)[kind]
    names, state = names_of(rows, key_format), network.state_dict()
    tensors = {names[ours]: state[ours].contiguous() for ours in names}
    prefix = "control_model." if kind == "difference" else ""
    tensors = {prefix + name: tensor for name, tensor in tensors.items()}
    marks = {"difference": "difference", "control-lora": "lora_controlnet"}
    if (mark := marks.get(kind)) is not None:
        tensors[mark] = torch.zeros(1)
    path, draw = tmp_path / "control.safetensors", random.Random(kind)
    for _ in range(CASES * TIMES):
        file = tensors
        for _ in range(draw.choice([0, 1, 1, 1, 3])):
            file = changed(file, draw)
        save_file(file, path)
        if draw.random() < 0.4:
            data = bytearray(path.read_bytes())
            draw.choice([flip, flip_start, truncate])(data, draw)
            path.write_bytes(data)
        given = path, model.family, model.unet
        found = door.ends(read_control, *given, errors=CheckpointError)
        if found is not None:
            values = found.state_dict().values()
            assert all(value.isfinite().all() and value.device.type == "cpu" for value in values)
    assert door.read > 0
    assert door.refused > 0


def test_the_damaged_were_whole_before(tmp_path):
    """So that what is refused is refused for its damage."""
    model = build_tiny()
    for kind, (network, rows, key_format) in networks(model.unet.config).items():
        names, state = names_of(rows, key_format), network.state_dict()
        path = tmp_path / f"{kind}.safetensors"
        save_file({names[ours]: state[ours].contiguous() for ours in names}, path)
        read = read_control(path, model.family, model.unet).state_dict()
        assert read.keys() == load_file(path).keys() or len(read) == len(names)


def test_hostile_pickles_of_ip_adapters(door, tmp_path):
    """Objects of anything in the places of its parts."""
    model, path = build_tiny(), tmp_path / "x.bin"
    whole = ip_adapter("resampler", model.unet.config)
    for seed in range(CASES * TIMES):
        draw = random.Random(seed)
        content = {part: dict(inner) for part, inner in whole.items()}
        inner = draw.choice([content, *content.values()])
        for _ in range(draw.choice([0, 1, 1])):
            inner[draw.choice([*inner])] = odd_object(draw)
        try:
            torch.save(content, path, _use_new_zipfile_serialization=draw.random() < 0.5)
        except UnicodeEncodeError:
            continue
        door.ends(read_control, path, model.family, model.unet, errors=CheckpointError)
    assert door.refused > 10
    assert door.read > 10
