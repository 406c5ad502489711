"""From the configs of a diffusers folder to a family."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...clip.tokenizer import END, Tokenizer, parse_merges
from ...runtime.text import one_line
from ..families import FAMILIES, SD1, Family
from ..unread import without_unread_layers
from .edm import described_edm
from .errors import CheckpointError
from .folder_unet import FIXED_UNET, Config, read_unet
from .folder_vision import FIXED_VISION, read_vision_config
from .opening import OpenedCheckpoint
from .pipelines import conditioning_of

# What no tensor tells, and our networks do in one way only: diffusers' default, or the value that
# must be stated.
FIXED: dict[str, dict[str, Any]] = {
    "unet": FIXED_UNET,
    "vae": {"act_fn": "silu", "shift_factor": None},
    "text_encoder": {"layer_norm_eps": 1e-5},
    "text_encoder_2": {"layer_norm_eps": 1e-5},
    "scheduler": {"beta_schedule": "scaled_linear", "trained_betas": None},
    "model_index": {"text_encoder_3": None, "prior": None},
    **FIXED_VISION,
}
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
USAGE = ("steps", "guidance_scale", "sampler", "schedule")  # which a folder does not say
SECOND = ("strength", "upscale_strength", "hires_strength", "hires_upscaler", "outpaint_blur",
          "img2img_scale")  # fmt: skip
STATED = ("name", *USAGE, *SECOND)  # unless it is ours: in model_index.json, as FAMILY
FAMILY = "_ldm"  # diffusers reads no name that begins with a _


def family_of(opened: OpenedCheckpoint) -> Family:
    """The family that a folder's configs describe: that which we have written into it; one of
    FAMILIES, or one of its kind; or else a new one with the folder's name."""
    path, configs = opened.path, opened.configs
    for part, fixed in FIXED.items():
        for name, only in fixed.items():
            found = configs.get(part, {}).get(name, only)
            if found != only and found not in ([], [None, None]):  # nothing; a part left out
                raise CheckpointError(
                    f"{path} is of a kind not supported: {part} has {name} {found!r}, not {only!r}"
                )
    try:
        name = one_line(path.resolve().name, 200) or "folder"
        family = like_known(Family.from_dict(_described(name, configs, opened.merges)))
        stated = configs.get("model_index", {}).get(FAMILY, {})
        own = {field: stated[field] for field in STATED if field in stated}
        return Family.from_dict(family.to_dict() | own) if own else family
    except KeyError as error:
        raise CheckpointError(
            f"{path} has configs that are not complete: {error} is missing"
        ) from error
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise CheckpointError(f"{path} has configs that cannot be: {error}") from error


def like_known(family: Family) -> Family:
    """With the name and the usage of the entry of FAMILIES that has the same networks, if there is
    one: a folder says neither."""

    def networks(one: Family) -> tuple[Any, ...]:
        read = without_unread_layers(one)
        return read.text, read.unet, read.vae, read.conditioning, bool(read.edm), read.vision

    same = [entry for entry in FAMILIES.values() if networks(entry) == networks(family)]
    same.sort(key=lambda entry: entry.prediction != family.prediction)
    if not same:
        return family
    return replace(family, name=same[0].name, **{field: getattr(same[0], field) for field in USAGE})


def _described(name: str, configs: Mapping[str, Config], merges: str | None) -> dict[str, Any]:
    """The fields of the family. How it is best used is not in the configs: as Stable Diffusion 1
    is."""
    unet, vae, scheduler = configs["unet"], configs["vae"], configs["scheduler"]
    towers = [part for part in ("text_encoder", "text_encoder_2") if part in configs]
    numbers = _numbers(unet, configs[towers[-1]])
    text = [
        _text(configs[tower], configs.get(tower.replace("text_encoder", "tokenizer"), {}), merges)
        # SDXL's pipelines read the last layer but one as it is, the others the last one's norm.
        | {"layer": 2 if numbers else 1, "final_norm": not numbers}
        for tower in towers
    ]
    described, edm = read_unet(unet, vae["latent_channels"]), described_edm(scheduler)
    return {
        "name": name,
        "text": text,
        "unet": described,
        "vae": {
            "image_channels": vae["in_channels"],
            "latent_channels": vae["latent_channels"],
            "channels": vae["block_out_channels"],
            "res_blocks": vae["layers_per_block"],
            "groups": vae.get("norm_num_groups", 32),
            "scale": vae.get("scaling_factor", SD1.vae.scale),
            "mean": vae.get("latents_mean") or (),
            "std": vae.get("latents_std") or (),
        },
        "beta_start": SD1.beta_start if edm else scheduler["beta_start"],
        "beta_end": SD1.beta_end if edm else scheduler["beta_end"],
        "train_steps": scheduler["num_train_timesteps"],
        "prediction": PREDICTIONS.get(scheduler.get("prediction_type", "epsilon")),
        "size": _size(unet, vae),
        **{field: getattr(SD1, field) for field in USAGE},
        "conditioning": conditioning_of(
            described["concat_channels"], numbers, "image_encoder" in configs
        ),
        "vision": read_vision_config(configs),
        "zero_snr": bool(scheduler.get("rescale_betas_zero_snr")),
        **edm,
    }


def _numbers(unet: Config, text: Config) -> int:
    """How many numbers the U-Net is told beside the pooled text of the last text encoder."""
    if unet.get("addition_embed_type") != "text_time":
        return 0
    beside = unet["projection_class_embeddings_input_dim"] - text["projection_dim"]
    count: int = beside // unet["addition_time_embed_dim"]
    return count


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
