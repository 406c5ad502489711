"""From prompts to what the U-Net is told.

CLIP reads 77 tokens at once: a start, 75 of text, an end. A longer text is read in chunks, each by
itself, and the U-Net sees the results side by side.

B prompts, L tokens (a multiple of the tokenizer's length), D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..clip.model import TextEncoder
from ..clip.tokenizer import Tokenizer
from ..conditioning import Conditioning
from .chunks import GRAMMAR, WEIGHTED, Chunk, chunks, padded
from .weighting import token_weights, weight_tokens


class Tower(NamedTuple):
    """A text encoder and the tokenizer that it was trained with."""

    tokenizer: Tokenizer
    encoder: TextEncoder


def is_plain(tokenizer: Tokenizer, text: str, syntax: str) -> bool:
    """Whether a text is a single chunk, and the same from the first step to the last."""
    return not GRAMMAR.search(text) and len(chunks_of(tokenizer, text, syntax)) == 1


def chunks_of(tokenizer: Tokenizer, text: str, syntax: str) -> list[Chunk]:
    """The `chunks` of a text. Most texts are one: short, and without anything of a grammar."""
    if syntax in ("a1111", "off", "cut") and not WEIGHTED.search(text):
        tokens = tokenizer.encode(text)
        if len(tokens) <= tokenizer.length - 2:
            return [[(token, 1.0) for token in tokens]]
    return chunks(tokenizer, text, syntax)


def encode_prompts(
    towers: Sequence[Tower],
    prompts: Sequence[str],
    syntax: str = "a1111",
    clip_skip: int | None = None,
    repeat_chunks: bool = False,
) -> Conditioning:
    """What the U-Net reads of B prompts, each at one moment: contexts (B, L, D), those of several
    towers side by side along D; and as a vector (B, V) the first chunk pooled by the last tower
    with a projection, if one has it. (How much tokens count does not change it.)

    clip_skip       the layer to read, 1 the last, 2 the one before it and so on, as A1111 counts;
                    None: the tower's own. Of a tower that is read without a final norm (SDXL's)
                    the layers after its own mean nothing to the U-Net, so that less than that is
                    its own, too, as in Forge; but -1 is the last itself, -2 and so on, as
                    ComfyUI writes them
    repeat_chunks   how prompts of fewer chunks become as long as others, see `padded`
    """
    contexts, vector = [], None
    for tower in towers:
        layers = len(tower.encoder.layers)
        if clip_skip is not None and not 1 <= abs(clip_skip) <= layers:
            what = f"clip_skip {clip_skip}"
            raise ValueError(f"{what}: this text encoder has layers 1 (the last) to {layers}")
        rows = [chunks_of(tower.tokenizer, prompt, syntax) for prompt in prompts]
        if len({len(row) for row in rows}) > 1:
            rows = padded(rows, repeat_chunks)
        columns = [encode_chunks(tower, column, syntax, clip_skip) for column in zip(*rows)]
        contexts.append(torch.cat([z for z, _ in columns], dim=1))
        if tower.encoder.projection is not None:
            vector = columns[0][1]
    return Conditioning(torch.cat(contexts, dim=2), vector)


def encode_chunks(
    tower: Tower, chunks: Sequence[Chunk], syntax: str, clip_skip: int | None
) -> tuple[Tensor, Tensor]:
    """B chunks -> (B, tokenizer.length, D), and each of them pooled (B, V)"""
    z, pooled = hidden(tower, chunks, clip_skip)
    if all(weight == 1 for chunk in chunks for _, weight in chunk):
        return z, pooled
    empty = hidden(tower, [[]], clip_skip)[0] if syntax == "comfyui" else None
    return weight_tokens(z, token_weights(chunks, z), empty), pooled


def hidden(tower: Tower, chunks: Sequence[Chunk], clip_skip: int | None) -> tuple[Tensor, Tensor]:
    """The same with every token counting 1: the result of one layer."""
    encoder, config = tower.encoder, tower.encoder.config
    rows = [tower.tokenizer.row([token for token, _ in chunk]) for chunk in chunks]
    ids = torch.tensor(rows, device=encoder.token.weight.device)
    found = encoder(ids)
    layer = config.layer if clip_skip is None else clip_skip
    bare = not config.final_norm and layer > 0
    z = found.hidden[-(max(layer, config.layer) if bare else abs(layer))]
    return (encoder.norm(z) if config.final_norm else z), found.pooled
