"""Every command of the README, in its order and in one empty folder, makes what it says."""

import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.cli import main
from ldm.models.weights import inspect
from readers_files import make_all

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
INPAINTED = "outputs/inpaint-samples/samples/00000.png"
OTHERS = (
    "pip install",
    "python scripts/",
    "torchrun --nproc-per-node 2 scripts/",
    "ldm txt2img --ckpt runs/",
)

SHORTENED = {  # trainings whose files later commands use
    "python scripts/build_shapes.py ": " --count 2",
    "python scripts/train.py --init built-in --data pictures/outlines ": " --set unet.steps=1",
    "python scripts/train.py --init built-in --data pictures/sun ": " --set unet.steps=1",
    "python scripts/train.py --init built-in --data pictures/anywhere ": " --set unet.steps=1",
}


def commands():
    """Each of the README's commands, as a shell reads them."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ +#.*\n", "", "".join(blocks).replace("\\\n", " "), flags=re.MULTILINE)
    whole = re.findall(r"^.*<< END\n[\s\S]*?^END$|^.+$", text, re.MULTILINE)
    return [line.removeprefix("pip install . && ") for line in whole]


def shortened(command):
    """The command, if it trains what later ones use with few pictures and one step, from here."""
    for begin, more in SHORTENED.items():
        if command.startswith(begin):
            script = command.partition("  #")[0].replace("scripts/", f"{ROOT}/scripts/", 1)
            return f"{script.rstrip()}{more}"
    return command


def carried_out(command, environment):
    """Run it: ours in this process, which has torch."""
    if command.startswith("ldm "):
        assert main(shlex.split(command, comments=True)[1:]) == 0, command
        return
    done = subprocess.run(["bash", "-ec", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """An empty folder, with the files that a reader of the README brings, small ones.
    The commands `python` and `torchrun` are those of this Python."""
    monkeypatch.chdir(tmp_path)
    make_all(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, module in (("python", ""), ("torchrun", "-m torch.distributed.run")):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (tools / name).chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "OMP_NUM_THREADS": "1"}


def test_every_command_works_as_written(shell, capsys):
    asked = [shortened(one) for one in commands()]
    assert sum(" --count 2" in one or "unet.steps=1" in one for one in asked) == 6
    asked = [one for one in asked if not one.startswith(OTHERS)]
    assert len(asked) > 20
    for command in asked:
        with warnings.catch_warnings():
            if "--ckpt" not in command:  # of whose model the words are its own
                warnings.filterwarnings("error", message="the model has not learnt")
            carried_out(command, shell)
    out = capsys.readouterr().out
    assert out.count("not opened unasked") == 0
    before, after = (np.asarray(Image.open(name)) for name in ("heart.png", INPAINTED))
    assert np.array_equal(before[:, :32], after[:, :32])  # black in the mask
    assert not np.array_equal(before, after)
    assert {path.name for path in Path("outputs").iterdir()} >= {
        "txt2img-samples", "img2img-samples", "inpaint-samples", "outpaint-samples",
        "upscale-samples", "depth2img-samples", "replayed",
    }  # fmt: skip
    assert Image.open("outputs/outpaint-samples/samples/00000.png").size == (96, 64)
    assert np.array_equal(Image.open("outputs/replayed/samples/00000.png"), before)
    assert np.array_equal(Image.open("outputs/replayed/samples/00001.png"), after)
    assert Image.open("outputs/enlarged/heart.png").size == (256, 256)
    for name in ("mine-inpainting", "small", "one-file", "ties", "furry"):
        assert re.search(r"loadable +yes", str(inspect(f"{name}.safetensors"))), name
    assert "900 float16" in str(inspect("mine-lora.safetensors"))
    drawn = [str(Image.open(path).text) for path in Path("outputs").rglob("samples/*.png")]
    for word in ('"lora": "lora:0.5"', '"control": "runs/anywhere/', "a sun above"):
        assert any(word in text for text in drawn), word
    for word in ("canny", "union", "t2i-adapter", "fur", "ink", "vae-ft", "taesd_decoder"):
        assert any(word in text for text in drawn), word
