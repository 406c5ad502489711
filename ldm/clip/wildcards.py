"""Prompts with something left to chance: {a|b|c}, and __name__ for a line of a word list."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}|__([\w/ -]+?)__")
NESTING = 10  # so often is what was drawn searched for more to draw: a list may name itself


def draw(prompt: str, seed: int, lists: Mapping[str, Sequence[str]] | None = None) -> str:
    """Draw one of {a|b|c}, innermost first, and a line of the list `name` for __name__. The same seed draws the same.

    >>> draw("a {red|{light|dark} blue} __animal__", seed=3, lists={"animal": ["cat", "{wild|tame} dog"]})
    'a light blue cat'
    >>> {draw("{a|b|}", seed) for seed in range(20)} == {"a", "b", ""}
    True

    A list that nobody has, or braces without a choice, are text.

    >>> draw("a {red} __bird__", seed=1)
    'a {red} __bird__'
    """
    random = Random(seed)
    lists = {} if lists is None else lists

    def pick(found: re.Match[str]) -> str:
        options = found[1].split("|") if found[2] is None else lists.get(found[2])
        return random.choice(options) if options else found[0]

    for _ in range(NESTING):
        prompt = CHOICE.sub(pick, prompt)
    return prompt


def read_lists(folder: Path) -> dict[str, list[str]]:
    """The word lists of a folder: `animals/cats.txt` is __animals/cats__, a line an option; # starts a remark."""
    lists = {}
    for path in sorted(folder.rglob("*.txt")):
        lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
        lists[path.relative_to(folder).with_suffix("").as_posix()] = [
            line for line in lines if line and not line.startswith("#")
        ]
    return lists
