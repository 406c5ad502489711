"""IP-Adapters: pictures that are read beside the text; what is wrong is said in a line."""

import json
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from clip_files import openclip
from controls import randomised
from helpers import assert_same, build_tiny, differ, latents, pixels, random_picture
from ip_adapters import KINDS, flat, ip_adapter
from ldm.cli import main
from ldm.models.control import read_control, what_control
from ldm.models.control.loading import names_of
from ldm.models.families import FAMILIES
from ldm.models.keymaps.control import controlnet_rows
from ldm.models.weights import CheckpointError
from ldm.request import Request
from ldm.unet import UNet
from ldm.unet.controlnet import ControlNet
from ldm.unet.ip_adapter import attentions, widths
from small_families import build
from tiny_families import SMALL

PICTURES = [random_picture(30, 24), random_picture(30, 24).rotate(90, expand=True)]
TOWER = {"tower_width": 128, "vector": 10}  # of `clip_files`


@pytest.fixture(scope="module")
def model():
    """A model of its own: it keeps the adapters."""
    return build_tiny()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ip")
    found = {"tower": folder / "tower.pt", "net": folder / "net.safetensors"}
    torch.save(openclip(dtype=torch.float32).state_dict(), found["tower"])
    for kind in KINDS:
        found[kind] = folder / f"{kind}.safetensors"
        save_file(flat(ip_adapter(kind, model.unet.config, **TOWER)), found[kind])
    for i, picture in enumerate(PICTURES):
        found[i] = folder / f"{i}.png"
        picture.save(found[i])
    network = randomised(ControlNet(model.unet.config, (4, 8)), 1)
    names, state = names_of(controlnet_rows(model.unet.config, 2), "compvis"), network.state_dict()
    save_file({names[ours]: state[ours].contiguous() for ours in names}, found["net"])
    return {name: str(path) for name, path in found.items()}


def asked(files, kind="linear", numbers="", picture=0, **options):
    known = {
        "control": files[kind] + numbers, "control_image": files[picture],
        "vision_tower": files["tower"], "width": 24, "height": 24, "steps": 4,
    }  # fmt: skip
    return Request(**{"prompt": "a cat", **known, **options})


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


# Files


def test_the_cross_attentions_are_numbered_as_in_the_published_files():
    """Down, up, middle: of SD 1 sixteen, of SDXL seventy."""
    own = FAMILIES["sd1"].unet
    down, up = [320] * 2 + [640] * 2 + [1280] * 2, [1280] * 3 + [640] * 3 + [320] * 3
    assert widths(own) == (*down, *up, 1280)
    down, up = [640] * 4 + [1280] * 20, [1280] * 30 + [640] * 6
    assert widths(FAMILIES["sdxl"].unet) == (*down, *up, *[1280] * 10)
    for name in ("sd1", "sdxl"):
        config = replace(SMALL[name].unet, mid_depth=3)
        with torch.device("meta"):
            found = [attn.q.in_features for attn in attentions(UNet(config))]
        assert tuple(found) == widths(config)


@OF_KINDS
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_the_same(model, tmp_path, kind, zipped):
    state = ip_adapter(kind, model.unet.config, **TOWER)
    save_file(flat(state), tmp_path / "a")
    torch.save(state, tmp_path / "b.bin", _use_new_zipfile_serialization=zipped)
    one, other = (read_control(tmp_path / x, model.family, model.unet) for x in ("a", "b.bin"))
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    assert all(name == same and torch.equal(x, y) for (name, x), (same, y) in pairs)


@pytest.mark.parametrize(("name", "other"), [("sd1", "sdxl"), ("sdxl", "sd1"), ("sd2", "sd1")])
def test_one_for_another_family_is_refused(name, other, tmp_path):
    save_file(flat(ip_adapter("linear", SMALL[other].unet)), tmp_path / "a")
    own = build(SMALL[name])
    with pytest.raises(CheckpointError, match=f"it is an IP-Adapter.* this model is of {name}"):
        read_control(tmp_path / "a", own.family, own.unet)


