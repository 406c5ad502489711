"""A data set without a download: pictures of one or two shapes, each with a caption.

Every shape is a signed distance (distances.py), so a scene can be drawn at any resolution: the
edge's coverage, the outline and the shadow are all read off that one number. A picture and its
caption are a function of seed and index, see `example`.

Lengths are fractions of the picture's side; x points right and y points down.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from ..data import Image
from .distances import SHAPES, Array

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 42, 48),
    "orange": (248, 140, 26),
    "yellow": (252, 222, 60),
    "green": (46, 158, 74),
    "cyan": (64, 208, 220),
    "blue": (44, 84, 214),
    "purple": (134, 58, 178),
    "pink": (246, 138, 186),
    "brown": (122, 72, 38),
    "black": (30, 30, 36),
    "white": (246, 246, 242),
    "gray": (140, 143, 150),
}
SIZES = {"small": 7.75 / 64, "large": 13 / 64}  # what a shape's unit of length is in the picture
OPPOSITE = {"above": "below", "left of": "right of", "below": "above", "right of": "left of"}
RELATIONS = tuple(OPPOSITE)
# where the subject stands
TOWARDS = {"above": (0, -1), "below": (0, 1), "left of": (-1, 0), "right of": (1, 0)}

APART = 31 / 64  # from centre to centre: two large shapes do not touch, and stay inside the picture
HELD_OUT = 0.1  # this part of all combinations is never trained on


@dataclass(frozen=True)
class Thing:
    """One shape: a key of SHAPES, of COLOURS and of SIZES."""

    shape: str
    colour: str
    size: str


@dataclass(frozen=True)
class Scene:
    """One thing, or two: the first stands in `relation` to the second ("above": the first is the
    upper)."""

    things: tuple[Thing, ...]
    relation: str | None
    background: str


@dataclass(frozen=True)
class Placed:
    """A thing with its centre (x, y) and its unit of length, in fractions of the picture."""

    thing: Thing
    x: float
    y: float
    radius: float


# -- what there is to draw ---------------------------------------------------------------------


def _pick(rng: np.random.Generator, names: list[str]) -> str:
    return names[rng.integers(len(names))]


def _random_thing(rng: np.random.Generator) -> Thing:
    return Thing(_pick(rng, list(SHAPES)), _pick(rng, list(COLOURS)), _pick(rng, list(SIZES)))


def random_scene(rng: np.random.Generator) -> Scene:
    """One thing (35 %), or two that differ in shape or colour; the background has none of their
    colours."""
    things = [_random_thing(rng)]
    if rng.random() < 0.65:
        things.append(_random_thing(rng))
        while (things[1].shape, things[1].colour) == (things[0].shape, things[0].colour):
            things[1] = _random_thing(rng)
    relation = _pick(rng, list(RELATIONS)) if len(things) == 2 else None
    free = [name for name in COLOURS if all(name != thing.colour for thing in things)]
    return Scene(tuple(things), relation, _pick(rng, free))


def held_out(scene: Scene) -> bool:
    """Whether this combination is set aside for evaluation. "A above B" and "B below A" are one."""
    things, relation = scene.things, scene.relation
    if relation in ("below", "right of"):
        things, relation = things[::-1], OPPOSITE[relation]
    words = [scene.background, relation or "alone"]
    words += [word for thing in things for word in (thing.size, thing.colour, thing.shape)]
    digest = hashlib.sha256("|".join(words).encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT * 2**32


# -- drawing -----------------------------------------------------------------------------------


def layout(scene: Scene, rng: np.random.Generator) -> list[Placed]:
    """Where the things stand: one near the centre, or a pair about it, shifted at random."""
    shift = 4 / 64 if scene.relation is None else 1.5 / 64
    x, y = 0.5 + rng.uniform(-shift, shift, 2)
    dx, dy = (0, 0) if scene.relation is None else TOWARDS[scene.relation]
    placed = []
    for thing, side in zip(scene.things, (APART / 2, -APART / 2), strict=False):
        radius = SIZES[thing.size] * rng.uniform(0.95, 1.05)
        placed.append(Placed(thing, float(x + side * dx), float(y + side * dy), float(radius)))
    return placed


def backdrop(colour: str, size: int) -> Array:
    """(size, size, 3) in 0..255: the colour, lit from the upper left and darker in the corners."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = axis[None, :, None], axis[:, None, None]
    light = 1.03 - 0.07 * (x + y) - 0.16 * (x * x + y * y)
    return np.asarray(light * np.array(COLOURS[colour], np.float32), np.float32)


