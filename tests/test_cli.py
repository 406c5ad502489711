import re
import shlex

import numpy as np
import pytest
import torch
from PIL import Image

from ldm import pipeline
from ldm.cli import main
from ldm.cli.folder import Folder, next_number
from ldm.images import grid, open_image, read_text, to_pil
from ldm.preview import linear_preview
from ldm.request import Request
from ldm.sheets import labelled_grid
from ldm.weights import inspect


@pytest.fixture
def run(tiny_file, tmp_path, monkeypatch, capsys):
    """Runs a command with the tiny model in an empty folder; gives its exit code, output and complaints."""
    monkeypatch.chdir(tmp_path)

    def run(line, ckpt=True):
        arguments = shlex.split(line) + (["--ckpt", str(tiny_file)] if ckpt else [])
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def request_in(path):
    return Request.from_json(read_text(path)["ldm"])


def pixels(path):
    return np.asarray(open_image(path)).astype(int)


# What comes out


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
    assert "Steps: 4, Sampler: Euler, Schedule type: Karras" in read_text(folder / "samples/00000.png")["parameters"]
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
    pictures = [open_image(tmp_path / "out/samples" / name) for name in names(tmp_path / "out/samples")]
    np.testing.assert_array_equal(pixels(tmp_path / "out/grid-0000.png"), np.asarray(grid(pictures, 3)))
    run("txt2img --n_iter 2 --n_samples 3 --n_rows 2 --outdir out")
    assert open_image(tmp_path / "out/grid-0001.png").size == (2 * 18 + 2, 3 * 18 + 2)


def test_numbers_go_on(run, tmp_path):
    for _ in range(2):
        assert run("txt2img --n_iter 1 --n_samples 2 --outdir out")[0] == 0
    assert names(tmp_path / "out") == ["grid-0000.png", "grid-0001.png", "samples"]
    assert len(names(tmp_path / "out/samples")) == 4


@pytest.mark.parametrize(("there", "number"), [([], 0), (["00000.png", "x.txt", "y"], 3), (["00007.png"], 8)])
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


def test_from_file_with_a_short_last_chunk(run, tmp_path):
    (tmp_path / "p.txt").write_text("one\ntwo\nthree\n")
    assert run("txt2img --from-file p.txt --n_iter 1 --n_samples 2 --outdir out --seed 1")[0] == 0
    requests = [request_in(tmp_path / "out/samples" / name) for name in names(tmp_path / "out/samples")]
    assert [(request.prompt, request.seed) for request in requests] == [("one", 1), ("two", 2), ("three", 3)]


def test_fixed_code_repeats_the_noise(run, tmp_path):
    run("txt2img --prompt 'a cat' --n_iter 2 --n_samples 2 --fixed_code --outdir out")
    one, two, again, _ = (pixels(tmp_path / f"out/samples/0000{i}.png") for i in range(4))
    np.testing.assert_array_equal(one, again)
    assert (one != two).any()
    assert [request_in(tmp_path / f"out/samples/0000{i}.png").seed for i in range(4)] == [42, 43, 42, 43]


def test_compviss_batches_go_on_with_one_stream_of_noise(run, tmp_path, tiny):
    line = "txt2img --prompt 'a cat' --sampler ddim --steps 4 --compat compvis --n_iter 2 --n_samples 2 --skip_grid"
    assert run(f"{line} --outdir out")[0] == 0
    first, later = (request_in(tmp_path / f"out/samples/0000{i}.png") for i in (1, 3))
    assert [(its.seed, its.only, its.skip) for its in (first, later)] == [(42, 1, 0), (42, 1, 5)]
    (again,) = tiny.generate(later)
    assert np.abs(np.asarray(again).astype(int) - pixels(tmp_path / "out/samples/00003.png")).max() <= 1
    run(f"{line} --outdir fixed --fixed_code")
    assert request_in(tmp_path / "fixed/samples/00003.png").skip == 0


