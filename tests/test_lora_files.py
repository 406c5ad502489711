"""LoRA files: every spelling of their keys, the family that they are for, and what is wrong with
one."""

import json

import pytest
import torch
from safetensors.torch import save_file

import loras
from ldm.models.families import FAMILIES
from ldm.models.lora import Applied, Use, match_lora, read_lora
from ldm.models.weights import CheckpointError
from tiny_families import SMALL, random_model

SD1 = SMALL["sd1"]
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
TEXT = "encoder.layers.1.self_attn"
KOHYA = "lora_te_text_model_{flattext}_q_proj"
ENCODER = "text_encoder.text_model.{text}"
COMPVIS = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
SPELLINGS = {  # keys of one layer of the U-Net and of one of the text encoder, without their ends
    "kohya": ("lora_unet_{flat}_to_q.lora_{end}", KOHYA + ".lora_{end}"),
    "te1": (None, KOHYA.replace("te_", "te1_", 1) + ".lora_{end}"),
    "compvis": (f"lora_unet_{COMPVIS.replace('.', '_')}.lora_{{end}}", None),
    "generic": (f"diffusion_model.{COMPVIS}.lora_{{end}}", None),
    "lycoris": ("lycoris_{flat}_to_q.lora_{end}", None),
    "diffusers, 2023": ("unet.{dotted}.processor.to_q_lora.{end}", None),
    "diffusers, bare": ("{dotted}.processor.to_q_lora.{end}", None),
    "diffusers": ("unet.{dotted}.to_q.lora.{end}", ENCODER + ".q_proj.lora_linear_layer.{end}"),
    "PEFT": ("unet.{dotted}.to_q.lora_{AB}", ENCODER + ".q_proj.lora_{AB}"),
    "PEFT, named": (
        "base_model.model.{dotted}.to_q.lora_{AB}.default",
        ENCODER.replace("text_model.", "") + ".q_proj.lora_{AB}.default",
    ),
    "ComfyUI": (
        f"model.diffusion_model.{COMPVIS}.lora_{{end}}",
        "text_encoders.clip_l.transformer.text_model.{text}.q_proj.lora_{end}",
    ),
}


def spelt(pattern, end):
    fields = {
        "flat": ATTENTION.replace(".", "_"), "dotted": ATTENTION, "text": TEXT,
        "flattext": TEXT.replace(".", "_"), "end": end, "AB": "B" if end == "up" else "A",
    }  # fmt: skip
    return pattern.format(**fields) + ".weight"


def low_rank(width, seed=0):
    return {"up": loras.draw(seed, width, 2), "down": loras.draw(seed + 1, 2, width)}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_a_layer_is_the_same_layer(tmp_path, name):
    found, expected = {}, []
    places = ("unet.down.0.attn.0.blocks.0.self_attn.q", 16), ("text.layers.1.attn.q", 12)
    for pattern, (ours, width) in zip(SPELLINGS[name], places):
        if pattern is not None:
            found |= {spelt(pattern, end): part for end, part in low_rank(width).items()}
            expected.append(ours)
    matched = match_lora(read_lora(loras.write(tmp_path / "x.safetensors", found)), SD1)
    assert sorted(ours for _, ours in matched.changed) == sorted((ours,) for ours in expected)
    assert matched.told is None


@pytest.mark.parametrize("column", ["diffusers", "compvis"])
@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
def test_all_layers_of_a_family_are_found_in_both_spellings(tmp_path, name, column):
    family = SMALL[name]
    layers = [layer for layer in loras.names_of(family) if "token" not in layer]
    layers = [layer for layer in layers if "position" not in layer and "norm" not in layer]
    path = loras.write(tmp_path / "x.safetensors", loras.tensors(family, "LoRA", layers, column))
    matched = match_lora(read_lora(path), family)
    assert sorted(ours for _, ours in matched.changed) == sorted((layer,) for layer in layers)
    assert matched.told is None


