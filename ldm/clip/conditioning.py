"""From prompts to what the U-Net's cross-attention reads.

A text encoder reads 77 tokens at once: a start, 75 of text, an end. A longer text is read in chunks, each by itself,
and the U-Net sees the results side by side. Where a prompt changes from step to step, every text that it goes through
is read beforehand, once.

B prompts or pictures, T different texts, P prompts joined by AND, L tokens (a multiple of the tokenizer's length),
D width.
"""

import math
import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from .model import TextEncoder
from .prompt import FACTOR, NUMBER, Schedule, Weighted, schedule, split_and, text_during, weigh
from .tokenizer import Tokenizer

Emphasis = str  # whose grammar and weights, one of EMPHASES; off: all is text
Chunk = list[tuple[int, float]]  # the tokens that are read together, at most 75, and how much each counts

EMPHASES = ("a1111", "comfyui", "off")
UNDIVIDED = 7  # tokens of the longest word that ComfyUI keeps in one chunk
BACKTRACK = 20  # tokens that may move to the next chunk so that it begins after a comma; A1111's number


class Contexts(NamedTuple):
    """What B pictures read at one step:  D = D(negative) + scale sum_p weights[p] (D(positive[p]) - D(negative))."""

    positive: Tensor  # (P, B, L, D)
    weights: Tensor  # (P, B)
    negative: Tensor  # (B, L, D)


class Plan:
    """Which text each of B pictures reads at which step.

    prompts, negatives   B texts each. Negatives know no AND.
    steps                how many there are; `earlier`: how many a first pass had, if this is a second one.
    emphasis             only A1111's grammar has AND and changes; in the others a prompt is one text.

        plan = Plan(prompts, negatives, steps=20)
        contexts = encode_prompts(tokenizer, text_encoder, plan.texts)
        plan.at(1, contexts), ..., plan.at(20, contexts)
    """

    def __init__(
        self,
        prompts: Sequence[str],
        negatives: Sequence[str],
        steps: int,
        earlier: int = 0,
        emphasis: Emphasis = "a1111",
    ) -> None:
        if len(prompts) != len(negatives):
            raise ValueError(f"{len(prompts)} prompts and {len(negatives)} negatives: give as many of each")

        def changes(text: str) -> Schedule:
            return schedule(text, steps, earlier) if emphasis == "a1111" else [(steps, text)]

        joined = [split_and(prompt) if emphasis == "a1111" else [(prompt, 1.0)] for prompt in prompts]
        self.positive = [[(changes(text), weight) for text, weight in parts] for parts in joined]
        self.negative = [changes(text) for text in negatives]
        schedules = [part for parts in self.positive for part, _ in parts] + self.negative
        self.texts = list(dict.fromkeys(text for part in schedules for _, text in part))  # T, each once

    def at(self, step: int, contexts: Tensor) -> Contexts:
        """contexts (T, L, D), of `texts` -> what is read at this step, counted from 1.

        A picture that joins fewer prompts than another reads its negative in their place, with weight 0.
        """
        where = {text: i for i, text in enumerate(self.texts)}
        negative = [where[text_during(part, step)] for part in self.negative]
        positive = [[(where[text_during(part, step)], weight) for part, weight in parts] for parts in self.positive]
        most = max(map(len, positive))
        full = [parts + [(no, 0.0)] * (most - len(parts)) for parts, no in zip(positive, negative)]
        indices = torch.tensor([[index for index, _ in parts] for parts in full]).T
        weights = torch.tensor([[weight for _, weight in parts] for parts in full], device=contexts.device).T
        return Contexts(contexts[indices], weights, contexts[negative])


