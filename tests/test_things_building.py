"""From drawings and their names to a collection, on drawings of a line each; nothing is fetched."""

import json
import subprocess

import numpy as np
import pytest

from ldm.training.things import packages
from ldm.training.things.building import DERIVED, ICONS, things, without_doubles
from ldm.training.things.collection import Entry
from ldm.training.things.faces import parts_of
from ldm.training.things.names import all_names, code_of, tidy
from ldm.training.things.rendering import CELLS, INK, fill, fitted, pixel_art, rendered, silhouette

BAR = '<rect x="2" y="6" width="12" height="4" fill="#ff0000"/>'


def picture(rows, columns, colour=(200, 100, 50)):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[rows, columns] = *colour, 255
    return pixels


def test_a_drawing_is_rendered_in_its_own_size():
    pytest.importorskip("resvg")
    root = 'xmlns="http://www.w3.org/2000/svg" width="32" height="32" viewBox="0 0 16 16"'
    svg = f"<svg {root}>{BAR}</svg>"
    pixels = rendered(svg)
    assert pixels.shape == (32, 32, 4)
    assert (pixels[12:20, 4:28] == (255, 0, 0, 255)).all()
    assert pixels[:, :, 3].sum() == 255 * 8 * 24


def test_what_is_no_drawing_is_refused():
    pytest.importorskip("resvg")
    with pytest.raises(ValueError, match="cannot be rendered"):
        rendered("<svg")


def test_what_is_visible_fills_the_square_and_keeps_its_aspect():
    square = fitted(picture(slice(10, 14), slice(5, 13)), 32)
    rows, columns = np.nonzero(square[:, :, 3] > 127)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 23, 0, 31)
    assert (square[rows, columns, :3] == (200, 100, 50)).all()
    with pytest.raises(ValueError, match="shows nothing"):
        fitted(np.zeros((8, 8, 4), np.uint8), 32)


def test_what_is_invisible_lends_no_colour():
    pixels = picture(slice(0, 64), slice(0, 37), (255, 255, 255))
    small = fitted(pixels, 16)
    assert (small[small[:, :, 3] > 0][:, :3] >= 250).all()


def test_pixel_art_is_of_flat_cells_and_as_light_as_it_was():
    for colour in ((255, 255, 255), (0, 0, 0), (200, 100, 50)):
        cells = pixel_art(picture(slice(3, 60), slice(7, 50), colour))
        side = 64 // CELLS
        assert np.array_equal(cells, cells[::side, ::side].repeat(side, 0).repeat(side, 1))
        assert set(np.unique(cells[:, :, 3])) == {0, 255}
        assert np.abs(cells[32, 32, :3].astype(int) - colour).max() <= 12


def test_a_silhouette_keeps_the_outline_alone():
    dark = silhouette(picture(slice(3, 60), slice(7, 50)))
    assert (dark[3:60, 7:50] == (*INK, 255)).all()
    assert dark[:, :, 3].sum() == 255 * 57 * 43
    assert fill(dark) == 1


def test_doubles_of_a_style_are_left_out():
    pixels = picture(slice(3, 60), slice(7, 50))
    entries = [Entry("a", "flat", "", ("a",)), Entry("b", "flat", "", ("b",))]
    entries.append(Entry("a", "3d", "", ("a",)))
    kept = [entry for entry, _ in without_doubles((entry, pixels) for entry in entries)]
    assert kept == [entries[0], entries[2]]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("grinning face", "grinning face"), ("woman: red hair", "woman with red hair"),
        ("person: beard", "person with a beard"), ("Mrs. Claus", "mrs claus"),
        ("cold (mitten)", "cold"), ("woman’s hat", "woman's hat"), ("T-Rex", "t rex"), ("电", None),
    ],
)  # fmt: skip
def test_a_name_is_written_as_people_write_it(label, name):
    assert tidy(label) == name


def test_a_code_has_no_mark_of_variation():
    assert code_of("2764-FE0F-200D-1F525") == "2764-200d-1f525"


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


@pytest.fixture
def modules(tmp_path):
    """Packages of two emoji, of which one is a sign."""
    data = tmp_path / "emojibase-data"
    kinds = {"groups": {"3": "animals-nature", "8": "symbols"}}
    write(
        data / "meta/groups.json", kinds | {"subgroups": {"38": "animal-marine", "86": "religion"}}
    )
    rows = [
        {"label": "octopus", "hexcode": "1F419", "group": 3, "subgroup": 38, "tags": ["ocean"]},
        {"label": "wheel", "hexcode": "2638", "group": 8, "subgroup": 86},
    ]
    write(data / "en/data.json", rows)
    write(data / "en-gb/data.json", rows)
    write(data / "zh/data.json", [{**rows[0], "label": "章鱼"}])
    write(data / "en/shortcodes/github.json", {"1F419": ["octopus", "kraken"]})
    write(data / "en/shortcodes/emojibase.json", {"1F419": "octopus2"})
    for name in ICONS.values():
        folder = tmp_path / "@iconify-json" / name
        write(
            folder / "icons.json", {"width": 16, "height": 16, "icons": {"octopus": {"body": BAR}}}
        )
        write(folder / "chars.json", {} if name == "fluent-emoji" else {"1f419": "octopus"})
    return tmp_path


def test_names_are_gathered_and_signs_left_out(modules):
    (name,) = all_names(modules / "emojibase-data")
    assert (name.code, name.group, name.english) == (
        "1f419",
        "animals-nature",
        ("octopus", "kraken"),
    )
    assert (name.tags, name.chinese, name.weight) == (("ocean",), ("章鱼",), 1.0)


def test_a_thing_is_drawn_in_every_style(modules):
    pytest.importorskip("resvg")
    drawn = {entry.style: pixels for entry, pixels in things(modules, 32)}
    assert drawn.keys() == ICONS.keys() | DERIVED.keys() - {"silhouette"}  # a bar is any bar
    for pixels in drawn.values():
        assert pixels.shape == (32, 32, 4)
        assert pixels[16, 16, 0] > 240


def test_the_parts_of_faces_have_words():
    extra = {"face": "smileBig", "head": "mohawk2", "accessories": "glasses3", "mask": None}
    assert parts_of("open-peeps", extra) == ("~smiling", "a mohawk", "glasses")
    extra = {"mouth": "sad03", "hair": "long12", "hairColor": "#28150a", "glasses": "dark02"}
    assert parts_of("pixel-art", extra) == ("~sad", "long black hair", "sunglasses")
    assert parts_of("lorelei", {"hair": "variant03", "mouth": "happy01"}) == ("~happy",)
    assert parts_of("notionists", {"hair": "hat", "beard": "variant02"}) == ("a hat", "a beard")


def test_a_failure_of_npm_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="npm, which fetches the packages, is not installed"):
        packages.fetch(tmp_path)
    monkeypatch.setattr(packages.shutil, "which", lambda name: name)
    failed = subprocess.CompletedProcess([], 1, "", "no\nnetwork")
    monkeypatch.setattr(packages.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ValueError, match=r"npm could not install .*no network"):
        packages.fetch(tmp_path)


def test_packages_that_are_there_are_not_fetched_again(tmp_path, monkeypatch):
    for name, version in packages.PACKAGES.items():
        write(tmp_path / "node_modules" / name / "package.json", {"version": version})
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    assert packages.fetch(tmp_path) == tmp_path / "node_modules"
