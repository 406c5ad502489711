import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.images import files as images
from ldm.images.save import save_image
from ldm.images.saving import to_pil
from ldm.images.sheets import grid

GRADIENT = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def test_every_grey_level_survives_the_round_trip():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    tensor = images.to_tensor(Image.fromarray(levels))
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    np.testing.assert_array_equal(np.asarray(to_pil(tensor)[0]), levels)


def test_eight_bits_round_and_clamp():
    values = torch.tensor([-3.0, -1, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.999, 1, 7]).view(
        1, 1, 1, -1
    )
    (picture,) = to_pil(values.expand(1, 3, 2, -1))
    assert np.asarray(picture)[1, :, 2].tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_exif_orientation_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    Image.fromarray(GRADIENT).save(tmp_path / "turned.png", exif=exif)
    expected = np.rot90(GRADIENT, k=-1)
    np.testing.assert_array_equal(np.asarray(images.open_image(tmp_path / "turned.png")), expected)


def test_transparency_is_white():
    colour, alpha = np.zeros((2, 2, 3), np.uint8), np.array([[0, 255], [51, 0]], np.uint8)
    rgba = Image.fromarray(np.dstack([colour, alpha]))
    assert np.asarray(images.rgb(rgba))[..., 0].tolist() == [[255, 0], [204, 255]]
    palette = Image.new("P", (1, 1), 0)
    palette.info["transparency"] = 0
    assert images.rgb(palette).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "HSV", "F"])
