"""vocabulary: what a model knows."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

from ..models.weights import inspect
from ..models.weights.report import words_of_merges
from ..pipeline.loading import built_in
from ..prompts.known import Known, beside, read_known
from .flags import Parser
from .output import say
from .printing import printable

WIDTH = 100


def add_vocabulary(parser: Parser) -> None:
    told = "tell of these alone, and of what has to do with them: octopus, ocean"
    parser.add_argument("words", nargs="*", metavar="WORD", help=told)
    told = "the model (default: the built-in one)"
    parser.add_argument("--ckpt", type=Path, metavar="PATH", help=told)


def vocabulary(options: argparse.Namespace) -> int:
    """Print the things that a model knows, and the words for how they are drawn. -> 1 if it knows
    none of the words that are asked for"""
    given = options.ckpt
    path = built_in() if given is None else Path(os.path.expanduser(given))
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    known = read_known(path)
    if known is None and not options.words:
        for line in by_tokens(path, tokens(path)):
            say(printable(line))
        return 0
    known = known or Known({}, {})
    for line in lines(known.found(options.words) if options.words else known):
        say(printable(line))
    unlisted = [word for word in options.words if not known.found([word]).groups()]
    words = tokens(path) if unlisted else []
    lacking = [word for word in unlisted if word.lower() not in words]
    for word in unlisted:
        near = ", ".join(known.nearest(word))
        told = f"not known{near and f'; nearest: {near}'}" if word in lacking else "a word it reads"
        say(printable(f"{word}: {told}"))
    return 1 if lacking else 0


def lines(known: Known) -> Iterator[str]:
    """Each group with how many it has, and their names."""
    for group, names in known.groups().items():
        told = f"{group} ({len(names)}): {', '.join(map(str, names))}"
        yield from textwrap.wrap(told, WIDTH, subsequent_indent="  ")


def tokens(path: Path) -> list[str]:
    """The words that a model's tokenizer has whole, if these are not CLIP's."""
    merges = inspect(path).opened.merges
    return [] if merges is None else words_of_merges(merges)


def by_tokens(path: Path, words: list[str]) -> Iterator[str]:
    """Of a model that has no list beside it: what its tokenizer tells."""
    if not words:
        yield f"{path} reads any words, in CLIP's vocabulary: what of them it knows, no list tells"
        return
    yield f"there is no {beside(path)}; these words the tokenizer has whole:"
    yield from textwrap.wrap(f"words ({len(words)}): {', '.join(words)}", WIDTH)
