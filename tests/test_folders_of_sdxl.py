"""Folders with a second text encoder, as they are found; and the refiner's, which has no first."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.models.weights import CheckpointError, inspect, read, save
from ldm.models.weights.saving import renamed
from tiny_families import SMALL, random_model


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "folder", random_model(SMALL["sdxl"]), "diffusers")
    return tmp_path / "folder"


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def assert_whole(path, dtype=torch.float32):
    ours, theirs = renamed(random_model(SMALL["sdxl"]), "ldm"), renamed(read(path), "ldm")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        wide = tensor.to(dtype).float() if name.startswith("text2.") else tensor
        assert torch.equal(theirs[name], wide), name


def test_the_second_text_encoder_in_shards(folder):
    part = folder / "text_encoder_2"
    whole, places = load_file(part / "model.safetensors"), {}
    for i in (1, 2):
        file = f"model-0000{i}-of-00002.safetensors"
        inside = dict(sorted(whole.items())[i - 1 :: 2])
        save_file(inside, part / file)
        places |= dict.fromkeys(inside, file)
    (part / "model.safetensors").unlink()
    (part / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert_whole(folder)
    (part / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"text_encoder_2 lacks 1 of its 2 files"):
        read(folder)


def test_the_second_text_encoder_in_half_precision(folder):
    part = folder / "text_encoder_2"
    half = {name: x.half() for name, x in load_file(part / "model.safetensors").items()}
    save_file(half, part / "model.fp16.safetensors")
    assert_whole(folder)
    (part / "model.safetensors").unlink()
    assert_whole(folder, torch.float16)


def test_links_into_a_cache(folder, tmp_path):
    """Hugging Face's snapshots are links to files that have no names of their own."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    for i, file in enumerate(path for path in sorted(folder.rglob("*")) if path.is_file()):
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(shutil.move(file, blobs / f"{i}"))
    assert_whole(snapshot)
    assert inspect(snapshot).loadable


def test_each_tokenizer_has_its_padding(folder):
    assert [tower.pad for tower in read(folder).family.text] == [None, 0]
    pads = {
        name: json.loads((folder / name / "tokenizer_config.json").read_text())["pad_token"]
        for name in ("tokenizer", "tokenizer_2")
    }
    assert pads == {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}


def test_two_tokenizers_must_be_one(folder):
    (folder / "tokenizer_2" / "merges.txt").write_text("#version: 0.2\nd o\n")
    with pytest.raises(CheckpointError, match="two tokenizers that are not the same"):
        read(folder)


def test_the_refiner_has_the_second_text_encoder_alone(tmp_path):
    model = random_model(SMALL["sdxl-refiner"])
    save(tmp_path / "refiner", model, "diffusers")
    assert not (tmp_path / "refiner" / "text_encoder").exists()
    index = json.loads((tmp_path / "refiner" / "model_index.json").read_text())
    assert index["text_encoder"] == index["tokenizer"] == [None, None]
    assert index["requires_aesthetics_score"]
    assert not index["force_zeros_for_empty_prompt"]
    assert read(tmp_path / "refiner").family.conditioning == ("sizes_and_score",)


def test_another_count_of_numbers_is_refused(folder):
    edit(folder / "unet" / "config.json", addition_time_embed_dim=16)
    with pytest.raises(CheckpointError, match=r"configs that cannot be: .*3 numbers"):
        read(folder)


def test_other_channels_are_refused(folder):
    edit(folder / "unet" / "config.json", in_channels=6)
    with pytest.raises(CheckpointError, match=r"configs that cannot be: .*2 channels beside"):
        read(folder)
