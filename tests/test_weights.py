"""Checkpoints: every layout there and back, bit for bit, nothing held twice, and what is reported of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.clip.tokenizer import clip_merges
from ldm.families import SD1
from ldm.keymaps import table
from ldm.weights import Checkpoint, CheckpointError, inspect, mapped, read, save
from ldm.weights.loading import merges_of
from ldm.weights.opening import open_checkpoint
from ldm.weights.saving import renamed
from ldm.weights.skeleton import shapes

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


def test_half_precision_is_rounded_once(checkpoint, tmp_path):
    save(tmp_path / "a.safetensors", checkpoint)
    half = parameters(read(tmp_path / "a.safetensors", dtype=torch.float16))
    for name, tensor in parameters(checkpoint).items():
        assert torch.equal(half[name], tensor.half())


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files(checkpoint, compvis, tmp_path, legacy):
    path = tmp_path / "model.safetensors"  # a wrong name; what counts is the content
    content = {"state_dict": compvis, "epoch": 3, "optimizer": {0: torch.zeros(2, 3), "betas": (0.9, 0.99)}}
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
    """Numbers that do not lie at multiples of their size, as in files whose header is not padded."""
    save_file(compvis, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    for spaces in (1, 2, 3):
        header = data[8 : 8 + size] + b" " * spaces
        (tmp_path / "b.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
        assert_same(read(tmp_path / "b.safetensors", family=checkpoint.family), checkpoint)


def test_own_files_say_what_they_are(checkpoint, tmp_path):
    path = tmp_path / "own.safetensors"
    save(path, checkpoint)
    assert all(name.startswith(("unet.", "vae.", "text.")) for name in load_file(path))
    report = inspect(path)
    assert report.kind.family == checkpoint.family
    assert "header" in report.kind.prediction
    save(path, replace(checkpoint, family=replace(checkpoint.family, prediction="v", scale=0)))
    again = read(path)
    assert (again.family.prediction, again.family.scale) == ("v", 0)


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
def folder(checkpoint, tmp_path):
    save(tmp_path / "folder", checkpoint, "diffusers")
    return tmp_path / "folder"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_describes_its_family(checkpoint, folder):
    assert read(folder).family == replace(
        checkpoint.family, name="folder", steps=SD1.steps, scale=SD1.scale, sampler=SD1.sampler, schedule=SD1.schedule
    )
    by_width = replace(checkpoint.family, unet=replace(checkpoint.family.unet, heads=None, head_width=16))
    save(folder, replace(checkpoint, family=replace(by_width, prediction="v")), "diffusers")
    again = read(folder).family
    assert (again.unet.head_width, again.unet.heads, again.prediction) == (16, None, "v")


def test_torch_files_and_half_precision_in_folders(checkpoint, folder):
    """unet as .bin, vae as .fp16.safetensors, each beside the wrong thing to take."""
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    torch.save(unet, folder / "unet" / "diffusion_pytorch_model.bin")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.fp16.bin")
    assert_same(read(folder), checkpoint)
    vae = {
        name: tensor.half()
        for name, tensor in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items()
    }
    save_file(vae, folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    assert_same(read(folder), checkpoint)  # full precision is preferred
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    half = read(folder)
    assert torch.equal(half.vae.quant.weight, checkpoint.vae.quant.weight.half().float())
    assert inspect(folder).dtypes.keys() == {"float32", "float16"}


def test_old_names_in_folders(checkpoint, folder):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    vae = {}
    for name, tensor in load_file(path).items():
        for new, former in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{former}.")
        vae[name] = tensor
    assert "encoder.mid_block.attentions.0.proj_attn.bias" in vae
    save_file(vae, path)
    path = folder / "text_encoder" / "model.safetensors"
    text = {name.removeprefix("text_model."): tensor for name, tensor in load_file(path).items()}
    save_file(text | {"embeddings.position_ids": torch.arange(12)[None]}, path)
    assert_same(read(folder), checkpoint)


def test_tokenizers_of_transformers_5(checkpoint, folder):
    """One tokenizer.json instead of several files, with merges as pairs or as lines."""
    (folder / "tokenizer" / "merges.txt").unlink()
    (folder / "tokenizer" / "special_tokens_map.json").unlink()
    for merges in (list(checkpoint.merges), [" ".join(pair) for pair in checkpoint.merges]):
        (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps({"model": {"merges": merges}}))
        assert read(folder).merges == checkpoint.merges


def test_merges_of_clip_are_none():
    lines = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in clip_merges())
    assert merges_of(SimpleNamespace(merges=lines, path="x"), SD1) is None


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("scheduler/scheduler_config.json", {"beta_schedule": "linear"}, "beta_schedule 'linear', not 'scaled_linear'"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "family.prediction cannot be None"),
        ("scheduler/scheduler_config.json", {"beta_start": None}, "family.beta_start cannot be None"),
        ("tokenizer/special_tokens_map.json", {"pad_token": "!"}, "pad_token '!'"),
        ("unet/config.json", {"freq_shift": 1}, "freq_shift 1, not 0"),
        ("unet/config.json", {"attention_head_dim": [2, 8]}, "heads of one width"),
        ("unet/config.json", {"attention_head_dim": "two"}, "configs that cannot be"),
        ("unet/config.json", {"layers_per_block": 2}, "missing .*unet.down_blocks.0.resnets.1"),
        ("unet/config.json", {"block_out_channels": 32}, "configs that cannot be"),
        ("unet/config.json", {"in_channels": 9}, "sees 9 channels, and a latent has 4: models for inpainting"),
        ("vae/config.json", {"latent_channels": 16}, "4 channels, the VAE has 16"),
        ("text_encoder/config.json", {"vocab_size": 518}, "of the wrong kind"),
    ],
)
def test_configs_that_are_not_supported(folder, file, changes, message):
    edit(folder / file, **changes)
    with pytest.raises(CheckpointError, match=message):
        read(folder)


def test_incomplete_folders(checkpoint, folder):
    with pytest.raises(CheckpointError, match=rf"no model_index.json; {folder} has one"):
        read(folder / "unet")
    edit(folder / "unet" / "config.json")
    config = json.loads((folder / "unet" / "config.json").read_text())
    del config["sample_size"]
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="'sample_size' is missing"):
        read(folder)
    (folder / "unet" / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="should be a JSON object"):
        read(folder)
    (folder / "unet" / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="no text"):
        read(folder)
    (folder / "unet" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no file or folder .*config\.json"):
        read(folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(CheckpointError, match="vae has no weights"):
        read(folder)


@pytest.fixture
def good(checkpoint, tmp_path):
    path = tmp_path / "good.safetensors"
    save(path, checkpoint, "compvis")
    return path


def test_tensors_are_the_file_itself(good):
    """Two readings of a file's tensors give the same memory, so there is one copy; and it is a private one."""
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
    changed = {key: tensor for key, tensor in compvis.items() if key != name} | {"surplus": torch.zeros(1)}
    metadata = {"family": json.dumps(checkpoint.family.to_dict())}
    save_file(changed, tmp_path / "a.safetensors", metadata)
    report = inspect(tmp_path / "a.safetensors")
    assert not report.loadable
    lines = dict(report.lines())
    assert lines["missing"] == f"1: {name}"
    assert lines["unknown"] == "1: surplus"


def test_doctests():
    import doctest

    assert doctest.testmod(mapped) == (0, 2)


def test_shapes_of_the_skeleton_are_those_of_real_networks(checkpoint):
    expected = shapes(checkpoint.family, "ldm")
    assert {name: tuple(tensor.shape) for name, tensor in parameters(checkpoint).items()} == expected
