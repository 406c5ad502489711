"""What is read at which step, where prompts change on the way.

B pictures, T different texts, P prompts joined by AND.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from .a1111 import Weighted, split_and
from .editing import Schedule, prompt_schedule


class Reads(NamedTuple):
    """What B pictures read at one moment: places in `PromptSchedule.texts`."""

    positives: tuple[tuple[int, ...], ...]  # P of B
    weights: tuple[tuple[float, ...], ...]  # P of B: how much each of them counts
    negatives: tuple[int, ...]  # B


class PromptSchedule:
    """Which text each of B pictures reads at which moment.

    prompts, negatives   B texts each. Negatives know no AND.
    changes              at how many moments they can change; mostly these are the steps.
    earlier              how many a first pass had, if this is a second one.
    syntax               only A1111's has AND and changes; in the others a prompt is one text.

        schedule = PromptSchedule(prompts, negatives, changes=20)
        encoded = encode_prompts(towers, schedule.texts)
        branches(schedule.at(1), encoded, guided=True), ..., branches(schedule.at(20), ...)
    """

    def __init__(
        self,
        prompts: Sequence[str],
        negatives: Sequence[str],
        changes: int,
        earlier: int = 0,
        syntax: str = "a1111",
    ) -> None:
        if len(prompts) != len(negatives):
            raise ValueError(
                f"{len(prompts)} prompts and {len(negatives)} negatives: give as many of each"
            )

        def during(text: str) -> Schedule:
            changing = syntax == "a1111" and "[" in text
            return prompt_schedule(text, changes, earlier) if changing else [(changes, text)]

        self._positives = [
            [(during(text), weight) for text, weight in joined_prompts(prompt, syntax)]
            for prompt in prompts
        ]
        self._negatives = [during(text) for text in negatives]
        parts = [part for joined in self._positives for part, _ in joined] + self._negatives
        self.constant = all(len(part) == 1 for part in parts)  # nothing ever changes
        self._places: dict[str, int] = {}
        for _, text in chain.from_iterable(parts):
            self._places.setdefault(text, len(self._places))
        self.texts = list(self._places)  # T, each once

    def at(self, change: int) -> Reads:
        """What is read at a moment, counted from 1.

        A picture that joins fewer prompts than another reads its negative in their place, with
        weight 0.
        """

        def place(part: Schedule) -> int:
            return self._places[text_during(part, change)]

        negatives = tuple(map(place, self._negatives))
        rows = [[(place(part), weight) for part, weight in row] for row in self._positives]
        most = max(map(len, rows))
        full = [row + [(no, 0.0)] * (most - len(row)) for row, no in zip(rows, negatives)]
        return Reads(
            tuple(tuple(place for place, _ in column) for column in zip(*full)),
            tuple(tuple(weight for _, weight in column) for column in zip(*full)),
            negatives,
        )


def joined_prompts(prompt: str, syntax: str) -> list[Weighted]:
    """The prompts that AND joins in A1111's syntax, see `split_and`."""
    return split_and(prompt) if syntax == "a1111" and "AND" in prompt else [(prompt, 1.0)]


def text_during(schedule: Schedule, step: int) -> str:
    """The text that is read at a step, counted from 1; steps beyond the last read the last text.

    >>> [text_during([(3, "a"), (10, "b")], step) for step in (1, 3, 4, 11)]
    ['a', 'a', 'b', 'b']
    """
    place = bisect_left(schedule, step, key=itemgetter(0))
    return schedule[min(place, len(schedule) - 1)][1]
