"""Prompts with something left to chance: {a|b|c}, and __name__ for a line of a word list."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from ..request import Request, plain
from ..runtime.text import one_line
from ..runtime.warn import warn
from .editing import MATCHING

WILDCARD = re.compile(r"\{([^{}|]*\|[^{}]*)\}|__([\w/ -]+?)__")
NESTING = 10  # so often is what was drawn searched for more to draw: a list may name itself
LONGEST = 10**6  # letters: lists that name themselves several times grow without end
# sd-dynamic-prompts': {2$$a|b}, {0.9::a|b}
FOREIGN = re.compile(r"\{\s*[\d-]+\$\$|[{|]\s*(?:\d+(?:\.\d*)?|\.\d+)::")


def expanded(request: Request) -> Request:
    """The request with every {a|b|c} and __list__ of its prompts and negative prompts expanded, for
    each picture from its own seed; both from its beginning, so that {red|blue} in one goes with
    {blue|red} in the other.

    What was drawn stands in the prompts, so that the word lists are not needed again.
    """
    if request.prompt_syntax == "off":
        return request
    before = request.prompts * request.count, request.negatives * request.count
    asked = {*request.prompts, *request.negatives}
    lists = {} if request.wildcards is None else read_lists(Path(request.wildcards))
    told(asked, lists if request.wildcards is not None else None)
    if any(WILDCARD.search(text) for text in asked):
        prompts, negatives = (
            tuple(expand_wildcards(text, request.seed + i, lists) for i, text in enumerate(texts))
            for texts in before
        )
        if (prompts, negatives) != before:
            request = replace(request, prompt=prompts, negative=plain(negatives), count=1)
    return request if request.wildcards is None else replace(request, wildcards=None)


def told(texts: set[str], lists: Mapping[str, Sequence[str]] | None) -> None:
    """Warn of what looks like something to draw, and is text: another program's syntax, and lists
    that are not in the folder, if there is one."""
    for what in sorted({found[0] for text in texts for found in FOREIGN.finditer(text)})[:5]:
        warn(
            f"{what[:80]!r} in a prompt is not read: {{a|b}} draws one of its options, each as "
            "likely as the others"
        )
    if lists is None:
        return
    names = {found[2] for text in texts for found in WILDCARD.finditer(text) if found[2]}
    if lacking := sorted(name for name in names if not lists.get(name)):
        there = ", ".join(lists) or "none"
        what = ", ".join(f"__{name}__" for name in lacking)
        warn(f"no word list for {what[:200]}: it stays as it is. There are {one_line(there, 200)}")


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

    A list that nobody has, or braces without a choice, are text; a | within other brackets is none.

    >>> expand_wildcards("a {red} __bird__ {[cat|dog]}", seed=1)
    'a {red} __bird__ {[cat|dog]}'
    """
    random = Random(seed)
    lists = {} if lists is None else lists
    for _ in range(NESTING):
        pieces, end, length = [], 0, 0
        for found in WILDCARD.finditer(prompt):
            options = lists.get(found[2], ()) if found[1] is None else divided(found[1])
            drawn = random.choice(options) if len(options) > (found[1] is not None) else found[0]
            pieces += [prompt[end : found.start()], drawn]
            end = found.end()
            length += len(drawn)
            if length > LONGEST:
                raise ValueError(
                    f"the word lists make a prompt of more than {LONGEST:,} letters: one of them "
                    "names itself"
                )
        if not pieces:
            return prompt
        prompt = "".join(pieces) + prompt[end:]
    return prompt


def divided(text: str) -> list[str]:
    """The options of a choice: what is between the | outside brackets that have a partner.

    >>> divided("red|blue [big|small]"), divided("a)|(b")
    (['red', 'blue [big|small]'], ['a)', '(b'])
    """
    if not any(bracket in text for bracket in "(["):
        return text.split("|")
    open_brackets: list[tuple[str, int]] = []  # (bracket, how many bars there are before it)
    waiting = {"(": 0, "[": 0}  # how many of each kind are open
    bars: list[int] = []
    for i, letter in enumerate(text):
        if letter == "|":
            bars.append(i)
        elif letter in waiting:
            open_brackets.append((letter, len(bars)))
            waiting[letter] += 1
        elif waiting.get(partner := MATCHING.get(letter, "")):
            bracket = ""
            while bracket != partner:  # what was opened within has no partner
                bracket, before = open_brackets.pop()
                waiting[bracket] -= 1
            del bars[before:]
    return [text[a:b] for a, b in zip([0, *(i + 1 for i in bars)], [*bars, len(text)])]


def read_lists(folder: Path) -> dict[str, list[str]]:
    """The word lists of a folder: `animals/cats.txt` is __animals/cats__, a line an option; #
    starts a remark. ValueError: there is no such folder, or a list is not UTF-8."""
    if not folder.is_dir():
        what = f"--wildcards {one_line(str(folder), 200)} is no folder"
        raise ValueError(f"{what}: give one with word lists NAME.txt")
    lists = {}
    for path in sorted(folder.rglob("*.txt")):
        lines = [line.strip() for line in read_text(path).splitlines()]
        name = path.relative_to(folder).with_suffix("").as_posix()
        lists[name] = [line for line in lines if line and not line.startswith("#")]
    return lists


def read_text(path: Path) -> str:
    """A file in UTF-8, with or without a mark that says so."""
    name = one_line(str(path), 200)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"word list {name} cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"word list {name}, line {number}, is not UTF-8 text: save it as such"
        ) from None
