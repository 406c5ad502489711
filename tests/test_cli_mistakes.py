"""What goes wrong, and is said in one line."""

from importlib import import_module
from tempfile import TemporaryDirectory

import pytest
import torch
from PIL import Image

from helpers import names
from ldm.cli.folder import Folder
from ldm.pipeline import loading

drawing = import_module("ldm.cli.draw")  # `ldm.cli.draw` is the function of this name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("txt2img --sampler eular", "unknown sampler 'eular'; did you mean 'euler'?"),
        ("txt2img --schedule caras", "unknown schedule 'caras'; did you mean 'karras'?"),
        ("txt2img --steps 0", "steps must be a whole number from 1 to 1000, not 0"),
        ("txt2img --steps many", "ddim_steps: must be a whole number from 1 to 1000, not 'many'"),
        ("txt2img --scale nan", "scale must be a number from -1000 to 1000, not nan"),
        ("txt2img --n_iter 0", "argument --n_iter: must be a whole number of at least 1, not '0'"),
        ("txt2img --laion400m", "--laion400m asks for the model text2img-large"),
        ("txt2img --plms --dpm_solver", "give one of --sampler, --plms and --dpm_solver"),
        ("txt2img --from-file none.txt", "--from-file none.txt cannot be read: No such file"),
        ("txt2img --from-file empty.txt", "--from-file empty.txt is empty"),
        ("txt2img --from-file latin.txt", "--from-file latin.txt is not UTF-8 text"),
        (
            "txt2img --from-file flags.txt",
            "--from-file flags.txt, line 2: unrecognized arguments: --ar 16:9",
        ),
        (
            "txt2img --from-file steps.txt",
            "--from-file steps.txt, line 1: steps must be a whole number from 1 to 1000",
        ),
        ("txt2img --from-file eular.txt", "--from-file eular.txt, line 1: unknown sampler 'eular'"),
        ("txt2img --from-file quote.txt", "--from-file quote.txt, line 1: No closing quotation"),
        (
            "txt2img --vary stepps=1,2",
            "argument --vary: 'stepps=1,2': unknown field to vary 'stepps'; did you mean",
        ),
        ("txt2img --vary steps", "argument --vary: 'steps' has no values: write steps=A,B,..."),
        ("txt2img --vary steps=1,x", "'steps=1,x': must be a whole number from 1 to 1000, not 'x'"),
        ("txt2img --vary steps=1,0", "steps must be a whole number from 1 to 1000, not 0"),
        ("txt2img --vary sampler=euler,eular", "unknown sampler 'eular'; did you mean 'euler'?"),
        (
            "txt2img --vary steps=1 --vary scale=1 --vary seed=1",
            "--vary is given 3 times: a grid has two directions",
        ),
        ("txt2img --preview best", "argument --preview: invalid choice: 'best'"),
        ("txt2img --outdir empty.txt", "cannot write to --outdir empty.txt: "),
        ("txt2img --outdir empty.txt/below", "cannot write to --outdir empty.txt/below: "),
        ("txt2img --device gpu", "device 'gpu' is not available: give "),
        ("txt2img --dtype int8", "argument --dtype: invalid choice: 'int8'"),
        ("txt2img --sampler euler --ddim_eta 1", "sampler 'euler' takes no eta"),
        ("txt2img --init-img a.png", "unrecognized arguments: --init-img a.png"),
        ("img2img", "give the picture to start from: --init-img FILE"),
        ("img2img --init-img none.png", "there is no picture 'none.png'"),
        ("img2img --init-img empty.txt", "'empty.txt' cannot be read as a picture"),
        ("inpaint --image in.png --mask none.png", "there is no picture 'none.png'"),
        ("img2img --init-img in.png --strength 2", "strength must be a number from 0 to 1, not 2"),
        ("paint", "argument COMMAND: invalid choice: 'paint'; did you mean 'inpaint'? There are "),
        ("txt2image", "invalid choice: 'txt2image'; did you mean 'txt2img'? There are "),
        ("txt2img --sede 3", "unrecognized arguments: --sede 3; did you mean --seed?"),
        ("txt2img -seed 3", "unrecognized arguments: -seed 3; did you mean --seed?"),
        ("txt2img --W abc", "--W/--width: must be a whole number from 1 to 32768, not 'abc'"),
        ("txt2img --scale x", "must be a number from -1000 to 1000, not 'x'"),
        ("txt2img --crop 1 b", "argument --crop: must be a whole number from 0 to 32768, not 'b'"),
        ("txt2img --C x", "argument --C: must be a whole number, not 'x'"),
        ("txt2img --seed 1.5", "615, or -1 for a random one, not '1.5'"),
        ("txt2img --seed -2", "615, or -1 for a random one, not '-2'"),
        ("txt2img --vary seed=1,-2", "615, or -1 for a random one, not '-2'"),
        ("txt2img --vary scale=1,x", "must be a number from -1000 to 1000, not 'x'"),
        ("txt2img --from-file word.txt", "line 1: argument --seed: must be a whole number from 0"),
        ("txt2img --dtype flaot16", "invalid choice: 'flaot16'; did you mean 'float16'? There are"),
        ("txt2img --outdir /proc/x", "cannot write to --outdir /proc/x: "),
        (f"txt2img --outdir {'a' * 300}", ": File name too long; give another"),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(run, monkeypatch, tmp_path, line, message):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes("Bär".encode("latin-1"))
    (tmp_path / "flags.txt").write_text("a cat --steps 3\na cat --ar 16:9\n")
    (tmp_path / "steps.txt").write_text("a cat --steps 0\n")
    (tmp_path / "eular.txt").write_text("a cat --sampler eular\n")
    (tmp_path / "word.txt").write_text("a cat --seed no\n")
    (tmp_path / "quote.txt").write_text('a cat --negative_prompt "ugly\n')
    Image.new("RGB", (16, 16)).save(tmp_path / "in.png")
    monkeypatch.setattr(drawing, "load", lambda *arguments: pytest.fail("the model was loaded"))
    code, out, error = run(line, ckpt=False)
    assert code == 2
    assert out == ""
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("ldm")


