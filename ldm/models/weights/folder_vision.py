"""The parts of a diffusers folder that see a picture: their configs, read and written."""

from collections.abc import Mapping
from typing import Any

from ...clip.augmentation import LEVELS
from ...clip.pictures import MEAN, STD
from ...clip.vision import VisionConfig

# What no tensor tells, and is done here in one way only.
FIXED_VISION: dict[str, dict[str, Any]] = {
    "image_encoder": {"layer_norm_eps": 1e-5, "num_channels": 3},
    "image_noising_scheduler": {
        "beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": LEVELS, "trained_betas": None,
    },
}  # fmt: skip


def read_vision_config(configs: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields of a VisionConfig; None: the folder sees no picture. KeyError: one is missing."""
    if "image_encoder" not in configs:
        if configs["unet"].get("class_embed_type") is not None:
            raise ValueError(
                "its U-Net is told a picture's embedding, and there is no image_encoder"
            )
        return None
    vision = configs["image_encoder"]
    return {
        "size": vision["image_size"],
        "patch": vision["patch_size"],
        "width": vision["hidden_size"],
        "layers": vision["num_hidden_layers"],
        "heads": vision["num_attention_heads"],
        "mlp_width": vision["intermediate_size"],
        "activation": vision.get("hidden_act", "quick_gelu"),
        "projection": vision["projection_dim"],
    }


def vision_configs(vision: VisionConfig) -> dict[str, dict[str, Any]]:
    """The inverse, with what diffusers and transformers want to know besides."""
    return {
        "image_encoder": {
            "architectures": ["CLIPVisionModelWithProjection"],
            "model_type": "clip_vision_model",
            **FIXED_VISION["image_encoder"],
            "image_size": vision.size,
            "patch_size": vision.patch,
            "hidden_size": vision.width,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "intermediate_size": vision.mlp_width,
            "hidden_act": vision.activation,
            "projection_dim": vision.projection,
        },
        "image_normalizer": {
            "_class_name": "StableUnCLIPImageNormalizer",
            "embedding_dim": vision.projection,
        },
        "image_noising_scheduler": {
            "_class_name": "DDPMScheduler",
            **FIXED_VISION["image_noising_scheduler"],
            "clip_sample": False,
        },
        "feature_extractor": {
            "image_processor_type": "CLIPImageProcessor",
            "do_resize": True,
            "size": {"shortest_edge": vision.size},
            "resample": 3,  # bicubic
            "do_center_crop": True,
            "crop_size": {"height": vision.size, "width": vision.size},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": MEAN,
            "image_std": STD,
            "do_convert_rgb": True,
        },
    }


CLASSES = {
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "image_normalizer": ["stable_diffusion", "StableUnCLIPImageNormalizer"],
    "image_noising_scheduler": ["diffusers", "DDPMScheduler"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
}
