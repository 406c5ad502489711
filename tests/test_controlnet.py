"""ControlNet equals diffusers' on the same random weights; each kind of file gives the network that
is meant."""

import hashlib

import pytest
import torch
from safetensors.torch import save_file

from controls import saved, their_controlnet
from helpers import assert_same, normal
from ldm.conditioning import Conditioning
from ldm.models.control import read_control
from ldm.models.control.loading import names_of
from ldm.models.families import FAMILIES as FULL
from ldm.models.keymaps.control import controlnet_rows
from ldm.models.weights import CheckpointError
from ldm.unet.blocks import timestep_embedding
from ldm.unet.controlnet import ControlNet
from tiny_families import SMALL, random_model

pytest.importorskip("diffusers")
FAMILIES = ("sd1", "sd2", "sdxl")


POOLED, SIZES = normal(3, 20, seed=4), torch.arange(18.0).reshape(3, 6) * 100


def told(family):
    """Three rows; the vector, where there is one, is SDXL's, of a pooled text and six sizes."""
    context = normal(3, 7, family.unet.context_width, seed=3)
    if family.unet.vector_width is None:
        return Conditioning(context)
    sizes = timestep_embedding(SIZES.flatten(), 8).reshape(3, 48)
    return Conditioning(context, torch.cat([POOLED, sizes], 1))


def call(family):
    """x (3, 4, 9, 13), t, a conditioning and a hint."""
    x, hint = normal(3, 4, 9, 13, seed=5), normal(3, 3, 72, 104, seed=6).sigmoid()
    return x, torch.tensor([801.0, 3.0, 400.0]), told(family), hint


def theirs(network, family, x, t, cond, hint, **options):
    """The residuals of diffusers' network, the middle's last."""
    if cond.vector is not None:
        options["added_cond_kwargs"] = {"text_embeds": POOLED, "time_ids": SIZES}
    if isinstance(hint, list):
        options["control_type_idx"] = options.pop("kinds")
        marked = torch.zeros(8)
        marked[options["control_type_idx"]] = 1
        options["control_type"] = marked[None].repeat(3, 1)
        options["from_multi"] = True
    found = network(x, t, cond.context, hint, return_dict=False, **options)
    return [*found[0], found[1]]


def assert_equal(ours, expected):
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected):
        assert_same(one, other)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_controlnet_equals_diffusers(name, tmp_path):
    family = SMALL[name]
    network = their_controlnet(family)
    unet = random_model(family).unet
    ours = read_control(saved(network, tmp_path / "c.safetensors"), family, unet)
    given = call(family)
    assert_equal(ours(*given), theirs(network, family, *given))


@pytest.mark.parametrize("kinds", [[3], [1, 6, 0]])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_union_equals_diffusers(name, kinds, tmp_path):
    family = SMALL[name]
    network = their_controlnet(family, union=True)
    unet = random_model(family).unet
    ours = read_control(saved(network, tmp_path / "c.safetensors"), family, unet)
    x, t, cond, hint = call(family)
    hints = [hint.roll(i, 2) for i in range(len(kinds))]
    expected = theirs(
        network, family, x, t, cond, hints, kinds=kinds, conditioning_scale=[1.0] * len(kinds)
    )
    assert_equal(ours(x, t, cond, hints, kinds), expected)


# Files


@pytest.fixture(params=FAMILIES)
def case(request):
    """A family, its U-Net and their network for it."""
    family = SMALL[request.param]
    return family, random_model(family).unet, their_controlnet(family)


def original_names(network, family):
    """Their tensors under lllyasviel's names."""
    rows = [*controlnet_rows(family.unet, 6)]
    ours, theirs = names_of(rows, "compvis"), names_of(rows, "diffusers")
    state = network.state_dict()
    return {ours[name]: state[theirs[name]] for name in ours}


@pytest.mark.parametrize("prefix", ["", "control_model."])
@pytest.mark.parametrize("container", ["safetensors", "torch"])
def test_the_originals_files(case, prefix, container, tmp_path):
    """Also with a whole checkpoint beside it."""
    family, unet, network = case
    tensors = {prefix + name: x for name, x in original_names(network, family).items()}
    if prefix:
        tensors["model.diffusion_model.out.2.weight"] = torch.ones(2)
    path = tmp_path / "control"
    if container == "torch":
        torch.save({"state_dict": tensors}, path)
    else:
        save_file(tensors, path)
    given = call(family)
    assert_equal(read_control(path, family, unet)(*given), theirs(network, family, *given))


def test_a_folder_of_diffusers(case, tmp_path):
    family, unet, network = case
    network.save_pretrained(tmp_path)
    given = call(family)
    assert_equal(read_control(tmp_path, family, unet)(*given), theirs(network, family, *given))


