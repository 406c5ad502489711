"""From prompts to what the U-Net is told.

CLIP reads 77 tokens at once: a start, 75 of text, an end. A longer text is read in
chunks, each by itself, and the U-Net sees the results side by side. Where a prompt changes from
step to step, every text that it goes through is read beforehand, once.

B prompts or pictures, T different texts, P prompts joined by AND, L tokens (a multiple of the
tokenizer's length), D width.
"""

import textwrap
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..clip.model import TextEncoder
from ..clip.tokenizer import Tokenizer
from ..conditioning import Conditioning
from .a1111 import extract_hypernets, extract_loras
from .chunks import Chunk, chunks, padded_chunks
from .schedule import PromptSchedule, Reads, joined_prompts


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

    @cache
    def count(text: str) -> int:
        return len(chunks(tokenizer, text, syntax))

    @cache
    def shape(prompt: str, negative: str) -> tuple[int, int]:
        read = PromptSchedule([prompt], [negative], changes, earlier, syntax)
        counts = [count(text) for text in read.texts]
        return padded_chunks(counts, repeat_chunks), len(read.at(1).positives)

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
    positives = [encoded[list(rows)] for rows in reads.positives]
    weights = torch.tensor(reads.weights, device=encoded.context.device)
    if guided or len(positives) > 1:
        return [encoded[list(reads.negatives)], *positives], weights
    return positives, weights


def chunk_sizes(
    prompts: Sequence[str],
    negatives: Sequence[str],
    tokenizer: Tokenizer,
    syntax: str = "a1111",
    changes: int = 100,
) -> dict[str, list[int]]:
    """How many tokens there are in each chunk of every text that these make the model read."""
    prompts = [without_loras(prompt, syntax) for prompt in prompts]
    texts = PromptSchedule(prompts, negatives, changes, syntax=syntax).texts
    return {text: [len(chunk) for chunk in chunks(tokenizer, text, syntax)] for text in texts}


def without_loras(prompt: str, syntax: str) -> str:
    if syntax != "a1111" or "<" not in prompt:
        return prompt
    return extract_hypernets(extract_loras(prompt)[0])[0]


def networks_in(prompts: Sequence[str], syntax: str) -> list[str]:
    """A line for LoRAs and one for hypernetworks, if the prompts ask for some; each name once, in
    alphabetical order."""
    asking = [prompt for prompt in prompts if syntax == "a1111" and "<" in prompt]
    loras = {lora.name for prompt in asking for lora in extract_loras(prompt)[1]}
    hypernets = {name for prompt in asking for name in extract_hypernets(prompt)[1]}
    asks = {"LoRA": sorted(loras), "hypernetworks": sorted(hypernets)}
    return [
        f"the prompt asks for {kind}, which this version cannot add: "
        + textwrap.shorten(", ".join(names), 200)
        for kind, names in asks.items()
        if names
    ]


def encode_prompts(
    towers: Sequence[Tower],
    prompts: Sequence[str],
    syntax: str = "a1111",
    clip_skip: int | None = None,
    repeat_chunks: bool = False,
) -> Conditioning:
    """What the U-Net reads of B prompts, each at one moment: contexts (B, L, D), those of several
    towers side by side along D.

    Shorter prompts are filled up with empty chunks to the length of the longest; or are repeated,
    which changes nothing of what attention makes of them: then they are as good as read apart.
    clip_skip: the layer to read, 1 the last, 2 the one before it and so on, as A1111 counts; None:
    the tower's own.
    """
    contexts = []
    for tower in towers:
        layers = len(tower.encoder.layers)
        if clip_skip is not None and not 1 <= clip_skip <= layers:
            raise ValueError(
                f"clip_skip {clip_skip}: this text encoder has layers 1 (the last) to {layers}"
            )
        rows = [chunks(tower.tokenizer, prompt, syntax) for prompt in prompts]
        max_chunks = padded_chunks([len(row) for row in rows], repeat_chunks)
        if repeat_chunks:
            rows = [row * (max_chunks // len(row)) for row in rows]
        else:
            rows = [row + [[]] * (max_chunks - len(row)) for row in rows]
        columns = [encode_chunks(tower, column, syntax, clip_skip) for column in zip(*rows)]
        contexts.append(torch.cat(columns, dim=1))
    return Conditioning(torch.cat(contexts, dim=2))


def encode_chunks(
    tower: Tower, chunks: Sequence[Chunk], syntax: str, clip_skip: int | None
) -> Tensor:
    """B chunks -> (B, tokenizer.length, D)"""
    z = hidden(tower, [[token for token, _ in chunk] for chunk in chunks], clip_skip)
    rows = [[1.0] + [weight for _, weight in chunk] for chunk in chunks]
    if all(weight == 1 for row in rows for weight in row):
        return z
    length = tower.tokenizer.length
    weights = torch.tensor([row + [1.0] * (length - len(row)) for row in rows], device=z.device)
    empty = hidden(tower, [[]], clip_skip) if syntax == "comfyui" else None
    return weight_tokens(z, weights.to(z.dtype), empty)


def hidden(tower: Tower, chunks: Sequence[list[int]], clip_skip: int | None) -> Tensor:
    """B chunks of tokens -> (B, tokenizer.length, D), one layer's result"""
    encoder, config = tower.encoder, tower.encoder.config
    rows = [tower.tokenizer.row(chunk) for chunk in chunks]
    ids = torch.tensor(rows, device=encoder.token.weight.device)
    z: Tensor = encoder(ids).hidden[-(config.layer if clip_skip is None else clip_skip)]
    return encoder.norm(z) if config.final_norm else z


def weight_tokens(z: Tensor, weights: Tensor, empty: Tensor | None = None) -> Tensor:
    """Let some tokens count for more. z (B, L, D), weights (B, L) -> (B, L, D)

    A1111's way: w z, rescaled so that a chunk keeps the mean of its numbers. (A1111 takes one mean
    for all the texts that a prompt goes through; here each has its own, so that no text depends on
    another.) ComfyUI's way, given the empty prompt's z (1, L, D): empty + w (z - empty).
    """
    weights = weights[..., None]
    if empty is not None:
        return torch.lerp(empty, z, weights)
    wide = torch.promote_types(z.dtype, torch.float32)
    before = z.mean((1, 2), keepdim=True, dtype=wide)
    z = z * weights
    after = z.mean((1, 2), keepdim=True, dtype=wide)
    return z * torch.where(after == 0, 1, before / after).to(z.dtype)
