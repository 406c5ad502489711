"""The commands that repaint, continue and enlarge pictures."""

import shlex

import numpy as np
import pytest
from PIL import Image

from ldm.cli import main
from ldm.images.files import open_image, read_text
from ldm.request import Request


@pytest.fixture
def run(tiny_file, tmp_path, monkeypatch, capsys):
    """Runs a command with the tiny model in a folder with a picture and a mask; gives its exit code
    and complaint."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (18, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("in.png")
    mask = Image.new("L", (24, 18))
    mask.paste(255, (4, 4, 14, 12))
    mask.save("mask.png")

    def run(line):
        code = main([*shlex.split(line), "--ckpt", str(tiny_file)])
        return code, capsys.readouterr().err

    return run


def pixels(path):
    return np.asarray(open_image(path)).astype(int)


def test_inpaint(run, tmp_path):
    code, _ = run("inpaint --prompt 'a cat' --image in.png --mask mask.png --mask_blur 2 --steps 2")
    assert code == 0
    made = tmp_path / "outputs/inpaint-samples/samples/00000.png"
    assert (pixels(made)[:, 14:] == pixels("in.png")[:, 14:]).all()
    assert (pixels(made)[5:11, 5:13] != pixels("in.png")[5:11, 5:13]).any()
    request = Request.from_json(read_text(made)["ldm"])
    assert (request.mask, request.mask_blur, request.strength) == ("mask.png", 2, 1)


def test_inpaint_a_folder_as_compvis_does(run, tmp_path):
    for name in ("one", "two"):
        open_image("in.png").save(f"{name}.png")
        open_image("mask.png").save(f"{name}_mask.png")
    assert run("inpaint --indir . --outdir done --steps 2 --skip_grid")[0] == 0
    assert sorted(path.name for path in (tmp_path / "done").iterdir() if path.is_file()) == [
        "one.png",
        "two.png",
    ]
    for name in ("one", "two"):
        assert (pixels(f"done/{name}.png")[12:] == pixels("in.png")[12:]).all()
    assert (pixels("done/one.png") != pixels("done/two.png")).any()  # each picture has its own seed


def test_outpaint(run, tmp_path):
    assert run("outpaint --prompt 'a cat' --image in.png --left 4 --bottom 6 --steps 2")[0] == 0
    made = pixels(tmp_path / "outputs/outpaint-samples/samples/00000.png")
    assert made.shape == (24, 28, 3)
    assert (made[:18, 4:] == pixels("in.png")).all()


def test_upscale(run, tmp_path):
    assert run("upscale --prompt 'a cat' --image in.png --enlarge 2.5 --steps 4")[0] == 0
    made = tmp_path / "outputs/upscale-samples/samples/00000.png"
    assert open_image(made).size == (60, 44)
    request = Request.from_json(read_text(made)["ldm"])
    assert (request.tile, request.strength, request.upscale) == (16, 0.3, 2.5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("inpaint --mask mask.png", "give the picture to start from: --init-img FILE"),
        ("inpaint --image in.png", "give what is to be inpainted, in white: --mask FILE"),
        ("inpaint --indir nowhere", "has no pictures with masks: put x.png and x_mask.png there"),
        ("outpaint --image in.png", "say where to go on, in pixels"),
        ("upscale", "give the picture to start from"),
        ("txt2img --prompt x --seamless q", "unknown seamless 'q'. There are x, y, xy"),
    ],
)
def test_what_is_missing_is_said(run, line, message):
    code, complaint = run(line)
    assert code == 2
    assert message in complaint
    assert complaint.count("\n") == 1
