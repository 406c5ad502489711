"""What type checkers and editors know of the options is what there is."""

import re
import subprocess
import sys
from typing import get_type_hints

import pytest

from ldm.request import GROUPS, Request
from ldm.request.typed import ByFlags, InpaintOptions, Options
from ldm.runtime.options import names_of

GIVEN = {"prompt", "image", "mask"}  # by themselves
ANYTHING = {"refiner", "control_image"}  # a model, PIL's pictures


def annotations():
    """Of all fields, as they stand in the source; a tuple may also be a list."""
    found = {name: text for group in GROUPS for name, text in group.__annotations__.items()}
    listed = {n: re.sub(r"tuple\[(\w+), [^]]*]", r"Sequence[\1]", x) for n, x in found.items()}
    return {name: "Any" if name in ANYTHING else text for name, text in listed.items()}


def told(cls):
    return {n: re.sub(r"(collections\.abc|typing)\.", "", x) for n, x in texts(cls).items()}


def texts(cls):
    hints = get_type_hints(cls)
    return {n: x.__name__ if isinstance(x, type) else str(x) for n, x in hints.items()}


def test_every_option_has_the_type_of_its_field():
    wanted = annotations()
    names = {name: field for name, field in names_of(Request).items() if field not in GIVEN}
    assert told(InpaintOptions) == {name: wanted[field] for name, field in names.items()}
    assert InpaintOptions.__annotations__.keys() - Options.__annotations__.keys() == {"strength"}
    assert [*get_type_hints(ByFlags)] == [name for name, field in names.items() if name != field]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ('"a cat", stepz=3', "stepz"),
        ('"a cat", steps="many"', "steps"),
        ('"a cat", steps=3, cfg_scale=2.0, seed=1, control=["a", "b"]', None),
    ],
)
def test_a_type_checker_finds_what_is_misspelt(call, told, tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "x.py").write_text(f"import ldm\n\nldm.load().txt2img({call})\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "x.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == (told is None), done.stdout
    assert told is None or told in done.stdout