def test_norms_and_biases_are_changed_too(tmp_path):
    names = "conv_norm_out.w_norm", "conv_norm_out.b_norm", "conv_out.diff_b"
    found = {f"lora_unet_{name}": torch.ones(4 if "diff" in name else 16) for name in names}
    networks = {"unet": random_model(SD1).unet}
    before = {name: tensor.clone() for name, tensor in networks["unet"].state_dict().items()}
    matched = match_lora(read_lora(loras.write(tmp_path / "x.safetensors", found)), SD1)
    Applied(networks).use([Use(matched, 0.5)])
    after = networks["unet"].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"norm.weight", "norm.bias", "out.bias"}
    assert all(torch.equal(after[name], before[name] + 0.5) for name in changed)


def test_openclip_has_three_layers_in_one_tensor(tmp_path):
    """In OpenCLIP's spelling a change of `in_proj` is that of q, k and v, one below the other."""
    family = SMALL["sd2"]
    parts = loras.parts_of("LoRA", (60, 20))
    found = {f"lora_te_transformer_resblocks_1_attn_in_proj.{end}": x for end, x in parts.items()}
    matched = match_lora(read_lora(loras.write(tmp_path / "x.safetensors", found)), family)
    ours = tuple(f"text.layers.1.attn.{letter}" for letter in "qkv")
    assert [names for _, names in matched.changed] == [ours]
    tower = random_model(family).text[0]
    attention = tower.layers[1].attn
    before = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
    Applied({"text": tower}).use([Use(matched, 1.0, 0.5)])
    after = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
    change = 0.25 * parts["lora_up.weight"] @ parts["lora_down.weight"]
    torch.testing.assert_close(after, before + change)


# Alphas


def alphas(tmp_path, keys, **metadata):
    path = loras.write(tmp_path / "x.safetensors", keys, **metadata)
    return {layer.network: layer.alpha for layer in read_lora(path).layers}


def test_diffusers_metadata_give_the_alphas(tmp_path):
    keys = {spelt("unet.{dotted}.to_q.lora_{AB}", e): x for e, x in low_rank(16).items()}
    text = "text_encoder.text_model.{text}.q_proj.lora_{AB}"
    keys |= {spelt(text, e): x for e, x in low_rank(12).items()}
    config = {"unet.r": 2, "unet.lora_alpha": 6, "text_encoder.lora_alpha": 1}
    said = json.dumps(config)
    assert alphas(tmp_path, keys, lora_adapter_metadata=said) == {"unet": 6, "text": 1}
    said = json.dumps(
        config | {"unet.use_rslora": True, "text_encoder.alpha_pattern": {"q_proj": 3}}
    )
    assert alphas(tmp_path, keys, lora_adapter_metadata=said) == {"unet": 6 * 2**0.5, "text": 3}
    said = json.dumps({"unet.lora_alpha": "x", "text_encoder.alpha_pattern": 3})
    assert alphas(tmp_path, keys, lora_adapter_metadata=said) == {"unet": None, "text": None}
    for damaged in ("{", "[]"):
        with pytest.raises(CheckpointError, match=r"the config of PEFT in .* is damaged"):
            alphas(tmp_path, keys, lora_adapter_metadata=damaged)


def test_a_folder_of_peft_has_a_config_beside_it(tmp_path):
    keys = {
        spelt("base_model.model.{dotted}.to_q.lora_{AB}", e): x for e, x in low_rank(16).items()
    }
    save_file(keys, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8}))
    found = read_lora(tmp_path)
    assert (found.name, found.layers[0].alpha) == (tmp_path.name, 8)


# What is wrong


@pytest.mark.parametrize(("name", "model"), [
    ("sd1", "sd2"), ("sd2", "sd1"), ("sdxl", "sd1"), ("sd1", "sdxl"), ("sdxl-refiner", "sdxl"),
])  # fmt: skip
def test_a_lora_for_another_family_is_refused_by_its_name(tmp_path, name, model):
    layers = [x for x in loras.some_layers(FAMILIES[name]) if "mlp" not in x]
    path = loras.write(tmp_path / "x.safetensors", loras.tensors(FAMILIES[name], "LoRA", layers))
    with pytest.raises(CheckpointError, match=f"is for {name}, and the model is {model}: "):
        match_lora(read_lora(path), FAMILIES[model])


