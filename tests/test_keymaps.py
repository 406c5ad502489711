"""The tables of names: total, one-to-one, and equal to what the published files hold."""

import gzip
import json
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path

import pytest
import torch

from ldm.families import SD1
from ldm.keymaps import ema_name, ignored, rows, table
from ldm.weights.skeleton import shapes, skeleton

MANIFESTS = json.loads(gzip.decompress((Path(__file__).parent / "data" / "manifests.json.gz").read_bytes()))
NAMINGS = ("ldm", "compvis", "diffusers")

ODD_ONES = [
    replace(
        SD1,
        unet=replace(
            SD1.unet, channels=channels, attention=attention, res_blocks=blocks, depth=depth, linear_projection=linear
        ),
        vae=replace(SD1.vae, channels=channels, res_blocks=blocks),
        text=replace(SD1.text, layers=depth),
    )
    for (channels, attention), blocks, depth, linear in product(
        [
            ((32,), (True,)),
            ((32, 32), (False, True)),
            ((64, 32, 64), (True, False, True)),
            ((32, 64, 64, 96, 96), (False, False, True, True, False)),
        ],
        (1, 3),
        (1, 2),
        (False, True),
    )
]


def diffusers_manifest(vae: str) -> dict[str, tuple[int, ...]]:
    """All keys of the folder, as the tables call them: <folder>.<key>."""
    parts = {"unet": "unet", "vae": vae, "text_encoder": "text_encoder"}
    manifest = MANIFESTS["sd-v1-5-diffusers"]
    return {f"{part}.{key}": tuple(shape) for part, name in parts.items() for key, (shape, _) in manifest[name].items()}


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, (shape, _) in MANIFESTS[name].items()}


def official_extras(naming: str) -> dict[str, tuple[int, ...]]:
    return {item.names[0]: item.shape for item in ignored(SD1, naming)}


def written(naming: str) -> dict[str, tuple[int, ...]]:
    """What we would write: the first name of each source, in its shape."""
    expected = shapes(SD1, naming)
    return {source.names[0]: expected[ours] for ours, source in table(SD1, naming).items()}


def test_compvis_names_and_shapes_are_the_published_ones():
    assert written("compvis") | official_extras("compvis") == manifest("sd-v1")


def test_ema_names_and_shapes_are_the_published_ones():
    averages = {ema_name(name): shape for name, shape in written("compvis").items() if name.startswith("model.")}
    assert len(averages) == 686
    assert written("compvis") | official_extras("compvis") | averages == manifest("sd-v1-full-ema")


def test_diffusers_names_and_shapes_are_the_published_ones():
    assert written("diffusers") | official_extras("diffusers") == diffusers_manifest("vae")


def test_old_names_of_diffusers_are_read():
    published = diffusers_manifest("vae_old_attention_names")
    expected, claimed = shapes(SD1, "diffusers"), set()
    for ours, source in table(SD1, "diffusers").items():
        (name,) = [name for name in source.names if name in published]
        assert published[name] == expected[ours]
        claimed.add(name)
    assert published.keys() - claimed == official_extras("diffusers").keys()


def test_text_encoders_without_their_prefix_are_read():
    """transformers 5 writes them so."""
    for ours, source in table(SD1, "diffusers").items():
        if ours.startswith("text."):
            assert source.names[0].replace("text_model.", "") in source.names


def test_parameter_counts_of_the_paper():
    parameters = shapes(SD1, "ldm")
    counts = {
        part: sum(prod(s) for name, s in parameters.items() if name.startswith(part))
        for part in ("unet", "vae", "text")
    }
    assert counts == {"unet": 859_520_964, "vae": 83_653_863, "text": 123_060_480}


@pytest.mark.parametrize("family", [SD1, *ODD_ONES], ids=lambda family: f"{family.unet.channels}")
def test_tables_are_total_and_one_to_one(family):
    parameters = skeleton(family).state_dict().keys()
    for naming in NAMINGS:
        sources = table(family, naming)
        assert sources.keys() == parameters
        names = [name for source in sources.values() for name in source.names]
        assert len(names) == len(set(names))
    averages = {ema_name(source.names[0]) for name, source in table(family, "compvis").items() if name[:5] == "unet."}
    assert len(averages) == sum(name.startswith("unet.") for name in parameters)


def test_operations_have_inverses():
    parameters = skeleton(SD1).state_dict()
    changed = 0
    for naming in NAMINGS:
        for ours, source in table(SD1, naming).items():
            shape = parameters[ours].shape
            theirs = source.operation.theirs(parameters[ours])
            assert source.operation.ours(theirs).shape == shape
            changed += theirs.shape != shape
    assert changed == 8  # q, k, v and out of the two attentions of CompVis's VAE
    source = table(SD1, "compvis")["vae.encoder.mid.attn.q.weight"]
    weight = torch.randn(4, 4)
    assert torch.equal(source.operation.ours(source.operation.theirs(weight)), weight)


def test_rows_name_layers():
    """LoRA files name layers, not parameters; these two names are kohya's, with dots for underscores."""
    names = {row.diffusers[0]: row.ours for row in rows(SD1)}
    deep = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    assert names[deep] == "unet.down.1.attn.0.blocks.0.cross_attn.k"
    assert names["text_encoder.text_model.encoder.layers.11.mlp.fc1"] == "text.layers.11.mlp.up"


def test_every_ignored_key_has_a_reason():
    for naming in NAMINGS:
        assert all(len(item.reason) > 20 for item in ignored(SD1, naming))
