"""Scenes that the built-in model is taught additions with."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.training.data import Folder
from ldm.training.shapes.scenes import COLOURS, backdrop, caption, draw, layout, paint
from ldm.training.shapes.variants import VARIANTS, examples_of

SCRIPT = Path(__file__).parent.parent / "scripts" / "build_shapes.py"


@pytest.mark.parametrize("name", VARIANTS)
def test_they_are_functions_of_seed_and_index(name):
    one, again, longer = (list(examples_of(name, count, 32)) for count in (3, 3, 4))
    for (ours, said), (theirs, too) in zip(one, again, strict=True):
        assert np.array_equal(ours, theirs)
        assert said == too
        assert (ours.shape, ours.dtype) == ((32, 32, 3), np.uint8)
    assert [said for _, said in longer[:3]] == [said for _, said in one]
    assert not np.array_equal(longer[3][0], one[0][0])
    (other, _), *_ = examples_of(name, 1, 32, seed=1)
    assert not np.array_equal(other, one[0][0])


def test_outlines_are_the_scenes_with_their_inside_empty():
    shares = []
    for i, (pixels, said) in enumerate(examples_of("outlines", 40, 64)):
        scene, rng = draw(0, i)
        ground = backdrop(scene.background, 64)
        filled = ground.copy()
        for placed in layout(scene, rng):
            paint(filled, placed)
        assert said == caption(scene, rng)
        drawn = np.abs(pixels - ground).max(-1) > 60
        solid = np.abs(filled - ground).max(-1) > 40
        assert (drawn & ~solid).mean() < 0.01, said
        shares.append(drawn.sum() / solid.sum())
    assert max(shares) < 1.05  # of a small cross the contour is nearly all
    assert 0.2 < np.mean(shares) < 0.8


def test_a_sun_is_a_large_yellow_circle_by_another_name():
    yellow = np.array(COLOURS["yellow"])
    for pixels, said in examples_of("sun", 40, 64):
        assert " sun" in said
        assert "circle" not in said
        assert "yellow" not in said.partition("sun")[2].partition(" on ")[2]
        near = np.abs(pixels.astype(int) - yellow).max(-1) < 60
        assert near.sum() > 0.8 * np.pi * (0.93 * 13) ** 2 * 0.9, said


def test_shapes_stand_anywhere_and_captions_do_not_say_where():
    centres, areas = [], []
    for i, (pixels, said) in enumerate(examples_of("anywhere", 60, 64)):
        assert not {"large", "small", "above", "below", "left", "right"} & {*said.split()}
        scene, _ = draw(0, i)
        assert f"{scene.things[0].colour} {scene.things[0].shape}" in said
        colour = np.array(COLOURS[scene.things[0].colour])
        rows, columns = np.nonzero(np.abs(pixels.astype(int) - colour).max(-1) < 40)
        if len(rows) > 20:
            centres.append((rows.mean(), columns.mean()))
            areas.append(len(rows))
    assert np.std(centres, axis=0).min() > 6
    assert max(areas) > 3 * min(areas)


def test_the_script_writes_a_folder_to_train_on(tmp_path):
    folder = tmp_path / "pictures"
    command = [sys.executable, SCRIPT, "sun", "--count", "3", "--size", "32", "--out", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = Folder(folder, 32)
    assert [said for _, said in (data[i] for i in range(3))] == [
        said for _, said in examples_of("sun", 3, 32)
    ]
    assert Image.open(folder / "00000.png").size == (32, 32)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2
    assert again.stderr.endswith("pictures is there already, and is no empty folder\n")
