"""The U-Net's config.json in a diffusers folder, read and written.

UNet2DConditionModel has many more options than these families use: a folder that sets another one
is refused.
"""

from collections.abc import Mapping
from typing import Any

from ...unet import UNetConfig

Config = Mapping[str, Any]

# diffusers' defaults for what our U-Net does in one way only.
FIXED_UNET: dict[str, Any] = {
    "act_fn": "silu",
    "center_input_sample": False,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "encoder_hid_dim_type": None,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
}
MOST_BLOCKS = 1000  # of a level; published ones have 1 to 3
# The middle: with a transformer; SSD-1B's one residual block; none.
MID_BLOCKS = ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None)


def read_unet(unet: Config, latent_channels: int) -> dict[str, Any]:
    """The fields of a UNetConfig. KeyError, ValueError: one is missing, or none of ours."""
    channels = unet["block_out_channels"]
    heads, head_width = _heads(unet)
    depths = _per_level(unet.get("transformer_layers_per_block", 1), channels)
    down = [
        _one(depth, "transformer_layers_per_block") if "CrossAttn" in block else 0
        for depth, block in zip(depths, unet["down_block_types"], strict=True)
    ]
    blocks = _one(unet["layers_per_block"], "layers_per_block")
    if not isinstance(blocks, int) or blocks > MOST_BLOCKS:
        raise ValueError(f"layers_per_block {blocks!r} must be a number up to {MOST_BLOCKS}")
    mid = unet.get("mid_block_type", MID_BLOCKS[0])
    if mid not in MID_BLOCKS:
        raise ValueError(f"mid_block_type {mid!r} is none of {MID_BLOCKS}")
    mid_depth = _one(depths[-1], "transformer_layers_per_block")
    only_cross = _per_level(unet.get("only_cross_attention", False), channels)
    return {
        "in_channels": min(unet["in_channels"], latent_channels),
        "out_channels": unet["out_channels"],
        "concat_channels": max(unet["in_channels"] - latent_channels, 0),
        "channels": channels,
        "res_blocks": blocks,
        "groups": unet.get("norm_num_groups", 32),
        "depth": down,
        "mid_depth": {MID_BLOCKS[0]: mid_depth, MID_BLOCKS[1]: 0, None: None}[mid],
        "context_width": unet["cross_attention_dim"],
        "vector_width": _vector_width(unet),
        "heads": heads,
        "head_width": head_width,
        "linear_projection": unet.get("use_linear_projection", False),
        "classes": unet.get("num_class_embeds"),
        "guidance_width": unet.get("time_cond_proj_dim"),
        "only_cross_attention": [i for i, only in enumerate(only_cross) if only],
        "up_depth": _up_depth(unet, depths, down, blocks),
    }


def _vector_width(unet: Config) -> Any:
    if (kind := unet.get("class_embed_type")) not in (None, "projection"):
        raise ValueError(f"class_embed_type {kind!r} is not supported: projection or null is")
    if kind == "projection":
        return unet["projection_class_embeddings_input_dim"]
    if unet.get("num_class_embeds") is not None:
        return 1
    if (told := unet.get("addition_embed_type")) not in (None, "text_time"):
        raise ValueError(f"addition_embed_type {told!r} is not supported: text_time or null is")
    return unet["projection_class_embeddings_input_dim"] if told else None


def _heads(unet: Config) -> tuple[int | None, int | None]:
    """Their number, or else their width. diffusers calls the number attention_head_dim:
    https://github.com/huggingface/diffusers/issues/2011"""
    channels, given = unet["block_out_channels"], unet.get("num_attention_heads")
    given = unet["attention_head_dim"] if given is None else given
    numbers = _per_level(given, channels)
    widths = {width / number for width, number in zip(channels, numbers, strict=True)}
    if len(set(numbers)) == 1:
        return numbers[0], None
    if len(widths) > 1:
        raise ValueError(
            f"attention_head_dim {given} is neither the same on all levels nor gives heads of one "
            "width"
        )
    return None, int(widths.pop())


