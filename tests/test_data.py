import json

import numpy as np
import pytest
from PIL import Image

from ldm.training.data import CAPTION, Folder
from ldm.training.shapes.scenes import Scenes, example


def put(folder, name, colour="red", size=(8, 8), caption=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def listing(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_scenes_are_the_examples():
    data = Scenes(count=5, size=16, seed=3)
    assert len(data) == 5
    assert len(list(data)) == 5
    for index in (2, -1):
        image, caption = data[index]
        true, words = example(3, index % 5, 16)
        assert np.array_equal(image, true)
        assert caption == words
    with pytest.raises(IndexError):
        data[5]
    assert Scenes(5, 16, 3, evaluation=True)[0][1] == example(3, 0, 16, evaluation=True)[1]


def test_captions_beside_the_pictures(tmp_path):
    put(tmp_path, "b.JPG", "blue", caption="a blue\n square ")
    put(tmp_path, "a.png", "red", caption="a réd square")
    put(tmp_path, "sub/c.webp", "lime", caption="")
    put(tmp_path, ".hidden.png")
    (tmp_path / "notes.txt").write_text("no picture")
    data = Folder(tmp_path, 4)
    assert len(data) == 3
    assert [caption for _, caption in data] == ["a réd square", "a blue square", ""]
    for image, _ in data:
        assert image.shape == (4, 4, 3)
        assert image.dtype == np.uint8
    assert (data[0][0] == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["gif", "tif", "tiff", "bmp"])
def test_every_kind_of_picture_that_has_a_caption_counts(tmp_path, kind):
    put(tmp_path, f"a.{kind}", "red", caption="red")
    ((image, caption),) = Folder(tmp_path, 4)
    assert ((image == (255, 0, 0)).all(), caption) == (True, "red")


def test_the_contents_are_names_and_captions_wherever_the_folder_lies(tmp_path):
    for name in ("one", "two"):
        put(tmp_path, f"{name}/b.png", caption="a blue square")
        put(tmp_path, f"{name}/sub/a.png", caption="red: all of it")
    one, two = (Folder(tmp_path / name, 4).contents() for name in ("one", "two"))
    assert one == two == ["b.png: a blue square", "sub/a.png: red: all of it"]
    assert Scenes(5, 16).contents() == Scenes(5, 16).contents() != Scenes(6, 16).contents()


def test_captions_in_a_listing(tmp_path):
    put(tmp_path, "one.png", "red", caption="not this")
    put(tmp_path, "train/two.png", "blue")
    put(tmp_path, "unlisted.png")
    rows = (
        {"file_name": "one.png", "text": "one", "more": 1},
        "",
        {"file_name": "train/two.png", "text": "two"},
    )
    listing(tmp_path, *rows)
    data = Folder(str(tmp_path), 4)
    assert [caption for _, caption in data] == ["one", "two"]
    assert (data[1][0] == (0, 0, 255)).all()


@pytest.mark.parametrize("size", [(60, 20), (20, 60)])
def test_the_middle_square_is_kept(tmp_path, size):
    image = Image.new("RGB", size, "red")
    image.paste(Image.new("RGB", (20, 20), "blue"), ((size[0] - 20) // 2, (size[1] - 20) // 2))
    image.save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("blue")
    assert (
        np.abs(Folder(tmp_path, 10)[0][0] - np.array([0, 0, 255])).max() < 20
    )  # the filter sees over the edge


def test_small_pictures_grow(tmp_path):
    put(tmp_path, "a.png", "red", size=(3, 2), caption="red")
    image, _ = Folder(tmp_path, 16)[0]
    assert image.shape == (16, 16, 3)
    assert (image == (255, 0, 0)).all()


def test_a_picture_without_a_caption_is_named(tmp_path):
    put(tmp_path, "a.png", caption="a")
    put(tmp_path, "b.png")
    with pytest.raises(ValueError, match=r"b\.png' has no caption: write it into 'b\.txt'"):
        Folder(tmp_path, 4)


def test_a_folder_that_is_not_there_or_empty_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no folder '.*nowhere'"):
        Folder(tmp_path / "nowhere", 4)
    with pytest.raises(ValueError, match=r"no pictures \(\.png, .*\) in"):
        Folder(tmp_path, 4)
    listing(tmp_path)
    with pytest.raises(ValueError, match="no pictures"):
        Folder(tmp_path, 4)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{broken", r"metadata\.jsonl', line 2 must be .* not \{broken"),
        ({"file_name": "a.png"}, 'line 2 must be {"file_name": ..., "text": ...}'),
        (["a.png", "text"], "line 2 must be"),
        (
            {"file_name": "a.png", "text": ["x"]},
            "line 2: file_name and text must be strings, not str and list",
        ),
        ({"file_name": "gone.png", "text": "x"}, r"line 2: there is no picture '.*gone\.png'"),
    ],
)
def test_a_bad_line_of_a_listing_is_named(tmp_path, row, message):
    put(tmp_path, "a.png")
    listing(tmp_path, {"file_name": "a.png", "text": "fine"}, row)
    with pytest.raises(ValueError, match=message):
        Folder(tmp_path, 4)


def test_files_that_cannot_be_read_are_named(tmp_path):
    put(tmp_path, "a.png", caption="fine").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"a\.png"):
        Folder(tmp_path, 4)[0]
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a\.txt' is not text in UTF-8"):
        Folder(tmp_path, 4)


def test_files_with_a_caption_that_are_no_pictures_are_told(tmp_path):
    put(tmp_path, "a.png", caption="fine")
    (tmp_path / "a.json").write_text("{}")  # beside a picture
    for name in ("c.heic", "b.jxl"):
        (tmp_path / name).write_bytes(b"0")
        (tmp_path / name).with_suffix(".txt").write_text("left out")
    with pytest.warns(UserWarning, match=r"^2 files with a caption.*first '.*b\.jxl'$") as told:
        data = Folder(tmp_path, 4)
    assert (len(told), len(data)) == (1, 1)


def test_a_folder_called_as_a_picture_is_none(tmp_path):
    put(tmp_path, "a.png", caption="fine")
    (tmp_path / "b.png").mkdir()
    assert len(Folder(tmp_path, 4)) == 1


def test_of_a_huge_caption_as_much_is_kept_as_an_encoder_reads(tmp_path):
    put(tmp_path, "a.png", caption="cat " * 100_000)
    assert Folder(tmp_path, 4)[0][1] == ("cat " * 100_000)[:CAPTION]
    (tmp_path / "a.txt").write_text("x" * 1_000_001)
    with pytest.raises(ValueError, match=r"a\.txt' is larger than captions are"):
        Folder(tmp_path, 4)


def test_a_message_shows_the_end_of_a_long_name_and_no_control_characters(tmp_path):
    folder = tmp_path / ("n" * 200) / "\x1b[2J"
    put(folder, "a.png")
    with pytest.raises(ValueError, match=r"^'\.\.\.n+/\\x1b\[2J/a\.png' has no caption"):
        Folder(folder, 4)