def shared_with(unet, family):
    """The names, in the original's files, of what a ControlNet has in common with its U-Net."""
    names, own = names_of(controlnet_rows(family.unet, 6), "compvis"), unet.state_dict()
    return {theirs: own[ours] for ours, theirs in names.items() if ours in own}


def test_a_difference_is_added_to_the_unet(case, tmp_path):
    family, unet, network = case
    base, tensors = shared_with(unet, family), original_names(network, family)
    changes = {name: x - base[name] if name in base else x for name, x in tensors.items()}
    named = {f"control_model.{name}": x.contiguous() for name, x in changes.items()}
    save_file({**named, "difference": torch.zeros(1)}, tmp_path / "c")
    given = call(family)
    assert_equal(
        read_control(tmp_path / "c", family, unet)(*given), theirs(network, family, *given)
    )


def test_a_control_lora_is_up_times_down_on_the_unet(case, tmp_path):
    """W + up down, of convolutions as of matrices; what is whole in the file is taken as it is."""
    family, unet, network = case
    base, tensors = shared_with(unet, family), original_names(network, family)
    file = {"lora_controlnet": torch.zeros(1)}
    for name, whole in tensors.items():
        if name not in base or not name.endswith(".weight") or whole.ndim < 2:
            file[name] = whole.contiguous()
            continue
        layer, out = name.removesuffix(".weight"), whole.shape[0]
        down_shape = (2, *whole.shape[1:])
        file[f"{layer}.up"] = normal(out, 2, *(1,) * (whole.ndim - 2), seed=out) / 8
        file[f"{layer}.down"] = normal(*down_shape, seed=7) / 8
        change = file[f"{layer}.up"].flatten(1) @ file[f"{layer}.down"].flatten(1)
        tensors[name] = base[name] + change.reshape(whole.shape)
    save_file(file, tmp_path / "lora")
    save_file({name: x.contiguous() for name, x in tensors.items()}, tmp_path / "whole")
    given = call(family)
    expected = read_control(tmp_path / "whole", family, unet)(*given)
    assert_equal(read_control(tmp_path / "lora", family, unet)(*given), expected)


def test_transformers_that_were_left_out(tmp_path):
    """diffusers' small ControlNets for SDXL have none."""
    family = SMALL["sdxl"]
    network = their_controlnet(
        family, down_block_types=["DownBlock2D"] * 3, mid_block_type="UNetMidBlock2D"
    )
    unet = random_model(family).unet
    ours = read_control(saved(network, tmp_path / "c"), family, unet)
    assert (ours.config.depth, ours.config.mid_depth) == ((0, 0, 0), 0)
    given = call(family)
    assert_equal(ours(*given), theirs(network, family, *given))


@pytest.mark.parametrize("of", FAMILIES)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_for_another_family_is_refused(name, of, tmp_path):
    path = saved(their_controlnet(SMALL[of]), tmp_path / "c")
    family, unet = SMALL[name], random_model(SMALL[name]).unet
    if name == of:
        read_control(path, family, unet)
        return
    with pytest.raises(
        CheckpointError, match=f"a ControlNet, .* this model is of {name}; "
    ) as error:
        read_control(path, family, unet)
    assert len(str(error.value)) <= 500


def test_what_is_no_control_is_refused(tmp_path, tiny_file):
    family, unet = SMALL["sd1"], random_model(SMALL["sd1"]).unet
    with pytest.raises(CheckpointError, match="no control"):
        read_control(tiny_file, family, unet)
    save_file({"lora_unet_down_blocks_0.lora_down.weight": torch.ones(2, 2)}, tmp_path / "lora")
    with pytest.raises(CheckpointError, match="it seems to be a LoRA"):
        read_control(tmp_path / "lora", family, unet)
    with pytest.raises(CheckpointError, match="there is no file"):
        read_control(tmp_path / "none", family, unet)


@pytest.mark.parametrize(
    ("key_format", "prefix", "known"),
    [("compvis", "control_model.", "ebea5bace8ecd0f8"), ("diffusers", "", "78789a4f9eff0f09")],
)
def test_the_real_names_and_shapes(key_format, prefix, known):
    """The digest of those of lllyasviel's class with cldm_v15.yaml, on the meta device, and of
    diffusers' for lllyasviel/sd-controlnet-canny."""
    config = FULL["sd1"].unet
    with torch.device("meta"):
        shapes = {n: list(x.shape) for n, x in ControlNet(config).state_dict().items()}
    names = names_of(controlnet_rows(config, 6), key_format)
    lines = sorted(f"{prefix}{names[ours]} {shape}" for ours, shape in shapes.items())
    assert len(lines) == 340
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest().startswith(known)
