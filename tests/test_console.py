"""Any console, any reader of what is printed, and words that people bring from other programs."""

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ldm
from ldm.cli import main, parse
from ldm.cli.draw import requested
from ldm.cli.printing import LONGEST, one_line, printable
from ldm.images.files import read_text
from ldm.images.save import save_image
from ldm.pipeline.pause import read_paused, save_paused
from ldm.request import Request

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(tiny_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(line, ckpt=True):
        try:
            code = main(shlex.split(line) + (["--ckpt", str(tiny_file)] if ckpt else []))
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def asked(line):
    return requested(parse(shlex.split(line)))


def shell(line, tiny_file, cwd, **environment):
    """A command in a shell, with the tiny model."""
    line = line.replace("ldm ", f"{sys.executable} -m ldm ", 1).replace("TINY", str(tiny_file))
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(line, shell=True, cwd=cwd, env=environment, capture_output=True)


DRAW = "ldm txt2img --ckpt TINY --n_iter 2 --n_samples 1 --outdir {} --prompt "


def test_a_console_that_is_not_utf8_stops_nothing(tiny_file, tmp_path):
    western = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = shell(DRAW.format("目录") + "蓝色的猫蓝色的猫蓝色的猫", tiny_file, tmp_path, **western)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "目录/samples").iterdir())) == 2
    assert rb"\u76ee\u5f55/samples" in done.stdout.replace(b"\\\\", b"/")
    done = shell("ldm show 目录/samples/00000.png", tiny_file, tmp_path, **western)
    assert (done.returncode, rb"prompt: \u84dd" in done.stdout) == (0, True)


@pytest.mark.parametrize("pipe", ["| head -1", "2>&1 | head -1"])
def test_nobody_who_reads_does_not_stop_the_drawing(tiny_file, tmp_path, pipe):
    done = shell(f"{DRAW.format('o')} x {pipe}", tiny_file, tmp_path)
    assert len(list((tmp_path / "o/samples").iterdir())) == 2
    assert (tmp_path / "o/grid-0000.png").is_file()
    assert b"Broken pipe" not in done.stderr + done.stdout
    assert b"BrokenPipe" not in done.stderr + done.stdout


def test_a_strangers_text_cannot_steer_the_terminal(run, tmp_path):
    text = (
        "a\x1b]0;owned\x07 cat\x1b[2J\u202e\nNegative prompt: x\nSteps: 3, Sampler: Euler, Seed: 1"
    )
    save_image("x.png", Image.new("RGB", (8, 8)), {"parameters": text + ", Model: \x1b[31m"})
    code, out, _ = run("show x.png", ckpt=False)
    assert code == 0
    assert not [letter for letter in out if not letter.isprintable() and letter != "\n"]
    assert r"a\x1b]0;owned\x07 cat\x1b[2J" in out
    out = run("replay x.png")[1]
    assert not [letter for letter in out if not letter.isprintable() and letter != "\n"]


def test_an_error_is_a_short_line():
    assert one_line("a\n  b\x1b") == r"a b\x1b"
    assert len(one_line("x" * 10**6)) == LONGEST
    assert printable("é 猫\n👩‍🎨") == "é 猫\n👩‍🎨"


def test_show_goes_on_after_a_file_that_says_nothing(run):
    for name in ("a", "c"):
        save_image(f"{name}.png", Image.new("RGB", (8, 8)), {"ldm": Request(name).to_json()})
    save_image("b.png", Image.new("RGB", (8, 8)))
    code, out, error = run("show a.png b.png c.png", ckpt=False)
    assert code == 1
    assert "a.png: made by ldm" in out
    assert "c.png: made by ldm" in out
    assert error == (
        "ldm show: error: 'b.png' says nothing about its making: it has no text of ldm, ComfyUI or "
        "AUTOMATIC1111\n"
    )
    code, out, _ = run("show missing.png a.png", ckpt=False)
    assert (code, "a.png: made by ldm" in out) == (2, True)


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ("--negative-prompt ugly", "negative", "ugly"),
        ("--cfg-scale=4", "guidance_scale", 4.0),
        ("--negative_prompt -bad", "negative", "-bad"),
        ("--negative-prompt -bad", "negative", "-bad"),
        ("--clip-skip 2", "clip_skip", 2),
    ],
)
def test_flags_as_people_write_them(flags, field, value, tmp_path):
    (picture,) = asked(f"txt2img --prompt x --n_iter 1 --n_samples 1 {flags}")
    assert getattr(picture, field) == value
    (tmp_path / "l.txt").write_text(f"x {flags}\n")
    (picture,) = asked(f"txt2img --from-file {tmp_path}/l.txt --n_iter 1")
    assert getattr(picture, field) == value


