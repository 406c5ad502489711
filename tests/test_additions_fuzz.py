"""Damaged and hostile files that are added to a model: each ends in an error of one line, or in
just what is in it. `scripts/fuzz.py` has more of them."""

import random
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file

import loras
import test_corruption as changes
from helpers import TIMES, normal
from ldm.models.embeddings import read_embedding
from ldm.models.lora import Applied, Use, match_lora, read_lora
from ldm.models.lora.spelling import spelt
from ldm.models.weights import CheckpointError, inspect
from test_weights_fuzz import odd_object
from tiny_families import SMALL, random_model

FAMILY = SMALL["sd1"]
CHANGES = (
    *(
        changes.flip,
        changes.flip_first_bytes,
        changes.flip_end,
        changes.truncate,
        changes.new_length,
    ),
    *(changes.insert, changes.remove, changes.zeros, changes.append),
)


NETWORKS = {"unet": random_model(FAMILY).unet}


def read(path):
    """The weights that a LoRA makes."""
    applied = Applied(NETWORKS)
    try:
        applied.use([Use(match_lora(read_lora(path), FAMILY), 0.5)])
        return NETWORKS
    finally:
        applied.use([])


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A file of each kind of LoRA, and of embeddings."""
    folder = tmp_path_factory.mktemp("good")
    layers = ["unet.stem", "unet.down.0.attn.0.proj_in", "unet.down.0.attn.0.blocks.0.self_attn.q"]
    for i, kind in enumerate(loras.KINDS):
        found = loras.tensors(FAMILY, kind, layers)
        loras.write(folder / f"{i}.safetensors", found, lora_adapter_metadata='{"unet.r": 4}')
    torch.save(loras.tensors(FAMILY, "LoRA", layers), folder / "lora.pt")
    torch.save({"string_to_param": {"*": normal(2, 16)}}, folder / "word.pt")
    loras.write(folder / "word.safetensors", {"emb_params": normal(2, 16)})
    return sorted(folder.iterdir())


def test_damaged_additions(door, good, tmp_path):
    path, same = tmp_path / "x", 0
    for seed in range(300 * TIMES):
        draw = random.Random(seed)
        source = good[seed % len(good)]
        data = bytearray(source.read_bytes())
        draw.choice(CHANGES)(data, draw)
        path.write_bytes(data)
        reader = read_embedding if source.stem == "word" else read
        if door.ends(reader, path, errors=CheckpointError) is not None:
            same += 1
            if is_safetensors(source):
                load_file(path)
        with suppress(CheckpointError):
            str(inspect(path))
    assert door.refused > 100
    assert same > 10


def is_safetensors(path):
    return path.suffix == ".safetensors"


def test_odd_parts_of_loras(door, tmp_path):
    """Tensors of other shapes and types, parts that do not go together, and keys of anything."""
    path = tmp_path / "x.safetensors"
    layer = ["unet.down.0.attn.0.blocks.0.self_attn.q"]
    dtypes = torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool
    for seed in range(300 * TIMES):
        draw = random.Random(seed)
        found = loras.tensors(FAMILY, draw.choice(loras.KINDS[2:]), layer)
        found = found or loras.tensors(FAMILY, "LoRA", layer)
        others = loras.tensors(FAMILY, draw.choice(["LoRA", "LoHa", "LoKr", "GLoRA"]), layer)
        for _ in range(draw.choice([1, 1, 2])):
            key = draw.choice(list(found))
            shape = [draw.choice([0, 1, 2, 3, 4, 16, 60]) for _ in range(draw.randrange(6))]
            match draw.randrange(5):
                case 0:
                    found[key] = torch.zeros(shape)
                case 1:
                    found[key] = found[key].to(draw.choice(dtypes))
                case 2:
                    del found[key]
                case 3:
                    found |= dict(draw.sample([*others.items()], 2))
                case 4:
                    found[
                        draw.choice(
                            [".", "x" * 3000, "\n.weight", f"{key}.{key}", "a.lora_A.b.weight"]
                        )
                    ] = torch.zeros(2)
            if not found:
                break
        door.ends(read, loras.write(path, found), errors=CheckpointError)
    assert door.refused > 50
    assert door.read > 20


def test_keys_are_read_in_linear_time(door):
    for piece in ("lora_", ".lora_A", "_lora.up", ".weight", ".processor", "a.", ".default"):
        door.ends(spelt, piece * 20_000)
        door.ends(spelt, piece * 20_000 + "\n")


def test_hostile_pickles_of_embeddings(door, tmp_path):
    """Objects of anything in the places of an embedding's parts."""
    for seed in range(100 * TIMES):
        draw, path = random.Random(seed), tmp_path / "x.pt"
        content = {"string_to_param": {"*": normal(2, 16)}, "name": "x", "step": 1}
        content[draw.choice([*content])] = odd_object(draw)
        try:
            torch.save(content, path, _use_new_zipfile_serialization=draw.random() < 0.5)
        except UnicodeEncodeError:
            continue
        door.ends(read_embedding, path, errors=CheckpointError)
    assert door.refused > 20
    assert door.read > 20


@pytest.mark.parametrize("kind", ["LoRA", "LoHa"])
def test_a_rank_of_0_is_refused(kind, tmp_path):
    found = loras.tensors(FAMILY, kind, ["unet.down.0.attn.0.blocks.0.self_attn.q"])
    ups, downs = ("up.weight", "_a"), ("down.weight", "_b")
    for name, tensor in found.items():
        if name.endswith(ups):
            found[name] = tensor[:, :0].contiguous()
        elif name.endswith(downs):
            found[name] = tensor[:0].contiguous()
    with pytest.raises(CheckpointError, match="do not fit it"):
        read(loras.write(tmp_path / "x.safetensors", found))
