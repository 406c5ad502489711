"""The prompts of a request as guidance: which denoiser each of its steps has.

T different texts, B pictures, L tokens, D width.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .clip.conditioning import Contexts, Plan, chunks, common
from .clip.prompt import Lora, take_loras
from .clip.tokenizer import Tokenizer
from .clip.wildcards import draw, read_lists
from .request import Request, plain
from .samplers import Denoiser, ModelDenoiser, composed, guided


class Group(NamedTuple):
    """Pictures of a request, by their numbers, that can be computed in one batch; and what they read when."""

    pictures: list[int]
    plan: Plan


def drawn(request: Request) -> Request:
    """The request with every {a|b|c} and __list__ of its prompts and negative prompts drawn, for each picture from its
    own seed; both from its beginning, so that {red|blue} in one goes with {blue|red} in the other.

    What was drawn stands in the prompts, so that the word lists are not needed again.
    """
    if request.emphasis == "off":
        return request
    lists = {} if request.wildcards is None else read_lists(Path(request.wildcards))
    before = request.prompts * request.count, request.negatives * request.count
    prompts, negatives = (
        tuple(draw(text, request.seed + i, lists) for i, text in enumerate(texts)) for texts in before
    )
    if (prompts, negatives) != before:
        request = replace(request, prompt=prompts, negative=plain(negatives), count=1)
    return replace(request, wildcards=None)


def groups(request: Request, tokenizer: Tokenizer, steps: int, earlier: int = 0, repeats: bool = False) -> list[Group]:
    """The pictures of a settled request, together where they have as many chunks and as many prompts joined by AND.

    So none is filled up because another is longer, and each is the same in any batch. steps, earlier: how many there
    are to do, and were done in a first pass. repeats: see `encode_prompts`.
    """
    taken = without_loras(request)
    names = sorted({lora.name for _, loras in taken for lora in loras})
    if names:
        warnings.warn(f"the prompt asks for LoRA, which this version cannot add: {', '.join(names)}", stacklevel=2)
    pairs = list(zip([prompt for prompt, _ in taken], request.negatives)) * request.count

    def plan(pairs: list[tuple[str, str]], alone: bool) -> Plan:
        negatives = ["" if alone else negative for _, negative in pairs]
        return Plan([prompt for prompt, _ in pairs], negatives, steps, earlier, request.emphasis)

    @cache
    def kind(pair: tuple[str, str]) -> tuple[int, int, bool]:
        """How many chunks its texts have; how many prompts; whether it is read without a negative."""
        joined = len(plan([pair], True).positive[0])
        alone = request.scale == 1 and joined == 1
        counts = [len(chunks(tokenizer, text, request.emphasis)) for text in plan([pair], alone).texts]
        return common(counts, repeats), joined, alone

    found: dict[tuple[int, int, bool], list[int]] = {}
    for i, pair in enumerate(pairs):
        found.setdefault(kind(pair), []).append(i)
    return [Group(own, plan([pairs[i] for i in own], alone)) for (_, _, alone), own in found.items()]


def without_loras(request: Request) -> list[tuple[str, list[Lora]]]:
    """The prompts, each <lora:...> taken out of them and put beside them."""
    return [take_loras(prompt) if request.emphasis == "a1111" else (prompt, []) for prompt in request.prompts]


def guidance(
    model: ModelDenoiser, groups: list[Group], encode: Callable[[list[str]], Tensor], scale: float
) -> Callable[[int], Denoiser]:
    """The denoiser of each step, counted from 1, for all pictures of the groups. encode: T texts -> (T, L, D)"""
    contexts = [encode(group.plan.texts) for group in groups]

    def at(step: int) -> Denoiser:
        parts = [guided_by(model, group.plan.at(step, own), scale) for group, own in zip(groups, contexts)]
        if len(parts) == 1:
            return parts[0]

        def denoise(x: Tensor, sigma: float) -> Tensor:
            denoised = torch.empty_like(x)
            for (pictures, _), part in zip(groups, parts):
                denoised[pictures] = part(x[pictures], sigma)
            return denoised

        return denoise

    return at


def guided_by(model: ModelDenoiser, contexts: Contexts, scale: float) -> Denoiser:
    if len(contexts.positive) == 1:  # without AND, a prompt has no weight
        return guided(model, contexts.positive[0], contexts.negative, scale)
    return composed(model, contexts.positive, contexts.weights, contexts.negative, scale)


def chunk_sizes(request: Request, tokenizer: Tokenizer) -> dict[str, list[int]]:
    """How many tokens there are in each chunk of every text that a settled request makes the model read."""
    prompts = [prompt for prompt, _ in without_loras(request)]
    plan = Plan(prompts, request.negatives, request.steps, emphasis=request.emphasis)
    return {text: [len(chunk) for chunk in chunks(tokenizer, text, request.emphasis)] for text in plan.texts}