@pytest.mark.parametrize(
    ("flag", "ours"),
    [
        ("--batch_size 4", "--n_samples"),
        ("--batch-size 4", "--n_samples"),
        ("--sampler_name euler", "--sampler"),
        ("--num-inference-steps 5", "--steps"),
        ("--model x", "--ckpt"),
        ("--output x", "--outdir"),
        ("--sheduler x", "--schedule"),
    ],
)
def test_flags_of_other_programs_are_hinted_at(run, flag, ours):
    code, _, error = run(f"txt2img {flag}", ckpt=False)
    assert code == 2
    wanted = f"ldm txt2img: error: unrecognized arguments: {flag}; did you mean {ours}?\n"
    assert error == wanted


@pytest.mark.parametrize("words", ["'a red star'", "a red star"])
def test_a_prompt_without_its_flag_is_hinted_at(run, words):
    code, _, error = run(f"txt2img {words}", ckpt=False)
    said = "unrecognized arguments: a red star; did you mean --prompt 'a red star'?"
    assert (code, error) == (2, f"ldm txt2img: error: {said}\n")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("negative_prompts", "negative"),
        ("num_inference_steps", "steps"),
        ("cfg", "guidance_scale"),
        ("num_images_per_prompt", "count"),
        ("sampler_name", "sampler"),
        ("stepz", "steps"),
    ],
)
def test_keywords_of_other_programs_are_hinted_at(name, ours):
    with pytest.raises(ValueError, match=f"{name!r}; did you mean {ours!r}") as error:
        Request.of(prompt="x", **{name: 1})
    assert len(str(error.value)) <= LONGEST


def test_lines_end_where_a_text_editor_ends_them(tmp_path):
    text = "one\u2028two\x0b\x0c\x85 three\r\n\r\n  \nfour\n\n"
    (tmp_path / "l.txt").write_bytes(text.encode())
    made = asked(f"txt2img --from-file {tmp_path}/l.txt --n_iter 1 --seed 5")
    wanted = [("one\u2028two\x0b\x0c\x85 three", 5), ("four", 6)]
    assert [(picture.prompt, picture.seed) for picture in made] == wanted


def test_seed_minus_one_is_a_random_one_that_is_kept(run, tmp_path):
    seeds = []
    for _ in range(2):
        code, out, _ = run("txt2img --prompt x --n_iter 1 --n_samples 2 --seed -1 --outdir o")
        assert code == 0
        seeds.append(int(out.rpartition("seed ")[2].partition(";")[0]))
    paths = sorted((tmp_path / "o/samples").iterdir())
    kept = [Request.from_json(read_text(path)["ldm"]).seed for path in paths]
    assert kept == [seeds[0], seeds[0] + 1, seeds[1], seeds[1] + 1]
    assert seeds[0] != seeds[1]
    with pytest.raises(ValueError, match="seed must be a whole number from 0"):
        Request(seed=-1)  # a request says which picture is wanted


