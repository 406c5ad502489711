"""What each layer of a ControlNet and of a T2I-Adapter is called: here, in the original's files,
and in diffusers' folders. See `rows`."""

from collections.abc import Iterator

from ...unet import UNetConfig
from ...unet.adapter import AdapterConfig
from .rows import Form, Row, row, unet_rows, with_prefix

BARE = Form(suffix="")
WAY_DOWN = ("time", "vector", "stem", "down", "mid")
FUSER_LAYER = (
    row("norm1", "ln_1", "ln_1"),
    row("qkv", "attn.in_proj", "attn.in_proj", form=Form(suffix="_{}")),
    row("out", "attn.out_proj", "attn.out_proj"),
    row("norm2", "ln_2", "ln_2"),
    row("mlp_up", "mlp.c_fc", "mlp.c_fc"),
    row("mlp_down", "mlp.c_proj", "mlp.c_proj"),
)


def controlnet_rows(
    config: UNetConfig, hint_blocks: int, fuser_layers: int | None = None
) -> Iterator[Row]:
    """config        of the U-Net that it controls
    hint_blocks   convolutions of the hint between its first and its last
    fuser_layers  of a union, which has one layout alone; None: it is no union
    """
    yield from (layer for layer in unet_rows(config) if layer.ours.split(".")[0] in WAY_DOWN)
    original, theirs = "input_hint_block", "controlnet_cond_embedding"
    yield row("hint.stem", f"{original}.0", f"{theirs}.conv_in")
    for i in range(hint_blocks):
        yield row(f"hint.blocks.{i}", f"{original}.{2 * i + 2}", f"{theirs}.blocks.{i}")
    yield row("hint.out", f"{original}.{2 * hint_blocks + 2}", f"{theirs}.conv_out")
    maps = (config.res_blocks + 1) * len(config.channels)  # the stem's, and those of each level
    for i in range(maps):
        yield row(f"zero.{i}", f"zero_convs.{i}.0", f"controlnet_down_blocks.{i}")
    yield row(f"zero.{maps}", "middle_block_out.0", "controlnet_mid_block")
    if fuser_layers is not None:
        yield from union_rows(fuser_layers)


def union_rows(layers: int) -> Iterator[Row]:
    """What a union has besides, see `unet.union`."""
    for i in ("1", "2"):
        yield row(f"kinds.linear{i}", *2 * (f"control_add_embedding.linear_{i}",))
    yield row("kind", "task_embedding", "task_embedding", bias=False, form=BARE)
    for i in map(str, range(layers)):
        theirs = f"transformer_layes.{i}."  # so spelt
        yield from with_prefix(f"fuser.{i}.", theirs, theirs, FUSER_LAYER)
    yield row("spread", "spatial_ch_projs", "spatial_ch_projs")


def adapter_rows(config: AdapterConfig) -> Iterator[Row]:
    """The original numbers the blocks of an adapter through all its levels, unless it is light."""
    if not config.light:
        yield row("stem", "conv_in", "adapter.conv_in")
    before = config.channels[0]
    for i, width in enumerate(config.channels):
        level, theirs = f"levels.{i}", f"adapter.body.{i}"
        first = f"body.{i if config.light else i * config.res_blocks}"
        if config.light or width != before:
            yield row(f"{level}.inward", f"{first}.in_conv", f"{theirs}.in_conv")
        for j in range(config.res_blocks):
            block = f"body.{i}.body.{j}" if config.light else f"body.{i * config.res_blocks + j}"
            for conv in ("1", "2"):
                names = f"{block}.block{conv}", f"{theirs}.resnets.{j}.block{conv}"
                yield row(f"{level}.res.{j}.conv{conv}", *names)
        if config.light:
            yield row(f"{level}.outward", f"{first}.out_conv", f"{theirs}.out_conv")
        before = width
