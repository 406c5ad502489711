"""What `import ldm` costs beside `import torch`. Only memory: time depends on what else the machine
does."""

import subprocess
import sys
from pathlib import Path


def peak(module: str) -> int:
    """The most memory that Python takes to import a module, in bytes."""
    code = f"import {module}; from resource import *; print(getrusage(RUSAGE_SELF).ru_maxrss)"
    folder = Path(__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    return int(run.stdout) * (1 if sys.platform == "darwin" else 1024)


def test_at_most_30_megabytes():
    assert peak("ldm") - peak("torch") <= 30 * 2**20
