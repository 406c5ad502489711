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
        *(
            (f"unet.steps={x}", f"^unet.steps must be a whole number, such as 5200, not {x}$")
            for x in ("many", "nan", "inf", "NaN", "-Infinity", "1e400", "3.5", "null", "true")
        ),
        ("unet.lr=nan", "^unet.lr must be a number, such as 0.0015, not nan$"),
        ("unet.clip=Infinity", "^unet.clip must be a number, such as 1.0, not Infinity$"),
        ("unet.steps=-5", "^unet.steps must be at least 1, not -5$"),
        ("unet.seed=99999999999999999999", "^unet.seed must be from 0 to 4294967295, not 9"),
        ("gamma=true", "gamma must be"),
        ("family.unet.channels.first=3", "first"),
        ("unet.batch=0", "batch must be at least 1, not 0"),
        ("vae.batch=6", "vae.batch, 6, must be a multiple of crops, 4"),
        ("crop=30", "crop must be a multiple of 4, up to 64, not 30"),
    ],
)
def test_a_wrong_change_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        changed(SHAPES64, [change])
