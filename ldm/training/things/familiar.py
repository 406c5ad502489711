"""A small part of the things: what everybody knows, in one style, each alone on one colour."""

from dataclasses import replace

import numpy as np

from ..data import Image
from .captions import EVERYTHING, Said, caption
from .collection import Collection
from .compositions import Composition, render
from .grounds import draw_ground

STYLE = "flat"
SAID = replace(EVERYTHING, style=False)  # there is no other
WORDS: dict[str, str] = {  # what is said, where the collection's usual name is another
    "apple": "red apple",
    "bee": "honeybee",
    "book": "closed book",
    "burger": "hamburger",
    "cake": "birthday cake",
    "car": "automobile",
    "cheese": "cheese wedge",
    "clock": "alarm clock",
    "cow": "cow face",
    "dog": "dog face",
    "donut": "doughnut",
    "drop": "droplet",
    "gift": "wrapped gift",
    "heart": "red heart",
    "ladybug": "lady beetle",
    "leaf": "maple leaf",
    "letter": "envelope",
    "lightning": "high voltage",
    "lock": "locked",
    "monkey": "monkey face",
    "moon": "crescent moon",
    "pig": "pig face",
    "pine tree": "evergreen tree",
    "rabbit": "rabbit face",
    "shirt": "t shirt",
    "tree": "deciduous tree",
    "tv": "television",
}
SAME = """
    airplane, alien, balloon, banana, basketball, bear, bell, bird, bomb, bus, butterfly,
    cactus, candle, carrot, castle, cat, chair, cherries, chicken, cloud, cookie, crab, crown,
    door, dress, duck, fire, fish, fox, french fries, frog, ghost, glasses, grapes, guitar,
    hammer, house, ice cream, jeans, key, lemon, light bulb, lion, magnet, mountain, mushroom,
    owl, palm tree, panda, peach, pear, pencil, penguin, pineapple, pizza, rainbow, ring, robot,
    rocket, rose, sailboat, scissors, skull, snail, snowflake, snowman, soccer ball, spider,
    star, strawberry, sun, sunflower, taxi, tomato, top hat, trophy, tulip, turtle, umbrella,
    volcano, watermelon, wine glass
"""
WORDS |= {word.strip(): word.strip() for word in SAME.split(",")}


def familiar(collection: Collection) -> Collection:
    """The things of WORDS in STYLE, called by these words. ValueError if one is not there."""
    words = {usual: word for word, usual in WORDS.items()}
    places, entries = [], []
    for i, entry in enumerate(collection.entries):
        if entry.style == STYLE and not entry.parts and entry.names[0] in words:
            places.append(i)
            entries.append(replace(entry, names=(words[entry.names[0]],), tags=(), weight=1.0))
    found = {entry.names[0] for entry in entries}
    if missing := sorted(WORDS.keys() - found):
        raise ValueError(f"the collection has no {missing[0]}: scripts/build_pictures.py makes one")
    return Collection(collection.pictures[places], entries, collection.digest)


class Familiar:
    """Data: the first `count` examples of a seed, (size, size, 3) and a caption, which names the
    thing and mostly its ground; now and then in Chinese."""

    def __init__(self, collection: Collection, count: int, size: int, seed: int = 0) -> None:
        self.collection = familiar(collection)
        self.count, self.size, self.seed = count, size, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image, str]:
        number = range(self.count)[index]
        rng = np.random.default_rng([self.seed, number])
        chosen = int(rng.integers(len(self.collection)))
        ground, chinese = (rng.random(2) < (0.8, 0.1)).tolist()
        said = replace(SAID, ground=ground, spoken="chinese" if chinese else "english")
        return self.shown(chosen, said, rng)

    def shown(self, chosen: int, said: Said, rng: np.random.Generator) -> tuple[Image, str]:
        """The thing of that number, alone, and what is said of it."""
        scene = Composition((chosen,), draw_ground([self.collection.pictures[chosen]], True, rng))
        words = caption([self.collection.entries[chosen]], scene, said, rng)
        return render(self.collection, scene, self.size, rng), words

    def prompts(self, count: int) -> list[str]:
        """For `count` of the pictures, evenly spread, captions that name all."""
        spread = np.linspace(0, len(self.collection), count, endpoint=False).astype(int)
        rng = np.random.default_rng([self.seed, count])
        return [self.shown(int(chosen), SAID, rng)[1] for chosen in spread]

    def contents(self) -> list[str]:
        told = f"count={self.count}, size={self.size}, seed={self.seed}"
        return [f"familiar things of {self.collection.digest}, {told}"]

    def name(self, index: int) -> str:
        return f"example {index}"
