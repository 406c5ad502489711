"""Prompt editing: A1111's syntax for a text that changes from step to step."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

from .a1111 import NUMBER

Schedule = list[tuple[int, str]]  # (the last step, counted from 1, that reads this text; the text)
MATCHING = {")": "(", "]": "["}
PIECE = re.compile(r"\\.|[][():|]|[^][():|\\]+|\\", re.DOTALL)


class Choice(NamedTuple):
    """A square bracket that says different things at different steps."""

    options: list[list[str | Choice]]
    last: int | None  # the last step of the first of two options; None: all take turns


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
    sources = same_as(kinds, steps)
    moments = sorted(set(sources))
    parts = list(flat(pieces, Turns(moments)))
    texts = dict(zip(moments, texts_of(parts, len(moments))))
    schedule: Schedule = []
    for step, source in enumerate(sources, 1):
        if schedule and schedule[-1][1] == texts[source]:
            schedule.pop()
        schedule.append((step, texts[source]))
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


def same_as(kinds: Iterable[Choice], steps: int) -> list[int]:
    """For each step, the first at which all choices say the same.

    >>> same_as([Choice([[], []], 2), Choice([[], []], None)], 6)
    [1, 2, 3, 4, 3, 4]
    """
    kinds = list(kinds)
    times = sorted(kind.last for kind in kinds if kind.last is not None)
    periods = [len(kind.options) for kind in kinds if kind.last is None]
    first: dict[tuple[int, ...], int] = {}
    return [
        first.setdefault(
            (bisect_left(times, step), *((step - 1) % period for period in periods)), step
        )
        for step in range(1, steps + 1)
    ]


class Turns(dict[tuple[int, int | None], list[int]]):
    """When each option of a choice is read, as a number: bit i stands for the moment i."""

    def __init__(self, moments: Sequence[int]) -> None:
        super().__init__()
        self.moments = moments

    def __missing__(self, kind: tuple[int, int | None]) -> list[int]:
        count, last = kind
        if last is not None:
            before = (1 << sum(step <= last for step in self.moments)) - 1
            turns = [before, before ^ ((1 << len(self.moments)) - 1)]
        else:
            turns = [0] * min(count, self.moments[-1])  # options beyond that are never read
            for i, step in enumerate(self.moments):
                turns[(step - 1) % count] |= 1 << i
        self[kind] = turns
        return turns


def flat(pieces: Sequence[str | Choice], turns: Turns) -> Iterator[tuple[str, int]]:
    """All the texts of a prompt in their order, each with the moments at which it is read. A list
    of what is left to do, as choices may be nested very deep."""
    todo = [(piece, (1 << len(turns.moments)) - 1) for piece in reversed(pieces)]
    while todo:
        piece, when = todo.pop()
        if isinstance(piece, str):
            yield piece, when
            continue
        options = list(zip(piece.options, turns[len(piece.options), piece.last]))
        for option, its in reversed(options):
            if when & its:
                todo += [(inner, when & its) for inner in reversed(option)]


def texts_of(parts: Sequence[tuple[str, int]], moments: int) -> Iterator[str]:
    """The whole text at each moment, by going from one to the next."""
    kinds: dict[int, int] = {}  # a place for each set of moments
    places = [kinds.setdefault(when, len(kinds)) for _, when in parts]
    texts = [text for text, _ in parts]
    read = bytearray(len(kinds) + 2)
    of_each = itemgetter(*places, -1, -2)  # two more, as of a single place it gives no tuple
    for changed in comings_and_goings(list(kinds), moments):
        for i in changed:
            read[i] ^= 1
        yield "".join(compress(texts, of_each(read)))


def comings_and_goings(whens: Sequence[int], moments: int) -> list[list[int]]:
    """For each moment, the places of those that begin or end there.

    >>> comings_and_goings([0b111, 0b001, 0b110], 3)
    [[0, 1], [1, 2], []]
    """
    changed: list[list[int]] = [[] for _ in range(moments)]
    for i, when in enumerate(whens):
        edges = (when ^ when << 1) & ((1 << moments) - 1)
        while edges:
            changed[(edges & -edges).bit_length() - 1].append(i)
            edges &= edges - 1
    return changed
