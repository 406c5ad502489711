"""How many numbers a control keeps while the U-Net is called, counted in its network."""

import torch

from controls import randomised
from helpers import build_tiny, random_picture
from ldm.conditioning import Conditioning
from ldm.models.families import FAMILIES
from ldm.pipeline import activations, batches
from ldm.pipeline.control_kinds import numbers_of
from ldm.request import Request
from ldm.unet.adapter import AdapterConfig, T2IAdapter
from ldm.unet.controlnet import ControlNet
from test_control import TINY_HINT, controlnet_rows, write


def test_they_are_those_of_its_residuals_and_its_hint():
    config = FAMILIES["sd1"].unet
    with torch.device("meta"):
        network = ControlNet(config)
        adapter = T2IAdapter(AdapterConfig(3, 8, config.channels, 2, (1, 2, 3), False, 3))
        x, hint = torch.zeros(1, 4, 64, 64), torch.zeros(1, 3, 512, 512)
        told = Conditioning(torch.zeros(1, 77, 768))
        residuals, features = network(x, torch.zeros(1), told, hint), adapter(hint)
    for control, kept in ((network, residuals), (adapter, features)):
        counted = (hint.numel() + sum(one.numel() for one in kept)) / (64 * 64)
        assert abs(numbers_of(control) - counted) < 1


def test_fewer_pictures_fit_beside_controls(tmp_path, monkeypatch):
    model = build_tiny()
    network = randomised(ControlNet(model.unet.config, TINY_HINT), 1)
    path = write(network, controlnet_rows(model.unet.config, 2), tmp_path / "net.safetensors")
    random_picture(16, 16).save(tmp_path / "hint.png")
    asked = {"prompt": "a cat", "width": 16, "height": 16, "count": 16}
    more = {"control": (path,) * 3, "control_image": str(tmp_path / "hint.png")}
    plain, controlled = (model.resolve(Request(**asked, **x)) for x in ({}, more))
    monkeypatch.setattr(activations, "free_memory", lambda device: 12 * 10**6)
    assert 1 <= batches.batch_size(model, controlled) < batches.batch_size(model, plain)
