"""The published checkpoints of all families, by the names and shapes of their tensors."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ldm.models.families import COSXL, COSXL_EDIT, INSTRUCT_SDXL, PLAYGROUND
from ldm.models.family import parameter_shapes
from ldm.models.keymaps import ignored, table
from ldm.models.weights import CheckpointError, inspect
from ldm.models.weights.mapped import Weight, contiguous_stride
from ldm.models.weights.matching import match
from ldm.models.weights.opening import OpenedCheckpoint, open_checkpoint
from ldm.models.weights.recognise import recognise, shapes
from ldm.models.weights.sizes import described, differences
from manifests import MANIFESTS

EPS = "eps, as all models of the family"
ASKED = "eps or v: the file does not say it"
FILES = {  # family, and how the reason of its prediction begins
    "sd-v1": ("sd1", EPS),
    "sd-v1-full-ema": ("sd1", EPS),
    "sd-v1-inpainting": ("sd1-inpainting", EPS),
    "sd-v1-inpainting-full-ema": ("sd1-inpainting", EPS),
    "sd-v2-base-512-eps": ("sd2", ASKED),
    "sd-v2-768-v": ("sd2", ASKED),
    "sd-v2-inpainting": ("sd2-inpainting", EPS),
    "sd-v2-depth": ("sd2-depth", EPS),
    "x4-upscaler": ("x4-upscaler", "v, as all models of the family"),
    "sdxl-base": ("sdxl", EPS),
    "sdxl-refiner": ("sdxl-refiner", EPS),
}
DTYPES = {"float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32"}


def opened(keys: dict[str, list], name: str = "some") -> OpenedCheckpoint:
    """A file of such tensors, known by their shapes: there is no data."""
    weights = {
        key: Weight(None, getattr(torch, kind), tuple(shape), contiguous_stride(tuple(shape)), 0)
        for key, (shape, kind) in keys.items()
    }
    return OpenedCheckpoint(Path(f"{name}.ckpt"), "torch", weights)


def sparse(path: Path, keys: dict[str, list], half: bool) -> Path:
    """A file of full size that takes no room: a header, and a hole."""
    header, end = {}, 0
    for name, (shape, kind) in keys.items():
        kind = "float16" if half and kind == "float32" else kind
        start, end = end, end + math.prod(shape) * getattr(torch, kind).itemsize
        header[name] = {"dtype": DTYPES[kind], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_mapped_or_ignored_for_a_reason(name):
    family, reason = FILES[name]
    file = opened(MANIFESTS[name])
    kind = recognise(file)
    assert (kind.family.name, kind.undecided) == (family, reason == ASKED)
    assert kind.prediction.startswith(reason)
    found = match(file, kind.family, kind.key_format)
    found.check(file)
    assert len(found.sources) == len(parameter_shapes(kind.family))
    used = {name for name, _ in found.sources.values()}
    assert used | found.ignored.keys() == file.weights.keys()
    assert not used & found.ignored.keys()
    assert all(len(why) > 20 for why in found.ignored.values())
    assert not found.absent


@pytest.mark.parametrize("name", FILES)
def test_every_change_of_a_key_is_reported_by_name(name):
    file = opened(MANIFESTS[name])
    kind = recognise(file)
    sources = match(file, kind.family, kind.key_format).sources
    used = sorted({name for name, _ in sources.values()})
    for key in used[::61]:
        weight = file.weights[key]
        rest = {name: weight for name, weight in file.weights.items() if name != key}
        longer = replace(weight, shape=(*weight.shape, 2))
        for changed in (rest, rest | {f"{key}_2": weight}, rest | {key: longer}):
            again = recognise(replace(file, weights=changed))
            assert again.family == kind.family
            found = match(replace(file, weights=changed), again.family, again.key_format)
            assert not found.complete
            with pytest.raises(CheckpointError) as error:
                found.check(replace(file, weights=changed))
            assert key in str(error.value)
            assert f"{key}_2" not in changed or f"{key}_2" in found.unknown
    exact = {n for item in ignored(kind.family, kind.key_format) if item.exact for n in item.names}
    for key in exact & file.weights.keys():
        odd = replace(file.weights[key], shape=(7,))
        changed = replace(file, weights=file.weights | {key: odd})
        assert key in "".join(match(changed, kind.family, kind.key_format).wrong_shape)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_full_size_is_inspected_in_less_than_a_second(name, half, tmp_path):
    path = sparse(tmp_path / "some.safetensors", MANIFESTS[name], half)
    for cache in (table, shapes, parameter_shapes):
        cache.cache_clear()
    start = time.process_time()
    report = inspect(path)
    assert time.process_time() - start < 1
    assert report.loadable
    assert report.kind.family.name == FILES[name][0]
    assert report.nbytes > 1.7e9
    assert path.stat().st_blocks * 512 < 1e6


def test_sdxl_with_the_noise_of_edm_is_known_by_a_tensor(tmp_path):
    path, keys = tmp_path / "some.safetensors", MANIFESTS["sdxl-base"]
    marks = {"edm_mean": [[1, 4, 1, 1], "float32"], "edm_std": [[1, 4, 1, 1], "float32"]}
    report = inspect(sparse(path, keys | marks, True))
    assert report.loadable
    assert report.family == PLAYGROUND
    assert "edm_mean" in report.kind.prediction
    mark = {"edm_vpred.sigma_max": [[], "float32"]}
    with pytest.raises(CheckpointError, match=r"levels 0\.002 to 0"):  # sparse: it is 0
        inspect(sparse(path, keys | mark, True))
    file = opened(keys)
    high = save_and_open({"edm_vpred.sigma_max": torch.tensor(90.0)}, path)
    kind = recognise(replace(file, weights=file.weights | high))
    assert kind.family == replace(COSXL, edm=(0.002, 90.0, 1.0))
    assert "up to 90" in kind.prediction
    stem = "model.diffusion_model.input_blocks.0.0.weight"
    wide = replace(file.weights[stem], shape=(320, 8, 3, 3))
    kind = recognise(replace(file, weights=file.weights | high | {stem: wide}))
    assert kind.family == replace(COSXL_EDIT, edm=(0.002, 90.0, 1.0))
    assert recognise(replace(file, weights=file.weights | {stem: wide})).family == INSTRUCT_SDXL
    nine = replace(wide, shape=(320, 9, 3, 3))
    assert recognise(replace(file, weights=file.weights | high | {stem: nine})).family is None


def save_and_open(tensors, path):
    save_file(tensors, path)
    return open_checkpoint(path).weights


@pytest.mark.parametrize("name", FILES)
def test_the_sizes_of_a_file_are_those_of_its_family(name):
    file = opened(MANIFESTS[name])
    assert differences(described(file.weights), recognise(file).family) == []


@pytest.mark.parametrize("name", ["sd-v2-768-v", "sd-v2-base-512-eps"])
def test_a_file_of_sd2_with_23_layers_of_text_is_sd2(name):
    """As converters write them whose source is a diffusers folder: the 24th is read by nobody."""
    last = "cond_stage_model.model.transformer.resblocks.23."
    keys = {key: value for key, value in MANIFESTS[name].items() if not key.startswith(last)}
    assert len(keys) == len(MANIFESTS[name]) - 12
    kind = recognise(opened(keys))
    assert (kind.family.name, kind.family.text[0].layers, kind.family.text[0].layer) == (
        "sd2",
        23,
        1,
    )
    match(opened(keys), kind.family, kind.key_format).check(opened(keys))
    lacking = opened({key: value for key, value in keys.items() if "resblocks.22.ln_1" not in key})
    again = recognise(lacking)
    assert "resblocks.22.ln_1.weight" in str(match(lacking, again.family, "compvis").missing)


def folder(name: str, vae: str) -> OpenedCheckpoint:
    published = MANIFESTS[name]
    parts = {"unet": "unet", "vae": vae, "text_encoder": "text_encoder"}
    found = opened(
        {
            f"{part}.{key}": value
            for part, inside in parts.items()
            for key, value in published[inside].items()
        }
    )
    return replace(found, container="folder", configs={**published["configs"], "tokenizer": {}})


@pytest.mark.parametrize("vae", ["vae", "vae_old_attention_names"])
def test_the_published_folder_of_sd2_is_sd2(vae):
    file = folder("sd-2-1-diffusers", vae)
    kind = recognise(file)
    assert (kind.family.name, kind.family.size, kind.family.guidance_scale) == ("sd2-v", 768, 9)
    assert kind.family.text[0].pad == 0
    found = match(file, kind.family, "diffusers")
    found.check(file)
    assert len(found.sources) + len(found.ignored) == len(file.weights)
