"""show, replay and watermark, from the command line."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.cli import main, parser
from ldm.images.files import open_image, read_text
from ldm.images.save import save_image
from ldm.images.watermark import embed
from ldm.request import Request

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(tiny_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(line, ckpt=True):
        code = main(shlex.split(line) + (["--ckpt", str(tiny_file)] if ckpt else []))
        return code, *capsys.readouterr()

    return run


def pixels(path):
    return np.asarray(open_image(path)).astype(int)


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--sampler dpmpp_sde",
        "--sampler euler_ancestral --compat comfyui --ddim_eta 0.5",
        "--scale 1",
        "--guidance_interval 0 3",
        "--guidance_rescale 0.5 --hires 2",
    ],
)
def test_pictures_are_made_again_alone(run, flags):
    run(
        "txt2img --prompt 'a cat' --negative_prompt dog --n_iter 1 --n_samples 3 --skip_grid "
        f"--outdir out {flags}"
    )
    code, out, _ = run("replay out/samples/00001.png out/samples/00002.png --outdir again")
    assert code == 0
    assert out.splitlines()[1:] == [
        "out/samples/00001.png: made by ldm",
        "again/samples/00000.png",
        "out/samples/00002.png: made by ldm",
        "again/samples/00001.png",
    ]
    for before, after in (("00001", "00000"), ("00002", "00001")):
        before, after = f"out/samples/{before}.png", f"again/samples/{after}.png"
        np.testing.assert_array_equal(pixels(before), pixels(after))
        assert read_text(before) == read_text(after)
    assert not np.array_equal(pixels("again/samples/00000.png"), pixels("again/samples/00001.png"))


@pytest.mark.parametrize("threads", [1, 2])
def test_pictures_are_made_again_in_another_process(run, tiny_file, tmp_path, threads):
    """To the last bit; with another number of threads to a grey level."""
    run(
        "txt2img --prompt 'a cat' --n_iter 1 --n_samples 2 --skip_grid --outdir out "
        "--sampler euler_ancestral"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "ldm", "replay", "out/samples/00001.png", "--outdir", "again"]
    subprocess.run(
        [*command, "--ckpt", tiny_file], env=environment, check=True, capture_output=True
    )
    difference = np.abs(pixels("out/samples/00001.png") - pixels("again/samples/00000.png")).max()
    assert difference <= (0 if threads == torch.get_num_threads() else 1)


@pytest.mark.parametrize("kind", ["webp", "jpg"])
def test_files_of_other_kinds_are_made_again_too(run, kind):
    run(
        "txt2img --prompt 'a cat' --n_iter 1 --n_samples 1 --skip_grid --outdir out "
        f"--format {kind}"
    )
    run(f"replay out/samples/00000.{kind} --outdir again")
    again, once = (f"{folder}/samples/00000.{kind}" for folder in ("again", "out"))
    assert read_text(again) == read_text(once)
    assert np.array_equal(pixels(again), pixels(once))


def test_flags_replace_what_the_file_says(run):
    run("txt2img --prompt 'a cat' --n_iter 1 --n_samples 1 --skip_grid --outdir out")
    assert run("replay out/samples/00000.png --outdir again --seed 9 --steps 2")[0] == 0
    assert "Steps: 2, " in read_text("again/samples/00000.png")["parameters"]
    assert "Seed: 9, " in read_text("again/samples/00000.png")["parameters"]


A1111 = (
    "a cat\nNegative prompt: dog\nSteps: 3, Sampler: DPM++ 2M Karras, CFG scale: 2, Seed: 5, "
    "Size: 32x16, Model: another, VAE: kl.pt, Denoising strength: 0.5, ENSD: 31337, Version: v1.6.0"
)


def test_pictures_of_the_web_ui_are_made_again_and_what_is_lost_is_said(run):
    save_image("theirs.png", Image.new("RGB", (32, 16), "red"), {"parameters": A1111})
    code, out, error = run("replay theirs.png")
    assert code == 2
    assert error == (
        "ldm replay: error: theirs.png was made from a picture, at strength 0.5, which is not in "
        "the file: give it with --init-img, or draw from noise with --without_image\n"
    )
    code, out, _ = run("replay theirs.png --init-img theirs.png --outdir ours")
    assert code == 0
    assert out.splitlines()[1:] == [
        "theirs.png: made by AUTOMATIC1111",
        "  not honoured: the model another, in place of which is tiny",
        "  not honoured: VAE, kl.pt: another VAE than the model's: give its file with --vae",
        "  not honoured: Init image, it is not in the file, and must be given",
        "ours/samples/00000.png",
    ]
    assert open_image("ours/samples/00000.png").size == (32, 16)
    assert '"compat": "a1111"' in read_text("ours/samples/00000.png")["ldm"]


def test_what_was_made_from_a_picture_can_be_drawn_without_it(run):
    save_image("theirs.png", Image.new("RGB", (32, 16), "red"), {"parameters": A1111})
    code, out, _ = run("replay theirs.png --without_image --outdir ours")
    assert code == 0
    assert "  not honoured: strength, 0.5: no picture was given" in out.splitlines()
    plain = A1111.replace(", Denoising strength: 0.5", "")
    save_image("plain.png", Image.new("RGB", (32, 16), "red"), {"parameters": plain})
    assert run("replay plain.png --outdir plain")[0] == 0
    assert (pixels("ours/samples/00000.png") == pixels("plain/samples/00000.png")).all()
    code, out, _ = run("replay theirs.png --without_image --hires 2 --outdir larger")
    assert (code, open_image("larger/samples/00000.png").size) == (0, (64, 32))
    code, _, error = run("replay theirs.png --without_image --init-img theirs.png")
    assert (code, error) == (2, "ldm replay: error: give --init-img or --without_image, not both\n")


def test_our_own_img2img_can_be_drawn_without_its_picture(run):
    save_image("red.png", Image.new("RGB", (32, 16), "red"), {})
    assert run("img2img --init-img red.png --prompt a --n_samples 1 --n_iter 1")[0] == 0
    path = "outputs/img2img-samples/samples/00000.png"
    code, _, error = run(f"replay {path}")
    assert (code, "give --init-img, or --without_image" in error) == (2, True)
    code, out, _ = run(f"replay {path} --without_image")
    assert (code, "  not honoured: image, red.png: no picture was given" in out) == (0, True)


def test_a_file_that_asks_for_a_million_pictures_is_refused(run):
    text = Request("x", count=10**6).to_json()
    save_image("x.png", Image.new("RGB", (16, 16)), {"ldm": text})
    code, _, error = run("replay x.png")
    assert code == 2
    assert error.endswith("x.png asks for 1000000 pictures: 1000 are the most of a file\n")
    assert not Path("outputs").exists()


def test_show(run):
    save_image("theirs.jpg", Image.new("RGB", (32, 16)), {"parameters": A1111})
    code, out, _ = run("show theirs.jpg", ckpt=False)
    assert code == 0
    assert out.splitlines() == [
        "theirs.jpg: made by AUTOMATIC1111, model another",
        *("  prompt: a cat", "  negative: dog", "  seed: 5", "  width: 32", "  height: 16"),
        *("  steps: 3", "  sampler: dpmpp_2m", "  schedule: karras", "  guidance_scale: 2.0"),
        *("  strength: 0.5", "  compat: a1111", "  ensd: 31337"),
        "  not honoured: VAE, kl.pt: another VAE than the model's: give its file with --vae",
        "  not honoured: Init image, it is not in the file, and must be given",
    ]
    save_image("silent.png", Image.new("RGB", (8, 8)))
    code, _, error = run("show silent.png", ckpt=False)
    assert (
        code,
        error.startswith("ldm show: error: 'silent.png' says nothing about its making"),
    ) == (1, True)


def test_watermark(run):
    drawing = (
        "txt2img --prompt 'a cat' --n_iter 1 --n_samples 1 --skip_grid --steps 1 --scale 1 "
        "--W 256 --H 256"
    )
    assert (
        run(f"{drawing} --outdir plain")[0]
        == run(f"{drawing} --outdir marked --watermark 'my own'")[0]
        == 0
    )
    plain, marked = (
        pixels(f"{folder}/samples/00000.png").astype(np.uint8) for folder in ("plain", "marked")
    )
    assert np.array_equal(marked, embed(plain, b"my own"))
    run("replay marked/samples/00000.png --outdir again")
    assert np.array_equal(marked, pixels("again/samples/00000.png"))
    bare = parser().parse_args(["txt2img", "--watermark"])
    assert bare.watermark == "StableDiffusionV1"
    assert not hasattr(parser().parse_args(["txt2img"]), "watermark")


def test_watermarks_are_found(run):
    dotted = np.full((256, 256, 3), 110, np.uint8)
    dotted[2::8, 4::8, 2] = dotted[3::8, 4::8, 2] = dotted[2::8, 5::8, 2] = dotted[
        3::8, 5::8, 2
    ] = 190
    Image.fromarray(embed(dotted, b"SDV2")).save("marked.png")
    Image.fromarray(dotted).save("plain.png")
    code, out, _ = run("watermark marked.png plain.png", ckpt=False)
    assert code == 0
    assert out.splitlines()[0] == (
        "marked.png: the mark of Stable Diffusion 2, 100% of its bits (by chance about half)"
    )
    assert out.splitlines()[1].startswith("plain.png: no whole mark; at best that of ")
    assert run("watermark marked.png --length 4", ckpt=False)[1] == "marked.png: b'SDV2'\n"
    Image.new("RGB", (64, 64)).save("small.png")
    code, _, error = run("watermark small.png", ckpt=False)
    assert (code, error.startswith("ldm watermark: error: a picture of 64 x 64 is too small")) == (
        1,
        True,
    )


@pytest.mark.parametrize(("drawn", "now"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_another_number_format_is_told(run, drawn, now):
    flags = "--n_iter 1 --n_samples 2 --steps 2 --outdir out --prompt cat"
    run(f"txt2img {flags} --dtype {drawn}")
    told = f"not honoured: it was drawn in {drawn}, and is now in {now}: --dtype {drawn} does the"
    for file in ("samples/00000.png", "grid-0000.png"):
        assert told in run(f"replay out/{file} --dtype {now} --outdir again")[1]
        assert "it was drawn in" not in run(f"replay out/{file} --dtype {drawn} --outdir again")[1]
