"""Files that a request names: which fields name any, and that a paused drawing, which may come from
anybody, opens none of them."""

import os
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers import latents, random_picture
from ip_adapters import flat, ip_adapter
from ldm.metadata.named_files import FILES
from ldm.models.weights import CheckpointError
from ldm.models.weights.write_safetensors import write_safetensors
from ldm.pipeline.makers import depth_estimate
from ldm.pipeline.pause import Paused, pause, read_paused, save_paused
from ldm.request import Request
from ldm.runtime.checks import kinds
from small_families import build
from tiny_families import SMALL

WORDS = {  # no files, but texts
    "prompt", "negative", "sampler", "schedule", "compat", "watermark", "control_kind",
}  # fmt: skip
PICTURE = random_picture(64, 64)
OPENED: list[str] | None = None  # what is opened or listed, while somebody looks


def note(event, arguments):
    if OPENED is not None and event in ("open", "os.listdir", "os.scandir"):
        OPENED.append(os.fspath(arguments[0]) if not isinstance(arguments[0], int) else "")


sys.addaudithook(note)  # which stays until the process ends


@pytest.fixture
def opened(monkeypatch):
    """The paths of all that this process opens from now on."""
    found: list[str] = []
    monkeypatch.setattr(sys.modules[__name__], "OPENED", found)
    return found


@pytest.fixture(scope="module")
def told_depth():
    return build(SMALL["sd2-depth"])


def test_of_every_text_in_a_request_it_is_said_whether_it_names_a_file():
    """A new field that is a text: `option(file=True)`, or one more of WORDS."""
    texts = {f.name for f in fields(Request) if kinds(Request)[f.name] is str}
    chosen = {f.name for f in fields(Request) if f.metadata["choices"] is not None}
    assert texts - chosen == {*FILES, *WORDS}


@pytest.mark.parametrize("form", ["{}", "__{}__", "<lora:{}:1>", "embedding:{}", "a {{{}|b}}"])
@pytest.mark.parametrize("name", sorted(WORDS))
def test_no_other_field_opens_what_it_names(tiny, told_depth, tmp_path, opened, name, form):
    probe = tmp_path / "probe"
    probe.mkdir()
    for file in ("probe.txt", "probe.safetensors"):
        (probe / file).write_text("secret")
    opened.clear()
    for value in (probe, probe / "probe.txt", probe / "probe.safetensors", probe / "probe"):
        given = {"prompt": "x", "steps": 1} | {name: form.format(value)}
        for model, depth in ((tiny, None), (told_depth, torch.rand(16, 16))):
            with pytest.MonkeyPatch.context() as patch, suppress(ValueError):
                patch.chdir(probe)
                latents(model, model.resolve(Request(**given), depth=depth))
    assert not [path for path in opened if "probe" in str(path)]


BESIDE = {  # what makes a field be looked at
    "hires_upscaler": {"hires": 2.0},
    "upscaler": {"upscale": 2.0},
    "control_image": {"control": __file__},
}


def beside(name, folder, model):
    """An IP-Adapter needs its file, and a picture, to look for its vision tower."""
    if name != "vision_tower":
        return BESIDE.get(name, {})
    save_file(flat(ip_adapter("linear", model.unet.config)), folder / "adapter.safetensors")
    PICTURE.save(folder / "seen.png")
    return {
        "control": str(folder / "adapter.safetensors"),
        "control_image": str(folder / "seen.png"),
    }


@pytest.mark.parametrize("name", sorted(FILES))
def test_those_that_name_files_do_open_them(tiny, told_depth, tmp_path, opened, name):
    """Without which the test above would not see anything."""
    if name == "depth_model":
        pytest.importorskip("transformers")
    path, folder = tmp_path / "probe.png", tmp_path / "folder"
    PICTURE.save(path)
    folder.mkdir()
    for file in ("config.json", "probe.safetensors"):
        (folder / file).write_text("{}")
    model = told_depth if name.startswith("depth") else tiny
    image = PICTURE if name in ("mask", "depth_model", "upscaler", "control") else None
    folders = "wildcards", "depth_model", "lora_dir", "embedding_dir"
    value, more = folder if name in folders else path, beside(name, tmp_path, model)
    opened.clear()
    with suppress(ValueError):  # no model is there
        request = {"prompt": "probe <lora:probe:1>", "steps": 1, name: str(value)}
        latents(model, Request(**request, **more), image)
    assert [found for found in opened if str(value) in str(found)]


