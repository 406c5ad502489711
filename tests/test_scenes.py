import hashlib
import itertools
import re
import subprocess
import sys

import numpy as np
import pytest

from ldm.training.shapes.distances import SHAPES
from ldm.training.shapes.scenes import (
    COLOURS,
    OPPOSITE,
    RELATIONS,
    SIZES,
    Scene,
    Thing,
    caption,
    draw,
    example,
    full_caption,
    held_out,
    layout,
    random_scene,
    render,
)

A, B = Thing("circle", "red", "large"), Thing("star", "green", "small")
THING = rf"an? (?:({'|'.join(SIZES)}) )?(?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})"


def scenes(count, seed=0):
    rng = np.random.default_rng(seed)
    return [random_scene(rng) for _ in range(count)]


def parse(text):
    """A caption back into (things, relation, background), None where it leaves something out."""
    things = [
        Thing(shape, colour or None, size or None)
        for size, colour, shape in re.findall(THING, text)
    ]
    relation = re.search("|".join(RELATIONS), text)
    ground = re.search(r"on an? (\w+) background", text)
    return tuple(things), relation and relation[0], ground and ground[1]


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_centred_and_as_large_as_the_others(name):
    axis = np.linspace(-1.3, 1.3, 261)
    x, y = np.meshgrid(axis, axis)
    inside = SHAPES[name](x, y) < 0
    assert 1.9 < inside.mean() * 2.6**2 < 2.85
    for extent in (x[inside], y[inside]):
        assert extent.min() == pytest.approx(-extent.max(), abs=0.021)
        assert 0.8 < extent.max() < 1.08


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_a_distance_near_its_edge(name):
    axis = np.linspace(-1.3, 1.3, 521)
    x, y = np.meshgrid(axis, axis)
    distance = SHAPES[name](x, y)
    slope = np.hypot(*np.gradient(distance, axis, axis))
    near = np.abs(distance) < 0.05
    assert np.mean(np.abs(slope[near] - 1) < 0.05) > 0.93  # but at the corners


def test_two_things_are_never_the_same_and_the_background_has_a_colour_of_its_own():
    drawn = scenes(600)
    assert 0.28 < np.mean([len(scene.things) == 1 for scene in drawn]) < 0.42
    for scene in drawn:
        assert (scene.relation is None) == (len(scene.things) == 1)
        assert scene.background not in [thing.colour for thing in scene.things]
        kinds = [(thing.shape, thing.colour) for thing in scene.things]
        assert len(set(kinds)) == len(kinds)
    for attribute, names in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES)):
        assert {getattr(thing, attribute) for scene in drawn for thing in scene.things} == set(
            names
        )
    assert {scene.relation for scene in drawn} == {None, *RELATIONS}


def test_colours_are_well_apart():
    assert (
        min(
            np.linalg.norm(np.subtract(a, b))
            for a, b in itertools.combinations(COLOURS.values(), 2)
        )
        > 80
    )


def test_a_tenth_of_all_combinations_is_held_out_whichever_thing_is_named_first():
    drawn = scenes(4000)
    assert 0.08 < np.mean([held_out(scene) for scene in drawn]) < 0.12
    for scene in drawn:
        if scene.relation is not None:
            turned = Scene(scene.things[::-1], OPPOSITE[scene.relation], scene.background)
            assert held_out(turned) == held_out(scene)


def test_training_and_evaluation_share_no_combination():
    assert not any(held_out(draw(0, index)[0]) for index in range(500))
    assert all(held_out(draw(0, index, evaluation=True)[0]) for index in range(100))


def test_an_example_is_a_function_of_seed_and_index_in_any_process():
    code = """if True:
        import hashlib
        from ldm.training.shapes.scenes import example
        for index in (3, 70_000):
            image, text = example(5, index, 64)
            print(hashlib.sha256(image.tobytes()).hexdigest(), text)"""
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    for line, index in zip(other.splitlines(), (3, 70_000), strict=True):
        image, text = example(5, index, 64)
        assert line == f"{hashlib.sha256(image.tobytes()).hexdigest()} {text}"
    assert len({example(seed, index, 8)[1] for seed in (0, 1) for index in range(20)}) > 30


def test_a_full_caption_says_everything():
    rng = np.random.default_rng(0)
    for scene in scenes(500):
        assert parse(full_caption(scene, rng)) == (scene.things, scene.relation, scene.background)


def test_captions_tell_no_lies_and_most_leave_nothing_out():
    rng = np.random.default_rng(0)
    drawn = scenes(3000)
    texts = [caption(scene, rng) for scene in drawn]
    complete = []
    for scene, text in zip(drawn, texts, strict=True):
        things, relation, ground = parse(text)
        assert len(things) == len(scene.things)
        for said, meant in zip(things, scene.things, strict=True):
            assert said.shape == meant.shape
            assert said.colour in (None, meant.colour)
            assert said.size in (None, meant.size)
        assert relation in (None, scene.relation)
        assert ground in (None, scene.background)
        complete.append(
            (things, relation, ground) == (scene.things, scene.relation, scene.background)
        )
    assert 0.7 < np.mean(complete) < 0.82
    words = [re.findall(r"\w+|,", text) for text in texts]
    assert max(map(len, words)) < 30
    assert len(set(itertools.chain(*words))) < 60
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", "\n".join(texts))


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("size", [64, 128])
def test_a_relation_is_true_in_the_pixels(relation, size):
    image = render(Scene((A, B), relation, "white"), size, np.random.default_rng(1)).astype(int)
    red = (image[..., 0] > image[..., 1] + 60) & (image[..., 0] > image[..., 2] + 60)
    green = (image[..., 1] > image[..., 0] + 60) & (image[..., 1] > image[..., 2] + 40)
    (red_y, red_x), (green_y, green_x) = np.nonzero(red), np.nonzero(green)
    gap = {
        "above": green_y.min() - red_y.max(),
        "below": red_y.min() - green_y.max(),
        "left of": green_x.min() - red_x.max(),
        "right of": red_x.min() - green_x.max(),
    }
    assert gap.pop(relation) > 0
    assert all(other < 0 for other in gap.values())


def test_shapes_stay_inside_and_apart():
    for index in range(500):
        scene, rng = draw(7, index)
        placed = layout(scene, rng)
        for one in placed:
            assert all(
                1.06 * one.radius < centre < 1 - 1.06 * one.radius for centre in (one.x, one.y)
            )
        if len(placed) == 2:
            apart = max(abs(placed[0].x - placed[1].x), abs(placed[0].y - placed[1].y))
            assert apart > 1.08 * (placed[0].radius + placed[1].radius)


def test_a_picture_looks_alike_at_every_resolution():
    for index in range(10):
        coarse, fine = (example(3, index, size)[0].astype(float) for size in (64, 128))
        mean = fine.reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(mean - coarse).mean() < 1.5


def test_render_gives_bytes_and_leaves_the_scene_alone():
    scene = Scene((A, B), "above", "blue")
    image = render(scene, 32, np.random.default_rng(0))
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, render(scene, 32, np.random.default_rng(0)))
