"""The invisible watermark: that of the package invisible-watermark 0.2.0, to the bit."""

import hashlib
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.images import watermark
from ldm.images.watermark import MARKS, agreement, embed, extract

SD1, SD2, SDXL = MARKS.values()


def rough(height, width):
    """A picture full of detail, from whole numbers only."""
    y, x = np.mgrid[:height, :width]
    return (
        np.stack([(x * y + 3 * x) % 251, (x * x + y) % 241, (x + y * y) % 239], -1).astype(np.uint8)
        // 2
        + 60
    )


def dotted(height, width):
    """A grey picture with a blue dot of 2 x 2 in each block of 8 x 8, in various places: it takes
    every bit."""
    y, x = np.mgrid[:height, :width] // 2
    place = (5 * (y // 4) + 3 * (x // 4)) % 15 + 1
    dot = place == 4 * (y % 4) + x % 4
    return np.stack([110 + 0 * y, 110 + y % 9, 110 + 80 * dot], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "message", "expected"),
    [
        (256, 256, SD1, "3ae3c69a26227d7997820819124668c06b7c7ed471847bce0ab9ff205955400d"),
        (256, 256, SD2, "97e20aac74ca3059ec53a526c5cf40e2bf4b0222fd7db6bf143bcef631532a3f"),
        (259, 301, SD1, "69df90d55ded240f1c4d39463fd2cc8150f64422cce966c864e6a9eb4d459738"),
        (259, 301, SD2, "3173427d272bb8062e4a43534c64fcecca69a9cbd81ecc6dd860f2507ea075e3"),
    ],
)
def test_marked_pixels_are_the_packages(height, width, message, expected):
    assert hashlib.sha256(embed(rough(height, width), message).tobytes()).hexdigest() == expected


def test_what_is_read_is_what_the_package_reads():
    """Also where it is nonsense: in a picture without a mark, and where detail has eaten some of
    the bits."""
    assert extract(rough(256, 256)).hex() == "c903317ffbf8adcb13ff0fdbf725482001"
    assert extract(rough(259, 301)).hex() == "6de7d5e34fd82d600243a206b8172efef4"
    assert extract(embed(rough(259, 301))) == b"S\xf6a\xe3leMifgusi\x7fnV\xf1"


@pytest.mark.parametrize("message", MARKS.values())
@pytest.mark.parametrize("size", [(256, 256), (259, 301), (300, 262), (512, 384)])
def test_round_trip(size, message):
    marked = embed(dotted(*size), message)
    assert extract(marked, len(message)) == message
    assert agreement(marked, message) == 1


def test_the_mark_cannot_be_seen():
    before = dotted(512, 512)
    change = embed(before).astype(int) - before
    luma = change @ (0.299, 0.587, 0.114)
    assert np.abs(luma).max() < 2
    assert change[..., 2].std() > 3 * change[..., 0].std()  # it is in the blue
    assert 20 * np.log10(255 / change.std()) > 35


def test_the_first_channel_is_red():
    picture = dotted(256, 256)
    marked = embed(picture)
    assert extract(marked) == SD1
    assert agreement(marked[..., ::-1], SD1) < 0.8
    assert not np.array_equal(embed(picture[..., ::-1])[..., ::-1], marked)


def test_an_unmarked_picture_agrees_by_chance():
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    assert agreement(noise, SD1) == pytest.approx(0.5, abs=0.17)  # 4 standard errors of 136 bits


def test_colours_become_opencvs():
    colours = np.array(
        [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [200, 30, 90]]], np.uint8
    )
    y, u, v = watermark.to_yuv(colours)
    assert (y.tolist(), u.tolist()) == ([[76, 150, 29, 226, 88]], [[91, 54, 239, 17, 129]])
    assert v.tolist() == [[255, 0, 103, 153, 226]]
    assert np.abs(watermark.to_rgb(y, u, v).astype(int) - colours)[0, 4].max() <= 1


def test_haar_is_orthogonal_and_its_own_way_back():
    plane = np.random.default_rng(0).integers(0, 256, (8, 12), dtype=np.uint8)
    bands = watermark.haar(plane)
    assert sum((band**2).sum() for band in bands) == pytest.approx((plane.astype(float) ** 2).sum())
    assert bands[0][0, 0] == pytest.approx(plane[:2, :2].astype(float).sum() / 2)
    np.testing.assert_allclose(watermark.unhaar(*bands), plane)


def test_arguments_are_not_written_into():
    picture = dotted(256, 256)
    copy = picture.copy()
    embed(picture), extract(picture)
    assert np.array_equal(picture, copy)


@pytest.mark.parametrize("size", [(255, 256), (64, 64), (7, 20000)])
def test_small_and_narrow_pictures_are_refused(size):
    picture = np.zeros((*size, 3), np.uint8)
    for mark in (embed, extract):
        with pytest.raises(
            ValueError, match=f"{size[1]} x {size[0]} is too small for a watermark of 136 bits"
        ):
            mark(picture)


def test_what_is_no_picture_is_refused():
    with pytest.raises(
        ValueError, match=r"must be \(H, W, 3\) of uint8, not \(256, 256\) of uint8"
    ):
        embed(np.zeros((256, 256), np.uint8))
    with pytest.raises(ValueError, match="of float64"):
        extract(np.zeros((256, 256, 3)))


def test_robustness_table():
    """What is certain: it survives no shift and no change of size; of a cut below, or enlarging and
    back, it does."""
    script = runpy.run_path(str(Path(__file__).parent.parent / "scripts/watermark.py"))
    table = script["robustness"]([Image.fromarray(dotted(512, 512 + 8 * i)) for i in range(2)])
    for name in ("none", "twice as large and back", "cut off below"):
        assert table[name] == (1, 1), name
    for name in ("nine tenths as large", "8 pixels cut off at the left", "JPEG, quality 50"):
        assert table[name][0] < 0.8, name
        assert table[name][1] == 0, name
    assert table["JPEG, quality 50"][0] <= table["JPEG, quality 95"][0]


def test_a_request_may_ask_for_a_mark(tiny):
    options = {"steps": 1, "guidance_scale": 1, "width": 256, "height": 256}
    (plain,) = tiny.txt2img("a cat", **options)
    (marked,) = tiny.txt2img("a cat", watermark="SDV2", **options)
    assert np.array_equal(np.asarray(marked), embed(np.asarray(plain), b"SDV2"))


def test_a_picture_that_cannot_hold_a_mark_is_refused_before_it_is_drawn():
    match = "a picture of 16 x 16 is too small for a watermark of 136 bits"
    with pytest.raises(ValueError, match=match):
        watermark.check_size(16, 16, 136)
    with pytest.raises(ValueError, match="at least a letter"):
        watermark.check_size(256, 256, 0)
