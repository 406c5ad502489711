"""What the commands write and print."""

import re

import numpy as np
import pytest
from PIL import Image

from helpers import names, request_in
from ldm.cli.folder import next_number
from ldm.images.files import open_image, read_text
from ldm.images.saving import to_pil
from ldm.images.sheets import grid
from ldm.models.weights import inspect
from ldm.request import Request
from ldm.vae.preview import linear_preview


def pixels(path):
    return np.asarray(open_image(path)).astype(int)


def test_layout_metadata_and_summary(run, tmp_path):
    code, out, _ = run("txt2img --prompt 'a cat' --seed 5 --n_iter 2 --n_samples 2")
    assert code == 0
    folder = tmp_path / "outputs/txt2img-samples"
    assert names(folder) == ["grid-0000.png", "samples"]
    assert names(folder / "samples") == ["00000.png", "00001.png", "00002.png", "00003.png"]
    requests = [request_in(folder / "samples" / name) for name in names(folder / "samples")]
    assert [request.seed for request in requests] == [5, 6, 7, 8]
    assert {request.total for request in requests} == {1}
    grid_request = request_in(folder / "grid-0000.png")
    assert (grid_request.total, grid_request.seed, set(grid_request.prompts)) == (4, 5, {"a cat"})
    assert (
        "Steps: 4, Sampler: Euler, Schedule type: Karras"
        in read_text(folder / "samples/00000.png")["parameters"]
    )
    lines = out.splitlines()
    assert lines[0].startswith("device cpu, float32: ")
    assert lines[1] == "outputs/txt2img-samples/samples/00000.png"
    assert re.fullmatch(
        r"4 pictures of 16 x 16 by tiny \(tiny\): euler, karras, 4 of 4 steps, scale 3, seed 5; "
        r"[\d.]+ s, at most [\d.]+ GB",
        lines[-1],
    )


def test_a_picture_of_a_batch_is_drawn_again_from_its_own_metadata(run, tmp_path, tiny):
    run("txt2img --prompt 'a cat' --n_iter 1 --n_samples 4 --outdir out")
    path = tmp_path / "out/samples/00002.png"
    (again,) = tiny.generate(request_in(path))
    assert np.abs(np.asarray(again).astype(int) - pixels(path)).max() <= 1


def test_the_grid_shows_all_pictures_in_rows_of_n_samples(run, tmp_path):
    run("txt2img --n_iter 2 --n_samples 3 --outdir out")
    pictures = [
        open_image(tmp_path / "out/samples" / name) for name in names(tmp_path / "out/samples")
    ]
    np.testing.assert_array_equal(
        pixels(tmp_path / "out/grid-0000.png"), np.asarray(grid(pictures, 3))
    )
    run("txt2img --n_iter 2 --n_samples 3 --n_rows 2 --outdir out")
    assert open_image(tmp_path / "out/grid-0001.png").size == (2 * 18 + 2, 3 * 18 + 2)


def test_numbers_go_on(run, tmp_path):
    for _ in range(2):
        assert run("txt2img --n_iter 1 --n_samples 2 --outdir out")[0] == 0
    assert names(tmp_path / "out") == ["grid-0000.png", "grid-0001.png", "samples"]
    assert len(names(tmp_path / "out/samples")) == 4


@pytest.mark.parametrize(
    ("there", "number"), [([], 0), (["00000.png", "x.txt", "y"], 3), (["00007.png"], 8)]
)
def test_a_number_is_never_used_twice(tmp_path, there, number):
    for name in there:
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert next_number(tmp_path, "") == number


def test_skipping(run, tmp_path):
    assert run("txt2img --n_iter 1 --n_samples 2 --skip_grid --outdir a")[0] == 0
    assert names(tmp_path / "a") == ["samples"]
    assert run("txt2img --n_iter 1 --n_samples 2 --skip_save --outdir b")[0] == 0
    assert names(tmp_path / "b") == ["grid-0000.png", "samples"]
    assert names(tmp_path / "b/samples") == []


def test_previews_come_beside_the_samples_and_do_not_count(run, tmp_path):
    line = "txt2img --n_iter 1 --n_samples 2 --steps 5 --preview_every 2 --outdir out"
    assert run(line)[0] == 0
    assert names(tmp_path / "out/previews") == [
        "00000-002.png",
        "00000-004.png",
        "00001-002.png",
        "00001-004.png",
    ]
    run(line)
    assert names(tmp_path / "out") == ["grid-0000.png", "grid-0001.png", "previews", "samples"]
    assert "00003-004.png" in names(tmp_path / "out/previews")


def test_animations(run, tmp_path):
    assert run("txt2img --n_iter 1 --n_samples 2 --steps 5 --animate --outdir out")[0] == 0
    assert names(tmp_path / "out") == ["animations", "grid-0000.png", "samples"]
    assert names(tmp_path / "out/animations") == ["00000.gif", "00001.gif"]
    with Image.open(tmp_path / "out/animations/00001.gif") as gif:
        times = []
        for i in range(gif.n_frames):
            gif.seek(i)
            times.append(gif.info["duration"])
        assert sum(times) == 5 * 100 + 2000  # equal frames are one
        last = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(last - pixels(tmp_path / "out/samples/00001.png")).mean() < 8  # of 256 colours