def test_a_folder_without_permission(tmp_path, monkeypatch):
    def refused(prefix, dir):
        if dir.name == "samples":
            raise PermissionError(13, "Permission denied")
        return TemporaryDirectory(prefix=prefix, dir=dir)

    (tmp_path / "samples").mkdir()
    monkeypatch.setattr("tempfile.TemporaryDirectory", refused)
    with pytest.raises(ValueError, match=f"cannot write to --outdir {tmp_path}: Permission den"):
        Folder(tmp_path)
    assert names(tmp_path / "samples") == []
    assert names(tmp_path) == ["samples"]


def test_mistakes_that_only_the_model_knows(run, tmp_path):
    code, _, error = run("txt2img --W 17")
    assert (code, error) == (
        2,
        "ldm txt2img: error: a side of 17 pixels does not fit this model: give a multiple of 2, "
        "such as 16 or 18\n",
    )
    (tmp_path / "x.ckpt").write_text("<html>")
    code, _, error = run("txt2img --ckpt x.ckpt", ckpt=False)
    assert code == 2
    assert "x.ckpt is not a checkpoint: it is a web page" in error
    assert error.count("\n") == 1
    assert names(tmp_path) == ["x.ckpt"]  # no empty folder either


def test_no_picture_is_kept_of_a_model_that_breaks_down(run, monkeypatch, tmp_path, own_tiny):
    own_tiny.unet.stem.weight.data[0] = float("nan")
    monkeypatch.setattr(drawing, "load", lambda *arguments: own_tiny)
    code, _, error = run("txt2img --outdir out", ckpt=False)
    assert code == 1
    assert "step 1 of 4: unet.stem gives NaN or infinity" in error.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore about it"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: "
            "you tried to allocate 9 bytes."
        ),
        MemoryError(),
    ],
)
def test_too_little_memory_is_said_in_one_line(run, monkeypatch, own_tiny, error):
    def forward(*inputs):
        raise error

    own_tiny.unet.forward = forward
    monkeypatch.setattr(drawing, "load", lambda *arguments: own_tiny)
    code, _, complaint = run("txt2img", ckpt=False)
    assert code == 1
    said = "ldm txt2img: error: memory does not suffice: give smaller --W and --H, or --tile; for"
    last = complaint.splitlines()[-1]
    assert said in last
    assert not any(word in last for word in ("More about it", "allocate", "CUDA", "Error", "("))


def test_a_mistake_of_ours_is_not_hidden(run, monkeypatch):
    def broken(options):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("ldm.cli.draw", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run("txt2img")


def test_without_a_built_in_model(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "__file__", str(tmp_path / "pipeline" / "loading.py"))
    with pytest.raises(ValueError, match="has no built-in model: give the path of a checkpoint"):
        loading.load()
    (tmp_path / "assets").mkdir()
    for name in ("a", "b"):
        (tmp_path / "assets" / f"{name}.safetensors").touch()
    with pytest.raises(
        ValueError, match=r"has 2 built-in models \(.*a\.safetensors, .*b\.safetensors\)"
    ):
        loading.load()


def test_inspect_something_else(run, tmp_path):
    (tmp_path / "x").write_text("{}")
    code, out, error = run("inspect x", ckpt=False)
    assert (code, out) == (2, "")
    assert "x is not a checkpoint" in error
