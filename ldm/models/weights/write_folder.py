"""A model as a diffusers folder: the configs, the weights, the tokenizer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ...clip.model import TextConfig
from ...clip.tokenizer import END, START, Tokenizer
from ...unet import UNetConfig
from ...vae import VAEConfig
from ..family import Family
from ..keymaps import prefixes
from .folder import FIXED, PREDICTIONS
from .loading import Checkpoint
from .write_safetensors import write_safetensors


def write_folder(path: Path, checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
    """tensors: all parameters under the names of diffusers."""
    tokenizer = Tokenizer(checkpoint.merges)
    configs = configs_of(checkpoint.family, list(tokenizer.vocabulary))
    for prefix in prefixes(checkpoint.family, "diffusers").values():
        part = path / prefix.removesuffix(".")
        stem = "model" if part.name.startswith("text_encoder") else "diffusion_pytorch_model"
        write_json(part / "config.json", configs[part.name])
        inside = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        write_safetensors(part / f"{stem}.safetensors", inside, {"format": "pt"})
    write_json(path / "tokenizer" / "vocab.json", tokenizer.vocabulary)
    merges = "".join(f"{left} {right}\n" for left, right in tokenizer.merges)
    (path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    write_json(path / "tokenizer" / "tokenizer_config.json", configs["tokenizer"])
    special = {
        name: token for name, token in configs["tokenizer"].items() if name.endswith("_token")
    }
    write_json(path / "tokenizer" / "special_tokens_map.json", special)
    write_json(path / "scheduler" / "scheduler_config.json", configs["scheduler"])
    write_json(path / "model_index.json", configs["model_index"])


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def configs_of(family: Family, vocabulary: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The inverse of `family_of`, with what diffusers and transformers want to know besides.

    vocabulary   the pieces of the tokenizer, in the order of their ids
    ValueError: this library has no words for such a folder yet.
    """
    text, unet = family.text[0], family.unet
    wanted = replace(text, layer=1, final_norm=True)
    if family.text != (wanted,) or unet.vector_width is not None:
        raise ValueError(
            f"{family.name} cannot be written as a diffusers folder: that takes one text encoder, "
            "read at its last layer after its final norm, and no vector conditioning"
        )
    if unet.depth[-1] not in (0, unet.mid_depth):
        raise ValueError(
            f"{family.name} cannot be written as a diffusers folder: the middle is "
            f"{unet.mid_depth} transformer blocks deep, and the level above it {unet.depth[-1]}"
        )
    prediction = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    return {
        "unet": _unet_config(unet, family.size // family.vae.factor),
        "vae": _vae_config(family.vae, family.size),
        "text_encoder": _text_config(text),
        "scheduler": {
            "_class_name": "DDIMScheduler",
            **FIXED["scheduler"],
            "beta_start": family.beta_start,
            "beta_end": family.beta_end,
            "num_train_timesteps": family.train_steps,
            "prediction_type": prediction[family.prediction],
            "clip_sample": False,
            "set_alpha_to_one": False,
            "steps_offset": 1,
        },
        "tokenizer": {
            "bos_token": START,
            "eos_token": END,
            "unk_token": END,
            "pad_token": END if text.pad is None else vocabulary[text.pad],
            "tokenizer_class": "CLIPTokenizer",
            "add_prefix_space": False,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": text.length,
        },
        "model_index": {
            "_class_name": "StableDiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            "text_encoder": ["transformers", _text_class(text)],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "feature_extractor": [None, None],
            "safety_checker": [None, None],
            "requires_safety_checker": False,
        },
    }


def _unet_config(unet: UNetConfig, sample_size: int) -> dict[str, Any]:
    depths = [depth or unet.mid_depth for depth in unet.depth]
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in unet.depth]
    return {
        "_class_name": "UNet2DConditionModel",
        **FIXED["unet"],
        "in_channels": unet.in_channels + unet.concat_channels,
        "out_channels": unet.out_channels,
        "block_out_channels": unet.channels,
        "layers_per_block": unet.res_blocks,
        "norm_num_groups": unet.groups,
        "down_block_types": down,
        "up_block_types": [block.replace("Down", "Up") for block in reversed(down)],
        "cross_attention_dim": unet.context_width,
        "attention_head_dim": unet.heads or [unet.heads_at(width) for width in unet.channels],
        "transformer_layers_per_block": depths[0] if len(set(depths)) == 1 else depths,
        "use_linear_projection": unet.linear_projection,
        "sample_size": sample_size,
    }


def _vae_config(vae: VAEConfig, size: int) -> dict[str, Any]:
    return {
        "_class_name": "AutoencoderKL",
        **FIXED["vae"],
        "in_channels": vae.image_channels,
        "out_channels": vae.image_channels,
        "latent_channels": vae.latent_channels,
        "block_out_channels": vae.channels,
        "layers_per_block": vae.res_blocks,
        "norm_num_groups": vae.groups,
        "down_block_types": ["DownEncoderBlock2D"] * len(vae.channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(vae.channels),
        "scaling_factor": vae.scale,
        "sample_size": size,
    }


def _text_class(text: TextConfig) -> str:
    return "CLIPTextModel" if text.projection is None else "CLIPTextModelWithProjection"


def _text_config(text: TextConfig) -> dict[str, Any]:
    return {
        "architectures": [_text_class(text)],
        "model_type": "clip_text_model",
        **FIXED["text_encoder"],
        "vocab_size": text.vocabulary,
        "max_position_embeddings": text.length,
        "hidden_size": text.width,
        "intermediate_size": text.mlp_width,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "hidden_act": text.activation,
        "bos_token_id": text.vocabulary - 2,
        "eos_token_id": text.vocabulary - 1,
        "pad_token_id": text.vocabulary - 1 if text.pad is None else text.pad,
        **({} if text.projection is None else {"projection_dim": text.projection}),
    }
