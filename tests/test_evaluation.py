import re

import numpy as np
import pytest

from ldm.training.shapes.evaluation import (
    ATTRIBUTES,
    evaluate,
    failures,
    held_out_prompts,
    score,
    table,
)
from ldm.training.shapes.scenes import Scene, draw, held_out, render


def painter(seed, size=64, change=lambda scene: scene):
    """Draws the held-out scenes themselves, as they are or changed."""

    def generate(prompts):
        for index, _ in enumerate(prompts):
            scene, rng = draw(seed, index, evaluation=True)
            yield render(change(scene), size, rng)

    return generate


def other_background(scene):
    taken = {scene.background, *(thing.colour for thing in scene.things)}
    return Scene(
        scene.things,
        scene.relation,
        next(c for c in ("blue", "cyan", "white", "green") if c not in taken),
    )


def test_prompts_are_held_out_complete_and_the_same_each_time():
    prompts = held_out_prompts(50, seed=1)
    assert prompts == held_out_prompts(50, seed=1)
    assert prompts != held_out_prompts(50, seed=2)
    for scene, prompt in prompts:
        assert held_out(scene)
        words = [scene.background, scene.relation or ""]
        words += [
            word for thing in scene.things for word in (thing.shape, thing.colour, thing.size)
        ]
        assert all(word in prompt for word in words)


def test_the_true_renderer_scores_full_marks():
    results = evaluate(painter(seed=1), 60, seed=1)
    assert [score(results, attribute) for attribute in ATTRIBUTES] == [1.0] * 6
    assert failures(results) is None
    rows = dict(re.match(r"(\w*) +(.*)", line).groups() for line in table(results).splitlines()[1:])
    single = sum(result.scene.relation is None for result in results)
    assert rows["pictures"].split() == [str(single), str(60 - single), "60"]
    assert rows["relation"].split() == ["-", "100.0%", "100.0%"]
    assert rows["all"].split() == ["100.0%"] * 3


def test_what_is_wrong_is_counted_and_shown():
    results = evaluate(painter(seed=1, change=other_background), 12, seed=1)
    assert score(results, "background") == 0
    assert score(results, "all") == 0
    assert score(results, "shape") == 1
    sheet = failures(results, columns=4)
    assert np.asarray(sheet).shape[2] == 3
    assert np.array_equal(sheet.getpixel((12 + 64, 12 + 4)), results[0].image[2, 32])
    assert sheet.height > 3 * 128


def test_a_generator_that_stops_short_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        evaluate(lambda prompts: painter(1)(prompts[:-1]), 3, seed=1)
