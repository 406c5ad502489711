"""The sizes that SDXL was trained at, and what is said of others."""

import argparse
from dataclasses import replace

import pytest

from helpers import random_picture
from ldm.cli.caveats import caveats
from ldm.models.families import FAMILIES
from ldm.pipeline.buckets import BUCKETS, bucket_hint, nearest_bucket
from ldm.request import Request
from small_families import SDXL, build

LARGE = replace(SDXL, size=1024)


def test_the_sizes_are_those_of_the_paper():
    """Multiples of 64, of about as many pixels as 1024 x 1024."""
    assert len(BUCKETS) == len(set(BUCKETS)) == 26
    for width, height in BUCKETS:
        assert width % 64 == height % 64 == 0
        assert 0.9 < width * height / 1024**2 < 1.03


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1024, 768), (1152, 896)), ((768, 1024), (896, 1152)), ((1920, 1080), (1344, 768)),
        ((512, 512), (1024, 1024)), ((3000, 100), (1728, 576)), ((1000, 1024), (1024, 1024)),
    ],
)  # fmt: skip
def test_the_nearest_is_that_of_the_most_like_shape(size, expected):
    assert nearest_bucket(*size) == expected


def test_only_sdxl_of_1024_pixels_has_such_sizes():
    assert bucket_hint(1024, 768, FAMILIES["sdxl"]).endswith("--W 1152 --H 896")
    assert bucket_hint(1152, 832, FAMILIES["sdxl"]) is None
    for name in ("sd1", "sd2-v", "x4-upscaler"):
        assert bucket_hint(1024, 768, FAMILIES[name]) is None
    assert bucket_hint(512, 768, replace(FAMILIES["sdxl"], size=512)) is None, "Turbo"


def said(model, image=None, **asked):
    job = model.resolve(Request("a cat", **asked), image)
    return [line for line in caveats([job, job], model, argparse.Namespace(prompt="x"))
            if "trained" in line]  # fmt: skip


def test_a_line_says_it_once_before_drawing():
    model = build(LARGE)
    assert model.resolve(Request("a cat")).size == (1024, 1024)
    assert said(model) == []
    assert said(model, width=1216, height=832) == []
    assert said(model, width=1152, height=1152) == [
        "1152 x 1152 is none of the sizes that tiny-sdxl was trained at: the nearest is "
        "--W 1024 --H 1024"
    ]
    assert said(model, random_picture(1152, 1088)) == [], "the picture's own"
    assert said(build(SDXL), width=24, height=16) == []
