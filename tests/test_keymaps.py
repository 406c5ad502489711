"""The tables of names: total, one-to-one, and equal to what the published files hold."""

from collections import Counter
from dataclasses import replace
from itertools import product
from math import prod

import pytest
import torch

from ldm.models.families import FAMILIES as KNOWN
from ldm.models.families import SD1, Family
from ldm.models.family import meta_model
from ldm.models.keymaps import ema_name, ignored, prefixes, rows, table
from ldm.models.weights.opening import least_layers
from ldm.models.weights.recognise import shapes
from manifests import MANIFESTS

KEY_FORMATS = ("ldm", "compvis", "diffusers")

ODD_ONES = [
    replace(
        SD1,
        unet=replace(
            SD1.unet, channels=channels, depth=depth, mid_depth=deep, res_blocks=blocks,
            linear_projection=linear, vector_width=7 * deep if linear else None,
        ),
        vae=replace(SD1.vae, channels=channels, res_blocks=blocks),
        text=(replace(SD1.text[0], layers=deep),),
    )
    for (channels, depth), blocks, deep, linear in product(
        [
            ((32,), (1,)),
            ((32, 32), (0, 2)),
            ((64, 32, 64), (3, 0, 1)),
            ((32, 64, 64, 96, 96), (0, 0, 2, 1, 0)),
        ],
        (1, 3),
        (1, 2),
        (False, True),
    )
]  # fmt: skip
OPENCLIP = replace(
    SD1.text[0], width=1024, heads=16, layers=24, mlp_width=4096, activation="gelu", layer=2
)
# As Stable Diffusion 2 and XL: one tower in OpenCLIP's names; two towers and a vector.
ONE_OPENCLIP = replace(
    SD1,
    name="one",
    text=(OPENCLIP,),
    unet=replace(SD1.unet, context_width=1024, heads=None, head_width=64, linear_projection=True),
)
TWO_TOWERS = replace(
    SD1,
    name="two",
    text=(SD1.text[0], replace(OPENCLIP, width=1280, heads=20, projection=1280)),
    unet=replace(SD1.unet, context_width=2048, vector_width=2816, depth=(0, 2, 10, 0)),
    conditioning=("sizes",),
)
OTHERS = [family for family in KNOWN.values() if family != SD1]
FAMILIES = [SD1, *OTHERS, ONE_OPENCLIP, TWO_TOWERS, *ODD_ONES]


def diffusers_manifest(vae: str) -> dict[str, tuple[int, ...]]:
    """All keys of the folder, as the tables call them: <folder>.<key>."""
    parts = {"unet": "unet", "vae": vae, "text_encoder": "text_encoder"}
    manifest = MANIFESTS["sd-v1-5-diffusers"]
    return {
        f"{part}.{key}": tuple(shape)
        for part, name in parts.items()
        for key, (shape, _) in manifest[name].items()
    }


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, (shape, _) in MANIFESTS[name].items()}


def official_extras(key_format: str, family: Family = SD1) -> dict[str, tuple[int, ...]]:
    return {item.names[0]: item.shape for item in ignored(family, key_format)}


def written(key_format: str, family: Family = SD1) -> dict[str, tuple[int, ...]]:
    """What we would write: the first name of each source, in its shape."""
    expected = shapes(family, key_format)
    return {source.names[0]: expected[ours] for ours, source in table(family, key_format).items()}


def test_compvis_names_and_shapes_are_the_published_ones():
    assert written("compvis") | official_extras("compvis") == manifest("sd-v1")


def test_ema_names_and_shapes_are_the_published_ones():
    averages = {
        ema_name(name): shape
        for name, shape in written("compvis").items()
        if name.startswith("model.")
    }
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


def test_openclip_names_and_shapes_are_the_published_ones():
    ours = written("compvis", ONE_OPENCLIP) | official_extras("compvis", ONE_OPENCLIP)
    assert ours == manifest("sd-v2-768-v")


