"""The estimator as diffusers' folders have it: weights and config of transformers, and what becomes
of a picture before it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..weights.write_folder import write_json
from ..weights.write_safetensors import Planned, write_safetensors
from .dpt import PATCH, DPTConfig
from .names import BEGIN, config_of


def write_estimator(
    path: Path, tensors: Mapping[str, Tensor | Planned], metadata: Mapping[str, str]
) -> dict[str, list[str]]:
    """Two folders within that of a model, which has these tensors among others; and their classes
    for model_index.json."""
    begin = BEGIN["diffusers"]
    own = {name.removeprefix(begin): one for name, one in tensors.items() if name.startswith(begin)}
    config = config_of({name: tuple(one.shape) for name, one in own.items()}, "diffusers")
    part = path / begin.removesuffix(".")
    write_json(part / "config.json", written(config))
    write_safetensors(part / "model.safetensors", own, {"format": "pt", **metadata})
    write_json(path / "feature_extractor" / "preprocessor_config.json", preparing(config))
    return {
        "depth_estimator": ["transformers", "DPTForDepthEstimation"],
        "feature_extractor": ["transformers", "DPTImageProcessor"],
    }


def written(config: DPTConfig) -> dict[str, Any]:
    side = config.size // PATCH
    return {
        "architectures": ["DPTForDepthEstimation"],
        "model_type": "dpt",
        "is_hybrid": True,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "image_size": config.size,
        "patch_size": PATCH,
        "backbone_out_indices": [0, 1, 3 * config.layers // 4 - 1, config.layers - 1],
        "backbone_featmap_shape": [1, config.stages[2], side, side],
        "neck_hidden_sizes": [*config.stages[:2], *config.tapped],
        "neck_ignore_stages": [0, 1],
        "reassemble_factors": [1, 1, 1, 0.5],
        "readout_type": "project",
        "fusion_hidden_size": config.fusion,
        "backbone_config": {
            "model_type": "bit",
            "layer_type": "bottleneck",
            "global_padding": "same",
            "embedding_dynamic_padding": True,
            "embedding_size": config.stem,
            "hidden_sizes": config.stages,
            "depths": config.blocks,
            "num_groups": config.groups,
            "out_features": ["stage1", "stage2", "stage3"],
        },
    }


def preparing(config: DPTConfig) -> dict[str, Any]:
    half = [0.5, 0.5, 0.5]
    return {
        "image_processor_type": "DPTImageProcessor",
        "do_resize": True,
        "size": {"height": config.size, "width": config.size},
        "resample": 3,  # bicubic
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": half,
        "image_std": half,
    }
