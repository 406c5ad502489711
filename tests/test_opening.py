"""What is wrong with a file, said in one line."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ldm.models.families import Family
from ldm.models.keymaps import table
from ldm.models.weights import CheckpointError, foreign, inspect, mapped, read, save
from ldm.models.weights.matching import match
from ldm.models.weights.saving import renamed


@pytest.fixture
def checkpoint(tiny_checkpoint):
    return tiny_checkpoint


@pytest.fixture
def compvis(tiny_compvis):
    return tiny_compvis


@pytest.fixture
def good(checkpoint, tmp_path):
    path = tmp_path / "good.safetensors"
    save(path, checkpoint, "compvis")
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><head>", "a web page"),
        (b"\n\n <html>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4265380512\n",
            "git lfs pull",
        ),
        (b'{"error": "Access denied"}', "JSON text"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (
            b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
            "a pickle that torch did not write",
        ),
        (b"\0" * 5000, "begins with zeros"),
        (b"Lorem ipsum dolor sit amet", "begins with b'Lorem ip'"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    for function in (read, inspect):
        with pytest.raises(CheckpointError, match=message) as error:
            function(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_places_where_nothing_is(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no file or folder .*missing\.ckpt"):
        read(tmp_path / "missing.ckpt")
    with pytest.raises(CheckpointError, match="there is no file or folder ~no-such-user/x"):
        read("~no-such-user/x")
    with pytest.raises(CheckpointError, match=r"no model_index\.json$"):
        read(tmp_path)
    (tmp_path / "v1-5.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"give a file, like .*v1-5\.safetensors"):
        read(tmp_path)


def test_a_file_that_is_cut_short(good):
    size = good.stat().st_size
    with good.open("r+b") as file:
        file.truncate(size - 1)
    with pytest.raises(
        CheckpointError, match=r"cut short: 1 bytes of .*B are missing; download it again"
    ):
        read(good)
    with good.open("r+b") as file:
        file.truncate(4000)
    with pytest.raises(CheckpointError, match=r"cut short: only 4 kB of it are here"):
        read(good)


def test_a_large_file_that_is_cut_short(tmp_path):
    """As it is said of a download of Stable Diffusion that stopped at three quarters."""
    header = json.dumps(
        {"a": {"dtype": "U8", "shape": [4 * 10**9], "data_offsets": [0, 4 * 10**9]}}
    ).encode()
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(3_100_000_000)  # sparse: it takes no room
    with pytest.raises(CheckpointError, match=r"3\.1 GB of 4 GB are here"):
        read(path)


def test_a_torch_file_that_is_cut_short(compvis, tmp_path):
    path = tmp_path / "a.ckpt"
    for legacy in (False, True):
        torch.save(compvis, path, _use_new_zipfile_serialization=not legacy)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size * 3 // 4)
        with pytest.raises(CheckpointError, match="cut short"):
            read(path)


def test_a_zip_that_torch_did_not_write(tmp_path):
    shutil.make_archive(str(tmp_path / "a"), "zip", Path(mapped.__file__).parent)
    with pytest.raises(CheckpointError, match=r"0 data\.pkl"):
        read(tmp_path / "a.zip")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none(checkpoint, compvis, tmp_path, value):
    name = "first_stage_model.decoder.conv_in.bias"
    bad = compvis[name].clone()
    bad[3] = value
    torch.save(compvis | {name: bad}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=rf"{name} .* has 1 values"):
        read(tmp_path / "a.ckpt", family=checkpoint.family)


def test_numbers_that_are_too_large_for_the_type(checkpoint, compvis, tmp_path):
    name = "first_stage_model.decoder.conv_in.bias"
    torch.save(compvis | {name: torch.full_like(compvis[name], 60_000.0)}, tmp_path / "a.ckpt")
    read(
        tmp_path / "a.ckpt", dtype=torch.float16, family=checkpoint.family
    )  # only their sum is too large
    torch.save(compvis | {name: torch.full_like(compvis[name], 70_000.0)}, tmp_path / "a.ckpt")
    read(tmp_path / "a.ckpt", family=checkpoint.family)
    with pytest.raises(CheckpointError, match=r"NaN or inf in torch\.float16"):
        read(tmp_path / "a.ckpt", dtype=torch.float16, family=checkpoint.family)


def test_numbers_of_the_wrong_type(checkpoint, compvis, tmp_path):
    name = "first_stage_model.decoder.conv_in.bias"
    torch.save(compvis | {name: compvis[name].int()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=rf"{name} is torch.int32"):
        read(tmp_path / "a.ckpt", family=checkpoint.family)


def test_long_lists_are_cut(checkpoint, tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError) as error:
        read(tmp_path / "a.ckpt", family=checkpoint.family)
    count = len(table(checkpoint.family, "compvis"))
    assert f"{count} missing (model.diffusion_model.time_embed.0.weight, " in str(error.value)
    assert "…" in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "{"}, "states a family that cannot be"),
        ({"family": "[" * 100_000}, "states a family that cannot be"),
        ({"family": "{}"}, "lacks the field"),
        ({"merges": "no pair here"}, "damaged merges"),
        ({"merges": "c a"}, "damaged merges: they make 515 tokens, and not 517"),
    ],
)
def test_headers_that_make_no_sense(checkpoint, tmp_path, change, message):
    metadata = {"family": json.dumps(checkpoint.family.to_dict()), "merges": "c a\nca t</w>\nd o"}
    tensors = {name: tensor.contiguous() for name, tensor in renamed(checkpoint, "ldm").items()}
    save_file(tensors, tmp_path / "a.safetensors", metadata | change)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": {"layers": 10**9}}, "more layers than it has tensors"),
        ({"unet": {"depth": [0, 10**12]}}, "more layers than it has tensors"),
        ({"unet": {"groups": 7}}, "cannot be built"),
        ({"vae": {"image_channels": 10**30}}, "cannot be built"),
        ({"vae": {"image_channels": 10**14}}, "of the wrong kind"),
        ({"text": {"vocabulary": 10**12}}, "of the wrong kind"),
    ],
)
def test_families_that_are_too_large_are_not_built(checkpoint, tmp_path, change, message):
    values = checkpoint.family.to_dict()
    for part, fields in change.items():
        (values[part][0] if part == "text" else values[part]).update(fields)
    assert Family.from_dict(values)
    tensors = {name: tensor.contiguous() for name, tensor in renamed(checkpoint, "ldm").items()}
    save_file(tensors, tmp_path / "a.safetensors", {"family": json.dumps(values)})
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "a.safetensors")


def test_a_complete_file_of_our_own_needs_no_tables_and_another_is_told_what_is_wrong(
    checkpoint, tmp_path, monkeypatch
):
    path, used = tmp_path / "a.safetensors", []
    monkeypatch.setattr(foreign, "match", lambda *args: used.append(1) or match(*args))
    save(path, checkpoint)
    ours = renamed(read(path), "ldm")
    assert all(torch.equal(ours[name], x) for name, x in renamed(checkpoint, "ldm").items())
    assert not used
    tensors = renamed(checkpoint, "ldm")
    tensors["unet.out.bias"] = tensors["unet.out.bias"].int()
    metadata = {"family": json.dumps(checkpoint.family.to_dict())}
    save_file(tensors, path, metadata)
    with pytest.raises(
        CheckpointError, match=r"unet\.out\.bias is torch.int32, not floating point"
    ):
        read(path)
    del tensors["unet.out.bias"]
    save_file(tensors | {"surplus": torch.zeros(1)}, path, metadata)
    with pytest.raises(CheckpointError, match=r"1 missing \(unet.out.bias\); 1 unknown"):
        read(path)
    assert len(used) == 2


def test_inspect_lists_everything(good, checkpoint):
    report = inspect(good)
    assert report.loadable
    lines = dict(report.lines())
    count = len(table(checkpoint.family, "compvis"))
    assert lines["layout"].startswith("a safetensors file with CompVis's names, ")
    assert lines["family"] == "tiny"
    assert lines["prediction"] == "eps, as the header of the file says"
    assert lines["tensors"] == f"{count} float32"
    assert lines["mapped"] == f"{count} of {count} parameters"
    assert lines["loadable"] == "yes"
    assert "betas" in lines["not there"]


def test_inspect_of_what_does_not_fit(compvis, checkpoint, tmp_path):
    name = "first_stage_model.decoder.conv_in.bias"
    changed = {key: tensor for key, tensor in compvis.items() if key != name} | {
        "surplus": torch.zeros(1)
    }
    metadata = {"family": json.dumps(checkpoint.family.to_dict())}
    save_file(changed, tmp_path / "a.safetensors", metadata)
    report = inspect(tmp_path / "a.safetensors")
    assert not report.loadable
    lines = dict(report.lines())
    assert lines["missing"] == f"1: {name}"
    assert lines["unknown"] == "1: surplus"