def test_previews_come_beside_the_samples_and_do_not_count(run, tmp_path):
    line = "txt2img --n_iter 1 --n_samples 2 --steps 5 --preview_every 2 --outdir out"
    assert run(line)[0] == 0
    assert names(tmp_path / "out/previews") == ["00000-002.png", "00000-004.png", "00001-002.png", "00001-004.png"]
    run(line)
    assert names(tmp_path / "out") == ["grid-0000.png", "grid-0001.png", "previews", "samples"]
    assert "00003-004.png" in names(tmp_path / "out/previews")


def test_lines_with_flags_of_their_own(run, tmp_path):
    (tmp_path / "p.txt").write_text("one's cat\ntwo --steps 3 --seed 7 --W 20\nthree --negative_prompt 'a dog'\n")
    code, out, _ = run("txt2img --from-file p.txt --n_iter 2 --n_samples 2 --outdir out --seed 1")
    assert code == 0
    made = [request_in(path) for path in sorted((tmp_path / "out/samples").iterdir())]
    assert [request.prompt for request in made] == ["one's cat", "two", "three"] * 2
    assert [request.seed for request in made] == [1, 7, 3, 4, 8, 6]
    assert [(request.steps, request.width) for request in made[:3]] == [(4, 16), (3, 20), (4, 16)]
    assert made[2].negative == "a dog"
    assert "6 pictures of 16 x 16 / 20 x 16 by tiny (tiny): euler, karras, 4 of 4 / 3 of 3 steps" in out


def test_a_grid_over_two_settings(run, tmp_path):
    assert run("txt2img --prompt 'a cat' --vary steps=1,2,3 --vary scale=0,7.5 --outdir out")[0] == 0
    made = [request_in(path) for path in sorted((tmp_path / "out/samples").iterdir())]
    assert [(request.steps, request.scale) for request in made] == [(n, s) for s in (0, 7.5) for n in (1, 2, 3)]
    assert {request.seed for request in made} == {42}
    cells = [open_image(path) for path in sorted((tmp_path / "out/samples").iterdir())]
    sheet = labelled_grid(cells, ["steps 1", "steps 2", "steps 3"], ["scale 0.0", "scale 7.5"])
    np.testing.assert_array_equal(pixels(tmp_path / "out/grid-0000.png"), np.asarray(sheet))


def test_a_cell_of_a_grid_may_hold_several_pictures(run, tmp_path):
    assert run("txt2img --vary seed=1,9 --n_samples 2 --outdir out")[0] == 0
    seeds = [request_in(path).seed for path in sorted((tmp_path / "out/samples").iterdir())]
    assert seeds == [1, 2, 9, 10]
    assert open_image(tmp_path / "out/grid-0000.png").width > 4 * 16


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
    assert run("txt2img --prompt 'a cat' --n_samples 1 --preview_every 3 --preview linear --outdir out")[0] == 0
    step = list(tiny.steps(Request("a cat", seed=42)))[2]
    (expected,) = to_pil(linear_preview(tiny)(step.denoised))
    assert np.abs(pixels(tmp_path / "out/previews/00000-003.png") - np.asarray(expected)).max() <= 1


