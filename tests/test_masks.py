import doctest

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import ldm.images.masks
from ldm.images.files import to_tensor
from ldm.images.masks import (
    binarize_mask,
    blur_mask,
    crop_and_resize,
    expand_box,
    extend,
    fill_unknown,
    to_mask,
)

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


def rectangle(box, size=(40, 30)):
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
    return mask


def array(image):
    return np.asarray(image).astype(int)


def test_doctests():
    assert doctest.testmod(ldm.images.masks).failed == 0


def test_a_mask_is_white_by_half_or_more():
    mask = Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8))
    assert array(binarize_mask(mask, (4, 1))[0]).tolist() == [[0, 0, 255, 255]]
    assert array(to_mask(mask.convert("RGB"))).tolist() == [[0, 127, 128, 255]]
    assert binarize_mask(mask, (4, 1))[1] == (2, 0, 4, 1)
    with pytest.raises(ValueError, match="black all over"):
        binarize_mask(Image.new("L", (4, 4), 127), (4, 4))


SHAPE = rectangle((12, 8, 25, 17))
CLEAR, FULL = Image.new("L", (40, 30)), Image.new("L", (40, 30), 255)


def palette(index):
    """Mode P: index 0 transparent, 1 white, 2 black."""
    image = Image.fromarray(np.where(np.asarray(SHAPE) > 0, index, 0).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 255, 255, 255, 0, 0, 0])
    image.info["transparency"] = 0
    return image


def turned(image):
    image = image.rotate(90, expand=True)
    image.getexif()[0x0112] = 6  # to be seen upright it is turned back
    return image


MASKS = {
    "white on black": SHAPE,
    "white strokes on a transparent layer": Image.merge("RGBA", [SHAPE] * 4),
    "the same in grey": Image.merge("LA", [SHAPE] * 2),
    "white, transparent as well": Image.merge("RGBA", [FULL] * 3 + [SHAPE]),
    "black strokes on a transparent layer": Image.merge("RGBA", [CLEAR] * 3 + [SHAPE]),
    "black strokes in grey": Image.merge("LA", [CLEAR, SHAPE]),
    "white on black, opaque": Image.merge("RGBA", [SHAPE] * 3 + [FULL]),
    "a palette with white": palette(1),
    "a palette with black": palette(2),
    "one bit": SHAPE.convert("1"),
    "16 bits": Image.fromarray(array(SHAPE).astype(np.uint16) * 257),
    "turned": turned(SHAPE),
    "black strokes, turned": turned(Image.merge("LA", [CLEAR, SHAPE])),
    "a tensor of 0 and 1": torch.from_numpy(array(SHAPE) / 255)[None, None],
    "in three channels": torch.from_numpy(array(SHAPE) / 255).expand(1, 3, -1, -1).half(),
    "of -1 and 1": torch.from_numpy(array(SHAPE) / 127.5 - 1)[None, None].float(),
    "of truth values": torch.from_numpy(array(SHAPE) > 0)[None, None],
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_means_the_same_in_every_form(name):
    assert (array(to_mask(MASKS[name])) == array(SHAPE)).all()


def test_a_mask_that_is_black_all_over_is_no_mask_even_with_an_alpha_channel():
    for mask in (CLEAR, Image.merge("RGBA", [CLEAR] * 3 + [FULL]), Image.merge("LA", [CLEAR] * 2)):
        with pytest.raises(ValueError, match="black all over"):
            binarize_mask(to_mask(mask), mask.size)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1, 2, 4, 4),
        torch.zeros(4, 4),
        torch.zeros(2, 1, 4, 4),
        torch.zeros(1, 1, 4, 4, dtype=torch.uint8),
        torch.full((1, 1, 4, 4), torch.nan),
    ],
)
def test_tensors_that_are_no_masks_are_refused(tensor):
    with pytest.raises(ValueError, match="a mask must be"):
        to_mask(tensor)


