"""What imports cost: `import ldm` beside `import torch`, in memory; and what takes time there and
in a first picture, counted, for time depends on what else the machine does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


def peak(module: str) -> int:
    """The most memory that Python takes to import a module, in bytes. It is asked of that process
    itself: getrusage would tell of this one, where this is the larger."""
    code = f"import {module}\nfor line in open('/proc/self/status'): print(line, end='')"
    folder = Path(__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    return int(re.search(r"VmHWM:\s*(\d+) kB", run.stdout)[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_at_most_30_megabytes():
    assert peak("ldm") - peak("torch") <= 30 * 2**20


def told_by(code: str) -> list[str]:
    folder = Path(__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    return run.stdout.split()


def test_what_the_command_imports_is_not_searched_for_garbage():
    code = """import gc
before = gc.get_stats()[2]["collections"]
import ldm.cli
print(gc.get_stats()[2]["collections"] - before, gc.isenabled(), gc.get_freeze_count() > 10000)
gc.disable()
from ldm.cli.importing import kept
with kept(): pass
print(gc.isenabled())"""
    assert told_by(code) == ["0", "True", "True", "False"]


def test_a_first_picture_imports_little_beside_torch(tmp_path):
    """Not what torch has for many machines (DTensor), for symbols, for its compiler or for tests;
    nor what repairs texts, where there is nothing to repair."""
    line = ["txt2img", "--prompt", "a red circle", "--steps", "2", "--n_iter", "1", "--n_samples"]
    code = f"""import torch, sys
before = set(sys.modules)
import ldm.cli
ldm.cli.main({[*line, "1", "--device", "cpu", "--outdir", str(tmp_path)]})
print(*sorted({{name for name in set(sys.modules) - before}}))"""
    found = set(told_by(code))
    assert {"ldm.pipeline.run", "PIL.Image"} <= found
    assert not [name for name in found if name.split(".")[0] in ("sympy", "ftfy", "torchgen")]
    assert sum(name.startswith("torch.") for name in found) < 10
