"""Pictures whose prompts change on the way, are joined by AND, or are longer than others: what can
be computed in one batch, and what it reads when.

B pictures, T different texts, P prompts joined by AND.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..clip.tokenizer import Tokenizer
from ..conditioning import Conditioning
from .chunks import padded_chunks
from .conditioner import chunks_of
from .extra_networks import without_networks
from .schedule import PromptSchedule, Reads, joined_prompts


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
    reads: Reads, encoded: Conditioning, guided: bool, negative: Conditioning | None = None
) -> tuple[list[Conditioning], Tensor]:
    """What B pictures read at one moment as the branches of `samplers.guidance.Guided`: first the
    negatives, where they are read at all, then P positives, each of B rows; and the weights (P, B)
    of the positives. encoded: the T texts of the schedule; negative: the same as negatives are
    read, where that is otherwise; guided: see `PromptBatch`.
    """
    rows = [encoded[list(rows)] for rows in reads.positives]
    if guided or len(rows) > 1:
        rows.insert(0, (encoded if negative is None else negative)[list(reads.negatives)])
    return rows, torch.tensor(reads.weights, device=encoded.context.device)


def without_loras(prompt: str, syntax: str) -> str:
    return without_networks(prompt) if syntax == "a1111" and "<" in prompt else prompt
