"""What `import ldm` costs beside `import torch`. Only memory: time depends on what else the machine
does."""

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
