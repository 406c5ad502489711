"""What each layer of the U-Net and the VAE is called: here, in CompVis's single files, and in
diffusers' folders.

One walk over a config names every layer in all three ways at once. A new key format is one more
column.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from ...unet import UNetConfig
from ...vae import VAEConfig


@dataclass(frozen=True)
class Operation:
    """How a tensor of theirs becomes ours, and ours theirs."""

    ours: Callable[[Tensor], Tensor]
    theirs: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Form:
    """How a file holds the tensors of a layer.

    suffix      what follows the layer's name; {} stands for weight or bias
    operation   on the weight; None: it is ours as it is
    part        (i, n): each tensor is the i-th of n equal parts of the file's, along its first axis
    """

    suffix: str = ".{}"
    operation: Operation | None = None
    part: tuple[int, int] = (0, 1)


KeyFormat = Literal["ldm", "compvis", "diffusers"]
PLAIN = Form()
POINTWISE = Form(operation=Operation(lambda x: x.flatten(1), lambda x: x[:, :, None, None]))


class Row(NamedTuple):
    """One layer under each of its names. Of several names the first is written, and all are read.

    form         in CompVis's files
    of_folders   the same in diffusers'; in our own it is PLAIN
    """

    ours: str
    compvis: tuple[str, ...]
    diffusers: tuple[str, ...]
    bias: bool = True
    form: Form = PLAIN
    of_folders: Form = PLAIN

    def names(self, key_format: KeyFormat) -> tuple[str, ...]:
        if key_format == "ldm":
            return (self.ours,)
        return self.compvis if key_format == "compvis" else self.diffusers

    def form_in(self, key_format: KeyFormat) -> Form:
        if key_format == "ldm":
            return PLAIN
        return self.form if key_format == "compvis" else self.of_folders


Names = str | tuple[str, ...]


def as_tuple(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def row(ours: str, compvis: Names, diffusers: Names, bias: bool = True, form: Form = PLAIN) -> Row:
    return Row(ours, as_tuple(compvis), as_tuple(diffusers), bias, form)


def with_prefix(ours: str, compvis: Names, diffusers: Names, rows: Iterable[Row]) -> Iterator[Row]:
    """The same layers inside a module of these names."""
    for inner in rows:
        yield inner._replace(
            ours=ours + inner.ours,
            compvis=tuple(outer + name for outer in as_tuple(compvis) for name in inner.compvis),
            diffusers=tuple(
                outer + name for outer in as_tuple(diffusers) for name in inner.diffusers
            ),
        )


RES = tuple(row(name, name, name) for name in ("norm1", "conv1", "norm2", "conv2"))
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
    *with_prefix("self_attn.", "attn1.", "attn1.", CROSS_ATTENTION),
    row("norm2", "norm2", "norm2"),
    *with_prefix("cross_attn.", "attn2.", "attn2.", CROSS_ATTENTION),
    row("norm3", "norm3", "norm3"),
    row("mlp.up", "ff.net.0.proj", "ff.net.0.proj"),
    row("mlp.down", "ff.net.2", "ff.net.2"),
)

VAE_ATTENTION = (
    row("norm", "norm", "group_norm"),
    # The second names: files that diffusers' converter made in 2023; folders of 2022.
    row("q", ("q", "to_q"), ("to_q", "query"), form=POINTWISE),
    row("k", ("k", "to_k"), ("to_k", "key"), form=POINTWISE),
    row("v", ("v", "to_v"), ("to_v", "value"), form=POINTWISE),
    row("out", ("proj_out", "to_out.0"), ("to_out.0", "proj_attn"), form=POINTWISE),
)


GUIDANCE = row("time.guidance", "time_embed.cond_proj", "time_embedding.cond_proj", bias=False)


def unet_rows(config: UNetConfig, vector: str = "add_embedding") -> Iterator[Row]:
    """CompVis numbers the blocks of the way down, and those of the way up, through all levels.
    vector: what the embedding of the vector is called in diffusers' files."""

    def res(ours: str, compvis: str, diffusers: str, skip: bool) -> Iterator[Row]:
        inside = (*TIMED_RES, TIMED_RES_SKIP) if skip else TIMED_RES
        return with_prefix(f"{ours}.", f"{compvis}.", f"{diffusers}.", inside)

    def transformer(ours: str, compvis: str, diffusers: str, depth: int) -> Iterator[Row]:
        names = f"{ours}.", f"{compvis}.", f"{diffusers}."
        yield from with_prefix(
            *names, (row("norm", "norm", "norm"), row("proj_in", "proj_in", "proj_in"))
        )
        for i in range(depth):
            block = f"transformer_blocks.{i}."
            yield from with_prefix(
                *names, with_prefix(f"blocks.{i}.", block, block, TRANSFORMER_BLOCK)
            )
        yield from with_prefix(*names, (row("proj_out", "proj_out", "proj_out"),))

    levels = list(zip(config.channels, config.depth))
    yield row("time.linear1", "time_embed.0", "time_embedding.linear_1")
    yield row("time.linear2", "time_embed.2", "time_embedding.linear_2")
    if config.guidance_width is not None:
        yield GUIDANCE
    if config.classes is not None:
        yield row("vector", "label_emb", "class_embedding", bias=False)
    elif config.vector_width is not None:
        yield row("vector.linear1", "label_emb.0.0", f"{vector}.linear_1")
        yield row("vector.linear2", "label_emb.0.2", f"{vector}.linear_2")
    yield row("stem", "input_blocks.0.0", "conv_in")

    number, before = 1, config.channels[0]
    for i, (width, depth) in enumerate(levels):
        for j in range(config.res_blocks):
            block = f"input_blocks.{number}"
            yield from res(
                f"down.{i}.res.{j}",
                f"{block}.0",
                f"down_blocks.{i}.resnets.{j}",
                skip=width != before,
            )
            if depth:
                yield from transformer(
                    f"down.{i}.attn.{j}", f"{block}.1", f"down_blocks.{i}.attentions.{j}", depth
                )
            number, before = number + 1, width
        if i < len(levels) - 1:
            down = f"input_blocks.{number}.0.op"
            yield row(f"down.{i}.downsample.conv", down, f"down_blocks.{i}.downsamplers.0.conv")
            number += 1

    if config.mid_depth is not None:
        yield from res("mid.res1", "middle_block.0", "mid_block.resnets.0", skip=False)
    if mid := config.mid_depth:
        yield from transformer("mid.attn", "middle_block.1", "mid_block.attentions.0", mid)
        yield from res("mid.res2", "middle_block.2", "mid_block.resnets.1", skip=False)

    number = 0
    for i, level in enumerate(reversed(range(len(levels)))):
        for j, depth in enumerate(config.depths_up(level)):
            block = f"output_blocks.{number}"
            yield from res(f"up.{i}.res.{j}", f"{block}.0", f"up_blocks.{i}.resnets.{j}", skip=True)
            if depth:
                yield from transformer(
                    f"up.{i}.attn.{j}", f"{block}.1", f"up_blocks.{i}.attentions.{j}", depth
                )
            number += 1
        if i < len(levels) - 1:
            up = f"output_blocks.{number - 1}.{2 if depth else 1}.conv"
            yield row(f"up.{i}.upsample.conv", up, f"up_blocks.{i}.upsamplers.0.conv")

    yield row("norm", "out.0", "conv_norm_out")
    yield row("out", "out.2", "conv_out")


