"""Configs and family headers with odd values in single fields, by the hundred: each ends in one
printable line or in a model that can be used; and flipped bits in our own files are seen.

LDM_FUZZ=20 in the environment tries twenty times as many.
"""

import json
import random
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from helpers import TIMES
from ldm.models.families import family_named
from ldm.models.weights import CheckpointError, inspect, read, save
from ldm.models.weights.saving import renamed

ODD_VALUES = [
    None, True, 0, -1, 1, 3, 7, 64, 10**6, 10**18, 10**400, 0.0, -0.5, 1e-300, 1e300, float("nan"),
    float("inf"), "", "a", "\ud800", "\x1b[2J", "x" * 9999, [], [1], [None], [0, 0], [10**9] * 3,
    {}, {"a": 1}, [[]], "silu", [2, 2],
]  # fmt: skip


def places(values, path=()):
    """Of every single value in nested dictionaries and lists."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def put(values, path, value):
    for key in path[:-1]:
        values = values[key]
    values[path[-1]] = value


def draws(found):
    """A right result can be used."""
    with torch.no_grad():
        ids = torch.zeros(1, found.family.text[0].length, dtype=torch.int64)
        context = found.text[0](ids).last
        latent = torch.zeros(1, found.family.vae.latent_channels, 8, 8)
        eps = found.unet(latent, torch.zeros(1), context)
        assert found.vae.decode(eps).shape[-1] == 8 * found.family.vae.factor
        found.family.noise_schedule()


def test_odd_values_in_family_headers(ends, tiny_checkpoint, tmp_path):
    tensors = {name: x.contiguous() for name, x in renamed(tiny_checkpoint, "ldm").items()}
    good = json.dumps(tiny_checkpoint.family.to_dict())
    everywhere = list(places(json.loads(good)))
    merges = "\n".join(map(" ".join, tiny_checkpoint.merges))
    for seed in range(100 * TIMES):
        draw, values = random.Random(seed), json.loads(good)
        put(values, draw.choice(everywhere), draw.choice(ODD_VALUES))
        text = json.dumps(values)
        save_file(tensors, "a.safetensors", {"family": text, "merges": merges})
        found = ends(Path("a.safetensors"))
        report = ends(Path("a.safetensors"), inspect)
        assert (found is not None) == (report is not None and report.loadable), text
        if found is not None:
            draws(found)
        Path("family.json").write_text(text)
        ends(Path("family.json"), family_named, ValueError)


def test_odd_values_in_configs(ends, tiny_checkpoint):
    save("good", tiny_checkpoint, "diffusers")
    files = sorted(Path("good").rglob("*.json"))
    files = [path.relative_to("good") for path in files if path.name != "vocab.json"]
    shutil.copytree("good", "a")
    for seed in range(100 * TIMES):
        draw = random.Random(seed)
        name = draw.choice(files)
        values = json.loads(("good" / name).read_text())
        if everywhere := list(places(values)):
            put(values, draw.choice(everywhere), draw.choice(ODD_VALUES))
        ("a" / name).write_text(draw.choice([json.dumps(values)] * 9 + ["[" * 99999, "null", ""]))
        found = ends(Path("a"))
        report = ends(Path("a"), inspect)
        assert (found is not None) == (report is not None and report.loadable), values
        if found is not None:
            draws(found)
        shutil.copy("good" / name, "a" / name)


def test_a_number_of_blocks_asks_for_no_memory(door, tiny_checkpoint):
    """Each of them is a place in a list, before any is compared with what is there."""
    save("a", tiny_checkpoint, "diffusers")
    config = Path("a/unet/config.json")
    good = json.loads(config.read_text())
    for blocks in (10**9, 10**18, [10**9] * 2, [10**9] * 3, 1.5, "2", None):
        config.write_text(json.dumps(good | {"layers_per_block": blocks}))
        assert door.ends(read, Path("a"), errors=CheckpointError) is None
    assert door.longest < 1


def test_every_flipped_bit_of_our_own_files_is_seen(door, tiny_checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    save(path, tiny_checkpoint)
    assert inspect(path, verified=True).loadable
    good = path.read_bytes()
    start = 8 + int.from_bytes(good[:8], "little")
    for seed in range(20 * TIMES):
        data = bytearray(good)
        data[random.Random(seed).randrange(start, len(data))] ^= 1 << seed % 8
        path.write_bytes(data)
        report = door.ends(inspect, path, verified=True)
        assert not report.loadable
        assert len(report.verified.damaged) == 1
    old = load_file(path)
    metadata = {key: text for key, text in report.opened.metadata.items() if key != "crc32"}
    save_file(old, path, metadata)
    assert "it has no checksums" in str(inspect(path, verified=True))
    read(path)
