"""How much memory drawing takes on a CPU, beside what `--ram` predicts: a table.

    python scripts/memory_table.py --out ldm/pipeline/memory.md
    python scripts/memory_table.py --only shapes64

Every setting is drawn in a process of its own, in one step of DDIM, which is guided, by a model of
random weights; the peak is what the system says of that process (its maximum resident set). The
weights of a family are written once, in float32, or in bfloat16 those of XL.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from benchmarking.computing import random_model

from ldm.models.families import FAMILIES
from ldm.models.weights import save
from ldm.runtime.files import replacing


class Setting(NamedTuple):
    """family "shapes64" is the built-in model; ram None: as much as it takes, in GB."""

    family: str
    dtype: str
    size: int
    batch: int
    ram: float | None = None


SETTINGS = (
    Setting("shapes64", "float32", 64, 1),
    Setting("shapes64", "float32", 64, 16),
    Setting("shapes64", "bfloat16", 128, 4),
    Setting("shapes64", "float32", 256, 4),
    Setting("shapes64", "float32", 512, 1),
    Setting("shapes64", "bfloat16", 768, 2),
    Setting("sd1", "bfloat16", 256, 1),
    Setting("sd1", "bfloat16", 512, 1),
    Setting("sd1", "bfloat16", 512, 1, 3.0),
    Setting("sd1", "float32", 256, 2),
    Setting("sd1", "float32", 512, 1),
    Setting("sd1", "bfloat16", 512, 2),
    Setting("sdxl", "bfloat16", 512, 1),
    Setting("sd1", "bfloat16", 768, 4),
)

CODE = """
import sys, warnings
warnings.simplefilter("ignore")
import ldm
from ldm.runtime.device import peak_memory
path, dtype, size, batch, ram = eval(sys.argv[1])
model = ldm.load(path, "cpu", dtype, ram=ram)
options = dict(steps=1, sampler="ddim", guidance_scale=5.0, width=size, height=size, count=batch)
model.txt2img("a lighthouse at dusk", batch=batch, **options)
plan, = model.memory.told
print(plan.bytes, peak_memory(model.device), plan.tile)
"""


def written(family: str, folder: Path) -> Path:
    """A file of random weights."""
    path = folder / f"{family}.safetensors"
    if not path.exists():
        dtype = torch.bfloat16 if family == "sdxl" else torch.float32
        save(path, random_model(FAMILIES[family], dtype), "compvis")
    return path


def measured(setting: Setting, folder: Path) -> tuple[float, float, int | None]:
    """Bytes that were predicted, bytes at the most, and the side of the VAE's tiles."""
    path = None
    if setting.family != "shapes64":  # in a process of its own: a child's peak begins with ours
        with get_context("spawn").Pool(1) as process:
            path = str(process.apply(written, (setting.family, folder)))
    given = path, setting.dtype, setting.size, setting.batch, setting.ram or 1000
    command = [sys.executable, "-c", CODE, repr(given)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    predicted, peak, tile = out.split()[-3:]
    return float(predicted), float(peak), None if tile == "None" else int(tile)


def row(setting: Setting, predicted: float, peak: float, tile: int | None) -> str:
    limit = "" if setting.ram is None else f"--ram {setting.ram:g}"
    decoded = "whole" if tile is None else f"tiles of {tile}"
    cells = setting.family, setting.dtype, setting.size, setting.batch, limit, decoded
    numbers = f"{predicted / 1e9:.2f}", f"{peak / 1e9:.2f}", f"{predicted / peak - 1:+.1%}"
    return "| " + " | ".join(map(str, (*cells, *numbers))) + " |"


PAGE = """# Memory: what is predicted, and what was measured

`--ram` of the commands that draw, and `ram=` of `ldm.load`, keep a run to so much memory, and say
beforehand how much it will be. This table was made by `python scripts/memory_table.py --out
ldm/pipeline/memory.md`: every setting in a process of its own, by random weights, in GB (10^9
bytes), on a CPU with torch {torch}. What `--vram` predicts of a GPU is computed in the same way,
and has not been measured.

| family | dtype | size | batch | asked for | VAE | predicted | measured | difference |
|---|---|---|---|---|---|---|---|---|
{rows}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="a page for the table (default: none)")
    parser.add_argument("--only", nargs="+", help="these families (default: all)")
    told = "for the files of weights, which stay there (default: a temporary one)"
    parser.add_argument("--folder", type=Path, help=told)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for setting in SETTINGS:
            if options.only is None or setting.family in options.only:
                began = time.perf_counter()
                rows.append(row(setting, *measured(setting, options.folder or Path(temporary))))
                print(rows[-1], f"{time.perf_counter() - began:.0f} s", flush=True)
                if options.out is not None:
                    with replacing(options.out) as new:
                        new.write_text(PAGE.format(rows="\n".join(rows), torch=torch.__version__))


if __name__ == "__main__":
    main()
