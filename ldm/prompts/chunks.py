"""Texts of any length as chunks, as a text encoder reads them: with start and end, 77 tokens."""

import math
import re
import textwrap
from collections.abc import Container, Sequence

from ..clip.tokenizer import Tokenizer
from ..clip.vocabulary import decode
from ..request import PROMPT_SYNTAXES
from ..runtime.checks import known
from ..runtime.warn import warn
from . import comfyui
from .a1111 import parse_attention

Chunk = list[tuple[int, float]]  # tokens that are read together, and how much each counts
WEIGHTED = re.compile(r"[][()\\]|BREAK")  # what A1111's grammar makes something of
GRAMMAR = re.compile(rf"{WEIGHTED.pattern}|<|AND")  # the same, of a whole prompt
BACKTRACK = 20  # tokens that may move on so that a chunk begins after a comma; A1111's number


def chunks(tokenizer: Tokenizer, text: str, syntax: str = "a1111") -> list[Chunk]:
    """The chunks of a text, at least one; their lengths are its numbers of tokens.

    A BREAK ends a chunk; at the very end of a text it does nothing. ComfyUI's syntax has chunks of
    its own. "cut" is as "off", but what goes beyond one chunk is left out, with a warning.
    """
    known(syntax, (*PROMPT_SYNTAXES, "cut"), "prompt_syntax")
    size = tokenizer.length - 2
    if syntax == "cut":
        return [cut(tokenizer, text, size)]
    runs = parts_of(text, syntax)
    if syntax == "comfyui":
        words = [(word, weight) for run, weight in runs[0] for word in run.split()]
        return comfyui.fill_chunks(
            [[(token, weight) for token in tokenizer.encode(word)] for word, weight in words], size
        )
    parts = [
        [(token, weight) for run, weight in part for token in tokenizer.encode(run)]
        for part in runs
    ]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    comma = tokenizer.encode(",")[0]
    joined = tokenizer.joined
    return [chunk for part in parts for chunk in split_at_commas(part, size, comma, joined)]


def parts_of(text: str, syntax: str) -> list[list[tuple[str, float]]]:
    """The words without the signs of the grammar: the parts that BREAK makes, each of runs of text
    with how much they count."""
    if syntax == "comfyui":
        return [comfyui.parse_attention(text)]
    weighted = syntax == "a1111" and WEIGHTED.search(text) is not None
    return parse_attention(text) if weighted else [[(text, 1.0)]]


def cut(tokenizer: Tokenizer, text: str, size: int) -> Chunk:
    """The first chunk of a text, and a warning of what that leaves out."""
    tokens = tokenizer.encode(text)
    if len(tokens) > size:
        rest = textwrap.shorten(decode(tokenizer, tokens[size:]), 200, placeholder=" ...")
        what = f"the prompt is cut after {size} tokens, as the imitated program does; not read"
        warn(f"{what}: {rest}")
    return [(token, 1.0) for token in tokens[:size]]


def split_at_commas(
    tokens: Chunk, size: int, comma: int, joined: Container[int] = ()
) -> list[Chunk]:
    """Chunks of at most `size` tokens. One that ends inside a phrase ends at a comma instead, if
    one is near; one that ends inside an embedding ends before that. joined: see `Tokenizer`.

    >>> tokens = [(7, 1.0)] * 70 + [(0, 1.0)] + [(7, 1.0)] * 100
    >>> [len(chunk) for chunk in split_at_commas(tokens, size=75, comma=0)]
    [71, 75, 25]
    """
    result, start = [], 0
    while len(tokens) - start > size:
        end = start + size
        if tokens[end][0] in joined:
            end = next(i for i in reversed(range(end)) if tokens[i][0] not in joined)
        elif tokens[end][0] != comma:
            near = range(max(end - BACKTRACK, start), end)
            end = max((i + 1 for i in near if tokens[i][0] == comma), default=end)
        result.append(tokens[start:end])
        start = end
    return [*result, tokens[start:]]


def padded_chunks(counts: Sequence[int], repeat_chunks: bool) -> int:
    """How many chunks all texts get that have so many of their own, see `padded`."""
    return math.lcm(*counts) if repeat_chunks else max(counts)


def padded(rows: Sequence[list[Chunk]], repeat_chunks: bool) -> list[list[Chunk]]:
    """The chunks of several texts, as many of each: shorter texts are filled up with empty chunks
    to the length of the longest; or all are repeated, which changes nothing of what attention makes
    of them: then they are as good as read apart."""
    count = padded_chunks([len(row) for row in rows], repeat_chunks)
    if repeat_chunks:
        return [row * (count // len(row)) for row in rows]
    return [row + [[]] * (count - len(row)) for row in rows]
