import doctest

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import ldm.canvas
from ldm.canvas import Canvas, Paste, black_and_white, cut, extended, filled, softened, surroundings
from ldm.images import to_tensor

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


def rectangle(box, size=(40, 30)):
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
    return mask


def array(image):
    return np.asarray(image).astype(int)


def test_doctests():
    assert doctest.testmod(ldm.canvas).failed == 0


def test_a_mask_is_white_by_half_or_more():
    mask = Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8))
    assert array(black_and_white(mask, (4, 1))[0]).tolist() == [[0, 0, 255, 255]]
    assert array(black_and_white(mask.convert("RGB"), (4, 1))[0]).tolist() == [[0, 0, 255, 255]]
    assert black_and_white(mask, (4, 1))[1] == (2, 0, 4, 1)
    with pytest.raises(ValueError, match="a mask of 4 x 1 does not fit a picture of 4 x 2"):
        black_and_white(mask, (4, 2))
    with pytest.raises(ValueError, match="black all over"):
        black_and_white(Image.new("L", (4, 4), 127), (4, 4))


@pytest.mark.parametrize("blur", [0, 2, 5])
@pytest.mark.parametrize("box", [(0, 0, 40, 30), (10, 5, 30, 20)])
def test_nothing_changes_where_the_mask_is_black(blur, box):
    mask = rectangle((12, 8, 25, 17))
    paste = Paste(PICTURE, softened(mask, blur, feather=False), box)
    result = array(paste(Image.new("RGB", (16, 16), "red")))
    outside = array(mask) == 0
    assert (result[outside] == array(PICTURE)[outside]).all()
    assert (result[~outside] != array(PICTURE)[~outside]).any()
    if blur == 0:
        assert (result[~outside] == [255, 0, 0]).all()


def test_a_blurred_edge_fades_inwards_and_a_feathered_one_to_both_sides():
    mask = rectangle((10, 0, 30, 30))
    inner, both = array(softened(mask, 5, False))[15], array(softened(mask, 3, True))[15]
    assert inner[9:16].tolist() == [0, 51, 102, 153, 204, 255, 255]
    assert inner[24:31].tolist() == [255, 255, 204, 153, 102, 51, 0]
    assert (both[5:10] > 0).all()
    assert abs(both[10] - 255 / 2) < 30
    assert both[20] > 250
    assert (array(softened(mask, 0, False)) == array(mask)).all()
    assert (array(softened(mask, 0, True)) == array(mask)).all()
    assert (array(softened(rectangle((0, 0, 40, 30)), 5, False)) == 255).all()


def test_cutting_out_marks_every_pixel_that_the_mask_touches():
    image, hole = cut(PICTURE, rectangle((13, 7, 14, 8)), (0, 0, 40, 30), (20, 15), fill=False)
    assert (image.shape, hole.shape) == ((1, 3, 15, 20), (1, 1, 15, 20))
    assert hole.nonzero().tolist() == [[0, 0, 3, 6]]
    whole, _ = cut(PICTURE, rectangle((0, 0, 1, 1)), (8, 4, 24, 20), (16, 16), fill=False)
    torch.testing.assert_close(whole, to_tensor(PICTURE)[..., 4:20, 8:24])


def test_filling_carries_the_surroundings_into_the_hole():
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    known = torch.ones(1, 1, 32, 32)
    known[..., 12:20, 12:20] = 0
    spoilt = torch.where(known > 0, ramp, torch.full_like(ramp, 9.0))
    result = filled(spoilt, known)
    assert torch.equal(result[(known > 0).expand_as(result)], ramp[(known > 0).expand_as(ramp)])
    assert (result - ramp).abs().max() < 0.15
    flat = filled(torch.where(known > 0, 0.25, 9.0).expand(1, 3, 32, 32), known)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.25))


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (33, 17)])
def test_filling_at_any_size_and_with_nothing_known(size):
    assert torch.equal(filled(torch.ones(1, 3, *size), torch.zeros(1, 1, *size)), torch.zeros(1, 3, *size)) or size == (
        1,
        1,
    )
    one = torch.zeros(1, 1, *size)
    one[..., 0, 0] = 1
    torch.testing.assert_close(filled(0.5 * one.expand(1, 3, *size), one), torch.full((1, 3, *size), 0.5))


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_surroundings_hold_the_box_and_stay_inside(aspect):
    random = np.random.default_rng(0)
    for _ in range(200):
        left, top = (int(random.integers(0, limit)) for limit in (90, 60))
        box = left, top, int(random.integers(left + 1, 101)), int(random.integers(top + 1, 71))
        found = surroundings(box, int(random.integers(0, 20)), aspect, (100, 70))
        assert 0 <= found[0] <= box[0] < box[2] <= found[2] <= 100
        assert 0 <= found[1] <= box[1] < box[3] <= found[3] <= 70


def test_extending_keeps_the_picture_and_masks_the_rest():
    larger, mask = extended(PICTURE, 3, 5, 0, 7)
    assert larger.size == mask.size == (48, 37)
    assert (array(larger)[:30, 3:43] == array(PICTURE)).all()
    assert (array(larger)[35, 10] == array(PICTURE)[29, 7]).all()
    assert (array(mask)[:30, 3:43] == 0).all()
    assert (array(mask) == 255).sum() == 48 * 37 - 30 * 40


def test_finishing():
    image = to_tensor(PICTURE)
    new = -0.8 * image.expand(2, -1, -1, -1)
    plain = Canvas(image).finish(new)
    assert len(plain) == 2
    assert np.abs(array(plain[0]) - (127.5 - 0.8 * (array(PICTURE) - 127.5))).max() < 1
    grey = Canvas(image, keep_luminance=True).finish(new)[1]
    assert np.abs(array(grey.convert("L")) - array(PICTURE.convert("L"))).max() <= 1
    matched = array(Canvas(image, match_colours=True).finish(0.5 * new + 0.3)[0])
    assert np.abs(matched.mean((0, 1)) - array(PICTURE).mean((0, 1))).max() < 2
