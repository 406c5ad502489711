"""Ctrl-C: whenever it comes, the command ends with one line and status 130."""

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from ldm.cli import main

ROOT = Path(__file__).parent.parent
LINE = "txt2img --prompt x --n_iter 1 --n_samples 1 --skip_grid --outdir out".split()
SLOW = """
import ctypes, sys, time
from importlib import import_module
drawing, tests = import_module("ldm.cli.draw"), {tests!r}
sys.path.insert(0, tests)
from helpers import build_tiny
from ldm.cli import main
mutex = ctypes.create_string_buffer(256)  # of zeros: an open lock
model, block = build_tiny(), {block}
forward = model.unet.forward
def slow(*inputs):
    print("a layer", file=sys.stderr, flush=True)
    block()
    return forward(*inputs)
model.unet.forward = slow
drawing.load = lambda *arguments: model
sys.exit(main())
"""
# a call that returns to Python only when it is done, as a kernel of torch's does
DEAF = "lambda: [ctypes.CDLL(None).pthread_mutex_lock(mutex) for _ in range(2)]"
BRIEF = "lambda: time.sleep(0.2)"


def started(program, tmp_path, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *program, *arguments], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def drawing(block, tmp_path, before=""):
    """A command in the middle of a layer. before: code that goes first"""
    code = before + SLOW.format(tests=str(ROOT / "tests"), block=block)
    process = started(["-c", code], tmp_path, *LINE)
    while "a layer" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.1)
    return process


@pytest.mark.parametrize("program", [["-m", "ldm"], [str(ROOT / "scripts/txt2img.py")]])
def test_while_torch_is_loaded(tmp_path, program):
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))}
    line = [sys.executable, *program, "--prompt", "x"]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "ldm: interrupted\n")


def test_while_it_draws_the_next_layer_is_not_begun(tmp_path):
    process = drawing(BRIEF, tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "ldm txt2img: error: interrupted: what was saved before is kept\n"


def test_in_a_layer_of_minutes_it_is_answered_and_the_second_ends_it(tmp_path):
    process = drawing(DEAF, tmp_path)
    process.send_signal(signal.SIGINT)
    said = "ldm: interrupted; this ends when the layer that is being computed is done, and at once "
    assert process.stderr.readline() == f"{said}if you press Ctrl-C again\n"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert (process.returncode, errors) == (130, "ldm: interrupted at once\n")
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_it_stays_behind_a_command(run):
    usual = signal.getsignal(signal.SIGINT)
    assert run("txt2img --prompt x --n_iter 1 --n_samples 1 --steps 1 --outdir out")[0] == 0
    assert signal.getsignal(signal.SIGINT) is usual
    assert signal.set_wakeup_fd(-1) == -1


def test_pressed_again_and_again_it_ends_with_one_line(tmp_path):
    """Also while Python exits behind the command, which is slow here, and runs what tidies up."""
    late = "import atexit\natexit.register(lambda: [time.sleep(0.1) for _ in range(10)])\n"
    process = drawing(BRIEF, tmp_path, late)
    process.send_signal(signal.SIGINT)
    said = "ldm txt2img: error: interrupted: what was saved before is kept\n"
    assert process.stderr.readline() == said
    for _ in range(3):
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")


@pytest.mark.parametrize(("block", "times"), [(BRIEF, 1), (DEAF, 2)])
def test_of_several_processes_the_first_speaks(tmp_path, block, times):
    second = f"lambda: (os.environ.update(RANK='1'), ({block})())"  # as torchrun starts it
    process = drawing(second, tmp_path, "import os\n")
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1 if times == 1 else 1.5)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")


def test_a_notebook_can_be_interrupted_again(monkeypatch):
    """The command is not the program there, and leaves its signals as they were."""
    usual = signal.getsignal(signal.SIGINT)
    drawing = import_module("ldm.cli.draw")
    monkeypatch.setattr(drawing, "load", lambda *_: signal.raise_signal(signal.SIGINT))
    assert main(["txt2img", "--prompt", "x"]) == 130
    assert signal.getsignal(signal.SIGINT) is usual