def test_linear_previews(run, tmp_path, tiny):
    assert (
        run(
            "txt2img --prompt 'a cat' --n_samples 1 --preview_every 3 --preview linear --outdir out"
        )[0]
        == 0
    )
    step = list(tiny.steps(Request("a cat", seed=42)))[2]
    (expected,) = to_pil(linear_preview(tiny.encode, tiny.decode, 128)(step.denoised))
    assert np.abs(pixels(tmp_path / "out/previews/00000-003.png") - np.asarray(expected)).max() <= 1


def test_a_dry_run_says_everything_and_makes_nothing(run, tmp_path):
    line = "txt2img --prompt 'a cat' --n_iter 1 --n_samples 2 --seed 5 --outdir out --dry_run"
    code, out, error = run(line)
    assert (code, error) == (0, "")
    assert out.splitlines()[1:] == [
        "2 pictures of 16 x 16 by tiny (tiny): euler, karras, 4 of 4 steps, scale 3, seed 5; "
        "5 sigmas from 14.61 to 0",
        "  out/samples/00000.png: seed 5, 'a cat'",
        "  out/samples/00001.png: seed 6, 'a cat'",
        "  out/grid-0000.png: all of them",
    ]
    assert names(tmp_path) == []
    run(line.removesuffix(" --dry_run"))
    out = run(f"{line} --skip_grid --skip_save")[1]
    assert "  not saved: seed 5, 'a cat'" in out
    assert "out/" not in out
    assert "  out/samples/00002.png: seed 5" in run(line)[1]


@pytest.mark.parametrize("dry", ["", " --dry_run"])
def test_the_summary_counts_the_steps_of_all_passes_and_gives_the_finished_size(run, dry):
    flags = "--n_samples 2 --n_iter 1 --steps 6 --hires 2 --hires_steps 4 --hires_strength 0.5"
    code, out, _ = run(f"txt2img --prompt 'a cat' {flags} --outdir out{dry}")
    assert code == 0
    said = "2 pictures of 32 x 32 by tiny (tiny): euler, karras, 8 of 10 steps, scale 3, seed 42; "
    assert out.count(said) == 1
    assert out.count("2 pictures of ") == 1
    if not dry:
        assert open_image("out/samples/00000.png").size == (32, 32)


def test_a_dry_run_gives_the_last_sigma_as_it_is(run, tiny):
    """With CompVis's DDIM sampling ends above 0."""
    flags = "--sampler ddim --compat compvis --steps 4"
    last = (
        tiny.resolve(Request("x", sampler="ddim", compat="compvis", steps=4)).passes[0].sigmas[-1]
    )
    assert 0.01 < last < 0.1
    assert f" to {last:.4g}\n" in run(f"txt2img --prompt x {flags} --dry_run")[1]


def test_a_dry_run_says_what_else_drawing_would(run, monkeypatch):
    line = "txt2img --prompt 'a cat' --n_iter 1 --n_samples 1 --outdir out --dry_run"
    assert "5 sigmas from 14.61 to 0; cache 3\n" in run(f"{line} --cache 3")[1]
    assert "cache" not in run(f"{line} --cache 1")[1]
    line = "txt2img --prompt 'a red [zebra:yak:2]' --negative_prompt gnu --dry_run"
    error = run(line, ckpt=False)[2]
    assert error.count("the model has not learnt") == 1
    assert all(word in error for word in ("zebra", "yak", "gnu"))
    assert "learnt" not in run("txt2img --prompt 'a red star' --dry_run", ckpt=False)[2]


def test_img2img(run, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (19, 22, 3), dtype=np.uint8)).save(
        tmp_path / "in.png"
    )
    code, out, _ = run(
        "img2img --prompt 'a cat' --init-img in.png --strength 0.5 --steps 6 --n_samples 1"
    )
    assert code == 0
    assert "3 of 6 steps" in out
    path = tmp_path / "outputs/img2img-samples/samples/00000.png"
    assert open_image(path).size == (20, 16)
    request = request_in(path)
    assert (request.strength, request.image, request.guidance_scale) == (0.5, "in.png", 5.0)
    code, out, _ = run("img2img --init-img in.png --strength 0 --n_samples 1 --outdir zero")
    assert code == 0
    assert "0 of 4 steps" in out


def test_precision_and_dtype(run):
    base = "txt2img --n_iter 1 --n_samples 1 --skip_grid"
    assert "device cpu, bfloat16: as asked" in run(f"{base} --dtype bfloat16")[1]
    assert "device cpu, float32: as asked" in run(f"{base} --precision full")[1]


def test_latent_shape_flags_are_checked(run):
    assert run("txt2img --n_iter 1 --n_samples 1 --C 4 --f 2")[0] == 0
    code, _, error = run("txt2img --f 8")
    assert (code, error) == (
        2,
        "ldm txt2img: error: --f 8 does not fit the model tiny, which has 2: leave it out\n",
    )


def test_inspect(run, tiny_file):
    code, out, _ = run(f"inspect {tiny_file}", ckpt=False)
    assert code == 0
    assert out == f"{inspect(tiny_file, hashed=True)}\n"
