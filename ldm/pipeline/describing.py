"""What a picture shows, in words that a prompt can be made of: pharmapsychotic's CLIP Interrogator,
without its captions by another network.

The phrases come from lists, and no other can be found: `ldm/assets/phrases.txt`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from .init_image import Picture
    from .scoring import Scorer

Similarity = Callable[[Sequence[str]], Tensor]  # N texts -> (N,): how well each fits the picture
CANDIDATES = 8  # of a list, that the prompt may be made of


@dataclass(frozen=True)
class Description:
    """prompt       of the phrases that fit together
    similarity   of the prompt and the picture: a cosine
    best         of each list the best phrases and their similarities, the best first
    """

    prompt: str
    similarity: float
    best: Mapping[str, tuple[tuple[str, float], ...]]


@cache
def phrases() -> dict[str, list[str]]:
    """The lists, by their names: subject, medium, style, colour, mood."""
    lists: dict[str, list[str]] = {}
    text = (files("ldm") / "assets" / "phrases.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            lists[line.strip("[]")] = here = []
        else:
            here.append(line)
    return lists


def describe(scorer: Scorer, picture: Picture, count: int) -> Description:
    """See `Scorer.describe`. ValueError: fewer than one phrase is asked for."""
    if count < 1:
        raise ValueError(f"a prompt of {count} phrases: ask for at least 1")
    vector = scorer.of_pictures([picture])[0]  # (E,)
    lists = phrases()

    def similarity(texts: Sequence[str]) -> Tensor:
        return scorer.of_texts(texts) @ vector

    best = {name: ranked(similarity, those) for name, those in lists.items()}
    first, *others = ([text for text, _ in those] for those in best.values())
    prompt, value = chain(similarity, first, others, count)
    return Description(prompt, value, best)


def ranked(similarity: Similarity, texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """The best CANDIDATES of some texts."""
    values = similarity(texts)
    order = values.argsort(descending=True, stable=True)[:CANDIDATES].tolist()
    return tuple((texts[i], float(values[i])) for i in order)


def chain(
    similarity: Similarity, first: Sequence[str], others: Sequence[Sequence[str]], count: int
) -> tuple[str, float]:
    """A prompt of at most `count` phrases, and its similarity: the best of `first`, and again and
    again the phrase of all others that makes the whole fit better than any other does, as long as
    one does. Of the first list there is one phrase; of each other at most two."""
    prompt, value = pick(similarity, list(first))
    left = [list(those) for those in others]
    for _ in range(count - 1):
        offered = [phrase for those in left for phrase in those]
        if not offered:
            break
        longer, better = pick(similarity, [f"{prompt}, {phrase}" for phrase in offered])
        if better <= value:
            break
        added, prompt, value = longer.removeprefix(f"{prompt}, "), longer, better
        for those, whole in zip(left, others):
            if added in those:
                those.remove(added)
                if len(whole) - len(those) == 2:
                    those.clear()
    return prompt, value


def pick(similarity: Similarity, texts: Sequence[str]) -> tuple[str, float]:
    """The best text."""
    values = similarity(texts)
    i = int(values.argmax())
    return texts[i], float(values[i])