def test_any_mode_becomes_rgb(mode):
    assert images.to_tensor(Image.new(mode, (3, 2))).shape == (1, 3, 2, 3)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 257 * 100, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.asarray(images.open_image(tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n broken"])
def test_an_unreadable_picture_is_named(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    for read in (images.open_image, images.read_text):
        with pytest.raises(ValueError, match=r"x\.png' cannot be read as a picture"):
            read(tmp_path / "x.png")


def test_truncated_and_missing_pictures(tmp_path):
    path = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cannot be read"):
        images.open_image(path)
    with pytest.raises(ValueError, match="there is no picture"):
        images.open_image(tmp_path / "none.png")


def test_fit():
    picture = Image.new("RGB", (70, 33))
    assert images.fit(picture, 8).size == (64, 32)
    assert images.fit(picture, 8, width=16).size == (16, 32)
    assert images.fit(picture, 8, 24, 40).size == (24, 40)
    exact = Image.fromarray(GRADIENT)
    assert images.fit(exact, 2) is exact
    with pytest.raises(ValueError, match="70 x 33 is too small: give at least 64 x 64"):
        images.fit(picture, 64)


@pytest.mark.parametrize(
    ("count", "columns", "size"),
    [(5, 2, (26, 18)), (2, 6, (10, 18)), (3, 1, (26, 10)), (1, 4, (6, 6))],
)
def test_grid_has_make_grids_layout(count, columns, size):
    pictures = np.random.default_rng(0).integers(1, 255, (count, 6, 6, 3), np.uint8)
    sheet = np.asarray(grid([Image.fromarray(picture) for picture in pictures], columns))
    assert sheet.shape == (*size, 3)
    if count > 1:
        rest = sheet.copy()
        for i, picture in enumerate(pictures):
            y, x = 2 + i // min(columns, count) * 8, 2 + i % min(columns, count) * 8
            np.testing.assert_array_equal(sheet[y : y + 6, x : x + 6], picture)
            rest[y : y + 6, x : x + 6] = 0
        assert not rest.any()


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_files_of_each_kind_keep_their_text(tmp_path, suffix):
    text = {"parameters": "ein Bär, 熊\nSteps: 3", "ldm": '{"prompt": "x"}'}
    path = tmp_path / f"a.{suffix}"
    save_image(path, Image.fromarray(GRADIENT), text)
    assert images.read_text(path) == text
    difference = np.asarray(images.open_image(path)).astype(int) - GRADIENT
    assert np.abs(difference).max() <= (3 if suffix == "jpg" else 0)
    assert list(tmp_path.iterdir()) == [path]


def test_other_kinds_of_files_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"cannot be saved as 'a.gif': let its name end in .png, .webp, .jpg"
    ):
        save_image(tmp_path / "a.gif", Image.fromarray(GRADIENT))


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path):
    save_image(tmp_path / "a.png", Image.fromarray(GRADIENT))
    with pytest.raises(OSError, match="cannot write mode"):
        save_image(tmp_path / "a.png", Image.new("F", (2, 2)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(np.asarray(images.open_image(tmp_path / "a.png")), GRADIENT)


def test_a_picture_that_says_nothing_has_no_text(tmp_path):
    Image.fromarray(GRADIENT).save(tmp_path / "a.jpg")
    assert images.read_text(tmp_path / "a.jpg") == {}


# Text and damage


@pytest.mark.parametrize("prompt", ["蓝色的猫", "größer", "ASCII", "caf\u00e9 n"])
def test_utf_8_in_a_field_for_latin_1_is_read_as_utf_8(tmp_path, prompt):
    info = PngInfo()
    info.add(b"tEXt", b"parameters\0" + prompt.encode())
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert images.read_text(tmp_path / "a.png") == {"parameters": prompt}


@pytest.mark.parametrize("prompt", ["größer", "Ã¤"])
def test_text_in_its_proper_encoding_stays(tmp_path, prompt):
    for kind in ("tEXt", "iTXt") if prompt == "größer" else ("iTXt",):
        info = PngInfo()
        if kind == "tEXt":
            info.add_text("parameters", prompt)
        else:
            info.add_itxt("parameters", prompt)
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
        assert images.read_text(tmp_path / "a.png") == {"parameters": prompt}


def test_a_jpeg_whose_text_is_too_long_is_saved_with_less_of_it(tmp_path):
    path, picture = tmp_path / "a.jpg", Image.fromarray(GRADIENT)
    short, long = {"parameters": "a, Steps: 3"}, "x" * 66000
    with pytest.warns(UserWarning, match=r"a\.jpg: the text of ldm is too long for a JPEG"):
        save_image(path, picture, {**short, "ldm": f'{{"prompt": "{long}"}}'})
    assert images.read_text(path) == short
    with pytest.warns(UserWarning, match="the text of parameters, ldm is too long"):
        save_image(path, picture, {"parameters": long, "ldm": "{}"})
    assert images.read_text(path) == {}
    assert images.open_image(path).size == (8, 6)


@pytest.mark.parametrize("length", range(65400, 65540, 7))
def test_what_is_kept_is_what_a_jpeg_holds(tmp_path, length):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = {"ldm": '{"a": "' + "x" * length + '"}'}
        save_image(tmp_path / "a.jpg", Image.fromarray(GRADIENT), text)
    assert images.read_text(tmp_path / "a.jpg") in ({}, text)


@pytest.mark.parametrize("long", ["profile", "text"])
def test_megabytes_of_metadata_are_no_reason_to_refuse_a_picture(tmp_path, long):
    path, noise = tmp_path / "a.png", np.random.default_rng(0).bytes(3 * 2**20)
    info = PngInfo()
    info.add_text("parameters", "a" * (3 * 2**20 if long == "text" else 1), zip=True)
    options = {"icc_profile": noise} if long == "profile" else {}
    Image.fromarray(GRADIENT).save(path, pnginfo=info, **options)
    assert images.open_image(path).size == (8, 6)
    assert images.read_text(path)["parameters"].startswith("a")


def test_a_picture_of_too_many_pixels_is_refused_in_a_line(tmp_path, monkeypatch):
    save_image(tmp_path / "a.png", Image.new("RGB", (64, 64)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for read in (images.open_image, images.read_text):
        with pytest.raises(ValueError, match="cannot be read as a picture: Image size"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "gif", "bmp"])
def test_damaged_files_are_read_or_refused_in_a_line(tmp_path, suffix):
    path, random = tmp_path / f"a.{suffix}", np.random.default_rng(0)
    Image.fromarray(GRADIENT).save(path)
    whole = path.read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 4):
            data[place] = random.integers(0, 256)
        path.write_bytes(data)
        for read in (images.open_image, images.read_text):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                error = refusal(read, path)
            assert len(error.splitlines()) <= 1


def refusal(read, path):
    try:
        read(path)
    except ValueError as error:
        return str(error)
    return ""


def test_a_tiff_without_its_compression_is_refused_in_a_line(tmp_path, monkeypatch):
    def broken(path):
        raise KeyError(262)

    save_image(tmp_path / "a.png", Image.fromarray(GRADIENT))
    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(ValueError, match=r"cannot be read as a picture: KeyError\(262\)"):
        images.open_image(tmp_path / "a.png")


def test_text_before_the_end_of_a_file_that_was_cut_short_is_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for suffix in ("jpg", "png"):
        path = tmp_path / f"a.{suffix}"
        save_image(path, Image.fromarray(noise), {"parameters": "a, Steps: 3"})
        path.write_bytes(path.read_bytes()[:-900])
        assert images.read_text(path) == {"parameters": "a, Steps: 3"}
        with pytest.raises(ValueError, match="cannot be read"):
            images.open_image(path)


@pytest.mark.parametrize("most", [1, 255, 65535])
def test_a_picture_of_fractions_keeps_its_grey_levels(tmp_path, most):
    values = np.array([[0, 0.5 * most, most, -most, np.nan]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    levels = np.asarray(images.open_image(tmp_path / "a.tiff"))[0, :, 0].tolist()
    assert levels == [0, 128, 255, 0, 0]
    with pytest.raises(ValueError, match="numbers beyond 65535"):
        images.rgb(Image.fromarray(values * 1e6))
