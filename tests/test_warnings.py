"""A warning points to the line of the program that called the library."""

import warnings
from pathlib import Path

import pytest
from PIL import Image

import ldm
from helpers import random_picture
from ldm.images.save import save_image
from ldm.pipeline.job import resolve

PACKAGE = Path(ldm.__file__).parent
PICTURE = random_picture(16, 16)
MASK = Image.new("L", (8, 8), "white")


def a_mask(model):
    return model.inpaint("a cat", PICTURE, MASK)  # of another size


def a_word(model):
    return model.txt2img("a dog")


def in_a_generator(model):
    for _ in model.steps(ldm.Request("a dog")):
        pass


def a_lora(model):
    return resolve(ldm.Request("a cat <lora:fur:1>"), model.family)


def a_brace(model):
    return model.txt2img("a {0.9::cat|a}")


def a_text(model):
    return save_image("x.jpg", PICTURE, {"parameters": "x" * 70000})


@pytest.mark.parametrize("act", [a_mask, a_word, in_a_generator, a_lora, a_brace, a_text])
def test_a_warning_points_to_the_line_that_called(tiny, tmp_path, monkeypatch, act):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        act(tiny)
    code = act.__code__
    first, last = code.co_firstlineno, max(line for *_, line in code.co_lines() if line)
    assert told
    assert {one.filename for one in told} == {__file__}
    assert all(first < one.lineno <= last for one in told)


def test_nothing_in_the_package_warns_otherwise():
    files = (path for path in PACKAGE.rglob("*.py") if path.name != "warn.py")
    assert not [path for path in files if "warnings.warn(" in path.read_text(encoding="utf-8")]
