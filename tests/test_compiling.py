"""The U-Net's blocks compiled: the same pictures, whatever is added to the model; and refused where
torch cannot compile."""

import copy
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hypernetworks
import ip_adapters
import ldm
import loras
from helpers import MERGES, TINY, assert_same, differ, latents, tiny_networks
from ldm.cli import main
from ldm.clip.tokenizer import Tokenizer
from ldm.layers import packable, packed
from ldm.pipeline import compiling
from ldm.pipeline.compiling import compile_blocks, is_compiled
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.runtime.finite import NotFinite
from ldm.unet import UNet

SMALL = replace(TINY, name="small", unet=replace(TINY.unet, channels=(32,), depth=(1,)))
BLOCKS, SHAPES = 9, 3  # of its U-Net
CAT = Request("a cat", width=16, height=16, steps=3, seed=3)


def build():
    """A model of few blocks, for the compiler is slow."""
    text, _, vae = tiny_networks()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet(SMALL.unet).eval()
    return LatentDiffusion(text, unet, vae, Tokenizer(MERGES, SMALL.text[0].length), SMALL)


@pytest.fixture(scope="module")
def plain():
    return build()


@pytest.fixture(scope="module")
def file(plain, tmp_path_factory):
    path = tmp_path_factory.mktemp("compiled") / "small.safetensors"
    plain.save(path)
    return path


@pytest.fixture
def graphs(monkeypatch):
    """Graphs are counted, and run as they are. torch's options are put back."""
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph

    from torch._dynamo import config
    from torch.fx.experimental import _config as shapes

    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", backend)
    with (
        config.patch(cache_size_limit=8),
        config.patch(skip_nnmodule_hook_guards=True),
        shapes.patch(use_duck_shape=True),
    ):
        yield made
    torch._dynamo.reset()


@pytest.fixture
def compiled(graphs):
    model = build()
    compile_blocks(model.unet)
    return model


def test_the_same_picture_of_the_same_keys_by_few_graphs(plain, compiled, graphs):
    assert_same(latents(compiled, CAT), latents(plain, CAT))
    blocks = [x for x in compiled.unet.modules() if x._compiled_call_impl is not None]
    assert len(blocks) == BLOCKS
    assert len(graphs) == SHAPES
    for other in (replace(CAT, prompt="cat", seed=9), replace(CAT, width=24, height=32)):
        assert_same(latents(compiled, other), latents(plain, other))
    assert len(graphs) == SHAPES, "another size, prompt or seed is no reason to compile again"
    assert [*compiled.unet.state_dict()] == [*plain.unet.state_dict()]


def test_what_is_compiled_is_not_packed_and_all_else_is(compiled):
    transformer = compiled.unet.mid.attn
    with packed(compiled.unet):
        assert not transformer.blocks[0].mlp.up.weight.is_mkldnn
        assert not compiled.unet.mid.res1.conv1.weight.is_mkldnn
        assert transformer.proj_in.weight.is_mkldnn == (torch.float32 in packable())


@pytest.mark.parametrize("kind", ["lora", "hypernetwork", "IP-Adapter", "cache", "seamless"])
def test_what_comes_and_goes_does_what_it_does_without(kind, plain, compiled, graphs, tmp_path):
    """Breaks if a hook or a weight that comes later is not seen, if one that has gone stays, or if
    something is compiled anew in each call."""
    brush = hypernetworks.saved(hypernetworks.pairs(hypernetworks.widths_of(SMALL.unet)))
    torch.save(brush, tmp_path / "brush.pt")
    make = {
        "lora": lambda: {"lora": str(loras.write(tmp_path / "x", loras.tensors(SMALL, "LoRA")))},
        "hypernetwork": lambda: {"hypernetwork": str(tmp_path / "brush.pt")},
        "IP-Adapter": lambda: ip_adapter_asked(tmp_path, plain),
        "cache": lambda: {"cache": 2},
        "seamless": lambda: {"seamless": "xy"},
    }
    request = replace(CAT, **make[kind]())
    without, expected = latents(plain, CAT), latents(build(), request)
    assert_same(latents(compiled, CAT), without)
    assert_same(latents(compiled, request), expected)
    assert kind == "cache" or differ(expected, without)
    before = len(graphs)
    assert_same(latents(compiled, request), expected)
    assert_same(latents(compiled, CAT), without)
    assert len(graphs) == before <= 2 * SHAPES


