"""Folders to train on, as people bring them: each is read right, or one line says what is wrong."""

import io
import json
import random
import shutil
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from helpers import TIMES
from ldm.clip.tokenizer import Tokenizer
from ldm.training.data import CAPTION, Folder
from ldm.training.run import warn_of_cut

CASES = 200
KINDS = ("png", "jpg", "webp", "bmp", "gif", "tiff", "avif")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "F", "CMYK")
NAMES = (
    "plain", "with blank", "dots.in.it", "ä ö", "目录", "a'b\"c", "tab\there", "line\nend", "-flag",
    "\x1b[2J", "%s{0}", "n" * 200, "\udcff\udcfe", "\u202egnp", "sub/deeper/x", "..x", "UPPER", " ",
)  # fmt: skip
TEXTS = (
    "a red cat", "", "  two\nlines ", "\ufeffbom", "x" * 50_000, "cat " * 20_000, "\x00\x1b[0m",
    "目录 😀", "{a|b} (c:1.3)", "&amp; <|endoftext|>", " " * 50_000 + "late", "a\u2028b", "'\"\\",
)  # fmt: skip
BYTES = (b"\xff\xfea\x00", b"\xe4\xf6", b"\x80" * 100, b"a\xed\xa0\x80", b"\x00" * 2_000_000)
LINES = (
    "{", "[]", "null", "[" * 100_000, '{"file_name": 3, "text": "x"}', '{"file_name": "x.png"}',
    '{"file_name": "\\u0000", "text": ""}', '{"file_name": "\\ud800", "text": ""}', "9" * 5000,
    '{"file_name": "%s", "text": ""}' % ("n" * 5000), '{"file_name": "", "text": ""}',
    "\x1b]0;x\x07",
    '{"file_name": "/dev/null", "text": "x"}', '{"file_name": "../..", "text": "x"}', "NaN",
)  # fmt: skip


def picture(rng):
    """The bytes of a picture of some kind, whole."""
    size = rng.choice([(1, 1), (8, 8), (16, 9), (3, 40), (200, 1)])
    kind, mode = rng.choice(KINDS), rng.choice(MODES)
    image, file = Image.new(mode, size, None), io.BytesIO()
    try:
        image.save(file, {"jpg": "jpeg"}.get(kind, kind))
    except (OSError, KeyError, ValueError):  # a kind that has no such mode, or is not built in
        kind, file = "png", io.BytesIO()
        image.convert("RGB").save(file, kind)
    return kind, file.getvalue()


def damaged(rng, data):
    """The bytes with something wrong; as often as not a reader does not mind."""
    where = rng.randrange(len(data))
    return rng.choice(
        [
            lambda: data[:where],
            lambda: data[:where] + rng.randbytes(4) + data[where + 4 :],
            lambda: bytes(255 - byte if rng.random() < 0.05 else byte for byte in data),
            lambda: data[:8] + b"\xff" * (len(data) - 8),
            lambda: data + rng.randbytes(100),
            lambda: b"",
            lambda: b"<html>\x1b[2J</html>",
            lambda: rng.randbytes(200),
        ]
    )()


def fill(folder, rng):
    """Puts some pictures into a folder, and captions. -> whether all is as it should be"""
    right, rows = True, []
    for _ in range(rng.randint(1, 4)):
        kind, data = picture(rng)
        if rng.random() < 0.2:
            data, right = damaged(rng, data), False
        path = folder / f"{rng.choice(NAMES)}.{rng.choice([kind, kind, kind.upper(), 'heic'])}"
        right = right and path.suffix != ".heic" and not path.name.startswith(".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if rng.random() < 0.03:
            (folder / "folder.png").mkdir(exist_ok=True)
        path.write_bytes(data)
        text = rng.choice(TEXTS)
        rows.append(json.dumps({"file_name": str(path.relative_to(folder)), "text": text}))
        match rng.random():
            case chance if chance < 0.05:
                right = False
            case chance if chance < 0.12:
                path.with_suffix(".txt").write_bytes(rng.choice(BYTES))
                right = False
            case _:
                path.with_suffix(".txt").write_bytes(text.encode())
    if rng.random() < 0.3:
        if rng.random() < 0.6:
            rows.insert(rng.randrange(len(rows) + 1), rng.choice(LINES))
            right = False
        data = "\n".join(rows).encode()
        (folder / "metadata.jsonl").write_bytes(data if rng.random() < 0.8 else damaged(rng, data))
        right = False
    return right


def read(folder):
    """Everything that a training reads of a folder, and the warnings on the way."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = Folder(folder, 8)
        examples = [data[i] for i in range(len(data))]
        captions = [caption for _, caption in examples]
        warn_of_cut(Tokenizer([("c", "a")], 12), captions, data)
    for image, caption in examples:
        assert (image.shape, image.dtype) == ((8, 8, 3), np.uint8)
        assert len(caption) <= CAPTION
        caption.encode()
    assert len(data.contents()) == len(examples) > 0
    json.dumps(data.contents())
    return [str(warning.message) for warning in told if warning.category is UserWarning]


def test_a_folder_is_read_or_refused_in_one_line(door, tmp_path):
    for case in range(CASES * TIMES):
        rng, folder = random.Random(case), tmp_path / str(case)
        folder.mkdir()
        right = fill(folder, rng)
        lines = door.ends(read, folder)
        assert lines is not None or not right, f"case {case}"
        for line in lines or ():
            assert len(line) <= 500, f"case {case}: {len(line)} characters"
            assert line.isprintable(), f"case {case}: {line!r}"
        shutil.rmtree(folder)
    assert min(door.read, door.refused) > CASES / 5, "both must happen"


@pytest.mark.parametrize("text", ["x" * 900_000, "0" * 900_000, "x " * 450_000, "é" * 400_000])
def test_the_longest_captions_are_read_in_time(tmp_path, text):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(text, "utf-8")
    began = time.monotonic()
    (line,) = read(tmp_path)
    assert "1 of 1 captions have more than 10 tokens and are cut there" in line
    assert time.monotonic() - began < 4
