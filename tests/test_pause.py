"""A sampling that is left and taken up again goes the same way, whatever the sampler remembers."""

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.pause import Paused, read_paused, save_paused
from ldm.request import Request
from ldm.samplers import SAMPLERS, recorded
from ldm.weights import CheckpointError

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
MASK = Image.fromarray(np.eye(16, dtype=np.uint8) * 255)


def left_after(model, steps, request, image=None):
    record = []
    for step in model.steps(request, image, record):
        if step.index + 1 == steps:
            return record
    raise AssertionError("it ended before")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_goes_on_to_the_same_picture(tiny, sampler):
    request = Request("a [cat:dog:3] AND night", sampler=sampler, seed=9, steps=5)
    whole = [step.x for step in tiny.steps(request)]
    record = left_after(tiny, 2, request)
    calls = []
    handle = tiny.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    again = [step.x for step in tiny.steps(request, record=record)]
    handle.remove()
    assert len(again) == len(whole)
    assert all(torch.equal(one, other) for one, other in zip(again, whole))
    assert 0 < len(calls) < len(record)


def test_a_file_carries_all_that_is_needed(tiny, tmp_path):
    wanted = Request("a {cat|dog}", seed=9, steps=6, sampler="dpmpp_2m", strength=0.7, width=12)
    request, canvas = tiny.settle(wanted, PICTURE, mask=MASK)
    whole = [step.x for step in tiny.steps(request, canvas)][-1]
    record = left_after(tiny, 2, request, canvas)
    save_paused(tmp_path / "half", Paused(request, tiny.name, record, PICTURE, MASK))
    paused = read_paused(tmp_path / "half")
    assert (paused.request, paused.model, len(paused.record)) == (request, "tiny", len(record))
    again, canvas = tiny.settle(paused.request, paused.image, mask=paused.mask)
    assert again == request
    assert torch.equal([step.x for step in tiny.steps(again, canvas, paused.record)][-1], whole)


def test_a_pause_within_the_second_pass_of_a_larger_size(tiny, tmp_path):
    wanted = Request("a cat", seed=9, steps=4, sampler="euler", hires=2.0)
    request, canvas = tiny.settle(wanted)
    whole = [step.x for step in tiny.steps(request, canvas)]
    record: list[torch.Tensor] = []
    for step in tiny.steps(request, canvas, record):
        if step.x.shape[-1] > whole[0].shape[-1]:
            break
    assert len({result.shape for result in record}) == 2
    save_paused(tmp_path / "half", Paused(request, tiny.name, record))
    paused = read_paused(tmp_path / "half")
    assert torch.equal([step.x for step in tiny.steps(request, canvas, paused.record)][-1], whole[-1])


def test_a_pause_that_cannot_be_written_leaves_nothing(tiny, tmp_path, monkeypatch):
    def half(path, *rest):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("ldm.pause.write_safetensors", half)
    with pytest.raises(OSError, match="no space left"):
        save_paused(tmp_path / "half", Paused(Request(), "tiny", [torch.zeros(1, 4, 8, 8)]))
    assert list(tmp_path.iterdir()) == []


def test_without_an_image(tiny, tmp_path):
    record = left_after(tiny, 1, Request("a cat"))
    save_paused(tmp_path / "half", Paused(Request("a cat"), "tiny", record))
    paused = read_paused(tmp_path / "half")
    assert (paused.image, paused.mask) == (None, None)


def test_what_is_no_paused_drawing(tmp_path, tiny_file):
    with pytest.raises(ValueError, match="nothing has been computed yet"):
        save_paused(tmp_path / "x", Paused(Request(), "tiny", []))
    with pytest.raises(CheckpointError, match="is no paused drawing: give a file that --pause_after made"):
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
