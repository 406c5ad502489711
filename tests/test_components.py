"""Networks one by one, several text towers, and parameters that are parts of a tensor."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import ldm
from ldm.clip.model import TextEncoder
from ldm.models.keymaps import prefixes
from ldm.models.weights import Checkpoint, CheckpointError, inspect, read, read_components, save
from ldm.models.weights.saving import renamed
from ldm.unet import UNet

BUILT_IN = Path(ldm.__file__).parent / "assets" / "shapes64.safetensors"


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    """Bit for bit."""
    mine, yours = renamed(one, "ldm"), renamed(other, "ldm")
    assert mine.keys() == yours.keys()
    for name in mine:
        assert torch.equal(mine[name], yours[name]), name


@pytest.fixture
def alone(tiny_checkpoint, tmp_path):
    """The VAE in every way that it is found."""
    family, folder = tiny_checkpoint.family, tmp_path / "folder"
    save(folder, tiny_checkpoint, "diffusers")
    save(tmp_path / "whole.safetensors", tiny_checkpoint, "compvis")
    save(tmp_path / "ours.safetensors", tiny_checkpoint)
    paths = {
        "diffusers' folder": folder,
        "its vae": folder / "vae",
        "the file in it": folder / "vae" / "diffusion_pytorch_model.safetensors",
        "a whole checkpoint": tmp_path / "whole.safetensors",
        "a whole file of ours": tmp_path / "ours.safetensors",
    }
    begin = prefixes(family, "compvis")["vae"]
    full = {name: x.contiguous() for name, x in renamed(tiny_checkpoint, "compvis").items()}
    vae = {name: full[name] for name in full if name.startswith(begin)}
    save_file(vae, paths.setdefault("with its prefix", tmp_path / "vae.safetensors"))
    bare = {name.removeprefix(begin): tensor for name, tensor in vae.items()}
    trained = {"state_dict": bare | {"loss.logvar": torch.zeros(())}, "epoch": 1}
    torch.save(trained, paths.setdefault("without", tmp_path / "vae.ckpt"))
    return paths


WAYS = ["diffusers' folder", "its vae", "the file in it", "a whole checkpoint"]
WAYS += ["a whole file of ours", "with its prefix", "without"]


@pytest.mark.parametrize("way", WAYS)
def test_a_vae_alone_is_loaded(tiny_checkpoint, alone, way):
    found = read_components(alone[way], ["vae"], torch.float16, family=tiny_checkpoint.family)
    assert list(found) == ["vae"]
    state = found["vae"].state_dict()
    expected = tiny_checkpoint.vae.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name].half()) for name in state)
    assert not found["vae"].training


def test_a_whole_checkpoint_states_the_family_of_its_parts(tiny_checkpoint, alone):
    found = read_components(alone["a whole file of ours"], ["unet", "text"])
    assert sorted(found) == ["text", "unet"]
    state = found["unet"].state_dict()
    for name, tensor in tiny_checkpoint.unet.state_dict().items():
        assert torch.equal(state[name], tensor)


def test_what_is_wrong_with_a_network_alone_is_said(tiny_checkpoint, alone, tmp_path):
    family, path = tiny_checkpoint.family, alone["the file in it"]
    with pytest.raises(CheckpointError, match=r"of no family that is known .* a VAE alone"):
        read_components(path, ["vae"])
    with pytest.raises(ValueError, match="tiny has no 'clip': it has unet, vae, text"):
        read_components(path, ["clip"], family=family)
    with pytest.raises(CheckpointError, match="missing"):
        read_components(path, ["unet"], family=family)
    tensors = load_file(path)
    tensors["surplus"] = tensors.pop("quant_conv.bias")
    save_file(tensors, tmp_path / "bad.safetensors")
    message = r"1 missing \(quant_conv.bias\); 1 unknown \(surplus\)"
    with pytest.raises(CheckpointError, match=message):
        read_components(tmp_path / "bad.safetensors", ["vae"], family=family)


@pytest.fixture(scope="module")
def two_towers(tiny_checkpoint) -> Checkpoint:
    """As Stable Diffusion XL: OpenCLIP beside CLIP, a projection, a vector, a depth per level."""
    family = tiny_checkpoint.family
    (first,) = family.text
    second = replace(
        first, width=24, heads=3, layers=2, mlp_width=40, activation="gelu", layer=2,
        final_norm=False, pad=0, projection=10,
    )  # fmt: skip
    unet = replace(family.unet, context_width=40, vector_width=14, depth=(0, 2), mid_depth=3)
    family = replace(family, text=(first, second), unet=unet)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        towers = tiny_checkpoint.text[0], TextEncoder(second).eval()
        return replace(tiny_checkpoint, family=family, text=towers, unet=UNet(unet).eval())


@pytest.mark.parametrize("layout", ["ldm", "compvis"])
def test_two_towers_there_and_back(two_towers, tmp_path, layout):
    path = tmp_path / "two.safetensors"
    save(path, two_towers, layout)
    again = read(path)
    assert again.family == two_towers.family
    assert_same(again, two_towers)


def test_diffusers_folders_of_two_towers_are_refused(two_towers, tmp_path):
    with pytest.raises(ValueError, match="tiny cannot be written as a diffusers folder"):
        save(tmp_path / "two", two_towers, "diffusers")
    assert not (tmp_path / "two").exists()


def test_q_k_and_v_are_one_tensor_of_openclip(two_towers, tmp_path):
    tensors = {name: x.contiguous() for name, x in renamed(two_towers, "compvis").items()}
    begin = "conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_"
    attn = two_towers.text[1].layers[1].attn
    for kind in ("weight", "bias"):
        expected = torch.cat([getattr(layer, kind) for layer in (attn.q, attn.k, attn.v)])
        assert torch.equal(tensors[begin + kind], expected)
    name = "conditioner.embedders.1.model.text_projection"
    assert torch.equal(tensors[name], two_towers.text[1].projection.weight.T)

    path = tmp_path / "two.safetensors"
    for change, message in (
        ({begin + "weight": None}, rf"1 missing \({begin}weight\)"),
        ({begin + "bias": torch.zeros(71)}, rf"{begin}bias has shape \(71,\), not \(72,\)"),
    ):
        changed = {key: x for key, x in (tensors | change).items() if x is not None}
        save_file(changed, path, {"family": json.dumps(two_towers.family.to_dict())})
        with pytest.raises(CheckpointError, match=message):
            read(path)


def test_parts_of_a_tensor_are_the_file_itself(two_towers, tmp_path):
    path = tmp_path / "two.safetensors"
    save(path, two_towers, "compvis")
    attn = read(path).text[1].layers[0].attn
    assert attn.k.weight.data_ptr() - attn.q.weight.data_ptr() == attn.q.weight.nbytes


def test_a_family_can_be_given_to_inspect(tiny_compvis, tiny_family, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(tiny_compvis, path)
    assert not inspect(path).loadable
    assert inspect(path, family=tiny_family).loadable


def written_by_0_1(values):
    """The fields of the built-in model's family, as version 0.1 wrote them."""
    (text,), unet = values["text"], values["unet"]
    for name in ("mlp_width", "layer", "final_norm", "pad", "projection"):
        del text[name]
    for name in ("concat_channels", "vector_width", "mid_depth"):
        del unet[name]
    unet |= {"attention": [depth > 0 for depth in unet["depth"]], "depth": max(unet["depth"])}
    return {**values, "text": text, "scale": values.pop("guidance_scale")}


@pytest.mark.parametrize("old", [False, True])
def test_the_built_in_model_is_read_to_the_bit(old, tmp_path):
    """Also with a header of version 0.1, in which it was first published."""
    path, tensors = BUILT_IN, load_file(BUILT_IN)
    if old:
        with safe_open(BUILT_IN, "pt") as file:
            metadata = file.metadata()
        metadata["family"] = json.dumps(written_by_0_1(json.loads(metadata["family"])))
        save_file(tensors, path := tmp_path / "old.safetensors", metadata)
    found = read(path, dtype=torch.float16)
    ours = renamed(found, "ldm")
    assert tensors.keys() == ours.keys()
    assert all(torch.equal(ours[name], tensors[name]) for name in ours)
    assert (found.family.unet.depth, found.family.guidance_scale) == ((0, 1, 1), 3.0)