def paint(canvas: Array, placed: Placed) -> None:
    """Draws a thing onto the canvas (size, size, 3), in place: a shadow, then an outlined body."""
    size = len(canvas)
    reach = 1.12 * placed.radius + 5 / 64  # beyond this there is neither body nor shadow
    left, top = (max(0, int((c - reach) * size)) for c in (placed.x, placed.y))
    right, bottom = (int((c + reach) * size) + 1 for c in (placed.x, placed.y))
    patch = canvas[top:bottom, left:right]
    rows, columns = patch.shape[:2]
    across = (np.arange(left, left + columns, dtype=np.float32) + 0.5) / size
    down = (np.arange(top, top + rows, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid((across - placed.x) / placed.radius, (down - placed.y) / placed.radius)
    distance = SHAPES[placed.thing.shape]
    drop = np.float32(1.3 / 64 / placed.radius)

    shadow = np.clip(0.5 - distance(x - drop, y - drop) * placed.radius / (5 / 64), 0, 1)
    patch *= 1 - 0.22 * (shadow * shadow * (3 - 2 * shadow))[:, :, None]

    edge = distance(x, y) * np.float32(placed.radius)
    inside = np.clip(0.5 - edge * size, 0, 1)[:, :, None]
    outline = np.clip(1.3 + edge * 64, 0, 1)[:, :, None]
    light = np.clip(-(x + y) / 2, -1, 1)[:, :, None]
    colour = np.array(COLOURS[placed.thing.colour], np.float32)
    body = (colour + 20 * light + 0.06 * light * colour) * (1 - 0.28 * outline)
    patch += inside * (np.clip(body, 0, 255) - patch)


def render(scene: Scene, size: int, rng: np.random.Generator) -> Image:
    """The scene as a picture (size, size, 3). One generator gives the same layout at every size."""
    canvas = backdrop(scene.background, size)
    for placed in layout(scene, rng):
        paint(canvas, placed)
    return np.asarray(np.clip(canvas + 0.5, 0, 255), np.uint8)


# -- captions ----------------------------------------------------------------------------------

EVERYTHING = frozenset({"size", "colour", "relation", "background"})
NAMED = (  # how often a caption names what
    (0.75, EVERYTHING),
    (0.05, EVERYTHING - {"size"}),
    (0.06, EVERYTHING - {"background"}),
    (0.08, EVERYTHING - {"size", "background"}),
    (0.03, EVERYTHING - {"relation"}),
    (0.03, frozenset({"relation"})),
)
PHRASES = ("{body}", "{body}", "a picture of {body}", "there is {body}")
GROUNDED = (
    "{body} on {ground}",
    "{body}, on {ground}",
    "on {ground}, {body}",
    "a picture of {body} on {ground}",
    "on {ground}, there is {body}",
)


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _noun(thing: Thing, named: frozenset[str]) -> str:
    size = [thing.size] if "size" in named else []
    colour = [thing.colour] if "colour" in named else []
    return _article(" ".join([*size, *colour, thing.shape]))


def say(scene: Scene, named: frozenset[str], rng: np.random.Generator) -> str:
    """A caption that names these attributes, a part of EVERYTHING."""
    body = _noun(scene.things[0], named)
    if scene.relation is not None:
        long = scene.relation in ("left of", "right of") and rng.random() < 0.75
        relation = f"to the {scene.relation}" if long else scene.relation
        body += f" {relation if 'relation' in named else 'and'} {_noun(scene.things[1], named)}"
    grounded = "background" in named
    phrase = _pick(rng, list(GROUNDED if grounded else PHRASES))
    return phrase.format(body=body, ground=_article(f"{scene.background} background"))


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """What the scene shows, in one of several phrasings; one in four leaves something out."""
    chosen = rng.choice(len(NAMED), p=[part for part, _ in NAMED])
    return say(scene, NAMED[chosen][1], rng)


def full_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption that names every attribute, so that a picture can be right or wrong."""
    return say(scene, EVERYTHING, rng)


# -- examples ----------------------------------------------------------------------------------


def draw(seed: int, index: int, evaluation: bool = False) -> tuple[Scene, np.random.Generator]:
    """Scene `index` of `seed`, of those for training or those for evaluation; its generator."""
    rng = np.random.default_rng([seed, index])
    scene = random_scene(rng)
    while held_out(scene) != evaluation:
        scene = random_scene(rng)
    return scene, rng


def example(seed: int, index: int, size: int, evaluation: bool = False) -> tuple[Image, str]:
    """Picture (size, size, 3) and caption number `index` of `seed`: the same in every process."""
    scene, rng = draw(seed, index, evaluation)
    words = full_caption(scene, rng) if evaluation else caption(scene, rng)
    return render(scene, size, rng), words


@dataclass(frozen=True)
class Scenes:
    """Data: the first `count` scenes of a seed, none held out; for evaluation, only those."""

    count: int
    size: int
    seed: int = 0
    evaluation: bool = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image, str]:
        return example(self.seed, range(self.count)[index], self.size, self.evaluation)

    def contents(self) -> list[str]:
        return [repr(self)]

    def name(self, index: int) -> str:
        return f"scene {index}"