def test_names_of_two_towers_and_a_vector():
    names = written("compvis", TWO_TOWERS)
    first, second = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
    assert names[f"{first}text_model.encoder.layers.0.self_attn.q_proj.weight"] == (768, 768)
    assert names[f"{second}transformer.resblocks.0.attn.in_proj_weight"] == (3840, 1280)
    assert names[f"{second}text_projection"] == (1280, 1280)
    assert names["model.diffusion_model.label_emb.0.0.weight"] == (1280, 2816)
    assert names["model.diffusion_model.label_emb.0.2.bias"] == (1280,)
    names = written("diffusers", TWO_TOWERS)
    assert names["text_encoder.text_model.encoder.layers.0.self_attn.q_proj.weight"] == (768, 768)
    assert names["text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.bias"] == (1280,)
    assert names["text_encoder_2.text_projection.weight"] == (1280, 1280)
    assert names["unet.add_embedding.linear_1.weight"] == (1280, 2816)
    assert names["unet.add_embedding.linear_2.weight"] == (1280, 1280)
    assert {name.partition(".")[0] for name in written("ldm", TWO_TOWERS)} == {
        "unet", "vae", "text", "text2",
    }  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.unet.channels}")
def test_tables_are_total_and_one_to_one(family):
    parameters = meta_model(family).state_dict().keys()
    for key_format in KEY_FORMATS:
        sources = table(family, key_format)
        assert sources.keys() == parameters
        parts = Counter((name, source.part) for source in sources.values() for name in source.names)
        assert set(parts.values()) == {1}
        for names in {source.names for source in sources.values()}:  # each part has its parameter
            found = sorted(source.part for source in sources.values() if source.names == names)
            assert found == [(i, len(found)) for i in range(len(found))]
        assert all(ours.startswith(f"{source.component}.") for ours, source in sources.items())
    averages = {
        ema_name(source.names[0])
        for source in table(family, "compvis").values()
        if source.component == "unet"
    }
    assert len(averages) == sum(name.startswith("unet.") for name in parameters)


@pytest.mark.parametrize("key_format", KEY_FORMATS)
def test_bare_names_are_those_without_their_beginning(key_format):
    bare, begins = table(TWO_TOWERS, key_format, bare=True), prefixes(TWO_TOWERS, key_format)
    for ours, source in table(TWO_TOWERS, key_format).items():
        begin = begins[source.component]
        assert tuple(begin + name for name in bare[ours].names) == source.names


@pytest.mark.parametrize(("family", "count"), [(SD1, 8), (TWO_TOWERS, 9)])
def test_operations_have_inverses(family, count):
    """Those that change something: q, k, v and out of the two attentions of CompVis's VAE, and
    OpenCLIP's projection."""
    parameters, changed = meta_model(family).state_dict(), 0
    for key_format in KEY_FORMATS:
        for ours, source in table(family, key_format).items():
            if source.operation is not None:
                x = torch.randn(parameters[ours].shape)
                theirs = source.operation.theirs(x)
                assert torch.equal(source.operation.ours(theirs), x)
                changed += theirs.shape != x.shape or not torch.equal(theirs, x)
    assert changed == count


def test_rows_name_layers():
    """LoRA files name layers, not parameters; these two names are kohya's, with dots for
    underscores."""
    names = {row.diffusers[0]: row.ours for row in rows(SD1)}
    deep = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    assert names[deep] == "unet.down.1.attn.0.blocks.0.cross_attn.k"
    assert names["text_encoder.text_model.encoder.layers.11.mlp.fc1"] == "text.layers.11.mlp.up"


def test_every_ignored_key_has_a_reason():
    for key_format in KEY_FORMATS:
        assert all(len(item.reason) > 20 for item in ignored(SD1, key_format))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_least_number_of_layers_refuses_no_complete_file(family):
    for key_format in KEY_FORMATS:
        assert 0 < least_layers(family) < len(written(key_format, family))
