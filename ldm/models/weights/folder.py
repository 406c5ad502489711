"""From the configs of a diffusers folder to a family."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...clip.tokenizer import END, Tokenizer, parse_merges
from ...runtime.text import one_line
from ..families import FAMILIES, SD1, Family
from .errors import CheckpointError
from .opening import OpenedCheckpoint

Config = Mapping[str, Any]

# What no tensor tells, and our networks do in one way only: diffusers' default, or the value that
# must be stated.
FIXED: dict[str, dict[str, Any]] = {
    "unet": {
        "act_fn": "silu",
        "addition_embed_type": None,
        "center_input_sample": False,
        "class_embed_type": None,
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-5,
    },
    "vae": {"act_fn": "silu", "shift_factor": None, "latents_mean": None},
    "text_encoder": {"layer_norm_eps": 1e-5},
    "scheduler": {"beta_schedule": "scaled_linear", "trained_betas": None},
    "model_index": {"text_encoder_2": None},
}
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v"}


def family_of(opened: OpenedCheckpoint) -> Family:
    """The family that a folder's configs describe: one of FAMILIES, or else a new one with the
    folder's name."""
    path, configs = opened.path, opened.configs
    for part, fixed in FIXED.items():
        for name, only in fixed.items():
            found = configs[part].get(name, only)
            if found != only and found not in ([], [None, None]):  # nothing; a part left out
                raise CheckpointError(
                    f"{path} is of a kind not supported: {part} has {name} {found!r}, not {only!r}"
                )
    if configs["scheduler"].get("rescale_betas_zero_snr"):
        what = "was trained with a noise schedule that ends without signal: ask for zero_snr"
        warnings.warn(one_line(f"{path} {what} (--zero_snr)"), stacklevel=2)
    try:
        name = one_line(path.resolve().name, 200) or "folder"
        family = Family.from_dict(_described(name, configs, opened.merges))
    except KeyError as error:
        raise CheckpointError(
            f"{path} has configs that are not complete: {error} is missing"
        ) from error
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise CheckpointError(f"{path} has configs that cannot be: {error}") from error
    known = (entry for entry in FAMILIES.values() if replace(family, name=entry.name) == entry)
    return next(known, family)


def _described(name: str, configs: Mapping[str, Config], merges: str | None) -> dict[str, Any]:
    """The fields of the family. How it is best used is not in the configs: as Stable Diffusion 1
    is."""
    unet, vae, scheduler = configs["unet"], configs["vae"], configs["scheduler"]
    usage = ("steps", "guidance_scale", "sampler", "schedule")
    return {
        "name": name,
        "text": [_text(configs["text_encoder"], configs["tokenizer"], merges)],
        "unet": _unet(unet, vae["latent_channels"]),
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
        "size": _size(unet, vae),
        **{field: getattr(SD1, field) for field in usage},
    }


def _size(unet: Config, vae: Config) -> Any:
    """Of pictures; diffusers leaves it open."""
    for config, factor in ((unet, 2 ** (len(vae["block_out_channels"]) - 1)), (vae, 1)):
        size = config.get("sample_size")
        size = size[0] if isinstance(size, list) and len(set(size)) == 1 else size
        if size is not None:
            return size * factor if type(size) is int else size
    return SD1.size


def _text(text: Config, tokenizer: Config, merges: str | None) -> dict[str, Any]:
    projected = "CLIPTextModelWithProjection" in text.get("architectures", ())
    return {
        "vocabulary": text["vocab_size"],
        "length": text["max_position_embeddings"],
        "width": text["hidden_size"],
        "layers": text["num_hidden_layers"],
        "heads": text["num_attention_heads"],
        "mlp_width": text["intermediate_size"],
        "activation": text["hidden_act"],
        "layer": 1,
        "final_norm": True,
        "pad": _pad(tokenizer.get("pad_token") or _usual_pad(text), merges),
        "projection": text["projection_dim"] if projected else None,
    }


def _usual_pad(text: Config) -> str:
    """Of OpenCLIP's encoder in SD 2, and of OpenAI's."""
    return "!" if text["hidden_act"] == "gelu" else END


def _pad(token: Any, merges: str | None) -> int | None:
    """The id of a token, None for the end's own; a token may be described at length."""
    token = token.get("content") if isinstance(token, dict) else token
    if token == END:
        return None
    known = None if merges is None else parse_merges(merges.strip("\n").split("\n"))
    vocabulary = Tokenizer(known).vocabulary
    if token not in vocabulary:
        raise ValueError(f"the pad_token {token!r} is not in the vocabulary of its tokenizer")
    return vocabulary[token]


def _unet(unet: Config, latent_channels: int) -> dict[str, Any]:
    channels = unet["block_out_channels"]
    # diffusers calls the number of heads attention_head_dim:
    # https://github.com/huggingface/diffusers/issues/2011
    heads = unet.get("num_attention_heads")
    heads = unet["attention_head_dim"] if heads is None else heads
    numbers = [heads] * len(channels) if isinstance(heads, int) else list(heads)
    widths = {width / number for width, number in zip(channels, numbers, strict=True)}
    if len(set(numbers)) > 1 and len(widths) > 1:
        raise ValueError(
            f"attention_head_dim {heads} is neither the same on all levels nor gives heads of one "
            "width"
        )
    by_number = len(set(numbers)) == 1
    depth = unet.get("transformer_layers_per_block", 1)
    depths = [depth] * len(channels) if isinstance(depth, int) else list(depth)
    blocks = zip(depths, unet["down_block_types"], strict=True)
    return {
        "in_channels": min(unet["in_channels"], latent_channels),
        "out_channels": unet["out_channels"],
        "concat_channels": max(unet["in_channels"] - latent_channels, 0),
        "channels": channels,
        "res_blocks": unet["layers_per_block"],
        "groups": unet.get("norm_num_groups", 32),
        "depth": [depth if "CrossAttn" in block else 0 for depth, block in blocks],
        "mid_depth": depths[-1],
        "context_width": unet["cross_attention_dim"],
        "vector_width": None,
        "heads": numbers[0] if by_number else None,
        "head_width": None if by_number else int(widths.pop()),
        "linear_projection": unet.get("use_linear_projection", False),
    }
