"""What pictures take of a GPU's memory where --vram holds it down, in processes of their own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .measuring import Row

TARGETS = (("sd1", 512, 2.8), ("sd1", 1024, 6.0), ("sdxl", 1024, 8.0))  # family, pixels, GB
PEAK = re.compile(r"at most ([0-9.]+) GB")  # the command's last line


def held_down(
    file: Path, name: str, size: int, gigabytes: float, device: str, steps: int = 4
) -> Iterator[Row]:
    """One picture of a model's file within so much memory; beside the wish what it took."""
    command = f"-m ldm txt2img --prompt x --n_iter 1 --n_samples 1 --steps {steps} --seed 1".split()
    command += ["--W", str(size), "--H", str(size), "--device", device, "--ckpt", str(file)]
    command += ["--vram", str(gigabytes), "--outdir", str(file.parent / "drawn")]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    found = PEAK.findall(done.stdout)
    if done.returncode or not found:
        print(f"{name} in {gigabytes} GB: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return
    yield Row(f"{name} {size} vram", "GB", {"ldm": float(found[-1]), "asked": gigabytes})
