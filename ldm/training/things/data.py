"""Examples without end: things on grounds, with captions, and the procedural scenes among them."""

import numpy as np

from ..data import Image
from ..shapes.scenes import example as shapes_example
from .captions import EVERYTHING, caption, draw_said
from .collection import Collection
from .compositions import KINDS, Composition, compose, render
from .words import plural

SHAPES = 0.2  # this part of the examples are procedural scenes


class Things:
    """Data: the first `count` examples of a seed, (size, size, 3) and a caption; each is a function
    of seed and index.

    No held-out pair of thing and style is among them, nor a held-out scene of shapes. evaluation:
    only such pairs, one thing on one colour, with captions that name all. ValueError if the
    collection has no picture for it.
    """

    def __init__(
        self, collection: Collection, count: int, size: int, seed: int = 0, evaluation: bool = False
    ) -> None:
        self.collection, self.count, self.size = collection, count, size
        self.seed, self.evaluation = seed, evaluation
        chosen = [held == evaluation for held in collection.held_out]
        shares = np.where(chosen, [entry.weight for entry in collection.entries], 0.0)
        if not shares.any():
            what = "is held out" if evaluation else "is left to train on"
            raise ValueError(f"of the collection's {len(collection)} pictures none {what}")
        self._edges = np.cumsum(shares / shares.sum())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image, str]:
        number = range(self.count)[index]
        rng = np.random.default_rng([self.seed, number, int(self.evaluation)])
        if not self.evaluation and rng.random() < SHAPES:
            return shapes_example(self.seed, number, self.size)
        said = EVERYTHING if self.evaluation else draw_said(rng)
        scene = self._scene(plain=self.evaluation or not said.ground, rng=rng)
        entries = [self.collection.entries[i] for i in scene.things]
        words = caption(entries, scene, said, rng)
        return render(self.collection, scene, self.size, rng), words

    def _entry(self, rng: np.random.Generator) -> int:
        return int(np.searchsorted(self._edges, rng.random() * self._edges[-1], side="right"))

    def _scene(self, plain: bool, rng: np.random.Generator) -> Composition:
        first = self._entry(rng)
        entry = self.collection.entries[first]
        if self.evaluation or entry.parts:  # a face stands alone
            return compose(self.collection, (first,), "alone", plain, rng)
        kind = list(KINDS)[rng.choice(len(KINDS), p=list(KINDS.values()))]
        if kind == "pair":
            for _ in range(100):  # until another thing of the same style is drawn
                second = self._entry(rng)
                other = self.collection.entries[second]
                if other.style == entry.style and other.thing != entry.thing and not other.parts:
                    return compose(self.collection, (first, second), kind, plain, rng)
        if kind == "pair" or (kind == "some" and plural(entry.names[0]) is None):
            kind = "alone"
        return compose(self.collection, (first,), kind, plain, rng)

    def contents(self) -> list[str]:
        told = f"count={self.count}, size={self.size}, seed={self.seed}"
        return [f"things of {self.collection.digest}, {told}, evaluation={self.evaluation}"]

    def name(self, index: int) -> str:
        return f"example {index}"
