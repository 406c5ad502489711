"""A refiner together with what a request adds to its model."""

import warnings
from dataclasses import replace

import pytest
import torch

import loras
from controls import saved, their_controlnet
from helpers import differ, latents, random_picture
from ldm.request import Request
from small_families import REFINER, SDXL, build

ASKED = {"steps": 4, "seed": 3, "width": 24, "height": 16, "guidance_scale": 3.0}
HINT = random_picture(24, 16)


def weights(model):
    networks = model.unet, *(tower.encoder for tower in model.towers)
    return [tensor for network in networks for tensor in network.state_dict().values()]


@pytest.fixture
def added(tmp_path):
    """What a request asks for: a LoRA of all layers and a ControlNet."""
    lora = loras.write(tmp_path / "fur.safetensors", loras.tensors(SDXL, "LoRA"))
    HINT.save(tmp_path / "hint.png")
    net = saved(their_controlnet(SDXL), tmp_path / "control.safetensors")
    return {
        "lora": {"lora": (str(lora),)},
        "control": {"control": (str(net),), "control_image": str(tmp_path / "hint.png")},
    }


@pytest.mark.parametrize("kind", ["lora", "control"])
def test_a_refiner_of_the_same_networks_has_all_that_is_added(added, kind):
    """One that is the model itself once more changes nothing."""
    model, twin, asked = build(SDXL), build(SDXL), added[kind]
    request = Request("a cat", **ASKED, **asked)
    plain = latents(model, Request("a cat", **ASKED))
    alone = latents(model, request)
    assert differ(alone, plain)
    before = [tensor.clone() for tensor in weights(twin)]
    model.refiners["other"] = twin
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*refiner.*")
        refined = latents(model, replace(request, refiner="other", refiner_start=0.5))
    assert torch.equal(refined, alone)
    assert all(torch.equal(a, b) for a, b in zip(weights(twin), before)), "as they were"


@pytest.mark.parametrize(("kind", "name"), [("lora", "LoRAs"), ("control", "controls")])
def test_one_of_other_networks_goes_on_without_and_it_is_told(added, kind, name):
    model, refiner, asked = build(SDXL), build(REFINER), added[kind]
    model.refiners["other"] = refiner
    request = Request("a cat", **ASKED, **asked, refiner="other", refiner_start=0.5)
    said = f"without the {name} of the request: they are for tiny-sdxl, and it is of tiny-refiner"
    with pytest.warns(UserWarning, match=said):
        job = model.resolve(request)
    assert job.refiner.additions == ()
    assert latents(model, job).isfinite().all()
