"""What each layer is called: here, in CompVis's single files, and in diffusers' folders.

One walk over a family's configs names every layer in all three namings at once. A new naming is one more column.

Names of our own:        unet.…   vae.…   text.…
of CompVis:              model.diffusion_model.…   first_stage_model.…   cond_stage_model.transformer.…
of diffusers' folders:   unet.…   vae.…   text_encoder.…       <folder>.<name in that folder's file>
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..clip.model import TextConfig
from ..families import Family
from ..unet import UNetConfig
from ..vae import VAEConfig


class Row(NamedTuple):
    """One layer under each of its names. Of several names in a naming the first is written, and all are read."""

    ours: str
    compvis: tuple[str, ...]
    diffusers: tuple[str, ...]
    bias: bool = True
    pointwise: bool = False  # a linear layer of ours that is a 1x1 convolution of CompVis's


Names = str | tuple[str, ...]


def several(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def row(ours: str, compvis: Names, diffusers: Names, bias: bool = True, pointwise: bool = False) -> Row:
    return Row(ours, several(compvis), several(diffusers), bias, pointwise)


def under(ours: str, compvis: Names, diffusers: Names, rows: Iterable[Row]) -> Iterator[Row]:
    """The same layers inside a module of these names."""
    for inner in rows:
        yield inner._replace(
            ours=ours + inner.ours,
            compvis=tuple(outer + name for outer in several(compvis) for name in inner.compvis),
            diffusers=tuple(outer + name for outer in several(diffusers) for name in inner.diffusers),
        )


RES = (
    row("norm1", "norm1", "norm1"),
    row("conv1", "conv1", "conv1"),
    row("norm2", "norm2", "norm2"),
    row("conv2", "conv2", "conv2"),
)
RES_SKIP = row("skip", "nin_shortcut", "conv_shortcut")

TIMED_RES = (
    row("norm1", "in_layers.0", "norm1"),
    row("conv1", "in_layers.2", "conv1"),
    row("time", "emb_layers.1", "time_emb_proj"),
    row("norm2", "out_layers.0", "norm2"),
    row("conv2", "out_layers.3", "conv2"),
)
TIMED_RES_SKIP = row("skip", "skip_connection", "conv_shortcut")

CROSS_ATTENTION = (
    row("q", "to_q", "to_q", bias=False),
    row("k", "to_k", "to_k", bias=False),
    row("v", "to_v", "to_v", bias=False),
    row("out", "to_out.0", "to_out.0"),
)
TRANSFORMER_BLOCK = (
    row("norm1", "norm1", "norm1"),
    *under("self_attn.", "attn1.", "attn1.", CROSS_ATTENTION),
    row("norm2", "norm2", "norm2"),
    *under("cross_attn.", "attn2.", "attn2.", CROSS_ATTENTION),
    row("norm3", "norm3", "norm3"),
    row("mlp.up", "ff.net.0.proj", "ff.net.0.proj"),
    row("mlp.down", "ff.net.2", "ff.net.2"),
)

VAE_ATTENTION = (
    row("norm", "norm", "group_norm"),
    row("q", "q", ("to_q", "query"), pointwise=True),  # the second name: folders of 2022
    row("k", "k", ("to_k", "key"), pointwise=True),
    row("v", "v", ("to_v", "value"), pointwise=True),
    row("out", "proj_out", ("to_out.0", "proj_attn"), pointwise=True),
)

TEXT_MODEL = ("text_model.", "")
TEXT_LAYER = (
    row("norm1", "layer_norm1", "layer_norm1"),
    row("attn.q", "self_attn.q_proj", "self_attn.q_proj"),
    row("attn.k", "self_attn.k_proj", "self_attn.k_proj"),
    row("attn.v", "self_attn.v_proj", "self_attn.v_proj"),
    row("attn.out", "self_attn.out_proj", "self_attn.out_proj"),
    row("norm2", "layer_norm2", "layer_norm2"),
    row("mlp.up", "mlp.fc1", "mlp.fc1"),
    row("mlp.down", "mlp.fc2", "mlp.fc2"),
)


def unet_rows(config: UNetConfig) -> Iterator[Row]:
    """CompVis numbers the blocks of the way down, and those of the way up, through all levels."""

    def res(ours: str, compvis: str, diffusers: str, skip: bool) -> Iterator[Row]:
        return under(f"{ours}.", f"{compvis}.", f"{diffusers}.", (*TIMED_RES, TIMED_RES_SKIP) if skip else TIMED_RES)

    def transformer(ours: str, compvis: str, diffusers: str) -> Iterator[Row]:
        names = f"{ours}.", f"{compvis}.", f"{diffusers}."
        yield from under(*names, (row("norm", "norm", "norm"), row("proj_in", "proj_in", "proj_in")))
        for i in range(config.depth):
            block = f"transformer_blocks.{i}."
            yield from under(*names, under(f"blocks.{i}.", block, block, TRANSFORMER_BLOCK))
        yield from under(*names, (row("proj_out", "proj_out", "proj_out"),))

    levels = list(zip(config.channels, config.attention))
    yield row("time.linear1", "time_embed.0", "time_embedding.linear_1")
    yield row("time.linear2", "time_embed.2", "time_embedding.linear_2")
    yield row("stem", "input_blocks.0.0", "conv_in")

    number, before = 1, config.channels[0]
    for i, (width, attention) in enumerate(levels):
        for j in range(config.res_blocks):
            block = f"input_blocks.{number}"
            yield from res(f"down.{i}.res.{j}", f"{block}.0", f"down_blocks.{i}.resnets.{j}", skip=width != before)
            if attention:
                yield from transformer(f"down.{i}.attn.{j}", f"{block}.1", f"down_blocks.{i}.attentions.{j}")
            number, before = number + 1, width
        if i < len(levels) - 1:
            down = f"input_blocks.{number}.0.op"
            yield row(f"down.{i}.downsample.conv", down, f"down_blocks.{i}.downsamplers.0.conv")
            number += 1

    yield from res("mid.res1", "middle_block.0", "mid_block.resnets.0", skip=False)
    yield from transformer("mid.attn", "middle_block.1", "mid_block.attentions.0")
    yield from res("mid.res2", "middle_block.2", "mid_block.resnets.1", skip=False)

    number = 0
    for i, (_, attention) in enumerate(reversed(levels)):
        for j in range(config.res_blocks + 1):
            block = f"output_blocks.{number}"
            yield from res(f"up.{i}.res.{j}", f"{block}.0", f"up_blocks.{i}.resnets.{j}", skip=True)
            if attention:
                yield from transformer(f"up.{i}.attn.{j}", f"{block}.1", f"up_blocks.{i}.attentions.{j}")
            number += 1
        if i < len(levels) - 1:
            up = f"output_blocks.{number - 1}.{2 if attention else 1}.conv"
            yield row(f"up.{i}.upsample.conv", up, f"up_blocks.{i}.upsamplers.0.conv")

    yield row("norm", "out.0", "conv_norm_out")
    yield row("out", "out.2", "conv_out")


def vae_rows(config: VAEConfig) -> Iterator[Row]:
    """CompVis numbers the decoder's levels from the finest, in the order of the encoder's."""
    last = len(config.channels) - 1

    def half(name: str, levels: str, blocks: int, widths: tuple[int, ...], resize: str) -> Iterator[Row]:
        yield row(f"{name}.stem", f"{name}.conv_in", f"{name}.conv_in")
        for i, width in enumerate(widths):
            level = f"{name}.{levels}.{i if levels == 'down' else last - i}."
            for j in range(blocks):
                rows = (*RES, RES_SKIP) if j == 0 and width != widths[max(i - 1, 0)] else RES
                ours, theirs = f"{name}.{levels}.{i}.res.{j}.", f"{name}.{levels}_blocks.{i}.resnets.{j}."
                yield from under(ours, f"{level}block.{j}.", theirs, rows)
            if i < last:
                theirs = f"{name}.{levels}_blocks.{i}.{resize}rs.0.conv"
                yield row(f"{name}.{levels}.{i}.resize.conv", f"{level}{resize}.conv", theirs)
        yield from under(f"{name}.mid.res1.", f"{name}.mid.block_1.", f"{name}.mid_block.resnets.0.", RES)
        yield from under(f"{name}.mid.attn.", f"{name}.mid.attn_1.", f"{name}.mid_block.attentions.0.", VAE_ATTENTION)
        yield from under(f"{name}.mid.res2.", f"{name}.mid.block_2.", f"{name}.mid_block.resnets.1.", RES)
        yield row(f"{name}.norm", f"{name}.norm_out", f"{name}.conv_norm_out")
        yield row(f"{name}.out", f"{name}.conv_out", f"{name}.conv_out")

    yield from half("encoder", "down", config.res_blocks, config.channels, "downsample")
    yield from half("decoder", "up", config.res_blocks + 1, config.channels[::-1], "upsample")
    yield row("quant", "quant_conv", "quant_conv")
    yield row("post_quant", "post_quant_conv", "post_quant_conv")


def text_rows(config: TextConfig) -> Iterator[Row]:
    """CompVis's text encoder is transformers' own, whose "text_model." is gone from version 5 and from some merges."""

    def plain() -> Iterator[Row]:
        for ours in ("token", "position"):
            yield row(ours, f"embeddings.{ours}_embedding", f"embeddings.{ours}_embedding", bias=False)
        for i in range(config.layers):
            yield from under(f"layers.{i}.", f"encoder.layers.{i}.", f"encoder.layers.{i}.", TEXT_LAYER)
        yield row("norm", "final_layer_norm", "final_layer_norm")

    return under("", TEXT_MODEL, TEXT_MODEL, plain())


def rows(family: Family) -> Iterator[Row]:
    """Every layer of the three networks."""
    yield from under("unet.", "model.diffusion_model.", "unet.", unet_rows(family.unet))
    yield from under("vae.", "first_stage_model.", "vae.", vae_rows(family.vae))
    yield from under("text.", "cond_stage_model.transformer.", "text_encoder.", text_rows(family.text))
