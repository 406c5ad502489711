"""Pictures of things: what is drawn, where it stands, and what a caption says of it."""

import numpy as np
import pytest

from ldm.training.shapes.scenes import TOWARDS
from ldm.training.things import grounds
from ldm.training.things.collection import Collection, Entry, load, save
from ldm.training.things.compositions import GRIDS, PLACES, Composition, render
from ldm.training.things.data import Things
from ldm.training.things.grounds import (
    APART,
    COLOURS,
    PATTERNS,
    Ground,
    clear_colours,
    draw_ground,
    paint_ground,
)
from ldm.training.things.rendering import rim
from small_things import INKS, SIDE, collection, disc

ALL = collection()


def test_a_collection_is_written_and_read_back(tmp_path):
    path = tmp_path / "things.safetensors"
    save(path, list(ALL.pictures), ALL.entries)
    back = load(path)
    assert back.entries == ALL.entries
    assert np.array_equal(back.pictures, ALL.pictures)
    assert back.held_out == ALL.held_out
    assert len(back.digest) == 64


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_another_file_is_no_collection(tmp_path, content):
    path = tmp_path / "things.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"no collection of pictures|build_pictures\.py makes it"):
        load(path)


def test_a_collection_needs_an_entry_for_each_picture(tmp_path):
    with pytest.raises(ValueError, match="19 pictures need as many entries, not 18"):
        save(tmp_path / "x", list(ALL.pictures), ALL.entries[1:])


def test_a_twentieth_of_the_pairs_is_held_out_but_of_things_of_few_styles_or_parts():
    names = [f"thing {i}" for i in range(2000)]
    pairs = [Entry(name, style, "", (name,)) for name in names for style in ("flat", "3d", "x")]
    held = Collection(np.zeros((len(pairs), 1, 1, 4), np.uint8), pairs, "").held_out
    assert 0.04 < np.mean(held) < 0.06
    faces = [
        Entry(name, "3d", "faces", ("face",), parts=("a hat", "a beard", "glasses")[:count])
        for name in names
        for count in (2, 3)
    ]
    held = Collection(np.zeros((len(faces), 1, 1, 4), np.uint8), faces, "").held_out
    assert not any(held[::2])
    assert 0.04 < np.mean(held[1::2]) < 0.06
    few = [entry for entry in pairs if entry.style != "x"]
    assert not any(Collection(np.zeros((len(few), 1, 1, 4), np.uint8), few, "").held_out)


def test_training_and_evaluation_share_no_pair():
    held_out = tuple(i % 3 == 0 for i in range(len(ALL)))
    drawn = {}
    for evaluation in (False, True):
        things = collection()
        things.held_out = held_out
        data = Things(things, 200, SIDE, evaluation=evaluation)
        chosen = (data._scene(False, np.random.default_rng(i)).things for i in range(200))
        drawn[evaluation] = {i for scene in chosen for i in scene}
    assert drawn[True] == {i for i, held in enumerate(held_out) if held}
    assert drawn[False] == {i for i, held in enumerate(held_out) if not held}


def test_an_example_is_a_function_of_seed_and_index():
    one, two = Things(ALL, 30, SIDE), Things(ALL, 30, SIDE)
    last, first = one[29], one[0]
    assert last[1] == two[29][1]
    assert np.array_equal(last[0], two[29][0])
    assert not np.array_equal(first[0], last[0])
    other = Things(ALL, 30, SIDE, seed=1)
    assert [one[i][1] for i in range(9)] != [other[i][1] for i in range(9)]
    with pytest.raises(IndexError):
        one[30]


def test_examples_are_told_apart_from_other_data():
    kinds = [Things(ALL, 30, SIDE), Things(ALL, 31, SIDE), Things(ALL, 30, SIDE, seed=1)]
    assert len({tuple(data.contents()) for data in kinds}) == 3


