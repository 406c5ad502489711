"""SDXL at its full size, on random weights: how much memory loading takes, and one guided step.

It writes a file of 7 GB, and is run where LDM_FULL_SIZE says in which folder; else it is left out:

    LDM_FULL_SIZE=/tmp pytest -s tests/test_full_size.py
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from manifests import MANIFESTS

FOLDER = os.environ.get("LDM_FULL_SIZE")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="LDM_FULL_SIZE names no folder")


def write(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A .safetensors file of float16, written from one block of normals, so that no memory is
    needed. Weights keep the size of what goes through them."""
    sizes = {name: 2 * math.prod(shape) for name, shape in shapes.items()}
    ends = np.cumsum([*sizes.values()]).tolist()
    header = {
        name: {"dtype": "F16", "shape": shape, "data_offsets": [end - sizes[name], end]}
        for (name, shape), end in zip(shapes.items(), ends)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = np.random.default_rng(0).standard_normal(2**20, dtype=np.float32)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.02
            norm = len(shape) == 1 and name.endswith("weight")  # no other weight is a vector
            values = np.float16(norm + scale * block).tobytes()
            whole, rest = divmod(sizes[name], len(values))
            for _ in range(whole):
                file.write(values)
            file.write(values[:rest])


CODE = """
import sys, time
import torch, ldm
from ldm.runtime.device import peak_memory
from ldm.request import Request

def peak():
    return peak_memory(torch.device("cpu")) / 2**30

before, start = peak(), time.perf_counter()
model = ldm.load(sys.argv[1], "cpu", torch.float16)
loaded, seconds = peak() - before, time.perf_counter() - start
print(f"load {seconds:.1f} s, {loaded:.2f} GiB beyond torch's {before:.2f}", flush=True)
print("loaded", loaded)
model.to(dtype=getattr(torch, sys.argv[2]))
torch.set_num_threads(2)
start = time.perf_counter()
request = Request("a lighthouse", negative="fog", width=512, height=512, steps=1)
(step,) = model.steps(request)
print(f"a guided step in {sys.argv[2]}: {time.perf_counter() - start:.1f} s, peak {peak():.2f} GiB")
print("finite", bool(step.x.isfinite().all()), tuple(step.x.shape), float(step.x.std()))
"""


def test_sdxl():
    manifest = MANIFESTS["sdxl-base"]
    shapes = {name: tuple(shape) for name, (shape, _) in manifest.items()}
    path = Path(FOLDER) / "sdxl-random.safetensors"
    try:
        write(path, shapes)
        size = path.stat().st_size / 2**30
        command = [sys.executable, "-c", CODE, str(path), os.environ.get("LDM_DTYPE", "bfloat16")]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        path.unlink(missing_ok=True)
    print(f"a file of {size:.2f} GiB\n{out}")
    loaded = float(next(line for line in out.splitlines() if line.startswith("loaded")).split()[1])
    assert loaded <= 1.1 * size
    assert "finite True (1, 4, 64, 64)" in out
