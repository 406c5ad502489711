"""diffusers folders: what their configs say, what is not supported, what is not complete."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.clip.tokenizer import clip_merges
from ldm.models.families import SD1
from ldm.models.weights import Checkpoint, CheckpointError, inspect, read, save
from ldm.models.weights.loading import merges_of
from ldm.models.weights.saving import renamed


@pytest.fixture
def checkpoint(tiny_checkpoint):
    return tiny_checkpoint


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    """Bit for bit."""
    mine, yours = renamed(one, "ldm"), renamed(other, "ldm")
    assert mine.keys() == yours.keys()
    for name in mine:
        assert torch.equal(mine[name], yours[name]), name


@pytest.fixture
def folder(checkpoint, tmp_path):
    save(tmp_path / "folder", checkpoint, "diffusers")
    return tmp_path / "folder"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_describes_its_family(checkpoint, folder):
    assert read(folder).family == checkpoint.family
    edit(folder / "model_index.json", _ldm={})  # as in one of another program
    assert read(folder).family == replace(
        checkpoint.family,
        name="folder",
        steps=SD1.steps,
        guidance_scale=SD1.guidance_scale,
        sampler=SD1.sampler,
        schedule=SD1.schedule,
    )
    by_width = replace(
        checkpoint.family, unet=replace(checkpoint.family.unet, heads=None, head_width=16)
    )
    save(folder, replace(checkpoint, family=replace(by_width, prediction="v")), "diffusers")
    again = read(folder).family
    assert (again.unet.head_width, again.unet.heads, again.prediction) == (16, None, "v")


def test_torch_files_and_half_precision_in_folders(checkpoint, folder):
    """unet as .bin, vae as .fp16.safetensors, each beside the wrong thing to take."""
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    torch.save(unet, folder / "unet" / "diffusion_pytorch_model.bin")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.fp16.bin")
    assert_same(read(folder), checkpoint)
    vae = {
        name: tensor.half()
        for name, tensor in load_file(
            folder / "vae" / "diffusion_pytorch_model.safetensors"
        ).items()
    }
    save_file(vae, folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    assert_same(read(folder), checkpoint)  # full precision is preferred
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    half = read(folder)
    assert torch.equal(half.vae.quant.weight, checkpoint.vae.quant.weight.half().float())
    assert inspect(folder).dtypes.keys() == {"float32", "float16"}


def test_old_names_in_folders(checkpoint, folder):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    vae = {}
    for name, tensor in load_file(path).items():
        for new, former in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{former}.")
        vae[name] = tensor
    assert "encoder.mid_block.attentions.0.proj_attn.bias" in vae
    save_file(vae, path)
    path = folder / "text_encoder" / "model.safetensors"
    text = {name.removeprefix("text_model."): tensor for name, tensor in load_file(path).items()}
    save_file(text | {"embeddings.position_ids": torch.arange(12)[None]}, path)
    assert_same(read(folder), checkpoint)


def test_tokenizers_of_transformers_5(checkpoint, folder):
    """One tokenizer.json instead of several files, with merges as pairs or as lines."""
    (folder / "tokenizer" / "merges.txt").unlink()
    (folder / "tokenizer" / "special_tokens_map.json").unlink()
    for merges in (list(checkpoint.merges), [" ".join(pair) for pair in checkpoint.merges]):
        (folder / "tokenizer" / "tokenizer.json").write_text(
            json.dumps({"model": {"merges": merges}})
        )
        assert read(folder).merges == checkpoint.merges


def test_merges_of_clip_are_none():
    lines = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in clip_merges())
    assert merges_of(SimpleNamespace(merges=lines, path="x"), SD1) is None


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (
            "scheduler/scheduler_config.json",
            {"beta_schedule": "linear"},
            "beta_schedule 'linear', not 'scaled_linear'",
        ),
        (
            "scheduler/scheduler_config.json",
            {"prediction_type": "flow_prediction"},
            "family.prediction cannot be None",
        ),
        (
            "scheduler/scheduler_config.json",
            {"beta_start": None},
            "family.beta_start cannot be None",
        ),
        ("tokenizer/special_tokens_map.json", {"pad_token": "no"}, "pad_token 'no' is not in"),
        (
            "unet/config.json",
            {"addition_embed_type": "text_time"},
            "'projection_class_embeddings_input_dim' is missing",
        ),
        ("unet/config.json", {"addition_embed_type": "image"}, "'image' is not supported"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "class_embed_type 'timestep'"),
        (
            "unet/config.json",
            {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 8},
            "there is no image_encoder",
        ),
        ("unet/config.json", {"mid_block_type": "Other"}, "mid_block_type 'Other' is none of"),
        (
            "model_index.json",
            {"text_encoder_2": ["transformers", "X"]},
            "text_encoder_2 has no weights",
        ),
        ("unet/config.json", {"freq_shift": 1}, "freq_shift 1, not 0"),
        ("unet/config.json", {"attention_head_dim": [2, 8]}, "heads of one width"),
        ("unet/config.json", {"attention_head_dim": "two"}, "configs that cannot be"),
        ("unet/config.json", {"layers_per_block": 2}, "missing .*unet.down_blocks.0.resnets.1"),
        ("unet/config.json", {"block_out_channels": 32}, "configs that cannot be"),
        (
            "unet/config.json",
            {"in_channels": 9},
            "conv_in.weight has shape .32, 4, 3, 3., not .32, 9, 3, 3.",
        ),
        ("vae/config.json", {"latent_channels": 16}, "4 channels, the VAE has 16"),
        ("text_encoder/config.json", {"vocab_size": 518}, "of the wrong kind"),
    ],
)
def test_configs_that_are_not_supported(folder, file, changes, message):
    edit(folder / file, **changes)
    with pytest.raises(CheckpointError, match=message):
        read(folder)


def test_incomplete_folders(checkpoint, folder):
    with pytest.raises(CheckpointError, match=rf"no model_index.json; {folder} has one"):
        read(folder / "unet")
    edit(folder / "unet" / "config.json")
    config = json.loads((folder / "unet" / "config.json").read_text())
    del config["out_channels"]
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="'out_channels' is missing"):
        read(folder)
    (folder / "unet" / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="should be a JSON object"):
        read(folder)
    (folder / "unet" / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="no text"):
        read(folder)
    (folder / "unet" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no file or folder .*config\.json"):
        read(folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(CheckpointError, match="vae has no weights"):
        read(folder)
