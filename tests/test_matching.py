"""Keys against a family's: the published checkpoints by their names and shapes, moving averages,
and strangers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ldm.models.families import SD1
from ldm.models.keymaps import ema_name, ignored
from ldm.models.weights import CheckpointError, inspect, read
from ldm.models.weights.mapped import Weight, contiguous_stride
from ldm.models.weights.matching import KeyMatch, match
from ldm.models.weights.opening import OpenedCheckpoint
from ldm.models.weights.recognise import recognise
from manifests import MANIFESTS


def opened(keys: dict[str, list]) -> OpenedCheckpoint:
    """A file of such tensors, known by their shapes: there is no data."""
    dtypes = {"float32": torch.float32, "int64": torch.int64, "int32": torch.int32}
    weights = {
        name: Weight(None, dtypes[dtype], tuple(shape), contiguous_stride(tuple(shape)), 0)
        for name, (shape, dtype) in keys.items()
    }
    return OpenedCheckpoint(Path("sd.ckpt"), "torch", weights)


def manifest(name: str) -> OpenedCheckpoint:
    return opened(MANIFESTS[name])


def diffusers_manifest(vae: str) -> OpenedCheckpoint:
    published = MANIFESTS["sd-v1-5-diffusers"]
    parts = {"unet": "unet", "vae": vae, "text_encoder": "text_encoder"}
    found = opened(
        {
            f"{part}.{key}": value
            for part, name in parts.items()
            for key, value in published[name].items()
        }
    )
    configs = {**published["configs"], "tokenizer": {"pad_token": "<|endoftext|>"}}
    return replace(found, container="folder", configs=configs)


PUBLISHED = {
    "sd-v1": manifest("sd-v1"),
    "sd-v1-full-ema": manifest("sd-v1-full-ema"),
    "sd-v1-5-diffusers": diffusers_manifest("vae"),
    "sd-v1-5-diffusers of 2022": diffusers_manifest("vae_old_attention_names"),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("ema", [None, False])
def test_published_checkpoints_fit(name, ema):
    file = PUBLISHED[name]
    kind = recognise(file)
    assert kind.family == SD1
    assert kind.prediction.startswith("eps, as ")
    found = match(file, kind.family, kind.key_format, ema)
    found.check(file)
    assert len(found.sources) == 1130
    assert len(found.sources) + len(found.ignored) == len(file.weights)
    assert not found.absent
    assert found.ema == (name == "sd-v1-full-ema" and ema is None)


def wrong(found: KeyMatch) -> str:
    """Everything that a report complains of."""
    return "\n".join([*found.missing, *found.unknown, *found.wrong_shape, *found.absent])


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_change_of_a_published_key_is_reported_by_name(name):
    file = PUBLISHED[name]
    kind = recognise(file)
    extras = {name: item.exact for item in ignored(SD1, kind.key_format) for name in item.names}
    for key in [*list(file.weights)[::29], *(key for key in file.weights if key in extras)]:
        weight = file.weights[key]
        rest = {name: weight for name, weight in file.weights.items() if name != key}
        longer = replace(weight, shape=(*weight.shape, 2))
        for changed in (rest, rest | {f"{key}_2": weight}, rest | {key: longer}):
            changed_file = replace(file, weights=changed)
            assert recognise(changed_file).family == SD1
            found = match(changed_file, SD1, kind.key_format)
            harmless = key in extras and (key not in changed or not extras[key])
            assert key in wrong(found) or (harmless and changed[key] == longer), key
            assert found.complete == harmless
            if not harmless:
                assert key not in {name for name, _ in found.sources.values()}
                with pytest.raises(CheckpointError) as error:
                    found.check(changed_file)
                assert key in str(error.value)
                assert "\n" not in str(error.value)
            elif f"{key}_2" in changed and "position" not in key:
                with pytest.warns(UserWarning, match=f"left out: 1 unknown .{key}_2."):
                    found.check(changed_file)


@pytest.mark.parametrize(
    ("keys", "meaning"),
    [
        (["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"], "a LoRA"),
        (["unet.down_blocks.0.attentions.0.to_q.lora_A.weight"], "a LoRA"),
        (["lora_te_text_model_encoder_layers_0_mlp_fc1.hada_w1_a"], "a LoRA"),
        (["conditioner.embedders.0.transformer.text_model.final_layer_norm.bias"], "a text enc"),
        (["control_model.input_blocks.0.0.weight"], "ControlNet"),
        (["controlnet_cond_embedding.conv_in.weight"], "ControlNet"),
        (["emb_params"], "textual inversion"),
        (["double_blocks.0.img_attn.norm.key_norm.scale"], "Flux"),
        (["model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight"], "SD 3"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], "a VAE alone"),
        (["first_stage_model.encoder.conv_in.weight"], "a VAE alone"),
        (["down_blocks.0.resnets.0.conv1.weight"], "a U-Net alone"),
        (["model.diffusion_model.out.2.bias"], "a U-Net alone"),
        (["text_model.embeddings.token_embedding.weight"], "a text encoder alone"),
        (
            ["model.diffusion_model.out.2.bias", "first_stage_model.quant_conv.bias"],
            "a U-Net and a VAE alone",
        ),
    ],
)
def test_what_is_given_as_a_checkpoint_and_is_none(keys, meaning, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({key: torch.zeros(2) for key in keys}, path)
    with pytest.raises(CheckpointError, match=f"it seems to be .*{meaning}"):
        read(path)
    report = inspect(path)
    assert not report.loadable or report.beside is not None  # a control is told by one key
    assert meaning in str(report)


@pytest.fixture(scope="module")
def with_averages(tiny_compvis):
    averages = {
        ema_name(name): tensor + 1
        for name, tensor in tiny_compvis.items()
        if name.startswith("model.")
    }
    return (
        tiny_compvis
        | averages
        | {"model_ema.decay": torch.tensor(0.9), "model_ema.num_updates": torch.tensor(7)}
    )


def test_averages_are_taken_where_they_are_there(
    tiny_checkpoint, tiny_compvis, with_averages, tmp_path
):
    path, family = tmp_path / "a.ckpt", tiny_checkpoint.family
    torch.save(with_averages, path)
    stem = tiny_checkpoint.unet.stem.weight
    assert torch.equal(read(path, family=family).unet.stem.weight, stem + 1)
    assert torch.equal(read(path, family=family, ema=True).unet.stem.weight, stem + 1)
    assert torch.equal(read(path, family=family, ema=False).unet.stem.weight, stem)
    assert torch.equal(read(path, family=family).vae.quant.weight, tiny_checkpoint.vae.quant.weight)
    for pruned in (tiny_compvis, tiny_compvis | {"model_ema.decay": torch.tensor(0.9)}):
        torch.save(pruned, path)
        assert torch.equal(read(path, family=family).unet.stem.weight, stem)
        with pytest.raises(CheckpointError, match="no moving averages"):
            read(path, family=family, ema=True)


def test_averages_must_be_whole(tiny_checkpoint, with_averages, tmp_path):
    path, family = tmp_path / "a.ckpt", tiny_checkpoint.family
    plain, average = "model.diffusion_model.out.2.bias", "model_ema.diffusion_modelout2bias"
    for name in (plain, average):
        torch.save({key: tensor for key, tensor in with_averages.items() if key != name}, path)
        for ema in (None, True, False):
            with pytest.raises(CheckpointError, match=rf"1 missing \({name}\)"):
                read(path, family=family, ema=ema)
    without = {key: tensor for key, tensor in with_averages.items() if not key.startswith("model.")}
    torch.save(without, path)
    assert torch.equal(
        read(path, family=family).unet.stem.weight, tiny_checkpoint.unet.stem.weight + 1
    )
