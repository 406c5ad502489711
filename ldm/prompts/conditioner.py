"""From prompts to what the U-Net is told.

CLIP reads 77 tokens at once: a start, 75 of text, an end. A longer text is read in chunks, each by
itself, and the U-Net sees the results side by side. Where a prompt changes from step to step, every
text that it goes through is read beforehand, once.

B prompts or pictures, T different texts, P prompts joined by AND, L tokens (a multiple of the
tokenizer's length), D width.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..clip.model import TextEncoder
from ..clip.tokenizer import Tokenizer
from ..conditioning import Conditioning
from .chunks import WEIGHTED, Chunk, chunks, padded, padded_chunks
from .extra_networks import without_networks
from .schedule import PromptSchedule, Reads, joined_prompts
from .weighting import token_weights, weight_tokens


class Tower(NamedTuple):
    """A text encoder and the tokenizer that it was trained with."""

    tokenizer: Tokenizer
    encoder: TextEncoder


class PromptBatch(NamedTuple):
    """Pictures, by their numbers, that can be computed in one batch, and what they read when."""

    pictures: list[int]
    schedule: PromptSchedule
    guided: bool  # whether they read their negatives


def batch_by_shape(
    prompts: Sequence[str],
    negatives: Sequence[str],
    tokenizer: Tokenizer,
    syntax: str,
    guided: bool,
    changes: int,
    earlier: int = 0,
    repeat_chunks: bool = False,
) -> list[PromptBatch]:
    """Pictures, each with a prompt and a negative, together where they have as many chunks and as
    many prompts joined by AND.

    So none is filled up because another is longer, and each is the same in any batch. guided: if
    not, negatives are read only beside prompts that AND joins. Others: see `PromptSchedule` and
    `encode_prompts`.
    """
    count = cache(lambda text: len(chunks_of(tokenizer, text, syntax)))

    @cache
    def shape(prompt: str, negative: str) -> tuple[int, int]:
        read = PromptSchedule([prompt], [negative], changes, earlier, syntax)
        counts = {count(text) for text in read.texts}
        most = counts.pop() if len(counts) == 1 else padded_chunks([*counts], repeat_chunks)
        return most, len(read.at(1).positives)

    found: dict[tuple[int, int], list[tuple[int, str, str]]] = {}
    for i, (prompt, negative) in enumerate(zip(prompts, negatives, strict=True)):
        prompt = without_loras(prompt, syntax)
        if not guided and len(joined_prompts(prompt, syntax)) == 1:
            negative = prompt  # not read: so nothing more is encoded
        found.setdefault(shape(prompt, negative), []).append((i, prompt, negative))
    batches = []
    for (_, joined), pictures in found.items():
        numbers, own_prompts, own_negatives = zip(*pictures)
        schedule = PromptSchedule(own_prompts, own_negatives, changes, earlier, syntax)
        batches.append(PromptBatch(list(numbers), schedule, guided or joined > 1))
    return batches


def branches(
    reads: Reads, encoded: Conditioning, guided: bool
) -> tuple[list[Conditioning], Tensor]:
    """What B pictures read at one moment as the branches of `samplers.guidance.Guided`: first the
    negatives, where they are read at all, then P positives, each of B rows; and the weights (P, B)
    of the positives. encoded: the T texts of the schedule; guided: see `PromptBatch`.
    """
    rows = [encoded[list(rows)] for rows in reads.positives]
    if guided or len(rows) > 1:
        rows.insert(0, encoded[list(reads.negatives)])
    return rows, torch.tensor(reads.weights, device=encoded.context.device)


def without_loras(prompt: str, syntax: str) -> str:
    return without_networks(prompt) if syntax == "a1111" and "<" in prompt else prompt


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
                    its own, too, as in Forge
    repeat_chunks   how prompts of fewer chunks become as long as others, see `padded`
    """
    contexts, vector = [], None
    for tower in towers:
        layers = len(tower.encoder.layers)
        if clip_skip is not None and not 1 <= clip_skip <= layers:
            raise ValueError(
                f"clip_skip {clip_skip}: this text encoder has layers 1 (the last) to {layers}"
            )
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
    z = found.hidden[-(layer if config.final_norm else max(layer, config.layer))]
    return (encoder.norm(z) if config.final_norm else z), found.pooled
