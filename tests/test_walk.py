"""The way from a command to a convolution is short, and nothing on it is done twice."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ldm
from ldm.cli import main
from ldm.layers import Conv2d, ResBlock
from ldm.pipeline import model as model_module

PACKAGE = Path(ldm.__file__).parent


@pytest.fixture
def stack(tiny_file, tmp_path, monkeypatch):
    """The functions of ldm between `main` and the first convolution of a residual block, outermost
    first, in a plain run of the command."""
    found = []
    forward = Conv2d.forward

    def watched(self, x):
        frame, names = sys._getframe(1), []
        while frame is not None:
            if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
                names.append(frame.f_code.co_qualname)
            frame = frame.f_back
        if not found and names and names[0] == ResBlock.forward.__qualname__:
            found.extend([*names[::-1], Conv2d.forward.__qualname__])
        return forward(self, x)

    watched.__qualname__ = forward.__qualname__
    monkeypatch.setattr(Conv2d, "forward", watched)
    arguments = [
        "txt2img",
        "--prompt",
        "x",
        "--n_iter",
        "1",
        "--n_samples",
        "1",
        "--sampler",
        "euler",
        "--ckpt",
    ]
    assert main([*arguments, str(tiny_file), "--outdir", str(tmp_path)]) == 0
    return found


@pytest.mark.skipif(sys.version_info < (3, 11), reason="qualified names of frames")
def test_few_frames_between_main_and_a_convolution(stack):
    assert stack[0] == "main"
    assert len(stack) <= 12, stack
    assert len(stack) - 1 - stack.index("euler") <= 8, stack


def test_a_plain_picture_runs_through_few_files(tmp_path):
    """Counted are the files in which a function is called once everything has been imported."""
    code = """
import sys
from pathlib import Path
import ldm.cli
root, files = Path(ldm.__file__).parent, set()
def note(frame, event, argument):
    if event == "call" and frame.f_code.co_filename.startswith(str(root)):
        files.add(frame.f_code.co_filename)
sys.setprofile(note)
ldm.cli.main("txt2img --prompt x --n_iter 1 --n_samples 1 --steps 2 --outdir out".split())
sys.setprofile(None)
for file in sorted(files):
    print("file", len(Path(file).read_text().splitlines()), Path(file).relative_to(root))
"""
    environment = {"PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split() for line in out.splitlines() if line.startswith("file ")]
    assert 10 < len(lines) <= 35, out
    assert sum(int(count) for _, count, _ in lines) <= 4500, out


def test_a_request_is_resolved_once_and_a_file_opened_once(tiny_file, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name in ("in.png", "mask.png"):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    resolved, opened = [], []
    resolve, open_ = model_module.resolve, Image.open
    monkeypatch.setattr(
        model_module, "resolve", lambda *args, **kw: resolved.append(1) or resolve(*args, **kw)
    )
    monkeypatch.setattr(
        Image, "open", lambda path, *args: opened.append(Path(path).name) or open_(path, *args)
    )
    monkeypatch.chdir(tmp_path)
    arguments = [
        "inpaint",
        "--prompt",
        "x",
        "--image",
        "in.png",
        "--mask",
        "mask.png",
        "--n_samples",
        "2",
        "--ckpt",
    ]
    assert main([*arguments, str(tiny_file)]) == 0
    assert len(resolved) == 1
    assert sorted(opened) == ["in.png", "mask.png"]