def test_a_paused_file_cannot_have_files_opened(run, tmp_path):
    run("txt2img --prompt x --n_iter 1 --n_samples 1 --pause_after 1 --outdir o")
    paused = read_paused("o/paused-0000.safetensors")
    Image.new("RGB", (16, 16)).save("secret.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/secret.txt").write_text("a secret\n")
    for i, (named, flag) in enumerate(
        (
            ({"image": "secret.png"}, "--init-img"),
            ({"mask": "secret.png"}, "--mask"),
            ({"wildcards": "lists"}, "--wildcards"),
        )
    ):
        request = replace(paused.request, prompt="__secret__", **named)
        save_paused(f"{i}.safetensors", replace(paused, request=request))
        code, _, error = run(f"resume {i}.safetensors --outdir p")
        assert code == 2
        (name,) = named.values()
        assert error.endswith(f"not opened unasked; it names '{name}': give {flag}\n")
        assert not (tmp_path / "p").exists()


def test_the_warning_of_a_mark_that_is_lost(run):
    line = "txt2img --prompt x --n_iter 1 --n_samples 1 --skip_grid --W 256 --H 256 --steps 1"
    code, _, error = run(f"{line} --watermark --outdir o")
    assert code == 0
    lost = "no whole mark" in run("watermark o/samples/00000.png", ckpt=False)[1]
    assert lost == ("warning: the watermark cannot be read back whole" in error)


def test_large_pictures_and_long_texts_are_told_before_they_are_drawn(run, monkeypatch, tmp_path):
    Image.new("RGB", (64, 48)).save("in.png")
    monkeypatch.setattr("ldm.cli.caveats.MANY", 2000)
    line = "img2img --init-img in.png --strength 0 --n_samples 1 --skip_grid --outdir o"
    said = "warning: the picture is drawn at its own size, 64 x 48 (0.0 megapixels): give --W"
    assert said in run(line)[2]
    assert "own size" not in run(f"{line} --W 64 --H 48")[2]
    (tmp_path / "l.txt").write_text(f"{'cat ' * 9000}\nshort\n")
    line = "txt2img --from-file l.txt --format jpg --steps 1 --scale 1 --n_iter 1 --outdir j"
    code, _, error = run(line)
    assert code == 0
    assert error.index("the texts of 1 of 2 pictures are too long for JPEG") < error.index("00000")
    assert len(list((tmp_path / "j/samples").iterdir())) == 2


def test_pictures_from_python_know_their_making(tiny, tmp_path):
    images = tiny.txt2img(["a cat", "a dog"], seed=7, steps=1, batch=1)
    for i, image in enumerate(images):
        image.save(tmp_path / "a.png")
        ldm.save_image(tmp_path / "b.webp", image)
        for name in ("a.png", "b.webp"):
            text = read_text(tmp_path / name)
            assert text["parameters"] == image.info["parameters"]
            (again,) = tiny.generate(Request.from_json(text["ldm"]))
            assert np.array_equal(np.asarray(again), np.asarray(image))
        assert Request.from_json(image.info["ldm"]).seed == 7 + i


def test_which_version_this_is(run):
    code, out, _ = run("--version", ckpt=False)
    assert (code, out) == (0, f"ldm {ldm.__version__}, {ROOT / 'ldm'}\n")
    assert f'version = "{ldm.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_another_package_of_this_name_is_told(run, tmp_path):
    (tmp_path / "ldm").mkdir()
    assert "another package" not in run("show x.png", ckpt=False)[2]  # has no __init__.py
    (tmp_path / "ldm/__init__.py").touch()
    assert "warning: ldm/__init__.py is another package than " in run("show x.png", ckpt=False)[2]


def test_the_command_lets_waiting_threads_sleep():
    code = "import sys, os, ldm.cli; print(os.environ['OMP_WAIT_POLICY'])"
    for given, wanted in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        own = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        environment = own if given is None else own | {"OMP_WAIT_POLICY": given}
        run = [sys.executable, "-c", code]
        assert subprocess.check_output(run, cwd=ROOT, env=environment, text=True) == f"{wanted}\n"
    code = "import sys, ldm; assert 'torch' not in sys.modules; ldm.load, ldm.Request, ldm.SAMPLERS"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_help_of_a_request_tells_its_fields():
    for name, help in (("steps", "denoising steps"), ("seed", "where the noise of the first")):
        assert f"    {name:20} {help}" in Request.__doc__
