"""LoRAs made of models, of each other, and a part of models."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import loras
from helpers import build_tiny, latents
from ldm.models.families import FAMILIES
from ldm.models.lora import Applied, Use, match_lora, read_lora
from ldm.models.lora.combining import merge_into, merge_loras
from ldm.models.lora.extracting import extract_lora, factors, kohya_names
from ldm.models.weights import CheckpointError, read, save
from ldm.models.weights.saving import renamed
from ldm.request import Request
from tiny_families import SMALL, random_model


def networks_of(checkpoint):
    text = {f"text{i + 1 if i else ''}": tower for i, tower in enumerate(checkpoint.text)}
    return {"unet": checkpoint.unet, **text}


def weights(checkpoint):
    return {f"{n}.{k}": p.data.clone() for n, net in networks_of(checkpoint).items()
            for k, p in net.named_parameters()}  # fmt: skip


def with_loras(checkpoint, *uses):
    """The weights with LoRAs (path, unet, text)."""
    applied = Applied(networks_of(checkpoint))
    applied.use([Use(match_lora(read_lora(p), checkpoint.family), *s) for p, *s in uses])
    found = weights(checkpoint)
    applied.use([])
    return found


def recipe(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["ldm_recipe"])


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
def test_the_difference_of_two_models_is_found_again(tmp_path, name):
    """A model that differs by layers of rank 4 from another: of that rank the LoRA is exact."""
    base, tuned = random_model(SMALL[name]), random_model(SMALL[name])
    path = loras.write(tmp_path / "x.safetensors", loras.tensors(SMALL[name], "LoRA"))
    made = with_loras(tuned, (path, 1.0, 1.0))
    for n, network in networks_of(tuned).items():
        network.load_state_dict(
            {k.removeprefix(f"{n}."): made[k] for k in made if k.startswith(f"{n}.")}
        )
    save(tmp_path / "base.safetensors", base)
    save(tmp_path / "tuned.safetensors", tuned)
    files = (
        tmp_path / "tuned.safetensors",
        tmp_path / "base.safetensors",
        tmp_path / "out.safetensors",
    )
    found = extract_lora(*files, rank=4, dtype=torch.float32)
    assert found.layers == len(loras.some_layers(SMALL[name]))
    assert found.kept == pytest.approx(1)
    again = with_loras(base, (files[2], 1.0, 1.0))
    for key in made:
        torch.testing.assert_close(again[key], made[key], rtol=1e-4, atol=1e-5)
    assert extract_lora(*files, rank=2, dtype=torch.float32).kept < 0.999
    assert recipe(files[2]) == {
        "extract-lora": {"tuned": files[0].name, "base": files[1].name, "rank": 2}
    }


def test_factors_are_the_nearest_of_their_rank():
    delta = loras.draw(0, 12, 5, 3, 3)
    up, down, kept, whole = factors(delta, 3)
    left = delta.flatten(1) - up.flatten(1) @ down.flatten(1)
    singular = torch.linalg.svdvals(delta.flatten(1))
    torch.testing.assert_close(left.square().sum(), singular[3:].square().sum())
    assert kept + left.square().sum().item() == pytest.approx(whole)
    assert (up.shape, down.shape) == ((12, 3, 1, 1), (3, 5, 3, 3))


def test_keys_are_kohyas():
    assert kohya_names(FAMILIES["sd1"])["unet.stem"] == "lora_unet_conv_in"
    assert kohya_names(FAMILIES["sdxl"])["unet.stem"] == "lora_unet_input_blocks_0_0"
    name = "text_model_encoder_layers_0_mlp_fc1"
    assert kohya_names(FAMILIES["sdxl"])["text2.layers.0.mlp.up"] == f"lora_te2_{name}"
    assert kohya_names(FAMILIES["sdxl-refiner"])["text.layers.0.mlp.up"] == f"lora_te_{name}"


def test_models_of_two_families_or_the_same_have_no_difference(tmp_path):
    for name in ("sd1", "sd2"):
        save(tmp_path / f"{name}.safetensors", random_model(SMALL[name]))
    files = [tmp_path / f"{name}.safetensors" for name in ("sd1", "sd2", "out")]
    with pytest.raises(CheckpointError, match="are of different families: sd1 and sd2"):
        extract_lora(*files)
    with pytest.raises(CheckpointError, match="there is nothing to keep"):
        extract_lora(files[0], files[0], files[2])
    assert not files[2].exists()


@pytest.fixture
def small_sd1(monkeypatch):
    """The family that LoRAs are told to be for, in a small size."""
    from ldm.models.lora import combining, matching

    small = {**FAMILIES, "sd1": SMALL["sd1"]}
    monkeypatch.setattr(matching, "FAMILIES", small)
    monkeypatch.setattr(combining, "FAMILIES", small)
    return random_model(SMALL["sd1"])


def test_several_loras_are_one(small_sd1, tmp_path):
    """Exactly, where they are products; in full, where one is not; and nearly, of a rank."""
    layers = loras.some_layers(SMALL["sd1"])
    files = {}
    for kind, own in {
        "LoRA": layers,
        "LoCon, Tucker": layers[:3],
        "LoHa": layers[1:],
        "full": layers,
    }.items():
        files[kind] = loras.write(
            tmp_path / f"{kind}.safetensors", loras.tensors(SMALL["sd1"], kind, own)
        )
    other = loras.tensors(SMALL["sd1"], "LoRA", layers[2:])
    files["other"] = loras.write(
        tmp_path / "other.safetensors", {k: -v if "up" in k else v for k, v in other.items()}
    )
    for kinds in (["LoRA", "other"], ["LoRA", "LoHa"], ["LoCon, Tucker", "full"]):
        entries = [(files[kind], 0.8 - i, 0.5) for i, kind in enumerate(kinds)]
        expected = with_loras(small_sd1, *entries)
        out = tmp_path / "out.safetensors"
        for rank, bound in ((None, 1e-5), (64, 1e-4)):
            assert merge_loras(entries, out, rank, torch.float32) == len(layers)
            found = with_loras(small_sd1, (out, 1.0, 1.0))
            for key in expected:
                torch.testing.assert_close(found[key], expected[key], rtol=bound, atol=bound)
        assert recipe(out)["lora-merge"] == [
            [files[k].name, 0.8 - i, 0.5] for i, k in enumerate(kinds)
        ]
    assert set(read_lora(out).kinds) == {"LoRA"}


@pytest.mark.parametrize("kind", ["OFT", "DoRA, outputs", "IA3, inputs", "GLoRA", "set"])
def test_what_depends_on_the_weight_needs_a_checkpoint(small_sd1, tmp_path, kind):
    path = loras.write(tmp_path / "x.safetensors", loras.tensors(SMALL["sd1"], kind))
    with pytest.raises(CheckpointError, match="merge it into a checkpoint, with --ckpt"):
        merge_loras([(path, 1.0, 1.0)], tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("layout", ["ldm", "compvis"])
@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_a_checkpoint_with_loras_in_it(tmp_path, name, layout):
    """The weights are those of the LoRAs applied; all else is as it was, names and types too. In
    OpenCLIP's layout (sd2, sdxl) three layers are in one tensor."""
    checkpoint = random_model(SMALL[name])
    family = SMALL[name]
    path = tmp_path / "a.safetensors"
    tensors = {
        k: v.contiguous().half() if "out.2" in k else v.contiguous()
        for k, v in renamed(checkpoint, layout).items()
    }
    save_file(tensors, path, {"merges": "\n".join(map(" ".join, checkpoint.merges))})
    layers = [*loras.some_layers(family), "text.layers.0.attn.q"]
    layers += ["text2.layers.1.attn.v"] if name == "sdxl" else []
    lora = loras.write(tmp_path / "x.safetensors", loras.tensors(family, "LoRA", layers))
    dora = loras.write(tmp_path / "y.safetensors", loras.tensors(family, "DoRA, outputs", layers))
    entries = [(lora, 0.8, 0.5), (dora, -0.3, 0.7)]
    out = tmp_path / "out.safetensors"
    assert merge_into(path, entries, out, family) == len(layers)
    expected = with_loras(checkpoint, *entries)
    found = read(out, family=family)
    for key, tensor in weights(found).items():
        bound = 1e-3 if key.startswith("unet.out") else 1e-6
        torch.testing.assert_close(tensor, expected[key], rtol=bound, atol=bound)
    before, after = load_file(path), load_file(out)
    assert {k: (v.dtype, v.shape) for k, v in before.items()} == {
        k: (v.dtype, v.shape) for k, v in after.items()
    }
    changed = [k for k in before if not torch.equal(before[k], after[k])]
    assert 0 < len(changed) <= len(layers)
    assert recipe(out)["ckpt"] == "a.safetensors"


