"""Pictures much smaller than those of the training are drawn with a warning."""

import warnings

import pytest

from ldm.models.families import FAMILIES
from ldm.pipeline.job import resolve
from ldm.request import Request


def told(name, **options):
    """What is said of a size, by the model's family."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        resolve(Request("a cat", **options), FAMILIES[name])
    return [str(one.message) for one in found]


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [
        ("sd1", 256, 256),
        ("sd1", 512, 384),
        ("sd1", 256, 1024),
        ("sd2-v", 512, 512),
        ("sdxl", 512, 512),
        ("sdxl", 768, 1024),
    ],
)
def test_a_small_size_is_told(name, width, height):
    (line,) = told(name, width=width, height=height)
    size = f"{width} x {height} pixels are drawn, of a model trained at {FAMILIES[name].size}"
    assert line.startswith(size)
    assert "give larger --W and --H" in line


SDXL_SIZES = [(640, 1536), (768, 1344), (832, 1216), (896, 1152), (1024, 1024)]


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [
        ("sd1", 512, 512),
        ("sd1", None, None),
        ("sd1", 448, 640),
        ("sd1", 384, 640),
        ("sd2-v", 768, 640),
        *(("sdxl", *size) for size in SDXL_SIZES),  # of its training
    ],
)
def test_sizes_like_those_of_the_training_are_not(name, width, height):
    assert told(name, width=width, height=height) == []


def test_tiles_count_and_the_second_pass_does_not():
    assert told("sd1", width=1024, height=1024, tile=512) == []
    assert told("sd1", width=1024, height=1024, tile=256)[0].startswith("256 x 256 pixels")
    assert told("sd1", width=256, height=256, hires=2)[0].startswith("256 x 256 pixels")


def test_the_command_says_it_once_in_a_line(run):
    code, _, error = run("txt2img --prompt cat --n_iter 2 --n_samples 2 --W 8 --H 8 --outdir o")
    assert code == 0
    assert error.count("8 x 8 pixels are drawn, of a model trained at 16; the result may lack") == 1
    code, _, error = run("txt2img --prompt cat --outdir o")
    assert (code, "are drawn" in error) == (0, False)