# Paused drawings


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_paused_drawing_is_refused_that_names_a_file_and_does_not_hold_it(run, opened, name):
    Path("probe").mkdir()
    PICTURE.save("probe/x.png")
    request = Request("x", steps=2, **{name: "probe/x.png"})
    save_paused("half.safetensors", Paused(request, "tiny", [torch.zeros(1, 4, 8, 8)]))
    opened.clear()
    code, out, error = run("resume half.safetensors --outdir out")
    assert (code, error.count("\n")) == (2, 1)
    assert f"it names 'probe/x.png': give {FILES[name]}" in error
    assert not [path for path in opened if "probe" in str(path)]
    assert not Path("out").exists()
    assert "device" not in out, "before the model is loaded"


def test_what_is_given_anew_is_used(run, tiny_file):
    Path("theirs.safetensors").symlink_to(tiny_file)
    line = "txt2img --prompt 'a cat' --steps 4 --n_iter 1 --n_samples 1 --skip_grid"
    assert run(f"{line} --refiner theirs.safetensors --outdir whole")[0] == 0
    assert run(f"{line} --refiner theirs.safetensors --outdir half --pause_after 2")[0] == 0
    Path("theirs.safetensors").rename("mine.safetensors")
    code, _, error = run("resume half/paused-0000.safetensors --outdir half")
    assert code == 2
    assert "it names 'theirs.safetensors': give --refiner" in error
    code, *_ = run("resume half/paused-0000.safetensors --outdir half --refiner mine.safetensors")
    assert code == 0
    whole, half = (Image.open(f"{folder}/samples/00000.png") for folder in ("whole", "half"))
    assert whole.tobytes() == half.tobytes()


def test_an_estimated_depth_is_held_and_not_estimated_again(told_depth, tmp_path, monkeypatch):
    asked = []

    def estimate(image, name, device):
        asked.append(name)
        return torch.arange(64.0).reshape(1, 1, 8, 8)

    monkeypatch.setattr(depth_estimate, "estimate", estimate)
    monkeypatch.setattr("ldm.pipeline.makers.depth_estimate.check_estimator", lambda name: None)
    PICTURE.save(tmp_path / "in.png")
    request = Request("x", steps=3, depth_model="some/estimator", image=str(tmp_path / "in.png"))
    whole = latents(told_depth, request)
    assert asked == ["some/estimator"]
    save_paused(tmp_path / "half", pause(told_depth, told_depth.resolve(request), 1))
    assert len(asked) == 2
    monkeypatch.delattr(depth_estimate, "estimate")
    (tmp_path / "in.png").unlink()
    paused = read_paused(tmp_path / "half")
    again = latents(told_depth, paused.resolve(told_depth), record=paused.record)
    assert torch.equal(again, whole)
    assert paused.request.depth_model == "some/estimator", "as the picture's metadata say"


def test_a_picture_from_python_is_held_or_asked_for(tiny, tmp_path):
    mask = Image.new("L", PICTURE.size, "white")
    job = tiny.resolve(Request("x", steps=3), PICTURE, mask)
    with pytest.raises(ValueError, match="must be kept, too: give it as image"):
        pause(tiny, job, 1)
    save_paused(tmp_path / "half", pause(tiny, job, 1, PICTURE, mask))
    paused = read_paused(tmp_path / "half")
    again = latents(tiny, paused.resolve(tiny), record=paused.record)
    assert torch.equal(again, latents(tiny, job))


@pytest.mark.parametrize(
    ("name", "tensor", "what"),
    [
        ("image", torch.zeros(4, 4), r"a picture of torch.float32 \(4, 4\)"),
        ("image", torch.zeros(4, 0, 3, dtype=torch.uint8), r"\(4, 0, 3\)"),
        ("mask", torch.zeros(4, 4, 4, dtype=torch.uint8), r"\(4, 4, 4\)"),
        ("depth", torch.zeros(2, 3, 4), "one grey level a pixel"),
        ("denoised.x", torch.zeros(1), "denoised.1"),
    ],
)
def test_damaged_paused_drawings(tmp_path, name, tensor, what):
    tensors = {"denoised.0": torch.zeros(1, 4, 8, 8), name: tensor}
    metadata = {"request": Request("x").to_json(), "model": "tiny"}
    write_safetensors(tmp_path / "half", tensors, metadata)
    with pytest.raises(CheckpointError, match=f"is damaged, as a paused drawing: .*{what}"):
        read_paused(tmp_path / "half")


def test_a_record_of_another_size(tiny):
    request = Request("x", steps=3)
    for wrong in (torch.zeros(1, 4, 4, 8), torch.zeros(2, 4, 8, 8), torch.zeros(4)):
        record = [torch.zeros(1, 4, 8, 8), wrong]
        with pytest.raises(ValueError, match="the record is of another drawing: denoised latents"):
            Paused(request, "tiny", record).resolve(tiny)
    assert Paused(request, "tiny", [torch.zeros(1, 4, 8, 8)]).resolve(tiny).request.total == 1