@pytest.mark.parametrize("name", INKS)
def test_a_thing_never_has_the_colour_of_its_ground(name):
    thing = disc(INKS[name])
    free = clear_colours([thing])
    near = [
        colour
        for colour, rgb in COLOURS.items()
        if np.linalg.norm(np.subtract(rgb, INKS[name])) <= APART
    ]
    assert set(free) == set(COLOURS) - set(near)
    assert near
    drawn = [draw_ground([thing], False, np.random.default_rng(i)) for i in range(300)]
    assert not {colour for ground in drawn for colour in ground.colours} & set(near)
    assert {ground.pattern for ground in drawn} == set(PATTERNS)


def test_a_thing_of_every_colour_gets_the_ground_it_stands_out_from_best(monkeypatch):
    monkeypatch.setattr(grounds, "CLEAR", 1.0)
    thing = disc((0, 0, 0))
    thing[:, :, :3] = np.array(list(COLOURS.values()))[np.arange(SIDE) % len(COLOURS)][:, None]
    (best,) = clear_colours([thing])
    far = {
        name: np.linalg.norm(rim(thing) - np.array(rgb), axis=-1) > APART
        for name, rgb in COLOURS.items()
    }
    assert best == max(far, key=lambda name: far[name].mean())
    assert far[best].mean() < 1


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_ground_has_its_colours_and_no_other(pattern):
    colours = ("red",) if pattern == "plain" else ("light blue", "dark green")
    pixels = paint_ground(Ground(pattern, colours), 64)
    assert pixels.shape == (64, 64, 3)
    if pattern not in ("plain", "gradient"):
        seen = {tuple(map(int, rgb)) for rgb in pixels.reshape(-1, 3)}
        assert seen == {COLOURS[name] for name in colours}


def middle(picture, ground):
    """The mean place (x, y) of what is not the ground, in fractions."""
    far = np.abs(picture.astype(float) - paint_ground(ground, len(picture))).sum(-1) > 60
    y, x = np.nonzero(far)
    return float(x.mean() + 0.5) / len(picture), float(y.mean() + 0.5) / len(picture)


@pytest.mark.parametrize("place", PLACES)
def test_a_small_thing_stands_where_it_is_said_to(place):
    ground = Ground("plain", ("white",))
    scene = Composition((0,), ground, "small", place)
    x, y = middle(render(ALL, scene, 64, np.random.default_rng(0)), ground)
    assert (x, y) == pytest.approx(PLACES[place], abs=0.05)


@pytest.mark.parametrize("relation", TOWARDS)
def test_the_first_of_two_stands_in_its_relation_to_the_second(relation):
    ground = Ground("plain", ("white",))
    scene = Composition((0, 6), ground, relation=relation)
    picture = render(ALL, scene, 64, np.random.default_rng(0)).astype(float)
    y, x = np.nonzero(picture[:, :, 0] > picture[:, :, 1] + 90)  # the red apple
    seen = {"left of": x.max() < 32, "right of": x.min() >= 32}
    seen |= {"above": y.max() < 32, "below": y.min() >= 32}
    assert [name for name, holds in seen.items() if holds] == [relation]


@pytest.mark.parametrize("count", GRIDS)
def test_some_things_alike_are_as_many_as_said(count):
    ground = Ground("plain", ("white",))
    one = render(ALL, Composition((0,), ground, "small"), 64, np.random.default_rng(0))
    some = render(ALL, Composition((0,), ground, count=count), 64, np.random.default_rng(0))
    area = [(np.abs(p.astype(int) - 240).max(-1) > 60).sum() for p in (one, some)]
    assert area[1] / area[0] == pytest.approx(count, rel=0.35)


def test_the_digest_tells_other_pictures(tmp_path):
    digests = set()
    for value in (0, 1):
        pictures = ALL.pictures.copy()
        pictures[0, 0, 0, 0] = value
        save(tmp_path / "x.safetensors", list(pictures), ALL.entries)
        digests.add(load(tmp_path / "x.safetensors").digest)
    assert len(digests) == 2
