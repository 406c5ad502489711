"""The scripts as a user runs them: in processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from ldm.images.files import open_image, read_text
from ldm.metadata import read_metadata
from ldm.pipeline.pause import read_paused

ROOT = Path(__file__).parent.parent


def run(folder, *command):
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, *map(str, command)]
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "command", [[ROOT / "scripts/txt2img.py"], ["-m", "ldm", "txt2img"]], ids=["script", "module"]
)
def test_txt2img(tmp_path, tiny_file, command):
    flags = ["--prompt", "a cat", "--ckpt", tiny_file, "--n_iter", 1, "--n_samples", 1]
    done = run(tmp_path, *command, *flags)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    path = tmp_path / "outputs/txt2img-samples/samples/00000.png"
    assert open_image(path).size == (16, 16)
    assert read_text(path)["parameters"].startswith("a cat\nSteps: 4, Sampler: Euler")
    assert done.stderr == ""  # no terminal, and no bar


def test_img2img(tmp_path, tiny_file):
    Image.new("RGB", (16, 24), "red").save(tmp_path / "in.png")
    script = ROOT / "scripts/img2img.py"
    done = run(
        tmp_path,
        script,
        "--prompt",
        "a cat",
        "--init-img",
        "in.png",
        "--ckpt",
        tiny_file,
        "--n_samples",
        1,
    )
    assert done.returncode == 0, done.stderr
    path = tmp_path / "outputs/img2img-samples/samples/00000.png"
    assert open_image(path).size == (16, 24)
    assert read_metadata(path).request.guidance_scale == 5  # CompVis's, where it is not given


def test_any_number_of_processes_writes_the_same_files(tmp_path, tiny_file):
    script, torchrun = (
        ROOT / "scripts/txt2img.py",
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"],
    )
    (tmp_path / "p.txt").write_text("one\ntwo\nthree --sampler dpmpp_sde\nfour\nfive\n")
    flags = [
        "--from-file",
        "p.txt",
        "--n_iter",
        1,
        "--n_samples",
        2,
        "--ckpt",
        tiny_file,
        "--outdir",
    ]
    done = run(tmp_path, script, *flags, "one")
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, *torchrun, 2, script, *flags, "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("5 pictures of 16 x 16") == done.stdout.count("device cpu") == 1
    assert ": euler / dpmpp_sde, karras, 4 of 4 steps, " in done.stdout
    roots = tmp_path / "one", tmp_path / "two"
    files = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.png")}
        for root in roots
    ]
    assert len(files[0]) == 6
    assert files[0] == files[1]


def test_several_processes_plan_and_pause_once(tmp_path, tiny_file):
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        2,
        ROOT / "scripts/txt2img.py",
    ]
    flags = [
        "--prompt",
        "a cat",
        "--n_iter",
        2,
        "--n_samples",
        1,
        "--steps",
        2,
        "--ckpt",
        tiny_file,
        "--outdir",
        "out",
    ]
    done = run(tmp_path, *torchrun, *flags, "--dry_run")
    assert done.stdout.count("grid-0000.png: all of them") == 1, done.stderr
    done = run(tmp_path, *torchrun, *flags, "--pause_after", 1)
    paused = [f"paused-000{i}.safetensors" for i in (0, 1)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == paused, done.stderr
    seeds = [read_paused(tmp_path / "out" / name).request.seed for name in paused]
    assert sorted(seeds) == [42, 43]  # whichever process was the first


def test_several_processes_replay_and_resume_what_one_does(tmp_path, tiny_file):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "ldm"]
    flags = [
        "--prompt",
        "a cat",
        "--n_iter",
        3,
        "--n_samples",
        1,
        "--skip_grid",
        "--ckpt",
        tiny_file,
        "--outdir",
    ]
    run(tmp_path, "-m", "ldm", "txt2img", *flags, "out")
    run(tmp_path, "-m", "ldm", "txt2img", *flags, "half", "--pause_after", 2)
    files = {
        "replay": sorted((tmp_path / "out/samples").glob("*.png")),
        "resume": sorted((tmp_path / "half").glob("*.safetensors")),
    }
    for command, given in files.items():
        done = run(tmp_path, *torchrun, command, *given, "--ckpt", tiny_file, "--outdir", command)
        assert done.returncode == 0, done.stderr
        made = sorted((tmp_path / command / "samples").glob("*.png"))
        assert [path.read_bytes() for path in made] == [
            path.read_bytes() for path in files["replay"]
        ]


def test_the_losses_of_a_training_are_drawn(tmp_path):
    done = run(tmp_path, ROOT / "scripts/loss_curves.py", ".")
    assert (done.returncode, done.stderr) == (
        1,
        ". holds no training: give the folder that scripts/train.py wrote\n",
    )
    (tmp_path / "vae").mkdir()
    rows = ({"step": step, "seconds": 2 * step, "loss": 10 / step} for step in range(50, 500, 50))
    (tmp_path / "vae/log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(tmp_path, ROOT / "scripts/loss_curves.py", ".").returncode == 0
    picture = ElementTree.parse(tmp_path / "loss.svg").getroot()
    texts = [node.text for node in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["VAE", "0.05", "0.1", "450 steps, 15 min"]
    (curve,) = picture.iter("{http://www.w3.org/2000/svg}polyline")
    heights = [float(point.partition(",")[2]) for point in curve.get("points").split()]
    assert heights == sorted(heights)  # down the page


@pytest.mark.parametrize(
    "log", ["", "{", "[]", '{"step": 1}', '{"step": 0, "seconds": 1, "loss": 0}']
)
def test_a_log_that_is_none_is_one_line(tmp_path, log):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/log.jsonl").write_text(log)
    done = run(tmp_path, ROOT / "scripts/loss_curves.py", ".")
    assert done.returncode == 1
    assert done.stderr.startswith("vae/log.jsonl is no log of a training: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("flag", ["--count", "--batch"])
def test_an_evaluation_of_nothing_is_a_mistake(tmp_path, flag):
    done = run(tmp_path, ROOT / "scripts/evaluate.py", flag, 0)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"argument {flag}: '0' is no whole number of at least 1\n")


def test_an_evaluation_takes_the_number_formats_of_networks(tmp_path):
    done = run(tmp_path, ROOT / "scripts/evaluate.py", "--dtype", "int8")
    assert (done.returncode, done.stdout) == (2, "")
    assert "argument --dtype: invalid choice: 'int8'" in done.stderr
    assert "bfloat16" in done.stderr


@pytest.mark.parametrize("command", ["train.py --outdir out", "evaluate.py", "loss_curves.py ."])
def test_ctrl_c_while_torch_loads_is_one_line(tmp_path, command):
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))}
    script, *flags = command.split()
    line = [sys.executable, ROOT / "scripts" / script, *flags]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert re.fullmatch(r"\nstopped.*\n", done.stderr)


def test_the_stages_of_a_training_are_drawn_in_their_order_under_their_titles(tmp_path):
    for name in ("unet", "decoder", "reading", "vae", "else"):  # "reading": joint fine-tuning once
        (tmp_path / name).mkdir()
        rows = [{"step": step, "seconds": step, "loss": 1 / step} for step in (50, 100)]
        (tmp_path / name / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(tmp_path, ROOT / "scripts/loss_curves.py", ".").returncode == 0
    picture = ElementTree.parse(tmp_path / "loss.svg").getroot()
    bold = [node.text for node in picture.iter() if node.get("font-weight") == "bold"]
    assert bold == ["VAE", "U-Net", "joint fine-tuning", "decoder"]


def test_a_training_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "taken").write_text("")
    done = run(tmp_path, ROOT / "scripts/train.py", "--outdir", "taken", "--device", "cpu")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "train.py: error: cannot train into 'taken': File exists\n"


def test_an_interrupted_training_says_so_in_one_line(tmp_path):
    script, flags = ROOT / "scripts/train.py", ["--outdir", "out", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, script, *flags, "--set", "scenes=16"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "out/vae/samples").exists() and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in errors
    assert errors.endswith("\nstopped: the same command goes on from the last checkpoint\n")


def test_asking_for_help_changes_nothing(tmp_path):
    page = ROOT / "ldm/samplers/README.md"
    before = page.stat().st_mtime_ns
    done = run(tmp_path, ROOT / "scripts/sampler_table.py", "--help")
    assert (done.returncode, done.stdout[:6]) == (0, "usage:"), done.stderr
    assert page.stat().st_mtime_ns == before


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    done = run(tmp_path, ROOT / "scripts/img2img.py", "--init-img", "nowhere.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ldm img2img: error: there is no picture 'nowhere.png'\n"
    assert list(tmp_path.iterdir()) == []