def vae_rows(config: VAEConfig) -> Iterator[Row]:
    """CompVis numbers the decoder's levels from the finest, in the order of the encoder's."""
    last = len(config.channels) - 1

    def half(
        name: str, levels: str, blocks: int, widths: tuple[int, ...], resize: str
    ) -> Iterator[Row]:
        yield row(f"{name}.stem", f"{name}.conv_in", f"{name}.conv_in")
        for i, width in enumerate(widths):
            level = f"{name}.{levels}.{i if levels == 'down' else last - i}."
            for j in range(blocks):
                inner = (*RES, RES_SKIP) if j == 0 and width != widths[max(i - 1, 0)] else RES
                ours, theirs = f"{levels}.{i}.res.{j}.", f"{levels}_blocks.{i}.resnets.{j}."
                names = f"{name}.{ours}", f"{level}block.{j}.", f"{name}.{theirs}"
                yield from with_prefix(*names, inner)
            if i < last:
                theirs = f"{name}.{levels}_blocks.{i}.{resize}rs.0.conv"
                yield row(f"{name}.{levels}.{i}.resize.conv", f"{level}{resize}.conv", theirs)
        for ours, compvis, theirs, rows in (
            ("res1", "block_1", "resnets.0", RES),
            ("attn", "attn_1", "attentions.0", VAE_ATTENTION),
            ("res2", "block_2", "resnets.1", RES),
        ):
            names = f"{name}.mid.{ours}.", f"{name}.mid.{compvis}.", f"{name}.mid_block.{theirs}."
            yield from with_prefix(*names, rows)
        yield row(f"{name}.norm", f"{name}.norm_out", f"{name}.conv_norm_out")
        yield row(f"{name}.out", f"{name}.conv_out", f"{name}.conv_out")

    yield from half("encoder", "down", config.res_blocks, config.channels, "downsample")
    yield from half("decoder", "up", config.res_blocks + 1, config.channels[::-1], "upsample")
    yield row("quant", "quant_conv", "quant_conv")
    yield row("post_quant", "post_quant_conv", "post_quant_conv")
