"""Text in JPEG and WebP."""

import doctest

import pytest
from PIL import Image

import ldm.images.exif
from ldm.images.exif import decoded, from_exif, to_exif

TEXT = {"parameters": "a lighthouse — 灯台 🗼\nSteps: 5", "ldm": '{"prompt": "a lighthouse"}'}


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_round_trip_through_a_file(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (8, 8)).save(path, exif=to_exif(TEXT))
    with Image.open(path) as image:
        assert from_exif(image.getexif()) == TEXT


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + "a: é".encode("utf-16-be"),
        b"UNICODE\0" + "a: é".encode("utf-16-le"),
        b"UNICODE\0" + b"\xfe\xff" + "a: é".encode("utf-16-be"),
        bytes(8) + "a: é".encode(),
    ],
)
def test_encodings_of_user_comments(comment):
    assert decoded(comment) == "a: é"


def test_ascii_comments_lose_their_padding():
    assert decoded(b"ASCII\0\0\0steps\0\0") == "steps"


def test_other_tags_are_no_text():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Canon: the camera", "workflow:{}", 1
    assert from_exif(exif) == {"workflow": "{}"}
    assert from_exif(Image.Exif()) == {}


def test_doctests():
    assert doctest.testmod(ldm.images.exif) == (0, 1)


@pytest.mark.parametrize("tag", ["Prompt: {}", "prompt:{}", "Prompt:  {}"])
def test_names_of_tags_may_have_capitals_and_blanks(tag):
    exif = Image.Exif()
    exif[0x010F] = tag
    assert from_exif(exif) == {"prompt": "{}"}


def test_only_comments_with_settings_are_parameters():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0Screenshot"
    assert from_exif(exif) == {"UserComment": "Screenshot"}
