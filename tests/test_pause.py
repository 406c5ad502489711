"""A sampling that is left and taken up again goes the same way, whatever the sampler remembers."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import latents, network_calls, random_picture
from ldm.models.weights import CheckpointError, inspect
from ldm.pipeline.pause import Paused, pause, read_paused, save_paused
from ldm.request import Request
from ldm.samplers import SAMPLERS
from ldm.samplers.wrappers import recorded

PICTURE = random_picture(16, 16)
MASK = Image.fromarray(np.eye(16, dtype=np.uint8) * 255)


def left_after(model, steps, request):
    record = []
    for step in model.steps(request, record=record):
        if step.index + 1 == steps:
            return record
    raise AssertionError("it ended before")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_goes_on_to_the_same_picture(tiny, sampler):
    request = Request("a [cat:dog:3] AND night", sampler=sampler, seed=9, steps=5)
    whole = [step.x for step in tiny.steps(request)]
    record = left_after(tiny, 2, request)
    known = len(record)
    with network_calls(tiny) as calls:
        again = [step.x for step in tiny.steps(request, record=record)]
    assert len(again) == len(whole)
    assert all(torch.equal(one, other) for one, other in zip(again, whole))
    assert 0 < len(calls) == len(record) - known


def test_a_file_carries_all_that_is_needed(tiny, tmp_path):
    wanted = Request("a {cat|dog}", seed=9, steps=6, sampler="dpmpp_2m", strength=0.7, width=12)
    job = tiny.resolve(wanted, PICTURE, MASK)
    whole = latents(tiny, job)
    record = left_after(tiny, 2, job)
    save_paused(tmp_path / "half", Paused(job.request, tiny.name, record, PICTURE, MASK))
    paused = read_paused(tmp_path / "half")
    assert (paused.request, paused.model) == (job.request, "tiny")
    assert len(paused.record) == len(record)
    again = tiny.resolve(paused.request, paused.image, paused.mask)
    assert again.request == job.request
    with network_calls(tiny) as calls:
        assert torch.equal(latents(tiny, again, record=paused.record), whole)
    assert 0 < len(calls) < len(paused.record)


def test_pausing_keeps_the_pictures_that_the_request_names(tiny, tmp_path):
    PICTURE.save(tmp_path / "in.png")
    MASK.save(tmp_path / "mask.png")
    names = {"image": str(tmp_path / "in.png"), "mask": str(tmp_path / "mask.png")}
    job = tiny.resolve(Request("a cat", seed=9, steps=3, **names))
    paused = pause(tiny, job, 2)
    assert (paused.request, paused.model, len(paused.record)) == (job.request, "tiny", 2)
    again = tiny.resolve(paused.request, paused.image, paused.mask)
    assert torch.equal(latents(tiny, again, record=paused.record), latents(tiny, job))


def test_a_pause_within_the_second_pass_of_a_larger_size(tiny, tmp_path):
    job = tiny.resolve(Request("a cat", seed=9, steps=4, sampler="euler", hires=2.0))
    whole = [step.x for step in tiny.steps(job)]
    record: list[torch.Tensor] = []
    for step in tiny.steps(job, record=record):
        if step.x.shape[-1] > whole[0].shape[-1]:
            break
    assert len({result.shape for result in record}) == 2
    save_paused(tmp_path / "half", Paused(job.request, tiny.name, record))
    paused = read_paused(tmp_path / "half")
    with network_calls(tiny) as calls:
        again = [step.x for step in tiny.steps(paused.request, record=paused.record)]
    assert all(torch.equal(one, other) for one, other in zip(again, whole, strict=True))
    assert len(calls) == len(whole) - len(record)


def test_a_pause_that_cannot_be_written_leaves_nothing(tiny, tmp_path, monkeypatch):
    def half(path, *rest):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("ldm.pipeline.pause.write_safetensors", half)
    with pytest.raises(OSError, match="no space left"):
        save_paused(tmp_path / "half", Paused(Request(), "tiny", [torch.zeros(1, 4, 8, 8)]))
    assert list(tmp_path.iterdir()) == []


def test_without_an_image(tiny, tmp_path):
    save_paused(tmp_path / "half", pause(tiny, tiny.resolve(Request("a cat")), 1))
    paused = read_paused(tmp_path / "half")
    assert (paused.image, paused.mask) == (None, None)


def test_what_is_no_paused_drawing(tmp_path, tiny_file):
    with pytest.raises(ValueError, match="nothing has been computed yet"):
        save_paused(tmp_path / "x", Paused(Request(), "tiny", []))
    with pytest.raises(
        CheckpointError, match="is no paused drawing: give a file that --pause_after made"
    ):
        read_paused(tiny_file)
    (tmp_path / "x").write_text("{}")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        read_paused(tmp_path / "x")


def test_a_record_is_played_once_and_then_grows():
    calls = []

    def denoise(x, sigma):
        calls.append(sigma)
        return x + sigma

    x, record = torch.zeros(1), [torch.tensor([7.0])]
    again = recorded(denoise, record)
    assert [again(x, sigma).item() for sigma in (1.0, 2.0, 3.0)] == [7, 2, 3]
    assert calls == [2.0, 3.0]
    assert [tensor.item() for tensor in record] == [7, 2, 3]


def test_inspect_says_what_a_paused_drawing_is(tiny, tmp_path):
    request = Request("a cat", sampler="euler", steps=3)
    save_paused(tmp_path / "half.safetensors", pause(tiny, tiny.resolve(request), 2))
    found = inspect(tmp_path / "half.safetensors")
    assert found.what == "a drawing that --pause_after left, after 2 calls of the network"
    lines = dict(found.lines())
    assert (lines["prompt"], lines["loadable"]) == ("a cat", "yes, with ldm resume")
    assert "family" not in lines
