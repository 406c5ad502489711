"""Checkpoints: every layout there and back, bit for bit, nothing held twice, and what is reported
of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.models.families import SD1
from ldm.models.weights import Checkpoint, errors, inspect, mapped, read, save
from ldm.models.weights.opening import open_checkpoint
from ldm.models.weights.recognise import shapes
from ldm.models.weights.saving import renamed

LAYOUTS = ("ldm", "compvis", "diffusers")


@pytest.fixture
def checkpoint(tiny_checkpoint):
    return tiny_checkpoint


@pytest.fixture
def compvis(tiny_compvis):
    return tiny_compvis


def parameters(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return renamed(checkpoint, "ldm")


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    """Bit for bit."""
    mine, yours = parameters(one), parameters(other)
    assert mine.keys() == yours.keys()
    for name in mine:
        assert mine[name].dtype == yours[name].dtype, name
        assert torch.equal(mine[name], yours[name]), name


def place(folder: Path, layout: str) -> Path:
    return folder / "model" if layout == "diffusers" else folder / "model.safetensors"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_round_trip_is_bit_for_bit(checkpoint, tmp_path, layout, dtype):
    path = place(tmp_path, layout)
    save(path, checkpoint, layout)
    narrow = read(path, dtype=dtype)
    assert_same(narrow, read(path, dtype=dtype))
    again = place(tmp_path / "again", layout)
    save(again, narrow, layout)
    assert_same(read(again, dtype=dtype), narrow)
    if dtype == torch.float32:
        assert_same(narrow, checkpoint)
    assert narrow.merges == checkpoint.merges
    assert narrow.family == (checkpoint.family if layout != "diffusers" else narrow.family)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_converts_to_every_other(checkpoint, tmp_path, layout):
    first, second = place(tmp_path, layout), tmp_path / "second"
    save(first, checkpoint, layout)
    save(second, read(first), "diffusers")
    assert_same(read(second), checkpoint)


@pytest.mark.parametrize("name", ["q.safetensors", "q.CKPT", "q.bin", "below/q.pt"])
def test_a_folder_is_not_called_as_a_file(checkpoint, tmp_path, name):
    with pytest.raises(ValueError, match="is the name of a file, and diffusers' layout"):
        save(tmp_path / name, checkpoint, "diffusers")
    assert not any(tmp_path.iterdir())
    save(tmp_path / "v1.5", checkpoint, "diffusers")


def test_half_precision_is_rounded_once(checkpoint, tmp_path):
    save(tmp_path / "a.safetensors", checkpoint)
    half = parameters(read(tmp_path / "a.safetensors", dtype=torch.float16))
    for name, tensor in parameters(checkpoint).items():
        assert torch.equal(half[name], tensor.half())


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files(checkpoint, compvis, tmp_path, legacy):
    path = tmp_path / "model.safetensors"  # a wrong name; what counts is the content
    content = {
        "state_dict": compvis,
        "epoch": 3,
        "optimizer": {0: torch.zeros(2, 3), "betas": (0.9, 0.99)},
    }
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert_same(read(path, family=checkpoint.family), checkpoint)
    torch.save({name: torch.nn.Parameter(tensor) for name, tensor in compvis.items()}, path)
    assert_same(read(path, family=checkpoint.family), checkpoint)


def test_torch_files_of_views(checkpoint, compvis, tmp_path):
    """Tensors that share a storage, start in its middle, or lie in it crosswise."""
    name = "model.diffusion_model.time_embed.0.weight"
    rows = compvis[name].shape[0]
    both = torch.cat([torch.zeros_like(compvis[name]), compvis[name]])
    views = compvis | {name: both[rows:], "model.diffusion_model.time_embed.2.weight": None}
    other = compvis["model.diffusion_model.time_embed.2.weight"]
    views["model.diffusion_model.time_embed.2.weight"] = other.t().contiguous().t()
    for legacy in (False, True):
        torch.save(views, tmp_path / "a.ckpt", _use_new_zipfile_serialization=not legacy)
        assert_same(read(tmp_path / "a.ckpt", family=checkpoint.family), checkpoint)


def test_the_safetensors_library_reads_what_we_write(checkpoint, tmp_path):
    for layout in ("ldm", "compvis"):
        save(tmp_path / "a.safetensors", checkpoint, layout)
        theirs = load_file(tmp_path / "a.safetensors")
        ours = renamed(checkpoint, layout)
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_we_read_what_the_safetensors_library_writes(checkpoint, compvis, tmp_path):
    save_file(compvis | {"betas": torch.zeros(1000)}, tmp_path / "a.safetensors")
    assert_same(read(tmp_path / "a.safetensors", family=checkpoint.family), checkpoint)


def test_a_header_of_any_length_is_read(checkpoint, compvis, tmp_path):
    """Numbers that do not lie at multiples of their size, as in files whose header is not
    padded."""
    save_file(compvis, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    for spaces in (1, 2, 3):
        header = data[8 : 8 + size] + b" " * spaces
        (tmp_path / "b.safetensors").write_bytes(
            len(header).to_bytes(8, "little") + header + data[8 + size :]
        )
        assert_same(read(tmp_path / "b.safetensors", family=checkpoint.family), checkpoint)


def test_own_files_say_what_they_are(checkpoint, tmp_path):
    path = tmp_path / "own.safetensors"
    save(path, checkpoint)
    assert all(name.startswith(("unet.", "vae.", "text.")) for name in load_file(path))
    report = inspect(path)
    assert report.kind.family == checkpoint.family
    assert "header" in report.kind.prediction
    save(
        path,
        replace(checkpoint, family=replace(checkpoint.family, prediction="v", guidance_scale=0)),
    )
    again = read(path)
    assert (again.family.prediction, again.family.guidance_scale) == ("v", 0)


def test_networks_run_after_loading(checkpoint, tmp_path):
    save(tmp_path / "a.safetensors", checkpoint)
    loaded = read(tmp_path / "a.safetensors")
    x, t, context = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 500.0]), torch.randn(2, 5, 16)
    assert torch.equal(loaded.unet(x, t, context), checkpoint.unet(x, t, context))
    assert torch.equal(loaded.vae.decode(x), checkpoint.vae.decode(x))
    assert not loaded.unet.training


def test_an_interrupted_save_changes_nothing(checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    save(path, checkpoint)
    before = path.read_bytes()
    broken = replace(checkpoint, family=replace(SD1, name="not that one"))
    with pytest.raises(KeyError):
        save(path, broken)
    assert path.read_bytes() == before
    folder = tmp_path / "folder"
    save(folder, checkpoint, "diffusers")
    with pytest.raises(ValueError, match="neither bytes nor made"):
        save(folder, replace(checkpoint, merges=(("x", "notapiece"),)), "diffusers")
    assert_same(read(folder), checkpoint)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "folder"]


def test_saving_over_the_file_that_is_loaded(checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    save(path, checkpoint)
    loaded = read(path)
    with torch.no_grad():
        loaded.unet.stem.bias += 1
    save(path, loaded)
    assert_same(read(path), loaded)
    assert torch.equal(loaded.unet.stem.bias, checkpoint.unet.stem.bias + 1)


def test_wrong_places_to_save(checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"\.safetensors"):
        save(tmp_path / "a.ckpt", checkpoint)
    with pytest.raises(ValueError, match="layout 'onnx' is unknown"):
        save(tmp_path / "a.safetensors", checkpoint, "onnx")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love").write_text("dear")
    with pytest.raises(ValueError, match="no diffusers folder"):
        save(tmp_path / "letters", checkpoint, "diffusers")
    (tmp_path / "letters").rename(tmp_path / "letters.safetensors")
    with pytest.raises(ValueError, match=r"letters\.safetensors is a folder, and would be lost"):
        save(tmp_path / "letters.safetensors", checkpoint)
    assert (tmp_path / "letters.safetensors" / "love").read_text() == "dear"


def test_an_empty_folder_is_a_place_to_save(checkpoint, tmp_path):
    (tmp_path / "model").mkdir()
    save(tmp_path / "model", checkpoint, "diffusers")
    assert_same(read(tmp_path / "model"), checkpoint)


@pytest.fixture
def good(checkpoint, tmp_path):
    path = tmp_path / "good.safetensors"
    save(path, checkpoint, "compvis")
    return path


def test_tensors_are_the_file_itself(good):
    """Two readings of a file's tensors give the same memory, so there is one copy; and it is a
    private one."""
    file = open_checkpoint(good)
    before = good.read_bytes()
    name = "model.diffusion_model.time_embed.0.weight"
    one, two = file.weights[name].read(), file.weights[name].read()
    assert one.data_ptr() == two.data_ptr()
    assert one.untyped_storage().nbytes() == one.nbytes
    other = "model.diffusion_model.time_embed.2.weight"
    distance = file.weights[other].read().data_ptr() - one.data_ptr()
    assert distance == file.weights[other].offset - file.weights[name].offset
    one.zero_()
    assert two.abs().sum() == 0
    assert good.read_bytes() == before


def test_converted_tensors_are_copies(good):
    name = "model.diffusion_model.time_embed.0.weight"
    weight = open_checkpoint(good).weights[name]
    expected = weight.read().double()
    assert torch.equal(weight.read(torch.float64), expected)
    assert torch.equal(weight.read().double(), expected)  # what was forgotten is read again


def test_doctests():
    import doctest

    assert doctest.testmod(mapped) == doctest.testmod(errors) == (0, 1)


def test_shapes_of_the_skeleton_are_those_of_real_networks(checkpoint):
    expected = shapes(checkpoint.family, "ldm")
    assert {
        name: tuple(tensor.shape) for name, tensor in parameters(checkpoint).items()
    } == expected
