"""Several processes that save into one folder: nothing is lost, and nothing is replaced."""

import multiprocessing
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.cli.folder import Folder, save_new
from ldm.cli.instead import put_away
from ldm.cli.previews import Emerging
from ldm.images.files import read_text
from ldm.pipeline.events import Preview
from ldm.pipeline.pause import Paused, read_paused
from ldm.request import Request

ROOT = Path(__file__).parent.parent
SPAWN = multiprocessing.get_context("spawn")


def emerging(animate=False):
    return Emerging(Namespace(animate=animate, preview_every=None if animate else 1))


def save_preview(folder, number, steps, image):
    """-> its name"""
    emerging().take(folder, number, Preview(0, steps, image))
    return max(folder.path.glob("previews/*"), key=lambda path: path.stat().st_mtime_ns).name


def save_all(path, level, barrier):
    """Twelve pictures of one grey level in each way that there is."""
    image = Image.new("RGB", (4, 4), (level, level, level))
    folder = Folder(path)
    barrier.wait()
    for i in range(12):
        for step in (1, 2):
            emerging().take(folder, i, Preview(0, step, image))
        frames = emerging(animate=True)
        frames.take(folder, i, Preview(0, 3, Image.new("RGB", (4, 4))))
        frames.animation(folder, i, image)
        folder.save(i, image, {"parameters": f"{level} {i}"})
        folder.save_grid(image, {})
        put_away(folder, Paused(Request(seed=level), "m", [torch.zeros(1, 1, 1, 1)]))


def test_of_three_processes_at_once_every_file_is_kept(tmp_path):
    barrier = SPAWN.Barrier(3)
    levels = (10, 20, 30)
    runs = [SPAWN.Process(target=save_all, args=(tmp_path, n, barrier)) for n in levels]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    samples = sorted((tmp_path / "samples").iterdir())
    texts = [read_text(path)["parameters"].split() for path in samples]
    assert sorted(texts) == sorted([str(n), str(i)] for n in levels for i in range(12))
    for level in levels:  # in the order in which they were drawn
        own = [int(i) for n, i in texts if int(n) == level]
        assert own == list(range(12))
    assert len(list((tmp_path / "previews").iterdir())) == 72
    assert len(list((tmp_path / "animations").iterdir())) == 36
    assert len(list(tmp_path.glob("grid-*.png"))) == 36
    paused = [read_paused(path).request.seed for path in tmp_path.glob("paused-*.safetensors")]
    assert sorted(paused) == [10] * 12 + [20] * 12 + [30] * 12
    assert not list(tmp_path.rglob(".*"))


def test_two_commands_into_one_folder_lose_nothing(tiny_file, tmp_path):
    command = [sys.executable, "-m", "ldm", "txt2img", "--ckpt", tiny_file, "--outdir", tmp_path]
    command += ["--n_iter", "2", "--n_samples", "2", "--preview_every", "2"]
    runs = [
        subprocess.Popen([*command, "--seed", seed], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for seed in ("100", "200")
    ]
    printed = [line for run in runs for line in run.communicate()[0].splitlines()]
    assert [run.returncode for run in runs] == [0, 0]
    samples = sorted((tmp_path / "samples").iterdir())
    assert sorted(line for line in printed if "/samples/" in line) == [*map(str, samples)]
    seeds = {Request.from_json(read_text(path)["ldm"]).seed for path in samples}
    assert seeds == {100, 101, 102, 103, 200, 201, 202, 203}
    assert len(list(tmp_path.glob("grid-*.png"))) == 2
    assert len(list((tmp_path / "previews").iterdir())) == 16


def test_previews_of_a_run_have_the_number_of_its_picture(tmp_path):
    image = Image.new("RGB", (4, 4))
    one, two = Folder(tmp_path), Folder(tmp_path)
    assert save_preview(one, 0, 1, image) == "00000-001.png"
    assert save_preview(two, 0, 2, image) == "00001-002.png"  # though 00000-002 is free
    assert save_preview(one, 0, 2, image) == "00000-002.png"
    assert two.save(0, image, {}).name == "00001.png"
    assert two.save(1, image, {}).name == "00002.png"
    assert one.save(0, image, {}).name == "00000.png"
    assert one.save(1, image, {}).name == "00003.png"
    assert Folder(tmp_path).sample(0).name == "00004.png"


def test_a_name_is_taken_where_the_file_system_has_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refuse)
    names = [tmp_path / "a", tmp_path / "b"]
    made = [save_new(names, lambda path, text=text: path.write_text(text)) for text in "xy"]
    assert made == names
    assert [path.read_text() for path in names] == ["x", "y"]


def test_a_failed_save_leaves_nothing(tmp_path):
    def fail(path):
        path.write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        save_new([tmp_path / "a"], fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["png", "webp"])
def test_a_picture_that_is_there_is_not_replaced_by_one_of_its_name(tmp_path, format):
    Image.new("RGB", (4, 4)).save(tmp_path / f"x.{format}")
    with pytest.raises(ValueError, match=rf"x.{format} is there, and is not replaced"):
        Folder(tmp_path, ["x.png"], format)
    folder = Folder(tmp_path, ["y.png"])
    Image.new("RGB", (4, 4), "red").save(tmp_path / "y.png")  # by another process, meanwhile
    assert folder.save(0, Image.new("RGB", (4, 4)), {}) == tmp_path / "y-1.png"
    assert np.asarray(Image.open(tmp_path / "y.png"))[0, 0, 0] == 255
