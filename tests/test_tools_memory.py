"""How much memory it takes to merge and to convert: measured in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LARGE = """
import sys, torch
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, "tests")
from helpers import MERGES, TINY
from ldm.models.tools import convert, merge
from ldm.models.tools.planning import planned
from ldm.models.weights.saving import write
from ldm.models.family import parameter_shapes
from ldm.runtime.device import peak_memory

unet = replace(TINY.unet, channels=(160, 320, 320), depth=(0, 2, 2), res_blocks=2)
family = replace(TINY, unet=unet)
shapes = parameter_shapes(family)
def make(name):
    return torch.randn(shapes[name]).half()
folder, kind = Path(sys.argv[1]), sys.argv[2]
def paths(count):
    for name in "abc"[:count]:
        path = folder / f"{name}.safetensors"
        tensors = planned(family, "compvis", make, lambda _: torch.float16)
        write(path, family, tuple(MERGES), tensors, "compvis")
        yield path
given = list(paths(3 if kind == "ties" else 2))
torch.rand(2000, 500).kthvalue(3)
before = peak_memory(torch.device("cpu"))
out = folder / "out.safetensors"
if kind == "convert":
    convert(given[0], out, "ldm", torch.float32)
else:
    merge(given, out, kind)
print(peak_memory(torch.device("cpu")) - before, out.stat().st_size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
@pytest.mark.parametrize("kind", ["weighted", "ties", "convert"])
def test_memory_follows_the_largest_tensor_and_not_the_model(tmp_path, kind):
    """Measured in a process of its own, beyond what importing takes: far below 1.3 times the
    output. TIES has a dozen copies of the tensor that it is at."""
    ran = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path), kind], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    growth, size = map(int, ran.stdout.split())
    assert size > 40e6
    assert growth < (1 if kind == "ties" else 0.5) * size, (growth, size)
