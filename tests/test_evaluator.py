import numpy as np
import pytest

from ldm.training.shapes.evaluator import Reading, nearest_colour, read, verdict
from ldm.training.shapes.scenes import (
    COLOURS,
    OPPOSITE,
    RELATIONS,
    Scene,
    Thing,
    draw,
    layout,
    render,
)

A, B = Thing("circle", "red", "large"), Thing("star", "green", "small")


def verdict_on(scene, asked, size=64):
    return verdict(read(render(scene, size, np.random.default_rng(0))), asked)


def wrong(scene, asked):
    return {name for name, right in verdict_on(scene, asked).items() if not right}


def worn(image, rng):
    """Blurred by a Gaussian of sigma 0.7 pixels, with noise of 4 grey levels: worse than a decoder
    does."""
    taps = np.exp(-0.5 * (np.arange(-3, 4) / 0.7) ** 2)
    picture = np.pad(image.astype(float), ((3, 3), (3, 3), (0, 0)), mode="edge")
    for axis in (0, 1):
        picture = np.apply_along_axis(np.convolve, axis, picture, taps / taps.sum(), "valid")
    return np.clip(picture + rng.normal(0, 4, picture.shape) + 0.5, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def readings():
    """300 held-out scenes, each with what is read from its picture."""
    drawn = [draw(1, index, evaluation=True) for index in range(300)]
    return [(scene, read(render(scene, 64, rng))) for scene, rng in drawn]


def test_a_true_rendering_is_read_right(readings):
    assert np.mean([verdict(reading, scene)["all"] for scene, reading in readings]) >= 0.99


def test_a_true_rendering_is_read_right_at_twice_the_size():
    results = []
    for index in range(50):
        scene, rng = draw(1, index, evaluation=True)
        results.append(verdict(read(render(scene, 128, rng)), scene)["all"])
    assert np.mean(results) >= 0.98


def test_a_worn_rendering_is_read_right():
    results = []
    for index in range(150):
        scene, rng = draw(2, index, evaluation=True)
        results.append(verdict(read(worn(render(scene, 64, rng), rng)), scene)["all"])
    assert np.mean(results) >= 0.98


def test_shuffled_captions_are_right_by_chance_only(readings):
    singles = [each for each in readings if each[0].relation is None]
    pairs = [each for each in readings if each[0].relation is not None]
    chances = (
        (
            singles,
            {"shape": 1 / 8, "colour": 1 / 12, "size": 1 / 2, "background": 1 / 12, "all": 0},
        ),
        (
            pairs,
            {
                "shape": 1 / 32,
                "colour": 1 / 72,
                "size": 3 / 8,
                "relation": 1 / 4,
                "background": 1 / 12,
                "all": 0,
            },
        ),
    )  # in pairs, the likelier of two pairings counts
    for kind, chance in chances:
        others = kind[1:] + kind[:1]
        verdicts = [
            verdict(reading, asked) for (_, reading), (asked, _) in zip(kind, others, strict=True)
        ]
        for name, expected in chance.items():
            deviation = (max(expected, 0.01) * (1 - expected) / len(kind)) ** 0.5
            assert np.mean([right[name] for right in verdicts]) == pytest.approx(
                expected, abs=3.5 * deviation
            ), name


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (Scene((A, B), "above", "blue"), set()),
        (Scene((B, A), "below", "blue"), set()),
        (Scene((A, B), "below", "blue"), {"relation", "all"}),
        (Scene((A, B), "left of", "blue"), {"relation", "all"}),
        (Scene((A, B), "above", "gray"), {"background", "all"}),
        (Scene((Thing("heart", "red", "large"), B), "above", "blue"), {"shape", "all"}),
        (Scene((Thing("circle", "pink", "large"), B), "above", "blue"), {"colour", "all"}),
        (Scene((A, Thing("star", "green", "large")), "above", "blue"), {"size", "all"}),
        (Scene((A,), None, "blue"), {"shape", "colour", "size", "relation", "all"}),
    ],
)
def test_each_mistake_is_found_and_no_other(drawn, expected):
    assert wrong(drawn, Scene((A, B), "above", "blue")) == expected


def test_colours_bound_to_the_wrong_shapes_are_a_mistake():
    swapped = Scene(
        (Thing("circle", "green", "large"), Thing("star", "red", "small")), "above", "blue"
    )
    assert wrong(swapped, Scene((A, B), "above", "blue")) == {"colour", "all"}


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_relation_can_be_told_from_either_side(relation):
    scene = Scene((A, B), relation, "white")
    assert verdict_on(scene, Scene((B, A), OPPOSITE[relation], "white"))["all"]
    assert not verdict_on(scene, Scene((B, A), relation, "white"))["relation"]


def test_things_that_were_not_asked_for_are_a_mistake():
    assert wrong(Scene((A, B), "above", "blue"), Scene((A,), None, "blue")) == {
        "shape",
        "colour",
        "size",
        "all",
    }


def test_an_empty_picture_and_a_blot_are_no_shapes():
    empty = np.full((64, 64, 3), COLOURS["cyan"], np.uint8)
    assert read(empty).background == "cyan"
    assert read(empty).things == ()
    blot = empty.copy()
    blot[30:34, 4:60] = COLOURS["red"]
    assert [seen.thing.shape for seen in read(blot).things] == ["unknown"]
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert not verdict(read(noise), Scene((A,), None, "gray"))["shape"]


def test_a_picture_of_many_things_is_evaluated_quickly():
    crowd = read(render(Scene((A, B), "above", "blue"), 64, np.random.default_rng(0))).things * 20
    assert not verdict(Reading("blue", crowd), Scene((A, B), "above", "blue"))["shape"]


def test_places_are_read_to_half_a_pixel():
    for index in range(30):
        scene, rng = draw(4, index)
        state = rng.bit_generator.state
        reading = read(render(scene, 64, rng))
        rng.bit_generator.state = state
        for true in layout(scene, rng):
            nearest = min(np.hypot(seen.x - true.x, seen.y - true.y) for seen in reading.things)
            assert nearest * 64 < 0.5


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_is_nearest_to_itself(name):
    assert nearest_colour(np.array(COLOURS[name]) * 0.9) == name


@pytest.mark.parametrize(
    "image", [np.zeros((64, 32, 3), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((8, 8, 3))]
)
def test_what_is_no_square_picture_is_refused(image):
    with pytest.raises(ValueError, match=r"\(size, size, 3\) uint8, not"):
        read(image)
