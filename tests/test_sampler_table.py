"""The page of samplers is what its script measures now."""

import importlib.util
import re
from pathlib import Path

import pytest

from ldm.samplers import SAMPLERS, SCHEDULES

SCRIPT = Path(__file__).parent.parent / "scripts/sampler_table.py"
NUMBER = re.compile(r"(?<= )\d+\.\d+(?:e[-+]\d+)?(?= )")


def load_script():
    spec = importlib.util.spec_from_file_location("sampler_table", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_true():
    script = load_script()
    written, measured = script.README.read_text(encoding="utf-8"), script.page()
    assert NUMBER.sub("#", written) == NUMBER.sub("#", measured), f"run python {SCRIPT}"
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (written, measured)]
    assert len(numbers[0]) > len(SAMPLERS) * (len(SCHEDULES) - 2)
    assert numbers[0] == pytest.approx(
        numbers[1], rel=0.1, abs=1e-6
    )  # rounding to two digits, and another machine's
