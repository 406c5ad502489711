"""What would go wrong on a GPU only: tensors of the host among its own, and waiting for it in the
loop. Every way of drawing is gone on a GPU that is not there, see `elsewhere`, and must give what
the CPU gives."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

import ip_adapters
import loras
import small_families
import test_control
import test_told
from elsewhere import GPU, Mixed, OnGpu, Waits, on_host, pretending, to_gpu, watched
from helpers import TINY, assert_same, build_tiny, random_picture
from ldm.clip.tokenizer import Tokenizer
from ldm.compat.profiles import PROFILE_NAMES
from ldm.conditioning import Conditioning
from ldm.pipeline.batches import draw, finish
from ldm.pipeline.events import Preview
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.runtime.finite import NotFinite
from ldm.samplers import SAMPLERS, euler
from ldm.vae.preview import linear_preview
from tiny_families import SMALL, random_model

PICTURE = random_picture(16, 16)
MASK = Image.new("L", (16, 16))
MASK.paste(255, (4, 4, 12, 12))
MAY_WAIT = {  # inside of the loop, and why
    "dpm_adaptive": "the error of a step decides how long the next one is",
    "guess_mode": "which rows are controlled stands beside the latent; others are not computed",
    "colourise": "every step goes through the VAE and back, which checks what it is given",
}


def asked(prompt="a cat", **options):
    return Request(prompt, **{"steps": 3, "width": 16, "height": 16, "seed": 1, **options})


def same_as_on_the_host(build, request, waits=False, **given):
    """The latents and the finished pictures of a request on the GPU, where nothing may wait unless
    it is said, against those of the CPU."""
    model = build()
    plain = [step.x for step in model.steps(model.resolve(request, **given))][-1]
    with pretending() as gpu:
        model = to_gpu(gpu, build())
        job = watched(gpu, model.resolve(request, **given), strict=not waits)
        found = [step.x for step in model.steps(job)][-1]
        assert isinstance(found, OnGpu)
        assert gpu.calls > 0 or request.strength == 0
        assert len(finish(model, job, found)) == job.request.total
    assert_same(on_host(found), plain, 1e-4)


# The GPU that is not there keeps the rules


def test_host_and_gpu_do_not_mix():
    with pretending():
        there = torch.ones(3, device="cuda")
        assert there.device == GPU
        assert (there * torch.tensor(2.0)).sum().cpu() == 6, "a host tensor of no dimension"
        there.copy_(torch.zeros(3))
        assert there[[0, 2]].shape == torch.ones(2).to(there).shape
        for mixed in (
            lambda: there + torch.ones(3),
            lambda: torch.cat([there, torch.ones(3)]),
            lambda: there[torch.tensor([0])],
            lambda: torch.nn.functional.linear(there, torch.ones(2, 3)),
        ):
            with pytest.raises(Mixed):
                mixed()


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[0].item(),
        lambda x: bool(x.isfinite().all()),
        lambda x: x.cpu(),
        lambda x: x.nonzero(),
        lambda x: x[x > 1],
        lambda x: torch.zeros(3).copy_(x),
        lambda x: torch.equal(x, x),
        lambda x: torch.masked_select(x, x > 1),
    ],
)
def test_waiting_is_found_in_the_loop_alone(wait):
    with pretending() as gpu:
        x = torch.ones(3).to(GPU)
        wait(x)
        with gpu.running(), pytest.raises(Waits):
            wait(x)


def test_an_event_is_waited_for_once_the_next_call_has_begun():
    with pretending() as gpu, gpu.running():
        event = torch.cuda.Event()
        event.record()
        with pytest.raises(Waits):
            event.synchronize()
        gpu.calls += 1
        event.synchronize()


# Every way of drawing


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers(sampler):
    steps = 20 if sampler == "restart" else 4  # of less it never restarts
    same_as_on_the_host(build_tiny, asked(sampler=sampler, steps=steps), sampler in MAY_WAIT)


@pytest.mark.parametrize("name", ["dpm_adaptive", "colourise"])
def test_those_that_may_wait_do(name):
    """Else they are to be taken from the list."""
    options = {"sampler": name} if name in SAMPLERS else {name: True, "strength": 0.5}
    given = {} if name in SAMPLERS else {"image": PICTURE}
    with pytest.raises(Waits):
        same_as_on_the_host(build_tiny, asked(**options), **given)


WAYS = {
    "batch": asked(count=3),
    "unguided": asked(guidance_scale=1.0),
    "rescaled": asked(guidance_rescale=0.7),
    "interval": asked(guidance_interval=(1.0, 5.0)),
    "joined": asked("a cat AND a dog :0.5", guidance_rescale=0.5),
    "changing": asked("[a:b:0.5] (cat:1.2)"),
    "lengths": asked(("a cat", "a dog " * 20)),
    "clip_skip": asked(clip_skip=1),
    "subseed": asked(subseed=3, subseed_strength=0.3),
    "resized seed": asked(seed_resize_from=(8, 8)),
    "zero_snr": asked(zero_snr=True),
    "hires": asked(hires=2.0, hires_strength=0.5),
    "hires of pixels": asked(hires=2.0, hires_strength=0.5, hires_upscaler="pixels"),
    "tiles": asked(tile=8, width=24),
    "seamless": asked(seamless="xy"),
    **{f"as {name}": asked(compat=name, sampler="euler_ancestral") for name in PROFILE_NAMES},
}
FROM_PICTURE = {
    "img2img": asked(strength=0.7),
    "no step": asked(strength=0.0),
    "upscaled": asked(strength=0.3, upscale=2.0, width=None, height=None),
    "in the picture's colours": asked(strength=0.7, color_correction=True),
    "outpainted": asked(left=8, width=None),
    "colourise": asked(strength=0.7, colourise=True),
    **{f"as {name}": asked(compat=name, strength=0.7) for name in PROFILE_NAMES},
}
INPAINTED = {
    "whole": asked(),
    "less": asked(strength=0.7),
    "noise": asked(masked_content="noise", strength=0.9),
    "filled": asked(masked_content="fill"),
    "masked part": asked(inpaint_only_masked=True, feather=True, mask_blur=2),
    "tiles": asked(tile=8),
}


@pytest.mark.parametrize("way", WAYS)
def test_from_noise(way):
    same_as_on_the_host(build_tiny, WAYS[way])


@pytest.mark.parametrize("way", FROM_PICTURE)
def test_from_a_picture(way):
    same_as_on_the_host(build_tiny, FROM_PICTURE[way], way in MAY_WAIT, image=PICTURE)


@pytest.mark.parametrize("way", INPAINTED)
def test_inpainting(way):
    same_as_on_the_host(build_tiny, INPAINTED[way], image=PICTURE, mask=MASK)


@pytest.mark.parametrize("kind", test_told.KINDS)
@pytest.mark.parametrize("tile", [None, 8])
def test_models_that_are_told_a_picture(kind, tile):
    options = {"width": None, "height": None, "tile": tile}
    more = {"image_guidance_scale": 1.5} if kind == "instruction" else {}
    request, given = asked(**options, **more), test_told.ASKED[kind]
    same_as_on_the_host(lambda: test_told.build(kind), request, **given)


def small(name):
    found = random_model(SMALL[name])
    tokenizer = Tokenizer(found.merges, found.family.text[0].length)
    model = LatentDiffusion(found.text, found.unet, found.vae, tokenizer, found.family)
    model.others = found.others
    return model


FROM_NOISE = ("lcm", "sd2-v", "sdxl", "sdxl-refiner", "ssd-1b", "playground-2.5", "cosxl")


@pytest.mark.parametrize("name", FROM_NOISE)
def test_families(name):
    same_as_on_the_host(lambda: small(name), asked("", negative="a", width=64, height=64))


def test_a_model_that_varies_a_picture():
    request = asked(width=64, height=64, noise_level=300)
    same_as_on_the_host(lambda: small("sd2-unclip-h"), request, image=PICTURE)


# What is added


@pytest.mark.parametrize("kind", ["net", "adapter"])
@pytest.mark.parametrize(
    "options", [{}, {"guess_mode": True}, {"tile": 8}, {"seamless": "x"}, {"count": 2}]
)
def test_controls(kind, options, tmp_path):
    model, folder = build_tiny(), tmp_path
    config = model.unet.config
    network = test_control.randomised(test_control.ControlNet(config, test_control.TINY_HINT), 1)
    shape = test_control.AdapterConfig(3, 2, config.channels, 2, (1,), True, 3)
    adapter = test_control.randomised(test_control.T2IAdapter(shape), 2)
    rows = {
        "net": (network, test_control.controlnet_rows(config, 2)),
        "adapter": (adapter, test_control.adapter_rows(shape)),
    }
    path = test_control.write(*rows[kind], folder / "control.safetensors")
    PICTURE.save(folder / "hint.png")
    more = {"control": path, "control_image": str(folder / "hint.png")}
    waits = not MAY_WAIT.keys().isdisjoint(options)
    same_as_on_the_host(build_tiny, asked(**more, **options), waits)


@pytest.mark.parametrize("kind", ip_adapters.KINDS)
def test_pictures_that_are_read(kind, tmp_path):
    files = ip_adapters.written(tmp_path, build_tiny())
    same_as_on_the_host(build_tiny, ip_adapters.asked(files, kind, seed=1))


def test_loras_of_a_request_and_of_its_prompt(tmp_path):
    loras.write(tmp_path / "fur.safetensors", loras.tensors(TINY, "LoRA"))
    loras.write(tmp_path / "ink.safetensors", loras.tensors(TINY, "DoRA, outputs"))
    always = (f"{tmp_path / 'ink.safetensors'}:0.5",)
    request = asked("a cat <lora:fur:[0.5:1:0.5]>", lora_dir=str(tmp_path), lora=always)
    same_as_on_the_host(build_tiny, request)


def test_a_refiner():
    plain = small_families.build(small_families.SDXL)
    request = asked(width=24, height=16, steps=4, refiner="other", refiner_start=0.5)
    plain.refiners["other"] = small_families.build(small_families.REFINER)
    expected = [step.x for step in plain.steps(request)][-1]
    with pretending() as gpu:
        model = to_gpu(gpu, small_families.build(small_families.SDXL))
        refiner = small_families.build(small_families.REFINER)
        model.refiners["other"] = to_gpu(gpu, refiner)
        found = [step.x for step in model.steps(watched(gpu, model.resolve(request)))]
    assert_same(on_host(found[-1]), expected, 1e-4)


def test_latents_noise_and_conditioning_that_are_given():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        latents, noise, read = (
            torch.randn(1, 4, 8, 8),
            torch.randn(1, 4, 8, 8),
            torch.randn(1, 12, 16),
        )
    given = {"latents": latents, "noise": noise, "conditioning": Conditioning(read)}
    same_as_on_the_host(build_tiny, asked(strength=0.7, guidance_scale=1.0), **given)


def test_previews():
    """Between two steps the host may wait: a picture is looked at."""
    with pretending() as gpu:
        model = to_gpu(gpu, build_tiny())
        job = watched(gpu, model.resolve(asked(count=2)))
        for look in (None, linear_preview(model.encode, model.decode, 32)):
            events = list(draw(model, job, 1, look))
            assert sum(isinstance(event, Preview) for event in events) == 6


# What is not finite


def poisoned(model, call):
    """The model, whose U-Net gives NaN from a call on, counted from 1."""
    calls = []

    def poison(module, inputs, output):
        calls.append(1)
        return output * math.nan if len(calls) >= call else output

    model.unet.mid.res1.conv2.register_forward_hook(poison)
    return calls


@pytest.mark.parametrize("call", [1, 3, 4])
def test_what_breaks_is_named_with_its_step_and_no_picture_comes_of_it(call):
    """On a GPU it is found a call later; of the last call, before the last step is given out."""
    seen = []
    with pretending() as gpu:
        model = to_gpu(gpu, build_tiny())
        calls = poisoned(model, call)
        job = model.resolve(asked(steps=4))
        match = rf"step {call} of 4: unet\.mid\.res1\.conv2 gives NaN"
        with pytest.raises(NotFinite, match=match):
            seen.extend(model.steps(job))
    assert len(seen) == min(call, 3)
    assert len(calls) == min(call + 1, 4) + 1, "a call later, and once more to see what it was"


def test_a_sampler_that_does_not_end_where_it_should_is_looked_at_too():
    def short(denoise, x, sigmas, noise):
        yield from list(euler.euler(denoise, x, sigmas, noise))[:-1]

    with pretending() as gpu:
        model = to_gpu(gpu, build_tiny())
        poisoned(model, 4)
        job = model.resolve(asked(steps=4))
        part = job.passes[0]
        own = replace(part, sampler=replace(part.sampler, run=short))
        with pytest.raises(NotFinite, match="step"):
            model.generate(replace(job, passes=(own,)))
