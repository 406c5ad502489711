import numpy as np
import pytest
from PIL import Image

from ldm.images.sheets import labelled_grid, save_gif

COLOURS = ["red", "lime", "blue", "yellow", "cyan", "magenta"]


def plain(colour, size=(40, 30)):
    return Image.new("RGB", size, colour)


def coloured(sheet, colour):
    """The box (left, top, right, bottom) of the pixels of just this colour."""
    rows, columns = np.nonzero(
        (np.asarray(sheet) == np.asarray(plain(colour, (1, 1)))[0, 0]).all(-1)
    )
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_cells_stand_in_rows_and_columns():
    sheet = labelled_grid([plain(colour) for colour in COLOURS], ["a", "b", "c"], ["one", "two"])
    boxes = [coloured(sheet, colour) for colour in COLOURS]
    assert all((right - left, bottom - top) == (40, 30) for left, top, right, bottom in boxes)
    lefts, tops = [box[0] for box in boxes], [box[1] for box in boxes]
    assert lefts[:3] == lefts[3:] == sorted(lefts[:3])
    assert len(set(lefts)) == 3
    assert tops[:3] == [tops[0]] * 3
    assert tops[3:] == [tops[3]] * 3
    assert tops[3] >= tops[0] + 30


def test_labels_stand_above_their_column_and_before_their_row():
    def ink(columns, rows):
        sheet = labelled_grid([plain("red")] * 4, columns, rows)
        dark = (np.asarray(sheet) < 128).all(-1)
        left, top, _, _ = coloured(sheet, "red")
        return (
            dark[:top, left : left + 40].any(),
            dark[:top, left + 44 :].any(),
            dark[top:, :left].any(),
        )

    assert ink(["x", ""], ["", ""]) == (True, False, False)
    assert ink(["", "x"], ["", ""]) == (False, True, False)
    assert ink(["", ""], ["", "x"]) == (False, False, True)


def test_no_label_runs_into_the_next():
    sheet = labelled_grid(
        [plain("red"), plain("blue")], ["a label of many words, all of them short", ""]
    )
    left, top, _, _ = coloured(sheet, "blue")
    assert top > 40  # it was broken into lines
    assert (np.asarray(sheet)[:top, left:] == 255).all()


def test_pictures_of_other_sizes_have_room():
    sheet = labelled_grid([plain("red", (20, 50)), plain("blue", (60, 10))], ["a", "b"])
    assert coloured(sheet, "red")[2] <= coloured(sheet, "blue")[0]
    assert coloured(sheet, "blue")[2] <= sheet.width


def test_a_grid_must_be_full():
    with pytest.raises(ValueError, match="3 pictures do not fill 2 columns and 2 rows"):
        labelled_grid([plain("red")] * 3, ["a", "b"], ["c", "d"])


def test_gif(tmp_path):
    path = tmp_path / "a.gif"
    save_gif(path, [plain(colour) for colour in COLOURS], seconds=0.05, last=1)
    assert [file.name for file in tmp_path.iterdir()] == ["a.gif"]
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["loop"], gif.size) == (6, 0, (40, 30))
        durations = []
        for i, colour in enumerate(COLOURS):
            gif.seek(i)
            durations.append(gif.info["duration"])
            assert gif.convert("RGB").getpixel((5, 5)) == plain(colour).getpixel((0, 0))
    assert durations == [50] * 5 + [1000]


def test_frames_of_other_sizes_are_brought_to_the_last_ones(tmp_path):
    save_gif(tmp_path / "a.gif", [plain("red", (10, 10)), plain("blue", (30, 20))])
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.size, gif.n_frames) == ((30, 20), 2)
        assert gif.convert("RGB").getpixel((29, 19)) == plain("red").getpixel((0, 0))
