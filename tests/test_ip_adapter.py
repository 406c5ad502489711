"""IP-Adapters: pictures that are read beside the text, in every way of drawing."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers import assert_same, build_tiny, differ, latents, pixels, random_picture
from ip_adapters import KINDS, PICTURES, TOWER, asked, flat, ip_adapter, written
from ldm.request import Request
from small_families import build
from tiny_families import SMALL


@pytest.fixture(scope="module")
def model():
    """A model of its own: it keeps the adapters."""
    return build_tiny()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    return written(tmp_path_factory.mktemp("ip"), model)


PLAIN = Request("a cat", width=24, height=24, steps=4)
OF_KINDS = pytest.mark.parametrize("kind", KINDS)


@OF_KINDS
def test_the_picture_is_read_as_strongly_as_is_said(model, files, kind):
    plain, weights = latents(model, PLAIN), [p.clone() for p in model.unet.parameters()]
    found = latents(model, asked(files, kind))
    assert differ(found, plain)
    assert differ(found, latents(model, asked(files, kind, picture=1)))
    assert differ(found, latents(model, asked(files, kind, ":0.5")))
    assert torch.equal(latents(model, asked(files, kind, ":0")), plain)
    assert torch.equal(latents(model, PLAIN), plain), "and nothing of it stays"
    assert all(torch.equal(*pair) for pair in zip(model.unet.parameters(), weights))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.unet.modules())


def test_no_hook_stays_after_an_error(model, files):
    steps = model.steps(asked(files))
    next(steps)
    hook = model.unet.mid.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(steps)
    hook.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.unet.modules())


def test_a_part_of_the_steps(model, files):
    def steps(request):
        return [step.x for step in model.steps(request)]

    whole, half, late = (steps(asked(files, numbers=more)) for more in ("", ":1:0:0.5", ":1:0.5:1"))
    assert torch.equal(half[1], whole[1])
    assert differ(half[2], whole[2])
    plain = steps(PLAIN)
    assert torch.equal(late[1], plain[1])
    assert differ(late[2], plain[2])


@OF_KINDS
def test_several_add_up(model, files, kind):
    """Twice at half the strength is once; a ControlNet beside it is not told of the picture."""
    once = latents(model, asked(files, kind))
    twice = replace(asked(files, kind), control=(files[kind] + ":0.5",) * 2)
    assert_same(latents(model, twice), once)
    both = replace(asked(files, kind), control=(files[kind] + ":0", files["net"]))
    alone = replace(asked(files, "net"), vision_tower=None)
    assert torch.equal(latents(model, both), latents(model, alone))
    assert differ(latents(model, replace(both, control=(files[kind], files["net"]))), once)


def test_guess_mode_leaves_the_negative_branch_alone(model, files):
    """At scale 0 only the negative branch counts: it is as if there were no picture."""
    found = latents(model, asked(files, guess_mode=True, guidance_scale=0))
    assert_same(found, latents(model, replace(PLAIN, guidance_scale=0)))
    assert differ(found, latents(model, asked(files, guidance_scale=0)))


@OF_KINDS
def test_every_way_of_drawing_takes_it(model, files, kind):
    once = latents(model, asked(files, kind))
    several = asked(files, kind, prompt=("a cat", "a dog a cat", "do"), count=1)
    found = latents(model, several)
    for i, single in enumerate(several.split(1)):
        assert_same(latents(model, single), found[i : i + 1], 1e-4)
    assert_same(latents(model, asked(files, kind, tile=24)), once)
    for options in (
        {"tile": 16}, {"seamless": "xy"}, {"prompt": "a cat AND a dog"}, {"guidance_scale": 1},
        {"prompt": "a [cat:dog:0.5]"}, {"guidance_rescale": 0.5},
    ):  # fmt: skip
        found = latents(model, asked(files, kind, **options))
        assert differ(found, once)
        assert differ(found, latents(model, replace(PLAIN, **options)))
    assert latents(model, asked(files, kind, hires=2, hires_steps=2)).shape[-1] == 24


def test_beside_what_an_inpainting_model_is_told(files, tmp_path):
    model = build(SMALL["sd1-inpainting"])
    save_file(flat(ip_adapter("linear", model.unet.config, **TOWER)), tmp_path / "a")
    request = asked(files, width=64, height=64, control=str(tmp_path / "a"))
    mask = Image.new("L", (64, 64), "white")
    job = model.resolve(request, random_picture(64, 64), mask)
    bare = replace(request, control=None, control_image=None, vision_tower=None)
    assert differ(
        latents(model, job), latents(model, model.resolve(bare, random_picture(64, 64), mask))
    )


def test_from_python_and_from_the_picture_to_start_from(model, files):
    named = {"width": 24, "height": 24, "control": files["linear"], "seed": 3}
    named["vision_tower"] = files["tower"]
    (one,) = model.txt2img("a cat", control_image=PICTURES[0], **named)
    (other,) = model.txt2img("a cat", control_image=files[0], **named)
    assert abs(pixels(one) - pixels(other)).max() == 0
    start = PICTURES[0].resize((24, 24))
    found = latents(model, asked(files, control_image=None, strength=0.5), start)
    assert differ(found, latents(model, replace(PLAIN, strength=0.5), start))
