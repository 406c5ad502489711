"""The configs of a diffusers folder, from and to a family."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..clip.tokenizer import END, START
from ..families import FAMILIES, SD1, Family
from .mapped import CheckpointError

Config = Mapping[str, Any]

# What no tensor tells, and our networks do in one way only: diffusers' default, or the value that must be stated.
FIXED: dict[str, dict[str, Any]] = {
    "unet": {
        "act_fn": "silu",
        "center_input_sample": False,
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-5,
    },
    "vae": {"act_fn": "silu", "shift_factor": None, "latents_mean": None},
    "text_encoder": {"layer_norm_eps": 1e-5},
    "scheduler": {"beta_schedule": "scaled_linear", "trained_betas": None, "rescale_betas_zero_snr": False},
    "tokenizer": {"pad_token": END},
}
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v"}


def family_of(configs: Mapping[str, Config], path: Path) -> Family:
    """The family that a folder's configs describe: one of FAMILIES, or else a new one with the folder's name."""
    for part, fixed in FIXED.items():
        for name, only in fixed.items():
            found = configs[part].get(name, only)
            found = found.get("content") if isinstance(found, dict) else found  # a token may be described at length
            if found != only:
                raise CheckpointError(f"{path} is of a kind not supported: {part} has {name} {found!r}, not {only!r}")
    try:
        family = Family.from_dict(
            _described(path.resolve().name, *(configs[part] for part in ("unet", "vae", "text_encoder", "scheduler")))
        )
    except KeyError as error:
        raise CheckpointError(f"{path} has configs that are not complete: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has configs that cannot be: {error}") from error
    known = (entry for entry in FAMILIES.values() if replace(family, name=entry.name) == entry)
    return next(known, family)


def _described(name: str, unet: Config, vae: Config, text: Config, scheduler: Config) -> dict[str, Any]:
    """The fields of the family. How it is best used is not in the configs: as Stable Diffusion 1 is."""
    channels = unet["block_out_channels"]
    # diffusers calls the number of heads attention_head_dim: https://github.com/huggingface/diffusers/issues/2011
    heads = unet["attention_head_dim"] if unet.get("num_attention_heads") is None else unet["num_attention_heads"]
    numbers = [heads] * len(channels) if isinstance(heads, int) else list(heads)
    widths = {width / number for width, number in zip(channels, numbers, strict=True)}
    if len(set(numbers)) > 1 and len(widths) > 1:
        raise ValueError(f"attention_head_dim {heads} is neither the same on all levels nor gives heads of one width")
    by_number = len(set(numbers)) == 1
    return {
        "name": name,
        "text": {
            "vocabulary": text["vocab_size"],
            "length": text["max_position_embeddings"],
            "width": text["hidden_size"],
            "layers": text["num_hidden_layers"],
            "heads": text["num_attention_heads"],
            "activation": text["hidden_act"],
        },
        "unet": {
            "in_channels": unet["in_channels"],
            "out_channels": unet["out_channels"],
            "channels": channels,
            "res_blocks": unet["layers_per_block"],
            "groups": unet.get("norm_num_groups", 32),
            "attention": ["CrossAttn" in block for block in unet["down_block_types"]],
            "context_width": unet["cross_attention_dim"],
            "heads": numbers[0] if by_number else None,
            "head_width": None if by_number else int(widths.pop()),
            "depth": unet.get("transformer_layers_per_block", 1),
            "linear_projection": unet.get("use_linear_projection", False),
        },
        "vae": {
            "image_channels": vae["in_channels"],
            "latent_channels": vae["latent_channels"],
            "channels": vae["block_out_channels"],
            "res_blocks": vae["layers_per_block"],
            "groups": vae.get("norm_num_groups", 32),
            "scale": vae.get("scaling_factor", SD1.vae.scale),
        },
        "beta_start": scheduler["beta_start"],
        "beta_end": scheduler["beta_end"],
        "train_steps": scheduler["num_train_timesteps"],
        "prediction": PREDICTIONS.get(scheduler.get("prediction_type", "epsilon")),
        "size": unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1),
        **{name: getattr(SD1, name) for name in ("steps", "scale", "sampler", "schedule")},
    }


def configs_of(family: Family) -> dict[str, dict[str, Any]]:
    """The inverse of `family_of`, with what diffusers and transformers want to know besides."""
    text, unet, vae = family.text, family.unet, family.vae
    down = ["CrossAttnDownBlock2D" if attention else "DownBlock2D" for attention in unet.attention]
    up = ["CrossAttnUpBlock2D" if attention else "UpBlock2D" for attention in reversed(unet.attention)]
    return {
        "unet": {
            "_class_name": "UNet2DConditionModel",
            **FIXED["unet"],
            "in_channels": unet.in_channels,
            "out_channels": unet.out_channels,
            "block_out_channels": unet.channels,
            "layers_per_block": unet.res_blocks,
            "norm_num_groups": unet.groups,
            "down_block_types": down,
            "up_block_types": up,
            "cross_attention_dim": unet.context_width,
            "attention_head_dim": unet.heads or [unet.heads_at(width) for width in unet.channels],
            "transformer_layers_per_block": unet.depth,
            "use_linear_projection": unet.linear_projection,
            "sample_size": family.size // vae.factor,
        },
        "vae": {
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
            "sample_size": family.size,
        },
        "text_encoder": {
            "architectures": ["CLIPTextModel"],
            "model_type": "clip_text_model",
            **FIXED["text_encoder"],
            "vocab_size": text.vocabulary,
            "max_position_embeddings": text.length,
            "hidden_size": text.width,
            "intermediate_size": 4 * text.width,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "hidden_act": text.activation,
            "bos_token_id": text.vocabulary - 2,
            "eos_token_id": text.vocabulary - 1,
            "pad_token_id": text.vocabulary - 1,
        },
        "scheduler": {
            "_class_name": "DDIMScheduler",
            **FIXED["scheduler"],
            "beta_start": family.beta_start,
            "beta_end": family.beta_end,
            "num_train_timesteps": family.train_steps,
            "prediction_type": {ours: theirs for theirs, ours in PREDICTIONS.items()}[family.prediction],
            "clip_sample": False,
            "set_alpha_to_one": False,
            "steps_offset": 1,
        },
        "tokenizer": {
            "bos_token": START,
            "eos_token": END,
            "unk_token": END,
            **FIXED["tokenizer"],
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
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "feature_extractor": [None, None],
            "safety_checker": [None, None],
            "requires_safety_checker": False,
        },
    }
