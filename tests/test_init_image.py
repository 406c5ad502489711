"""What sampling starts from: sizes, what is cut out, and how the result goes back."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from ldm.images.files import to_tensor
from ldm.images.masks import blur_mask
from ldm.pipeline.init_image import InitImage, Overlay, prepare
from ldm.request import Request

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


def rectangle(box, size=(40, 30)):
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
    return mask


def array(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("blur", [0, 2, 5])
@pytest.mark.parametrize("box", [(0, 0, 40, 30), (10, 5, 30, 20)])
def test_nothing_changes_where_the_mask_is_black(blur, box):
    mask = rectangle((12, 8, 25, 17))
    overlay = Overlay(PICTURE, blur_mask(mask, blur, feather=False), box)
    result = array(overlay(Image.new("RGB", (16, 16), "red")))
    outside = array(mask) == 0
    assert (result[outside] == array(PICTURE)[outside]).all()
    assert (result[~outside] != array(PICTURE)[~outside]).any()
    if blur == 0:
        assert (result[~outside] == [255, 0, 0]).all()


def test_finishing():
    image = to_tensor(PICTURE)
    new = -0.8 * image.expand(2, -1, -1, -1)
    plain = InitImage(image).finish(new)
    assert len(plain) == 2
    assert np.abs(array(plain[0]) - (127.5 - 0.8 * (array(PICTURE) - 127.5))).max() < 1
    grey = InitImage(image, keep_luminance=True).finish(new)[1]
    assert np.abs(array(grey.convert("L")) - array(PICTURE.convert("L"))).max() <= 1
    matched = array(InitImage(image, color_correction=True).finish(0.5 * new + 0.3)[0])
    assert np.abs(matched.mean((0, 1)) - array(PICTURE).mean((0, 1))).max() < 2


def test_a_picture_is_brought_to_a_size_that_the_model_can_do():
    def size(**options):
        start = prepare(Request(**options), 16, 4, PICTURE)
        assert (start.mask, start.overlay) == (None, None)
        return tuple(start.image.shape)

    assert size() == (1, 3, 28, 40)
    assert size(width=24, height=8) == (1, 3, 8, 24)
    assert size(height=8) == (1, 3, 8, 40)
    assert size(upscale=2) == (1, 3, 60, 80)
    assert size(upscale=0.1) == (1, 3, 4, 4)
    assert size(upscale=2, width=32) == (1, 3, 60, 32)


def test_a_tensor_stays_as_it_is_unless_it_is_scaled():
    tensor = to_tensor(PICTURE)
    assert prepare(Request(), 16, 4, tensor).image is tensor
    assert prepare(Request(upscale=2), 16, 4, tensor).image.shape == (1, 3, 60, 80)


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.zeros(3, 8, 8), r"a tensor \(1, 3, H, W\) .* not \(3, 8, 8\) of torch.float32"),
        (torch.zeros(2, 3, 8, 8), r"not \(2, 3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "of torch.uint8"),
        (torch.full((1, 3, 8, 8), torch.nan), "NaN or infinity"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"upscale": 2}, {"left": 8}])
def test_a_tensor_that_is_no_picture_is_refused(tensor, match, options):
    with pytest.raises(ValueError, match=match):
        prepare(Request(**options), 16, 4, tensor)


def test_the_masked_part_is_drawn_and_goes_back_into_the_whole():
    mask = rectangle((12, 8, 25, 17))
    start = prepare(Request(), 16, 4, PICTURE, mask)
    assert (start.image.shape, start.mask.shape) == ((1, 3, 28, 40), (1, 1, 28, 40))
    result = array(start.finish(torch.ones(1, 3, 28, 40))[0])
    assert (result[array(mask) > 0] == 255).all()
    assert (result[array(mask) == 0] == array(PICTURE)[array(mask) == 0]).all()


def test_only_the_masked_part_is_drawn_at_the_size_of_the_model():
    mask = rectangle((12, 8, 20, 16))
    start = prepare(Request(inpaint_only_masked=True, masked_padding=2), 16, 4, PICTURE, mask)
    assert start.image.shape == (1, 3, 16, 16)
    assert start.overlay.box == (10, 6, 22, 18)
    start = prepare(Request(inpaint_only_masked=True, width=32, height=16), 16, 4, PICTURE, mask)
    assert start.image.shape == (1, 3, 16, 32)


def test_pixels_at_the_sides_are_inpainted():
    start = prepare(Request(left=8, bottom=2), 16, 4, PICTURE)
    assert start.overlay.picture.size == (48, 32)
    assert start.mask[0, 0, :30].sum() == 8 * 30
    assert start.mask.sum() == 48 * 32 - 40 * 30


def test_the_masked_part_may_start_from_its_surroundings():
    grey, spoilt = Image.new("RGB", (40, 28), (128, 128, 128)), Image.new("RGB", (8, 8), "red")
    grey.paste(spoilt, (12, 8))
    mask = rectangle((12, 8, 20, 16), (40, 28))
    start = prepare(Request(masked_content="fill"), 16, 4, grey, mask)
    torch.testing.assert_close(start.image, to_tensor(Image.new("RGB", (40, 28), (128, 128, 128))))


def test_one_way_to_a_larger_picture_at_a_time():
    for options, mask in (({"left": 8, "upscale": 2}, None), ({"left": 8}, PICTURE)):
        with pytest.raises(ValueError, match="give one of them"):
            prepare(Request(**options), 16, 4, PICTURE, mask)
