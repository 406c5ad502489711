"""Recipes: changing their parts, and what they refuse."""

from dataclasses import fields

import pytest

from ldm.training.loop import TrainConfig
from ldm.training.recipe import STAGES, Recipe, changed
from ldm.training.shapes.recipe import SHAPES64

CONFIGS = (TrainConfig, TrainConfig | None)


def test_the_stages_are_the_fields_with_a_config_of_their_own():
    assert [f.name for f in fields(Recipe) if f.type in CONFIGS] == list(STAGES)


def test_a_change_names_a_part_and_its_value():
    recipe = changed(SHAPES64, ["unet.steps=7", "gamma=5", "family.unet.channels=[32, 64, 64]"])
    assert (recipe.unet.steps, recipe.gamma, recipe.family.unet.channels) == (7, 5, (32, 64, 64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("unet.steps", "NAME=VALUE"),
        ("unet.speed=3", "speed"),
        ("unet.steps=many", "must be like"),
        ("family.unet.channels.first=3", "first"),
        ("unet.batch=0", "batch must be at least 1, not 0"),
        ("vae.batch=6", "vae.batch, 6, must be a multiple of crops, 4"),
        ("crop=30", "crop must be a multiple of 4, up to 64, not 30"),
    ],
)
def test_a_wrong_change_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        changed(SHAPES64, [change])
