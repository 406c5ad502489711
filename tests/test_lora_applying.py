"""LoRAs in a model: from a request, a prompt or a block of Python; and gone without a trace."""

import json
import random
import time
from shutil import copyfile

import numpy as np
import pytest
import torch

import ldm
import loras
from helpers import assert_same, build_tiny, differ, latents, request_in
from ldm.images.files import read_text
from ldm.layers import packed
from ldm.models.families import SD1
from ldm.models.family import meta_model
from ldm.models.lora import Applied, Use, match_lora, read_lora
from ldm.request import Request
from small_families import SDXL, build
from tiny_families import SMALL, random_model

CAT = {"prompt": "a cat", "seed": 3, "steps": 3}


@pytest.fixture
def folder(tmp_path):
    """Three LoRAs for the tiny model."""
    family = build_tiny().family
    for i, (name, kind) in enumerate(
        {"fur": "LoRA", "ink": "LoHa", "dawn": "DoRA, outputs"}.items()
    ):
        layers = loras.some_layers(family)[i % 2 :]
        loras.write(tmp_path / f"{name}.safetensors", loras.tensors(family, kind, layers))
    return tmp_path


def bits(model):
    """All weights, also while they are packed."""
    networks = (model.unet, *(tower.encoder for tower in model.towers))
    tensors = [p.data for network in networks for p in network.parameters()]
    return [(x.to_dense() if x.is_mkldnn else x).clone() for x in tensors]


