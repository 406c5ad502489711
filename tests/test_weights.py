"""Checkpoints: every layout there and back, what is wrong with a file said in one line, and nothing held twice."""

import gzip
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.clip.tokenizer import clip_merges
from ldm.families import SD1, Family
from ldm.keymaps import ema_name, ignored, table
from ldm.weights import Checkpoint, CheckpointError, inspect, read, save
from ldm.weights import mapped as mapped_module
from ldm.weights.mapped import Weight, contiguous_stride
from ldm.weights.matching import Match, match
from ldm.weights.opening import Opened, open_checkpoint
from ldm.weights.recognise import recognise, resembles
from ldm.weights.saving import renamed
from ldm.weights.skeleton import shapes

MANIFESTS = json.loads(gzip.decompress((Path(__file__).parent / "data" / "manifests.json.gz").read_bytes()))
LAYOUTS = ("ldm", "compvis", "diffusers")


@pytest.fixture(scope="module")
def checkpoint(tiny):
    return Checkpoint(tiny.family, tiny.text, tiny.unet, tiny.vae, tiny.tokenizer.merges)


@pytest.fixture(scope="module")
def compvis(checkpoint):
    """Its tensors under CompVis's names. Copy before you change it."""
    return {name: tensor.detach().contiguous() for name, tensor in renamed(checkpoint, "compvis").items()}


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


def opened(keys: dict[str, list]) -> Opened:
    """A file of such tensors, known by their shapes: there is no data."""
    dtypes = {"float32": torch.float32, "int64": torch.int64, "int32": torch.int32}
    weights = {
        name: Weight(None, dtypes[dtype], tuple(shape), contiguous_stride(tuple(shape)), 0)
        for name, (shape, dtype) in keys.items()
    }
    return Opened(Path("sd.ckpt"), "torch", weights)


def manifest(name: str) -> Opened:
    return opened(MANIFESTS[name])


def diffusers_manifest(vae: str) -> Opened:
    published = MANIFESTS["sd-v1-5-diffusers"]
    parts = {"unet": "unet", "vae": vae, "text_encoder": "text_encoder"}
    found = opened({f"{part}.{key}": value for part, name in parts.items() for key, value in published[name].items()})
    configs = {**published["configs"], "tokenizer": {"pad_token": "<|endoftext|>"}}
    return replace(found, container="folder", configs=configs)


# ---- There and back --------------------------------------------------------------------------------------------------


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
    assert (tmp_path / "letters" / "love").read_text() == "dear"


# ---- Moving averages -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_averages(compvis):
    averages = {ema_name(name): tensor + 1 for name, tensor in compvis.items() if name.startswith("model.")}
    return compvis | averages | {"model_ema.decay": torch.tensor(0.9), "model_ema.num_updates": torch.tensor(7)}


def test_averages_are_taken_where_they_are_there(checkpoint, compvis, with_averages, tmp_path):
    path, family = tmp_path / "a.ckpt", checkpoint.family
    torch.save(with_averages, path)
    stem = checkpoint.unet.stem.weight
    assert torch.equal(read(path, family=family).unet.stem.weight, stem + 1)
    assert torch.equal(read(path, family=family, ema=True).unet.stem.weight, stem + 1)
    assert torch.equal(read(path, family=family, ema=False).unet.stem.weight, stem)
    assert torch.equal(read(path, family=family).vae.quant.weight, checkpoint.vae.quant.weight)
    for pruned in (compvis, compvis | {"model_ema.decay": torch.tensor(0.9)}):
        torch.save(pruned, path)
        assert torch.equal(read(path, family=family).unet.stem.weight, stem)
        with pytest.raises(CheckpointError, match="no moving averages"):
            read(path, family=family, ema=True)


def test_averages_must_be_whole(checkpoint, with_averages, tmp_path):
    path, family = tmp_path / "a.ckpt", checkpoint.family
    plain, average = "model.diffusion_model.out.2.bias", "model_ema.diffusion_modelout2bias"
    for name in (plain, average):
        torch.save({key: tensor for key, tensor in with_averages.items() if key != name}, path)
        for ema in (None, True, False):
            with pytest.raises(CheckpointError, match=rf"1 missing \({name}\)"):
                read(path, family=family, ema=ema)
    without = {key: tensor for key, tensor in with_averages.items() if not key.startswith("model.")}
    torch.save(without, path)
    assert torch.equal(read(path, family=family).unet.stem.weight, checkpoint.unet.stem.weight + 1)


# ---- The published files, by their names and shapes ------------------------------------------------------------------

PUBLISHED = {
    "sd-v1": manifest("sd-v1"),
    "sd-v1-full-ema": manifest("sd-v1-full-ema"),
    "sd-v1-5-diffusers": diffusers_manifest("vae"),
    "sd-v1-5-diffusers of 2022": diffusers_manifest("vae_old_attention_names"),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("ema", [None, False])
def test_published_checkpoints_fit(name, ema):
    file = PUBLISHED[name]
    kind = recognise(file)
    assert kind.family == SD1
    assert kind.prediction.startswith("eps, as ")
    found = match(file, kind.family, kind.naming, ema)
    found.check(file)
    assert len(found.sources) == 1130
    assert len(found.sources) + len(found.ignored) == len(file.weights)
    assert not found.absent
    assert found.averages == (name == "sd-v1-full-ema" and ema is None)


def wrong(found: Match) -> str:
    """Everything that a report complains of."""
    return "\n".join([*found.missing, *found.unknown, *found.misshapen, *found.absent])


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_change_of_a_published_key_is_reported_by_name(name):
    file = PUBLISHED[name]
    kind = recognise(file)
    extras = {name for item in ignored(SD1, kind.naming) for name in item.names}
    for key in [*list(file.weights)[::29], *(key for key in file.weights if key in extras)]:
        weight = file.weights[key]
        rest = {name: weight for name, weight in file.weights.items() if name != key}
        longer = replace(weight, shape=(*weight.shape, 2))
        for changed in (rest, rest | {f"{key}_2": weight}, rest | {key: longer}):
            changed_file = replace(file, weights=changed)
            assert recognise(changed_file).family == SD1
            found = match(changed_file, SD1, kind.naming)
            assert key in wrong(found), key
            if changed is not rest or key not in extras:
                with pytest.raises(CheckpointError) as error:
                    found.check(changed_file)
                assert key in str(error.value) or f"{key}_2" in str(error.value)
                assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("sd-v1-inpainting", "an inpainting model of SD 1"),
        ("sd-v2-768-v", "an SD 2 checkpoint"),
        ("sd-v2-depth", "SD 2's depth-to-image model"),
        ("x4-upscaler", "SD 2's x4 upscaler"),
    ],
)
def test_other_published_models_are_named(name, meaning):
    assert resembles(manifest(name).weights) == meaning


