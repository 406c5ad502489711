"""Models merged, converted and pruned: from files to files, one tensor at a time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from helpers import TINY, names
from ldm.cli import main
from ldm.models.keymaps import ema_name
from ldm.models.tools import convert, merge
from ldm.models.tools.methods import METHODS, Options, dare, ties
from ldm.models.weights import CheckpointError, read, save
from ldm.models.weights.saving import renamed
from ldm.runtime import hashes
from tiny_families import random_model

ROOT = Path(__file__).parent.parent
FAMILY = replace(TINY, name="tiny-merged")
A, B, C = (random_model(FAMILY, seed) for seed in range(3))
WRITE = {
    "ours.safetensors": lambda one, path: save(path, one),
    "compvis.safetensors": lambda one, path: save(path, one, "compvis"),
    "folder": lambda one, path: save(path, one, "diffusers"),
    "pickle.ckpt": lambda one, path: torch.save({"state_dict": renamed(one, "compvis")}, path),
}


@pytest.fixture
def files(tmp_path):
    """A, B and C, each in another layout."""
    found = []
    for i, (one, name) in enumerate(zip((A, B, C), list(WRITE)[:3])):
        (tmp_path / str(i)).mkdir()
        WRITE[name](one, tmp_path / str(i) / name)
        found.append(tmp_path / str(i) / name)
    return found


def parameters(model):
    return {name: tensor.detach() for name, tensor in renamed(model, "ldm").items()}


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-6)


def expected(formula):
    a, b, c = (parameters(model) for model in (A, B, C))
    return {name: formula(*(x[name].double() for x in (a, b, c))).float() for name in a}


FORMULAS = {
    "weighted": lambda a, b, c: 0.25 * a + 0.75 * b,
    "Add difference": lambda a, b, c: a + 0.75 * (b - c),
    "slerp": lambda a, b, c: METHODS["slerp"].run(a, b, 0.75),
    "ties": lambda a, b, c: ties(a, b, c, 0.75, Options(0.3, torch.Generator)),
}


@pytest.mark.parametrize("method", FORMULAS)
def test_each_parameter_is_merged_whatever_the_layouts(files, tmp_path, method):
    out = tmp_path / "out.safetensors"
    few = files[: 2 + METHODS.get(method, METHODS["ties"]).base]
    merge(few, out, method, 0.75, density=0.3 if method == "ties" else None)
    assert_close(parameters(read(out)), expected(FORMULAS[method]))
    assert names(tmp_path) == ["0", "1", "2", "out.safetensors"]


def test_dare_has_its_own_dice_for_each_tensor(files, tmp_path):
    one, two, other = (tmp_path / f"{i}.safetensors" for i in range(3))
    merge(files, one, "dare", density=0.5, seed=1)
    merge(files, two, "dare", density=0.5, seed=1, layout="compvis")
    merge(files, other, "dare", density=0.5, seed=2)
    assert_close(parameters(read(two)), parameters(read(one)))
    name = "unet.mid.res1.conv1.weight"
    mine, yours = parameters(read(one))[name], parameters(read(other))[name]
    assert not torch.equal(mine, yours)
    a, b, c = (parameters(model)[name] for model in (A, B, C))
    both = ((mine - c) - ((a - c) + (b - c))).abs() < 1e-5  # 0.5 (a / 0.5 + b / 0.5)
    assert 0.2 < both.float().mean() < 0.3  # both were kept
    full = tmp_path / "full.safetensors"
    merge(files, full, "dare", 0.5, density=1.0)
    assert_close(parameters(read(full)), expected(lambda a, b, c: (a + b) / 2))
    assert dare is METHODS["dare"].run


def test_blocks_have_alphas_of_their_own(files, tmp_path):
    out = tmp_path / "out.safetensors"
    merge(files[:2], out, alpha=0.5, blocks="IN00=0,M00=1,OUT00-OUT01=0.25")
    found, a, b = (parameters(model) for model in (read(out), A, B))
    for name, alpha in (
        ("unet.stem.weight", 0),
        ("unet.mid.res1.conv1.weight", 1),
        ("unet.up.0.res.0.conv1.weight", 0.25),
        ("vae.decoder.out.weight", 0.5),
    ):
        torch.testing.assert_close(found[name], (1 - alpha) * a[name] + alpha * b[name])


def test_the_recipe_is_in_the_file_with_the_web_uis_names(files, tmp_path):
    first = tmp_path / "first.safetensors"
    merge([files[0], files[1]], first, alpha=0.3)
    merge([first, files[2]], tmp_path / "second.safetensors", blocks="M00=1", dtype=torch.float16)
    with safe_open(tmp_path / "second.safetensors", "pt") as file:
        told = file.metadata()
    kinds = {tensor.dtype for tensor in load_file(tmp_path / "second.safetensors").values()}
    recipe, used = json.loads(told["sd_merge_recipe"]), json.loads(told["sd_merge_models"])
    assert kinds == {torch.float16}
    digest = hashes.sha256(first)
    assert recipe["primary_model_hash"] == digest
    assert (recipe["interp_method"], recipe["multiplier"]) == ("Weighted sum", 0.5)
    assert recipe["blocks"] == "M00=1"
    assert used[digest]["name"] == "first.safetensors"
    assert used[digest]["sd_merge_recipe"]["multiplier"] == 0.3


def test_an_inpainting_model_keeps_what_it_sees_besides(tmp_path):
    """A1111: A an inpainting model, B one made of C, the model without inpainting: B that can
    inpaint."""
    wide = replace(
        FAMILY, unet=replace(FAMILY.unet, concat_channels=5), conditioning=("inpainting",)
    )
    inpainting = random_model(wide)
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for model, path in zip((inpainting, B, C), paths):
        save(path, model)
    merge(paths, tmp_path / "out.safetensors", "add_difference")
    found = read(tmp_path / "out.safetensors")
    assert found.family == wide
    stems = [model.unet.stem.weight for model in (found, inpainting, B, C)]
    torch.testing.assert_close(stems[0][:, :4], stems[1][:, :4] + stems[2] - stems[3])
    assert torch.equal(stems[0][:, 4:], stems[1][:, 4:])
    with pytest.raises(ValueError, match=r"two sizes.*unet.stem.weight is \(32, 4, 3, 3\)"):
        merge([paths[1], paths[0]], tmp_path / "other.safetensors")


def test_what_cannot_be_merged_is_said_and_nothing_is_left(files, tmp_path, capsys):
    other = replace(FAMILY, unet=replace(FAMILY.unet, res_blocks=2))
    save(tmp_path / "other.safetensors", random_model(other))
    before = names(tmp_path)
    out = ["--out", str(tmp_path / "out.safetensors")]
    a, b, c = map(str, files)
    for asked, message in (
        ([a], "--method weighted takes 2 models, A and B: not 1"),
        ([a, b, "--method", "ties"], "takes 3 models, A, B and C"),
        ([a, b, "--method", "x"], "method 'x' is unknown: choose one of weighted"),
        ([a, b, "--alpha", "nan"], "--alpha nan"),
        ([a, b, "--density", "0.5"], "takes no density"),
        ([a, b, c, "--method", "dare", "--density", "0"], "above 0 and at most 1"),
        ([a, b, "--blocks", "1,2"], "2 numbers: tiny-merged has 9 blocks, IN00 to OUT03"),
        ([a, str(tmp_path / "other.safetensors")], "of two kinds: tiny-merged and tiny-merged"),
        ([a, str(tmp_path / "absent")], "there is no file or folder"),
        ([a, b, "--out", "x.ckpt"], "should end in .safetensors"),
        ([a, b, "--out", str(tmp_path)], "is there and is no diffusers folder"),
    ):
        assert main(["merge", *out, *asked]) == 2, asked
        assert message in capsys.readouterr().err
    assert names(tmp_path) == before


def test_a_damaged_model_leaves_what_was_there(files, tmp_path):
    tensors, path = parameters(B), tmp_path / "b.safetensors"
    tensors["unet.out.bias"] = torch.full_like(tensors["unet.out.bias"], torch.nan)
    save_file(tensors, path, {"family": json.dumps(FAMILY.to_dict())})
    out = tmp_path / "out.safetensors"
    out.write_text("before")
    with pytest.raises(CheckpointError, match=r"unet.out.bias in .* values that are NaN"):
        merge([files[0], path], out)
    assert out.read_text() == "before"
    assert names(tmp_path) == ["0", "1", "2", "b.safetensors", "out.safetensors"]


@pytest.mark.parametrize("given", WRITE)
@pytest.mark.parametrize("layout", ["ldm", "compvis", "diffusers"])
def test_a_conversion_is_bit_for_bit(tmp_path, given, layout):
    WRITE[given](A, tmp_path / given)
    out = tmp_path / ("out" if layout == "diffusers" else "out.safetensors")
    family = FAMILY if given == "pickle.ckpt" else None
    if family is not None and layout == "diffusers":  # the file has no merges, which are not CLIP's
        with pytest.raises(CheckpointError, match="has no tokenizer/ with merges"):
            convert(tmp_path / given, out, layout, family=family)
        assert names(tmp_path) == [given]
        return
    convert(tmp_path / given, out, layout, family=family)
    found, wanted = parameters(read(out)), parameters(A)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_layout_that_is_not_asked_for_follows_from_the_names(tmp_path):
    save(tmp_path / "folder", A, "diffusers")
    assert (
        main(["convert", str(tmp_path / "folder"), "--out", str(tmp_path / "x.safetensors")]) == 0
    )
    assert "model.diffusion_model.out.2.bias" in load_file(tmp_path / "x.safetensors")
    assert main(["convert", str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "y")]) == 0
    assert (tmp_path / "y" / "model_index.json").is_file()


@pytest.fixture
def trained(tmp_path):
    """As training leaves it: weights and averages, an optimizer, a schedule, a mark."""
    weights = {name: tensor.contiguous() for name, tensor in renamed(A, "compvis").items()}
    averages = {
        ema_name(name): tensor.contiguous()
        for name, tensor in renamed(B, "compvis").items()
        if name.startswith("model.diffusion_model.")
    }
    more = {"betas": torch.zeros(1000), "model_ema.decay": torch.ones(()), "v_pred": torch.ones(0)}
    path = tmp_path / "trained.ckpt"
    state = weights | averages | more
    torch.save({"state_dict": state, "optimizer_states": [{"state": {0: torch.ones(9)}}]}, path)
    return path


@pytest.mark.parametrize(("flag", "unet"), [("", B), ("--ema", B), ("--no-ema", A)])
def test_pruning_keeps_averages_or_weights_in_the_type_asked_for(trained, tmp_path, flag, unet):
    family = tmp_path / "family.json"
    family.write_text(json.dumps(FAMILY.to_dict()))
    out = tmp_path / "out.safetensors"
    command = ["prune", str(trained), "--out", str(out), "--family", str(family)]
    assert main([*command, *([flag] if flag else []), "--dtype", "bfloat16"]) == 0
    state = load_file(out)
    assert {tensor.dtype for name, tensor in state.items() if name != "v_pred"} == {torch.bfloat16}
    assert state.keys() == {*renamed(A, "compvis"), "v_pred"}
    found = read(out)
    for mine, yours in ((found.unet, unet.unet), (found.vae, A.vae)):
        for name, tensor in yours.state_dict().items():
            assert torch.equal(mine.state_dict()[name], tensor.bfloat16().float()), name


def test_both_sets_can_be_kept(trained, tmp_path):
    out = tmp_path / "out.safetensors"
    convert(trained, out, keep_ema=True, family=FAMILY)
    for ema, model in ((True, B), (False, A)):
        found = read(out, ema=ema)
        assert torch.equal(found.unet.out.weight, model.unet.out.weight)
    with pytest.raises(ValueError, match="only CompVis's layout has a place for both"):
        convert(trained, out, "ldm", keep_ema=True, family=FAMILY)
