"""Prompts with something left to chance: {a|b|c}, and __name__ for a line of a word list."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from ..request import Request, plain

WILDCARD = re.compile(r"\{([^{}|]*\|[^{}]*)\}|__([\w/ -]+?)__")
NESTING = 10  # so often is what was drawn searched for more to draw: a list may name itself


def expanded(request: Request) -> Request:
    """The request with every {a|b|c} and __list__ of its prompts and negative prompts expanded, for
    each picture from its own seed; both from its beginning, so that {red|blue} in one goes with
    {blue|red} in the other.

    What was drawn stands in the prompts, so that the word lists are not needed again.
    """
    if request.prompt_syntax == "off":
        return request
    before = request.prompts * request.count, request.negatives * request.count
    if any(WILDCARD.search(text) for text in {*request.prompts, *request.negatives}):
        lists = {} if request.wildcards is None else read_lists(Path(request.wildcards))
        prompts, negatives = (
            tuple(expand_wildcards(text, request.seed + i, lists) for i, text in enumerate(texts))
            for texts in before
        )
        if (prompts, negatives) != before:
            request = replace(request, prompt=prompts, negative=plain(negatives), count=1)
    return request if request.wildcards is None else replace(request, wildcards=None)


def expand_wildcards(
    prompt: str, seed: int, lists: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Draw one of {a|b|c}, innermost first, and a line of the list `name` for __name__. The same
    seed draws the same.

    >>> lists = {"animal": ["cat", "{wild|tame} dog"]}
    >>> expand_wildcards("a {red|{light|dark} blue} __animal__", seed=3, lists=lists)
    'a light blue cat'
    >>> {expand_wildcards("{a|b|}", seed) for seed in range(20)} == {"a", "b", ""}
    True

    A list that nobody has, or braces without a choice, are text.

    >>> expand_wildcards("a {red} __bird__", seed=1)
    'a {red} __bird__'
    """
    random = Random(seed)
    lists = {} if lists is None else lists

    def pick(found: re.Match[str]) -> str:
        options = lists.get(found[2]) if found[1] is None else found[1].split("|")
        return random.choice(options) if options else found[0]

    for _ in range(NESTING):
        prompt = WILDCARD.sub(pick, prompt)
    return prompt


def read_lists(folder: Path) -> dict[str, list[str]]:
    """The word lists of a folder: `animals/cats.txt` is __animals/cats__, a line an option; #
    starts a remark."""
    lists = {}
    for path in sorted(folder.rglob("*.txt")):
        text = path.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines()]
        name = path.relative_to(folder).with_suffix("").as_posix()
        lists[name] = [line for line in lines if line and not line.startswith("#")]
    return lists