def test_a_mask_of_another_size_is_scaled_with_a_warning():
    small = Image.fromarray(np.array([[0, 255]], dtype=np.uint8))
    with pytest.warns(UserWarning, match="the mask of 2 x 1 is scaled to the picture's 4 x 2"):
        mask, box = binarize_mask(small, (4, 2))
    assert array(mask).tolist() == [[0, 0, 255, 255]] * 2
    assert box == (2, 0, 4, 2)


def test_a_blurred_edge_fades_inwards_and_a_feathered_one_to_both_sides():
    mask = rectangle((10, 0, 30, 30))
    inner, both = array(blur_mask(mask, 5, False))[15], array(blur_mask(mask, 3, True))[15]
    assert inner[9:16].tolist() == [0, 51, 102, 153, 204, 255, 255]
    assert inner[24:31].tolist() == [255, 255, 204, 153, 102, 51, 0]
    assert (both[5:10] > 0).all()
    assert abs(both[10] - 255 / 2) < 30
    assert both[20] > 250
    assert (array(blur_mask(mask, 0, False)) == array(mask)).all()
    assert (array(blur_mask(mask, 0, True)) == array(mask)).all()
    assert (array(blur_mask(rectangle((0, 0, 40, 30)), 5, False)) == 255).all()


def test_cutting_out_marks_every_pixel_that_the_mask_touches():
    image, inside = crop_and_resize(
        PICTURE, rectangle((13, 7, 14, 8)), (0, 0, 40, 30), (20, 15), fill=False
    )
    assert (image.shape, inside.shape) == ((1, 3, 15, 20), (1, 1, 15, 20))
    assert inside.nonzero().tolist() == [[0, 0, 3, 6]]
    winside, _ = crop_and_resize(
        PICTURE, rectangle((0, 0, 1, 1)), (8, 4, 24, 20), (16, 16), fill=False
    )
    torch.testing.assert_close(winside, to_tensor(PICTURE)[..., 4:20, 8:24])


def test_filling_carries_the_surroundings_into_what_is_unknown():
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    known = torch.ones(1, 1, 32, 32)
    known[..., 12:20, 12:20] = 0
    spoilt = torch.where(known > 0, ramp, torch.full_like(ramp, 9.0))
    result = fill_unknown(spoilt, known)
    assert torch.equal(result[(known > 0).expand_as(result)], ramp[(known > 0).expand_as(ramp)])
    assert (result - ramp).abs().max() < 0.15
    flat = fill_unknown(torch.where(known > 0, 0.25, 9.0).expand(1, 3, 32, 32), known)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.25))


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (33, 17)])
def test_filling_at_any_size_and_with_nothing_known(size):
    assert torch.equal(
        fill_unknown(torch.ones(1, 3, *size), torch.zeros(1, 1, *size)), torch.zeros(1, 3, *size)
    ) or size == (1, 1)
    one = torch.zeros(1, 1, *size)
    one[..., 0, 0] = 1
    torch.testing.assert_close(
        fill_unknown(0.5 * one.expand(1, 3, *size), one), torch.full((1, 3, *size), 0.5)
    )


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_an_expanded_box_holds_the_box_and_stays_inside(aspect):
    random = np.random.default_rng(0)
    for _ in range(200):
        left, top = (int(random.integers(0, limit)) for limit in (90, 60))
        box = left, top, int(random.integers(left + 1, 101)), int(random.integers(top + 1, 71))
        found = expand_box(box, int(random.integers(0, 20)), aspect, (100, 70))
        assert 0 <= found[0] <= box[0] < box[2] <= found[2] <= 100
        assert 0 <= found[1] <= box[1] < box[3] <= found[3] <= 70


def test_extending_keeps_the_picture_and_masks_the_rest():
    larger, mask = extend(PICTURE, 3, 5, 0, 7)
    assert larger.size == mask.size == (48, 37)
    assert (array(larger)[:30, 3:43] == array(PICTURE)).all()
    assert (array(larger)[35, 10] == array(PICTURE)[29, 7]).all()
    assert (array(mask)[:30, 3:43] == 0).all()
    assert (array(mask) == 255).sum() == 48 * 37 - 30 * 40