def ip_adapter_asked(folder, model):
    asked = ip_adapters.asked(ip_adapters.written(folder, model), "linear")
    fields = "control", "control_image", "vision_tower"
    return {name: getattr(asked, name) for name in fields}


def test_moved_saved_and_copied(compiled, tmp_path):
    compiled.to(torch.bfloat16).to(torch.float32)
    half = build().to(torch.bfloat16).to(torch.float32)
    assert_same(latents(compiled, CAT), latents(half, CAT))
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    compiled.save(one)
    half.save(other)
    assert one.read_bytes() == other.read_bytes()
    assert not is_compiled(copy.deepcopy(compiled.unet))


def test_what_broke_is_named_without_compiling_again(compiled, graphs):
    latents(compiled, CAT)
    before = len(graphs)
    compiled.unet.mid.res1.conv1.bias.data[0] = torch.nan
    with pytest.raises(NotFinite, match=r"unet\.mid\.res1\.conv1 gives NaN"):
        latents(compiled, CAT)
    assert len(graphs) == before
    assert is_compiled(compiled.unet)


def test_asked_for_in_python_and_by_a_flag(graphs, file, tmp_path):
    assert is_compiled(ldm.load(file, "cpu", compile=True).unet)
    assert not is_compiled(ldm.load(file, "cpu").unet)
    graphs.clear()
    line = (
        "txt2img --prompt a --n_iter 1 --n_samples 1 --steps 1 --compile --device cpu --W 8 --H 8"
    )
    assert main([*line.split(), "--ckpt", str(file), "--outdir", str(tmp_path)]) == 0
    assert len(graphs) >= SHAPES


def test_the_refiner_is_compiled_with_its_base(compiled, file):
    job = compiled.resolve(replace(CAT, refiner=str(file), refiner_start=0.5))
    assert is_compiled(job.refiner.model.unet)


def refused():
    """What is said where torch cannot compile, before the file is looked for."""
    with pytest.raises(ValueError, match="--compile") as error:
        ldm.load("no such file", "cpu", compile=True)
    return str(error.value)


def test_without_a_compiler_it_is_an_error_before_anything_is_read(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    said = refused()
    assert said.startswith("torch cannot compile for cpu here: there is no C++ compiler no-such-co")
    assert said.endswith("(g++, or what CXX names), a GPU Triton; or leave it out")


def test_whatever_torch_says_against_it_is_one_line(monkeypatch):
    def broken(graph, inputs):
        raise ImportError("no Triton\nis here")

    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", broken)
    assert "\n" not in refused()
    monkeypatch.setattr(compiling, "BACKEND", "no-such-backend")
    assert "no-such-backend" in refused()


def test_memory_that_is_limited_is_refused(graphs):
    with pytest.raises(ValueError, match="give one of --compile and --ram or --vram"):
        ldm.load("no such file", "cpu", ram=4, compile=True)
    assert not graphs


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a compiler")
def test_inductor_computes_a_block_alike():
    """In a process of its own, which no log of a test slows down. What it compiles stays on the
    disk: the first time takes longer."""
    code = """
import torch
from ldm.layers import ResBlock
from ldm.pipeline.compiling import compile_blocks
torch.manual_seed(0)
block = ResBlock(8, 8, 2, 1e-5, 6).eval().requires_grad_(False)
x, t = torch.randn(2, 8, 5, 4), torch.randn(2, 6)
with torch.no_grad():
    plain = block(x, t)
    compile_blocks(block)
    torch.testing.assert_close(block(x, t), plain, atol=1e-5, rtol=0)
from torch._dynamo.utils import counters
assert counters["stats"]["unique_graphs"] == 1, counters
assert any(name.startswith("fxgraph_cache") for name in counters["inductor"]), counters
"""
    environment = os.environ | {"PYTHONPATH": str(Path(ldm.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
