"""How well a model follows prompts that it was never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from ..data import Image
from .evaluator import Reading, read, verdict
from .scenes import Scene, draw, full_caption

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

ATTRIBUTES = ("shape", "colour", "size", "relation", "background", "all")


@dataclass(frozen=True)
class Result:
    """A prompt, what was drawn for it, what was read there, and which attributes are right."""

    prompt: str
    scene: Scene
    image: Image
    reading: Reading
    right: dict[str, bool]


def held_out_prompts(count: int, seed: int = 0) -> list[tuple[Scene, str]]:
    """Scenes of combinations that training never draws, with captions that name all attributes."""
    drawn = (draw(seed, i, evaluation=True) for i in range(count))
    return [(scene, full_caption(scene, rng)) for scene, rng in drawn]


def evaluate(
    generate: Callable[[list[str]], Iterable[Image]], count: int, seed: int = 0
) -> list[Result]:
    """Judges the pictures, (size, size, 3) uint8, that `generate` makes of `count` held-out
    prompts, in their order."""
    asked = held_out_prompts(count, seed)
    results = []
    for (scene, prompt), image in zip(
        asked, generate([prompt for _, prompt in asked]), strict=True
    ):
        reading = read(image)
        results.append(Result(prompt, scene, image, reading, verdict(reading, scene)))
    return results


def score(results: Sequence[Result], attribute: str) -> float | None:
    """The part of the results, 0 to 1, that has the attribute right; None where no result has the
    attribute."""
    right = [
        result.right[attribute]
        for result in results
        if attribute != "relation" or result.scene.relation is not None
    ]
    return float(np.mean(right)) if right else None


def table(results: Sequence[Result]) -> str:
    """The scores in percent: of prompts for one shape, of those for two, and of both."""
    columns = {
        "one shape": [result for result in results if result.scene.relation is None],
        "two shapes": [result for result in results if result.scene.relation is not None],
        "all prompts": results,
    }
    lines = [["", *columns], ["pictures", *(str(len(column)) for column in columns.values())]]
    for attribute in ATTRIBUTES:
        scores = (score(column, attribute) for column in columns.values())
        lines.append([attribute, *("-" if value is None else f"{value:.1%}" for value in scores)])
    return "\n".join(
        f"{name:<10}" + "".join(f"{value:>13}" for value in values) for name, *values in lines
    )


def failures(results: Sequence[Result], columns: int = 6) -> Picture | None:
    """The pictures that are not all right, each above its prompt and what is wrong with it; None if
    all are right."""
    told = [
        (result.image, result.prompt, f"wrong: {', '.join(mistakes)}")
        for result in results
        if (mistakes := [name for name in ATTRIBUTES[:-1] if not result.right[name]])
    ]
    return sheet(told, columns) if told else None


def sheet(told: Sequence[tuple[Image, str, str]], columns: int) -> Picture:
    """Pictures on white, each above its prompt and a remark."""
    from PIL import Image, ImageDraw

    side, text, gap = 128, 92, 12
    rows = -(-len(told) // columns)
    page = Image.new("RGB", (columns * (side + gap) + gap, rows * (side + text) + gap), "white")
    pen = ImageDraw.Draw(page)
    for i, (image, prompt, remark) in enumerate(told):
        left, top = gap + i % columns * (side + gap), gap + i // columns * (side + text)
        page.paste(Image.fromarray(image).resize((side, side)), (left, top))
        lines = "\n".join([*wrap(prompt, 24), *wrap(remark, 24)])
        pen.multiline_text((left, top + side + 2), lines, fill="black", font_size=10, spacing=1)
    return page
