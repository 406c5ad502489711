"""T2I-Adapter equals diffusers' on the same random weights, from either layout of its files."""

import pytest
import torch
from safetensors.torch import save_file

from controls import saved, their_adapter
from helpers import assert_same, normal
from ldm.conditioning import Conditioning
from ldm.models.control import read_control
from ldm.models.control.loading import names_of
from ldm.models.keymaps.control import adapter_rows
from ldm.models.weights import CheckpointError
from ldm.unet.adapter import added
from tiny_families import SMALL, random_model

pytest.importorskip("diffusers")
KINDS = {"full_adapter": "sd1", "light_adapter": "sd1", "full_adapter_xl": "sdxl"}
HINT = normal(3, 3, 80, 112, seed=6).sigmoid()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("original", [False, True])
def test_it_equals_diffusers(kind, channels, original, tmp_path):
    """A grey hint is the mean of the three channels."""
    family = SMALL[KINDS[kind]]
    network, unet = their_adapter(family, kind, channels=channels), random_model(family).unet
    path = saved(network, tmp_path / "a.safetensors")
    ours = read_control(path, family, unet)
    if original:
        rows = [*adapter_rows(ours.config)]
        names, theirs = names_of(rows, "compvis"), names_of(rows, "diffusers")
        state = network.state_dict()
        save_file({names[n]: state[theirs[n]].contiguous() for n in names}, tmp_path / "b")
        ours = read_control(tmp_path / "b", family, unet)
    hint = HINT if channels == 3 else HINT.mean(1, keepdim=True)
    expected = network(hint)
    found = ours(HINT)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected):
        assert_same(one, other)


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_features_fit_a_latent_of_any_size(kind, name, tmp_path):
    """Sides that are odd on some level; and the U-Net is as before afterwards."""
    family = SMALL[name]
    unet = random_model(family).unet
    path = saved(their_adapter(family, kind), tmp_path / "a")
    adapter = read_control(path, family, unet)
    x, t, context = (
        normal(1, 4, 9, 13),
        torch.tensor([5.0]),
        normal(1, 7, family.unet.context_width),
    )
    vector = family.unet.vector_width
    cond = context if vector is None else Conditioning(context, normal(1, vector))
    before = unet(x, t, cond)
    with added(unet, adapter(normal(1, 3, 72, 104).sigmoid())):
        during = unet(x, t, cond)
    assert torch.equal(unet(x, t, cond), before)
    assert (during - before).abs().max() > 0.01 * before.abs().max()


@pytest.mark.parametrize(("kind", "name"), [("full_adapter", "sdxl"), ("full_adapter_xl", "sd1")])
def test_one_for_another_family_is_refused(kind, name, tmp_path):
    other = SMALL["sd1" if name == "sdxl" else "sdxl"]
    path = saved(their_adapter(other, kind), tmp_path / "a")
    with pytest.raises(CheckpointError, match=f"a T2I-Adapter.* this model is of {name}"):
        read_control(path, SMALL[name], random_model(SMALL[name]).unet)
