"""IP-Adapters beside diffusers': one call of the network, and whole pictures."""

from copy import deepcopy

import pytest
import torch
from diffusers import (
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from safetensors.torch import save_file
from small_models import Both, both
from test_pictures_sdxl import NEGATIVES, assert_near, ours, scheduler, theirs
from transformers import CLIPImageProcessor

import loras
from controls import saved, their_controlnet
from helpers import assert_same, normal, random_picture
from ip_adapters import KINDS, SIDE, TOKENS, TOWER_WIDTH, VECTOR, flat, ip_adapter, vision_tower
from ldm.conditioning import Conditioning
from ldm.models.control import read_control
from ldm.unet.ip_adapter import reading
from tiny_families import SMALL

SIZE = {"width": 48, "height": 72}
PICTURE, HINT = random_picture(61, 40), random_picture(48, 72)
PLAIN = {"safety_checker": None, "requires_safety_checker": False}


@pytest.fixture(scope="module")
def models(tiny_tokenizer, share_weights):
    return {name: both(SMALL[name], tiny_tokenizer, share_weights) for name in ("sd1", "sdxl")}


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    found, folder = vision_tower(), tmp_path_factory.mktemp("tower")
    found.save_pretrained(folder)
    return found, str(folder)


def numbered_by_theirs(unet):
    """The widths of the cross-attentions of diffusers' U-Net, in its order."""
    return tuple(
        module.to_k.out_features
        for name in unet.attn_processors
        if "attn2" in name
        for module in [unet.get_submodule(name.removesuffix(".processor"))]
    )


def state_for(both, kind, seed=0):
    unet = both.theirs["unet"]
    return ip_adapter(kind, both.ours.unet.config, seed, numbered_by_theirs(unet))


def with_adapters(both, states):
    """diffusers' U-Net with them: a copy, since it keeps them."""
    unet = deepcopy(both.theirs["unet"])
    unet.register_to_config(sample_size=64)  # which its pipelines ask for
    unet._load_ip_adapter_weights(states, low_cpu_mem_usage=False)
    return unet


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_the_network(models, tmp_path, name, kind):
    """A row with a picture, and one with none."""
    family, own, state = SMALL[name], models[name].ours.unet, state_for(models[name], kind)
    save_file(flat(state), tmp_path / "a")
    adapter = read_control(tmp_path / "a", family, own)
    said = normal(2, VECTOR, seed=1) if kind == "linear" else normal(2, TOKENS, TOWER_WIDTH, seed=1)
    x, t = normal(2, 4, 9, 13, seed=2), torch.tensor([801.0, 3.0])
    context, told = normal(2, 7, family.unet.context_width, seed=3), {}
    cond = Conditioning(context)
    unet = with_adapters(models[name], [state])
    if name == "sdxl":
        pooled, sizes = normal(2, 20, seed=4), torch.arange(12.0).reshape(2, 6) * 100
        told = {"text_embeds": pooled, "time_ids": sizes}
        embedded = unet.add_time_proj(sizes.flatten()).reshape(2, -1)
        cond = Conditioning(context, torch.cat([pooled, embedded], 1))
    for processor in unet.attn_processors.values():
        processor.scale = [0.7]
    with torch.no_grad():
        expected = unet(
            x, t, context, added_cond_kwargs=told | {"image_embeds": [said[:, None]]}
        ).sample
        before = own(x, t, cond)
        with reading(own, adapter, adapter(said), 0.7):
            found = own(x, t, cond)
        assert_same(found, expected)
        assert (found - before).abs().max() > 0.05 * before.abs().max()
        assert torch.equal(own(x, t, cond), before)


def pipeline(kind, both, states, scales, tower, **more):
    """diffusers', with IP-Adapters."""
    own = Both(both.ours, both.theirs | {"unet": with_adapters(both, states)})
    pipe = own.pipeline(
        kind, scheduler("euler"), image_encoder=tower,
        feature_extractor=CLIPImageProcessor(size=SIDE, crop_size=SIDE), **more,
    )  # fmt: skip
    pipe.set_ip_adapter_scale(scales)
    return pipe


@pytest.fixture
def asked(tmp_path, tower):
    """Fields of a request for adapters and a picture for each."""

    def options(states, numbers):
        files = []
        for i, (state, more) in enumerate(zip(states, numbers)):
            save_file(flat(state), tmp_path / f"{i}.safetensors")
            PICTURE.rotate(90 * i, expand=True).save(tmp_path / f"{i}.png")
            files.append(f"{tmp_path / f'{i}.safetensors'}:{more}")
        pictures = [str(tmp_path / f"{i}.png") for i in range(len(states))]
        return {"control": files, "control_image": pictures, "vision_tower": tower[1]}

    return options


@pytest.mark.parametrize("negative", [None, "do"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_from_a_prompt(models, tower, asked, name, kind, negative):
    state = state_for(models[name], kind)
    of, more = (StableDiffusionXLPipeline, {})
    if name == "sd1":
        of, more = (StableDiffusionPipeline, PLAIN)
    pipe = pipeline(of, models[name], [state], [0.6], tower[0], **more)
    expected = theirs(pipe, negative, ip_adapter_image=PICTURE, **SIZE)
    options = asked([state], [0.6]) | {"negative": NEGATIVES[negative]}
    found = ours(models[name].ours, "euler", **options, **SIZE)
    assert_near(found, expected)


def test_without_guidance(models, tower, asked):
    state = state_for(models["sd1"], "resampler")
    pipe = pipeline(StableDiffusionPipeline, models["sd1"], [state], [0.6], tower[0], **PLAIN)
    expected = theirs(pipe, guidance_scale=1.0, ip_adapter_image=PICTURE, **SIZE)
    options = asked([state], [0.6]) | {"guidance_scale": 1.0}
    assert_near(ours(models["sd1"].ours, "euler", **options, **SIZE), expected)


def test_two_of_them_from_a_picture(models, tower, asked):
    states = [state_for(models["sd1"], kind, i) for i, kind in enumerate(("linear", "resampler"))]
    pipe = pipeline(
        StableDiffusionImg2ImgPipeline, models["sd1"], states, [0.6, 0.3], tower[0], **PLAIN
    )
    start = random_picture(64, 64)
    seen = [PICTURE, PICTURE.rotate(90, expand=True)]
    expected = theirs(pipe, "do", image=start, strength=0.6, ip_adapter_image=seen)
    found = ours(
        models["sd1"].ours, "euler", start, negative="do", strength=0.6, **asked(states, [0.6, 0.3])
    )
    assert_near(found, expected)


def test_with_a_controlnet_and_a_lora(models, tower, asked, tmp_path):
    """Of the LoRA: it equals the model whose weights have it."""
    state, network = state_for(models["sd1"], "linear"), their_controlnet(SMALL["sd1"])
    own = models["sd1"].ours
    path = tmp_path / "lora.safetensors"
    loras.write(
        path, loras.tensors(SMALL["sd1"], "LoRA", ["unet.down.0.attn.0.blocks.0.cross_attn.k"])
    )
    with own.lora(path, 0.8):
        weight = own.unet.down[0].attn[0].blocks[0].cross_attn.k.weight.clone()
    changed = deepcopy(models["sd1"].theirs["unet"])
    changed.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k.weight.data = weight
    pair = Both(own, models["sd1"].theirs | {"unet": changed})
    pipe = pipeline(
        StableDiffusionControlNetPipeline, pair, [state], [0.6], tower[0], controlnet=network,
        **PLAIN,
    )  # fmt: skip
    expected = theirs(
        pipe, "do", image=HINT, ip_adapter_image=PICTURE, controlnet_conditioning_scale=0.7, **SIZE
    )
    options = asked([state], [0.6])
    options["control"].append(f"{saved(network, tmp_path / 'net')}:0.7")
    HINT.save(tmp_path / "hint.png")
    options["control_image"].append(str(tmp_path / "hint.png"))
    found = ours(own, "euler", negative="do", lora=f"{path}:0.8", **options, **SIZE)
    assert_near(found, expected)
