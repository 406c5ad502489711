"""LoRAs and embeddings beside diffusers, which loads them with peft (here 0.42.1 and 0.21.2)."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from safetensors.torch import save_file
from small_models import both

import loras
from helpers import TINY, assert_same, normal, tiny_networks
from ldm.models.keymaps import table
from ldm.models.lora import Applied, Use, match_lora, read_lora
from ldm.request import Request
from ldm.training.additions.inversion import Inversion, InversionModel
from ldm.training.additions.low_rank import LowRankModel, chosen_layers, file_tensors
from ldm.training.modules import Base

pytest.importorskip("peft")
STRENGTH = 0.7


@pytest.fixture
def pair(share_weights, tiny_tokenizer):
    return both(TINY, tiny_tokenizer, share_weights)


def pipeline(pair):
    return pair.pipeline(
        StableDiffusionPipeline, EulerDiscreteScheduler(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def peft_tensors(dora):
    """As diffusers' training scripts write them: `lora_A`, `lora_B`, and for DoRA the lengths."""
    found = {}
    for key, tensor in loras.tensors(TINY, "DoRA, outputs" if dora else "LoRA").items():
        layer, _, end = key.partition(".")
        ours = next(ours for ours, name in loras.names_of(TINY).items() if name == layer)
        if not ours.startswith("unet.") or "conv" in ours or "proj_in" in ours:
            continue
        name = table(TINY, "diffusers")[f"{ours}.weight"].names[0].removesuffix(".weight")
        new = {"lora_up.weight": "lora_B.weight", "lora_down.weight": "lora_A.weight"}
        new["dora_scale"] = "lora_magnitude_vector"
        if end in new:
            found[f"{name}.{new[end]}"] = tensor.flatten() if "magn" in new[end] else tensor
    return found


def trained_tensors():
    """As our own training writes them, of all layers."""
    text, unet, _ = tiny_networks()
    base = Base(text, unet)
    module = LowRankModel(base, chosen_layers(base, "all"), rank=3, seed=0)
    for i, up in enumerate(module.up):
        up.data = 0.3 * normal(*up.shape, seed=i)
    return file_tensors(module, TINY)


FILES = {
    "trained": trained_tensors,
    "kohya": lambda: loras.tensors(TINY, "LoRA"),
    "peft": lambda: peft_tensors(dora=False),
    "dora": lambda: peft_tensors(dora=True),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("strength", [1.0, STRENGTH])
def test_merged_weights_are_those_of_diffusers(pair, tmp_path, kind, strength):
    path = loras.write(tmp_path / "x.safetensors", FILES[kind]())
    pipe = pipeline(pair)
    networks = {"unet": pair.ours.unet, "text": pair.ours.text}
    before = {n: p.clone() for n, p in pair.ours.unet.named_parameters()}
    pipe.load_lora_weights(tmp_path, weight_name=path.name)
    pipe.fuse_lora(lora_scale=strength)
    theirs = {}
    for prefix, module in (("unet", pipe.unet), ("text_encoder", pipe.text_encoder)):
        for name, tensor in module.state_dict().items():
            if "lora_" not in name:
                theirs[f"{prefix}.{name.replace('.base_layer', '')}"] = tensor.clone()
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    applied = Applied(networks)
    applied.use([Use(match_lora(read_lora(path), TINY), strength, strength)], "diffusers")
    changed = 0
    for ours, source in table(TINY, "diffusers").items():
        network, _, name = ours.partition(".")
        if network in networks:
            key = next(key for key in source.names if key in theirs)
            tensor = networks[network].get_parameter(name)
            torch.testing.assert_close(tensor.data, theirs[key], rtol=1e-5, atol=1e-6)
            changed += network == "unet" and not torch.equal(tensor, before[name])
    assert changed >= 4


def test_a_prompt_with_an_embedding_is_read_as_by_diffusers(pair, tmp_path):
    save_file({"emb_params": normal(2, 16)}, tmp_path / "fur.safetensors")
    pipe = pipeline(pair)
    (words,) = pair.ours.resolve(Request("a fur cat", embedding_dir=str(tmp_path))).additions
    ours = words.reading(pair.ours).conditioning(["a fur cat"]).context
    pipe.load_textual_inversion(normal(2, 16), token="fur")
    theirs = pipe.encode_prompt("a fur cat", "cpu", 1, False)[0]
    assert_same(ours, theirs)


def test_a_trained_embedding_is_read_by_diffusers(pair, tmp_path):
    text, unet, _ = tiny_networks()
    module = InversionModel(Base(text, unet), normal(3, 16))
    path = Inversion("fur", 3).write(module, SimpleNamespace(family=TINY), tmp_path)
    pipe = pipeline(pair)
    (words,) = pair.ours.resolve(Request("a fur cat", embedding_dir=str(tmp_path))).additions
    ours = words.reading(pair.ours).conditioning(["a fur cat"]).context
    pipe.load_textual_inversion(str(tmp_path), weight_name=path.name)
    assert_same(ours, pipe.encode_prompt("a fur cat", "cpu", 1, False)[0])