def test_a_dry_run_says_everything_and_makes_nothing(run, tmp_path):
    line = "txt2img --prompt 'a cat' --n_iter 1 --n_samples 2 --seed 5 --outdir out --dry_run"
    code, out, error = run(line)
    assert (code, error) == (0, "")
    assert out.splitlines()[1:] == [
        "2 pictures of 16 x 16 by tiny (tiny): euler, karras, 4 of 4 steps, scale 3, seed 5; 5 sigmas from 14.61 to 0",
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


def test_img2img(run, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (19, 22, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    code, out, _ = run("img2img --prompt 'a cat' --init-img in.png --strength 0.5 --steps 6 --n_samples 1")
    assert code == 0
    assert "3 of 6 steps" in out
    path = tmp_path / "outputs/img2img-samples/samples/00000.png"
    assert open_image(path).size == (20, 16)
    request = request_in(path)
    assert (request.strength, request.image, request.scale) == (0.5, "in.png", 5.0)
    code, out, _ = run("img2img --init-img in.png --strength 0 --n_samples 1 --outdir zero")
    assert code == 0
    assert "0 of 4 steps" in out


def test_fixed_code_begins_again_with_each_chunk_of_a_file(run, tmp_path):
    (tmp_path / "p.txt").write_text("one\ntwo\nthree\n")
    run("txt2img --from-file p.txt --n_iter 2 --n_samples 2 --fixed_code --outdir out --seed 1")
    made = [request_in(path) for path in sorted((tmp_path / "out/samples").iterdir())]
    assert [(request.prompt, request.seed) for request in made] == [("one", 1), ("two", 2), ("three", 1)] * 2


def test_precision_and_dtype(run):
    base = "txt2img --n_iter 1 --n_samples 1 --skip_grid"
    assert "device cpu, bfloat16: as asked" in run(f"{base} --dtype bfloat16")[1]
    assert "device cpu, float32: as asked" in run(f"{base} --precision full")[1]


def test_latent_shape_flags_are_checked(run):
    assert run("txt2img --n_iter 1 --n_samples 1 --C 4 --f 2")[0] == 0
    code, _, error = run("txt2img --f 8")
    assert (code, error) == (2, "ldm txt2img: error: --f 8 does not fit the model tiny, which has 2: leave it out\n")


# What goes wrong, and is said in one line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("txt2img --sampler eular", "unknown sampler 'eular'; did you mean 'euler'?"),
        ("txt2img --schedule caras", "unknown schedule 'caras'; did you mean 'karras'?"),
        ("txt2img --steps 0", "steps must be a whole number from 1 to 1000, not 0"),
        ("txt2img --steps many", "argument --steps/--ddim_steps: invalid int value: 'many'"),
        ("txt2img --scale nan", "scale must be a number from -1000 to 1000, not nan"),
        ("txt2img --n_iter 0", "argument --n_iter: 0 is too few"),
        ("txt2img --laion400m", "--laion400m asks for the model text2img-large"),
        ("txt2img --plms --dpm_solver", "give one of --sampler, --plms and --dpm_solver"),
        ("txt2img --from-file none.txt", "--from-file none.txt cannot be read: No such file"),
        ("txt2img --from-file empty.txt", "--from-file empty.txt is empty"),
        ("txt2img --from-file latin.txt", "--from-file latin.txt is not UTF-8 text"),
        ("txt2img --from-file flags.txt", "--from-file flags.txt, line 2: unrecognized arguments: --ar 16:9"),
        ("txt2img --from-file steps.txt", "--from-file steps.txt, line 1: steps must be a whole number from 1 to 1000"),
        ("txt2img --from-file eular.txt", "--from-file eular.txt, line 1: unknown sampler 'eular'"),
        ("txt2img --from-file quote.txt", "--from-file quote.txt, line 1: No closing quotation"),
        ("txt2img --vary stepps=1,2", "argument --vary: 'stepps=1,2': unknown field to vary 'stepps'; did you mean"),
        ("txt2img --vary steps", "argument --vary: 'steps' has no values: write steps=A,B,..."),
        ("txt2img --vary steps=1,x", "argument --vary: 'steps=1,x': invalid literal"),
        ("txt2img --vary steps=1,0", "steps must be a whole number from 1 to 1000, not 0"),
        ("txt2img --vary sampler=euler,eular", "unknown sampler 'eular'; did you mean 'euler'?"),
        ("txt2img --vary steps=1 --vary scale=1 --vary seed=1", "--vary is given 3 times: a grid has two directions"),
        ("txt2img --preview best", "argument --preview: invalid choice: 'best'"),
        ("txt2img --outdir empty.txt", "--outdir empty.txt cannot be made"),
        ("txt2img --outdir empty.txt/below", "--outdir empty.txt/below cannot be made"),
        ("txt2img --device gpu", "device 'gpu' is not to be had here: give "),
        ("txt2img --dtype int8", "argument --dtype: invalid choice: 'int8'"),
        ("txt2img --sampler euler --ddim_eta 1", "sampler 'euler' takes no eta"),
        ("txt2img --init-img a.png", "unrecognized arguments: --init-img a.png"),
        ("img2img", "give the picture to start from: --init-img FILE"),
        ("img2img --init-img none.png", "there is no picture 'none.png'"),
        ("img2img --init-img empty.txt", "'empty.txt' cannot be read as a picture"),
        ("inpaint --image in.png --mask none.png", "there is no picture 'none.png'"),
        ("img2img --init-img in.png --strength 2", "strength must be a number from 0 to 1, not 2"),
        ("paint", "argument COMMAND: invalid choice: 'paint'"),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(run, monkeypatch, tmp_path, line, message):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes("Bär".encode("latin-1"))
    (tmp_path / "flags.txt").write_text("a cat --steps 3\na cat --ar 16:9\n")
    (tmp_path / "steps.txt").write_text("a cat --steps 0\n")
    (tmp_path / "eular.txt").write_text("a cat --sampler eular\n")
    (tmp_path / "quote.txt").write_text('a cat --negative_prompt "ugly\n')
    Image.new("RGB", (16, 16)).save(tmp_path / "in.png")
    monkeypatch.setattr("ldm.cli.drawing.load", lambda *arguments: pytest.fail("the model was loaded"))
    code, out, error = run(line, ckpt=False)
    assert code == 2
    assert out == ""
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("ldm")


def test_a_folder_without_permission(tmp_path, monkeypatch):
    (tmp_path / "samples").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: path == tmp_path)
    with pytest.raises(ValueError, match="cannot be written to"):
        Folder(tmp_path)


def test_mistakes_that_only_the_model_knows(run, tmp_path):
    code, _, error = run("txt2img --W 17")
    assert (code, error) == (
        2,
        "ldm txt2img: error: a side of 17 pixels does not fit this model: give a multiple of 2\n",
    )
    (tmp_path / "x.ckpt").write_text("<html>")
    code, _, error = run("txt2img --ckpt x.ckpt", ckpt=False)
    assert code == 2
    assert "x.ckpt is not a checkpoint: it is a web page" in error
    assert error.count("\n") == 1
    assert names(tmp_path) == ["x.ckpt"]  # no empty folder either


def test_no_picture_is_kept_of_a_model_that_breaks_down(run, monkeypatch, tmp_path, own_tiny):
    own_tiny.unet.stem.weight.data[0] = float("nan")
    monkeypatch.setattr("ldm.cli.drawing.load", lambda *arguments: own_tiny)
    code, _, error = run("txt2img --outdir out", ckpt=False)
    assert code == 1
    assert "step 1 of 4: unet.stem gives NaN or infinity" in error.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore about it"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_too_little_memory_is_said_in_one_line(run, monkeypatch, own_tiny, error):
    def forward(*inputs):
        raise error

    own_tiny.unet.forward = forward
    monkeypatch.setattr("ldm.cli.drawing.load", lambda *arguments: own_tiny)
    code, _, complaint = run("txt2img", ckpt=False)
    assert code == 1
    said = "ldm txt2img: error: memory does not suffice: give smaller --W and --H, or --tile ("
    assert said in complaint.splitlines()[-1]
    assert "More about it" not in complaint


def test_a_mistake_of_ours_is_not_hidden(run, monkeypatch):
    def broken(options, pictures):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("ldm.cli.draw", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run("txt2img")


def test_without_a_built_in_model(monkeypatch, tmp_path):
    monkeypatch.setattr(pipeline, "__file__", str(tmp_path / "pipeline.py"))
    with pytest.raises(ValueError, match="has no built-in model: give the path of a checkpoint"):
        pipeline.load()
    (tmp_path / "assets").mkdir()
    for name in ("a", "b"):
        (tmp_path / "assets" / f"{name}.safetensors").touch()
    with pytest.raises(ValueError, match=r"has 2 built-in models \(.*a\.safetensors, .*b\.safetensors\)"):
        pipeline.load()


# inspect


def test_inspect(run, tiny_file):
    code, out, _ = run(f"inspect {tiny_file}", ckpt=False)
    assert code == 0
    assert out == f"{inspect(tiny_file)}\n"


def test_inspect_something_else(run, tmp_path):
    (tmp_path / "x").write_text("{}")
    code, out, error = run("inspect x", ckpt=False)
    assert (code, out) == (2, "")
    assert "x is not a checkpoint" in error
