"""A model as a diffusers folder: the configs, the weights, the tokenizer."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...clip.config import TextConfig
from ...clip.tokenizer import END, START, Tokenizer
from ...vae import VAEConfig
from ..family import Family
from ..keymaps import prefixes
from ..unread import without_unread_layers
from .edm import SCHEDULERS, edm_scheduler
from .folder import FAMILY, FIXED, PREDICTIONS, STATED
from .folder_unet import write_unet
from .folder_vision import CLASSES, vision_configs
from .pipelines import Pipeline, pipeline_of
from .write_safetensors import Planned, write_safetensors


def write_folder(
    path: Path,
    family: Family,
    merges: tuple[tuple[str, str], ...] | None,
    tensors: Mapping[str, Tensor | Planned],
    metadata: Mapping[str, str],
) -> None:
    """tensors: all parameters under the names of diffusers; metadata: of each file of them."""
    family, tokenizer = without_unread_layers(family), Tokenizer(merges)
    try:
        configs = configs_of(family, list(tokenizer.vocabulary))
    except ValueError as error:
        raise ValueError(
            f"{family.name} cannot be written as a diffusers folder: {error}"
        ) from None
    for prefix in prefixes(family, "diffusers").values():
        part = path / prefix.removesuffix(".")
        stem = "model" if "_encoder" in part.name else "diffusion_pytorch_model"
        write_json(part / "config.json", configs[part.name])
        inside = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        write_safetensors(part / f"{stem}.safetensors", inside, {"format": "pt", **metadata})
    for part in (path / name for name in configs if name.startswith("tokenizer")):
        write_tokenizer(part, tokenizer, configs[part.name])
    if "feature_extractor" in configs:
        file = path / "feature_extractor" / "preprocessor_config.json"
        write_json(file, configs["feature_extractor"])
    for name in configs.keys() & {"scheduler", "low_res_scheduler", "image_noising_scheduler"}:
        write_json(path / name / "scheduler_config.json", configs[name])
    if any(name.startswith("depth_estimator.") for name in tensors):
        from ..depth.folder import write_estimator

        configs["model_index"] |= write_estimator(path, tensors, metadata)
    write_json(path / "model_index.json", configs["model_index"])


def write_tokenizer(path: Path, tokenizer: Tokenizer, config: dict[str, Any]) -> None:
    """The two files of CLIP's tokenizer, and the two that say which tokens are special."""
    write_json(path / "vocab.json", tokenizer.vocabulary)
    merges = "".join(f"{left} {right}\n" for left, right in tokenizer.merges)
    (path / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    write_json(path / "tokenizer_config.json", config)
    special = {name: token for name, token in config.items() if name.endswith("_token")}
    write_json(path / "special_tokens_map.json", special)


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def configs_of(family: Family, vocabulary: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The inverse of `family_of`, with what diffusers and transformers want to know besides.

    vocabulary   the pieces of the tokenizer, in the order of their ids
    ValueError: diffusers has no words for such a folder.
    """
    pipeline, text, unet = pipeline_of(family), family.text, family.unet
    layer, norm = (2, False) if pipeline.numbers else (1, True)
    if any((tower.layer, tower.final_norm) != (layer, norm) for tower in text):
        where = "the last but one as it is" if pipeline.numbers else "the last, then the final norm"
        raise ValueError(f"{pipeline.name} reads one layer of a text encoder: {where}")
    told = pipeline.numbers or unet.classes or family.vision
    if (unet.vector_width is not None) != bool(told):
        raise ValueError(f"{pipeline.name} tells its U-Net no vector, or another one")
    pooled = text[-1].projection if pipeline.numbers else None
    towers = [name.rstrip(".") for name in prefixes(family, "diffusers").values() if "text" in name]
    configs = {
        "unet": write_unet(unet, family.size // family.vae.factor, pooled, pipeline.numbers),
        "vae": _vae_config(family.vae, family.size),
        "scheduler": _scheduler_config(family, pipeline.scheduler),
    }
    for name, tower in zip(towers, text):
        configs[name] = _text_config(tower)
        configs[name.replace("text_encoder", "tokenizer")] = _tokenizer_config(tower, vocabulary)
    if family.vision is not None:
        configs |= vision_configs(family.vision)
    if "low_resolution" in family.conditioning:
        configs["low_res_scheduler"] = _scheduler_config(family, "DDPMScheduler") | {
            "prediction_type": "epsilon"
        }
    return configs | {"model_index": _model_index(family, pipeline, configs)}


def _model_index(family: Family, pipeline: Pipeline, configs: Iterable[str]) -> dict[str, Any]:
    """The parts, each with the package and the class that reads it; [None, None] is left out.

    StableDiffusionDepth2ImgPipeline wants an estimator of depth, which is no part of a family: of
    a model without one, give depth_estimator=None and feature_extractor=None to `from_pretrained`,
    and a depth_map to every call.
    """
    scheduler = SCHEDULERS[family.prediction] if family.edm else pipeline.scheduler
    classes = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", scheduler],
        "low_res_scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        **CLASSES,
    }
    # The first version that knows all that the configs say; inpainting asks for one.
    index: dict[str, Any] = {"_class_name": pipeline.name, "_diffusers_version": "0.24.0"}
    index |= {name: classes[name] for name in configs}
    if pipeline.numbers:
        index |= {name: index.get(name, [None, None]) for name in ("text_encoder", "tokenizer")}
        index["force_zeros_for_empty_prompt"] = not pipeline.score
        if "instruction" in family.conditioning:
            index["is_cosxl_edit"] = bool(family.edm)
        if pipeline.score or "inpainting" in family.conditioning:
            index["requires_aesthetics_score"] = pipeline.score
    elif family.vision is not None:
        pass
    elif "depth" in family.conditioning:
        index |= {"depth_estimator": [None, None], "feature_extractor": [None, None]}
    else:
        index |= {"feature_extractor": [None, None], "safety_checker": [None, None]}
        if "low_resolution" in family.conditioning:
            index |= {"watermarker": [None, None], "max_noise_level": 350}
        else:
            index["requires_safety_checker"] = False
    return index | {FAMILY: {field: getattr(family, field) for field in STATED}}


def _scheduler_config(family: Family, kind: str) -> dict[str, Any]:
    if family.edm:
        return edm_scheduler(family)
    prediction = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    config = {
        "_class_name": kind,
        **FIXED["scheduler"],
        "beta_start": family.beta_start,
        "beta_end": family.beta_end,
        "num_train_timesteps": family.train_steps,
        "prediction_type": prediction[family.prediction],
        "steps_offset": 1,
    }
    if kind == "EulerDiscreteScheduler":  # as in SDXL's folders; for DDIM it need not be said
        config["timestep_spacing"] = "leading"
    if kind in ("DDIMScheduler", "DDPMScheduler"):
        config["clip_sample"] = False
    if kind == "DDIMScheduler":
        config["set_alpha_to_one"] = False
    if kind == "LCMScheduler":
        config |= {"steps_offset": 0, "original_inference_steps": 50, "clip_sample": False}
    if family.zero_snr:
        # Lin et al. 2023, sec. 3: the first step must be the noisiest one.
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return config


def _tokenizer_config(text: TextConfig, vocabulary: Sequence[str]) -> dict[str, Any]:
    return {
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END if text.pad is None else vocabulary[text.pad],
        "tokenizer_class": "CLIPTokenizer",
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": text.length,
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
        "latents_mean": vae.mean or None,
        "latents_std": vae.std or None,
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
