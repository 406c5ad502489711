"""--pause_after and resume, long prompts and warnings, from the command line."""

import shlex

import numpy as np
import pytest

from ldm.cli import main
from ldm.images.files import open_image, read_text


@pytest.fixture
def run(tiny_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(line):
        code = main([*shlex.split(line), "--ckpt", str(tiny_file)])
        return code, *capsys.readouterr()

    return run


def test_paused_and_resumed_is_the_same_picture(run, tmp_path):
    line = (
        "txt2img --prompt 'a {cat|dog}' --sampler dpmpp_2m --steps 6 --n_iter 2 --n_samples 2 "
        "--skip_grid"
    )
    assert run(f"{line} --outdir whole")[0] == 0
    code, out, _ = run(f"{line} --outdir half --pause_after 3")
    assert code == 0
    files = ["half/paused-0000.safetensors", "half/paused-0001.safetensors"]
    assert out.splitlines()[-2:] == files
    code, out, _ = run(f"resume {' '.join(files)} --outdir half")
    assert code == 0
    assert out.splitlines()[-4:] == [f"half/samples/0000{i}.png" for i in range(4)]
    for i in range(4):
        one, other = (tmp_path / folder / f"samples/0000{i}.png" for folder in ("whole", "half"))
        np.testing.assert_array_equal(np.asarray(open_image(one)), np.asarray(open_image(other)))
        assert read_text(one) == read_text(other)


def test_an_image_need_not_be_there_again(run, tmp_path):
    run("txt2img --prompt x --n_iter 1 --n_samples 1 --skip_grid --outdir in")
    (tmp_path / "in/samples/00000.png").rename(tmp_path / "a.png")
    line = (
        "img2img --prompt 'a cat' --init-img a.png --strength 0.6 --steps 5 --n_samples 1 "
        "--skip_grid"
    )
    run(f"{line} --outdir whole")
    assert run(f"{line} --outdir half --pause_after 1")[0] == 0
    (tmp_path / "a.png").unlink()
    assert run("resume half/paused-0000.safetensors --outdir half")[0] == 0
    one, other = (
        open_image(tmp_path / folder / "samples/00000.png") for folder in ("whole", "half")
    )
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_what_cannot_be_resumed(run, tmp_path, tiny_file, capsys):
    run("txt2img --n_iter 1 --n_samples 1 --pause_after 1 --outdir half")
    other = tmp_path / "other.safetensors"
    other.write_bytes(tiny_file.read_bytes())
    code = main(["resume", "half/paused-0000.safetensors", "--ckpt", str(other)])
    assert code == 2
    assert (
        "was begun by the model tiny, not other: give that one with --ckpt"
        in capsys.readouterr().err
    )
    code, _, error = run(f"resume {tiny_file}")
    assert code == 2
    assert "is no paused drawing" in error
    assert error.count("\n") == 1


def test_chunks_of_a_long_prompt_are_told(run):
    out = run(
        f"txt2img --prompt '{'cat ' * 13}' --negative_prompt 'a cat' --n_iter 1 --n_samples 1 "
        "--skip_grid"
    )[1]
    assert "13 tokens, in 2 chunks of 10 + 3: 'cat cat" in out
    assert out.count("tokens") == 1


def test_a_warning_is_a_line(run):
    code, _, error = run(
        "txt2img --prompt 'a cat <lora:fur:1>' --n_iter 1 --n_samples 1 --skip_grid"
    )
    assert code == 0
    assert "ldm txt2img: warning: the prompt asks for LoRAs, and there is no --lora_dir " in error