def _up_depth(unet: Config, depths: list[Any], down: list[int], blocks: int) -> Any:
    """Of each block, finest level first; (): as on the way down."""
    given = unet.get("reverse_transformer_layers_per_block")
    levels = list(reversed(depths)) if given is None else list(given)
    up = [
        [0] * (blocks + 1)
        if "CrossAttn" not in block
        else ([depth] * (blocks + 1) if isinstance(depth, int) else list(depth))
        for depth, block in zip(levels, unet["up_block_types"], strict=True)
    ][::-1]
    return () if up == [[depth] * (blocks + 1) for depth in down] else up


def _per_level(value: Any, channels: Any) -> list[Any]:
    """What is given once for all levels, or for each."""
    return list(value) if isinstance(value, list | tuple) else [value] * len(channels)


def _one(value: Any, name: str) -> Any:
    """What may be given for each of several, and is the same for all."""
    if not isinstance(value, list | tuple):
        return value
    if len(set(value)) != 1:
        raise ValueError(f"{name} {value} is not the same everywhere")
    return value[0]


def write_unet(
    unet: UNetConfig, sample_size: int, pooled: int | None, numbers: int
) -> dict[str, Any]:
    """The inverse of `read_unet`.

    pooled    width of the pooled text in the vector, beside so many numbers
    ValueError: diffusers has no words for it
    """
    if unet.mid_depth and unet.depth[-1] not in (0, unet.mid_depth):
        raise ValueError(
            f"the middle is {unet.mid_depth} transformer blocks deep, and the level above it "
            f"{unet.depth[-1]}: for diffusers they are equally deep"
        )
    levels = range(len(unet.channels))
    depths = [depth or unet.mid_depth or 1 for depth in unet.depth]
    mid = 2 if unet.mid_depth is None else int(unet.mid_depth == 0)
    cross = [i in unet.only_cross_attention for i in levels]
    config = {
        "_class_name": "UNet2DConditionModel",
        **FIXED_UNET,
        "in_channels": unet.in_channels + unet.concat_channels,
        "out_channels": unet.out_channels,
        "block_out_channels": unet.channels,
        "layers_per_block": unet.res_blocks,
        "norm_num_groups": unet.groups,
        "down_block_types": [f"{_attn(depth)}DownBlock2D" for depth in unet.depth],
        "mid_block_type": MID_BLOCKS[mid],
        "up_block_types": [f"{_attn(unet.depths_up(i)[0])}UpBlock2D" for i in reversed(levels)],
        "cross_attention_dim": unet.context_width,
        "attention_head_dim": unet.heads or [unet.heads_at(width) for width in unet.channels],
        "transformer_layers_per_block": depths[0] if len(set(depths)) == 1 else depths,
        "use_linear_projection": unet.linear_projection,
        "only_cross_attention": cross if any(cross) else False,
        "num_class_embeds": unet.classes,
        "time_cond_proj_dim": unet.guidance_width,
        "sample_size": sample_size,
        # As the original of SD 2, whose products of queries and keys overflow in float16.
        "upcast_attention": unet.linear_projection and not numbers,
    }
    if unet.up_depth:
        up = [unet.depths_up(i) for i in reversed(levels)]
        reverse = [list(level) if any(level) else 1 for level in up]
        config["reverse_transformer_layers_per_block"] = reverse
    if unet.classes is None and unet.vector_width is not None:
        config |= _vector_config(unet.vector_width, pooled, numbers)
    return config


def _vector_config(width: int, pooled: int | None, numbers: int) -> dict[str, Any]:
    """Of a vector: SDXL's pooled text and numbers, or a picture's embedding."""
    config: dict[str, Any] = {"projection_class_embeddings_input_dim": width}
    if not numbers:
        return config | {"class_embed_type": "projection"}
    assert pooled is not None
    each = (width - pooled) // numbers
    return config | {"addition_embed_type": "text_time", "addition_time_embed_dim": each}


def _attn(depth: int) -> str:
    return "CrossAttn" if depth else ""
