"""How well a model draws the thing that a prompt names, by a judge of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..data import Image
from ..shapes.evaluation import sheet
from .captions import EVERYTHING, caption
from .collection import Collection, Entry
from .judge import Judge
from .judging import alone

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True)
class Asked:
    """A prompt for a thing in a style on one colour; `true`: a picture that shows it."""

    prompt: str
    entry: Entry
    true: Image


@dataclass(frozen=True)
class Result:
    """What was drawn; the thing that the judge sees in it, and in the true picture."""

    asked: Asked
    image: Image
    seen: str
    seen_true: str

    @property
    def right(self) -> bool:
        return self.seen == self.asked.entry.thing


def prompts(collection: Collection, count: int, seed: int, held_out: bool) -> list[Asked]:
    """The first `count` of a seed's order of all pairs of thing and style that training has drawn,
    or, held_out, never draws; fewer if there are fewer. Faces are not among them: they are no
    things of one name. ValueError if there are none."""
    pairs = [
        i
        for i, (entry, held) in enumerate(zip(collection.entries, collection.held_out, strict=True))
        if held == held_out and not entry.parts
    ]
    if not pairs:
        raise ValueError(
            f"of {len(collection)} pictures none {'is' if held_out else 'is not'} held out"
        )
    order = np.random.default_rng([seed, held_out]).permutation(len(pairs))[:count]
    asked = []
    for i in (pairs[at] for at in order.tolist()):
        rng = np.random.default_rng([seed, i])
        scene, picture = alone(collection, i, True, rng)
        entry = collection.entries[i]
        asked.append(Asked(caption([entry], scene, EVERYTHING, rng), entry, picture))
    return asked


def evaluate(
    generate: Callable[[list[str]], Iterable[Image]], judge: Judge, asked: Sequence[Asked]
) -> list[Result]:
    """Judges the pictures, (S, S, 3) uint8, that `generate` makes of the prompts, in their order.
    S should be that of the pictures that the judge has learnt."""
    images = list(generate([one.prompt for one in asked]))
    seen = judge.guesses(images), judge.guesses([one.true for one in asked])
    return [Result(*row) for row in zip(asked, images, *seen, strict=True)]


def table(results: Sequence[Result], title: str) -> str:
    """In percent, of each style: how often the thing that was asked for is the judge's first guess
    among all; and the same in true pictures, which is as much as a perfect model would get."""
    styles = dict.fromkeys(result.asked.entry.style for result in results)
    columns = "pictures", "thing", "true thing"
    lines = [f"{title:<16}" + "".join(f"{name:>12}" for name in columns)]
    for style in (*sorted(styles), "all"):
        some = [r for r in results if style in (r.asked.entry.style, "all")]
        shares = (
            np.mean([result.right for result in some]),
            np.mean([result.seen_true == result.asked.entry.thing for result in some]),
        )
        lines.append(f"{style:<16}{len(some):>12}" + "".join(f"{part:>12.1%}" for part in shares))
    return "\n".join(lines)


def failures(results: Sequence[Result], judge: Judge, columns: int = 6) -> Picture | None:
    """The pictures of another thing, each above its prompt and what it seems to be; None if there
    are none."""
    told = [
        (result.image, result.asked.prompt, f"seems: {judge.things[result.seen]}")
        for result in results
        if not result.right
    ]
    return sheet(told, columns) if told else None
