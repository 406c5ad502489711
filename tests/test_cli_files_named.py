"""A picture may come from anybody: what `ldm replay` does with the files that it names."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.cli import main
from ldm.images.files import open_image, read_text
from ldm.images.save import save_image
from ldm.request import Request

SECRET = "heliotrope"
DATA = Path(__file__).parent / "data/replay-0.1"


@pytest.fixture
def run(tiny_file, tmp_path, monkeypatch, capsys):
    """Runs a command in a folder with a picture, a mask and a word list; gives its exit code,
    output, complaint, and the files of the folder that it opened."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save("in.png")
    Image.new("L", (16, 16), "white").save("mask.png")
    for folder in (Path("lists"), Path("lists/below")):
        folder.mkdir()
        (folder / "colour.txt").write_text(f"{SECRET}\n")
    opened = watch(monkeypatch, tmp_path)

    def run(line):
        opened.clear()
        code = main([*shlex.split(line), "--ckpt", str(tiny_file)])
        return code, *capsys.readouterr(), set(opened)

    return run


def watch(monkeypatch, folder):
    """The names of files of a folder that are opened from now on, by PIL or as text."""
    opened, open_picture, open_text = [], Image.open, Path.read_bytes

    def note(path):
        path = Path(path).resolve()
        if path.is_relative_to(folder.resolve()):
            opened.append(path.relative_to(folder.resolve()).as_posix())

    def picture(path, *options, **more):
        note(path)
        return open_picture(path, *options, **more)

    def text(path, *options, **more):
        note(path)
        return open_text(path, *options, **more)

    monkeypatch.setattr(Image, "open", picture)
    monkeypatch.setattr(Path, "read_bytes", text)
    return opened


def hostile(name="theirs.png", **fields):
    """A picture whose metadata name files."""
    request = replace(Request("a __colour__ cat", seed=1, steps=2, width=16, height=16), **fields)
    save_image(name, Image.new("RGB", (16, 16)), {"ldm": request.to_json()})


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"image": "in.png"}, ["it names 'in.png': give --init-img"]),
        ({"image": "in.png", "strength": 0.5}, ["it names 'in.png': give --init-img"]),
        (
            {"image": "in.png", "mask": "mask.png"},
            ["it names 'in.png': give --init-img", "it names 'mask.png': give --mask"],
        ),
        ({"wildcards": "lists"}, ["it names 'lists': give --wildcards"]),
        ({"wildcards": ""}, ["it names '': give --wildcards"]),  # the folder one is in
        ({"image": "none.png"}, ["it names 'none.png': give --init-img"]),
        ({"image": "a\n\x1b[2J.png"}, ["it names 'a??[2J.png': give --init-img"]),
    ],
)
def test_a_file_that_metadata_name_is_not_opened_and_one_line_names_it(
    run, tmp_path, fields, wanted
):
    hostile(**fields)
    code, _, error, opened = run("replay theirs.png --outdir out")
    assert code == 2
    assert error.count("\n") == 1
    assert error.startswith("ldm replay: error: theirs.png was made with files that are not opened")
    assert all(part in error for part in wanted)
    assert error.count("it names") == len(wanted)
    assert opened == {"theirs.png"}
    assert not (tmp_path / "out").exists()


def test_no_content_of_a_file_gets_into_a_picture(run, tmp_path):
    """A word list in metadata would have put a line of any text file into the new prompt."""
    hostile(wildcards="lists")
    run("replay theirs.png --outdir out")
    hostile("bare.png")
    assert run("replay bare.png --outdir out")[0] == 0
    (path,) = (tmp_path / "out/samples").iterdir()
    assert SECRET not in str(read_text(path))
    assert Request.from_json(read_text(path)["ldm"]).prompt == "a __colour__ cat"


def test_what_the_user_gives_again_is_opened(run, tmp_path):
    hostile(wildcards="/etc")
    code, *_, opened = run("replay theirs.png --wildcards lists --outdir lists-given")
    assert code == 0
    assert opened == {"theirs.png", "lists/colour.txt", "lists/below/colour.txt"}
    made = Request.from_json(read_text("lists-given/samples/00000.png")["ldm"])
    assert made.prompt == f"a {SECRET} cat"


def test_an_inpainted_picture_is_made_again_with_its_files_and_only_with_all_of_them(run):
    flags = "--n_iter 1 --n_samples 1 --steps 3 --skip_grid"
    run(f"inpaint --prompt 'a cat' --image in.png --mask mask.png --outdir out {flags}")
    for name in ("in.png", "mask.png"):
        Path(name).rename(f"my-{name}")
    made = "out/samples/00000.png"
    code, _, error, opened = run(f"replay {made} --init-img my-in.png --outdir again")
    assert (code, opened) == (2, {made})
    assert error.endswith("it names 'mask.png': give --mask\n")
    code, _, error, opened = run(f"replay {made} --mask my-mask.png --outdir again")
    assert (code, opened) == (2, {made})
    assert error.endswith("it names 'in.png': give --init-img\n")
    code, *_, opened = run(f"replay {made} --init-img my-in.png --mask my-mask.png --outdir again")
    assert code == 0
    assert opened == {made, "my-in.png", "my-mask.png"}
    np.testing.assert_array_equal(
        np.asarray(open_image(made)), np.asarray(open_image("again/samples/00000.png"))
    )


def difference(one, other):
    """The mean of two pictures' differences, in grey levels."""
    one, other = (np.asarray(open_image(path)).astype(float) for path in (one, other))
    return np.abs(one - other).mean()


@pytest.mark.parametrize("name", ["txt2img", "hires", "a1111"])
def test_pictures_of_version_01_are_made_again(run, name):
    """To the bit where numbers are rounded as on the machine that made them. On another, random
    weights make several grey levels of the last bits, behind an enlarged picture of 8 bits; another
    seed is 40 away."""
    code, out, _, _ = run(f"replay {DATA / name}.png --outdir again")
    assert code == 0
    assert out.splitlines()[1:] == [f"{DATA / name}.png: made by ldm", "again/samples/00000.png"]
    assert difference(DATA / f"{name}.png", "again/samples/00000.png") < 8
    assert '"scale": ' in read_text(DATA / f"{name}.png")["ldm"], "an old name"
    assert '"guidance_scale": ' in read_text("again/samples/00000.png")["ldm"]
