"""Single files as programs write them: other spellings of the VAE's attention, and tensors that are
no part of the model."""

import re
import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.models.families import SD1
from ldm.models.keymaps import table
from ldm.models.weights import CheckpointError, inspect, read, read_components, save
from ldm.models.weights.saving import renamed

NEW_NAMES = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
ATTENTION = re.compile(r"(.*\.mid\.attn_1\.)(q|k|v|proj_out)\.(weight|bias)")


def respelt(name: str) -> str:
    """As diffusers' converter left them in the summer of 2023."""
    found = ATTENTION.fullmatch(name)
    return f"{found[1]}{NEW_NAMES[found[2]]}.{found[3]}" if found else name


def flat(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flatten(1) if ATTENTION.fullmatch(name) and tensor.ndim == 4 else tensor


def assert_loads_all(path, checkpoint) -> None:
    """In silence, and every parameter, bit for bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = renamed(read(path, family=checkpoint.family), "ldm")
    assert all(torch.equal(found[name], x) for name, x in renamed(checkpoint, "ldm").items())
    report = inspect(path, family=checkpoint.family)
    assert report.loadable
    assert dict(report.lines())["mapped"].startswith(f"{len(found)} of {len(found)} ")


@pytest.mark.parametrize("rename", [False, True])
@pytest.mark.parametrize("flatten", [False, True])
def test_the_vaes_attention_in_two_dimensions_and_under_new_names(
    tiny_checkpoint, tiny_compvis, tmp_path, rename, flatten
):
    written = {
        (respelt(name) if rename else name): (flat(name, x) if flatten else x)
        for name, x in tiny_compvis.items()
    }
    assert (written.keys() != tiny_compvis.keys()) == rename
    save_file(written, tmp_path / "a.safetensors")
    assert_loads_all(tmp_path / "a.safetensors", tiny_checkpoint)
    vae = {
        name.removeprefix("first_stage_model."): x
        for name, x in written.items()
        if name.startswith("first_stage_model.")
    }
    save_file(vae, tmp_path / "vae.safetensors")
    alone = read_components(tmp_path / "vae.safetensors", ["vae"], family=tiny_checkpoint.family)
    weight = tiny_checkpoint.vae.encoder.mid.attn.q.weight
    assert torch.equal(alone["vae"].encoder.mid.attn.q.weight, weight)


def test_a_matrix_in_the_place_of_a_pointwise_convolution(tiny_checkpoint, tiny_compvis, tmp_path):
    """Also in the U-Net's transformers, and in a folder the other way round."""
    name = "model.diffusion_model.middle_block.1.proj_in.weight"
    assert tiny_compvis[name].ndim == 4
    save_file(tiny_compvis | {name: tiny_compvis[name].flatten(1)}, tmp_path / "a.safetensors")
    assert_loads_all(tmp_path / "a.safetensors", tiny_checkpoint)
    save(tmp_path / "folder", tiny_checkpoint, "diffusers")
    path = tmp_path / "folder" / "vae" / "diffusion_pytorch_model.safetensors"
    vae = load_file(path)
    name = "encoder.mid_block.attentions.0.to_q.weight"
    assert vae[name].ndim == 2
    save_file(vae | {name: vae[name][:, :, None, None].clone()}, path)
    assert_loads_all(tmp_path / "folder", tiny_checkpoint)
    save_file(vae | {name: vae[name][:, :, None].repeat(1, 1, 2)}, path)
    with pytest.raises(CheckpointError, match=rf"1 of the wrong kind \(vae.{name} has shape"):
        read(tmp_path / "folder")


LEFT_OVERS = {
    "embedding_manager.string_to_param_dict.*": (1, 16),
    "cond_stage_model.logit_scale": (),
    "cond_stage_model.text_projection": (16, 16),
    "cond_stage_model.transformer.text_projection.weight": (16, 16),
    "cond_stage_model.transformer.text_model.embeddings.position_ids": (12,),
    "denoiser.sigmas": (1000,),
    "scale_factor": (),
    "logvar": (1000,),
    "first_stage_model.loss.discriminator.main.0.weight": (8, 3, 4, 4),
    "first_stage_model.loss.logvar": (),
}


@pytest.mark.parametrize("name", LEFT_OVERS)
def test_known_left_overs_are_ignored_with_a_reason(tiny_checkpoint, tiny_compvis, tmp_path, name):
    path = tmp_path / "a.safetensors"
    save_file(tiny_compvis | {name: torch.zeros(LEFT_OVERS[name])}, path)
    assert_loads_all(path, tiny_checkpoint)
    assert name in inspect(path, family=tiny_checkpoint.family).match.ignored


def test_a_text_encoder_under_both_of_its_names(tiny_checkpoint, tiny_compvis, tmp_path):
    twins = {
        name.replace(".text_model.", "."): torch.zeros_like(x)
        for name, x in tiny_compvis.items()
        if ".text_model." in name
    }
    assert twins
    save_file(tiny_compvis | twins, tmp_path / "a.safetensors")
    assert_loads_all(tmp_path / "a.safetensors", tiny_checkpoint)
    save_file(twins | tiny_compvis, tmp_path / "a.safetensors")
    report = inspect(tmp_path / "a.safetensors", family=tiny_checkpoint.family)
    assert "the same under another name" in str(report)


@pytest.mark.parametrize("layout", ["compvis", "diffusers", "ldm"])
@pytest.mark.parametrize(
    "name", ["lora_te_text_model_encoder_layers_0.lora_down.weight", "note", "x.text_projection"]
)
def test_any_other_tensor_is_left_out_with_a_warning(tiny_checkpoint, tmp_path, layout, name):
    path = file = tmp_path / ("a" if layout == "diffusers" else "a.safetensors")
    save(path, tiny_checkpoint, layout)
    if layout == "diffusers":
        file = path / "text_encoder" / "model.safetensors"
    metadata = {} if layout == "diffusers" else inspect(path).opened.metadata
    save_file(load_file(file) | {name: torch.zeros(2)}, file, metadata)
    if name.endswith("text_projection"):
        assert_loads_all(path, tiny_checkpoint)
        return
    with pytest.warns(UserWarning, match=rf"left out: 1 unknown \(.*{name}\)$") as told:
        found = read(path)
    assert len(told) == 1
    assert torch.equal(found.unet.stem.weight, tiny_checkpoint.unet.stem.weight)
    report = inspect(path)
    assert report.loadable
    assert name in dict(report.lines())["unknown"]
    assert "LoRA" not in str(report).replace(name, "")


def test_a_stray_tensor_is_not_what_a_broken_checkpoint_is(tiny_checkpoint, tiny_compvis, tmp_path):
    path, stray = tmp_path / "a.safetensors", "lora_te_text_model_layers_0.lora_down.weight"
    lacking = {name: x for name, x in tiny_compvis.items() if name != "first_stage_model.quant"}
    lacking.pop("first_stage_model.quant_conv.bias")
    save_file(lacking | {stray: torch.zeros(2)}, path)
    for family in (tiny_checkpoint.family, None):
        with pytest.raises(CheckpointError) as error:
            read(path, family=family)
        assert "LoRA" not in str(error.value).replace(stray, "")
    save_file({stray: torch.zeros(2)}, path)
    for family in (tiny_checkpoint.family, None):
        with pytest.raises(CheckpointError, match="it seems to be a LoRA"):
            read(path, family=family)


def test_a_tensor_of_the_wrong_shape_is_not_mapped(tiny_checkpoint, tiny_compvis, tmp_path):
    path, name = tmp_path / "a.safetensors", "first_stage_model.quant_conv.bias"
    save_file(tiny_compvis | {name: torch.zeros(3)}, path)
    report = inspect(path, family=tiny_checkpoint.family)
    count = len(table(tiny_checkpoint.family, "compvis"))
    assert dict(report.lines())["mapped"] == f"{count - 1} of {count} parameters"
    assert not report.loadable


def test_a_file_without_a_vae_is_told_what_to_do(tiny_checkpoint, tiny_compvis, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({n: x for n, x in tiny_compvis.items() if not n.startswith("first_")}, path)
    for family in (None, tiny_checkpoint.family, replace(SD1, name="other")):
        with pytest.raises(CheckpointError, match="VAE is missing: take the file with the VAE"):
            read(path, family=family)
