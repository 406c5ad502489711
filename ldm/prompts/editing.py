"""Prompt editing: A1111's syntax for a text that changes from step to step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from .a1111 import NUMBER

Schedule = list[tuple[int, str]]  # (the last step, counted from 1, that reads this text; the text)
MATCHING = {")": "(", "]": "["}
PIECE = re.compile(r"\\.|[][():|]|[^][():|\\]+|\\", re.DOTALL)


class Choice(NamedTuple):
    """A square bracket that says different things at different steps."""

    options: list[list[str | Choice]]
    last: int | None  # the last step of the first of two options; None: all take turns

    def turn(self, step: int) -> int:
        return (step - 1) % len(self.options) if self.last is None else int(step > self.last)


def prompt_schedule(prompt: str, steps: int, earlier: int = 0) -> Schedule:
    """Which text is read until which step (counted from 1), for a prompt that changes on the way.

    [from:to:when] reads `from` up to step `when`, then `to`; one of the two may be empty, and
    [to:when] is short for [:to:when]. With a point, `when` is a fraction of the steps. [a|b|c]
    takes turns. All may be nested.

    >>> prompt_schedule("a [cat:dog:4]", steps=10)
    [(4, 'a cat'), (10, 'a dog')]
    >>> prompt_schedule("a [b:3]", 10)
    [(3, 'a '), (10, 'a b')]
    >>> prompt_schedule("a [b : c : .1] d", 10)
    [(1, 'a b  d'), (10, 'a  c  d')]
    >>> prompt_schedule("a[b:[c:d:2]:1]e", 10)
    [(1, 'abe'), (2, 'ace'), (10, 'ade')]
    >>> prompt_schedule("[night::0.3]time", 10)
    [(3, 'nighttime'), (10, 'time')]
    >>> prompt_schedule("[fe|]male", 3)
    [(1, 'female'), (2, 'male'), (3, 'female')]

    Round brackets, and square ones with neither a time nor turns, are left to `parse_attention`; so
    is what is not balanced.

    >>> prompt_schedule("a [[[b]]:2]", 10)
    [(2, 'a '), (10, 'a [[b]]')]
    >>> prompt_schedule("[(a:2):3]", 10)
    [(3, ''), (10, '(a:2)')]
    >>> prompt_schedule("((a][:b:c [d:3]", 10)
    [(3, '((a][:b:c '), (10, '((a][:b:c d')]
    >>> prompt_schedule("\\\\[a:b:3]", 10)
    [(10, '\\\\[a:b:3]')]

    In a second pass after one of `earlier` steps, steps are counted on, and its fractions lie
    between 1 and 2.

    >>> prompt_schedule("a [b:1.5] [c:13]", 10, earlier=10)
    [(3, 'a  '), (5, 'a  c'), (10, 'a b c')]
    """
    if steps < 1:
        raise ValueError(f"a schedule needs at least 1 step, not {steps}")
    if "[" not in prompt:
        return [(steps, prompt)]
    pieces, kinds = parse_choices(prompt, steps, earlier)
    texts: dict[tuple[int, ...], str] = {}  # by the turn of each kind of choice
    schedule: Schedule = []
    for step in range(1, steps + 1):
        turns = tuple(kind.turn(step) for kind in kinds)
        if turns not in texts:
            texts[turns] = text_at(pieces, step)
        if schedule and schedule[-1][1] == texts[turns]:
            schedule.pop()
        schedule.append((step, texts[turns]))
    return schedule


def parse_choices(prompt: str, steps: int, earlier: int) -> tuple[list[str | Choice], list[Choice]]:
    """The pieces of a prompt, and one choice of each kind: of those that take turns at the same
    steps. A bracket is read as it closes: after those within it."""
    pieces: list[str | Choice] = []
    kinds: dict[tuple[int, int | None], Choice] = {}
    open_brackets: list[tuple[str, int, list[int]]] = []  # (bracket, its place, its separators')
    for piece in PIECE.findall(prompt):
        if piece in MATCHING.values():
            open_brackets.append((piece, len(pieces), []))
        elif open_brackets and MATCHING.get(piece) == open_brackets[-1][0]:
            _, start, separators = open_brackets.pop()
            if piece == "]" and (choice := read_choice(pieces, start, separators, steps, earlier)):
                pieces[start:] = [choice]
                kinds.setdefault((len(choice.options), choice.last), choice)
                continue
        elif piece in MATCHING:  # without a partner: what is open cannot be balanced any more
            open_brackets.clear()
        elif piece in ":|" and open_brackets:
            open_brackets[-1][2].append(len(pieces))
        pieces.append(piece)
    return joined(pieces), list(kinds.values())


def read_choice(
    pieces: list[str | Choice], start: int, separators: list[int], steps: int, earlier: int
) -> Choice | None:
    """The square bracket that begins at `start` and ends with the pieces; None if it has neither a
    time nor turns. A time is written out: one piece, and no choice itself."""

    def between(places: list[int]) -> list[list[str | Choice]]:
        return [joined(pieces[a + 1 : b]) for a, b in pairwise([start, *places, len(pieces)])]

    colons = [i for i in separators if pieces[i] == ":"]
    bars = [i for i in separators if pieces[i] == "|"]
    when = pieces[-1] if len(colons) in (1, 2) and colons[-1] == len(pieces) - 2 else None
    if isinstance(when, str) and re.fullmatch(rf"\s*{NUMBER}\s*", when):
        last = (float(when) - bool(earlier)) * steps if "." in when else float(when) - earlier
        return Choice([[], *between(colons)][-3:-1], int(min(max(last, 0), steps)))
    return Choice(between(bars), None) if bars else None


def joined(pieces: Sequence[str | Choice]) -> list[str | Choice]:
    """Neighbouring texts as one."""
    result: list[str | Choice] = []
    for kind, group in groupby(pieces, type):
        same = list(group)
        result += ["".join(map(str, same))] if kind is str else same
    return result


def text_at(pieces: Sequence[str | Choice], step: int) -> str:
    """The text at one step. A list of what is left to do, as choices may be nested very deep."""
    texts, todo = [], list(reversed(pieces))
    while todo:
        piece = todo.pop()
        if isinstance(piece, str):
            texts.append(piece)
        else:
            todo.extend(reversed(piece.options[piece.turn(step)]))
    return "".join(texts)
