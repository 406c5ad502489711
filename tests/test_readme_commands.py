"""Every command of the README, in its order and in one empty folder, makes what it says."""

import os
import re
import shlex
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.cli import main
from ldm.models.weights import save
from tiny_families import SMALL, random_model

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FAMILIES = {  # of the files that a reader brings
    "v1-5-pruned-emaonly.safetensors": "sd1",
    "sd_xl_base_1.0.safetensors": "sdxl",
    "sd_xl_refiner_1.0.safetensors": "sdxl-refiner",
    "sd-v1-5-inpainting.ckpt": "sd1-inpainting",
    "512-depth-ema.ckpt": "sd2-depth",
    "x4-upscaler-ema.ckpt": "x4-upscaler",
    "instruct-pix2pix-00-22000.safetensors": "instruct-pix2pix",
}
INPAINTED = "outputs/inpaint-samples/samples/00000.png"
OTHERS = ("pip install", "python scripts/", "ldm txt2img --ckpt runs/")  # installing and training


def commands():
    """Each of the README's commands, as a shell reads them."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ +#.*\n", "", "".join(blocks).replace("\\\n", " "), flags=re.MULTILINE)
    whole = re.findall(r"^.*<< END\n[\s\S]*?^END$|^.+$", text, re.MULTILINE)
    return [line.removeprefix("pip install . && ") for line in whole]


def carried_out(command, environment):
    """Run it: ours in this process, which has torch."""
    if command.startswith("ldm "):
        assert main(shlex.split(command, comments=True)[1:]) == 0, command
        return
    done = subprocess.run(["bash", "-ec", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """An empty folder, with the checkpoints that the README names: small ones, of random weights.
    The commands `python` and `torchrun` are those of this Python."""
    monkeypatch.chdir(tmp_path)
    for name, family in FAMILIES.items():
        # with room for a watermark, and for a picture without tiles
        side = 256 if family in ("sd1", "x4-upscaler") else SMALL[family].size
        save("model.safetensors", random_model(replace(SMALL[family], size=side, steps=2)))
        Path("model.safetensors").rename(name)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, module in (("python", ""), ("torchrun", "-m torch.distributed.run")):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (tools / name).chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "OMP_NUM_THREADS": "1"}


def test_every_command_works_as_written(shell, capsys):
    asked = [one for one in commands() if not one.startswith(OTHERS)]
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