@pytest.mark.parametrize(
    ("family", "kind", "width", "tower"),
    [
        ("sd1", "linear", 1024, "ViT-H/14 .vectors of 1024 numbers."),
        ("sdxl", "linear", 1280, "ViT-bigG/14"),
        ("sd1", "resampler", 1280, "ViT-H/14 .tokens of 1280"),
        ("sdxl", "resampler", 1664, "ViT-bigG/14"),
        ("sd1", "mlp", 1024, "ViT-L/14"),
    ],
)
def test_what_it_is_for_and_with_what_it_sees(family, kind, width, tower):
    with torch.device("meta"):
        state = flat(ip_adapter(kind, FAMILIES[family].unet, tower_width=width, vector=width))
    told = str(what_control(state))  # shapes are enough
    assert family in told.split("for ")[-1].split(", ")
    assert re.search(tower, told)


def test_faces_of_insightface_are_not_read(model, tmp_path):
    state = ip_adapter("mlp", model.unet.config)
    state["image_proj"]["norm.weight"] = state["image_proj"].pop("proj.3.weight")
    save_file(flat(state), tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"InsightFace.*FaceID.*not supported"):
        read_control(tmp_path / "a", model.family, model.unet)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"vision_tower": None},
            r"sees pictures with CLIP's vision tower \(vectors of 10 numbers\)",
        ),
        ({"vision_tower": "none"}, "there is no vision_tower 'none'"),
        ({"vision_tower": "NET"}, "has no vision tower of CLIP"),
        ({"vision_tower": ("TOWER", "TOWER")}, "2 vision_towers for 1 controls"),
        ({"control": "NET"}, "vision_tower is for IP-Adapters"),
        ({"control": None, "control_image": None}, "vision_tower goes with a control"),
        ({"control": "WIDE"}, "vectors of 20 numbers.*, and the tower in .* gives 10"),
        ({"hint": "edges"}, "an IP-Adapter has none"),
        ({"control_image": None}, "needs a picture: give control_image"),
    ],
)
def test_what_cannot_be(model, files, tmp_path, options, message):
    wide = tmp_path / "wide"
    save_file(flat(ip_adapter("linear", model.unet.config)), wide)
    known = {"NET": files["net"], "TOWER": files["tower"], "WIDE": str(wide)}

    def full(value):
        return tuple(map(full, value)) if isinstance(value, tuple) else known.get(value, value)

    options = {name: full(value) for name, value in options.items()}
    with pytest.raises(ValueError, match=message) as error:
        model.resolve(replace(asked(files), **options))
    assert str(error.value).isprintable()


def test_the_command_line(files, tiny_file, tmp_path, monkeypatch, capsys):
    """Its pictures say how they were made; replay opens no file that only they name."""
    monkeypatch.chdir(tmp_path)
    flags = ["--ckpt", str(tiny_file), "--n_iter", "1", "--n_samples", "1", "--skip_grid"]
    control = ["--control", files["linear"] + ":0.5", "--control_image", files[0]]
    tower = ["--vision_tower", files["tower"]]
    size = ["--W", "24", "--H", "24"]
    line = ["txt2img", "--prompt", "a cat", *flags, *size, *control]
    assert main(line) == 2
    assert "with CLIP's vision tower" in capsys.readouterr().err
    assert main([*line, *tower]) == 0
    (made,) = tmp_path.rglob("*.png")
    again = ["replay", str(made), "--ckpt", str(tiny_file), "--outdir", "again"]
    assert main([*again, *control]) == 2
    assert "give --vision_tower" in capsys.readouterr().err
    assert main([*again, *control, *tower]) == 0
    (same,) = (tmp_path / "again").rglob("*.png")
    assert abs(pixels(Image.open(made)) - pixels(Image.open(same))).max() == 0
    assert main(["inspect", files["linear"]]) == 0
    assert "an IP-Adapter" in capsys.readouterr().out
    request = asked(files)
    assert Request.from_json(json.dumps(json.loads(request.to_json()))) == request