def test_other_networks_are_named(tmp_path):
    for key, name in (
        ("lora_unet_double_blocks_0_img_attn_proj", "Flux"),
        ("transformer.transformer_blocks.0.attn.to_q", "Stable Diffusion 3"),
    ):
        found = {f"{key}.lora_{end}.weight": x for end, x in low_rank(16).items()}
        path = loras.write(tmp_path / "x.safetensors", found)
        with pytest.raises(CheckpointError, match=f"is for {name}, which is not supported"):
            match_lora(read_lora(path), SD1)
    found = {f"lora_unet_thing.lora_{end}.weight": x for end, x in low_rank(16).items()}
    path = loras.write(tmp_path / "x.safetensors", found, ss_base_model_version="sdxl_base_v1-0")
    with pytest.raises(
        CheckpointError, match="is for sdxl, and the model is sd1: it has 0 of 1 layers"
    ):
        match_lora(read_lora(path), SD1)


def test_what_is_left_out_is_told_by_number_and_name(tmp_path):
    found = loras.tensors(SD1, "LoRA")
    extra = {f"lora_unet_thing.lora_{end}.weight": x for end, x in low_rank(16).items()}
    path = loras.write(tmp_path / "x.safetensors", found | extra | {"note": torch.ones(1)})
    matched = match_lora(read_lora(path), SD1)
    count = len(matched.changed)
    assert matched.told == f"2 of {count + 2} layers of x are not used: lora_unet_thing, note"


def test_an_inpainting_model_takes_all_but_the_first_convolution(tmp_path):
    family, base = SMALL["sd1-inpainting"], SMALL["sd1"]
    layers = ["unet.stem", *loras.some_layers(base)]
    path = loras.write(tmp_path / "x.safetensors", loras.tensors(base, "full", layers))
    matched = match_lora(read_lora(path), family)
    assert matched.absent == ("lora_unet_conv_in",)
    assert len(matched.changed) == len(layers) - 1


def test_a_file_with_both_spellings_is_applied_once(tmp_path):
    layers = ["unet.down.0.attn.0.proj_in"]
    found = loras.tensors(SD1, "full", layers, "compvis") | loras.tensors(SD1, "LoRA", layers)
    both = loras.tensors(SD1, "LoRA", layers, "compvis") | loras.tensors(SD1, "LoRA", layers)
    once = match_lora(read_lora(loras.write(tmp_path / "x.safetensors", both)), SD1)
    assert [layer.key for layer, _ in once.changed] == [
        "lora_unet_down_blocks_0_attentions_0_proj_in"
    ]
    assert once.absent == ("lora_unet_input_blocks_1_1_proj_in",)
    two = match_lora(read_lora(loras.write(tmp_path / "y.safetensors", found)), SD1)
    assert len(two.changed) == 2  # of two kinds: both are meant


def test_damage_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(
        CheckpointError, match="is not a LoRA: it seems to be a U-Net alone; it has"
    ):
        read_lora(loras.write(path, {"model.diffusion_model.out.2.weight": torch.ones(4)}))
    found = loras.tensors(SD1, "LoRA", ["unet.stem", "unet.out"])
    broken = {**found, "lora_unet_conv_out.alpha": torch.tensor(float("nan"))}
    with pytest.raises(CheckpointError, match="alpha of lora_unet_conv_out is not a number"):
        read_lora(loras.write(path, broken))
    broken = {key: x for key, x in found.items() if key != "lora_unet_conv_out.lora_up.weight"}
    with pytest.raises(CheckpointError, match="is damaged, or not for sd1: lora_unet_conv_out do"):
        match_lora(read_lora(loras.write(path, broken)), SD1)
    broken = {**found, "lora_unet_conv_out.lora_up.weight": torch.full((4, 4, 1, 1), torch.nan)}
    matched = match_lora(read_lora(loras.write(path, broken)), SD1)
    with pytest.raises(
        CheckpointError, match=r"lora_unet_conv_out, up, in .* 16 values that are NaN"
    ):
        Applied({"unet": random_model(SD1).unet}).use([Use(matched)])