@pytest.mark.parametrize(
    ("keys", "meaning"),
    [
        (["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"], "a LoRA"),
        (["unet.down_blocks.0.attentions.0.to_q.lora_A.weight"], "a LoRA"),
        (["lora_te_text_model_encoder_layers_0_mlp_fc1.hada_w1_a"], "a LoRA"),
        (["conditioner.embedders.0.transformer.text_model.final_layer_norm.bias"], "SDXL"),
        (["control_model.input_blocks.0.0.weight"], "ControlNet"),
        (["controlnet_cond_embedding.conv_in.weight"], "ControlNet"),
        (["emb_params"], "textual inversion"),
        (["double_blocks.0.img_attn.norm.key_norm.scale"], "Flux"),
        (["model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight"], "SD 3"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], "a VAE alone"),
        (["first_stage_model.encoder.conv_in.weight"], "a VAE alone"),
        (["down_blocks.0.resnets.0.conv1.weight"], "a U-Net alone"),
        (["model.diffusion_model.out.2.bias"], "a U-Net alone"),
        (["text_model.embeddings.token_embedding.weight"], "a text encoder alone"),
        (["model.diffusion_model.out.2.bias", "first_stage_model.quant_conv.bias"], "a U-Net and a VAE alone"),
    ],
)
def test_what_is_given_as_a_checkpoint_and_is_none(keys, meaning, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({key: torch.zeros(2) for key in keys}, path)
    with pytest.raises(CheckpointError, match=f"it seems to be .*{meaning}"):
        read(path)
    report = inspect(path)
    assert not report.loadable
    assert meaning in str(report)


# ---- What is wrong with a file ---------------------------------------------------------------------------------------


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
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4265380512\n", "git lfs pull"),
        (b'{"error": "Access denied"}', "JSON text"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.", "a pickle that torch did not write"),
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
    with pytest.raises(CheckpointError, match=r"no model_index\.json$"):
        read(tmp_path)
    (tmp_path / "v1-5.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"give a file, like .*v1-5\.safetensors"):
        read(tmp_path)


def test_a_file_that_is_cut_short(good):
    size = good.stat().st_size
    with good.open("r+b") as file:
        file.truncate(size - 1)
    with pytest.raises(CheckpointError, match=r"cut short: .*B of .*B are here; download it again"):
        read(good)
    with good.open("r+b") as file:
        file.truncate(4000)
    with pytest.raises(CheckpointError, match=r"cut short: only 4 kB of it are here"):
        read(good)


def test_a_large_file_that_is_cut_short(tmp_path):
    """As it is said of a download of Stable Diffusion that stopped at three quarters."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [4 * 10**9], "data_offsets": [0, 4 * 10**9]}}).encode()
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
    shutil.make_archive(str(tmp_path / "a"), "zip", Path(mapped_module.__file__).parent)
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
    read(tmp_path / "a.ckpt", dtype=torch.float16, family=checkpoint.family)  # only their sum is too large
    torch.save(compvis | {name: torch.full_like(compvis[name], 70_000.0)}, tmp_path / "a.ckpt")
    read(tmp_path / "a.ckpt", family=checkpoint.family)
    with pytest.raises(CheckpointError, match=r"no numbers in torch\.float16"):
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
        ({"unet": {"depth": 10**12}}, "more layers than it has tensors"),
        ({"unet": {"groups": 7}}, "cannot be built"),
        ({"unet": {"in_channels": 10**30}}, "cannot be built"),
        ({"unet": {"in_channels": 10**14}}, "of the wrong kind"),
        ({"text": {"vocabulary": 10**12}}, "of the wrong kind"),
    ],
)
def test_families_that_are_too_large_are_not_built(checkpoint, tmp_path, change, message):
    values = checkpoint.family.to_dict()
    for part, fields in change.items():
        values[part].update(fields)
    assert Family.from_dict(values)
    tensors = {name: tensor.contiguous() for name, tensor in renamed(checkpoint, "ldm").items()}
    save_file(tensors, tmp_path / "a.safetensors", {"family": json.dumps(values)})
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "a.safetensors")


# ---- diffusers' folders ----------------------------------------------------------------------------------------------


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
    from ldm.weights.loading import merges_of

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


# ---- Memory, reports -------------------------------------------------------------------------------------------------


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

    assert doctest.testmod(mapped_module) == (0, 2)


def test_shapes_of_the_skeleton_are_those_of_real_networks(checkpoint):
    expected = shapes(checkpoint.family, "ldm")
    assert {name: tuple(tensor.shape) for name, tensor in parameters(checkpoint).items()} == expected
