"""A run in so much memory: what is predicted, what is decided, and where weights are meanwhile."""

import gc
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

import ldm
from helpers import build_tiny
from ldm import layers
from ldm.cli import main
from ldm.layers import attention
from ldm.models.families import FAMILIES
from ldm.pipeline.activations import of_unet, of_vae
from ldm.pipeline.memory import Memory, parts
from ldm.request import Request
from ldm.runtime.live import peak
from ldm.runtime.waiting import Waiting, blocks, largest_block, weights

CUDA = torch.device("cuda")
WISH = Request("a star", steps=2, seed=3, sampler="ddim", count=2)


def test_the_peak_is_that_of_results_that_are_alive_at_once():
    """Broken by counting a view twice, or a result longer than something holds it."""

    def run():
        a = torch.zeros(100, device="meta")  # 400 bytes
        b = a.view(10, 10) + 1  # 800
        del a
        c = torch.cat([b, b])  # 400 + 800
        del b
        return F.relu(c, inplace=True)

    assert peak(run) == 1200
    gc.collect()


def test_attention_is_counted_without_its_matrix():
    q = torch.empty(1, 1000, 8, device="meta")
    assert peak(lambda: attention(q, q, q, heads=2)) < 4 * 8000 * 4


def test_results_grow_with_the_area_and_follow_the_number_format():
    family = FAMILIES["sd1"]
    small = of_unet(family, torch.float32, "cuda", 32, 32)
    assert of_unet(family, torch.float32, "cuda", 64, 64) == pytest.approx(4 * small, rel=0.01)
    assert of_unet(family, torch.float16, "cuda", 32, 32) == pytest.approx(small / 2, rel=0.01)
    # While the first block of the last level is computed: its input twice as wide as its result.
    maps = (256 + 256 + 128) * 256 * 256 * 4
    for dtype, part in ((torch.float16, 1), (torch.bfloat16, 2)):
        found = of_vae(family, dtype, "cuda", 256, 256, None, False)
        assert maps <= part * found <= 1.1 * maps


def gpu(model, gigabytes):
    """A memory of a GPU without CUDA's own, of a machine that need not have one."""
    memory = Memory(None, gigabytes, CUDA)
    memory.base = 0.0
    memory.hold(model)
    return memory


def least(model, waits, batch=1):
    """GB of a way to draw the wish."""
    memory = gpu(model, 1)
    return memory.need(model, model.resolve(WISH), batch, None, waits) / 1e9


def test_more_waits_the_less_memory_there_is():
    """Broken by a way that is slower than needed, or that takes more than was asked for."""
    found = []
    for waits in ("", "parts", "blocks"):
        model = build_tiny()
        asked = least(build_tiny(), waits)
        memory = gpu(model, asked)
        assert memory.planned(model, model.resolve(WISH), 2) == 1
        (plan,) = memory.told
        assert plan.bytes <= asked * 1e9
        found.append(plan.waits)
    assert found == ["", "parts", "blocks"]


def test_an_impossible_wish_names_the_least_that_would_do():
    model = build_tiny()
    memory = gpu(model, 1e-4)
    with pytest.raises(ValueError, match=r"--vram 0.0001 .* the least is 0\.\d+; give"):
        memory.planned(model, model.resolve(WISH), 1)
    with pytest.raises(ValueError, match="too little for the weights of shapes64"):
        ldm.load(ram=0.01)


@pytest.mark.parametrize("given", [{"ram": 0}, {"ram": -1}, {"vram": 2}, {"ram": float("nan")}])
def test_what_limits_nothing_is_refused(given):
    with pytest.raises(ValueError, match="ram"):
        ldm.load(device="cpu", **given)


def pretended(model, waits):
    """Two places on a CPU: what `move` makes is in the second. The model has so much memory there
    that it has to be drawn with so much of it waiting."""
    there = {}

    def move(x):
        copy = x.clone()
        there[copy.untyped_storage().data_ptr()] = copy
        return copy

    model.memory = memory = Memory(100, None, torch.device("cpu"))
    memory.base, memory.waiting = 0.0, Waiting(parts(model), move)
    memory.limit = memory.need(model, model.resolve(WISH), 1, None, waits)
    return memory.waiting, lambda p: p.untyped_storage().data_ptr() in there


@pytest.mark.parametrize("waits", ["parts", "blocks"])
def test_each_part_is_there_while_it_computes_and_no_other(waits, monkeypatch):
    """Broken by a part that stays, by one that computes where it waits, and by weights that come
    back otherwise than they went."""
    monkeypatch.setattr(layers, "packable", set)  # which rounds otherwise
    model, plain = build_tiny(), build_tiny()
    before = [p.data_ptr() for p in model.unet.parameters()]
    waiting, is_there = pretended(model, waits)
    of = {id(p): name for name, nets in parts(model).items() for n in nets for p in n.parameters()}
    every = [p for nets in parts(model).values() for n in nets for p in n.parameters()]
    seen = set()

    def watch(module, *_):
        own = [*module.parameters(recurse=False)]
        if own:
            name = of[id(own[0])]
            seen.add(name)
            assert all(is_there(p) for p in own)
            assert not any(is_there(p) for p in every if of[id(p)] != name)
            if waits == "blocks" and name == "unet":
                assert sum(p.nbytes for p in every if is_there(p)) <= largest_block(model.unet)

    for networks in parts(model).values():
        for network in networks:
            for module in network.modules():
                module.register_forward_pre_hook(watch)
    drawn = model.txt2img("a star", steps=2, seed=3, sampler="ddim")
    assert seen == {"text", "unet", "vae"}
    waiting.home()
    assert not any(map(is_there, every))
    assert [p.data_ptr() for p in model.unet.parameters()] == before
    expected = plain.txt2img("a star", steps=2, seed=3, sampler="ddim")
    assert drawn[0].tobytes() == expected[0].tobytes()


def test_blocks_hold_every_weight_once():
    model = build_tiny()
    names = [id(p) for block in blocks(model.unet) for p in block.parameters()]
    assert sorted(names) == sorted(id(p) for p in model.unet.parameters())
    assert largest_block(model.unet) < weights(model.unet) / 3


def test_pictures_are_the_same_bits_with_ram():
    """Broken by tiles where none are needed, or by a batch that shows."""
    limited = ldm.load(device="cpu", ram=100)
    drawn = limited.txt2img("a star", steps=2, seed=3, count=2)
    expected = ldm.load(device="cpu").txt2img("a star", steps=2, seed=3, count=2)
    assert [x.tobytes() for x in drawn] == [x.tobytes() for x in expected]
    with pytest.raises(ValueError, match="keeps to ram"):
        limited.to("cpu")


def test_the_command_says_what_was_decided(tmp_path, capsys):
    asked = "txt2img --prompt star --steps 1 --n_iter 1 --n_samples 2 --device cpu --ram 50"
    assert main([*asked.split(), "--outdir", str(tmp_path)]) == 0
    assert "--ram 50: 64 x 64, 2 pictures at once, the VAE whole: " in capsys.readouterr().out


def test_what_a_process_takes_is_predicted():
    """In a process of its own, which is what the prediction is of."""
    code = """
import ldm, warnings
warnings.simplefilter("ignore")
from ldm.runtime.device import peak_memory
model = ldm.load(device="cpu", ram=100)
model.txt2img("a star", steps=1, width=320, height=320)
plan, = model.memory.told
print(plan.bytes / peak_memory(model.device))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(1, abs=0.15)