def unchanged(model, before):
    return all(torch.equal(one, other) for one, other in zip(bits(model), before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_hundred_loras_come_and_go_in_any_order_and_leave_no_trace(tmp_path, dtype):
    checkpoint = random_model(SMALL["sd1"])
    networks = {"unet": checkpoint.unet.to(dtype), "text": checkpoint.text[0].to(dtype)}
    before = {f"{n}.{k}": v for n, net in networks.items() for k, v in net.state_dict().items()}
    copies = {name: tensor.clone() for name, tensor in before.items()}
    matched = []
    for i, kind in enumerate(loras.KINDS):
        path = loras.write(tmp_path / f"{i}.safetensors", loras.tensors(checkpoint.family, kind))
        matched.append(match_lora(read_lora(path), checkpoint.family))
    applied, chance, there = Applied(networks), random.Random(0), []
    for _ in range(100):
        if there and chance.random() < 0.5:
            there.remove(chance.choice(there))
        else:
            there.append(Use(chance.choice(matched), chance.uniform(-1, 1), chance.uniform(-1, 1)))
        applied.use(there)
        fresh = {n: net.state_dict() for n, net in networks.items()}
        changed = {f"{n}.{k}" for n in fresh for k in fresh[n]
                   if fresh[n][k].data_ptr() != before[f"{n}.{k}"].data_ptr()}  # fmt: skip
        assert changed == set(applied.originals)
    applied.use([])
    assert not applied.originals
    for name, network in networks.items():
        for key, tensor in network.state_dict().items():
            assert tensor.data_ptr() == before[f"{name}.{key}"].data_ptr()
            assert torch.equal(tensor, copies[f"{name}.{key}"])


def test_a_lora_of_rank_16_on_stable_diffusion_1_5_is_applied_in_2_seconds(tmp_path, monkeypatch):
    """At full size, on all attention and the text encoder: 352 million weights. Processor time."""
    monkeypatch.setattr(loras, "RANK", 16)
    networks = meta_model(SD1).requires_grad_(False)
    del networks["vae"]
    networks.to_empty(device="cpu")
    for i, parameter in enumerate(networks.parameters()):
        parameter.fill_(0.01 * i)
    parts = "self_attn", "cross_attn", "proj_in", "proj_out", "mlp", "attn."
    layers = [x for x in loras.names_of(SD1) if any(p in x for p in parts) and "norm" not in x]
    assert len(layers) == 264
    path = loras.write(tmp_path / "x.safetensors", loras.tensors(SD1, "LoRA", layers))
    matched = match_lora(read_lora(path), SD1)
    before = [p.data_ptr() for p in networks.parameters()]
    applied = Applied(networks)
    applied.use([Use(matched, 0.8, 0.8)])
    applied.use([])
    start = time.process_time()
    applied.use([Use(matched, 0.7, 0.7)])
    assert time.process_time() - start < 2
    assert len(applied.originals) == 264
    start = time.process_time()
    applied.use([])
    assert time.process_time() - start < 0.5
    assert [p.data_ptr() for p in networks.parameters()] == before


def test_packed_layers_of_all_kinds_take_them_as_plain_ones_do(tmp_path):
    """As when a prompt switches one on while it is drawn: also 1x1 convolutions, which are packed
    as matrices."""
    checkpoint = random_model(SMALL["sd1"])
    networks = {"unet": checkpoint.unet, "text": checkpoint.text[0]}
    path = loras.write(tmp_path / "x.safetensors", loras.tensors(checkpoint.family, "LoRA"))
    uses = [Use(match_lora(read_lora(path), checkpoint.family), 0.8, 0.0)]
    plain, applied = Applied(networks), Applied(networks)
    plain.use(uses)
    expected = {name: plain.now(name).clone() for name in plain.originals}
    plain.use([])
    assert any(tensor.shape[2:] == (1, 1) for tensor in expected.values())
    with packed(checkpoint.unet):
        applied.use(uses)
        for name, tensor in expected.items():
            assert torch.equal(applied.now(name), tensor), name
        applied.use([])
    assert all(torch.equal(plain.now(name), applied.now(name)) for name in expected)
    assert not any(torch.equal(plain.now(name), tensor) for name, tensor in expected.items())


def test_a_block_of_python(own_tiny, folder):
    before, plain = bits(own_tiny), latents(own_tiny, Request(**CAT))
    with own_tiny.lora(folder / "fur.safetensors", 0.8) as fur:
        with_fur = latents(own_tiny, Request(**CAT))
        with own_tiny.lora(folder / "ink.safetensors", 0.5, text=0):
            both = latents(own_tiny, Request(**CAT))
        assert torch.equal(latents(own_tiny, Request(**CAT)), with_fur)
    assert fur.lora.name == "fur"
    assert differ(with_fur, plain)
    assert differ(both, with_fur)
    assert unchanged(own_tiny, before)
    asked = f"{folder}/fur.safetensors:0.8", f"{folder}/ink.safetensors:0.5:0"
    assert torch.equal(latents(own_tiny, Request(**CAT, lora=asked)), both)
    assert unchanged(own_tiny, before)


def test_an_error_within_the_block_leaves_no_trace(own_tiny, folder):
    before = bits(own_tiny)
    with pytest.raises(KeyError), own_tiny.lora(folder / "fur.safetensors"):
        raise KeyError
    steps = own_tiny.steps(Request(**CAT, lora=f"{folder}/fur.safetensors"))
    next(steps)
    assert not unchanged(own_tiny, before)
    steps.close()
    assert unchanged(own_tiny, before)


def test_a_run_that_waits_does_not_show_in_another(own_tiny, folder):
    """Two runs of one model by turns, with a LoRA and without: each as alone."""
    request = Request(**CAT)
    other = Request(**CAT, lora=f"{folder}/fur.safetensors:-0.7")
    alone = latents(own_tiny, request), latents(own_tiny, other)
    ours, theirs = own_tiny.steps(request), own_tiny.steps(other)
    for one, two in zip(ours, theirs):
        last = one.x, two.x
    assert torch.equal(last[0], alone[0])
    assert torch.equal(last[1], alone[1])
    assert differ(*alone)


def test_strengths_for_the_unet_and_for_the_text_encoder(own_tiny, folder):
    def drawn(strengths):
        return latents(own_tiny, Request(**CAT, lora=f"{folder}/fur.safetensors{strengths}"))

    plain, both, unet, text = (drawn(x) for x in (":0", ":1", ":1:0", ":0:1"))
    assert torch.equal(plain, latents(own_tiny, Request(**CAT)))
    assert torch.equal(both, drawn(""))
    for one, other in ((both, plain), (unet, plain), (text, plain), (both, unet), (both, text)):
        assert differ(one, other)


def test_a_tag_in_a_prompt_is_the_same_as_the_field(own_tiny, folder):
    tags = "a cat <lora:fur:0.5> <lora:ink:0.3:0.9>"
    by_tags = latents(own_tiny, Request(**CAT | {"prompt": tags}, lora_dir=str(folder)))
    beside = Request(
        **CAT | {"prompt": "a cat  "}, lora_dir=str(folder), lora=("fur:0.5", "ink:0.9:0.3")
    )
    assert torch.equal(by_tags, latents(own_tiny, beside))
    assert differ(by_tags, latents(own_tiny, Request(**CAT)))


def test_a_tag_may_come_and_go_on_the_way(own_tiny, folder):
    """Here for the first step of four: its steps are those with the LoRA, and then those without,
    after the text as the LoRA reads it."""
    base = {**CAT, "steps": 4, "lora_dir": str(folder), "sampler": "euler"}
    tag = "<lora:fur:1:0.8>"
    always, never, first, later = (
        list(own_tiny.steps(Request(**base | {"prompt": f"a cat {text}"})))
        for text in (tag, "<lora:fur:1:0>", f"[{tag}::1]", f"[{tag}:1]")
    )
    assert torch.equal(first[0].x, always[0].x)
    assert torch.equal(later[0].x, never[0].x)
    assert differ(first[1].x, always[1].x)
    assert differ(first[-1].x, never[-1].x)


def test_prompts_with_different_loras_are_drawn_by_themselves(own_tiny, folder):
    prompts = "a cat <lora:fur:1>", "a cat <lora:ink:1>", "a cat"
    request = Request(prompts, seed=3, steps=2, lora_dir=str(folder))
    together = own_tiny.generate(request, batch=3)
    for i, prompt in enumerate(prompts):
        alone = Request(prompt, seed=3 + i, steps=2, lora_dir=str(folder))
        assert np.array_equal(own_tiny.generate(alone)[0], together[i])
    with pytest.raises(ValueError, match="different LoRAs cannot be drawn in one batch"):
        list(own_tiny.steps(request))


def test_sdxl_has_two_text_encoders(tmp_path):
    model, before = build(SDXL), Request("a cat", seed=3, steps=2)
    plain = latents(model, before)
    for network in ("unet.", "text.", "text2."):
        layers = [x for x in loras.some_layers(SDXL) if x.startswith(network)]
        path = loras.write(tmp_path / f"{network}safetensors", loras.tensors(SDXL, "full", layers))
        with model.lora(path):
            assert differ(latents(model, before), plain)
    assert_same(latents(model, before), plain, 0)


# The command


def test_pictures_keep_names_and_no_paths_and_are_drawn_again(run, folder, tmp_path):
    flags = "--n_iter 1 --n_samples 1 --skip_grid --outdir out --steps 2 --seed 5"
    lora = f"--lora {folder}/fur.safetensors:0.5:0.25 --lora ink:0.3 --lora_dir {folder}"
    code, *_ = run(f"txt2img --prompt 'a cat <lora:dawn:0.2>' {lora} {flags}")
    assert code == 0
    picture = tmp_path / "out/samples/00000.png"
    request, texts = request_in(picture), read_text(picture)
    assert request.loras == ("fur:0.5:0.25", "ink:0.3")
    assert str(folder) not in json.dumps(texts)
    assert "a cat <lora:dawn:0.2><lora:fur:0.25:0.5><lora:ink:0.3>\n" in texts["parameters"]
    code, _, error = run(f"replay {picture} --outdir again")
    assert code == 2
    assert "files that are not opened unasked; it names '('fur:0.5:0.25', 'ink:0.3')'" in error
    code, *_ = run(f"replay {picture} --outdir again --lora_dir {folder}")
    assert code == 0
    again = next((tmp_path / "again").rglob("*.png"))
    assert again.read_bytes() == picture.read_bytes()


def test_a_picture_cannot_make_a_file_be_opened(own_tiny, tmp_path, folder):
    """It names a path, in its field and in its prompt: only names of the given folder are read."""
    from ldm.metadata.added import by_names

    hostile = Request("x <lora:../secret:1>", lora=("../a/secret.safetensors:1", "/etc/x.pt.pt"))
    request = by_names(hostile)
    assert request.loras == ("secret:1", "x:1")
    for asked, lora in ((request, None), (Request("<lora:/etc/passwd.pt:1>"), folder)):
        folders = {"lora_dir": str(lora)} if lora else {}
        with pytest.raises(ValueError, match=r"there is no --lora_dir|there is no LoRA"):
            own_tiny.resolve(ldm.Request(**{**vars(asked), **folders}))


@pytest.mark.parametrize(("lora", "match"), [
    (":0.8", "give FILE:0.8, or FILE:0.8:0.5"), ("nothing.safetensors", "cannot be read: No such"),
    ("fur", "for a name there is no --lora_dir"), ("x.pt:1e9", "of -100 to 100"),
    ("x.pt:nan", "of -100 to 100"),
])  # fmt: skip
def test_what_cannot_be_is_said(own_tiny, lora, match):
    with pytest.raises(ValueError, match=match):
        own_tiny.resolve(Request("a cat", lora=lora))


def test_a_lora_of_few_steps_says_how_it_is_meant(own_tiny, folder):
    names = {
        "Hyper-SD15-8steps-lora": "a Hyper-SD LoRA, made for 8 steps of ddim on hyper_sd, no guid",
        "Hyper-SD15-12steps-CFG-lora": "a Hyper-SD CFG LoRA, made for 12 steps of ddim on hyper_sd,"
        " guidance scale 3",
    }
    for name, said in names.items():
        copyfile(folder / "fur.safetensors", folder / f"{name}.safetensors")
        with pytest.warns(UserWarning, match=f"is {said}"):
            own_tiny.resolve(Request("a cat", lora=f"{folder}/{name}.safetensors"))