def test_the_commands(run, tmp_path, tiny_file, monkeypatch):
    model = build_tiny()
    path = loras.write(tmp_path / "x.safetensors", loras.tensors(model.family, "LoRA"))
    code, out, _ = run(
        f"lora-merge {path}:0.7:0.2 --out merged.safetensors --ckpt {tiny_file}", ckpt=False
    )
    assert (code, "weights of" in out) == (0, True)
    asked = Request("a cat", seed=3, steps=2)
    import ldm

    merged = ldm.load(tmp_path / "merged.safetensors", "cpu", torch.float32)
    drawn = latents(model, replace(asked, lora=f"{path}:0.7:0.2"))
    torch.testing.assert_close(latents(merged, asked), drawn, rtol=1e-4, atol=1e-3)
    line = (
        f"extract-lora merged.safetensors {tiny_file} --out y.safetensors --rank 4 --dtype float32"
    )
    code, out, _ = run(line, ckpt=False)
    assert (code, out.split(": ")[1]) == (
        0,
        f"{len(loras.some_layers(model.family))} layers, 100.0% of the squared difference\n",
    )
    torch.testing.assert_close(
        latents(model, replace(asked, lora="y.safetensors")), drawn, rtol=1e-3, atol=1e-3
    )
    code, _, error = run("extract-lora merged.safetensors nothing.ckpt --out y.txt", ckpt=False)
    assert (code, "should be a file that ends in .safetensors" in error) == (2, True)