def encode_prompts(
    tokenizer: Tokenizer,
    text: TextEncoder,
    prompts: Sequence[str],
    emphasis: Emphasis = "a1111",
    clip_skip: int = 1,
    repeats: bool = False,
) -> Tensor:
    """What the U-Net reads of B prompts, each at one step. -> (B, L, D)

    Shorter prompts are filled up with empty chunks to the length of the longest; or are repeated, which changes nothing
    of what attention makes of them: then they are as good as read apart.
    clip_skip: 1 is the last layer, 2 the one before it and so on, as A1111 counts, each followed by the final norm.
    """
    if not 1 <= clip_skip <= len(text.layers):
        raise ValueError(f"clip_skip {clip_skip}: this text encoder has layers 1 (the last) to {len(text.layers)}")
    rows = [chunks(tokenizer, prompt, emphasis) for prompt in prompts]
    most = common([len(row) for row in rows], repeats)
    columns = zip(*(row * (most // len(row)) if repeats else row + [[]] * (most - len(row)) for row in rows))
    return torch.cat([encode_chunks(tokenizer, text, column, emphasis, clip_skip) for column in columns], dim=1)


def common(counts: Sequence[int], repeats: bool) -> int:
    """How many chunks all texts get that have so many of their own, see `encode_prompts`."""
    return math.lcm(*counts) if repeats else max(counts)


def encode_chunks(
    tokenizer: Tokenizer, text: TextEncoder, chunks: Sequence[Chunk], emphasis: Emphasis, clip_skip: int
) -> Tensor:
    """B chunks -> (B, tokenizer.length, D)"""
    device = text.token.weight.device

    def hidden(ids: list[list[int]]) -> Tensor:
        return text.norm(text(torch.tensor(ids, device=device)).hidden[-clip_skip])  # type: ignore[no-any-return]

    z = hidden([tokenizer.row([token for token, _ in chunk]) for chunk in chunks])
    rows = [[1.0] + [weight for _, weight in chunk] for chunk in chunks]
    if all(weight == 1 for row in rows for weight in row):
        return z
    weights = torch.tensor([row + [1.0] * (tokenizer.length - len(row)) for row in rows], device=device)
    empty = hidden([tokenizer.row([])]) if emphasis == "comfyui" else None
    return emphasised(z, weights.to(z.dtype), empty)


def emphasised(z: Tensor, weights: Tensor, empty: Tensor | None = None) -> Tensor:
    """Let some tokens count for more. z (B, L, D), weights (B, L) -> (B, L, D)

    A1111's way: w z, rescaled so that a chunk keeps the mean of its numbers. (A1111 takes one mean for all the texts
    that a prompt goes through; here each has its own, so that no text depends on another.)
    ComfyUI's way, given the empty prompt's z (1, L, D): empty + w (z - empty).
    """
    weights = weights[..., None]
    if empty is not None:
        return torch.lerp(empty, z, weights)
    wide = torch.promote_types(z.dtype, torch.float32)
    before = z.mean((1, 2), keepdim=True, dtype=wide)
    z = z * weights
    after = z.mean((1, 2), keepdim=True, dtype=wide)
    return z * torch.where(after == 0, 1, before / after).to(z.dtype)


def chunks(tokenizer: Tokenizer, text: str, emphasis: Emphasis = "a1111") -> list[Chunk]:
    """The chunks of a text, at least one; their lengths are its numbers of tokens.

    A BREAK ends a chunk; at the very end of a text it does nothing. ComfyUI's grammar has chunks of its own.
    """
    size = tokenizer.length - 2
    if emphasis == "comfyui":
        words = [(word, weight) for run, weight in weigh_comfyui(text) for word in run.split()]
        return fill([[(token, weight) for token in tokenizer.encode(word)] for word, weight in words], size)
    parts = [
        [(token, weight) for run, weight in part for token in tokenizer.encode(run)] for part in read(text, emphasis)
    ]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    comma = tokenizer.encode(",")[0]
    return [chunk for part in parts for chunk in cut(part, size, comma)]


def cut(tokens: Chunk, size: int, comma: int) -> list[Chunk]:
    """Chunks of at most `size` tokens. One that ends inside a phrase ends at a comma instead, if one is near.

    >>> [len(chunk) for chunk in cut([(7, 1.0)] * 70 + [(0, 1.0)] + [(7, 1.0)] * 100, size=75, comma=0)]
    [71, 75, 25]
    """
    result = []
    while len(tokens) > size:
        end = size
        if tokens[size][0] != comma:
            near = range(max(size - BACKTRACK, 0), size)
            end = max((i + 1 for i in near if tokens[i][0] == comma), default=size)
        result.append(tokens[:end])
        tokens = tokens[end:]
    return [*result, tokens]


def fill(words: Sequence[Chunk], size: int) -> list[Chunk]:
    """Chunks of at most `size` tokens as ComfyUI makes them: only long words are divided, and commas are like others.

    >>> [len(chunk) for chunk in fill([[(7, 1.0)] * 4] * 20 + [[(7, 1.0)] * 80], size=75)]
    [72, 75, 13]
    """
    result: list[Chunk] = [[]]
    for word in words:
        if len(result[-1]) + len(word) > size and len(word) <= min(UNDIVIDED, size):
            result.append([])
        for token in word:
            if len(result[-1]) == size:
                result.append([])
            result[-1].append(token)
    return result


def read(text: str, emphasis: Emphasis) -> list[list[Weighted]]:
    """The texts and weights between BREAKs, in A1111's grammar or in none."""
    if emphasis == "a1111":
        return weigh(text)
    if emphasis == "off":
        return [[(text, 1.0)]]
    raise ValueError(f"emphasis {emphasis!r} is unknown: choose one of {', '.join(EMPHASES)}")


def weigh_comfyui(text: str) -> list[Weighted]:
    r"""ComfyUI's grammar: (x:w) counts w, whatever is around it; (x) 1.1 times what is around it; no [x], no BREAK.

    >>> weigh_comfyui(r"a (b (c:0.5) (d):1.2) \(e\) [f] (g")
    [('a ', 1.0), ('b ', 1.2), ('c', 0.5), (' ', 1.2), ('d', 1.32), (' (e) [f] (g', 1.0)]
    """
    open_brackets: list[list[tuple[str, float, bool]]] = [[]]  # text, weight, does it ignore what is around it
    for piece in re.findall(r"\\[()]|[()]|[^\\()]+|\\", text):
        if piece == "(":
            open_brackets.append([])
        elif piece == ")" and len(open_brackets) > 1:
            runs = open_brackets.pop()
            bare = runs[-1:] and runs[-1][1:] == (1.0, False)  # not from a bracket within
            number = re.search(rf":\s*({NUMBER})\s*$", runs[-1][0]) if bare else None
            if number is not None and (len(runs) > 1 or number.start() > 0):
                runs[-1] = (runs[-1][0][: number.start()], 1.0, False)
                runs = [(run, weight if done else weight * float(number[1]), True) for run, weight, done in runs]
            else:
                runs = [(run, weight if done else weight * FACTOR, done) for run, weight, done in runs]
            open_brackets[-1] += runs
        else:
            open_brackets[-1].append((piece[-1] if piece in (r"\(", r"\)") else piece, 1.0, False))
    runs = [run for runs in open_brackets for run in [("(", 1.0, False), *runs] if run[0]][1:]
    return [("".join(run for run, _, _ in same), weight) for weight, same in groupby(runs, key=lambda run: run[1])]
