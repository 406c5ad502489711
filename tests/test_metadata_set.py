"""The texts and graphs that programs keep in the files of pictures: for each of data/metadata, what
must be read of it, and what is told to be lost.

    NAME.txt       what stands under `parameters`
    NAME.json      a graph, under `prompt`; under `workflow`, if it is named so
    NAME.texts     all the texts of a file, by key

data/metadata.json has for each the fields of the request that are not at their defaults, and the
messages; or the one line that refuses it. Each is put into a file of every kind that can hold it,
or of those that it names.
"""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.images.exif import EXIF_IFD, MAKE, USER_COMMENT
from ldm.metadata import read_metadata
from ldm.request import Request

FOLDER = Path(__file__).parent / "data/metadata"
CASES = json.loads(FOLDER.with_suffix(".json").read_text(encoding="utf-8"))


def texts(name):
    text = (FOLDER / name).read_bytes().decode("utf-8")  # with the ends of lines as they stand
    if name.endswith(".texts"):
        return json.loads(text)
    if name.endswith(".txt"):
        return {"parameters": text}
    return {"workflow" if "workflow" in name else "prompt": text}


def saved(path, named, size):
    """A grey picture with these texts, as the programs write them into files of this kind."""
    image = Image.new("L", size)
    if path.suffix == ".png":
        info = PngInfo()
        for key, value in named.items():
            if key == "UserComment" or (key, value[:1]) == ("Prompt", "{"):
                return None  # these are EXIF's
            unlike = path.name.startswith("utf-8")  # UTF-8, where Latin-1 should stand
            info.add(b"tEXt", f"{key}\0{value}".encode()) if unlike else info.add_text(key, value)
        image.save(path, pnginfo=info)
        return path
    exif = Image.Exif()
    for i, (key, value) in enumerate(named.items()):
        if key in ("parameters", "UserComment"):
            exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + value.encode("utf-16-be")
        elif key.lower() in ("prompt", "workflow", "ldm") and value.startswith("{"):
            exif[MAKE - i] = f"{key}: {value}"
        else:
            return None
    image.save(path, exif=exif)
    return path


def found(path):
    """What is read of a file, as the table has it."""
    try:
        metadata = read_metadata(path)
    except ValueError as error:
        return {"refused": str(error).replace(repr(str(path)), "FILE")}
    defaults = asdict(Request())
    said = asdict(metadata.request)
    said = {name: value for name, value in said.items() if value != defaults[name]}
    return {
        "program": metadata.program,
        "model": metadata.model,
        "request": json.loads(json.dumps(said)),
        "unsupported": dict(metadata.unsupported),
    }


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_and_what_is_told(name, tmp_path):
    expected, size = dict(CASES[name]), (64, 64)
    size = tuple(expected.pop("pixels", size))
    read = 0
    for suffix in expected.pop("files", ["png", "jpg", "webp"]):
        path = saved(tmp_path / f"{Path(name).stem}.{suffix}", texts(name), size)
        if path is not None:
            read += 1
            assert found(path) == expected, suffix
    assert read > 0


def test_every_file_is_in_the_table_and_there_are_enough():
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(CASES)
    assert len(CASES) >= 40


def test_what_is_refused_is_one_short_line():
    refused = [case["refused"] for case in CASES.values() if "refused" in case]
    assert len(refused) >= 15
    assert all(line.isprintable() and len(line) < 250 for line in refused)
