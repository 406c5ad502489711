"""diffusers folders as they are found: in shards and variants, in a cache, without a tokenizer,
with tokens added."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.clip.tokenizer import clip_merges
from ldm.models.weights import CheckpointError, inspect, read, read_components, save
from ldm.models.weights.folder import _pad, _size
from ldm.models.weights.saving import renamed


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    save(tmp_path / "folder", tiny_checkpoint, "diffusers")
    return tmp_path / "folder"


def assert_whole(path, checkpoint):
    found, wanted = renamed(read(path), "ldm"), renamed(checkpoint, "ldm")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert inspect(path).loadable


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def sharded(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = list(load_file(file).items())
    file.unlink()
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    save_file(dict(weights[::2]), file.with_name(names[0]))
    save_file(dict(weights[1::2]), file.with_name(names[1]))
    places = {name: names[i % 2] for i, (name, _) in enumerate(weights)}
    index = file.with_name("diffusion_pytorch_model.safetensors.index.json")
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def test_weights_in_shards(sharded, folder, tiny_checkpoint):
    assert_whole(folder, tiny_checkpoint)
    unet = read_components(folder / "unet", ["unet"], family=tiny_checkpoint.family)["unet"]
    assert torch.equal(unet.out.weight, tiny_checkpoint.unet.out.weight)


def test_shards_that_are_not_whole(sharded, folder):
    (folder / "unet" / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"unet lacks 1 of its 2 files, such as .*00002-of"):
        read(folder)
    for places in ({"a": "../../secret"}, {"a": "/etc/passwd"}, {"a": 3}, {}, []):
        edit(sharded, weight_map=places)
        with pytest.raises(CheckpointError):
            read(folder)


@pytest.mark.parametrize("variant", ["bf16", "non_ema", "fp16", "fp32"])
@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_variants(folder, tiny_checkpoint, variant, part):
    file = next((folder / part).glob("*.safetensors"))
    file.rename(file.with_suffix(f".{variant}.safetensors"))
    assert_whole(folder, tiny_checkpoint)


def test_the_cache_of_hugging_face(folder, tiny_checkpoint, tmp_path):
    cache = tmp_path / "models--a--b"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    (cache / "snapshots").mkdir()
    folder.rename(cache / "snapshots" / "abc")
    assert_whole(cache, tiny_checkpoint)
    (cache / "snapshots" / "def").mkdir()
    assert_whole(cache, tiny_checkpoint)
    (cache / "refs" / "main").unlink()
    with pytest.raises(CheckpointError, match=r"2 snapshots: give one, like .*snapshots"):
        read(cache)


def test_a_folder_without_a_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer")
    for function in (read, lambda path: pytest.fail(inspect(path).problem)):
        with pytest.raises((CheckpointError, pytest.fail.Exception), match="has no tokenizer/"):
            function(folder)


def test_added_tokens_are_named_by_load_and_inspect(folder):
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("token_embedding.weight"))
    rows = torch.cat([weights[name], torch.zeros(1, weights[name].shape[1])])
    save_file(weights | {name: rows}, path)
    edit(folder / "text_encoder" / "config.json", vocab_size=518)
    for added, said in (({}, "of no name"), ({"<cat-toy>": 517}, "<cat-toy>")):
        (folder / "tokenizer" / "added_tokens.json").write_text(json.dumps(added))
        with pytest.raises(CheckpointError, match=rf"has 1 added tokens \({said}\), which are not"):
            read(folder)
        report = inspect(folder)
        assert not report.loadable
        assert f"added tokens ({said})" in report.problem


def test_added_tokens_that_have_no_embedding_do_no_harm(folder, tiny_checkpoint):
    (folder / "tokenizer" / "added_tokens.json").write_text('{"<cat-toy>": 517}')
    assert_whole(folder, tiny_checkpoint)


@pytest.mark.parametrize("named", ["!", {"content": "!"}])
def test_the_pad_of_stable_diffusion_2(folder, named):
    edit(folder / "tokenizer" / "special_tokens_map.json", pad_token=named)
    assert read(folder).family.text[0].pad == 0
    assert _pad("!", "\n".join(map(" ".join, clip_merges()))) == 0


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("scheduler/scheduler_config.json", {"trained_betas": []}),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": False}),
        ("unet/config.json", {"sample_size": None}),
        ("unet/config.json", {"sample_size": [8, 8]}),
    ],
)
def test_values_that_say_nothing(folder, tiny_checkpoint, file, changes):
    edit(folder / file, **changes)
    assert_whole(folder, tiny_checkpoint)
    assert read(folder).family.size == tiny_checkpoint.family.size


def test_sizes_that_are_left_open():
    levels = {"block_out_channels": [1, 2, 3, 4]}
    assert _size({"sample_size": 64}, levels) == _size({}, levels | {"sample_size": 512}) == 512
    assert _size({}, levels) == 512


def test_a_schedule_that_ends_without_signal_is_told(folder):
    edit(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    assert read(folder).family.zero_snr
