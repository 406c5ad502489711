"""What each layer of a text encoder is called, see `rows`.

Two spellings are found in CompVis's files: that of transformers, as in diffusers' folders, and that
of OpenCLIP, which keeps the weights of q, k and v in one tensor.
"""

from collections.abc import Iterator

from ...clip.config import TextConfig
from .rows import Form, Operation, Row, row, with_prefix

BARE = Form(suffix="")
BARE_TRANSPOSED = Form(suffix="", operation=Operation(lambda x: x.T, lambda x: x.T))
FUSED_Q, FUSED_K, FUSED_V = (Form(suffix="_{}", part=(i, 3)) for i in range(3))

TEXT_MODEL = ("text_model.", "")  # transformers before version 5; transformers 5, and some merges
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
OPENCLIP_LAYER = (
    row("norm1", "ln_1", "layer_norm1"),
    row("attn.q", "attn.in_proj", "self_attn.q_proj", form=FUSED_Q),
    row("attn.k", "attn.in_proj", "self_attn.k_proj", form=FUSED_K),
    row("attn.v", "attn.in_proj", "self_attn.v_proj", form=FUSED_V),
    row("attn.out", "attn.out_proj", "self_attn.out_proj"),
    row("norm2", "ln_2", "layer_norm2"),
    row("mlp.up", "mlp.c_fc", "mlp.fc1"),
    row("mlp.down", "mlp.c_proj", "mlp.fc2"),
)


def text_rows(config: TextConfig) -> Iterator[Row]:
    """A text encoder, in CompVis's files as in diffusers': under the names of transformers."""
    yield from with_prefix("", TEXT_MODEL, TEXT_MODEL, tower_rows(config))
    if config.projection is not None:
        yield row("projection", "text_projection", "text_projection", bias=False)


def tower_rows(config: TextConfig) -> Iterator[Row]:
    for ours in ("token", "position"):
        yield row(ours, f"embeddings.{ours}_embedding", f"embeddings.{ours}_embedding", bias=False)
    for i in range(config.layers):
        layer = f"encoder.layers.{i}."
        yield from with_prefix(f"layers.{i}.", layer, layer, TEXT_LAYER)
    yield row("norm", "final_layer_norm", "final_layer_norm")


def openclip_rows(config: TextConfig) -> Iterator[Row]:
    """The same, in CompVis's files under the names of OpenCLIP."""

    def tower() -> Iterator[Row]:
        yield row("token", "token_embedding", "embeddings.token_embedding", bias=False)
        yield row("position", "positional_embedding", "embeddings.position_embedding", False, BARE)
        for i in range(config.layers):
            theirs = f"transformer.resblocks.{i}.", f"encoder.layers.{i}."
            yield from with_prefix(f"layers.{i}.", *theirs, OPENCLIP_LAYER)
        yield row("norm", "ln_final", "final_layer_norm")

    yield from with_prefix("", "", TEXT_MODEL, tower())
    if config.projection is not None:
        yield row("projection", "text_projection", "text_projection", False, BARE_TRANSPOSED)


def openclip(config: TextConfig) -> bool:
    """Whether a text encoder has OpenCLIP's names in CompVis's files: those whose GELU is exact."""
    return config.activation == "gelu"
