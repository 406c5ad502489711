"""How long something takes, and how much memory; by turns with others, so that what else the
machine does hits all of them."""

import ctypes
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ldm.runtime.resident import resident

STATM = Path("/proc/self/statm")  # Linux says what `resident` asks


@dataclass
class Row:
    """What was measured of one task.

    values      of "ldm", "diffusers" and other peers, in the unit
    memory      the most that each of them took while it ran, beyond what was there, in GB
    difference  between the first two results, at most
    """

    name: str
    unit: str
    values: dict[str, float]
    memory: dict[str, float] = field(default_factory=dict)
    difference: float | None = None

    def lines(self) -> str:
        """As the table has it: ours, diffusers', the ratio, the difference, our memory and theirs;
        other peers below."""
        first, *others = list(self.values)[1:] or ["ldm"]
        ours = self.values["ldm"]
        line = f"{self.name:10}{ours:8.3f} {self.unit:4}"
        if first != "ldm":
            theirs = self.values[first]
            line += f"{theirs:8.3f} {self.unit:4}{ours / theirs:6.2f}"
        if self.difference is not None:
            line += f"{self.difference:12.1e}"
        line += "".join(f"{gb:8.2f} GB" for gb in self.memory.values())
        for peer in others:
            line += f"\n  {peer:20}{self.values[peer]:8.3f} {self.unit:4}"
            line += f"{ours / self.values[peer]:6.2f}"
        return line


def by_turns(runs: Sequence[Callable[[], Any]], repeats: int) -> np.ndarray[Any, Any]:
    """The medians of several measurements, each one or several numbers; a run before those that
    count does not. -> (runs, numbers)"""
    measured = [[run() for run in runs] for _ in range(1 + repeats)][1:]
    return np.median(np.reshape(measured, (repeats, len(runs), -1)), axis=0)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    finish()
    start = time.perf_counter()
    run()
    finish()
    return time.perf_counter() - start


def memory(run: Callable[[], object], device: torch.device) -> float | None:
    """The most memory that a run takes beyond what is there already, in GB: of the GPU, or of this
    process, looked at every few milliseconds. None: this system does not say."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e9
    if not STATM.exists():
        return None
    give_back()
    before, most, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        run()
        most[0] = max(most[0], resident())
    finally:
        done.set()
        watcher.join()
    return max(0, most[0] - before) / 1e9


def give_back() -> None:
    """What is free, but kept for later, goes back to the system: a run would else begin with it."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another libc
        return


def processor() -> str:
    """Its name, if the system says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def in_a_process(imports: str, code: str = "") -> tuple[float, float, float]:
    """Seconds that the imports take, seconds that the code takes, and the most memory in use, in
    GB."""
    script = f"""
import time
start = time.perf_counter()
{imports}
middle = time.perf_counter()
{code}
end = time.perf_counter()
import torch
from ldm.runtime.device import peak_memory
print(middle - start, end - middle, peak_memory(torch.device("cpu")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    imported, ran, peak = map(float, done.stdout.split()[-3:])
    return imported, ran, peak / 1e9
